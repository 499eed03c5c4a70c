"""Steps of `test`: open data and lists, state what is absent, evaluate, write results as they come."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.association.system import SystemSpec
from voiceface.commandline import arguments
from voiceface.io.file_kinds import printable
from voiceface.io.packed_folders import file_exists
from voiceface.io.wording import counted

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder
    from voiceface.association.evaluation import Evaluation
    from voiceface.datasets.corpus import Corpus
    from voiceface.datasets.trials.trial_list import TrialList
    from voiceface.embeddings.table import EmbeddingTable
    from voiceface.metrics.unavailable import UnavailableResult

__all__ = [
    "EvaluationData",
    "evaluate_corpus",
    "open_evaluation_data",
    "print_coverage",
    "print_results",
    "require_evaluation_paths",
    "require_media",
    "without_absent_files",
    "write_results",
]

MAX_NAMED = 20


@dataclass(frozen=True)
class EvaluationData:
    """Identities and trial lists of an evaluation.

    Attributes:
        corpus: the identities.
        lists: lists that can be evaluated.
        unavailable: lists that were asked for and cannot be evaluated.
    """

    corpus: "Corpus"
    lists: "tuple[TrialList, ...]"
    unavailable: "tuple[UnavailableResult, ...]" = ()


def require_evaluation_paths(args: argparse.Namespace) -> None:
    """Refuse, before networks are loaded, missing files and folders that the arguments of `test` name.

    Raises:
        FileNotFoundError: names all of them with their arguments.
    """
    names = ("weights", "data", "features", "lists", "voice_root", "face_root", "table")
    arguments.require_existing_paths({name: getattr(args, name, None) for name in names})


def open_evaluation_data(
    root: Path,
    split: str,
    names: Sequence[str],
    *,
    voice_root: Path | None = None,
    face_root: Path | None = None,
    voice_folder: str = "voxceleb1_id",
    list_folder: Path | None = None,
    generation_seed: int | None = None,
    on_missing: str = "error",
    skip_ungeneratable: bool = False,
) -> EvaluationData:
    """Open a split and its trial lists, and find everything that is absent; nothing is decoded.

    Args:
        root: corpus folder.
        split: "train", "val" or "test".
        names: list names without suffix.
        voice_root, face_root, voice_folder: see `voiceface.association.data.load_split`.
        list_folder, generation_seed, skip_ungeneratable: see
            `voiceface.association.trial_lists.open_trial_lists`.
        on_missing: "error", or "skip" what is absent.

    Raises:
        FileNotFoundError, ValueError: with "error", something is absent; the message names all of it. With
            "skip", no list is left; the message gives the reason of each.
    """
    from voiceface.association.data import keep_complete_identities, load_split
    from voiceface.association.trial_lists import load_trial_lists, open_trial_lists
    from voiceface.datasets.corpus import abbreviate
    from voiceface.datasets.trials.trial_list import TrialListError

    skips = on_missing == "skip"
    roots: dict[str, Any] = {"voice_root": voice_root, "face_root": face_root, "voice_folder": voice_folder}
    problems: list[str] = []
    try:
        corpus = load_split(root, split, skip_missing=skips, **roots)
    except FileNotFoundError as error:
        if skips:
            raise
        problems.append(str(error))
        try:
            corpus = _load_incomplete_split(root, split, **roots)
        except (OSError, ValueError):  # there is no data at all
            raise error from None
    corpus, absent = without_absent_files(corpus)
    if absent and not skips:
        problems.append(
            f"{len(absent)} files of the identities are absent: {abbreviate(absent)}. Complete the data, or "
            "skip these files (--missing skip)"
        )
    elif absent:
        print(f"skipped: {len(absent)} absent files: {abbreviate(absent)}", file=sys.stderr)
        corpus = keep_complete_identities(corpus)
    options: dict[str, Any] = {
        "list_folder": list_folder,
        "generation_seed": generation_seed,
        "on_missing": on_missing,
        "skip_ungeneratable": skip_ungeneratable,
    }
    if skips:
        lists, unavailable = open_trial_lists(root, names, corpus, **options)
        if not lists:
            raise TrialListError(f"none of the lists can be computed: {'; '.join(map(str, unavailable))}")
        return EvaluationData(corpus, lists, unavailable)
    try:
        lists = load_trial_lists(root, names, corpus, **options)
    except (FileNotFoundError, TrialListError) as error:
        if not problems:
            raise
        problems.append(str(error))
    if problems:
        raise FileNotFoundError("; ".join(problems))
    return EvaluationData(corpus, lists)


def _load_incomplete_split(root: Path, split: str, **roots: Any) -> "Corpus":
    """Load all identities of a split, those with absent folders without files, to check lists against it."""
    from voiceface.association.data import load_split
    from voiceface.datasets.corpus import IdentityRecord
    from voiceface.datasets.layouts import read_identities

    logger = logging.getLogger("voiceface.datasets.corpus")
    level = logger.level
    logger.setLevel(logging.ERROR)  # nothing is skipped here: the error names the absent folders
    try:
        corpus = load_split(root, split, skip_missing=True, **roots)
    finally:
        logger.setLevel(level)
    known = {record.identity for record in corpus.records}
    others = [identity for identity in read_identities(root, split) if identity not in known]
    empty = (IdentityRecord(identity, len(known) + i, (), ()) for i, identity in enumerate(others))
    return replace(corpus, records=(*corpus.records, *empty))


def without_absent_files(corpus: "Corpus") -> "tuple[Corpus, list[str]]":
    """Remove the files of a corpus that do not exist, such as those that only a manifest names.

    Returns:
        (corpus, removed clips and images).
    """
    absent = [item for item in corpus.voices if not file_exists(corpus.voice_path(item))]
    absent += [item for item in corpus.faces if not file_exists(corpus.face_path(item))]
    if not absent:
        return corpus, absent
    gone = set(absent)
    records = tuple(
        replace(
            record,
            voices=tuple(item for item in record.voices if item not in gone),
            faces=tuple(item for item in record.faces if item not in gone),
        )
        for record in corpus.records
    )
    return replace(corpus, records=records), absent


def require_media(corpus: "Corpus", voices: Sequence[str], faces: Sequence[str]) -> None:
    """Refuse, before anything is encoded, files that are no recordings or pictures by their first bytes.

    Such files are empty, filled with zeros, or of another known kind, such as web pages. What is wrong behind
    the first bytes is found when a file is decoded.

    Args:
        corpus: gives the paths.
        voices, faces: clips and images.

    Raises:
        ValueError: names all of them, up to 20, and counts the others.
    """
    from voiceface.io.own_files import find_wrong_kind

    found = {item: find_wrong_kind(corpus.voice_path(item), "sound") for item in dict.fromkeys(voices)}
    found |= {item: find_wrong_kind(corpus.face_path(item), "picture") for item in dict.fromkeys(faces)}
    wrong = [f"{printable(item)} is {kind}" for item, kind in found.items() if kind]
    if wrong:
        more = f"; and {len(wrong) - MAX_NAMED} more" if len(wrong) > MAX_NAMED else ""
        named = "; ".join(wrong[:MAX_NAMED]) + more
        raise ValueError(
            f"{counted(len(wrong), 'file')} of the data cannot be decoded: {named}. "
            "Repair the data, or skip these files (--missing skip)"
        )


def print_coverage(lists: "Sequence[TrialList]", unavailable: "Sequence[UnavailableResult]") -> None:
    """State on standard error, before anything is encoded, what will be skipped and what not be computed."""
    from voiceface.metrics.unavailable import describe_unavailable

    for trial_list in lists:
        if trial_list.skipped:
            total = len(trial_list) + trial_list.skipped
            what = f"{trial_list.skipped} of {total} trials, whose files are absent"
            if trial_list.kind == "retrieval":
                what = f"{trial_list.skipped} absent queries and gallery items"
            print(f"skipped: {trial_list.name}: {what}", file=sys.stderr)
    if unavailable:
        print(describe_unavailable(unavailable), file=sys.stderr)


def evaluate_corpus(
    model: "Embedder",
    args: argparse.Namespace,
    split: str,
    tables: "tuple[EmbeddingTable, EmbeddingTable] | None" = None,
) -> "tuple[Corpus, Evaluation]":
    """Evaluate a model on the trial lists of a corpus, with upper bounds if it is synthetic.

    Embeddings, and results after every list, are written to `args.out` as they come.

    Args:
        model: the model.
        args: parsed arguments of `voiceface.association.commands.add_evaluation_arguments`, and
            `voice_folder` if the command has it.
        split: split of the corpus.
        tables: embeddings of the voices and of the faces, if they exist already; None: files are embedded.

    Raises:
        FileNotFoundError, ValueError: see `open_evaluation_data` and `require_media`.
        voiceface.embeddings.table.EmbeddingError: files cannot be decoded; the others are in the cache.
    """
    from voiceface.association.data import rename_for_split
    from voiceface.association.evaluation import evaluate, list_items
    from voiceface.datasets.disclaimers import is_synthetic

    settings = model.config.evaluation
    data = open_evaluation_data(
        args.data,
        split,
        args.names or rename_for_split(settings.lists, split),
        voice_root=args.voice_root,
        face_root=args.face_root,
        voice_folder=getattr(args, "voice_folder", "voxceleb1_id"),
        list_folder=args.lists,
        generation_seed=args.generate_lists,
        on_missing=args.missing,
        skip_ungeneratable=not args.names,
    )
    print_coverage(data.lists, data.unavailable)
    if tables is None and args.missing != "skip":
        require_media(data.corpus, *list_items(data.corpus, data.lists))
    return data.corpus, evaluate(
        model,
        data.corpus,
        data.lists,
        name=f"{args.data.name} {split}",
        tie_breaking=args.tie_breaking or settings.tie_breaking,
        cache=args.cache or args.out / "cache",
        workers=args.workers,
        on_error=args.missing,
        population=args.data if is_synthetic(args.data) else None,
        unavailable=data.unavailable,
        out=args.out,
        tables=tables,
    )


def write_results(
    spec: SystemSpec,
    model: "Embedder",
    corpus: "Corpus",
    evaluation: "Evaluation",
    args: argparse.Namespace,
    **options: Any,
) -> Path:
    """Write results, tables and report of `test`; return the report's path.

    Args:
        spec: the system.
        model: the evaluated model.
        corpus: the evaluated identities.
        evaluation: the results.
        args: parsed arguments of `voiceface.association.commands.add_evaluation_arguments`.
        options: further arguments of `voiceface.association.evaluation.write_evaluation`.
    """
    from voiceface.association.evaluation import read_identity_weights, write_evaluation

    folder = args.weights if args.weights is None or args.weights.is_dir() else args.weights.parent
    flags = ("data", "features", "out", "weights")
    given = {flag: getattr(args, flag, None) for flag in flags}
    words = [f"{spec.name} test", *(f"--{flag} {path}" for flag, path in given.items() if path)]
    if "title" not in options:
        options["title"] = f"{spec.name} on {args.data.name}"
    return write_evaluation(
        args.out,
        model,
        corpus,
        evaluation,
        system=spec.name,
        subtitle=spec.subtitle,
        identity_weights=read_identity_weights(spec, model),
        runs={"main": folder} if folder and (folder / "log.jsonl").is_file() else {},
        commands=[" ".join(words)],
        **options,
    )


def print_results(evaluation: "Evaluation", report: Path) -> None:
    """Print the tables of an evaluation and the path of its report."""
    print(evaluation.results.table())
    if evaluation.all_pairs:
        from voiceface.evaluation.all_pairs import all_pairs_table

        print(f"\nall pairs of unseen identities\n{all_pairs_table(evaluation.all_pairs)}")
    print(f"report: {report}")
