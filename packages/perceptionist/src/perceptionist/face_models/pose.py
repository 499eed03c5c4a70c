"""Weak-perspective pose of a face: split the network's matrix, and apply a pose to frontal meshes.

Letters: B faces, N vertices.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

__all__ = [
    "NUM_POSE_PARAMETERS",
    "POSE_IMAGE_SIZE",
    "Pose",
    "RotationMode",
    "apply_pose",
    "split_pose",
]


RotationMode = Literal["rows", "cross"]

NUM_POSE_PARAMETERS = 12
POSE_IMAGE_SIZE = 120  # pixels of the images that poses are stated for
# y of an image of 120 pixels is flip - y: as experts are trained, and as the published demo draws.
Y_FLIP, PUBLISHED_Y_FLIP = 121.0, 127.0


@dataclass(frozen=True)
class Pose:
    """Weak-perspective pose of B faces, split.

    Attributes:
        scaled_rotation: (B, 3, 3), P: scaled rotation as the network predicts it.
        translation: (B, 3, 1), t, pixels.
        scale: (B,), pixels per unit of the model: mean length of the first two rows of P.
        rotation: (B, 3, 3), rows of unit length.
    """

    scaled_rotation: Tensor
    translation: Tensor
    scale: Tensor
    rotation: Tensor


def split_pose(pose: Tensor, rotation: RotationMode = "rows") -> Pose:
    """Split a row-major 3 x 4 matrix [P | t].

    Args:
        pose: (B, 12), un-whitened.
        rotation: "rows": every row of P divided by its own length, as published; the rows need not be
            orthogonal. "cross": the third row is the cross product of the first two, as in 3DDFA.

    Raises:
        ValueError: another shape or option.
    """
    if pose.ndim != 2 or pose.shape[1] != NUM_POSE_PARAMETERS:
        raise ValueError(f"pose of shape {tuple(pose.shape)}, expected (B, {NUM_POSE_PARAMETERS})")
    if rotation not in get_args(RotationMode):
        raise ValueError(f"rotation is {rotation!r}, expected one of {', '.join(get_args(RotationMode))}")
    matrices = pose.reshape(-1, 3, 4)
    scaled_rotation, translation = matrices[:, :, :3], matrices[:, :, 3:]
    lengths = scaled_rotation.norm(dim=2, keepdim=True)
    scale = (lengths[:, 0, 0] + lengths[:, 1, 0]) / 2
    unit_rows = scaled_rotation / lengths
    if rotation == "cross":
        third = torch.linalg.cross(unit_rows[:, 0], unit_rows[:, 1])
        unit_rows = torch.cat([unit_rows[:, :2], third[:, None]], dim=1)
    return Pose(scaled_rotation, translation, scale, unit_rows)


def apply_pose(frontal: Tensor, pose: Pose, y_flip: float | None = Y_FLIP) -> Tensor:
    """Rotate and translate frontal meshes by a pose, and turn y downwards for drawing.

    Args:
        frontal: (B, 3, N), pixels, y up.
        pose: of B faces; its scale is not used, the meshes keep theirs.
        y_flip: y becomes `y_flip - y`: 121 as experts are trained (on images of 120 pixels), 127 as in the
            published demo, six pixels off; None leaves y pointing up.

    Returns:
        (B, 3, N): x right, y down, in pixels of the 120-pixel image; larger z is nearer.
    """
    posed = pose.rotation @ frontal + pose.translation
    if y_flip is None:
        return posed
    x, y, z = posed.unbind(dim=1)
    return torch.stack([x, y_flip - y, z], dim=1)
