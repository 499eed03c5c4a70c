"""`perceptionist evaluate`: errors of proportions and keypoints of meshes (published as cal_size)."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.commandline import arguments
from voiceface.commandline.exit_status import completeness_status
from voiceface.commandline.messages import print_disclaimers
from voiceface.datasets import dataset_arguments

if TYPE_CHECKING:
    from perceptionist.evaluation import Evaluation
    from perceptionist.face_models.linear import LinearFaceModel

__all__ = [
    "ERROR_LABELS",
    "build_parser",
    "main",
    "write_report",
]


ERROR_LABELS = {
    "forehead": "forehead width (ARE)",
    "cheek": "cheek width (ARE)",
    "ear": "ear to ear (ARE)",
    "midline": "midline width (ARE)",
    "mean": "mean of the four (ARE)",
    "keypoint": "keypoint error, as published",
    "aligned": "keypoint error after alignment",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate predictions, print the table, write JSON and report.

    The exit status is 0, or 3 if meshes, recordings or identities are listed as unavailable.
    """
    args = build_parser().parse_args(argv)
    if args.truth and not args.predictions:
        raise ValueError("--truth needs --predictions, a folder with the meshes to evaluate")
    if not args.truth and not args.data:
        raise ValueError("Pass --data POPULATION, or --predictions FOLDER and --truth FOLDER.")
    from perceptionist.evaluation_inputs import predict_split, read_predictions, require_inputs

    require_inputs(args)
    from voiceface.io.input_files import make_writable_directory
    from voiceface.metrics.unavailable import UnavailableResult

    from perceptionist.evaluation import evaluate

    out = make_writable_directory(args.out) if args.out else None
    model, ground_truth, found = read_predictions(args) if args.predictions else predict_split(args)
    row_of = {name: row for row, name in enumerate(ground_truth.identities)}
    known = {each.name for each in ground_truth.unavailable}
    without = [
        UnavailableResult(f"identity {name}", "no ground truth")
        for name in sorted({*found.identities} - set(row_of))
        if f"identity {name}" not in known
    ]
    unavailable = (*found.unavailable, *ground_truth.unavailable, *without)
    kept = [i for i, name in enumerate(found.identities) if name in row_of]
    if not kept:
        raise ValueError(f"nothing can be evaluated: {'; '.join(map(str, unavailable[:5]))}")
    evaluation = evaluate(
        [found.meshes[i] for i in kept],
        [row_of[found.identities[i]] for i in kept],
        ground_truth,
        model,
        None if found.shapes is None else found.shapes[kept],
        bootstrap_samples=args.bootstrap_samples,
        seed=args.seed,
    )
    evaluation = replace(evaluation, unavailable=unavailable)
    print_disclaimers(evaluation.disclaimer)
    print(evaluation.format_table())
    if out:
        from voiceface.io.atomic import write_json

        write_json(out / "results.json", evaluation.to_dict())
        write_report(out / "report.html", evaluation, model)
        print(f"report: {out / 'report.html'}")
    return completeness_status(evaluation.unavailable)


def write_report(path: Path, evaluation: "Evaluation", model: "LinearFaceModel") -> None:
    """Write the metrics as an HTML report."""
    import numpy as np
    from voiceface.report import Headline, PairedDifferenceRow, Table, build_report, collect_environment

    from perceptionist.evaluation import GENDER_MEAN_FACE, MEAN_FACE

    rows, differences = [], []
    for name, comparison in evaluation.errors.items():
        ours = comparison.ours
        row: list[Any] = [ERROR_LABELS[name], ours.value, f"{ours.low:.4f} – {ours.high:.4f}"]
        for baseline, interval in comparison.baselines.items():
            gain = 1 - ours.value / interval.value if interval.value else float("nan")
            row += [interval.value, f"{100 * gain:+.1f} %"]
            difference = comparison.differences[baseline]
            differences.append(
                PairedDifferenceRow(
                    "voice",
                    baseline,
                    ERROR_LABELS[name],
                    difference.value,
                    difference.low,
                    difference.high,
                    difference.p_value,
                    unit="",
                    higher_is_better=False,
                )
            )
        rows.append(row)
    baselines = list(evaluation.errors["mean"].baselines)
    columns = ["error", "from the voice", "95 % interval"]
    for baseline in baselines:
        columns += [baseline, "reduction"]
    mean = evaluation.errors["mean"]
    cards = [
        Headline(
            "Mean ratio error (ARE)",
            mean.ours.value,
            mean.ours.low,
            mean.ours.high,
            baseline=mean.baselines[GENDER_MEAN_FACE].value if GENDER_MEAN_FACE in baselines else None,
            note=f"mean face: {mean.baselines[MEAN_FACE].value:.4f}",
            unit="",
            higher_is_better=False,
        )
    ]
    if evaluation.gender_accuracy is not None:
        cards.append(Headline("Gender by the nearest mean shape", evaluation.gender_accuracy, chance=0.5))
    if evaluation.fisher_gender_accuracy is not None:
        note = "Fisher direction between the mean shapes"
        cards.append(
            Headline(
                "Gender along the Fisher direction", evaluation.fisher_gender_accuracy, chance=0.5, note=note
            )
        )
    tables = [
        Table(
            "Errors",
            columns,
            rows,
            "ARE: absolute error of the ratio of a width to the outer interocular distance.",
        )
    ]
    if evaluation.explained_variance is not None:
        explained = evaluation.explained_variance
        finite = np.isfinite(explained.ours)
        cards.append(
            Headline(
                "Explained shape variance within gender",
                float(explained.ours[finite].mean()),
                upper_bound=float(explained.upper_bound[finite].mean()),
                note=f"mean over {int(finite.sum())} coefficients",
            )
        )
        order = np.argsort(-explained.upper_bound)
        tables.append(
            Table(
                "Explained variance of each shape coefficient within gender",
                ["coefficient", "from the voice", "upper bound"],
                [
                    [explained.names[i], float(explained.ours[i]), float(explained.upper_bound[i])]
                    for i in order
                ],
                "The upper bound is that of the true voice factors; 0: the coefficient does not depend on "
                "the voice.",
            )
        )
    build_report(
        path,
        title="Faces generated from voices: evaluation against ground truth",
        kicker="perceptionist evaluation",
        facts={
            "identities": evaluation.num_identities,
            "predictions": evaluation.num_predictions,
            "face model": model.name,
        },
        disclaimers=evaluation.disclaimer,
        headlines=cards,
        differences=differences,
        unavailable=evaluation.unavailable,
        tables=tables,
        environment=collect_environment(),
    )


def build_parser() -> argparse.ArgumentParser:
    """The command line of `perceptionist evaluate`."""
    from perceptionist.arguments import add_model_arguments

    parser = argparse.ArgumentParser(
        prog="perceptionist evaluate",
        description="Evaluate meshes against ground truth: ratio (ARE) and keypoint errors, compared with "
        "the mean face and the mean of the own gender, with intervals over identities and paired tests.",
        epilog="perceptionist evaluate --data POPULATION --weights RUN --out DIR; "
        "perceptionist evaluate --predictions MESHES --truth A2E_val --meta vox1_meta.csv --face-model "
        "train.configs --out DIR",
    )
    parser.add_argument(
        "--data", type=arguments.data_folder, help="population folder: utterances and ground truth"
    )
    dataset_arguments.add_split_argument(parser)
    parser.add_argument(
        "--utterances", type=int, default=3, help="utterances of each identity (default: %(default)s)"
    )
    parser.add_argument("--predictions", type=Path, help="folder NAME/*.obj, written by perceptionist test")
    parser.add_argument("--truth", type=Path, help="folder NAME/*.xyz (published layout: A2E_val)")
    parser.add_argument("--meta", type=Path, help="vox1_meta.csv with the genders, for --truth")
    parser.add_argument("--out", type=Path, help="folder for results.json and report.html")
    parser.add_argument(
        "--bootstrap-samples",
        type=int,
        default=2000,
        help="number of bootstrap samples over identities (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed of the bootstrap (default: %(default)s)"
    )
    add_model_arguments(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("perceptionist.evaluate", None))
