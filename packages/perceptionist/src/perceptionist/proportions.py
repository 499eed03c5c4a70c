"""Proportions of faces: published errors, errors beside baselines, and what is said of one face.

Published are ratios to the outer interocular distance of widths at four heights (specification, section 9).
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

Array = NDArray[Any]
Pairs = Mapping[str, Sequence[int]]

REFERENCE_DISTANCE = "oicd"
MEASURES = ("forehead", "cheek", "ear", "midline")
FACE_TYPES = ("wide", "skinny", "regular", "slim")  # of equally near ones the first counts
GENDERS = ("male", "female")
ERRORS = (*MEASURES, "mean", "keypoint", "aligned")


@dataclass(frozen=True)
class Description:
    """What is said of one frontal mesh beside reference shapes (specification, section 8).

    Attributes:
        errors: distance to each reference shape: norm of the difference over the number of vertices.
        gender: "male" or "female".
        face_type: one of `FACE_TYPES`.
        differences: relative difference of each measure to the mean shape of that sex; times 100 per cent.
    """

    errors: dict[str, float]
    gender: str
    face_type: str
    differences: dict[str, float]


def distances(vertices: ArrayLike, pairs: Pairs) -> Array:
    """Interocular distance and the four measures, (..., 5), of meshes (..., V, 3)."""
    names = (REFERENCE_DISTANCE, *MEASURES)
    absent = [name for name in names if name not in pairs]
    if absent:
        raise ValueError(f"no measuring pair for {', '.join(absent)}; there are {', '.join(pairs)}")
    return pair_distances(vertices, [list(pairs[name]) for name in names])


def ratios(vertices: ArrayLike, pairs: Pairs) -> Array:
    """The four measures over the interocular distance, (..., 4), of meshes (..., V, 3).

    Raises:
        ValueError: the interocular distance of a mesh is 0.
    """
    found = distances(vertices, pairs)
    if not (found[..., 0] > 0).all():
        raise ValueError("the interocular distance of a mesh is 0; nothing can be measured by it")
    return found[..., 1:] / found[..., :1]


def ratio_errors(predicted: ArrayLike, true: ArrayLike, pairs: Pairs) -> Array:
    """Absolute ratio errors (ARE) of the four measures, (..., 4)."""
    return np.abs(ratios(predicted, pairs) - ratios(true, pairs))


def keypoint_error(predicted: ArrayLike, true: ArrayLike, pairs: Pairs, landmarks: ArrayLike) -> Array:
    """Published keypoint error, (...,).

    The prediction is scaled to the truth's interocular distance, nothing else is fitted; the norm over all
    coordinates of the landmarks is divided by the root of the truth's height times width, not by the number
    of landmarks.

    Args:
        predicted: (..., V, 3). true: (..., V, 3).
        pairs: of the model.
        landmarks: (68,) vertex numbers.
    """
    p, t = np.asarray(predicted, float), np.asarray(true, float)
    scale = distances(t, pairs)[..., 0] / distances(p, pairs)[..., 0]
    marks = np.asarray(landmarks)
    gap = scale[..., None, None] * p[..., marks, :] - t[..., marks, :]
    width, height = np.ptp(t[..., 0], axis=-1), np.ptp(t[..., 1], axis=-1)
    return np.sqrt((gap**2).sum(axis=(-1, -2))) / np.sqrt(height * width)


def aligned_landmark_error(
    predicted: ArrayLike, true: ArrayLike, pairs: Pairs, landmarks: ArrayLike
) -> Array:
    """Normalised mean error, (...,): mean landmark distance after a similarity alignment of the landmarks,
    over the truth's interocular distance. Not a published figure of this system.
    """
    p, t = np.asarray(predicted, float), np.asarray(true, float)
    marks = np.asarray(landmarks)
    return aligned_error(p[..., marks, :], t[..., marks, :]) / distances(t, pairs)[..., 0]


def error_table(predicted: ArrayLike, true: ArrayLike, pairs: Pairs, landmarks: ArrayLike) -> Array:
    """All errors of predictions: columns `ERRORS`.

    Args:
        predicted: (L, V, 3), or (V, 3) for one mesh that is predicted for everybody.
        true: (L, V, 3) in any unit. Rows do not depend on each other: many large meshes go in parts.

    Returns:
        (L, 7): the four ARE, their mean, keypoint error, error after alignment.
    """
    t = np.asarray(true, float)
    p = np.broadcast_to(np.asarray(predicted, float), t.shape)
    are = ratio_errors(p, t, pairs)
    others = [keypoint_error(p, t, pairs, landmarks), aligned_landmark_error(p, t, pairs, landmarks)]
    return np.concatenate([are, are.mean(axis=-1, keepdims=True), np.stack(others, axis=-1)], axis=-1)


def identity_mean_errors(table: ArrayLike, identities: ArrayLike) -> dict[str, float]:
    """Mean over the predictions of a person, then over people, of each column of `error_table`."""
    means = identity_means(table, identities).mean(axis=0)
    return dict(zip(ERRORS, means.tolist(), strict=True))


def compare_with_baselines(
    ours: Array, baselines: Mapping[str, Array], identities: ArrayLike, **options: Any
) -> dict[str, ErrorComparison]:
    """Each error beside those of baselines, with intervals over people and paired tests.

    Args:
        ours: (L, 7), from `error_table`. baselines: the same by name, for instance "mean face" (one mesh for
            everybody) and "mean of own sex".
        identities: (L,), whose prediction each row is.
        options: see `voiceface.metrics.geometry.compare_errors`.
    """
    return {
        name: compare_errors(
            ours[:, column],
            {word: table[:, column] for word, table in baselines.items()},
            identities,
            **options,
        )
        for column, name in enumerate(ERRORS)
    }


def mean_faces(vertices: ArrayLike, genders: Sequence[str]) -> dict[str, Array]:
    """Mean meshes of people to predict with: "all", "male", "female".

    Meshes are first brought to interocular distances of one size by the caller, where sizes mean nothing.

    Args:
        vertices: (N, V, 3), one per person, of the training people.
        genders: N times "male" or "female".
    """
    meshes, who = np.asarray(vertices), np.asarray(genders)
    groups = {"all": np.ones(len(who), bool)} | {sex: who == sex for sex in GENDERS}
    empty = [name for name, chosen in groups.items() if not chosen.any()]
    if empty:
        raise ValueError(f"no mesh of: {', '.join(empty)}")
    return {name: meshes[chosen].mean(axis=0, dtype=np.float64) for name, chosen in groups.items()}


def shape_errors(vertices: ArrayLike, references: Mapping[str, ArrayLike]) -> dict[str, float]:
    """Distance of a frontal mesh (V, 3) to reference shapes: Frobenius norm of the difference over V.

    Nothing is scaled or aligned: both are frontal meshes in pixels.
    """
    mesh = np.asarray(vertices, float)
    found = {}
    for name, points in references.items():
        other = np.asarray(points, float)
        if other.shape != mesh.shape:
            raise ValueError(f"reference shape {name} has {other.shape} numbers, the mesh {mesh.shape}")
        found[name] = float(np.linalg.norm(mesh - other)) / len(mesh)
    return found


def describe_face(
    vertices: ArrayLike, references: Mapping[str, ArrayLike], pairs: Pairs, gender: str | None = None
) -> Description:
    """Sex, face type and differences in per cent of one frontal mesh.

    Args:
        vertices: (V, 3), pixels.
        references: of the face model, all six.
        pairs: of the face model.
        gender: where a better rule is at hand; None: of the nearer mean shape, as published.

    Raises:
        ValueError: a reference shape is absent or has another number of vertices.
    """
    absent = [name for name in (*GENDERS, *FACE_TYPES) if name not in references]
    if absent:
        raise ValueError(
            f"the face model has no reference shape for {', '.join(absent)}; give a folder of them"
        )
    errors = shape_errors(vertices, references)
    gender = gender or ("male" if errors["male"] < errors["female"] else "female")
    face_type = min(FACE_TYPES, key=lambda name: errors[name])
    found, usual = distances(vertices, pairs)[1:], distances(references[gender], pairs)[1:]
    differences = dict(zip(MEASURES, ((found - usual) / usual).tolist()))
    return Description(errors, gender, face_type, differences)
