"""`sf2f test`: generate images of unseen identities, compute metrics, write a report."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments
from voiceface.commandline.exit_status import completeness_status
from voiceface.commandline.messages import print_disclaimers, warn_training_overlap
from voiceface.datasets import dataset_arguments

from sf2f.arguments import CHECKPOINT_HELP, DATA_HELP

if TYPE_CHECKING:
    from sf2f.evaluation import EvaluationResult
    from sf2f.models import Sf2fModel

__all__ = [
    "GENERATION_MODES",
    "PUBLISHED_COLUMNS",
    "build_parser",
    "main",
    "save_results",
]

GENERATION_MODES = ("naive", "average_facenet_embedding", "average_voice_embedding", "fused")
PUBLISHED_COLUMNS = (
    *("Model", "Name", "Mode", "L2", "L1", "Cos", "Human", "R@1", "R@2", "R@5", "R@10", "R@20", "R@50"),
    *("IS mean", "IS std", "FID", "VFS mean", "VFS std"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Write images, results.json, table.csv and report.html, as they come.

    The exit status is 0, or 3 if identities or metrics are listed as unavailable.
    """
    args = build_parser().parse_args(argv)
    from sf2f.evaluation_networks import NetworkFiles, load_networks, require_network_files

    arguments.require_existing_paths({"data": args.data, "weights": args.weights})
    network_files = NetworkFiles(args.facenet, args.vggface, args.inception, args.lpips)
    require_network_files(network_files)
    from voiceface.runtime.devices import choose_device

    from sf2f.data import load_speakers
    from sf2f.evaluation import evaluate, format_results
    from sf2f.evaluation_metrics import EvaluationOptions
    from sf2f.evaluation_report import write_report
    from sf2f.models import find_bundled_checkpoint, load_sf2f_model

    if args.out.is_file():
        raise FileExistsError(f"--out: {args.out} is a file; expected a folder")
    checkpoint = args.weights or find_bundled_checkpoint()
    model = load_sf2f_model(checkpoint, device=choose_device(args.device))
    print_disclaimers(model.disclaimer)
    networks = load_networks(network_files)
    speakers = load_speakers(
        args.population or args.data, args.split, model.data, synthetic=bool(args.population)
    )
    seen = warn_training_overlap(speakers.identity_names, model.identity_names)
    images_are_written = False

    def save(so_far: "EvaluationResult") -> None:
        nonlocal images_are_written
        save_results(args.out, so_far, model, with_images=not images_are_written)
        images_are_written = True

    result = evaluate(
        model,
        speakers,
        networks,
        EvaluationOptions(
            args.channel_order,
            args.crop_faces,
            args.pooled_features,
            tuple(args.gallery_sizes) or None,
            args.seed,
        ),
        modes=args.modes or None,
        on_result=save,
    )
    print(format_results(result))
    name = args.population or args.data.name
    report = write_report(
        args.out / "report.html",
        result,
        model,
        speakers.subset(result.rows),
        title=f"{model.name or 'sf2f'}: faces of unseen identities",
        subtitle=f"{len(result.names)} identities of the split {args.split} of {name}; {len(seen)} of them "
        "were in the training set.",
        run=checkpoint if checkpoint.is_dir() else None,
        commands=[f"sf2f test --weights {checkpoint.name} --out {args.out.name} ..."],
    )
    print(f"report: {report}")
    return completeness_status(result.unavailable)


def save_results(
    out: Path, result: "EvaluationResult", model: "Sf2fModel", *, with_images: bool = True
) -> None:
    """Write `results.json`, `table.csv` with the published columns, and `faces/NAME.png`, each atomically."""
    import csv
    import io

    from voiceface.io.atomic import write_json, write_text

    from sf2f.evaluation import build_table_rows
    from sf2f.generation import write_image

    for name, image in zip(result.names, result.images, strict=True) if with_images else ():
        write_image(out / "faces" / f"{name.replace('/', '_')}.png", image)
    write_json(
        out / "results.json", {**result.to_dict(), "disclaimer": model.disclaimer, "model": model.name}
    )
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(PUBLISHED_COLUMNS)
    keys = {
        "L2": "l2",
        "L1": "l1",
        "Cos": "cosine",
        "Human": "mismatched_cosine",
        "IS mean": "IS",
        "VFS mean": "VFS",
    }
    for mode, row in build_table_rows(result).items():
        values = [row.get(keys.get(column, column)) for column in PUBLISHED_COLUMNS[3:]]
        table.writerow(
            [model.name, "model", mode, *("" if value is None else f"{value:.3f}" for value in values)]
        )
    write_text(out / "table.csv", text.getvalue())


def build_parser() -> argparse.ArgumentParser:
    """Command line of `sf2f test`."""
    parser = argparse.ArgumentParser(
        prog="sf2f test",
        description="Generate images of unseen identities and evaluate them: synthetic identities against "
        "their ground truth, any identities with the evaluation networks given.",
    )
    add = parser.add_argument
    arguments.add_data_source_arguments(parser, DATA_HELP)
    arguments.add_weights_argument(parser, CHECKPOINT_HELP)
    add("--out", type=Path, required=True, help="output folder")
    dataset_arguments.add_split_argument(parser)
    add(
        "--modes",
        nargs="+",
        default=[],
        choices=GENERATION_MODES,
        help="generation modes of the FaceNet metrics (default: all that the model supports)",
    )
    add("--facenet", type=Path, help="FaceNet checkpoint: feature distances and recall")
    add("--vggface", type=Path, help="checkpoint of the VGGFace2 ResNet-50: VGGFace Score")
    add("--inception", type=Path, help="checkpoint of the 2015 Inception graph: Inception Score, FID")
    add("--lpips", type=Path, help="folder of AlexNet and LPIPS heads: diversity")
    add(
        "--gallery-sizes",
        type=int,
        nargs="+",
        default=[],
        help="gallery end indices, such as 100 200 300 (default: one gallery of all)",
    )
    add(
        "--channel-order",
        default="rgb",
        choices=("rgb", "bgr"),
        help="VGGFace Score: rgb as published, bgr as the network was trained",
    )
    add("--crop-faces", action="store_true", help="VGGFace Score: crop faces first")
    add("--pooled-features", action="store_true", help="use pooled FaceNet features instead of embeddings")
    add("--seed", type=int, default=0, help="random seed of the splits of the VGGFace Score")
    arguments.add_device_argument(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.test", None))
