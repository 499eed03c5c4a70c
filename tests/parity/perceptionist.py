"""Which check serves which case of perceptionist."""

from parity.choice import Choice, check

CHOICE = Choice(
    {
        "lighting": check("renderer", arrays=["vertices", "triangles", "background", "vertices_unit"]),
        "normals": check("renderer", arrays=["vertices", "triangles", "normals_guarded"]),
        "raster": check("renderer", arrays=["vertices", "triangles", "colors", "background"]),
        "raster_ids": check("renderer", arrays=["vertices", "triangles", "triangle_id", "barycentric"]),
    }
)
