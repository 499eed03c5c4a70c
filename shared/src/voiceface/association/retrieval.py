"""Ranking, by any system: which images fit a voice, or which voices fit an image."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.association.embedding import VOICE_SUFFIXES, EmbedderLoader, find_files
from voiceface.commandline import arguments
from voiceface.commandline.messages import print_disclaimers, print_skipped

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder
    from voiceface.report import RetrievalExamples

__all__ = [
    "RankedCandidate",
    "build_gallery",
    "command",
    "rank_gallery",
]


@dataclass(frozen=True)
class RankedCandidate:
    """One candidate of a query.

    Attributes:
        name: file, or folder when files are grouped by folder.
        score: cosine, -1...1.
        files: the candidate's files.
    """

    name: str
    score: float
    files: tuple[Path, ...]


def rank_gallery(
    model: "Embedder",
    queries: Sequence[Path],
    gallery: Sequence[Path],
    *,
    by_folder: bool = False,
    workers: int = 2,
) -> tuple[dict[Path, list[RankedCandidate]], dict[str, str]]:
    """Rank candidates of the other modality for every query.

    Args:
        model: encoder.
        queries: recordings or images, all of one modality.
        gallery: files and folders of the other modality.
        by_folder: treat each folder as one candidate, the mean of its files' unit embeddings.
        workers: loading threads.

    Returns:
        (query -> answers, best first, ties by name; unreadable candidates -> why).

    Raises:
        ValueError: mixed queries, no candidate of the other modality, or an unreadable query.
    """
    import numpy as np
    import torch

    from voiceface.association.embedding import embed

    asked_voices, asked_faces = find_files(queries)
    if asked_voices and asked_faces:
        raise ValueError("queries are recordings and images at once: ask for one kind at a time")
    voices, faces = find_files(gallery)
    asked, candidates = (asked_voices, faces) if asked_voices else (asked_faces, voices)
    if not candidates:
        wanted = "images" if asked_voices else "recordings"
        raise ValueError(f"no {wanted} among {', '.join(map(str, gallery))}: nothing to rank")
    left = embed(model, *((asked, []) if asked_voices else ([], asked)), workers=workers)
    if left.failed:
        raise ValueError("; ".join(left.failed.values()))
    right = embed(model, *(([], candidates) if asked_voices else (candidates, [])), workers=workers)
    groups: dict[str, list[Path]] = {}
    for item in right.items:
        groups.setdefault(str(Path(item).parent) if by_folder else item, []).append(Path(item))
    means = right.group_means([[path.as_posix() for path in files] for files in groups.values()])
    scores = model.score(torch.from_numpy(left.vectors), torch.from_numpy(means)).numpy()
    names = list(groups)
    answers = {}
    for query, row in zip(left.items, scores):
        order = np.lexsort((names, -row))
        answers[Path(query)] = [
            RankedCandidate(names[i], float(row[i]), tuple(groups[names[i]])) for i in order
        ]
    return answers, right.failed


def build_gallery(
    rankings: dict[Path, list[RankedCandidate]], *, title: str, top: int = 8, note: str = ""
) -> "RetrievalExamples":
    """Queries and their best answers for a report; which answer is right is not known."""
    from voiceface.report import AudioSource, ProbeRanking, RankedCandidate, RetrievalExamples

    def media(path: Path) -> dict:
        return (
            {"audio": AudioSource(str(path))}
            if path.suffix.lower() in VOICE_SUFFIXES
            else {"image": str(path)}
        )

    queries = []
    for query, ranked in rankings.items():
        candidates = [
            RankedCandidate(_short_name(answer), rank, False, answer.score, **media(answer.files[0]))
            for rank, answer in enumerate(ranked[:top], 1)
        ]
        queries.append(
            ProbeRanking(query.name, candidates, gallery_size=len(ranked), labels_known=False, **media(query))
        )
    voices = next(iter(rankings)).suffix.lower() in VOICE_SUFFIXES
    return RetrievalExamples(title, "v2f" if voices else "f2v", queries, note)


def _short_name(candidate: RankedCandidate) -> str:
    path = Path(candidate.name)
    return f"{path.parent.name}/{path.name}"


def command(program: str, load: EmbedderLoader, argv: Sequence[str] | None) -> int:
    """`PROGRAM match`.

    Args:
        program: name of the program, for its help and report.
        load: as for `voiceface.association.embedding.command`.
        argv: words of the command line.
    """
    parser = argparse.ArgumentParser(
        prog=f"{program} match",
        description="Rank images for a voice, or voices for an image, by the cosine of their embeddings.",
    )
    parser.add_argument("query", nargs="+", type=Path, help="recordings, or images")
    parser.add_argument(
        "--gallery", nargs="+", type=Path, required=True, help="candidates: files and folders"
    )
    arguments.add_weights_argument(parser)
    parser.add_argument(
        "--by-folder", action="store_true", help="one candidate a folder: the mean of its files"
    )
    parser.add_argument("--top", type=int, default=8, help="answers shown (default 8)")
    parser.add_argument("--report", type=Path, help="also write a page with the images and voices")
    parser.add_argument("--json", type=Path, help="also write all ranks and scores")
    arguments.add_on_corrupt_argument(parser)
    arguments.add_workers_argument(parser)
    arguments.add_device_argument(parser)
    args = parser.parse_args(argv)
    if args.top < 1:
        parser.error("--top must be at least 1")
    find_files([*args.query, *args.gallery])

    model = load(args.weights, device=args.device, on_corrupt=args.on_corrupt)
    print_disclaimers(model.disclaimer)
    answers, failed = rank_gallery(
        model, args.query, args.gallery, by_folder=args.by_folder, workers=args.workers
    )
    for query, ranked in answers.items():
        print(f"{query}: best of {len(ranked)}")
        for rank, answer in enumerate(ranked[: args.top], 1):
            print(f"{rank:4d}  {answer.score:+.4f}  {answer.name}")
    print_skipped(failed)
    if args.json:
        from voiceface.io.atomic import write_json

        ranks = {
            str(query): [{"name": a.name, "score": a.score} for a in ranked]
            for query, ranked in answers.items()
        }
        write_json(args.json, {"disclaimer": model.disclaimer, "weights": model.source, "rankings": ranks})
    if args.report:
        from voiceface.report import build_report

        gallery = build_gallery(answers, title="Best answers", top=args.top)
        build_report(
            args.report, title=f"{program} match", disclaimers=model.disclaimer, retrieval_examples=[gallery]
        )
        print(f"report: {args.report}")
    return 1 if failed else 0
