"""Rendering of triangle meshes on the CPU, by a compiled kernel (docs/rendering.md).

    from voiceface import rendering

    image = rendering.rasterize(vertices, triangles, colors, height=224, width=224)
    image = rendering.Lighting()(vertices, triangles, image)             # lit, drawn in place
    fragments = rendering.rasterize_triangles(vertices, triangles, 224, 224)  # triangle and weights per pixel
    values = rendering.interpolate(fragments, triangles, attributes)     # (224, 224, C), any attributes

Vertices are in pixels: x right, y down, larger z nearer; pixel (column x, row y) is the point (x, y).
"""

from voiceface.rendering.arrays import COVERAGE, FAR
from voiceface.rendering.interpolation import interpolate
from voiceface.rendering.lighting import (
    SYNERGYNET,
    Lighting,
    get_normals,
    get_triangle_normals,
    overlay,
    unit_positions,
)
from voiceface.rendering.rasterization import Fragments, rasterize, rasterize_triangles

__all__ = [
    "COVERAGE",
    "FAR",
    "SYNERGYNET",
    "Fragments",
    "Lighting",
    "get_normals",
    "get_triangle_normals",
    "interpolate",
    "overlay",
    "rasterize",
    "rasterize_triangles",
    "unit_positions",
]
