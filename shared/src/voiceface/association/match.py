"""Work of the command `match`: rank the gallery, print, write JSON and page."""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.association.loading import load_embedder
from voiceface.association.system import SystemSpec
from voiceface.commandline.messages import print_disclaimers, report_left_out
from voiceface.io.file_facts import FileFacts
from voiceface.io.file_kinds import printable
from voiceface.io.input_files import require_writable_files
from voiceface.io.own_files import LeftOut

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voiceface.association.embedder import Embedder
    from voiceface.association.retrieval import RankedCandidate

    Rankings = Mapping[Path, Sequence[RankedCandidate]]

__all__ = ["run_match"]


def run_match(spec: SystemSpec, args: argparse.Namespace) -> int:
    """Rank the gallery for all queries.

    Args:
        spec: the system.
        args: arguments of `voiceface.association.commands.match_command`.

    Returns:
        Exit status.
    """
    from voiceface.association.embedding import find_files
    from voiceface.association.retrieval import rank_gallery
    from voiceface.association.stored_gallery import find_stored_gallery, rank_stored_gallery
    from voiceface.faces.own_pictures import PictureReader
    from voiceface.gallery.places import open_gallery

    stored = find_stored_gallery(args.gallery)
    if stored is not None and args.by_folder:
        raise ValueError(
            "--by-folder is an option of `voiceface gallery build` where --gallery is a stored gallery"
        )
    find_files([*args.query, *(args.gallery if stored is None else ())], [])
    require_writable_files({"json": args.json, "report": args.report})
    pictures = PictureReader.from_arguments(args)
    left_out: list[LeftOut] = []
    facts: dict[str, FileFacts] = {}
    with ExitStack() as stack:
        opened = None if stored is None else stack.enter_context(open_gallery(stored))
        model = load_embedder(spec, args.weights, device=args.device, on_corrupt=args.on_corrupt)
        model.require()
        model.pictures = pictures.with_convention(model.face_crop)
        model.long_recordings = args.long_recordings
        print_disclaimers(model.disclaimer)
        known = {"workers": args.workers, "left_out": left_out, "facts": facts}
        size = None
        if opened is None:
            rankings, failed = rank_gallery(
                model, args.query, args.gallery, by_folder=args.by_folder, **known
            )
        else:
            rankings, failed, size = rank_stored_gallery(model, args.query, opened, top=args.top, **known)
    left_out += [LeftOut.from_error(item, reason) for item, reason in failed.items()]
    _print_rankings(rankings, facts, args.top, size)
    described = None if model.impostor_scores is None else model.impostor_scores.describe()
    if described is None:
        print("no percentiles: these weights hold no scores of impostor pairs (see `export`)")
    else:
        print(f"percentiles: {described}")
    if args.json:
        _write_json(args.json, model, rankings, facts, left_out)
    if args.report:
        _write_report(args.report, spec, model, rankings, facts, args.top, size)
        print(f"report: {args.report}")
    return report_left_out(left_out, strict=args.strict)


def _print_rankings(
    rankings: "Rankings", facts: "Mapping[str, FileFacts]", top: int, gallery_size: int | None
) -> None:
    """Print the best candidates of every query."""
    from voiceface.association.retrieval import describe_best
    from voiceface.metrics.impostor_scores import format_percentile

    for query, ranked in rankings.items():
        print(f"{printable(query)}: best of {gallery_size or len(ranked)}")
        for note in facts[query.as_posix()].notes if query.as_posix() in facts else ():
            print(f"      note: {printable(note)}")
        for rank, candidate in enumerate(ranked[:top], 1):
            share = candidate.percentile
            shown = "" if share is None else f"  {format_percentile(share):>5} %"
            note = f"  ({printable(candidate.note)})" if candidate.note else ""
            print(f"{rank:4d}  {candidate.score:+.4f}{shown}  {printable(candidate.name)}{note}")
        if sentence := describe_best(ranked, gallery_size):
            print(f"      {sentence}")


def _write_json(
    path: Path,
    model: "Embedder",
    rankings: "Rankings",
    facts: "Mapping[str, FileFacts]",
    left_out: "Sequence[LeftOut]",
) -> None:
    from voiceface.io.atomic import write_json
    from voiceface.io.own_files import describe_left_out

    known = model.impostor_scores
    write_json(
        path,
        {
            "disclaimer": model.disclaimer,
            "weights": model.source,
            "percentiles": None if known is None else known.describe(),
            "rankings": {
                str(query): [each.to_values() for each in ranked] for query, ranked in rankings.items()
            },
            "queries": {name: each.to_values() for name, each in facts.items()},
            "left_out": describe_left_out(left_out),
        },
    )


def _write_report(
    path: Path,
    spec: SystemSpec,
    model: "Embedder",
    rankings: "dict[Path, list[RankedCandidate]]",
    facts: "Mapping[str, FileFacts]",
    top: int,
    gallery_size: int | None,
) -> None:
    from voiceface.association.retrieval import build_gallery
    from voiceface.report import build_report

    gallery = build_gallery(
        rankings,
        title="Best candidates",
        top=top,
        impostor_scores=model.impostor_scores,
        facts=facts,
        gallery_size=gallery_size,
    )
    build_report(path, title=f"{spec.name} match", disclaimers=model.disclaimer, retrieval_examples=[gallery])
