"""Frames of talking heads: heads with an opening mouth before a backdrop, at any place of the picture."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.camera import SUPERSAMPLING, project_points, rotation_matrix
from voiceface.synthetic.colours import muted_colour, to_linear_light
from voiceface.synthetic.head import shape_space
from voiceface.synthetic.head.drawing import PreparedHead, draw_head
from voiceface.synthetic.head.model import build_head_model
from voiceface.synthetic.head.shading import Light
from voiceface.synthetic.head.view import View
from voiceface.synthetic.talking_heads.scenes import Backdrop

__all__ = ["HEAD_MM", "FramePainter", "PlacedHead", "draw_backdrop"]

Array = NDArray[np.float64]
Map = NDArray[np.float32]
Image = NDArray[np.uint8]

HEAD_MM = 240.0  # height of a head
BODY_MM = 285.0  # from the eyes to where the shoulders end
FOREHEAD_SHARE = 0.35  # of the height of the landmarks, added above the brows
# Left, top and right, bottom of a head with shoulders and hair around its origin.
_REACH_MM = np.array([[-270.0, -260.0], [270.0, 400.0]])
_JAW = shape_space.EXPRESSION_NAMES.index("jaw_open")
_UPPER_LIP, _LOWER_LIP = 62, 66  # landmarks in the middle of the inner edges of the lips


@dataclass(frozen=True)
class PlacedHead:
    """One head in one frame.

    Attributes:
        face: the identity.
        pose: (3,) yaw, pitch, roll in radians.
        expression: (10,) coefficients of the expression bases without the jaw.
        opening: of the mouth, mm.
        centre: (2,) of the point between the ears, pixels.
        scale: pixels per mm.
        clothes: (4,) uniforms: colour and collar.
        glasses: whether it wears its glasses.
    """

    face: PreparedHead
    pose: Array
    expression: Array
    opening: float
    centre: Array
    scale: float
    clothes: Array
    glasses: bool

    def full_expression(self) -> Array:
        """Coefficients of the expression bases with the jaw, (10,)."""
        expression = np.array(self.expression)
        expression[_JAW] = self.opening / _opening_per_coefficient()
        return expression

    def compute_box(self, face_gain: float) -> Array:
        """Compute left, top, right, bottom of the face from chin to forehead, (4,) pixels."""
        landmarks = build_head_model(face_gain).compute_landmarks(self.face.shape, self.full_expression())
        plane = project_points(landmarks @ rotation_matrix(self.pose).T)[:, :2] * self.scale + self.centre
        low, high = plane.min(axis=0), plane.max(axis=0)
        low[1] -= FOREHEAD_SHARE * (high[1] - low[1])
        return np.concatenate([low, high])


@lru_cache(maxsize=1)
def _opening_per_coefficient() -> float:
    """How many mm farther the middles of the lips are apart at coefficient 1 of the jaw."""
    head, expression = build_head_model(), np.zeros(len(shape_space.EXPRESSION_NAMES))
    shape = np.zeros(len(shape_space.SHAPE_NAMES))
    closed = head.compute_landmarks(shape, expression)
    expression[_JAW] = 1.0
    opened = head.compute_landmarks(shape, expression)
    gaps = [float(np.linalg.norm(each[_UPPER_LIP] - each[_LOWER_LIP])) for each in (closed, opened)]
    return gaps[1] - gaps[0]


class FramePainter:
    """Paints the frames of one scene.

    Args:
        backdrop: (H, W, 3) linear light.
        light: the lamps.
        balance: (3,) gain of the colours.
        grain: standard deviation of the camera's noise in grey levels.
        rng: random numbers of the noise.
    """

    def __init__(
        self, backdrop: Map, light: Light, balance: Array, grain: float, rng: np.random.Generator
    ) -> None:
        height, width = backdrop.shape[:2]
        self._size = width, height
        large = width * SUPERSAMPLING, height * SUPERSAMPLING
        self._backdrop = np.asarray(cv2.resize(backdrop, large, interpolation=cv2.INTER_LINEAR), np.float32)
        self._light, self._gain = light, (255.0 * balance).astype(np.float32)
        self._rng = rng
        self._noise = grain * rng.standard_normal((height + 64, width + 64, 1)).astype(np.float32)

    def paint(self, heads: list[PlacedHead]) -> Image:
        """Paint one frame, (H, W, 3) uint8 RGB; later heads before earlier ones."""
        colour = self._backdrop.copy()
        width, height = (SUPERSAMPLING * each for each in self._size)
        for head in heads:
            middle = SUPERSAMPLING * head.centre - 0.5
            view = View(head.pose, SUPERSAMPLING * head.scale, middle, width, height)
            low, high = (middle + view.scale * mm for mm in _REACH_MM)
            left, top = np.clip(low.astype(int), 0, (width - 1, height - 1)).tolist()
            right, bottom = np.clip(high.astype(int), 1, (width, height)).tolist()
            window = np.ascontiguousarray(colour[top:bottom, left:right])
            part = view.cut(left, top, right, bottom)
            draw_head(
                window, head.face, head.full_expression(), part, self._light, head.clothes, head.glasses
            )
            colour[top:bottom, left:right] = window
        small = cv2.resize(colour, self._size, interpolation=cv2.INTER_AREA)
        x, y = self._rng.integers(0, 64, 2)
        noise = self._noise[y : y + self._size[1], x : x + self._size[0]]
        image = np.sqrt(np.maximum(small, 0.0)) * self._gain + noise
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def draw_backdrop(kind: Backdrop, width: int, height: int, rng: np.random.Generator) -> Map:
    """Draw what stands behind people or alone, (H, W, 3) linear light.

    Args:
        kind: "wall" is a gradient of two muted colours, "landscape" sky and hills, "texture" a surface.
        width, height: in pixels.
        rng: random numbers.
    """
    y, x = np.mgrid[:height, :width] / height
    angle = rng.uniform(0, 2 * np.pi)
    first, second = (
        to_linear_light(muted_colour(rng.uniform(size=3), brightness, 1.0)) for brightness in (150.0, 122.0)
    )
    if kind == "wall":
        weight = np.clip(0.5 + np.cos(angle) * (x - x.mean()) + np.sin(angle) * (y - 0.5), 0, 1)
        return (first + (second - first) * weight[..., None]).astype(np.float32)
    grain = _smooth_noise(width, height, 5, rng) + 0.5 * _smooth_noise(width, height, 17, rng)
    if kind == "texture":
        stripes = np.sin(60 * (np.cos(angle) * x + np.sin(angle) * y) + 4 * grain)
        weight = np.clip(0.5 + 0.25 * stripes + 0.35 * grain, 0, 1)
        return (first * 0.5 + (second - 0.5 * first) * weight[..., None]).astype(np.float32)
    sky = to_linear_light((196, 214, 235)) * (0.55 + 0.45 * y[..., None])
    scene = sky * (1 + 0.10 * np.clip(grain, 0, 1)[..., None])
    for distance in (0.0, 0.5, 1.0):
        phase = rng.uniform(0, 2 * np.pi, 3)
        waves = sum(np.sin((2 + 3 * j) * x + phase[j]) / (1.5 + j) for j in range(3))
        ridge = 0.45 + 0.17 * distance + 0.07 * waves
        hill = to_linear_light((120 - 50 * distance, 132 - 20 * distance, 120 - 70 * distance))
        shaded = hill * (1 + 0.35 * distance * grain[..., None])
        scene = np.where((y > ridge)[..., None], shaded, scene)
    return np.clip(scene, 0, 1).astype(np.float32)


def _smooth_noise(width: int, height: int, cells: int, rng: np.random.Generator) -> Array:
    """Sample smooth noise of about `cells` per picture height, (H, W), roughly N(0, 1)."""
    coarse = rng.standard_normal((cells + 2, round((cells + 2) * width / height)))
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), float)
