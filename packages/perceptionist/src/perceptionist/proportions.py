"""Proportions of faces: published errors, comparison with baselines, and the description of one face.

The paper's absolute ratio error (ARE) compares ratios of four widths to the outer interocular distance.
Letters: L predictions, V vertices, I identities.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from voiceface.metrics.geometry import (
    ErrorComparison,
    aligned_error,
    compare_errors,
    identity_means,
    pair_distances,
)

__all__ = [
    "ERRORS",
    "FACE_TYPES",
    "GENDERS",
    "MEASURES",
    "REFERENCE_DISTANCE",
    "Description",
    "Pairs",
    "aligned_landmark_error",
    "compare_with_baselines",
    "describe_face",
    "distances",
    "error_table",
    "identity_mean_errors",
    "keypoint_error",
    "mean_faces",
    "ratio_errors",
    "ratios",
    "shape_errors",
]


Array = NDArray[Any]
Pairs = Mapping[str, Sequence[int]]

REFERENCE_DISTANCE = "oicd"
MEASURES = ("forehead", "cheek", "ear", "midline")
FACE_TYPES = ("wide", "skinny", "regular", "slim")  # of equally near ones the first is chosen
GENDERS = ("male", "female")
ERRORS = (*MEASURES, "mean", "keypoint", "aligned")


@dataclass(frozen=True)
class Description:
    """Description of one frontal mesh relative to reference shapes.

    Attributes:
        errors: distance to each reference shape: norm of the difference over the number of vertices.
        gender: "male" or "female".
        face_type: one of `FACE_TYPES`.
        differences: relative difference of each measure to the mean shape of that gender.
    """

    errors: dict[str, float]
    gender: str
    face_type: str
    differences: dict[str, float]


def distances(vertices: ArrayLike, pairs: Pairs) -> Array:
    """Interocular distance and the four measures, (..., 5), of meshes (..., V, 3)."""
    names = (REFERENCE_DISTANCE, *MEASURES)
    missing = [name for name in names if name not in pairs]
    if missing:
        raise ValueError(f"no measuring pair for {', '.join(missing)}; found {', '.join(pairs)}")
    return pair_distances(vertices, [list(pairs[name]) for name in names])


def ratios(vertices: ArrayLike, pairs: Pairs) -> Array:
    """The four measures over the interocular distance, (..., 4), of meshes (..., V, 3).

    Raises:
        ValueError: the interocular distance of a mesh is 0.
    """
    measured = distances(vertices, pairs)
    if not (measured[..., 0] > 0).all():
        raise ValueError("the interocular distance of a mesh is 0, expected a positive distance")
    return measured[..., 1:] / measured[..., :1]


def ratio_errors(predicted: ArrayLike, true: ArrayLike, pairs: Pairs) -> Array:
    """Absolute ratio errors (ARE) of the four measures, (..., 4)."""
    return np.abs(ratios(predicted, pairs) - ratios(true, pairs))


def keypoint_error(predicted: ArrayLike, true: ArrayLike, pairs: Pairs, landmarks: ArrayLike) -> Array:
    """Published keypoint error, (...,).

    The prediction is scaled to the true interocular distance, without further alignment; the norm over all
    coordinates of the landmarks is divided by the root of the true height times width, not by the number of
    landmarks.

    Args:
        predicted: (..., V, 3). true: (..., V, 3).
        pairs: of the model.
        landmarks: (68,) vertex indices.
    """
    p, t = np.asarray(predicted, float), np.asarray(true, float)
    scale = distances(t, pairs)[..., 0] / distances(p, pairs)[..., 0]
    indices = np.asarray(landmarks)
    residual = scale[..., None, None] * p[..., indices, :] - t[..., indices, :]
    width, height = np.ptp(t[..., 0], axis=-1), np.ptp(t[..., 1], axis=-1)
    return np.sqrt((residual**2).sum(axis=(-1, -2))) / np.sqrt(height * width)


def aligned_landmark_error(
    predicted: ArrayLike, true: ArrayLike, pairs: Pairs, landmarks: ArrayLike
) -> Array:
    """Normalised mean error, (...,): mean landmark distance after a similarity alignment of the landmarks,
    over the true interocular distance. Not a published metric of this system.
    """
    p, t = np.asarray(predicted, float), np.asarray(true, float)
    indices = np.asarray(landmarks)
    return aligned_error(p[..., indices, :], t[..., indices, :]) / distances(t, pairs)[..., 0]


def error_table(predicted: ArrayLike, true: ArrayLike, pairs: Pairs, landmarks: ArrayLike) -> Array:
    """Compute all errors of predictions: columns `ERRORS`.

    Args:
        predicted: (L, V, 3), or (V, 3) for one mesh that is predicted for all.
        true: (L, V, 3) in any unit. Rows are independent, so that many large meshes can be passed in parts.

    Returns:
        (L, 7): the four ARE, their mean, keypoint error, error after alignment.
    """
    t = np.asarray(true, float)
    p = np.broadcast_to(np.asarray(predicted, float), t.shape)
    are = ratio_errors(p, t, pairs)
    others = [keypoint_error(p, t, pairs, landmarks), aligned_landmark_error(p, t, pairs, landmarks)]
    return np.concatenate([are, are.mean(axis=-1, keepdims=True), np.stack(others, axis=-1)], axis=-1)


def identity_mean_errors(table: ArrayLike, identities: ArrayLike) -> dict[str, float]:
    """Mean over the predictions of an identity, then over identities, of each column of `error_table`."""
    means = identity_means(table, identities).mean(axis=0)
    return dict(zip(ERRORS, means.tolist(), strict=True))


def compare_with_baselines(
    ours: Array,
    baselines: Mapping[str, Array],
    identities: ArrayLike,
    *,
    bootstrap_samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, ErrorComparison]:
    """Compare each error with those of baselines, with intervals over identities and paired tests.

    Args:
        ours: (L, 7), from `error_table`. baselines: the same by name, for instance "mean face" (one mesh for
            all) and "mean of own gender".
        identities: (L,) of the predictions.
        bootstrap_samples, confidence, seed: see `voiceface.metrics.geometry.compare_errors`.
    """
    return {
        name: compare_errors(
            ours[:, column],
            {baseline: table[:, column] for baseline, table in baselines.items()},
            identities,
            replicates=bootstrap_samples,
            confidence=confidence,
            seed=seed,
        )
        for column, name in enumerate(ERRORS)
    }


def mean_faces(vertices: ArrayLike, genders: Sequence[str]) -> dict[str, Array]:
    """Mean meshes as baselines: "all", "male", "female".

    Where sizes are arbitrary, the caller scales the meshes to one interocular distance first.

    Args:
        vertices: (I, V, 3), one per training identity.
        genders: (I,) "male" or "female".
    """
    meshes, labels = np.asarray(vertices), np.asarray(genders)
    masks = {"all": np.ones(len(labels), bool)} | {gender: labels == gender for gender in GENDERS}
    empty = [name for name, mask in masks.items() if not mask.any()]
    if empty:
        raise ValueError(f"no mesh of: {', '.join(empty)}")
    return {name: meshes[mask].mean(axis=0, dtype=np.float64) for name, mask in masks.items()}


def shape_errors(vertices: ArrayLike, references: Mapping[str, ArrayLike]) -> dict[str, float]:
    """Distance of a frontal mesh (V, 3) to reference shapes: Frobenius norm of the difference over V.

    Nothing is scaled or aligned: both are frontal meshes in pixels.
    """
    mesh = np.asarray(vertices, float)
    errors = {}
    for name, points in references.items():
        reference = np.asarray(points, float)
        if reference.shape != mesh.shape:
            raise ValueError(
                f"reference shape {name} is {reference.shape}, the mesh {mesh.shape}; expected equal shapes"
            )
        errors[name] = float(np.linalg.norm(mesh - reference)) / len(mesh)
    return errors


def describe_face(
    vertices: ArrayLike, references: Mapping[str, ArrayLike], pairs: Pairs, gender: str | None = None
) -> Description:
    """Describe one frontal mesh: gender, face type and relative differences.

    Args:
        vertices: (V, 3), pixels.
        references: of the face model, all six.
        pairs: of the face model.
        gender: if determined by a better rule; None: that of the nearest mean shape, as published.

    Raises:
        ValueError: a reference shape is missing or has another number of vertices.
    """
    missing = [name for name in (*GENDERS, *FACE_TYPES) if name not in references]
    if missing:
        raise ValueError(
            f"The face model has no reference shape for {', '.join(missing)}. Pass a folder as --references."
        )
    errors = shape_errors(vertices, references)
    gender = gender or ("male" if errors["male"] < errors["female"] else "female")
    face_type = min(FACE_TYPES, key=lambda name: errors[name])
    widths, mean_widths = distances(vertices, pairs)[1:], distances(references[gender], pairs)[1:]
    differences = dict(zip(MEASURES, ((widths - mean_widths) / mean_widths).tolist(), strict=True))
    return Description(errors, gender, face_type, differences)
