"""`perceptionist evaluate`: errors of proportions and keypoints against true meshes (formerly cal_size)."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.commandline.messages import print_disclaimers, print_skipped, warn_training_overlap
from voiceface.datasets import dataset_arguments

if TYPE_CHECKING:
    from perceptionist.evaluation import Evaluation, MeshGroundTruth
    from perceptionist.face_models.linear import LinearFaceModel

ERROR_LABELS = {
    "forehead": "forehead width (ARE)",
    "cheek": "cheek width (ARE)",
    "ear": "ear to ear (ARE)",
    "midline": "midline width (ARE)",
    "mean": "mean of the four (ARE)",
    "keypoint": "keypoints, as published",
    "aligned": "keypoints after alignment",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Judge predictions, print the table, write JSON and page; the exit code is 0."""
    args = build_parser().parse_args(argv)
    if args.truth and not args.predictions:
        raise ValueError("--truth needs --predictions: a folder with the meshes to be judged")
    if not args.truth and not args.data:
        raise ValueError("give --data POPULATION, or --predictions FOLDER and --truth FOLDER")
    from voiceface.io.input_files import make_writable_directory

    from perceptionist.evaluation import (
        evaluate,
        find_meshes,
        load_ground_truth_folder,
        load_synthetic_ground_truth,
    )
    from perceptionist.meshio.io import read_mesh

    out = make_writable_directory(args.out) if args.out else None
    shapes = None
    if args.predictions:
        from perceptionist.face_models.io import resolve_face_model

        model = resolve_face_model(args.face_model, args.references)
        files = list(find_meshes(args.predictions))
        names = sorted({name for name, _ in files})
        who, meshes = [name for name, _ in files], [read_mesh(path).vertices for _, path in files]
    else:
        model, who, meshes, shapes = _predict_split(args)
        names = sorted(set(who))
    known: MeshGroundTruth
    if args.truth:
        known = load_ground_truth_folder(args.truth, names, model, args.meta)
    else:
        known = load_synthetic_ground_truth(args.data, names, _training_identities(args.data))
    row = {name: place for place, name in enumerate(known.identities)}
    kept = [place for place, name in enumerate(who) if name in row]
    if len(kept) < len(who):
        lost = sorted(set(who) - set(row))
        print_skipped([f"{len(lost)} people ({lost[0]}, ...), of whom no truth is known"])
    found = evaluate(
        [meshes[place] for place in kept],
        [row[who[place]] for place in kept],
        known,
        model,
        None if shapes is None else shapes[kept],
        replicates=args.bootstrap_samples,
        seed=args.seed,
    )
    print_disclaimers(found.disclaimer)
    print(found.format_table())
    if out:
        from voiceface.io.atomic import write_json

        write_json(out / "results.json", found.to_dict())
        write_report(out / "report.html", found, model)
        print(f"report: {out / 'report.html'}")
    return 0


def write_report(path: Path, evaluation: "Evaluation", model: "LinearFaceModel") -> None:
    """The figures as one page."""
    import numpy as np
    from voiceface.report import Headline, PairedDifferenceRow, Table, build_report, collect_environment

    from perceptionist.evaluation import GENDER_MEAN_FACE, MEAN_FACE

    rows, differences = [], []
    for name, each in evaluation.errors.items():
        row: list[Any] = [ERROR_LABELS[name], each.ours.value, f"{each.ours.low:.4f} – {each.ours.high:.4f}"]
        for word, interval in each.baselines.items():
            gain = 1 - each.ours.value / interval.value if interval.value else float("nan")
            row += [interval.value, f"{100 * gain:+.1f} %"]
            d = each.differences[word]
            differences.append(
                PairedDifferenceRow(
                    "voice",
                    word,
                    ERROR_LABELS[name],
                    d.value,
                    d.low,
                    d.high,
                    d.p_value,
                    unit="",
                    higher_is_better=False,
                )
            )
        rows.append(row)
    baselines = list(evaluation.errors["mean"].baselines)
    columns = ["error", "from the voice", "95 %"]
    for word in baselines:
        columns += [word, "less by"]
    mean = evaluation.errors["mean"]
    cards = [
        Headline(
            "Mean ratio error (ARE)",
            mean.ours.value,
            mean.ours.low,
            mean.ours.high,
            baseline=mean.baselines[GENDER_MEAN_FACE].value if GENDER_MEAN_FACE in baselines else None,
            note=f"the mean face has {mean.baselines[MEAN_FACE].value:.4f}",
            unit="",
            higher_is_better=False,
        )
    ]
    if evaluation.gender_accuracy is not None:
        cards.append(Headline("Sex by the nearer mean shape", evaluation.gender_accuracy, chance=0.5))
    if evaluation.fisher_gender_accuracy is not None:
        note = "distances in units of what people of one sex differ by"
        cards.append(
            Headline(
                "Sex by the likelier mean shape", evaluation.fisher_gender_accuracy, chance=0.5, note=note
            )
        )
    tables = [Table("Errors", columns, rows, "ARE: error of a width over the outer interocular distance.")]
    if evaluation.explained_variance is not None:
        e = evaluation.explained_variance
        known = np.isfinite(e.ours)
        cards.append(
            Headline(
                "Shape variance explained within sex",
                float(e.ours[known].mean()),
                upper_bound=float(e.upper_bound[known].mean()),
                note=f"mean over {int(known.sum())} coefficients",
            )
        )
        order = np.argsort(-e.upper_bound)
        tables.append(
            Table(
                "Variance of each shape coefficient explained within sex",
                ["coefficient", "from the voice", "ceiling"],
                [[e.names[i], float(e.ours[i]), float(e.upper_bound[i])] for i in order],
                "The ceiling is what the true voice factors tell; 0 there: nothing ties it to the voice.",
            )
        )
    build_report(
        path,
        title="Faces from voices against the truth",
        kicker="perceptionist evaluation",
        facts={
            "people": evaluation.num_identities,
            "predictions": evaluation.num_predictions,
            "face model": model.name,
        },
        disclaimers=evaluation.disclaimer,
        headlines=cards,
        differences=differences,
        tables=tables,
        environment=collect_environment(),
    )


def build_parser() -> argparse.ArgumentParser:
    """The command line of `perceptionist evaluate`."""
    from perceptionist.arguments import add_model_arguments

    parser = argparse.ArgumentParser(
        prog="perceptionist evaluate",
        description="Judge meshes by the truth: errors of ratios (ARE) and keypoints beside the mean face "
        "and the mean of one's own sex, with intervals over people and paired tests.",
        epilog="perceptionist evaluate --data POPULATION --weights RUN --out DIR; "
        "perceptionist evaluate --predictions MESHES --truth A2E_val --meta vox1_meta.csv --face-model "
        "train.configs --out DIR",
    )
    parser.add_argument("--data", type=Path, help="population folder: who is judged, and the truth")
    dataset_arguments.add_split_argument(parser)
    parser.add_argument("--files", type=int, default=3, help="recordings of each person")
    parser.add_argument("--predictions", type=Path, help="folder NAME/*.obj, from perceptionist test")
    parser.add_argument("--truth", type=Path, help="folder NAME/*.xyz (published layout: A2E_val)")
    parser.add_argument("--meta", type=Path, help="vox1_meta.csv, for the sexes with --truth")
    parser.add_argument("--out", type=Path, help="folder for results and report")
    parser.add_argument("--bootstrap-samples", type=int, default=2000, help="of the bootstrap over people")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    add_model_arguments(parser)
    return parser


def _predict_split(args: argparse.Namespace) -> tuple["LinearFaceModel", list[str], list[Any], Any]:
    """Meshes and shape numbers of a split, made now."""
    import numpy as np
    from tqdm import tqdm

    from perceptionist.inference import generate_from_features, load, load_features
    from perceptionist.test import find_corpus_utterances

    people = find_corpus_utterances(args.data, args.split, args.files)
    model = load(args.weights, args.face_model, references=args.references, device=args.device)
    warn_training_overlap([person.identity for person in people], model.identity_names)
    who, faces = [], []
    for person in tqdm(people, "people", disable=None):
        for path in person.files:
            try:
                features = load_features(path, n_mels=model.voice.config.n_mels)
            except ValueError as error:
                print_skipped([str(error)])
                continue
            faces.append(generate_from_features(model, features, str(path)))
            who.append(person.identity)
    if not faces:
        raise ValueError("none of the recordings could be used")
    shapes = np.stack([face.shape for face in faces]) if model.face_model.name == "population" else None
    return model.face_model, who, [face.vertices for face in faces], shapes


def _training_identities(root: Path) -> list[str]:
    """Face names of the training people; none where the table has no such split."""
    from voiceface.datasets.corpus import read_identities

    try:
        return sorted({person.face_id for person in read_identities(root, "train")})
    except ValueError:
        return []


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("perceptionist.evaluate", None))
