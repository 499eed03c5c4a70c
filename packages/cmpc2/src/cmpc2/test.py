"""Evaluate a model on matching, verification and retrieval lists; write results and a report.

`cmpc2 test --data ROOT --out DIR [--lists PUBLISHED_FOLDER] [--weights FILE] [--table training.csv]`
"""

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.association.commands import add_evaluation_arguments
from voiceface.association.list_evaluation import (
    evaluate_corpus,
    print_coverage,
    print_results,
    require_evaluation_paths,
    write_results,
)
from voiceface.commandline.exit_status import completeness_status
from voiceface.commandline.messages import print_disclaimers
from voiceface.datasets import dataset_arguments

import cmpc2
from cmpc2.system import SPEC

if TYPE_CHECKING:
    from voiceface.association.evaluation import Evaluation
    from voiceface.datasets.corpus import Corpus
    from voiceface.metrics.unavailable import UnavailableResult

    from cmpc2.embedder import Embedder

__all__ = ["CMPC_LIST_PREFIXES", "main"]

CMPC_LIST_PREFIXES = ("matching_", "veriflist_", "wav_", "jpg_")


def main(argv: Sequence[str] | None = None) -> int:
    """`cmpc2 test`."""
    parser = argparse.ArgumentParser(
        prog="cmpc2 test",
        description="Evaluate a model on the matching, verification and retrieval lists of CMPC, or on the "
        "trial lists of a data folder; write tables and a report.",
    )
    add_evaluation_arguments(parser)
    parser.add_argument(
        "--split",
        choices=dataset_arguments.SPLITS,
        help="split (default: all for the lists of CMPC, else test)",
    )
    parser.add_argument("--table", type=Path, help="training.csv of the model, for its training identities")
    parser.add_argument(
        "--bootstrap-samples", type=int, default=1000, help="bootstrap samples; 0: no intervals"
    )
    args = parser.parse_args(argv)

    require_evaluation_paths(args)
    from cmpc2.evaluation import training_overlap_warning
    from cmpc2.prototype_retrieval import read_training_table

    model = cmpc2.load_embedder(args.weights, device=args.device, on_corrupt=args.on_corrupt)
    print_disclaimers(model.disclaimer)
    if args.tie_breaking:
        settings = model.config.evaluation.model_copy(update={"tie_breaking": args.tie_breaking})
        model.config = model.config.model_copy(update={"evaluation": settings})
    rows = read_training_table(args.table) if args.table else []
    training_identities = {row.identity for row in rows}
    lists, unavailable = _find_cmpc_lists(args)
    if lists:
        corpus, evaluation = _evaluate_published_lists(model, lists, unavailable, args, training_identities)
    else:
        names = [*(model.identity_names or ()), *sorted(training_identities)]
        model.identity_names = tuple(dict.fromkeys(names))
        corpus, evaluation = evaluate_corpus(model, args, args.split or "test")
    report = write_results(
        SPEC,
        model,
        corpus,
        evaluation,
        args,
        title=f"cmpc2 on {args.data.name}" + (" (CMPC lists)" if lists else ""),
        disclaimers=[training_overlap_warning(evaluation.results)],
    )
    print_results(evaluation, report)
    return completeness_status(evaluation.results.unavailable)


def _find_cmpc_lists(args: argparse.Namespace) -> "tuple[list[Path], list[UnavailableResult]]":
    """Find the published lists of CMPC; none if the folder has other lists. Also state absent ones."""
    from voiceface.datasets.trials.trial_list import trial_list_name
    from voiceface.metrics.unavailable import UnavailableResult

    from cmpc2.evaluation import find_trial_lists

    folder, asked = args.lists or args.data, args.names or ()
    try:
        paths = find_trial_lists(folder, asked)
    except FileNotFoundError:
        paths = []
        if asked and args.missing == "skip":
            with contextlib.suppress(FileNotFoundError):
                by_name = {trial_list_name(path): path for path in find_trial_lists(folder)}
                paths = [by_name[name] for name in asked if name in by_name]
        if not paths and args.generate_lists is None:
            if args.lists:
                raise
            if not any((args.data / name).is_dir() for name in ("list_wav", "lists")):
                raise FileNotFoundError(
                    f"no trial lists below {args.data}: name the folder of CMPC's lists with --lists FOLDER, "
                    "or generate lists by the published rule with --generate-lists SEED"
                ) from None
    found = [path for path in paths if path.name.startswith(CMPC_LIST_PREFIXES)]
    names = {trial_list_name(path) for path in found}
    absent = [name for name in asked if name not in names] if found else []
    return found, [UnavailableResult(name, f"no list of CMPC of this name below {folder}") for name in absent]


def _evaluate_published_lists(
    model: "Embedder",
    paths: Sequence[Path],
    unavailable: "Sequence[UnavailableResult]",
    args: argparse.Namespace,
    training_identities: set[str],
) -> "tuple[Corpus, Evaluation]":
    """Evaluate CMPC's lists, whose identities may belong to any split; write results after every list."""
    from voiceface.association.evaluation import RESULTS_FILE, Evaluation
    from voiceface.datasets.corpus import Corpus, IdentityRecord
    from voiceface.datasets.layouts import find_voice_root, read_identities

    from cmpc2.evaluation import MediaPaths, evaluate_trial_lists, training_overlap_warning
    from cmpc2.list_coverage import open_published_lists
    from cmpc2.published import get_training_identities, identify_published_model

    try:
        identities = read_identities(args.data, args.split)
    except FileNotFoundError:
        identities = read_identities(args.lists or args.data, args.split)
    media = MediaPaths(
        args.voice_root or find_voice_root(args.data), args.face_root or args.data / "unzippedFaces"
    )
    if args.weights:
        training_identities = training_identities | set(
            get_training_identities(identify_published_model(args.weights), identities)
        )
    lists, unusable = open_published_lists(paths, identities, media, on_missing=args.missing)
    unavailable = (*unavailable, *unusable)
    print_coverage([], unavailable)
    results, voices, faces = evaluate_trial_lists(
        model,
        lists,
        identities,
        media,
        name=f"CMPC lists on {args.data.name}",
        cache=args.cache or args.out / "cache",
        workers=args.workers,
        on_error=args.missing,
        training_identities=training_identities,
        replicates=args.bootstrap_samples,
        unavailable=unavailable,
        on_result=lambda so_far: so_far.save(args.out / RESULTS_FILE),
    )
    if warning := training_overlap_warning(results):
        print_disclaimers(warning)
    records = tuple(IdentityRecord(identity, row, (), ()) for row, identity in enumerate(identities))
    corpus = Corpus(records, media.voice_root, media.face_root)
    return corpus, Evaluation(results, voices, faces)


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("cmpc2.test", None))
