"""`voiceface lists`: generate trial lists for a data folder, or show the contents of lists."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments
from voiceface.datasets.dataset_arguments import add_voice_folder_argument
from voiceface.datasets.identities import SPLITS, STRATA, Identity

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus
    from voiceface.datasets.trials.trial_list import TrialList

__all__ = [
    "format_trial_list",
    "main",
]


def format_trial_list(
    trial_list: "TrialList", corpus: "Corpus | None", identities: Sequence[Identity] | None
) -> str:
    """Describe a list and, for known identities, how often impostors share attributes with the probe."""
    from voiceface.datasets.trials.coverage import find_missing_items, shared_attribute_rates
    from voiceface.datasets.trials.trial_list import with_labels

    lines = [
        f"{trial_list.name}: {trial_list.kind} {trial_list.direction}, stratum {trial_list.stratum}"
        + (f" (generated list, seed {trial_list.provenance['seed']})" if trial_list.provenance else ""),
        f"  sha256       {trial_list.sha256}",
    ]
    if trial_list.probe_index is None:
        lines += [f"  queries      {len(trial_list.probes)}", f"  gallery      {len(trial_list.gallery)}"]
    else:
        lines += [
            f"  lines        {len(trial_list)}",
            f"  probes      {len(trial_list.probes)}",
            f"  candidates   {trial_list.num_candidates} a line, {len(trial_list.gallery)} different",
        ]
    if trial_list.labels is None and trial_list.kind == "verify" and identities:
        trial_list = with_labels(trial_list, identities)
    if trial_list.labels is not None:
        lines.append(f"  positive     {int(trial_list.labels.sum())} ({trial_list.labels.mean():.1%})")
    if identities:
        for what, share in shared_attribute_rates(trial_list, corpus or identities).items():
            lines.append(f"  same {what:<11} {share:.1%} of the impostors")
    if corpus:
        missing = find_missing_items(trial_list, corpus)
        lines.append(f"  missing files {len(missing)}{': ' + ', '.join(missing[:3]) if missing else ''}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Generate or describe lists; exit code 0 done, 1 files are missing or wrong, 2 bad usage."""
    parser = _build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        return _generate(args) if args.command == "generate" else _show_lists(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _build_parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    parser = argparse.ArgumentParser(prog="voiceface lists", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    generate = commands.add_parser("generate", help="generate trial lists for a data folder")
    generate.add_argument("data", type=arguments.data_folder, help="data folder (see docs/data.md)")
    generate.add_argument("--out", type=Path, help="output folder (default: DATA/list_wav)")
    generate.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    generate.add_argument(
        "--split", choices=SPLITS, action="append", help="repeatable (default: test and val)"
    )
    generate.add_argument(
        "--kind", choices=("match", "verify", "retrieval"), help="generate one list instead of the usual set"
    )
    generate.add_argument(
        "--direction", choices=("v2f", "f2v"), default="v2f", help="with --kind (default: v2f)"
    )
    generate.add_argument("--stratum", choices=STRATA, default="U", help="with --kind (default: U)")
    generate.add_argument(
        "--candidates",
        type=int,
        default=2,
        metavar="N",
        help="candidates per trial of match lists (default: 2)",
    )
    generate.add_argument("--trials-per-probe", type=int, metavar="L", help="with --kind (default: 3)")
    arguments.add_missing_argument(generate, "identities without a folder")
    generate.add_argument("--gzip", action="store_true", help="write compressed lists, .txt.gz")
    generate.add_argument(
        "--force", action="store_true", help="overwrite existing lists that this command did not generate"
    )
    show = commands.add_parser("show", help="show the contents of lists")
    for command in (generate, show):
        add_voice_folder_argument(command)
    show.add_argument("lists", type=Path, nargs="+", metavar="LIST")
    show.add_argument(
        "--data",
        type=arguments.data_folder,
        help="data folder, to report missing files and distractor attributes",
    )
    show.add_argument("--split", choices=SPLITS, help="identities of this split only")
    show.add_argument("--identities", type=Path, help="identity table, if there is no data folder")
    return parser


def _generate(args: argparse.Namespace) -> int:
    """Generate lists, write them and print what was written."""
    from voiceface.datasets.corpus import open_corpus
    from voiceface.datasets.trials.reading import GENERATED_NOTE, SIDECAR_FILE, write_trial_lists
    from voiceface.datasets.trials.sampling import TRIALS_PER_PROBE, generate_trial_list, generate_trial_lists

    trials_per_probe = TRIALS_PER_PROBE if args.trials_per_probe is None else args.trials_per_probe
    out = args.out or args.data / "list_wav"
    lists: list[TrialList] = []
    for split in args.split or ("test", "val"):
        corpus = open_corpus(args.data, split, on_missing=args.missing, voice_folder=args.voice_folder)
        if args.kind is None:
            lists += generate_trial_lists(corpus, args.seed, split, num_candidates=args.candidates)
            continue
        lists.append(
            generate_trial_list(
                corpus,
                args.kind,
                args.direction,
                num_candidates=args.candidates,
                stratum=args.stratum,
                trials_per_probe=trials_per_probe,
                seed=args.seed,
                split=split,
            )
        )
    if not args.force:
        _refuse_to_replace(out, lists)
    for path, trial_list in zip(write_trial_lists(out, lists, gzipped=args.gzip), lists):
        skipped = (trial_list.provenance or {}).get("skipped", {})
        note = (
            f"; skipped {', '.join(f'{count} {what}' for what, count in skipped.items())}" if skipped else ""
        )
        lines = 2 if trial_list.probe_index is None else len(trial_list)
        print(f"{path}  {lines} lines, {len(trial_list.probes)} probes{note}")
    print(f"{out / SIDECAR_FILE}  {GENERATED_NOTE}")
    return 0


def _refuse_to_replace(folder: Path, lists: Sequence["TrialList"]) -> None:
    """Refuse to overwrite lists that were not generated here, such as published ones."""
    from voiceface.datasets.trials.reading import read_trial_list
    from voiceface.datasets.trials.trial_list import TrialListError

    for trial_list in lists:
        for ending in (".txt", ".txt.gz"):
            place = folder / f"{trial_list.name}{ending}"
            if place.is_file() and not read_trial_list(place).is_generated:
                raise TrialListError(
                    f"{place} was not generated here; choose another --out, or replace it with --force"
                )


def _show_lists(args: argparse.Namespace) -> int:
    """Describe every list; the exit code is 1 when files are missing."""
    from voiceface.datasets.corpus import open_corpus
    from voiceface.datasets.layouts import read_identities
    from voiceface.datasets.trials.coverage import find_missing_items
    from voiceface.datasets.trials.reading import read_trial_list

    corpus, identities = None, None
    if args.data:
        corpus = open_corpus(args.data, args.split, on_missing="skip", voice_folder=args.voice_folder)
        identities = corpus.identities
    elif args.identities:
        identities = read_identities(args.identities.parent, None, args.identities)
    found_all = True
    for path in args.lists:
        trial_list = read_trial_list(path, corpus or identities)
        print(format_trial_list(trial_list, corpus, identities))
        found_all &= corpus is None or not find_missing_items(trial_list, corpus)
    return 0 if found_all else 1
