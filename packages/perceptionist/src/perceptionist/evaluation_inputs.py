"""Inputs of `perceptionist evaluate`: meshes that are stored or generated, and their ground truth."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.commandline.messages import warn_training_overlap

if TYPE_CHECKING:
    from voiceface.metrics.unavailable import UnavailableResult

    from perceptionist.face_models.linear import LinearFaceModel
    from perceptionist.ground_truth import MeshGroundTruth

__all__ = ["Predictions", "predict_split", "read_predictions", "require_inputs"]


@dataclass(frozen=True)
class Predictions:
    """Meshes to evaluate.

    Attributes:
        identities: identity of each mesh.
        meshes: vertices (N, 3) of each.
        shapes: (L, S) shape coefficients; None if unknown.
        unavailable: meshes and recordings that cannot be used, with the reasons.
    """

    identities: "list[str]"
    meshes: "list[Any]"
    shapes: Any = None
    unavailable: "tuple[UnavailableResult, ...]" = ()


def require_inputs(args: argparse.Namespace) -> None:
    """Check, before anything is loaded, that everything that the command line names exists.

    Raises:
        FileNotFoundError: names everything that is absent, or that --data has no ground truth.
    """
    from perceptionist.ground_truth import find_meshes

    problems = []
    for name in ("data", "truth", "meta", "weights", "references"):
        path = getattr(args, name)
        if path and not path.exists():
            problems.append(f"--{name}: nothing at {path}")
    if args.predictions:
        try:
            find_meshes(args.predictions)
        except FileNotFoundError as error:
            problems.append(f"--predictions: {error}")
    if not args.truth and args.data.exists() and not (args.data / "truth" / "population.json").is_file():
        problems.append(
            f"--data: {args.data} is not a synthetic population (no truth/population.json) and has no "
            "ground truth. Evaluate meshes against --truth FOLDER"
        )
    if problems:
        raise FileNotFoundError("; ".join(problems))


def read_predictions(
    args: argparse.Namespace,
) -> "tuple[LinearFaceModel, MeshGroundTruth, Predictions]":
    """Read stored meshes, whose shape coefficients are unknown: face model, ground truth, meshes."""
    from voiceface.metrics.unavailable import UnavailableResult

    from perceptionist.dataset.synthetic import population_head
    from perceptionist.face_models.io import resolve_face_model
    from perceptionist.ground_truth import (
        find_meshes,
        load_ground_truth_folder,
        load_synthetic_ground_truth,
    )
    from perceptionist.meshio.io import read_mesh
    from perceptionist.meshio.mesh import MeshError

    head = population_head(args.data) if args.data else None
    model = resolve_face_model(args.face_model or head, args.references)
    files = list(find_meshes(args.predictions))
    names = sorted({name for name, _ in files})
    if args.truth:
        ground_truth = load_ground_truth_folder(args.truth, names, model, args.meta)
    else:
        ground_truth = load_synthetic_ground_truth(args.data, names, _training_identities(args.data))
    identities: list[str] = []
    meshes: list[Any] = []
    unavailable: list[UnavailableResult] = []
    for name, path in files:
        try:
            vertices = read_mesh(path).vertices
            if vertices.shape != (model.num_vertices, 3):
                raise MeshError(
                    f"{path} has {len(vertices)} vertices, the face model {model.name} has "
                    f"{model.num_vertices}. Pass the face model of the meshes as --face-model."
                )
        except (ValueError, OSError) as error:
            unavailable.append(UnavailableResult.from_error(f"{name}/{path.name}", error))
            continue
        identities.append(name)
        meshes.append(vertices)
    return model, ground_truth, Predictions(identities, meshes, None, tuple(unavailable))


def predict_split(args: argparse.Namespace) -> "tuple[LinearFaceModel, MeshGroundTruth, Predictions]":
    """Generate the meshes of a split, after its ground truth was loaded."""
    import numpy as np
    from voiceface.metrics.unavailable import UnavailableResult
    from voiceface.runtime.progress import progress_bar

    from perceptionist.face_models.synthetic_head import find_head
    from perceptionist.ground_truth import load_synthetic_ground_truth
    from perceptionist.inference import load
    from perceptionist.utterance_lists import find_corpus_utterances, iterate_utterances

    records = find_corpus_utterances(args.data, args.split, args.utterances)
    names = sorted({record.identity for record in records})
    ground_truth = load_synthetic_ground_truth(args.data, names, _training_identities(args.data))
    model = load(args.weights, args.face_model, references=args.references, device=args.device)
    warn_training_overlap(names, model.identity_names)
    identities, faces = [], []
    unavailable: list[UnavailableResult] = []
    for record, path, stem in progress_bar(list(iterate_utterances(records)), "meshes"):
        try:
            face = model.generate_from_data(path)
        except (ValueError, OSError) as error:
            unavailable.append(UnavailableResult.from_error(f"{record.identity}/{stem}", error))
            continue
        faces.append(face)
        identities.append(record.identity)
    if not faces:
        shown = "; ".join(map(str, unavailable[:5]))
        raise ValueError(f"none of {len(unavailable)} recordings could be used: {shown}")
    shapes = np.stack([face.shape for face in faces]) if find_head(model.face_model.name) else None
    meshes = [face.vertices for face in faces]
    return model.face_model, ground_truth, Predictions(identities, meshes, shapes, tuple(unavailable))


def _training_identities(root: Path) -> list[str]:
    """Face names of the training identities; empty if the table has no such split."""
    from voiceface.datasets.layouts import read_identities

    try:
        return sorted({identity.face_id for identity in read_identities(root, "train")})
    except ValueError:
        return []
