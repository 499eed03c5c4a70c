"""Which check serves which case of seeking_shape."""

from parity.choice import CheckRegistry, case_check

CHECKS = CheckRegistry(
    {
        "audio_loading": case_check("readers", fields=["cases", "wave_rule"]),
        "checkpoint_layout": case_check("networks", fields=["training_checkpoint"]),
        "evaluation_end_to_end": case_check("whole", fields=["result_lines"]),
        "face_embedder": case_check("networks", arrays=["images_bgr_u8", "feat512", "embedding"]),
        "identity_reweighting": case_check("course", arrays=["hardness_f64", "weights"]),
        "image_transforms": case_check("readers", fields=["augmentations"]),
        "list_parsing": case_check("readers", fields=["triplet_resolution"]),
        "losses": case_check("networks", arrays=["z_face", "z_voice", "class_weight"]),
        "metrics": case_check("figures", arrays=["features", "identity"]),
        "published_lists_evaluation": case_check("figures", fields=["list_statistics"]),
        "schedule": case_check("course", fields=["schedules"]),
        "train_step": case_check("networks", arrays=["images_bgr_u8", "waves_i16", "losses"]),
        "voice_embedder": case_check("networks", arrays=["waves_i16", "feat512", "embedding"]),
        "voice_frontend": case_check("networks", arrays=["wave_i16", "window", "mel_fb"]),
    }
)
