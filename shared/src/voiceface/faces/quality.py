"""Quality of found faces: size, sharpness, direction of the head, exposure.

Angles are those of the fitted mesh: good to a few degrees for frontal faces. Sharpness is the variance of the
Laplacian of the aligned face, divided by the variance of its grey levels; both are taken at one scale, so
that a small face that is enlarged counts as blurred.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from voiceface.faces.crops import crop_face

__all__ = [
    "MAX_ANGLE",
    "MAX_CLIPPED",
    "MIN_BRIGHTNESS",
    "MIN_EYE_DISTANCE",
    "MIN_SHARPNESS",
    "FaceQuality",
    "measure_quality",
    "mesh_angles",
    "point_angles",
]

Array = NDArray[np.float32]
MIN_EYE_DISTANCE = 20.0
MIN_SHARPNESS = 0.015
"""Photographs of 128 pixels have .06 to .7; blurred with a deviation of 2 pixels, .006 to .04."""
MAX_ANGLE = 35.0
MIN_BRIGHTNESS = 0.15
MAX_CLIPPED = 0.3
NEUTRAL_PITCH = -10.0
"""Pitch of the mesh of faces that look into the camera (VGG_ALL_FRONTAL: -12, population: -10)."""
FRONTAL_POINTS = np.array(
    [(-0.5, 0, 0), (0.5, 0, 0), (0, 0.638, -0.574), (-0.441, 0.964, 0.072), (0.441, 0.964, 0.072)]
)
"""The five points of a frontal face: x, y and depth in distances of the eyes; means of 42 meshes."""
LEFT_SIDE, RIGHT_SIDE, FOREHEAD, CHIN = 234, 454, 10, 152  # of the picture
INNER_CROP = slice(20, 105), slice(20, 92)  # of 112 pixels: the face without its surroundings


@dataclass(frozen=True)
class FaceQuality:
    """Measures of one face.

    Attributes:
        eye_distance: pixels between the middles of the eyes.
        sharpness: see the module; higher is sharper.
        yaw: degrees, positive where the face turns to the right of the picture.
        pitch: degrees, positive where it looks up.
        roll: degrees, positive where it leans clockwise.
        brightness: mean grey level, 0...1.
        dark: share of pixels that are black, 0...1.
        bright: share of pixels that are white, 0...1.
    """

    eye_distance: float
    sharpness: float
    yaw: float
    pitch: float
    roll: float
    brightness: float
    dark: float
    bright: float

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes an embedding of this face doubtful, in words; empty if nothing does."""
        found = []
        if self.eye_distance < MIN_EYE_DISTANCE:
            found.append(
                f"small: {self.eye_distance:.0f} pixels between the eyes, below {MIN_EYE_DISTANCE:.0f}"
            )
        if self.sharpness < MIN_SHARPNESS:
            found.append(f"blurred: sharpness {self.sharpness:.3f}, below {MIN_SHARPNESS:g}")
        for name, angle in (("turned aside", self.yaw), ("looks up or down", self.pitch)):
            if abs(angle) > MAX_ANGLE:
                found.append(f"{name}: {angle:.0f} degrees, beyond {MAX_ANGLE:g}")
        if self.brightness < MIN_BRIGHTNESS or self.dark > MAX_CLIPPED:
            found.append(f"dark: brightness {self.brightness:.2f}, {self.dark:.0%} black")
        if self.bright > MAX_CLIPPED:
            found.append(f"overexposed: {self.bright:.0%} white")
        return tuple(found)


def measure_quality(image: NDArray[np.uint8], points: Array, mesh: Array | None = None) -> FaceQuality:
    """Measure a face.

    Args:
        image: RGB, (H, W, 3) uint8.
        points: (5, 2), as in `voiceface.faces.crops`.
        mesh: (468, 3), pixels; None: the angles are estimated from the points.
    """
    face = crop_face(image, points, "arcface", 112)[INNER_CROP]
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32)
    across = points[1] - points[0]
    yaw, pitch = point_angles(points) if mesh is None else mesh_angles(mesh)
    return FaceQuality(
        eye_distance=float(np.hypot(*across)),
        sharpness=float(cv2.Laplacian(grey, cv2.CV_32F).var() / (grey.var() + 1)),
        yaw=yaw,
        pitch=pitch,
        roll=float(np.degrees(np.arctan2(across[1], across[0]))),
        brightness=float(grey.mean() / 255),
        dark=float((grey <= 8).mean()),
        bright=float((grey >= 250).mean()),
    )


def mesh_angles(mesh: Array) -> tuple[float, float]:
    """Yaw and pitch of a mesh (468, 3) in degrees; signs as in `FaceQuality`."""
    across = mesh[RIGHT_SIDE] - mesh[LEFT_SIDE]
    down = mesh[CHIN] - mesh[FOREHEAD]
    yaw = np.degrees(np.arctan2(across[2], np.hypot(across[0], across[1])))
    pitch = np.degrees(np.arctan2(-down[2], np.hypot(down[0], down[1])))
    return float(yaw), float(pitch - NEUTRAL_PITCH)


def point_angles(points: Array) -> tuple[float, float]:
    """Yaw and pitch estimated from five points (5, 2), in degrees; signs as in `FaceQuality`.

    The linear map that moves `FRONTAL_POINTS` nearest to the points (least squares) is replaced by the
    nearest rotation with scale. Over 48 pictures, the mean difference from the angles of the mesh is 0.8
    degrees (yaw) and 2.8 degrees (pitch).
    """
    frontal, found = FRONTAL_POINTS - FRONTAL_POINTS.mean(0), np.asarray(points, float)
    linear = np.linalg.lstsq(frontal, found - found.mean(0), rcond=None)[0].T
    left, _, right = np.linalg.svd(linear, full_matrices=False)
    rotation = left @ right
    depth = np.cross(rotation[0], rotation[1])
    across, down = rotation[:, 0], rotation[:, 1]
    yaw = np.degrees(np.arctan2(depth[0], np.hypot(*across)))
    pitch = np.degrees(np.arctan2(-depth[1], np.hypot(*down)))
    return float(yaw), float(pitch)
