"""Which check serves which case of cmpc2 and voicestyle."""

from parity.choice import Choice, check

CHOICE = Choice(
    {
        "cmpc_loss": check("cmpc2_training", arrays=["audio_emb", "frame_emb", "index"]),
        "cosine_warmup_lr": check("cmpc2_training", arrays=["step", "lr"], config=["first_cycle_steps"]),
        "ada_augment": check("stylegan2_networks", arrays=["img", "G_inverse", "C"]),
        "ada_tune": check("stylegan2_networks", arrays=["preds", "p", "r_t"]),
        "closed_form_factor": check("stylegan2_networks", arrays=["singular_values"]),
        "discriminator": check("stylegan2_networks", arrays=["score", "trunk_stats"]),
        "equal_linear": check("stylegan2_layers", arrays=["x", "pixel_norm", "weight_lrelu"]),
        "face_preprocess": check("cmpc2_voices", arrays=["image_u8"]),
        "fid": check("stylegan2_networks", arrays=["a", "b", "fid_f64"]),
        "fir_layers": check("stylegan2_layers", arrays=["x", "upsample", "downsample", "blur_up"]),
        "fused_leaky_relu": check("stylegan2_layers", arrays=["x4", "x2", "y4_nobias"]),
        "fv_other_backbones": check("cmpc2_networks", arrays=["resnet18_100"]),
        "fv_wrapper": check("cmpc2_networks", arrays=["voice0", "face0"]),
        "gan_losses": check("stylegan2_networks", arrays=["real_pred", "fake_pred", "path_lengths"]),
        "generator": check("stylegan2_networks", arrays=["w"], config=["n_latent", "style_dim", "n_mlp"]),
        "generator_grad": check("stylegan2_networks", arrays=["grad_w", "img"]),
        "kmeans": check("cmpc2_training", arrays=["points"], config=["clusters", "iterations"]),
        "list_parsing": check("cmpc2_evaluation", config=["meta_csv", "verification_list"]),
        "make_image": check("stylegan2_layers", arrays=["x", "u8"]),
        "matching_metrics": check("cmpc2_evaluation", arrays=["probe", "candidate"]),
        "mel_filterbank": check("cmpc2_voices", arrays=["filters_f64", "window_f64"]),
        "memory_bank": check("cmpc2_training", arrays=["voice_before", "face_before"]),
        "modulated_conv": check("stylegan2_layers", arrays=["x", "style"], config=["cases", "style_dim"]),
        "pretrain_logmel": check("cmpc2_voices", arrays=["pcm", "logmel_sub"]),
        "prototype_retrieval": check("cmpc2_training", arrays=["query", "centroids0", "rows0"]),
        "retrieval_metrics": check("cmpc2_evaluation", arrays=["voice_emb", "face_emb", "voice_id"]),
        "sphinx_mfcc": check("cmpc2_voices", arrays=["pcm", "logspec", "dct"]),
        "styled_conv_torgb": check("stylegan2_layers", arrays=["styled", "rgb", "rgb_noskip"]),
        "upfirdn2d": check("stylegan2_layers", arrays=["kernel_asym", "kernel_std"], config=["variants"]),
        "vad": check("cmpc2_voices", arrays=["pcm", "n_frames"]),
        "verification_metrics": check("cmpc2_evaluation", arrays=["labels", "scores"]),
        "voice_crop_pad": check("cmpc2_voices", config=["target"]),
        "voice_frontend": check("cmpc2_voices", arrays=["pcm", "logmel_raw", "fbank_sub"]),
        "voice_frontend_lengths": check("cmpc2_voices", arrays=["short_pcm", "long_pcm"]),
        "voice_frontend_samples": check("cmpc2_voices", config=["files"]),
    }
)
