"""Checks of seeking_shape by kind of case."""

from parity.check_registry import CheckRegistry, case_check

CHECKS = CheckRegistry(
    {
        "audio_loading": case_check("seeking_shape_files", fields=["cases", "wave_rule"]),
        "checkpoint_layout": case_check("seeking_shape_networks", fields=["training_checkpoint"]),
        "evaluation_end_to_end": case_check("seeking_shape_end_to_end", fields=["result_lines"]),
        "face_embedder": case_check(
            "seeking_shape_networks", arrays=["images_bgr_u8", "feat512", "embedding"]
        ),
        "identity_reweighting": case_check("seeking_shape_schedule", arrays=["hardness_f64", "weights"]),
        "image_transforms": case_check("seeking_shape_files", fields=["augmentations"]),
        "list_parsing": case_check("seeking_shape_files", fields=["triplet_resolution"]),
        "losses": case_check("seeking_shape_networks", arrays=["z_face", "z_voice", "class_weight"]),
        "metrics": case_check("seeking_shape_metrics", arrays=["features", "identity"]),
        "published_lists_evaluation": case_check("seeking_shape_metrics", fields=["list_statistics"]),
        "schedule": case_check("seeking_shape_schedule", fields=["schedules"]),
        "train_step": case_check("seeking_shape_networks", arrays=["images_bgr_u8", "waves_i16", "losses"]),
        "voice_embedder": case_check("seeking_shape_networks", arrays=["waves_i16", "feat512", "embedding"]),
        "voice_frontend": case_check("seeking_shape_networks", arrays=["wave_i16", "window", "mel_fb"]),
    }
)
