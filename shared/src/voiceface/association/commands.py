"""Commands that every association system has: `test`, `embed`, `match`, `demo`, `export`.

A package adds `association_commands(SPEC)` to the commands of its `__main__`.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from voiceface.association import onnx_command, shard_command
from voiceface.association.loading import load_embedder
from voiceface.association.model_loader import ModelLoader
from voiceface.association.system import SystemSpec
from voiceface.checkpoints import export_compact
from voiceface.commandline import arguments
from voiceface.commandline.messages import print_disclaimers, report_left_out, report_notes
from voiceface.datasets import dataset_arguments
from voiceface.export.arguments import add_onnx_argument
from voiceface.io.input_files import require_writable_files
from voiceface.io.locations import as_location
from voiceface.io.own_files import LeftOut
from voiceface.io.wording import counted

__all__ = [
    "add_evaluation_arguments",
    "add_impostor_argument",
    "association_commands",
    "demo_command",
    "embed_command",
    "export_command",
    "impostor_metadata",
    "match_command",
    "test_command",
]
DEMO_PRESETS = ("quick", "standard")


def association_commands(
    spec: SystemSpec,
) -> dict[str, tuple[Callable[[Sequence[str] | None], int], str]]:
    """Build the shared commands of a system, for `voiceface.commandline.dispatch.dispatch`."""
    functions = {
        "test": (test_command, "matching, verification and retrieval on trial lists"),
        "embed": (embed_command, "write the embeddings of utterances and images to one table"),
        "match": (match_command, "rank images for a voice, or voices for an image"),
        "demo": (demo_command, "train and evaluate on a synthetic population, and write a report"),
        "export": (export_command, "write a checkpoint in half precision, or both encoders as ONNX files"),
    }
    return {name: (partial(function, spec), text) for name, (function, text) in functions.items()}


def embed_command(spec: SystemSpec, argv: Sequence[str] | None = None) -> int:
    """`PROGRAM embed`."""
    parser = argparse.ArgumentParser(
        prog=f"{spec.name} embed",
        description="Embed utterances and images. Voices and faces share one space: compare by cosine. "
        "Run the same command again to resume a stopped run.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        help="files, and folders searched recursively, packed or not, here and at addresses (s3://...)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="table to write: .npz, .parquet, .arrow or .feather; with --engine ray also a folder for the "
        "parts of a table that is too large for one file",
    )
    arguments.add_weights_argument(parser)
    add_onnx_argument(parser, onnx_command.MODALITIES)
    parser.add_argument("--relative-to", type=Path, help="name files relative to this folder")
    parser.add_argument("--cache", type=Path, help="folder for finished embeddings (default: OUT.cache)")
    arguments.add_resample_argument(parser, "auto")
    arguments.add_on_corrupt_argument(parser)
    arguments.add_long_recordings_argument(parser)
    arguments.add_crop_arguments(parser, every_face=True)
    arguments.add_strict_argument(parser)
    arguments.add_workers_argument(parser)
    arguments.add_device_argument(parser)
    arguments.add_engine_arguments(parser, "embed files, each with the model loaded once")
    args = parser.parse_args(argv)
    if args.out.suffix not in shard_command.TABLE_SUFFIXES and args.engine == "local":
        out = as_location(args.out)
        parser.error(f"--out {out}: expected a name that ends in .npz, .parquet, .arrow or .feather")
    arguments.check_engine_arguments(parser, args)
    if shard_command.needs_units(args, args.paths):
        return shard_command.embed_by_units(spec, args)

    from voiceface.association.branches import describe_branch
    from voiceface.association.embedding import add_videos, describe_items, embed, find_files
    from voiceface.embeddings.encoder_info import Modality, format_encoders

    left_out: list[LeftOut] = []
    voices, faces = find_files(args.paths, left_out)
    require_writable_files({"out": args.out})
    model = ModelLoader.from_arguments(spec, args).open(args.device, voices, faces)
    print_disclaimers(model.disclaimer)
    cache = args.cache or args.out.with_name(args.out.name + ".cache")
    sources = add_videos(model, faces, voices)
    table = embed(model, voices, sources, relative_to=args.relative_to, cache=cache, workers=args.workers)
    weights = "" if model.is_bundled else str(args.onnx[0] if args.onnx else args.weights)
    branches = (describe_branch(model, modality, spec.name, weights) for modality in get_args(Modality))
    replace(table, encoder=format_encoders(branches)).save(args.out)
    print(
        f"{args.out}: {counted(len(table), 'embedding')} of length {model.embedding_dim}, of "
        f"{describe_items(table, voices, args.relative_to)}"
    )
    report_notes(table.facts.values())
    left_out += [LeftOut.from_error(item, reason) for item, reason in table.failed.items()]
    return report_left_out(left_out, strict=args.strict)


def match_command(spec: SystemSpec, argv: Sequence[str] | None = None) -> int:
    """`PROGRAM match`."""
    parser = argparse.ArgumentParser(
        prog=f"{spec.name} match",
        description="Rank images for a voice, or voices for an image, by the cosine of their embeddings.",
    )
    parser.add_argument("query", nargs="+", type=Path, help="utterances, or images")
    parser.add_argument(
        "--gallery",
        nargs="+",
        type=Path,
        required=True,
        metavar="PATH_OR_URL",
        help="candidates: files and folders, or one gallery of `voiceface gallery`",
    )
    arguments.add_weights_argument(parser)
    parser.add_argument(
        "--by-folder", action="store_true", help="one candidate per folder: the mean of its files"
    )
    parser.add_argument("--top", type=int, default=8, help="candidates shown (default: 8)")
    parser.add_argument("--report", type=Path, help="also write a page with the images and voices")
    parser.add_argument(
        "--json", type=Path, help="also write all ranks and scores (of a stored gallery the best --top)"
    )
    arguments.add_on_corrupt_argument(parser)
    arguments.add_long_recordings_argument(parser)
    arguments.add_crop_arguments(parser, every_face=True)
    arguments.add_strict_argument(parser)
    arguments.add_workers_argument(parser)
    arguments.add_device_argument(parser)
    args = parser.parse_args(argv)
    if args.top < 1:
        parser.error("--top must be at least 1")

    from voiceface.association.match import run_match

    return run_match(spec, args)


def test_command(spec: SystemSpec, argv: Sequence[str] | None = None) -> int:
    """`PROGRAM test`."""
    parser = argparse.ArgumentParser(
        prog=f"{spec.name} test",
        description="Evaluate a model on the trial lists of a data folder; write tables and a report.",
    )
    add_evaluation_arguments(parser)
    dataset_arguments.add_split_argument(parser)
    arguments.add_resample_argument(parser)
    dataset_arguments.add_voice_folder_argument(parser)
    args = parser.parse_args(argv)

    from voiceface.association.list_evaluation import (
        evaluate_corpus,
        print_results,
        require_evaluation_paths,
        write_results,
    )
    from voiceface.commandline.exit_status import completeness_status

    require_evaluation_paths(args)
    resample = None if args.resample is None else args.resample == "auto"
    model = load_embedder(
        spec, args.weights, device=args.device, resample=resample, on_corrupt=args.on_corrupt
    )
    model.require()
    print_disclaimers(model.disclaimer)
    corpus, evaluation = evaluate_corpus(model, args, args.split)
    report = write_results(spec, model, corpus, evaluation, args)
    print_results(evaluation, report)
    return completeness_status(evaluation.results.unavailable)


def add_evaluation_arguments(parser: argparse.ArgumentParser, *, needs_data: bool = True) -> None:
    """Add the arguments of `test` that all systems share, except for the split."""
    arguments.add_weights_argument(parser)
    parser.add_argument("--data", type=arguments.data_folder, required=needs_data, help=arguments.CORPUS_HELP)
    parser.add_argument("--out", type=Path, required=True, help="folder for results and report")
    parser.add_argument("--lists", type=Path, help="list folder (default: DATA/list_wav)")
    parser.add_argument(
        "--list", action="append", dest="names", help="list name, repeatable (default: all of the split)"
    )
    parser.add_argument(
        "--generate-lists", type=int, metavar="SEED", help="generate missing lists by the published rule"
    )
    parser.add_argument(
        "--tie-breaking", choices=["expected", "first"], help="default: as in the configuration"
    )
    parser.add_argument("--cache", type=Path, help="embedding cache (default: OUT/cache)")
    arguments.add_missing_argument(parser, "identities, files and trials whose data is missing")
    arguments.add_on_corrupt_argument(parser)
    dataset_arguments.add_root_arguments(parser)
    arguments.add_workers_argument(parser)
    arguments.add_device_argument(parser)


def demo_command(spec: SystemSpec, argv: Sequence[str] | None = None) -> int:
    """`PROGRAM demo`."""
    out = f"runs/demo_{spec.name}"
    parser = argparse.ArgumentParser(
        prog=f"{spec.name} demo",
        description="Generate synthetic identities, train on them, evaluate on unseen ones, write a report. "
        "Run it again to resume a stopped demo.",
    )
    parser.add_argument("--out", type=Path, default=Path(out), help=f"folder (default: {out})")
    parser.add_argument("--preset", default="quick", choices=DEMO_PRESETS, help="size (default: quick)")
    parser.add_argument("--real", type=Path, help="folder with own utterances and images, ranked as well")
    parser.add_argument("--seed", type=int, help="seed of the training runs")
    parser.add_argument("--workers", type=int, help="processes for the identities (default: one per core)")
    arguments.add_crop_arguments(parser)
    arguments.add_device_argument(parser)
    args = parser.parse_args(argv)
    if args.real and not args.real.is_dir():
        raise FileNotFoundError(f"--real: no folder at {args.real}")

    from voiceface.association.demo import run_demo
    from voiceface.faces.own_pictures import PictureReader

    start = time.monotonic()
    report = run_demo(
        spec,
        args.out,
        preset=args.preset,
        real=args.real,
        pictures=PictureReader.from_arguments(args),
        seed=args.seed,
        workers=args.workers,
        device=args.device,
    )
    print(f"{time.monotonic() - start:.0f} s in total\nreport: {report}")
    return 0


def export_command(spec: SystemSpec, argv: Sequence[str] | None = None) -> int:
    """`PROGRAM export`."""
    parser = export_compact.build_parser(f"{spec.name} export", onnx=onnx_command.DESCRIPTION)
    add_impostor_argument(parser)
    onnx_command.add_export_arguments(parser)
    args = parser.parse_args(argv)
    if args.out.suffix == ".onnx":
        return onnx_command.run_onnx_export(spec, args)
    export_compact.require_run(parser, args)
    arguments.require_existing_paths({"impostor_scores": args.impostor_scores})
    extra = impostor_metadata(spec, args.run, args.impostor_scores)
    out = export_compact.export_compact(
        args.run, args.out, system=spec.name, kind="model", computed_keys=spec.computed_keys, extra=extra
    )
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
    return 0


def add_impostor_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument of `export` that stores the scores of impostor pairs with the weights."""
    parser.add_argument(
        "--impostor-scores",
        type=Path,
        metavar="DATA",
        help="store the scores of impostor pairs on the validation identities of this folder, from which "
        "`match` and `report` compute percentiles (default: those that the training stored)",
    )


def impostor_metadata(spec: SystemSpec, weights: Path, data: Path | None) -> dict[str, Any]:
    """Measure the scores of impostor pairs, as metadata of a checkpoint; nothing without `data`.

    Args:
        spec: the system.
        weights: checkpoint or run folder.
        data: data folder with a validation split.

    Raises:
        ValueError: it has no pair of different identities.
    """
    if data is None:
        return {}
    from voiceface.association.data import load_split
    from voiceface.association.impostor_scores import measure_corpus

    model = load_embedder(spec, weights)
    model.require()
    scores = measure_corpus(
        model, load_split(data, "val"), source=f"validation identities of {data.resolve().name}"
    )
    if scores is None:
        raise ValueError(f"{data}: its validation split has no two identities with voices and faces")
    return {"impostor_scores": scores.to_values()}
