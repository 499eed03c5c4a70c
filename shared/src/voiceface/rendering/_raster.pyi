"""Types of the compiled module `_raster`."""

from typing import Any

from numpy.typing import NDArray

class Scene:
    def __init__(
        self,
        vertices: NDArray[Any],
        triangles: NDArray[Any],
        colors: NDArray[Any],
        image: NDArray[Any],
        depth: NDArray[Any],
        ids: NDArray[Any],
        weights: NDArray[Any],
        rule: int,
        alpha: float,
        reverse: bool,
    ) -> None: ...
    def cost(self, step: int, out: NDArray[Any]) -> None: ...
    def draw(self, top: int, bottom: int) -> None: ...

def triangle_normals(
    vertices: NDArray[Any], triangles: NDArray[Any], out: NDArray[Any], unit: bool
) -> None: ...
def vertex_normals(vertices: NDArray[Any], triangles: NDArray[Any], out: NDArray[Any]) -> None: ...
def extent(vertices: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> None: ...
def unit_positions(vertices: NDArray[Any], middle: NDArray[Any], scale: float, out: NDArray[Any]) -> None: ...
def shade(
    positions: NDArray[Any],
    normals: NDArray[Any],
    colours: NDArray[Any],
    places: NDArray[Any],
    exponent: float,
    out: NDArray[Any],
    first: int,
    last: int,
) -> None: ...
def interpolate(
    ids: NDArray[Any],
    weights: NDArray[Any],
    triangles: NDArray[Any],
    attributes: NDArray[Any],
    inverse: NDArray[Any],
    background: NDArray[Any],
    out: NDArray[Any],
    first: int,
    last: int,
) -> int: ...
