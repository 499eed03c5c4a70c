"""The head of the synthetic population as a linear face model, the embedded default."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from voiceface.synthetic.camera import LANDMARK_BOX_SIZE, RenderParams, rotation_matrix
from voiceface.synthetic.head import shape_space
from voiceface.synthetic.head.linear_model import RATIO_LANDMARK_PAIRS, HeadModel
from voiceface.synthetic.head.model import build_head_model
from voiceface.synthetic.head.shape_space import FaceFactors, shape_coefficients
from voiceface.synthetic.layout import DEFAULT_FACE_GAIN

from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.face_models.pose import Y_FLIP

__all__ = [
    "DISCLAIMER",
    "EMBEDDED_HEAD",
    "FACE_TYPE_STEPS",
    "HEAD_PAIR_NAMES",
    "IMAGE_SIZE",
    "WIDTH_COEFFICIENTS",
    "PopulationHead",
    "build_synthetic_face_model",
    "canonical_coefficients",
    "classify_gender",
    "equivalent_coefficients",
    "expression_coefficients",
    "find_head",
    "frontal_vertices",
    "gender_axis",
    "gender_direction",
    "orthonormal_shape",
    "pose_parameters",
    "reference_shapes",
    "semantic_coefficients",
]


Array = NDArray[Any]
DISCLAIMER = (
    "Synthetic population: the statistics of the head are chosen and the identities are synthetic; results "
    "say nothing about real people."
)
IMAGE_SIZE = 120.0
HEAD_PAIR_NAMES = {"oicd": "OICD", "forehead": "FR", "cheek": "CR", "ear": "ER", "midline": "MR"}
WIDTH_COEFFICIENTS = ("facew", "jaww", "cheekf")  # shape coefficients of the width of a face
# Steps along the sum of these coefficients, in standard deviations of the population.
FACE_TYPE_STEPS = {"wide": 1.5, "skinny": -1.5, "regular": 0.0, "slim": -0.75}


@dataclass(frozen=True)
class PopulationHead:
    """The head of the population with a factor on its shape fields."""

    face_gain: float = DEFAULT_FACE_GAIN

    @property
    def name(self) -> str:
        """Name of its face model, such as "population" and "population gain 1"."""
        return "population" + ("" if self == EMBEDDED_HEAD else f" gain {self.face_gain:g}")

    @property
    def model(self) -> HeadModel:
        """The head in semantic coefficients."""
        return build_head_model(self.face_gain)


EMBEDDED_HEAD = PopulationHead()


def find_head(name: str) -> PopulationHead | None:
    """The population's head that a face model of this name is; None for other face models."""
    found = re.fullmatch(r"population(?: gain (\d+(?:\.\d+)?))?", name)
    return None if found is None else PopulationHead(float(found[1] or DEFAULT_FACE_GAIN))


def build_synthetic_face_model(face_gain: float = DEFAULT_FACE_GAIN) -> LinearFaceModel:
    """Build the head of the population as a face model: 40 + 10 coefficients, micrometres, 4,883 vertices.

    Reference shapes: `male` and `female` are the mean male and female face; the face types are the mean face
    displaced along the widths of face, jaw and cheeks (`FACE_TYPE_STEPS`). Each is scaled as the population's
    camera scales a face of that shape. Every call returns a new module, because modules are moved in place;
    the arrays are computed once per process.

    Args:
        face_gain: factor on the shape fields, above 0; 1 is life-like.
    """
    which = PopulationHead(face_gain)
    head = which.model
    files = head.orthonormal
    landmarks = head.landmarks
    pairs = {
        name: tuple(int(landmarks[i]) for i in RATIO_LANDMARK_PAIRS[head_name])
        for name, head_name in HEAD_PAIR_NAMES.items()
    }
    return LinearFaceModel(
        which.name,
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
    shapes = {"male": shape_space.sex_shift(), "female": -shape_space.sex_shift()} | _face_type_shapes(head)
    return {word: frontal_vertices(head, alpha) for word, alpha in shapes.items()}


def orthonormal_shape(factors: FaceFactors, head: PopulationHead = EMBEDDED_HEAD) -> NDArray[np.float32]:
    """Un-whitened shape coefficients (N, 40) of identities, in the model's orthonormal basis."""
    return (shape_coefficients(factors) @ head.model.orthonormal.shape_from_semantic.T).astype(np.float32)


def semantic_coefficients(shape: ArrayLike, head: PopulationHead = EMBEDDED_HEAD) -> NDArray[np.float64]:
    """Semantic coefficients (N, 40), `shape_space.SHAPE_NAMES`, from shape coefficients (N, 40)."""
    return np.linalg.solve(head.model.orthonormal.shape_from_semantic, np.asarray(shape, float).T).T


def equivalent_coefficients(
    values: ArrayLike, known: PopulationHead, wanted: PopulationHead, kind: str = "shape"
) -> NDArray[np.float64]:
    """Semantic coefficients (..., K) that give the same head with another gain.

    Args:
        values: coefficients of `known`.
        known, wanted: heads with the same names of coefficients.
        kind: "shape" or "expression".
    """
    sizes = []
    for head in (known, wanted):
        fields = head.model.gain * getattr(head.model, f"{kind}_basis")
        sizes.append(np.sqrt((fields**2).sum(axis=(1, 2))))
    return np.asarray(values, float) * (sizes[0] / sizes[1])


def canonical_coefficients(shape: ArrayLike, name: str) -> NDArray[np.float64]:
    """Semantic coefficients (N, 40) at the gain of the presets, from those of a face model by its name.

    Raises:
        ValueError: the face model is no head of the population.
    """
    head = find_head(name)
    if head is None:
        raise ValueError(f"the face model {name} is no head of the population, whose coefficients have names")
    return equivalent_coefficients(semantic_coefficients(shape, head), head, EMBEDDED_HEAD)


def gender_axis() -> NDArray[np.float64]:
    """Fisher direction (40,) between mean male and female head, in semantic coefficients; male is positive.

    It maximises the difference between the genders relative to the variance within each. The plain vertex
    distance to the two mean shapes includes differences that do not depend on gender, and misclassifies about
    one true head in eight.
    """
    mix, rest = shape_space.factor_loadings(), shape_space.residual_scale()
    axis = np.linalg.solve(mix @ mix.T + np.diag(rest**2), shape_space.sex_shift())
    return np.asarray(axis, np.float64)


def classify_gender(shape: ArrayLike, head: PopulationHead = EMBEDDED_HEAD) -> str:
    """Classify the gender of one head from its shape coefficients (40,): "male" or "female"."""
    return "male" if semantic_coefficients(shape, head) @ gender_axis() > 0 else "female"


def gender_direction(head: PopulationHead) -> NDArray[np.float64]:
    """Direction (40,) in shape coefficients along which `classify_gender` decides; male is positive."""
    return np.asarray(semantic_coefficients(np.eye(len(gender_axis())), head) @ gender_axis(), np.float64)


def expression_coefficients(
    expression: ArrayLike, head: PopulationHead = EMBEDDED_HEAD
) -> NDArray[np.float32]:
    """Un-whitened expression coefficients (N, 10) from semantic ones (N, 10) (`RenderParams.expression`)."""
    change = head.model.orthonormal.expression_from_semantic
    return (np.asarray(expression, float) @ change.T).astype(np.float32)


def pose_parameters(
    view: RenderParams,
    alpha: ArrayLike,
    image_size: float = IMAGE_SIZE,
    y_flip: float = Y_FLIP,
    head: PopulationHead = EMBEDDED_HEAD,
) -> NDArray[np.float32]:
    """Un-whitened pose (12,) of a rendered image: [P | t], y up, with image y = y_flip - y.

    The population's camera is perspective, the model is not: scale and translation are the least-squares fit
    of the model's landmarks to those of the image (a few pixels off at the ears).

    Args:
        view: from `voiceface.synthetic.camera.sample_render_params`.
        alpha: (40,) semantic coefficients of the identity,
            `voiceface.synthetic.head.shape_space.shape_coefficients`.
        image_size: of the image in pixels.
        y_flip: see `perceptionist.face_models.pose.apply_pose`.
        head: that `alpha` and the expression of `view` belong to.
    """
    turn = rotation_matrix(view.pose)
    marks = head.model.compute_landmarks(alpha, view.expression) @ turn.T
    seen = image_size * view.landmarks * [1, -1] + [0, y_flip]
    flat, target = marks[:, :2], seen - seen.mean(axis=0)
    centred = flat - flat.mean(axis=0)
    scale = (centred * target).sum() / (centred**2).sum()  # pixels per mm
    offset = [*(seen.mean(axis=0) - scale * flat.mean(axis=0)), -0.55 * image_size]
    whole = np.concatenate([scale / 1000.0 * turn, np.reshape(offset, (3, 1))], axis=1)
    return whole.ravel().astype(np.float32)


def frontal_vertices(head: HeadModel, alpha: ArrayLike) -> NDArray[np.float32]:
    """Frontal meshes (..., V, 3) of heads (..., 40) in pixels: the landmarks' box has its size in images."""
    vertices = head.compute_vertices(alpha)
    marks = vertices[..., head.landmarks, :2]
    box = 0.5 * np.ptp(marks, axis=-2).sum(axis=-1)
    return (LANDMARK_BOX_SIZE * IMAGE_SIZE / box[..., None, None] * vertices).astype(np.float32)


def _face_type_shapes(head: HeadModel) -> dict[str, Array]:
    """Semantic coefficients (40,) of the face types, midway between the genders."""
    direction = np.isin(shape_space.SHAPE_NAMES, WIDTH_COEFFICIENTS).astype(float)
    fields = head.shape_basis.reshape(len(direction), -1)
    gram = fields @ fields.T
    mix, shift = shape_space.factor_loadings(), shape_space.sex_shift()
    covariance = mix @ mix.T + np.diag(shape_space.residual_scale() ** 2) + np.outer(shift, shift)
    # Standard deviation of the population along this direction, by projection onto the line through the mean.
    along = gram @ direction / (direction @ gram @ direction)
    spread = np.sqrt(along @ covariance @ along)
    return {word: step * spread * direction for word, step in FACE_TYPE_STEPS.items()}
