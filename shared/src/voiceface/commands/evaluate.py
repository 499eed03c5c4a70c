"""`voiceface evaluate`: metrics from two embedding tables, trial lists and an identity table."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments
from voiceface.commandline.exit_status import completeness_status
from voiceface.datasets import dataset_arguments

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus
    from voiceface.datasets.identities import Identity
    from voiceface.datasets.trials.trial_list import TrialList
    from voiceface.evaluation.protocol import Protocol
    from voiceface.evaluation.results import Results
    from voiceface.metrics.unavailable import UnavailableResult

__all__ = [
    "KIND_ORDER",
    "main",
    "open_list_files",
    "protocol_from_files",
    "read_identity_tables",
]

KIND_ORDER = ("match", "verify", "retrieval")


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate one system, or compare two on the same lists; exit status 0, or 3 with unavailable results."""
    parser = _parser()
    args = parser.parse_args(argv)
    if bool(args.baseline_voices) != bool(args.baseline_faces):
        parser.error("--baseline-voices and --baseline-faces belong together")
    if not args.lists and not args.data:
        parser.error("--lists or --data is required")
    tables = ("voices", "faces", "baseline_voices", "baseline_faces")
    arguments.require_existing_paths({name: getattr(args, name) for name in (*tables, "data")})
    from voiceface.datasets.trials.trial_list import TrialListError
    from voiceface.encoders.overlap import training_overlap
    from voiceface.encoders.records import stated_encoders
    from voiceface.evaluation.evaluator import compare, evaluate
    from voiceface.evaluation.protocol import Protocol
    from voiceface.metrics.unavailable import describe_unavailable

    if args.identities:
        identities = read_identity_tables(args.identities)
    else:
        identities = _open_identities(args)
    lists, unavailable = open_list_files(args.lists or _find_lists(args.data, args.split), identities)
    if unavailable and (args.missing == "error" or not lists):
        raise TrialListError("; ".join(map(str, unavailable)))
    protocol = Protocol(
        args.name,
        lists,
        tie_breaking=args.tie_breaking,
        seed=args.seed,
        replicates=args.bootstrap_samples,
    )
    if unavailable:
        print(describe_unavailable(unavailable), file=sys.stderr)
    training = [row for path in args.training or () for row in _as_identities(read_identity_tables([path]))]

    def evaluate_tables(voices: Path, faces: Path, out: Path | None = None) -> "Results":
        from voiceface.embeddings.table import EmbeddingTable

        tables = EmbeddingTable.load(voices), EmbeddingTable.load(faces)
        infos = [info for table in tables for info in stated_encoders(table)]
        dataset = args.data.resolve().name if args.data else ""
        overlap = tuple(training_overlap(infos, dataset, _as_identities(identities)))

        def add_overlap(found: "Results") -> "Results":
            return replace(found, encoder_overlap=overlap)

        return add_overlap(
            evaluate(
                protocol,
                *tables,
                identities,
                on_missing=args.missing,
                training_identities=training,
                unavailable=unavailable,
                on_result=None if out is None else lambda so_far: add_overlap(so_far).save(out),
            )
        )

    results = evaluate_tables(args.voices, args.faces, args.out)
    unavailable = results.unavailable
    print(results.summary_lines())
    print(f"\n{results.table()}", file=sys.stderr)
    if args.out:
        results.save(args.out)
    if args.text:
        results.save_text(args.text)
    if args.baseline_voices:
        print("\nfirst minus second, paired bootstrap over identities; Holm: p corrected for all lists")
        baseline = evaluate_tables(args.baseline_voices, args.baseline_faces)
        for name, gap in compare(results, baseline).items():
            print(
                f"{name}: {gap.value:+.6f} ({gap.low:+.6f} ... {gap.high:+.6f}), "
                f"p {gap.p_value:.4f}, Holm {gap.adjusted_p_value:.4f}"
            )
        known = {each.name for each in unavailable}
        unavailable += tuple(each for each in baseline.unavailable if each.name not in known)
        if unavailable:
            print(describe_unavailable(unavailable))
    return completeness_status(unavailable)


def protocol_from_files(
    lists: Sequence[str | Path],
    identity_source: "Corpus | Sequence[Identity]",
    *,
    name: str = "lists",
    tie_breaking: str = "expected",
    seed: int = 0,
    replicates: int = 1000,
) -> "Protocol":
    """Read lists into a protocol: matching first, then verification, retrieval, as published.

    Args:
        lists: files, or folders, of which all .txt and .txt.gz are read.
        identity_source: identities, for the labels of verification lists.
        name: of the protocol.
        tie_breaking: "expected" or "first".
        seed: of the bootstrap.
        replicates: of the bootstrap; 0 for no intervals.

    Raises:
        FileNotFoundError: a missing path, or a folder without lists.
        TrialListError: invalid lists; the message names all of them.
    """
    from voiceface.datasets.trials.trial_list import TrialListError
    from voiceface.evaluation.protocol import Protocol

    read, unavailable = open_list_files(lists, identity_source)
    if unavailable:
        raise TrialListError("; ".join(map(str, unavailable)))
    return Protocol(name, read, tie_breaking=tie_breaking, seed=seed, replicates=replicates)


def open_list_files(
    lists: Sequence[str | Path], identity_source: "Corpus | Sequence[Identity]"
) -> "tuple[tuple[TrialList, ...], tuple[UnavailableResult, ...]]":
    """Read lists in the order of a protocol; see `protocol_from_files`.

    Returns:
        (lists, those that are invalid with the reason).

    Raises:
        FileNotFoundError: a missing path, or a folder without lists.
    """
    from voiceface.datasets.trials.reading import read_trial_list
    from voiceface.datasets.trials.trial_list import TrialListError, trial_list_name
    from voiceface.metrics.unavailable import UnavailableResult

    files: list[Path] = []
    for entry in map(Path, lists):
        found = (
            [p for p in sorted(entry.iterdir()) if p.name.endswith((".txt", ".txt.gz"))]
            if entry.is_dir()
            else [entry]
        )
        if not found:
            raise FileNotFoundError(f"{entry}: no trial list (.txt or .txt.gz) in this folder")
        files += found
    read: list[TrialList] = []
    unavailable: list[UnavailableResult] = []
    for path in files:
        try:
            read.append(read_trial_list(path, identity_source))
        except TrialListError as error:
            unavailable.append(UnavailableResult.from_error(trial_list_name(path), error))
    read.sort(key=lambda q: (KIND_ORDER.index(q.kind), q.stratum == "U", q.stratum, q.direction == "f2v"))
    return tuple(read), tuple(unavailable)


def read_identity_tables(paths: Sequence[str | Path]) -> "Corpus | list[Identity]":
    """Read identity tables of any format and concatenate them.

    Args:
        paths: split tables (`vox1_test.csv`), meta tables (with tabs), or one manifest.

    Returns:
        Rows of the tables; a corpus for a manifest.

    Raises:
        FileNotFoundError: a missing table.
        IdentityError: an invalid table.
    """
    from voiceface.datasets.corpus import corpus_from_manifest
    from voiceface.datasets.layouts import is_manifest, read_identities

    rows: list[Identity] = []
    for path in map(Path, paths):
        if not is_manifest(path):
            rows += read_identities(path.parent, None, path)
        elif len(paths) == 1:
            return corpus_from_manifest(path)
        else:
            raise ValueError(f"{path} is a manifest, which cannot be combined with other tables")
    return rows


def _open_identities(args: argparse.Namespace) -> "Corpus | list[Identity]":
    """Identities of --data: a corpus if it has a manifest, else the table of the split."""
    from voiceface.datasets.corpus import corpus_from_manifest
    from voiceface.datasets.layouts import read_identities

    manifest = args.data / "manifest.csv"
    if manifest.is_file():
        return corpus_from_manifest(manifest, args.split)
    return read_identities(args.data, args.split)


def _find_lists(data: Path, split: str) -> list[Path]:
    """Trial lists of one split in DATA/list_wav.

    Raises:
        FileNotFoundError: no such list.
    """
    folder = data / "list_wav"
    found = [path for ending in ("txt", "txt.gz") for path in sorted(folder.glob(f"*_{split}.{ending}"))]
    if not found:
        raise FileNotFoundError(f"no trial list *_{split}.txt in {folder}; name lists with --lists")
    return found


def _as_identities(identity_source: "Corpus | list[Identity]") -> "list[Identity]":
    return identity_source if isinstance(identity_source, list) else identity_source.identities


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="voiceface evaluate", description=__doc__)
    add = parser.add_argument
    add("--voices", type=Path, required=True, help="voice embeddings (.npz, .parquet, .arrow, .feather)")
    add("--faces", type=Path, required=True, help="face embeddings")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data", type=arguments.data_folder, help=f"{arguments.CORPUS_HELP}; its identities and its lists"
    )
    source.add_argument(
        "--identities", nargs="+", metavar="CSV", help="identity tables of the lists, without a data folder"
    )
    dataset_arguments.add_split_argument(parser)
    add(
        "--lists",
        nargs="+",
        metavar="PATH",
        help="trial lists, or folders of them (default with --data: those of the split in DATA/list_wav)",
    )
    add(
        "--training",
        nargs="+",
        metavar="CSV",
        help="identity tables of the training identities: warns of overlap",
    )
    add("--out", type=Path, help="write all metrics as JSON")
    add("--text", type=Path, help="write one `name value` line per list, as published evaluations do")
    add("--name", default="lists", help="name of the protocol in the results")
    add("--tie-breaking", choices=("expected", "first"), default="expected", help="rule for equal scores")
    arguments.add_missing_argument(parser, "trials whose items have no embedding")
    add("--seed", type=int, default=0, help="random seed of the bootstrap over identities")
    add(
        "--bootstrap-samples",
        type=int,
        default=1000,
        help="number of bootstrap samples; 0 disables intervals",
    )
    add("--baseline-voices", type=Path, help="voice embeddings of a second system to compare with")
    add("--baseline-faces", type=Path, help="face embeddings of a second system to compare with")
    return parser
