"""`voiceface lists`: draw evaluation lists for a data folder, or describe lists."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.datasets.dataset_arguments import add_voice_folder_flag
from voiceface.datasets.identities import SPLITS, STRATA, Identity

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus
    from voiceface.datasets.trials.trial_list import EvaluationList


def describe(
    questions: "EvaluationList", corpus: "Corpus | None", identities: Sequence[Identity] | None
) -> str:
    """Put into words what a list holds and, for known people, whom its wrong candidates are like."""
    from voiceface.datasets.trials.coverage import absent_items, wrong_shares
    from voiceface.datasets.trials.trial_list import with_labels

    lines = [
        f"{questions.name}: {questions.kind} {questions.direction}, stratum {questions.stratum}"
        + (f" (own list, seed {questions.provenance['seed']})" if questions.provenance else ""),
        f"  sha256       {questions.sha256}",
    ]
    if questions.anchor_index is None:
        lines += [f"  queries      {len(questions.anchors)}", f"  gallery      {len(questions.candidates)}"]
    else:
        lines += [
            f"  lines        {len(questions)}",
            f"  anchors      {len(questions.anchors)}",
            f"  candidates   {questions.choices} a line, {len(questions.candidates)} different",
        ]
    if questions.labels is None and questions.kind == "verify" and identities:
        questions = with_labels(questions, identities)
    if questions.labels is not None:
        lines.append(f"  positive     {int(questions.labels.sum())} ({questions.labels.mean():.1%})")
    if identities:
        for what, share in wrong_shares(questions, corpus or identities).items():
            lines.append(f"  same {what:<11} {share:.1%} of the wrong candidates")
    if corpus:
        absent = absent_items(questions, corpus)
        lines.append(f"  absent files {len(absent)}{': ' + ', '.join(absent[:3]) if absent else ''}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw lists or describe them; exit code 0 done, 1 something is wrong, 2 bad usage."""
    parser = _parser()
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        return _draw(options) if options.command == "draw" else _show(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="voiceface lists", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    draw = commands.add_parser("draw", help="draw lists for a data folder and write them")
    draw.add_argument("data", type=Path, help="data folder (see docs/data.md)")
    draw.add_argument("--out", type=Path, help="folder for the lists; default DATA/list_wav")
    draw.add_argument("--seed", type=int, default=0, help="default 0")
    draw.add_argument(
        "--split", choices=SPLITS, action="append", help="may be repeated; default test and val"
    )
    draw.add_argument(
        "--kind", choices=("match", "verify", "retrieval"), help="one list instead of the usual set"
    )
    draw.add_argument("--direction", choices=("v2f", "f2v"), default="v2f", help="with --kind; default v2f")
    draw.add_argument("--stratum", choices=STRATA, default="U", help="with --kind; default U")
    draw.add_argument("--candidates", type=int, default=2, metavar="N", help="of match lists; default 2")
    draw.add_argument("--lines-per-anchor", type=int, metavar="L", help="with --kind; default 3")
    draw.add_argument(
        "--skip-missing", action="store_true", help="leave out people whose folders are not there"
    )
    draw.add_argument("--gzip", action="store_true", help="write .txt.gz")
    draw.add_argument(
        "--force", action="store_true", help="replace lists that are there and were not drawn here"
    )
    show = commands.add_parser("show", help="describe lists")
    for command in (draw, show):
        add_voice_folder_flag(command)
    show.add_argument("lists", type=Path, nargs="+", metavar="LIST")
    show.add_argument("--data", type=Path, help="data folder: shares of wrong candidates, absent files")
    show.add_argument("--split", choices=SPLITS, help="look the files up in this split alone")
    show.add_argument("--identities", type=Path, help="identity table, when there is no data folder")
    return parser


def _draw(options: argparse.Namespace) -> int:
    """Draw, write, and say what was written."""
    from voiceface.datasets.corpus import open_corpus
    from voiceface.datasets.trials.reading import NOTE, SIDECAR, write_lists
    from voiceface.datasets.trials.sampling import LINES_PER_ANCHOR, draw_all, draw_list

    lines_per_anchor = LINES_PER_ANCHOR if options.lines_per_anchor is None else options.lines_per_anchor
    out = options.out or options.data / "list_wav"
    lists: list[EvaluationList] = []
    for split in options.split or ("test", "val"):
        missing = "skip" if options.skip_missing else "error"
        corpus = open_corpus(options.data, split, on_missing=missing, voice_folder=options.voice_folder)
        if options.kind is None:
            lists += draw_all(corpus, options.seed, split, candidates=options.candidates)
            continue
        lists.append(
            draw_list(
                corpus,
                options.kind,
                options.direction,
                candidates=options.candidates,
                stratum=options.stratum,
                lines_per_anchor=lines_per_anchor,
                seed=options.seed,
                split=split,
            )
        )
    if not options.force:
        _refuse_to_replace(out, lists)
    for path, drawn in zip(write_lists(out, lists, packed=options.gzip), lists):
        left_out = (drawn.provenance or {}).get("left_out", {})
        note = (
            f"; left out {', '.join(f'{count} {what}' for what, count in left_out.items())}"
            if left_out
            else ""
        )
        lines = 2 if drawn.anchor_index is None else len(drawn)
        print(f"{path}  {lines} lines, {len(drawn.anchors)} anchors{note}")
    print(f"{out / SIDECAR}  {NOTE}")
    return 0


def _refuse_to_replace(folder: Path, lists: Sequence["EvaluationList"]) -> None:
    """End before a list that was not drawn here (a published one, say) is overwritten."""
    from voiceface.datasets.trials.reading import read_list
    from voiceface.datasets.trials.trial_list import ListError

    for questions in lists:
        for ending in (".txt", ".txt.gz"):
            place = folder / f"{questions.name}{ending}"
            if place.is_file() and not read_list(place).is_own:
                raise ListError(
                    f"{place} was not drawn here; choose another --out, or replace it with --force"
                )


def _show(options: argparse.Namespace) -> int:
    """Describe every list; the exit code is 1 when files are absent."""
    from voiceface.datasets.corpus import open_corpus, read_identities
    from voiceface.datasets.trials.coverage import absent_items
    from voiceface.datasets.trials.reading import read_list

    corpus, identities = None, None
    if options.data:
        corpus = open_corpus(
            options.data, options.split, on_missing="skip", voice_folder=options.voice_folder
        )
        identities = corpus.identities
    elif options.identities:
        identities = read_identities(options.identities.parent, None, options.identities)
    found_all = True
    for path in options.lists:
        questions = read_list(path, corpus or identities)
        print(describe(questions, corpus, identities))
        found_all &= corpus is None or not absent_items(questions, corpus)
    return 0 if found_all else 1
