"""`voiceface compare`: compare systems on the same identities and lists, with paired significance tests."""

import argparse
import logging
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.commandline import arguments
from voiceface.commandline.exit_status import completeness_status
from voiceface.datasets import dataset_arguments
from voiceface.io.foreign_files import read_json

if TYPE_CHECKING:
    from voiceface.evaluation.comparison import EmbeddingTables

__all__ = [
    "TABLE_FILES",
    "bootstrap_size_warning",
    "dataset_mismatch_warning",
    "load_tables",
    "main",
    "output_paths",
    "parse_systems",
    "read_results",
    "training_overlap_warning",
    "unavailable_warning",
]

log = logging.getLogger(__name__)
TABLE_FILES = ("voices.npz", "faces.npz")


def main(argv: Sequence[str] | None = None) -> int:
    """Compare systems from the output folders of their `test` commands.

    The exit status is 0, or 3 if a list or a metric could not be computed for all systems.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    args = parser.parse_args(words)
    if args.seed < 0 or args.bootstrap_samples < 2:
        parser.error(
            f"--seed {args.seed} --bootstrap-samples {args.bootstrap_samples}: expected 0 or more, "
            "and 2 or more"
        )
    folders = parse_systems(args.systems)
    from voiceface.association.config import TEST_LISTS
    from voiceface.association.data import rename_for_split
    from voiceface.association.list_evaluation import open_evaluation_data, print_coverage
    from voiceface.datasets.disclaimers import is_synthetic
    from voiceface.evaluation.comparison import compare_systems, count_tests
    from voiceface.evaluation.protocol import Protocol
    from voiceface.io.atomic import write_json
    from voiceface.report import SYNTHETIC_PAGE_DISCLAIMER
    from voiceface.report.comparison_report import (
        describe_table,
        format_comparison_table,
        write_comparison_report,
    )

    systems = {name: [load_tables(folder) for folder in each] for name, each in folders.items()}
    results_by_system = {name: [read_results(folder) for folder in each] for name, each in folders.items()}
    data = open_evaluation_data(
        args.data,
        args.split,
        args.names or rename_for_split(TEST_LISTS, args.split),
        voice_root=args.voice_root,
        face_root=args.face_root,
        voice_folder=args.voice_folder,
        list_folder=args.lists,
        generation_seed=args.generate_lists,
        on_missing=args.missing,
        skip_ungeneratable=not args.names,
    )
    print_coverage(data.lists, data.unavailable)
    protocol = Protocol(
        f"{args.data.name} {args.split}",
        data.lists,
        tie_breaking=args.tie_breaking,
        seed=args.seed,
        replicates=args.bootstrap_samples,
    )
    synthetic = is_synthetic(args.data)
    found = compare_systems(
        systems,
        protocol,
        data.corpus,
        population=args.data if synthetic else None,
        skip_missing=args.missing == "skip",
        unavailable=data.unavailable,
    )
    if text := bootstrap_size_warning(args.bootstrap_samples, count_tests(found)):
        log.warning("%s", text)
    warnings = [SYNTHETIC_PAGE_DISCLAIMER] if synthetic else []
    overlaps = [training_overlap_warning(name, runs) for name, runs in results_by_system.items()]
    warnings += [text for text in overlaps if text]
    warnings += [
        text for name, runs in results_by_system.items() if (text := unavailable_warning(name, runs))
    ]
    if text := dataset_mismatch_warning(results_by_system):
        log.warning("%s", text)
        warnings.append(text)
    page, numbers = output_paths(args.out)
    record = found.to_dict()
    record["folders"] = {name: [str(folder) for folder in each] for name, each in folders.items()}
    write_json(numbers, record)
    write_comparison_report(
        page,
        found,
        title=args.title,
        disclaimers=warnings,
        facts={
            "identities": len(data.corpus),
            "lists": len(data.lists),
            "utterances": len(data.corpus.voices),
            "images": len(data.corpus.faces),
        },
        commands=[shlex.join(["voiceface", "compare", *words])],
    )
    print(f"{format_comparison_table(found)}\n\n{describe_table(found)}\nreport: {page}\nmetrics: {numbers}")
    return completeness_status(found.unavailable)


def parse_systems(arguments: Sequence[str]) -> dict[str, list[Path]]:
    """Parse NAME=DIR or NAME=DIR,DIR,... to name -> folder of each run.

    Raises:
        ValueError: another form, a repeated name or folder, or fewer than two names.
    """
    found: dict[str, list[Path]] = {}
    for word in arguments:
        name, equals, rest = word.partition("=")
        folders = [Path(part) for part in rest.split(",") if part]
        if not (name and equals and folders):
            raise ValueError(f"expected NAME=DIR, or NAME=DIR,DIR,... for several runs; got {word!r}")
        if name in found:
            raise ValueError(f"the name {name} is repeated; runs of one system are {name}=DIR,DIR")
        if len({folder.resolve() for folder in folders}) < len(folders):
            raise ValueError(f"{word}: a folder is repeated; every run counts once")
        found[name] = folders
    if len(found) < 2:
        raise ValueError(f"a comparison needs two or more systems NAME=DIR, got {len(found)}")
    return found


def load_tables(folder: Path) -> "EmbeddingTables":
    """Load the voice and face embeddings of a system's `test`.

    Raises:
        FileNotFoundError: a file is missing.
    """
    from voiceface.embeddings.table import EmbeddingTable

    missing = [name for name in TABLE_FILES if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {' and '.join(missing)}: expected the output folder of a system's test, "
            f"`SYSTEM test --data DATA --out {folder}`"
        )
    voices, faces = (EmbeddingTable.load(folder / name) for name in TABLE_FILES)
    if voices.vectors.shape[1] != faces.vectors.shape[1]:
        widths = f"{voices.vectors.shape[1]} and {faces.vectors.shape[1]}"
        raise ValueError(f"{folder}: voices and faces differ in width ({widths}), expected one model")
    return voices, faces


def read_results(folder: Path) -> dict[str, Any]:
    """Read the results.json of a system's `test`; empty without one.

    Raises:
        ValueError: an invalid file.
    """
    path = folder / "results.json"
    if not path.is_file():
        return {}
    found = read_json(path, ValueError, "results of a system's test", remedy="evaluate the system again")
    if not isinstance(found.get("leaked_identities", []), list) or not all(
        isinstance(each, dict) and "name" in each for each in found.get("unavailable", [])
    ):
        raise ValueError(f"{path} contains no results of a system's test; evaluate the system again")
    return found


def training_overlap_warning(name: str, results_per_run: Sequence[Mapping[str, Any]]) -> str:
    """Warning about evaluated identities that are training identities of a system; empty without any."""
    leaked = {identity for results in results_per_run for identity in results.get("leaked_identities", [])}
    if not leaked:
        return ""
    return f"{name} was trained on {len(leaked)} of its evaluation identities: its metrics are too high."


def unavailable_warning(name: str, results_per_run: Sequence[Mapping[str, Any]]) -> str:
    """Warning about results that a system's own `test` could not compute; empty without any."""
    missing = {
        each["name"]: f"{each['name']} ({each.get('reason', 'no reason given')})"
        for results in results_per_run
        for each in results.get("unavailable", [])
    }
    if not missing:
        return ""
    return (
        f"The test of {name} could not compute {len(missing)} of its results: {'; '.join(missing.values())}."
    )


def dataset_mismatch_warning(results_per_system: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Warning about results from data of different names; empty if they agree or are not stated.

    Items of one name are assumed to be the same file, but two populations may contain the same names.
    """
    named = {
        name: sorted({str(results["protocol"]) for results in each if "protocol" in results})
        for name, each in results_per_system.items()
    }
    if len({protocol for each in named.values() for protocol in each}) < 2:
        return ""
    where = "; ".join(f"{name} on {', '.join(each)}" for name, each in named.items() if each)
    return f"Evaluated on data of different names ({where}): metrics are comparable only for the same files."


def bootstrap_size_warning(num_samples: int, num_tests: int, level: float = 0.05) -> str:
    """Warning if no corrected test can be significant with so few bootstrap samples; else empty."""
    if num_tests * 2 / (num_samples + 1) < level:
        return ""
    return (
        f"{num_samples} bootstrap samples are too few for {num_tests} tests: none can be significant after "
        f"Holm's correction. Use --bootstrap-samples {math.ceil(2 * num_tests / level)} or more."
    )


def output_paths(out: Path) -> tuple[Path, Path]:
    """Paths of page and metrics: FILE.html and FILE.json, or compare.html and compare.json in a folder."""
    if out.suffix.lower() in (".html", ".htm"):
        return out, out.with_suffix(".json")
    return out / "compare.html", out / "compare.json"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="voiceface compare",
        description="Compare systems on the same identities and lists: one table, one report, and a paired "
        "bootstrap test of every two systems, corrected for the number of tests (Holm).",
    )
    add = parser.add_argument
    add(
        "systems",
        nargs="+",
        metavar="NAME=DIR",
        help="a system and the folder that its test wrote; NAME=DIR,DIR,... takes the mean of several runs",
    )
    add("--data", type=arguments.data_folder, required=True, help=arguments.CORPUS_HELP)
    add("--out", type=Path, required=True, help="FILE.html (metrics: FILE.json), or a folder")
    dataset_arguments.add_split_argument(parser)
    add("--lists", type=Path, help="list folder (default DATA/list_wav)")
    add("--list", action="append", dest="names", help="list name, repeatable (default: the ten)")
    add("--generate-lists", type=int, metavar="SEED", help="generate missing lists by the published rule")
    add(
        "--tie-breaking",
        choices=["expected", "first"],
        default="expected",
        help="rule for equal scores (default: %(default)s)",
    )
    arguments.add_missing_argument(parser, "items that not every system has")
    add(
        "--seed",
        type=int,
        default=0,
        help="random seed of the identity-level bootstrap (default: %(default)s)",
    )
    add(
        "--bootstrap-samples",
        type=int,
        default=arguments.COMPARISON_SAMPLES,
        help="number of bootstrap samples (default: %(default)s)",
    )
    add("--title", default="", help="heading of the page (default: the systems)")
    dataset_arguments.add_root_arguments(parser)
    dataset_arguments.add_voice_folder_argument(parser)
    return parser
