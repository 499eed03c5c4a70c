"""Sim3DR: a mesh renderer for the CPU, that of `voiceface.rendering` (docs/rendering.md).

    from perceptionist import sim3dr

    image = sim3dr.rasterize(vertices, triangles, colors, height=224, width=224)
    image = sim3dr.Lighting()(vertices, triangles, image)             # lit, drawn in place
    fragments = sim3dr.rasterize_triangles(vertices, triangles, 224, 224)  # triangle and weights per pixel

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

from perceptionist.sim3dr.drop_in import RenderPipeline, get_normal

__all__ = [
    "COVERAGE",
    "FAR",
    "SYNERGYNET",
    "Fragments",
    "Lighting",
    "RenderPipeline",
    "get_normal",
    "get_normals",
    "get_triangle_normals",
    "interpolate",
    "overlay",
    "rasterize",
    "rasterize_triangles",
    "unit_positions",
]
