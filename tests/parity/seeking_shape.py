"""Which check serves which case of seeking_shape."""

from parity.choice import Choice, check

CHOICE = Choice(
    {
        "audio_loading": check("readers", fields=["cases", "wave_rule"]),
        "checkpoint_layout": check("networks", fields=["training_checkpoint"]),
        "evaluation_end_to_end": check("whole", fields=["result_lines"]),
        "face_embedder": check("networks", arrays=["images_bgr_u8", "feat512", "embedding"]),
        "identity_reweighting": check("course", arrays=["hardness_f64", "weights"]),
        "image_transforms": check("readers", fields=["augmentations"]),
        "list_parsing": check("readers", fields=["triplet_resolution"]),
        "losses": check("networks", arrays=["z_face", "z_voice", "class_weight"]),
        "metrics": check("figures", arrays=["features", "identity"]),
        "published_lists_evaluation": check("figures", fields=["list_statistics"]),
        "schedule": check("course", fields=["schedules"]),
        "train_step": check("networks", arrays=["images_bgr_u8", "waves_i16", "losses"]),
        "voice_embedder": check("networks", arrays=["waves_i16", "feat512", "embedding"]),
        "voice_frontend": check("networks", arrays=["wave_i16", "window", "mel_fb"]),
    }
)
