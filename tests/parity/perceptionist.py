"""Which check serves which case of perceptionist."""

from parity.choice import Choice, check

CHOICE = Choice(
    {
        "demo_pipeline": check("perceptionist_demo", arrays=["features", "face64", "overlay_bgr"]),
        "expert_refiners": check(
            "perceptionist_networks", arrays=["landmarks", "residual", "reverse_params"]
        ),
        "face_embed_heads": check("perceptionist_networks", arrays=["face", "real_logit", "class_logit"]),
        "files": check("perceptionist_faces", fields=["obj_text", "xyz_text", "listing"]),
        "generator": check("perceptionist_networks", arrays=["embedding", "image", "image_x200"]),
        "lighting": check("renderer", arrays=["vertices", "triangles", "background", "vertices_unit"]),
        "logmel": check("perceptionist_speech", arrays=["wave1", "wave2", "logspec1"]),
        "losses": check("perceptionist_training", arrays=["teacher_pool", "student_pool", "out_distill"]),
        "metrics": check("perceptionist_faces", arrays=["are_f64", "keypoint_error_f64", "keypoints"]),
        "normals": check("renderer", arrays=["vertices", "triangles", "normals_guarded"]),
        "raster": check("renderer", arrays=["vertices", "triangles", "colors", "background"]),
        "raster_ids": check("renderer", arrays=["vertices", "triangles", "triangle_id", "barycentric"]),
        "reconstruct": check("perceptionist_faces", arrays=["attr", "R", "offset", "alpha_shp"]),
        "regressor": check("perceptionist_networks", arrays=["image_f16", "attr", "pool"]),
        "supervised_head": check("perceptionist_networks", arrays=["embedding", "params", "vertices"]),
        "synthetic_3dmm": check("perceptionist_faces", arrays=["w_shp", "w_exp", "u", "tri"]),
        "train_step": check("perceptionist_training", arrays=["voice", "voice_p", "voice_n", "noise"]),
        "vad": check("perceptionist_speech", arrays=["wave", "segment_lengths", "kept"]),
        "voice_embed": check("perceptionist_networks", arrays=["x", "embedding_l2"]),
        "voice_embed_lengths": check("perceptionist_networks", arrays=["x_1", "embedding_1"]),
        "voice_report": check("perceptionist_faces", arrays=["errors_f64", "gender", "face_type"]),
    }
)
