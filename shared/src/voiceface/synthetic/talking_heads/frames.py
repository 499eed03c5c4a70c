"""Frames of talking heads: heads with an opening mouth before a backdrop, at any place of the picture.

The mesh of the population has no inside of the mouth. Here the row of cells between the lips, which opens
with the jaw, is painted as a dark cavity with upper teeth, in proportion to the opening.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.camera import rotation_matrix
from voiceface.synthetic.colours import muted_colour, to_linear_light
from voiceface.synthetic.face import head_bases, mean_surface
from voiceface.synthetic.face.head import HeadModel, build_head_model
from voiceface.synthetic.face.masks import MAP_SIZE, mean_surface_map
from voiceface.synthetic.face.render import SUPERSAMPLING, project_points, rasterise_surface
from voiceface.synthetic.face.scene import PreparedFace, build_surfaces
from voiceface.synthetic.talking_heads.scenes import Backdrop

__all__ = ["HEAD_MM", "JAW_MM", "FramePainter", "PlacedHead", "draw_backdrop", "paint_mouth"]

Array = NDArray[np.float64]
Map = NDArray[np.float32]
Image = NDArray[np.uint8]

HEAD_MM = 240.0  # height of a head
BODY_MM = 285.0  # from the eyes to where the shoulders end
JAW_MM = 9.0  # opening at coefficient 1 of the jaw
FOREHEAD_SHARE = 0.35  # of the height of the landmarks, added above the brows
CAVITY = to_linear_light((38, 14, 14))
TEETH = to_linear_light((205, 196, 186))


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
    """

    face: PreparedFace
    pose: Array
    expression: Array
    opening: float
    centre: Array
    scale: float
    clothes: Array

    def full_expression(self) -> Array:
        """Coefficients of the expression bases with the jaw, (10,)."""
        expression = np.array(self.expression)
        expression[head_bases.EXPRESSION_NAMES.index("jaw_open")] = self.opening / JAW_MM
        return expression

    def compute_box(self, face_gain: float = 1.0) -> Array:
        """Compute left, top, right, bottom of the face from chin to forehead, (4,) pixels."""
        landmarks = build_head_model(face_gain).compute_landmarks(self.face.shape, self.full_expression())
        plane = project_points(landmarks @ rotation_matrix(self.pose).T)[:, :2] * self.scale + self.centre
        low, high = plane.min(axis=0), plane.max(axis=0)
        low[1] -= FOREHEAD_SHARE * (high[1] - low[1])
        return np.concatenate([low, high])


class FramePainter:
    """Paints the frames of one scene.

    Args:
        backdrop: (H, W, 3) linear light.
        light: (8,) from `voiceface.synthetic.face.render.light_vector`.
        balance: (3,) gain of the colours.
        grain: standard deviation of the camera's noise in grey levels.
        rng: random numbers of the noise.
        face_gain: factor on all bases of the head model.
    """

    def __init__(
        self,
        backdrop: Map,
        light: Map,
        balance: Array,
        grain: float,
        rng: np.random.Generator,
        face_gain: float = 1.0,
    ) -> None:
        height, width = backdrop.shape[:2]
        self._size = width, height
        large = width * SUPERSAMPLING, height * SUPERSAMPLING
        self._backdrop = np.asarray(cv2.resize(backdrop, large, interpolation=cv2.INTER_LINEAR), np.float32)
        self._light, self._gain = light, (255.0 * balance).astype(np.float32)
        self._model: HeadModel = build_head_model(face_gain)
        self._rng = rng
        self._noise = grain * rng.standard_normal((height + 64, width + 64, 1)).astype(np.float32)

    def paint(self, heads: list[PlacedHead]) -> Image:
        """Paint one frame, (H, W, 3) uint8 RGB."""
        colour = self._backdrop.copy()
        depth = np.full(colour.shape[:2], -1e9, np.float32)
        for head in heads:
            self._draw(head, colour, depth)
        small = cv2.resize(colour, self._size, interpolation=cv2.INTER_AREA)
        x, y = self._rng.integers(0, 64, 2)
        noise = self._noise[y : y + self._size[1], x : x + self._size[0]]
        image = np.sqrt(np.maximum(small, 0.0)) * self._gain + noise
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    def _draw(self, head: PlacedHead, colour: Map, depth: Map) -> None:
        shift = self._model.gain * np.tensordot(head.full_expression(), self._model.expression_basis, 1)
        grid = (head.face.neutral_vertices + shift).reshape(
            mean_surface.GRID_ROWS, mean_surface.GRID_COLUMNS, 3
        )
        texture = paint_mouth(head.face.appearance.texture, head.opening)
        face = replace(head.face, appearance=replace(head.face.appearance, texture=texture))
        for surface in build_surfaces(face, grid, head.pose, head.clothes, 1.0):
            screen = project_points(surface.points)
            screen[..., :2] = SUPERSAMPLING * (head.scale * screen[..., :2] + head.centre)
            rasterise_surface(surface, screen, self._light, colour, depth)


def paint_mouth(texture: Map, opening: float) -> Map:
    """Paint cavity and upper teeth between the lips.

    Args:
        texture: (240, 240, 4) linear colour and gloss of a closed mouth.
        opening: mm.

    Returns:
        A copy, or `texture` itself where the mouth is closed.
    """
    if opening <= 0.05:
        return texture
    rows, columns, across = _mouth_cells()
    dark = np.clip((24.0 - across) / 5.0, 0, 1) * min(opening / 2.5, 1.0)
    teeth = np.clip((14.0 - across) / 3.0, 0, 1) * np.clip((opening - 3.0) / 3.0, 0, 1)
    painted = texture.copy()
    for row in rows:
        cells = painted[row, columns]
        cells += dark[:, None].astype(np.float32) * (np.append(CAVITY, 0.02).astype(np.float32) - cells)
    upper = painted[rows[-1], columns]
    upper += teeth[:, None].astype(np.float32) * (np.append(TEETH, 0.2).astype(np.float32) - upper)
    return painted


@lru_cache(maxsize=1)
def _mouth_cells() -> tuple[list[int], slice, Array]:
    """Rows and columns of the map inside the row of cells that opens, and the columns' |x| in mm."""
    heights = mean_surface.row_heights()
    below = int(np.searchsorted(heights, mean_surface.LIP_LINE_Y)) - 1
    per_cell = (MAP_SIZE - 1) / (mean_surface.GRID_ROWS - 1)
    rows = list(range(int(np.ceil(below * per_cell)), int((below + 1) * per_cell) + 1))
    surface = mean_surface_map()
    across = np.abs(surface.x[rows[0]])
    columns = np.nonzero((across < 24.0) & (np.abs(surface.theta[rows[0]]) < 1.0))[0]
    chosen = slice(int(columns[0]), int(columns[-1]) + 1)
    return rows, chosen, across[chosen]


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
