"""Which check serves which case of perceptionist."""

from parity.choice import Choice, check

CHOICE = Choice(
    {
        "demo_pipeline": check("perceptionist_demo", arrays=["features", "face64", "overlay_bgr"]),
        "files": check("perceptionist_faces", fields=["obj_text", "xyz_text", "listing"]),
        "lighting": check("renderer", arrays=["vertices", "triangles", "background", "vertices_unit"]),
        "metrics": check("perceptionist_faces", arrays=["are_f64", "keypoint_error_f64", "keypoints"]),
        "normals": check("renderer", arrays=["vertices", "triangles", "normals_guarded"]),
        "raster": check("renderer", arrays=["vertices", "triangles", "colors", "background"]),
        "raster_ids": check("renderer", arrays=["vertices", "triangles", "triangle_id", "barycentric"]),
        "reconstruct": check("perceptionist_faces", arrays=["attr", "R", "offset", "alpha_shp"]),
        "synthetic_3dmm": check("perceptionist_faces", arrays=["w_shp", "w_exp", "u", "tri"]),
        "voice_report": check("perceptionist_faces", arrays=["errors_f64", "gender", "face_type"]),
    }
)
