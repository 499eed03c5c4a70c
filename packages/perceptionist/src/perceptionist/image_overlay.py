"""Meshes over photographs, from stored coefficients or from an image-to-3D expert.

Letters: N vertices, H rows and W columns of a photograph, S shape and E expression coefficients.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from voiceface.io.safe_pickle import read_npy

from perceptionist.face_models.bfm import BFM_NUM_EXPRESSION, BFM_NUM_SHAPE, read_bfm_coefficients
from perceptionist.face_models.linear import FaceModelError, FaceParameters, LinearFaceModel
from perceptionist.face_models.pose import NUM_POSE_PARAMETERS, Y_FLIP, split_pose
from perceptionist.face_models.synthetic_head import find_head
from perceptionist.image_expert import CropBox
from perceptionist.image_expert_model import ImageExpert
from perceptionist.sim3dr import Lighting, overlay
from perceptionist.visualisation import ImageArray, scale_vertices

__all__ = [
    "ALPHA",
    "TEXTURE_LENGTH",
    "PhotoOverlay",
    "draw_overlay",
    "fit_image",
    "overlay_photograph",
    "place_mesh",
    "read_coefficients",
]


ALPHA = 0.6  # as SynergyNet's overlays; the published demo of this system draws opaque meshes
TEXTURE_LENGTH = 40  # unused coefficients at the end of published vectors


@dataclass(frozen=True)
class PhotoOverlay:
    """A photograph with the mesh of its face over it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        vertices: (N, 3) float32, pixels of the photograph: x right, y down, larger z nearer.
        parameters: un-whitened pose, shape and expression, one face.
    """

    image: ImageArray
    vertices: NDArray[np.float32]
    parameters: FaceParameters


def overlay_photograph(
    photograph: ImageArray,
    model: LinearFaceModel,
    coefficients: FaceParameters | None = None,
    expert: ImageExpert | None = None,
    *,
    box: CropBox | None = None,
    alpha: float = ALPHA,
    y_flip: float = Y_FLIP,
    lighting: Lighting | None = None,
    coverage: str = "top_left",
) -> PhotoOverlay:
    """Draw the mesh of a face over its photograph.

    Args:
        photograph: (H, W, 3) uint8 RGB; not modified.
        model: face model of the coefficients.
        coefficients: stored ones, see `read_coefficients`; None: the expert's.
        expert: predicts what `coefficients` lacks: everything, or the pose of coefficients without one.
        box: part of the photograph that shows the face as in training, and that the pose is stated for; None:
            the largest square in the centre.
        alpha: opacity of the mesh, 0 to 1.
        y_flip: see `perceptionist.face_models.pose.apply_pose`.
        lighting: of the mesh; None: the published light of this system.
        coverage: see `perceptionist.sim3dr.rasterize`.

    Raises:
        ValueError: a pose is needed and there is no expert, or the mesh lies outside of the photograph.
    """
    box = box or CropBox.centred(*photograph.shape[:2])
    if coefficients is None or not coefficients.pose.numel():
        if expert is None:
            raise ValueError("the coefficients have no pose; pass the expert that predicts it (--expert)")
        fitted = fit_image(photograph, expert, box)
        coefficients = (
            FaceParameters(fitted.pose, coefficients.shape, coefficients.expression)
            if coefficients
            else fitted
        )
    posed = place_mesh(model, coefficients, y_flip)
    image, vertices = draw_overlay(
        photograph, posed, model, box, alpha=alpha, lighting=lighting, coverage=coverage
    )
    return PhotoOverlay(image, vertices, coefficients)


def fit_image(photograph: ImageArray, expert: ImageExpert, box: CropBox | None = None) -> FaceParameters:
    """Un-whitened parameters of the face in a photograph (H, W, 3), as the expert predicts them."""
    box = box or CropBox.centred(*photograph.shape[:2])
    return expert.face_model.unwhiten(expert.predict([box.crop(photograph)]).float())


def place_mesh(model: LinearFaceModel, parameters: FaceParameters, y_flip: float = Y_FLIP) -> Tensor:
    """Mesh (3, N) of one face in its pose, pixels of a 120-pixel image, y down: P · mesh + t, y = flip - y.

    As SynergyNet places its meshes, with P as predicted, which need not be a scaled rotation.
    """
    pose = split_pose(parameters.pose)
    mesh = model.vertices(parameters.shape, parameters.expression)
    x, y, z = (pose.scaled_rotation @ mesh + pose.translation)[0]
    return torch.stack([x, y_flip - y, z])


def draw_overlay(
    photograph: ImageArray,
    posed: Tensor,
    model: LinearFaceModel,
    box: CropBox,
    *,
    alpha: float = ALPHA,
    lighting: Lighting | None = None,
    coverage: str = "top_left",
) -> tuple[ImageArray, NDArray[np.float32]]:
    """Draw a posed mesh (3, N), pixels of a 120-pixel image, into the box of a photograph (H, W, 3).

    Returns:
        The overlay (H, W, 3), equal to the photograph outside of the mesh, and the vertices (N, 3) in pixels
        of the photograph.

    Raises:
        ValueError: no vertex lies in the photograph.
    """
    vertices = scale_vertices(posed, box.side, box.left, box.top)
    height, width = photograph.shape[:2]
    x, y = vertices[:, 0], vertices[:, 1]
    inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    if not inside.any():
        raise ValueError(
            f"the mesh lies outside of the image of {width} x {height} pixels "
            f"(x {x.min():.4g} to {x.max():.4g}, y {y.min():.4g} to {y.max():.4g}); expected coefficients of "
            "this image: pass the part that they are stated for as --box, or --whitened if they are whitened"
        )
    triangles = model.triangles_to_draw()
    image = overlay(photograph, vertices, triangles, alpha=alpha, lighting=lighting, coverage=coverage)
    return np.asarray(image, np.uint8), vertices


def read_coefficients(path: str | Path, model: LinearFaceModel, *, whitened: bool = False) -> FaceParameters:
    """Read the stored coefficients of one face from a .npy file; no code in the file is run.

    Args:
        path: file with 12 + S + E numbers (62 for 3DDFA), or 40 more (texture, ignored): pose as a row-major
            3 x 4 matrix, shape, expression. Or with fitted coefficients of the full BFM-2009, 199 shape and
            29 expression, without a pose (the leading ones are used).
        model: face model, with S and E.
        whitened: the numbers are whitened, as a network predicts them.

    Returns:
        Un-whitened parameters of one face; the pose is empty, (1, 0), if the file has none.

    Raises:
        FileNotFoundError, ArrayFileError: missing or corrupt.
        FaceModelError: other lengths, or values that are not finite.
    """
    content = read_npy(path)
    size = content.size if isinstance(content, np.ndarray) else 0
    lengths = (model.num_parameters, model.num_parameters + TEXTURE_LENGTH)
    if size in lengths:
        return _split_vector(content, model, whitened, path)
    try:
        fitted = read_bfm_coefficients(path)
    except FaceModelError as error:
        found = f"an array of shape {content.shape}" if isinstance(content, np.ndarray) else "several arrays"
        if size == BFM_NUM_SHAPE + BFM_NUM_EXPRESSION or not isinstance(content, np.ndarray):
            raise
        raise FaceModelError(
            f"{path} contains {found}, expected {lengths[0]} or {lengths[1]} numbers (pose, shape, "
            f"expression of the face model {model.name}), or {BFM_NUM_SHAPE} + {BFM_NUM_EXPRESSION} fitted "
            "coefficients"
        ) from error
    if whitened:
        raise FaceModelError(f"{path} contains fitted coefficients, which are not whitened; omit --whitened")
    if (
        model.num_shape > BFM_NUM_SHAPE
        or model.num_expression > BFM_NUM_EXPRESSION
        or find_head(model.name) is not None
    ):
        raise FaceModelError(
            f"{path} contains coefficients of BFM-2009, the face model is {model.name}; pass that of the "
            "coefficients as --face-model"
        )
    leading = fitted.shape[: model.num_shape], fitted.expression[: model.num_expression]
    shape, expression = (_to_tensor(part, model) for part in leading)
    return FaceParameters(shape[:, :0], shape, expression)


def _split_vector(
    content: ArrayLike, model: LinearFaceModel, whitened: bool, path: str | Path
) -> FaceParameters:
    """Split a vector with pose; `path` is for messages."""
    vector = np.asarray(content).reshape(-1)
    if vector.dtype.kind not in "fiu" or not np.isfinite(vector).all():
        raise FaceModelError(f"{path} contains values that are not finite numbers; write it again")
    whole = _to_tensor(vector[: model.num_parameters], model)
    if whitened:
        return model.unwhiten(whole)
    parts = whole.split([NUM_POSE_PARAMETERS, model.num_shape, model.num_expression], dim=1)
    if not (split_pose(parts[0]).scale > 0).all():
        raise FaceModelError(f"{path}: the pose has the scale 0, expected a 3 x 4 matrix [P | t] first")
    return FaceParameters(*parts)


def _to_tensor(values: ArrayLike, model: LinearFaceModel) -> Tensor:
    array = torch.from_numpy(np.array(values, np.float32, ndmin=2))
    return array.to(model.mean.device)
