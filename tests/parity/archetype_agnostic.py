"""Which check serves which case of archetype_agnostic."""

from parity.choice import Choice, check

CHOICE = Choice(
    {
        "aasm_loss": check("archetype_losses", arrays=["z_v", "z_a", "z_v_aux", "z_a_aux", "va_cross_nce"]),
        "audio_frontend": check("archetype_networks", arrays=["wave", "mel_filterbank"]),
        "checkpoint_layout": check("archetype_step", fields=["total_elements", "trainable_elements"]),
        "dataset": check("archetype_files", config=["csv", "files"]),
        "equilibrium": check("archetype_losses", arrays=["identity", "corr", "weight_initial"]),
        "face_embedder": check("archetype_networks", arrays=["image_bgr", "embedding"]),
        "image_loading": check("archetype_files", fields=["expected"], config=["input_size"]),
        "metrics": check("archetype_course", arrays=["feature", "identity"]),
        "schedule": check("archetype_course", config=["batches_per_epoch"]),
        "total_loss": check("archetype_losses", arrays=["z_v", "z_a", "z_v_aux", "z_a_aux", "weight_table"]),
        "train_augment": check("archetype_files", config=["combos"]),
        "train_step": check("archetype_step", arrays=["image_bgr", "audio_crop", "z_v"]),
        "voice_embedder": check("archetype_networks", arrays=["wave", "embedding"]),
        "wav_loading": check("archetype_files", fields=["expected"], config=["samples"]),
    }
)
