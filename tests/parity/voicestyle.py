"""Checks of cmpc2 and voicestyle by kind of case."""

from parity.check_registry import CheckRegistry, case_check

CHECKS = CheckRegistry(
    {
        "cmpc_loss": case_check("cmpc2_training", arrays=["audio_emb", "frame_emb", "index"]),
        "cosine_warmup_lr": case_check("cmpc2_training", arrays=["step", "lr"], config=["first_cycle_steps"]),
        "ada_augment": case_check("stylegan2_networks", arrays=["img", "G_inverse", "C"]),
        "ada_tune": case_check("stylegan2_networks", arrays=["preds", "p", "r_t"]),
        "closed_form_factor": case_check("stylegan2_networks", arrays=["singular_values"]),
        "discriminator": case_check("stylegan2_networks", arrays=["score", "trunk_stats"]),
        "equal_linear": case_check("stylegan2_layers", arrays=["x", "pixel_norm", "weight_lrelu"]),
        "face_preprocess": case_check("cmpc2_voices", arrays=["image_u8"]),
        "fid": case_check("stylegan2_networks", arrays=["a", "b", "fid_f64"]),
        "fir_layers": case_check("stylegan2_layers", arrays=["x", "upsample", "downsample", "blur_up"]),
        "fused_leaky_relu": case_check("stylegan2_layers", arrays=["x4", "x2", "y4_nobias"]),
        "fv_other_backbones": case_check("cmpc2_networks", arrays=["resnet18_100"]),
        "fv_wrapper": case_check("cmpc2_networks", arrays=["voice0", "face0"]),
        "gan_losses": case_check("stylegan2_networks", arrays=["real_pred", "fake_pred", "path_lengths"]),
        "generator": case_check(
            "stylegan2_networks", arrays=["w"], config=["n_latent", "style_dim", "n_mlp"]
        ),
        "generator_grad": case_check("stylegan2_networks", arrays=["grad_w", "img"]),
        "id_loss": case_check("voicestyle_image_losses", arrays=["loss"], config=["crop_rows", "crop_cols"]),
        "irse50": case_check(
            "voicestyle_image_losses", arrays=["embedding"], config=["input_size", "num_layers"]
        ),
        "kmeans": case_check("cmpc2_training", arrays=["points"], config=["clusters", "iterations"]),
        "latent_aggregate": case_check("voicestyle_latent_optimisation", arrays=["latents", "mean"]),
        "lr_schedule": case_check("voicestyle_latent_optimisation", config=["steps", "rampdown", "rampup"]),
        "list_parsing": case_check("cmpc2_evaluation", config=["meta_csv", "verification_list"]),
        "lpips": case_check(
            "voicestyle_image_losses", arrays=["distance", "per_layer"], config=["net", "version"]
        ),
        "make_image": case_check("stylegan2_layers", arrays=["x", "u8"]),
        "matching_metrics": case_check("cmpc2_evaluation", arrays=["probe", "candidate"]),
        "mel_filterbank": case_check("cmpc2_voices", arrays=["filters_f64", "window_f64"]),
        "memory_bank": case_check("cmpc2_training", arrays=["voice_before", "face_before"]),
        "modulated_conv": case_check(
            "stylegan2_layers", arrays=["x", "style"], config=["cases", "style_dim"]
        ),
        "pretrain_logmel": case_check("cmpc2_voices", arrays=["pcm", "logmel_sub"]),
        "noise_regularizer": case_check("voicestyle_latent_optimisation", arrays=["regularize_total"]),
        "projector_run": case_check(
            "voicestyle_latent_optimisation", arrays=["images_u8", "latent_final", "perceptual"]
        ),
        "prototype_retrieval": case_check("cmpc2_training", arrays=["query", "centroids0", "rows0"]),
        "retrieval_metrics": case_check("cmpc2_evaluation", arrays=["voice_emb", "face_emb", "voice_id"]),
        "sphinx_mfcc": case_check("cmpc2_voices", arrays=["pcm", "logspec", "dct"]),
        "styled_conv_torgb": case_check("stylegan2_layers", arrays=["styled", "rgb", "rgb_noskip"]),
        "upfirdn2d": case_check(
            "stylegan2_layers", arrays=["kernel_asym", "kernel_std"], config=["variants"]
        ),
        "vad": case_check("cmpc2_voices", arrays=["pcm", "n_frames"]),
        "verification_metrics": case_check("cmpc2_evaluation", arrays=["labels", "scores"]),
        "voice_optimize_run": case_check(
            "voicestyle_latent_optimisation", config=["optimize_lr", "latent_regularize"]
        ),
        "voice_crop_pad": case_check("cmpc2_voices", config=["target"]),
        "voice_frontend": case_check("cmpc2_voices", arrays=["pcm", "logmel_raw", "fbank_sub"]),
        "voice_frontend_lengths": case_check("cmpc2_voices", arrays=["short_pcm", "long_pcm"]),
        "voice_frontend_samples": case_check("cmpc2_voices", config=["files"]),
    }
)
