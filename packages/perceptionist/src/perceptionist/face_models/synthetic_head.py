"""The synthetic population's head as a face model: the embedded default, made of formulas, nobody's face."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from voiceface.synthetic.face import head_bases
from voiceface.synthetic.face.head import (
    RATIO_LANDMARK_PAIRS,
    FaceFactors,
    HeadModel,
    build_head_model,
    shape_coefficients,
)
from voiceface.synthetic.face.render import LANDMARK_BOX_SIZE, RenderParams
from voiceface.synthetic.face.scene import rotation_matrix

from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.face_models.pose import Y_FLIP

Array = NDArray[Any]
DISCLAIMER = (
    "Synthetic population: the head is made of formulas and the people are invented; nothing here says "
    "anything about a real person."
)
IMAGE_SIZE = 120.0
HEAD_PAIR_NAMES = {"oicd": "OICD", "forehead": "FR", "cheek": "CR", "ear": "ER", "midline": "MR"}
WIDTH_COEFFICIENTS = ("facew", "jaww", "cheekf")  # the shape coefficients that make a face wide or narrow
# Steps along the common direction of those widths, in standard deviations of the whole population.
FACE_TYPE_STEPS = {"wide": 1.5, "skinny": -1.5, "regular": 0.0, "slim": -0.75}


def build_synthetic_face_model(face_gain: float = 1.0) -> LinearFaceModel:
    """The population's head in the published arrangement: 6,400 vertices, 40 + 10 numbers, micrometres.

    The reference shapes are those of its own people: `male` and `female` the mean man and woman; the face
    types the mean person moved along the widths of face, jaw and cheeks (`FACE_TYPES`). Each is scaled as the
    population's camera scales a face of that shape. Every call gives a new module, as modules are moved in
    place; the numbers behind it are computed once per process.

    Args:
        face_gain: factor on all bases, above 0; 1 is that of the presets.
    """
    head = build_head_model(face_gain)
    files = head.orthonormal
    landmarks = head.landmarks
    pairs = {
        ours: tuple(int(landmarks[place]) for place in RATIO_LANDMARK_PAIRS[theirs])
        for ours, theirs in HEAD_PAIR_NAMES.items()
    }
    people = {"male": head_bases.sex_shift(), "female": -head_bases.sex_shift()} | _face_type_shapes(head)
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
        references={word: frontal_vertices(head, alpha) for word, alpha in people.items()},
        unit_mm=0.001,
        disclaimer=DISCLAIMER,
    )


def orthonormal_shape(factors: FaceFactors, face_gain: float = 1.0) -> NDArray[np.float32]:
    """Un-whitened shape numbers (N, 40) of people, in the model's orthonormal basis."""
    change = build_head_model(face_gain).orthonormal.shape_from_semantic
    return (shape_coefficients(factors) @ change.T).astype(np.float32)


def semantic_coefficients(shape: ArrayLike, face_gain: float = 1.0) -> NDArray[np.float64]:
    """The population's own coefficients (N, 40), of `bases.SHAPE_NAMES`, from shape numbers (N, 40)."""
    change = build_head_model(face_gain).orthonormal.shape_from_semantic
    return np.linalg.solve(change, np.asarray(shape, float).T).T


def gender_axis() -> NDArray[np.float64]:
    """Fisher's direction (40,) between the mean man and woman, of the population's own coefficients.

    Along it the sexes differ most for what people of one sex differ by; men are above 0. The plain distance
    of vertices to the two mean shapes also counts what says nothing about the sex, and so misjudges about one
    true head in eight.
    """
    mix, rest = head_bases.factor_loadings(), head_bases.residual_scale()
    axis = np.linalg.solve(mix @ mix.T + np.diag(rest**2), head_bases.sex_shift())
    return np.asarray(axis, np.float64)


def classify_gender(shape: ArrayLike, face_gain: float = 1.0) -> str:
    """The sex of one head, from its shape numbers (40,): "male" or "female"."""
    return "male" if semantic_coefficients(shape, face_gain) @ gender_axis() > 0 else "female"


def expression_coefficients(expression: ArrayLike, face_gain: float = 1.0) -> NDArray[np.float32]:
    """Un-whitened expression numbers (N, 10) from the population's own (N, 10) (`View.expression`)."""
    change = build_head_model(face_gain).orthonormal.expression_from_semantic
    return (np.asarray(expression, float) @ change.T).astype(np.float32)


def pose_parameters(
    view: RenderParams,
    alpha: ArrayLike,
    image_size: float = IMAGE_SIZE,
    y_flip: float = Y_FLIP,
    face_gain: float = 1.0,
) -> NDArray[np.float32]:
    """Un-whitened pose (12,) of a rendered picture: [P | t], y up, so that picture y = flip - y.

    The population's camera has a perspective, the model has none: scale and offset are those that bring the
    model's landmarks nearest to the picture's (a few pixels at the ears).

    Args:
        view: from `voiceface.synthetic.face.render.sample_render_params`.
        alpha: (40,) the person's own coefficients, `voiceface.synthetic.face.head.shape_coefficients`.
        image_size: of the picture in pixels.
        y_flip: see `perceptionist.face_models.linear.place`.
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
    """Shape coefficients (40,) of the face types, both sexes between them."""
    towards = np.isin(head_bases.SHAPE_NAMES, WIDTH_COEFFICIENTS).astype(float)
    fields = head.shape_basis.reshape(len(towards), -1)
    gram = fields @ fields.T
    mix, shift = head_bases.factor_loadings(), head_bases.sex_shift()
    covariance = mix @ mix.T + np.diag(head_bases.residual_scale() ** 2) + np.outer(shift, shift)
    # How far people lie along this direction: the nearest point on the line through the mean face.
    along = gram @ towards / (towards @ gram @ towards)
    spread = np.sqrt(along @ covariance @ along)
    return {word: step * spread * towards for word, step in FACE_TYPE_STEPS.items()}
