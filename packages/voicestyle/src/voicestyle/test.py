"""`voicestyle test`: generate faces of test identities and compare them with the real faces."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments
from voiceface.commandline.exit_status import completeness_status
from voiceface.datasets import dataset_arguments

from voicestyle.arguments import (
    add_bank_arguments,
    add_config_arguments,
    add_model_arguments,
    bank_options,
    model_options,
    require_inputs,
)

if TYPE_CHECKING:
    import numpy as np
    from voiceface.metrics.unavailable import UnavailableResult

    from voicestyle.config import VoiceStyleConfig
    from voicestyle.evaluation import EvaluationResult
    from voicestyle.evaluation_data import EvaluationSet
    from voicestyle.image_losses import IdentityEncoder
    from voicestyle.models import PipelineModels
    from voicestyle.pipeline_records import PipelineResult

__all__ = ["describe_skipped_voices", "evaluate_results", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Write OUT/results.json, OUT/report.html, and below OUT/generated everything that `generate` writes.

    The exit status is 0, or 3 if identities or metrics are listed as unavailable.
    """
    parser = build_parser()
    args = parser.parse_intermixed_args(argv)
    if args.num_identities is not None and args.num_identities < 2:
        parser.error("--num-identities must be at least 2: images are compared with those of others")
    require_inputs(args)
    from voiceface.commandline.messages import print_disclaimers, print_skipped
    from voiceface.io.atomic import write_json
    from voiceface.io.input_files import make_writable_directory
    from voiceface.metrics.unavailable import describe_unavailable
    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory
    from voiceface.runtime.progress import write_line

    from voicestyle.bank_builders import BUNDLED_PRESET, load_bank
    from voicestyle.config import VoiceStyleConfig
    from voicestyle.evaluation_data import build_corpus_evaluation_set, build_synthetic_evaluation_set
    from voicestyle.evaluation_report import write_evaluation_report
    from voicestyle.image_losses import load_identity_encoder
    from voicestyle.models import load_models
    from voicestyle.pipeline_runner import run_pipeline_on_files
    from voicestyle.result_store import BANK_FILE, check_output_directory

    keep_freed_memory()
    config = load_config(args.cfg, VoiceStyleConfig, "voicestyle", args.override)
    check_output_directory(args.out / "generated", args.resume)
    models = load_models(config, **model_options(args))
    print_disclaimers(models.disclaimer)
    out = make_writable_directory(args.out)
    evaluation_set = (
        build_synthetic_evaluation_set(args.population, args.split, args.num_identities, out / "clips")
        if args.population
        else build_corpus_evaluation_set(args.data, args.split, args.num_identities)
    )
    if evaluation_set.unavailable:
        print(describe_unavailable(evaluation_set.unavailable), file=sys.stderr)
    path = args.evaluation_identity
    identity_encoder = (
        load_identity_encoder(path, str(models.device))
        if path
        else _load_bundled_identity_encoder(evaluation_set)
    )
    # The synthetic bank holds the identities that CMPC was trained on.
    is_trained = args.weights is not None or args.cmpc is not None
    bank = load_bank(
        models,
        config,
        args.bank,
        population=args.population if is_trained and args.population else BUNDLED_PRESET,
        cache_file=out / BANK_FILE,
        **bank_options(args),
    )
    in_bank = {video.identity for video in bank.videos} & set(evaluation_set.identity_names)
    exclude = [*args.exclude, *(() if args.keep_test_identities else sorted(in_bank))]
    if in_bank:
        consequence = (
            "their own images may be retrieved"
            if args.keep_test_identities
            else "they are excluded (--keep-test-identities keeps them)"
        )
        print(
            f"{len(in_bank)} of {len(evaluation_set.identity_names)} test identities are in the bank: "
            f"{consequence}",
            file=sys.stderr,
        )
    voices = [
        (path, Path(name)) for path, name in zip(evaluation_set.voice_paths, evaluation_set.identity_names)
    ]
    results, left_out = run_pipeline_on_files(
        voices,
        bank,
        models,
        config,
        out / "generated",
        exclude=exclude,
        resume=args.resume,
        on_progress=write_line,
        data_folder=True,
    )
    skipped = [
        f"{item.path}: {'; '.join(filter(None, item[1:]))}"
        for item in dict.fromkeys([*left_out, *bank.left_out])
    ]
    print_skipped(skipped)
    result, images = evaluate_results(
        results,
        evaluation_set,
        models,
        config,
        identity_encoder,
        path.name if path else "attribute reader",
        args.bootstrap_samples,
    )
    result = replace(
        result,
        unavailable=(
            *evaluation_set.unavailable,
            *describe_skipped_voices(voices, results, skipped),
            *result.unavailable,
        ),
    )
    num_in_bank = len(in_bank) if args.keep_test_identities else 0
    write_json(
        out / "results.json",
        {
            **result.to_dict(),
            "disclaimer": models.disclaimer,
            "skipped": skipped,
            "in_bank": sorted(in_bank) if args.keep_test_identities else [],
        },
    )
    print(result.format_table())
    texts = (models.disclaimer, bank.disclaimer, evaluation_set.disclaimer)
    report = write_evaluation_report(
        out / "report.html",
        result,
        *images,
        disclaimers=list(dict.fromkeys(text for text in texts if text)),
        voices=[each.voice_path for each in results if each.voice_path is not None],
        subtitle=f"{len(results)} identities of the split {args.split}; bank: {bank.name}, which contains "
        f"{num_in_bank} of them.",
    )
    print(f"report: {report}")
    return completeness_status(result.unavailable)


def describe_skipped_voices(
    voices: "Sequence[tuple[Path, Path]]", results: "Sequence[PipelineResult]", skipped: "Sequence[str]"
) -> "list[UnavailableResult]":
    """State the identities without a generated face, each with the reason why its recording was skipped."""
    from voiceface.metrics.unavailable import UnavailableResult

    used = {each.name for each in results}
    rows = []
    for path, name in voices:
        if name.as_posix() not in used:
            reason = next((text for text in skipped if str(path) in text), "its recording was skipped")
            rows.append(UnavailableResult(f"identity {name.as_posix()}", reason))
    return rows


def evaluate_results(
    results: "Sequence[PipelineResult]",
    evaluation_set: "EvaluationSet",
    models: "PipelineModels",
    config: "VoiceStyleConfig",
    identity_encoder: "IdentityEncoder | None",
    identity_encoder_name: str,
    replicates: int = 1000,
) -> "tuple[EvaluationResult, tuple[np.ndarray, np.ndarray, list[np.ndarray]]]":
    """Compute the metrics of generated faces; also return the images compared: final, initial, real ones."""
    import numpy as np
    import torch

    from voicestyle import pipeline
    from voicestyle.evaluation import evaluate, mean_of_others
    from voicestyle.evaluation_data import select_ground_truth
    from voicestyle.stylegan2.images import from_uint8

    rows = [evaluation_set.identity_names.index(each.name) for each in results]
    final = np.stack([each.image for each in results])
    initial = np.stack([each.initial_image for each in results])
    voices = torch.nn.functional.normalize(
        torch.cat([each.retrieval.query.embedding for each in results]), dim=1
    )
    face_encoder = pipeline.build_face_encoder(models, config)
    with torch.no_grad():
        faces = torch.cat([face_encoder(part.to(models.device)) for part in from_uint8(final).split(16)])
    genders = None if evaluation_set.genders is None else evaluation_set.genders[rows]
    others = mean_of_others((faces.cpu() @ voices.cpu().T).double().numpy(), genders)
    similarity = np.array([each.similarity for each in results])
    initial_similarity = np.array([each.initial_similarity for each in results])
    real = [evaluation_set.true_images[row] for row in rows]
    truth = evaluation_set.ground_truth
    result = evaluate(
        [evaluation_set.identity_names[row] for row in rows],
        final,
        initial,
        real,
        (similarity, initial_similarity, others),
        identity_encoder=identity_encoder,
        identity_encoder_name=identity_encoder_name,
        identity_encoder_device=models.device if truth is None else "cpu",
        groups=genders,
        ground_truth=None if truth is None else select_ground_truth(truth, rows),
        replicates=replicates,
    )
    return result, (final, initial, real)


def _load_bundled_identity_encoder(evaluation_set: "EvaluationSet") -> "IdentityEncoder | None":
    """Load the attribute reader as identity encoder of synthetic identities; None for real ones."""
    if evaluation_set.ground_truth is None:
        return None
    from voiceface.synthetic.readers.attribute_reader import load_reader

    from voicestyle.image_losses import BundledIdentityEncoder

    return BundledIdentityEncoder(load_reader("evaluation"))


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    parser = argparse.ArgumentParser(
        prog="voicestyle test",
        description="Generate faces of test identities from their voices and compare the final images with "
        "the real faces, with the initial images and with other identities. Results are results.json, "
        "report.html, and the generated faces with every step below OUT/generated.",
    )
    arguments.add_data_source_arguments(parser)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="directory of the results")
    add_config_arguments(parser, "quick", "guidance.num_steps=50")
    arguments.add_override_argument(parser)
    dataset_arguments.add_split_argument(parser)
    add("--num-identities", type=int, metavar="N", help="the first N, genders alternating (default all)")
    add("--bank", type=Path, metavar="DIR", help="directory of face images (default: synthetic identities)")
    add_bank_arguments(parser)
    add("--keep-test-identities", action="store_true", help="keep test identities that are in the bank")
    add(
        "--evaluation-identity",
        type=Path,
        metavar="FILE",
        help="IR-SE50 that measures identity similarity (default: the attribute reader, for synthetic "
        "identities only)",
    )
    add(
        "--bootstrap-samples",
        type=int,
        default=1000,
        help="bootstrap samples of the confidence intervals (default: %(default)s)",
    )
    add("--resume", action="store_true", help="continue the run in --out")
    add_model_arguments(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.test", None))
