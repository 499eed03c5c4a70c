"""The synthetic population's head as a linear face model: the embedded default, defined by formulas."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from voiceface.synthetic.camera import LANDMARK_BOX_SIZE, RenderParams, rotation_matrix
from voiceface.synthetic.face import head_bases
from voiceface.synthetic.face.head import (
    RATIO_LANDMARK_PAIRS,
    FaceFactors,
    HeadModel,
    build_head_model,
    shape_coefficients,
)

from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.face_models.pose import Y_FLIP

__all__ = [
    "DISCLAIMER",
    "FACE_TYPE_STEPS",
    "HEAD_PAIR_NAMES",
    "IMAGE_SIZE",
    "WIDTH_COEFFICIENTS",
    "build_synthetic_face_model",
    "classify_gender",
    "expression_coefficients",
    "frontal_vertices",
    "gender_axis",
    "orthonormal_shape",
    "pose_parameters",
    "reference_shapes",
    "semantic_coefficients",
]


Array = NDArray[Any]
DISCLAIMER = (
    "Synthetic population: the head is defined by formulas and the identities are synthetic; results say "
    "nothing about real people."
)
IMAGE_SIZE = 120.0
HEAD_PAIR_NAMES = {"oicd": "OICD", "forehead": "FR", "cheek": "CR", "ear": "ER", "midline": "MR"}
WIDTH_COEFFICIENTS = ("facew", "jaww", "cheekf")  # shape coefficients of the width of a face
# Steps along the sum of these coefficients, in standard deviations of the population.
FACE_TYPE_STEPS = {"wide": 1.5, "skinny": -1.5, "regular": 0.0, "slim": -0.75}


def build_synthetic_face_model(face_gain: float = 1.0) -> LinearFaceModel:
    """Build the population's head as a face model: 6,400 vertices, 40 + 10 coefficients, micrometres.

    Reference shapes: `male` and `female` are the mean male and female face; the face types are the mean face
    displaced along the widths of face, jaw and cheeks (`FACE_TYPE_STEPS`). Each is scaled as the population's
    camera scales a face of that shape. Every call returns a new module, because modules are moved in place;
    the arrays are computed once per process.

    Args:
        face_gain: factor on all bases, above 0; 1 is that of the presets.
    """
    head = build_head_model(face_gain)
    files = head.orthonormal
    landmarks = head.landmarks
    pairs = {
        name: tuple(int(landmarks[i]) for i in RATIO_LANDMARK_PAIRS[head_name])
        for name, head_name in HEAD_PAIR_NAMES.items()
    }
    return LinearFaceModel(
        "population",
        files.u_shp + files.u_exp,
        files.w_shp,
        files.w_exp,
        files.tri.T - 1,
        landmarks,
        pairs=pairs,
        parameter_mean=files.param_mean,
        parameter_std=files.param_std,
        references=reference_shapes(head),
        unit_mm=0.001,
        disclaimer=DISCLAIMER,
    )


def reference_shapes(head: HeadModel) -> dict[str, NDArray[np.float32]]:
    """Frontal meshes (V, 3) in pixels by `REFERENCE_NAMES`; see `build_synthetic_face_model`."""
    shapes = {"male": head_bases.sex_shift(), "female": -head_bases.sex_shift()} | _face_type_shapes(head)
    return {word: frontal_vertices(head, alpha) for word, alpha in shapes.items()}


def orthonormal_shape(factors: FaceFactors, face_gain: float = 1.0) -> NDArray[np.float32]:
    """Un-whitened shape coefficients (N, 40) of identities, in the model's orthonormal basis."""
    change = build_head_model(face_gain).orthonormal.shape_from_semantic
    return (shape_coefficients(factors) @ change.T).astype(np.float32)


def semantic_coefficients(shape: ArrayLike, face_gain: float = 1.0) -> NDArray[np.float64]:
    """Semantic coefficients (N, 40), `head_bases.SHAPE_NAMES`, from shape coefficients (N, 40)."""
    change = build_head_model(face_gain).orthonormal.shape_from_semantic
    return np.linalg.solve(change, np.asarray(shape, float).T).T


def gender_axis() -> NDArray[np.float64]:
    """Fisher direction (40,) between mean male and female head, in semantic coefficients; male is positive.

    It maximises the difference between the genders relative to the variance within each. The plain vertex
    distance to the two mean shapes includes differences that do not depend on gender, and misclassifies about
    one true head in eight.
    """
    mix, rest = head_bases.factor_loadings(), head_bases.residual_scale()
    axis = np.linalg.solve(mix @ mix.T + np.diag(rest**2), head_bases.sex_shift())
    return np.asarray(axis, np.float64)


def classify_gender(shape: ArrayLike, face_gain: float = 1.0) -> str:
    """Classify the gender of one head from its shape coefficients (40,): "male" or "female"."""
    return "male" if semantic_coefficients(shape, face_gain) @ gender_axis() > 0 else "female"


def expression_coefficients(expression: ArrayLike, face_gain: float = 1.0) -> NDArray[np.float32]:
    """Un-whitened expression coefficients (N, 10) from semantic ones (N, 10) (`RenderParams.expression`)."""
    change = build_head_model(face_gain).orthonormal.expression_from_semantic
    return (np.asarray(expression, float) @ change.T).astype(np.float32)


def pose_parameters(
    view: RenderParams,
    alpha: ArrayLike,
    image_size: float = IMAGE_SIZE,
    y_flip: float = Y_FLIP,
    face_gain: float = 1.0,
) -> NDArray[np.float32]:
    """Un-whitened pose (12,) of a rendered image: [P | t], y up, with image y = y_flip - y.

    The population's camera is perspective, the model is not: scale and translation are the least-squares fit
    of the model's landmarks to those of the image (a few pixels off at the ears).

    Args:
        view: from `voiceface.synthetic.face.render.sample_render_params`.
        alpha: (40,) semantic coefficients of the identity,
            `voiceface.synthetic.face.head.shape_coefficients`.
        image_size: of the image in pixels.
        y_flip: see `perceptionist.face_models.pose.apply_pose`.
        face_gain: factor on all bases.
    """
    turn = rotation_matrix(view.pose)
    marks = build_head_model(face_gain).compute_landmarks(alpha, view.expression) @ turn.T
    seen = image_size * view.landmarks * [1, -1] + [0, y_flip]
    flat, target = marks[:, :2], seen - seen.mean(axis=0)
    centred = flat - flat.mean(axis=0)
    scale = (centred * target).sum() / (centred**2).sum()  # pixels per mm
    offset = [*(seen.mean(axis=0) - scale * flat.mean(axis=0)), -0.55 * image_size]
    whole = np.concatenate([scale / 1000.0 * turn, np.reshape(offset, (3, 1))], axis=1)
    return whole.ravel().astype(np.float32)


def frontal_vertices(head: HeadModel, alpha: ArrayLike) -> NDArray[np.float32]:
    """Frontal meshes (..., 6400, 3) of heads (..., 40) in pixels: the landmarks' box takes 60 % of 120."""
    vertices = head.compute_vertices(alpha)
    marks = vertices[..., head.landmarks, :2]
    box = 0.5 * np.ptp(marks, axis=-2).sum(axis=-1)
    return (LANDMARK_BOX_SIZE * IMAGE_SIZE / box[..., None, None] * vertices).astype(np.float32)


def _face_type_shapes(head: HeadModel) -> dict[str, Array]:
    """Semantic coefficients (40,) of the face types, midway between the genders."""
    direction = np.isin(head_bases.SHAPE_NAMES, WIDTH_COEFFICIENTS).astype(float)
    fields = head.shape_basis.reshape(len(direction), -1)
    gram = fields @ fields.T
    mix, shift = head_bases.factor_loadings(), head_bases.sex_shift()
    covariance = mix @ mix.T + np.diag(head_bases.residual_scale() ** 2) + np.outer(shift, shift)
    # Standard deviation of the population along this direction, by projection onto the line through the mean.
    along = gram @ direction / (direction @ gram @ direction)
    spread = np.sqrt(along @ covariance @ along)
    return {word: step * spread * direction for word, step in FACE_TYPE_STEPS.items()}
