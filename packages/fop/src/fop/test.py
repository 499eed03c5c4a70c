"""Evaluate a model on matching, verification and retrieval lists; write results and a report.

`fop test --data ROOT --out DIR`, or on features, without the encoders: `fop test --features FOLDER --out DIR`
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.association.commands import add_evaluation_arguments
from voiceface.association.list_evaluation import (
    evaluate_corpus,
    print_results,
    require_evaluation_paths,
    write_results,
)
from voiceface.commandline import arguments
from voiceface.commandline.exit_status import completeness_status
from voiceface.commandline.messages import print_disclaimers
from voiceface.datasets import dataset_arguments

import fop
from fop.system import SPEC

if TYPE_CHECKING:
    from voiceface.association.evaluation import Evaluation
    from voiceface.datasets.corpus import Corpus

    from fop.embedder import FopEmbedder

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """`fop test`."""
    parser = argparse.ArgumentParser(
        prog="fop test",
        description="Evaluate a model on the trial lists of a data folder, or on features (--features), for "
        "which no encoder is needed; write tables and a report.",
    )
    add_evaluation_arguments(parser, needs_data=False)
    parser.add_argument(
        "--features",
        type=Path,
        help="folder that `voiceface encode --data` wrote; with --data, in place of encoding its files",
    )
    dataset_arguments.add_split_argument(parser)
    arguments.add_resample_argument(parser)
    dataset_arguments.add_voice_folder_argument(parser)
    args = parser.parse_args(argv)
    if args.data is None and args.features is None:
        parser.error("give a data folder (--data), features (--features), or both")
    if args.features is not None and args.features.resolve() == args.out.resolve():
        parser.error("--out is the folder of --features, whose tables would be replaced: choose another")

    require_evaluation_paths(args)
    resample = None if args.resample is None else args.resample == "auto"
    model = fop.load(args.weights, device=args.device, resample=resample, on_corrupt=args.on_corrupt)
    if args.features is None:
        model.require()
    print_disclaimers(model.disclaimer)
    corpus, evaluation = _evaluate(model, args)
    options: dict[str, Any] = {}
    if args.data is None:
        options = {"title": f"fop on features of {args.features.name}", "has_media": False}
    report = write_results(SPEC, model, corpus, evaluation, args, **options)
    print_results(evaluation, report)
    return completeness_status(evaluation.results.unavailable)


def _evaluate(model: "FopEmbedder", args: argparse.Namespace) -> "tuple[Corpus, Evaluation]":
    """Evaluate on a data folder, on features, or on the lists of a folder with features of its files."""
    if args.features is None:
        return evaluate_corpus(model, args, args.split)
    from voiceface.encoders import FeatureSet

    from fop.feature_evaluation import evaluate_features

    features = FeatureSet.load(args.features)
    if args.data is None:
        return evaluate_features(model, features, args)
    return evaluate_corpus(model, args, args.split, tables=model.embed_features(features))


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("fop.test", None))
