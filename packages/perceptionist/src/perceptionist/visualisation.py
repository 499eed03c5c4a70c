"""Images of meshes: portraits, overlays on photographs, several side by side.

Letters: N vertices, H rows and W columns of an image.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.face_models.pose import POSE_IMAGE_SIZE, Y_FLIP, Pose, apply_pose, split_pose
from perceptionist.sim3dr import overlay

__all__ = [
    "BACKGROUND_COLOUR",
    "SKIN_COLOUR",
    "ImageArray",
    "Quantisation",
    "images_to_uint8",
    "missing_triangles",
    "overlay_mesh",
    "pose_mesh",
    "render_portrait",
    "scale_vertices",
    "side_by_side",
]


Array = NDArray[Any]

BACKGROUND_COLOUR = (38, 48, 63)

SKIN_COLOUR = (0.93, 0.84, 0.77)


def render_portrait(
    vertices: Array,
    model: "LinearFaceModel",
    image_size: int = 480,
    yaw: float = 0.0,
    colors: Array | None = None,
) -> NDArray[np.uint8]:
    """Render a lit frontal mesh.

    Args:
        vertices: (N, 3), y up.
        model: face model with the triangles.
        image_size: of the image, pixels.
        yaw: degrees about the vertical axis.
        colors: (N, 3) in [0, 1]; None: a plain skin colour.

    Returns:
        (image_size, image_size, 3) uint8 RGB.
    """
    from perceptionist.sim3dr import Lighting, rasterize

    angle = np.deg2rad(yaw)
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    points = np.asarray(vertices, float) @ rotation.T
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 0.9 * image_size / max(float((high - low)[:2].max()), 1e-9)
    centred = (points - (low + high) / 2) * scale * [1, -1, 1] + [image_size / 2, image_size / 2, 0]
    # Rendered at double size, then averaged: smooth edges.
    twice = np.ascontiguousarray(2 * centred + [0.5, 0.5, 0], np.float32)
    triangles = model.triangles_to_draw()
    lighting = Lighting(
        intensity_ambient=0.28, intensity_directional=0.72, intensity_specular=0.0, light_pos=(-3, -3.2, 6)
    )
    canvas: Array = np.empty((2 * image_size, 2 * image_size, 3), np.uint8)
    canvas[:] = BACKGROUND_COLOUR
    lit = lighting.light(twice, triangles) * np.asarray(SKIN_COLOUR if colors is None else colors, np.float32)
    canvas = rasterize(twice, triangles, lit, canvas)
    averaged = canvas.reshape(image_size, 2, image_size, 2, 3).mean(axis=(1, 3))
    return np.rint(averaged).astype(np.uint8)


def missing_triangles(model: "LinearFaceModel") -> str:
    """A sentence for users of a face model without triangles; empty if it has them."""
    if len(model.triangles):
        return ""
    return (
        f"The face model {model.name} has no triangles (tri.mat is missing): meshes are written without them "
        "and no picture of a mesh is drawn."
    )


def side_by_side(images: Sequence[NDArray[np.uint8]], height: int = 480) -> NDArray[np.uint8]:
    """Join images side by side, each resized to a square of one height."""
    from PIL import Image

    rows = [
        np.asarray(Image.fromarray(each).resize((height, height), Image.Resampling.BICUBIC))
        for each in images
    ]
    return np.concatenate(rows, axis=1)


ImageArray = NDArray[np.uint8]

Quantisation = Literal["even", "published"]


def images_to_uint8(images: Tensor, quantisation: Quantisation = "even") -> ImageArray:
    """Generated images as bytes.

    Args:
        images: (B, 3, S, S), RGB, nominally -1...1; values outside are clipped.
        quantisation: "even": -1...1 to 0...255, rounded; "published": times 127.5 plus 128, truncated, which
            is half a level brighter.

    Returns:
        (B, S, S, 3) uint8, RGB.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (B, 3, S, S), found {tuple(images.shape)}")
    if quantisation not in get_args(Quantisation):
        raise ValueError(
            f"quantisation is {quantisation!r}, expected one of {', '.join(get_args(Quantisation))}"
        )
    clipped = images.detach().float().clamp(-1, 1)
    scaled = (clipped * 127.5 + 127.5).round() if quantisation == "even" else (clipped * 127.5 + 128).floor()
    return scaled.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def pose_mesh(
    model: LinearFaceModel, frontal: Tensor, expert_parameters: Tensor, y_flip: float = Y_FLIP
) -> tuple[Tensor, Pose]:
    """Rotate and translate frontal meshes by the pose that the expert predicts from the image.

    Args:
        model: face model.
        frontal: (B, 3, N), pixels, of the student or the supervised head; their scale is kept.
        expert_parameters: (B, 62 or 102), whitened parameters that the expert predicts from the same images.
        y_flip: see `perceptionist.face_models.pose.apply_pose`.

    Returns:
        (B, 3, N) in pixels of the image, y down, and the pose.
    """
    pose = split_pose(model.unwhiten(expert_parameters).pose)
    return apply_pose(frontal, pose, y_flip), pose


def overlay_mesh(
    image: ImageArray, posed: Tensor, model: LinearFaceModel, alpha: float = 1.0, **options: Any
) -> ImageArray:
    """Draw a lit mesh over a copy of an image.

    Args:
        image: (S, S, 3) uint8; a mesh posed in 120 pixels is scaled to it.
        posed: (3, N), from `pose_mesh`.
        model: face model with the triangles.
        alpha: opacity of the mesh, 0 to 1.
        options: `coverage`, `lighting`, `texture`, `threads` of `perceptionist.sim3dr.overlay`.
    """
    points = scale_vertices(posed, image.shape[0])
    return np.asarray(overlay(image, points, model.triangles_to_draw(), alpha=alpha, **options), np.uint8)


def scale_vertices(posed: Tensor, side: float, left: float = 0.0, top: float = 0.0) -> NDArray[np.float32]:
    """Vertices (N, 3) in pixels of an image, from (3, N) in pixels of a square part of it, resized to 120.

    Pixel centres have integer coordinates in both: the square reaches from -0.5 to 119.5 of the 120 pixels.

    Args:
        posed: (3, N), from `pose_mesh`.
        side: of the square part, pixels of the image.
        left: its left edge, pixels from that of the image.
        top: its upper edge, pixels from that of the image.
    """
    factor = side / POSE_IMAGE_SIZE
    vertices = posed.detach().cpu().numpy().T
    if factor != 1:
        centre = np.array([0.5, 0.5, 0])
        vertices = (vertices + centre) * factor - centre
    if left or top:
        vertices = vertices + np.array([left, top, 0])
    return np.ascontiguousarray(vertices, np.float32)
