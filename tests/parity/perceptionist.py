"""The checks of perceptionist's parity cases."""

from parity.check_registry import CheckRegistry, case_check

CHECKS = CheckRegistry(
    {
        "demo_pipeline": case_check("perceptionist_demo", arrays=["features", "face64", "overlay_bgr"]),
        "expert_refiners": case_check(
            "perceptionist_networks", arrays=["landmarks", "residual", "reverse_params"]
        ),
        "face_embed_heads": case_check(
            "perceptionist_networks", arrays=["face", "real_logit", "class_logit"]
        ),
        "files": case_check("perceptionist_faces", fields=["obj_text", "xyz_text", "listing"]),
        "generator": case_check("perceptionist_networks", arrays=["embedding", "image", "image_x200"]),
        "lighting": case_check("renderer", arrays=["vertices", "triangles", "background", "vertices_unit"]),
        "logmel": case_check("perceptionist_speech", arrays=["wave1", "wave2", "logspec1"]),
        "losses": case_check(
            "perceptionist_training", arrays=["teacher_pool", "student_pool", "out_distill"]
        ),
        "metrics": case_check("perceptionist_faces", arrays=["are_f64", "keypoint_error_f64", "keypoints"]),
        "normals": case_check("renderer", arrays=["vertices", "triangles", "normals_guarded"]),
        "raster": case_check("renderer", arrays=["vertices", "triangles", "colors", "background"]),
        "raster_ids": case_check("renderer", arrays=["vertices", "triangles", "triangle_id", "barycentric"]),
        "reconstruct": case_check("perceptionist_faces", arrays=["attr", "R", "offset", "alpha_shp"]),
        "regressor": case_check("perceptionist_networks", arrays=["image_f16", "attr", "pool"]),
        "supervised_head": case_check("perceptionist_networks", arrays=["embedding", "params", "vertices"]),
        "synthetic_3dmm": case_check("perceptionist_faces", arrays=["w_shp", "w_exp", "u", "tri"]),
        "train_step": case_check("perceptionist_training", arrays=["voice", "voice_p", "voice_n", "noise"]),
        "vad": case_check("perceptionist_speech", arrays=["wave", "segment_lengths", "kept"]),
        "voice_embed": case_check("perceptionist_networks", arrays=["x", "embedding_l2"]),
        "voice_embed_lengths": case_check("perceptionist_networks", arrays=["x_1", "embedding_1"]),
        "voice_report": case_check("perceptionist_faces", arrays=["errors_f64", "gender", "face_type"]),
    }
)
