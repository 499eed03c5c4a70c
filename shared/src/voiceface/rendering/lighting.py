"""Normals and lighting of a mesh, and rendering with them (docs/rendering.md)."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from voiceface.rendering import parallel
from voiceface.rendering.arrays import (
    Array,
    Floats,
    check_colors,
    check_fraction,
    check_triangles,
    check_vertices,
    prepare_image,
)
from voiceface.rendering.kernel import kernel
from voiceface.rendering.rasterization import rasterize

__all__ = [
    "FRONT",
    "MIN_VERTICES_PER_THREAD",
    "SYNERGYNET",
    "WHITE",
    "Lighting",
    "Vector3",
    "get_normals",
    "get_triangle_normals",
    "overlay",
    "unit_positions",
]


MIN_VERTICES_PER_THREAD = 8192  # fewer are not worth another thread

Vector3 = tuple[float, float, float]
WHITE: Vector3 = (1.0, 1.0, 1.0)
FRONT: Vector3 = (0.0, 0.0, 5.0)


def get_normals(vertices: ArrayLike, triangles: ArrayLike) -> Floats:
    """Unit normals of the vertices, with triangles weighted by area.

    Args:
        vertices: (V, 3) float32, any unit; other types are converted once.
        triangles: (T, 3) int32, 0-based vertex indices.

    Returns:
        (V, 3) float32, towards the side from which a triangle's corners are counter-clockwise (in axes with z
        towards the viewer and y up). A vertex without a valid triangle has (0, 0, 0); triangles with a corner
        at NaN or infinity are skipped.

    Raises:
        ValueError: shapes, types or vertex indices are invalid.
    """
    points = check_vertices(vertices)
    normals = np.zeros_like(points)
    kernel.vertex_normals(points, check_triangles(triangles, len(points)), normals)
    return normals


def get_triangle_normals(vertices: ArrayLike, triangles: ArrayLike, unit: bool = False) -> Floats:
    """(p1 - p0) x (p2 - p0) of every triangle: (T, 3) float32; its length is twice the area.

    Args:
        vertices: (V, 3) float32.
        triangles: (T, 3) int32, 0-based vertex indices.
        unit: normalize to length 1; the normal of a triangle without area stays (0, 0, 0).

    Raises:
        ValueError: shapes, types or vertex indices are invalid.
    """
    points = check_vertices(vertices)
    corners = check_triangles(triangles, len(points))
    normals = np.empty(corners.shape, np.float32)
    kernel.triangle_normals(points, corners, normals, bool(unit))
    return normals


def unit_positions(vertices: ArrayLike) -> Floats:
    """Translate and scale the vertices so that their box is centred on 0 and its longest side is 2.

    Coordinates at NaN or infinity are ignored; a mesh without extent lies at 0.
    """
    points = check_vertices(vertices)
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    kernel.extent(points, low, high)
    finite = low <= high
    low, high = np.where(finite, low, 0.0), np.where(finite, high, 0.0)
    middle, longest = low + (high - low) / 2, float((high - low).max())
    positions = np.empty_like(points)
    kernel.unit_positions(points, middle, 2 / longest if longest > 0 else 0.0, positions)
    return positions


@dataclass(frozen=True)
class Lighting:
    """Ambient, directional and specular light; the defaults are the published values.

    Attributes:
        intensity_ambient: of ambient light.
        intensity_directional: of light from `light_pos`; 0 also disables specular light.
        intensity_specular: of specular reflections.
        specular_exp: specular exponent; applied per axis, then summed, as published.
        color_ambient: red, green, blue (or blue, green, red, as in the image).
        color_directional: of both directional and specular light.
        light_pos: position of the light; the mesh is centred on 0 and its longest side is 2
            (`unit_positions`).
        view_pos: position of the viewer.
    """

    intensity_ambient: float = 0.3
    intensity_directional: float = 0.6
    intensity_specular: float = 0.1
    specular_exp: float = 5
    color_ambient: Vector3 = WHITE
    color_directional: Vector3 = WHITE
    light_pos: Vector3 = FRONT
    view_pos: Vector3 = FRONT

    def __post_init__(self) -> None:
        for name in ("color_ambient", "color_directional", "light_pos", "view_pos"):
            object.__setattr__(self, name, _check_vector3(name, getattr(self, name)))
        for name in ("intensity_ambient", "intensity_directional", "intensity_specular", "specular_exp"):
            value = getattr(self, name)
            if not np.isfinite(value) or value < 0:
                raise ValueError(f"{name}: a non-negative number is expected, found {value!r}")

    def moved(self, light_pos: Vector3) -> "Lighting":
        """A copy with another position of the light."""
        return replace(self, light_pos=light_pos)

    def light(self, vertices: ArrayLike, triangles: ArrayLike, *, threads: int | None = None) -> Floats:
        """Light on every vertex, (V, 3) float32 in [0, 1].

        Raises:
            ValueError: shapes, types or vertex indices are invalid.
        """
        points = check_vertices(vertices)
        normals, positions = get_normals(points, triangles), unit_positions(points)
        directional = np.array(self.color_directional) * (self.intensity_directional > 0)
        light_colors = np.stack(
            [
                np.array(self.color_ambient) * self.intensity_ambient,
                directional * self.intensity_directional,
                directional * self.intensity_specular,
            ]
        )
        lit = np.empty_like(points)
        arguments = (
            positions,
            normals,
            light_colors,
            np.array([self.light_pos, self.view_pos]),
            float(self.specular_exp),
        )
        ranges = parallel.split_evenly(
            len(points), min(parallel.thread_count(threads), 1 + len(points) // MIN_VERTICES_PER_THREAD)
        )
        parallel.run_parallel(lambda first, end: kernel.shade(*arguments, lit, first, end), ranges)
        return lit

    def __call__(
        self,
        vertices: ArrayLike,
        triangles: ArrayLike,
        bg: Array,
        texture: ArrayLike | None = None,
        *,
        coverage: str = "top_left",
        threads: int | None = None,
    ) -> Any:
        """Draw the lit mesh into an image.

        Args:
            vertices: (V, 3) float32, pixels (see `rasterize`).
            triangles: (T, 3) int32, 0-based vertex indices.
            bg: (H, W, 3) uint8, drawn into in place (see `rasterize`).
            texture: (V, 3) colours in [0, 1] that are multiplied by the light; None: white. It is not
                modified (the published program multiplies in place).
            coverage: see `rasterize`.
            threads: see `rasterize`.

        Returns:
            The image, `bg` itself if it can be drawn into.

        Raises:
            ValueError: shapes, types or vertex indices are invalid.
        """
        points = check_vertices(vertices)
        colors = self.light(points, triangles, threads=threads)
        if texture is not None:
            given = check_colors(texture, len(points), "texture")
            if given.shape != points.shape:
                raise ValueError(f"texture: the shape {points.shape} is expected, found {given.shape}")
            colors = colors * given
        return rasterize(points, triangles, colors, bg, coverage=coverage, threads=threads)


def overlay(
    picture: Array,
    vertices: ArrayLike,
    triangles: ArrayLike,
    *,
    lighting: Lighting | None = None,
    alpha: float = 1.0,
    texture: ArrayLike | None = None,
    coverage: str = "top_left",
    threads: int | None = None,
) -> Any:
    """Blend a lit mesh with a copy of an image: picture * (1 - alpha) + rendering * alpha.

    Args:
        picture: (H, W, 3) uint8; not modified.
        vertices: (V, 3) float32, pixels (see `rasterize`).
        triangles: (T, 3) int32, 0-based vertex indices.
        lighting: None: the published light of this system, `Lighting()`.
        alpha: opacity of the rendering, 0 to 1; SynergyNet renders with `SYNERGYNET` and 0.6.
        texture: see `Lighting`.
        coverage: see `rasterize`.
        threads: see `rasterize`.

    Returns:
        (H, W, 3) uint8, rounded.

    Raises:
        ValueError: shapes, types or vertex indices are invalid.
    """
    opacity = np.float32(check_fraction("alpha", alpha))
    original = prepare_image(picture, "picture")
    if original.shape[2] != 3:
        raise ValueError(f"picture: three channels are expected, found {original.shape[2]}")
    rendered = (lighting or Lighting())(
        vertices, triangles, original.copy(), texture, coverage=coverage, threads=threads
    )
    if opacity == 1:
        return rendered
    return np.rint(np.float32(original) * (1 - opacity) + np.float32(rendered) * opacity).astype(np.uint8)


def _check_vector3(name: str, value: ArrayLike) -> Vector3:
    numbers = np.asarray(value, np.float64)
    if numbers.shape != (3,) or not np.isfinite(numbers).all():
        raise ValueError(f"{name}: three numbers are expected, found {value!r}")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])


SYNERGYNET = Lighting(intensity_ambient=0.75, intensity_directional=0.7, intensity_specular=0.2)
