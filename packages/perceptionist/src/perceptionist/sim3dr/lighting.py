"""Normals and light of a mesh, and pictures drawn with them."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from perceptionist.sim3dr import _raster, parallel
from perceptionist.sim3dr.arrays import (
    Array,
    Floats,
    check_colors,
    check_fraction,
    check_triangles,
    check_vertices,
    prepare_image,
)
from perceptionist.sim3dr.rendering import rasterize

MIN_VERTICES_PER_THREAD = 8192  # fewer a thread are not worth waking one

Vector3 = tuple[float, float, float]
WHITE: Vector3 = (1.0, 1.0, 1.0)
FRONT: Vector3 = (0.0, 0.0, 5.0)


def get_normals(vertices: ArrayLike, triangles: ArrayLike) -> Floats:
    """Unit normals of the vertices, triangles weighted by area (specification, section 10.4).

    Args:
        vertices: (V, 3) float32, any unit; other types are converted once.
        triangles: (T, 3) int32, vertex numbers from 0.

    Returns:
        (V, 3) float32, towards the side from which a triangle's corners go round against the clock (in axes
        where z comes towards the viewer and y goes up). A vertex without a proper triangle has (0, 0, 0);
        triangles with a corner at NaN or infinity do not count.

    Raises:
        ValueError: shapes, types or vertex numbers do not fit.
    """
    points = check_vertices(vertices)
    normals = np.zeros_like(points)
    _raster.vertex_normals(points, check_triangles(triangles, len(points)), normals)
    return normals


def get_triangle_normals(vertices: ArrayLike, triangles: ArrayLike, unit: bool = False) -> Floats:
    """(p1 - p0) x (p2 - p0) of every triangle: (T, 3) float32, twice as long as its area is large.

    Args:
        vertices: (V, 3) float32.
        triangles: (T, 3) int32, vertex numbers from 0.
        unit: make their length 1; the normal of a triangle without area stays (0, 0, 0).

    Raises:
        ValueError: shapes, types or vertex numbers do not fit.
    """
    points = check_vertices(vertices)
    corners = check_triangles(triangles, len(points))
    normals = np.empty(corners.shape, np.float32)
    _raster.triangle_normals(points, corners, normals, bool(unit))
    return normals


def unit_positions(vertices: ArrayLike) -> Floats:
    """The vertices moved and scaled so that their box is centred on 0 and its longest side is 2.

    Coordinates at NaN or infinity do not count; a mesh without extent lies at 0.
    """
    points = check_vertices(vertices)
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    _raster.extent(points, low, high)
    known = low <= high
    low, high = np.where(known, low, 0.0), np.where(known, high, 0.0)
    middle, longest = low + (high - low) / 2, float((high - low).max())
    places = np.empty_like(points)
    _raster.unit_positions(points, middle, 2 / longest if longest > 0 else 0.0, places)
    return places


@dataclass(frozen=True)
class Lighting:
    """Ambient, directional and specular light (specification, section 10.5); the defaults are as published.

    Attributes:
        intensity_ambient: of light from everywhere.
        intensity_directional: of light from `light_pos`; where it is 0 there is no specular light either.
        intensity_specular: of reflections of it.
        specular_exp: how small the reflections are; applied per axis, then summed, as published.
        color_ambient: red, green, blue (or blue, green, red: as the picture).
        color_directional: of both directional and specular light.
        light_pos: where the light is; the mesh is centred on 0 and its longest side is 2 (`unit_positions`).
        view_pos: where the viewer is.
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
                raise ValueError(f"{name}: a number from 0 on is expected, found {value!r}")

    def moved(self, light_pos: Vector3) -> "Lighting":
        """The same with the light elsewhere."""
        return replace(self, light_pos=light_pos)

    def light(self, vertices: ArrayLike, triangles: ArrayLike, *, threads: int | None = None) -> Floats:
        """Light on every vertex, (V, 3) float32 in [0, 1].

        Raises:
            ValueError: shapes, types or vertex numbers do not fit.
        """
        points = check_vertices(vertices)
        normals, places = get_normals(points, triangles), unit_positions(points)
        directional = np.array(self.color_directional) * (self.intensity_directional > 0)
        colours = np.stack(
            [
                np.array(self.color_ambient) * self.intensity_ambient,
                directional * self.intensity_directional,
                directional * self.intensity_specular,
            ]
        )
        lit = np.empty_like(points)
        fixed = (
            places,
            normals,
            colours,
            np.array([self.light_pos, self.view_pos]),
            float(self.specular_exp),
        )
        lots = parallel.split_evenly(
            len(points), min(parallel.thread_count(threads), 1 + len(points) // MIN_VERTICES_PER_THREAD)
        )
        parallel.run_parallel(lambda first, end: _raster.shade(*fixed, lit, first, end), lots)
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
        """Draw the lit mesh into a picture.

        Args:
            vertices: (V, 3) float32, pixels (see `rasterize`).
            triangles: (T, 3) int32, vertex numbers from 0.
            bg: (H, W, 3) uint8, drawn into in place (see `rasterize`).
            texture: (V, 3) colours in [0, 1] that the light is multiplied with; None: white. It stays as it
                is (the published program multiplies into it).
            coverage: see `rasterize`.
            threads: see `rasterize`.

        Returns:
            The picture, `bg` itself where it can be drawn into.

        Raises:
            ValueError: shapes, types or vertex numbers do not fit.
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
    """A lit mesh drawn over a copy of a picture and mixed with it: picture * (1 - alpha) + rendering * alpha.

    Args:
        picture: (H, W, 3) uint8; stays as it is.
        vertices: (V, 3) float32, pixels (see `rasterize`).
        triangles: (T, 3) int32, vertex numbers from 0.
        lighting: None: the published light of this system, `Lighting()`.
        alpha: share of the rendering, 0 to 1; SynergyNet draws with `SYNERGYNET` and 0.6.
        texture: see `Lighting`.
        coverage: see `rasterize`.
        threads: see `rasterize`.

    Returns:
        (H, W, 3) uint8, rounded.

    Raises:
        ValueError: shapes, types or vertex numbers do not fit.
    """
    share = np.float32(check_fraction("alpha", alpha))
    before = prepare_image(picture, "picture")
    if before.shape[2] != 3:
        raise ValueError(f"picture: three channels are expected, found {before.shape[2]}")
    drawn = (lighting or Lighting())(
        vertices, triangles, before.copy(), texture, coverage=coverage, threads=threads
    )
    if share == 1:
        return drawn
    return np.rint(np.float32(before) * (1 - share) + np.float32(drawn) * share).astype(np.uint8)


def _check_vector3(name: str, value: ArrayLike) -> Vector3:
    numbers = np.asarray(value, np.float64)
    if numbers.shape != (3,) or not np.isfinite(numbers).all():
        raise ValueError(f"{name}: three numbers are expected, found {value!r}")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])


SYNERGYNET = Lighting(intensity_ambient=0.75, intensity_directional=0.7, intensity_specular=0.2)
