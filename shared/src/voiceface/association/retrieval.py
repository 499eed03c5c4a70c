"""Ranking, by any system: which images fit a voice, or which voices fit an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.association.embedding import VOICE_SUFFIXES, find_files

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder
    from voiceface.report import RetrievalExamples

__all__ = [
    "RankedCandidate",
    "build_gallery",
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
            ProbeRanking(
                f"{query.parent.name}/{query.name}",
                candidates,
                gallery_size=len(ranked),
                labels_known=False,
                **media(query),
            )
        )
    voices = next(iter(rankings)).suffix.lower() in VOICE_SUFFIXES
    return RetrievalExamples(title, "v2f" if voices else "f2v", queries, note)


def _short_name(candidate: RankedCandidate) -> str:
    """Name of a folder, or name of a file with its folder."""
    path = Path(candidate.name)
    return f"{path.parent.name}/{path.name}" if path in candidate.files else path.name
