"""What is shown of a result: made pictures as bytes, and the mesh laid over the picture it belongs to."""

from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perceptionist.face_model import FLIP, LinearFaceModel, Pose, place, split_pose
from perceptionist.sim3dr import overlay

Picture = NDArray[np.uint8]
Levels = Literal["even", "published"]
SIDE = 120  # pixels of the pictures that poses are stated for


def picture_bytes(faces: Tensor, levels: Levels = "even") -> Picture:
    """Made pictures as bytes.

    Args:
        faces: (B, 3, S, S), RGB, nominally -1...1; what lies outside is clipped.
        levels: "even": -1...1 to 0...255, rounded; "published": times 127.5 plus 128, cut off, which is half
            a level brighter.

    Returns:
        (B, S, S, 3) uint8, RGB.
    """
    if faces.ndim != 4 or faces.shape[1] != 3:
        raise ValueError(f"pictures must be (B, 3, S, S), found {tuple(faces.shape)}")
    if levels not in get_args(Levels):
        raise ValueError(f"levels is {levels!r}, expected one of {', '.join(get_args(Levels))}")
    clipped = faces.detach().float().clamp(-1, 1)
    scaled = (clipped * 127.5 + 127.5).round() if levels == "even" else (clipped * 127.5 + 128).floor()
    return scaled.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def placed_mesh(
    model: LinearFaceModel, frontal: Tensor, expert: Tensor, flip: float = FLIP
) -> tuple[Tensor, Pose]:
    """Frontal meshes turned and moved as the expert finds the face in the picture (specification, 5.3).

    Args:
        model: face model.
        frontal: (B, 3, N), pixels, of the student or the supervised head; their scale is kept.
        expert: (B, 62 or 102), whitened parameters that the expert finds in the same pictures.
        flip: see `perceptionist.face_model.place`.

    Returns:
        (B, 3, N) in pixels of the picture, y down, and the pose.
    """
    pose = split_pose(model.unwhiten(expert).pose)
    return place(frontal, pose, flip), pose


def laid_over(
    picture: Picture, placed: Tensor, model: LinearFaceModel, alpha: float = 1.0, **how: Any
) -> Picture:
    """A copy of a picture with a lit mesh over it.

    Args:
        picture: (S, S, 3) uint8; a mesh placed in 120 pixels is scaled to it.
        placed: (3, N), from `placed_mesh`.
        model: whose triangles join the vertices.
        alpha: share of the mesh, 0 to 1.
        how: `coverage`, `lighting`, `texture`, `threads` of `perceptionist.sim3dr.overlay`.
    """
    factor = picture.shape[0] / SIDE
    vertices = placed.detach().cpu().numpy().T
    if factor != 1:  # pixel centres stand on whole numbers
        centre = np.array([0.5, 0.5, 0])
        vertices = (vertices + centre) * factor - centre
    points = np.ascontiguousarray(vertices, np.float32)
    return np.asarray(overlay(picture, points, model.triangles, alpha=alpha, **how), np.uint8)
