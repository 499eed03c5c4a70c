"""Which check serves which case of archetype_agnostic."""

from parity.check_registry import CheckRegistry, case_check

CHECKS = CheckRegistry(
    {
        "aasm_loss": case_check(
            "archetype_losses", arrays=["z_v", "z_a", "z_v_aux", "z_a_aux", "va_cross_nce"]
        ),
        "audio_frontend": case_check("archetype_networks", arrays=["wave", "mel_filterbank"]),
        "checkpoint_layout": case_check("archetype_step", fields=["total_elements", "trainable_elements"]),
        "dataset": case_check("archetype_files", config=["csv", "files"]),
        "equilibrium": case_check("archetype_losses", arrays=["identity", "corr", "weight_initial"]),
        "face_embedder": case_check("archetype_networks", arrays=["image_bgr", "embedding"]),
        "image_loading": case_check("archetype_files", fields=["expected"], config=["input_size"]),
        "metrics": case_check("archetype_course", arrays=["feature", "identity"]),
        "schedule": case_check("archetype_course", config=["batches_per_epoch"]),
        "total_loss": case_check(
            "archetype_losses", arrays=["z_v", "z_a", "z_v_aux", "z_a_aux", "weight_table"]
        ),
        "train_augment": case_check("archetype_files", config=["combos"]),
        "train_step": case_check("archetype_step", arrays=["image_bgr", "audio_crop", "z_v"]),
        "voice_embedder": case_check("archetype_networks", arrays=["wave", "embedding"]),
        "wav_loading": case_check("archetype_files", fields=["expected"], config=["samples"]),
    }
)
