"""Names and call forms of the published Sim3DR, for code that was written for it."""

from typing import Any

from numpy.typing import ArrayLike
from voiceface.rendering.arrays import Array, Floats
from voiceface.rendering.lighting import Lighting, Vector3, get_normals

__all__ = ["RenderPipeline", "get_normal"]


class RenderPipeline:
    """Lighting with the published coverage rule ("inclusive"); called to draw a lit mesh into an image.

    Args:
        options: attributes of `Lighting`, such as ``intensity_ambient=0.3``.

    Attributes:
        lighting: the light.
    """

    def __init__(self, **options: Any) -> None:
        self.lighting = Lighting(**options)

    def update_light_pos(self, light_pos: Vector3) -> None:
        """Move the light to a position in units of the mesh, whose longest side is 2."""
        self.lighting = self.lighting.moved(light_pos)

    def __call__(
        self, vertices: ArrayLike, triangles: ArrayLike, bg: Array, texture: ArrayLike | None = None
    ) -> Any:
        """Draw the lit mesh into `bg` and return it; for arguments and errors see `Lighting`."""
        return self.lighting(vertices, triangles, bg, texture, coverage="inclusive")


def get_normal(vertices: ArrayLike, triangles: ArrayLike) -> Floats:
    """Compute the unit normals of the vertices, (V, 3) float32; see `get_normals`."""
    return get_normals(vertices, triangles)
