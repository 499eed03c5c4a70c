"""`sf2f test`: pictures of people who took no part in the training, figures, a report."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments
from voiceface.commandline.messages import print_disclaimers, warn_training_overlap
from voiceface.datasets import dataset_arguments

from sf2f.arguments import CHECKPOINT_HELP, DATA_HELP

if TYPE_CHECKING:
    from sf2f.evaluation import EvaluationResult
    from sf2f.models import Sf2fModel

GENERATION_MODES = ("naive", "average_facenet_embedding", "average_voice_embedding", "fused")
PUBLISHED_COLUMNS = (
    *("Model", "Name", "Mode", "L2", "L1", "Cos", "Human", "R@1", "R@2", "R@5", "R@10", "R@20", "R@50"),
    *("IS mean", "IS std", "FID", "VFS mean", "VFS std"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Write pictures, results.json, table.csv and report.html."""
    args = build_parser().parse_args(argv)
    from voiceface.runtime.devices import choose_device

    from sf2f.data import load_speakers
    from sf2f.evaluation import EvaluationOptions, NetworkFiles, evaluate, format_results
    from sf2f.evaluation_report import write_report
    from sf2f.inference import find_bundled_checkpoint
    from sf2f.models import load_sf2f_model

    if args.out.is_file():
        raise FileExistsError(f"--out: {args.out} is a file, expected a folder")
    weights = args.weights or find_bundled_checkpoint()
    model = load_sf2f_model(weights, device=choose_device(args.device))
    print_disclaimers(model.disclaimer)
    speakers = load_speakers(
        args.population or args.data, args.split, model.data, synthetic=bool(args.population)
    )
    known = warn_training_overlap(speakers.identity_names, model.identity_names)
    found = evaluate(
        model,
        speakers,
        NetworkFiles(args.facenet, args.vggface, args.inception, args.lpips),
        EvaluationOptions(
            args.channel_order,
            args.crop_faces,
            args.pooled_features,
            tuple(args.gallery_sizes) or None,
            args.seed,
        ),
        modes=args.modes or None,
    )
    print(format_results(found))
    save_results(args.out, found, model)
    name = args.population or args.data.name
    page = write_report(
        args.out / "report.html",
        found,
        model,
        speakers,
        title=f"What {model.name or 'sf2f'} makes of unseen people",
        subtitle=f"{len(speakers)} people of the split {args.split} of {name}, {len(known)} of them seen in "
        "training.",
        run=weights if weights.is_dir() else None,
        commands=[f"sf2f test --weights {weights.name} --out {args.out.name} ..."],
    )
    print(f"report: {page}")
    return 0


def save_results(out: Path, result: "EvaluationResult", model: "Sf2fModel") -> None:
    """Write `results.json`, `table.csv` in the published columns, and `faces/NAME.png`."""
    import csv
    import io

    from voiceface.io.atomic import write_json, write_text

    from sf2f.evaluation import build_table_rows
    from sf2f.generation import write_image

    for name, picture in zip(result.names, result.images, strict=True):
        write_image(out / "faces" / f"{name.replace('/', '_')}.png", picture)
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
        "Human": "stranger_cosine",
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
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="sf2f test",
        description="Make pictures of people who took no part in the training and judge them: invented "
        "people by their truth, anybody by the networks whose files are given.",
    )
    add = parser.add_argument
    arguments.add_data_source_arguments(parser, DATA_HELP)
    arguments.add_weights_argument(parser, CHECKPOINT_HELP)
    add("--out", type=Path, required=True, help="folder for results and report")
    dataset_arguments.add_split_argument(parser)
    add(
        "--modes",
        nargs="+",
        default=[],
        choices=GENERATION_MODES,
        help="of FaceNet's figures (default all possible)",
    )
    add("--facenet", type=Path, help="weights of FaceNet: distances and recalls of its features")
    add("--vggface", type=Path, help="weights of the VGGFace2 ResNet-50: VGGFace Score")
    add("--inception", type=Path, help="weights of the Inception graph of 2015: Inception Score, FID")
    add("--lpips", type=Path, help="folder of AlexNet and LPIPS heads: diversity")
    add(
        "--gallery-sizes",
        type=int,
        nargs="+",
        default=[],
        help="ends of galleries, as 100 200 300 (default: all)",
    )
    add(
        "--channel-order",
        default="rgb",
        choices=("rgb", "bgr"),
        help="VGGFace Score: rgb as published, bgr as meant",
    )
    add("--crop-faces", action="store_true", help="VGGFace Score: faces cut out")
    add("--pooled-features", action="store_true", help="FaceNet's pooled features")
    add("--seed", type=int, default=0, help="of the parts of the VGGFace Score")
    arguments.add_device_argument(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.test", None))
