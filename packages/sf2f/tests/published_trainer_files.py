"""Option files and checkpoints as the published code states and writes them, for tests of their readers."""

from pathlib import Path
from typing import Any

import torch
from sf2f.discriminators import Discriminators
from sf2f.generator import EncoderDecoder

SMALL, LARGE = "C4-64-2,C4-128-2,C4-256-2", "C4-64-2,C4-128-2,C4-256-2,C4-512-2"
FUSER = {"dimensions": 512, "dim_out": 512, "attention_type": "general", "ignore_tanh": True}
FUSION = {"segments_fusion": True, "normalize_fusion": True, "fuser_arch": "AttentionFuserV1"}
GAN = {"noise_dim": 512, "mlp_normalization": "none", "normalization": "batch", "activation": "leakyrelu-0.1"}
KINDS = ("v2f", "sf2f_1st_stage", "sf2f_fuser", "sf2f_mid_1st_stage", "sf2f_mid_fuser")


def option_file(kind: str) -> dict[str, Any]:
    """Options as the published file of this kind states them (docs/sf2f.md)."""
    large, plain, fused = "mid" in kind, kind == "v2f", kind.endswith("fuser")
    encoder: dict[str, Any] = {"input_channel": 40, "channels": [256, 384, 576, 864], "output_channel": 512}
    encoder |= {"normalize_embedding": True, **({"add_noise": True} if plain else {"inception_mode": True})}
    encoder |= {**FUSION, "fuser_kwargs": FUSER} if fused else {}
    decoder: dict[str, Any] = GAN
    if plain:
        decoder = {"input_channel": 512, "channels": [1024, 512, 256, 128, 64], "output_channel": 3}
    archs = {"_low": SMALL, "_mid": LARGE} if large else {"": SMALL}
    discriminator: dict[str, Any] = {
        "generic": {"normalization": "batch", "padding": "valid", "activation": "leakyrelu-0.1"}
    }
    for suffix, arch in archs.items():
        discriminator |= {f"image{suffix}": {"arch": arch}, f"identity{suffix}": {"arch": arch, "num_id": 0}}
    if plain:
        deep = "C1-32-1-0,C4-64-2-1,C4-128-2-1,C4-256-2-1,C4-512-1-0"
        generic = {"normalization": "none", "padding": "unused", "activation": "leakyrelu-0.2"}
        discriminator = {"generic": generic, "identity": {"arch": deep, "num_id": 0}}
    optim = {"d_loss_weight": 1.0, "d_img_weight": -1 if plain else 1.0, "gan_loss_type": "gan"}
    optim |= {"ac_loss_weight": 1.0 if plain else 0.05, "l1_pixel_loss_weight": 100 if plain or large else 10}
    optim |= {} if plain else {"perceptual_loss_weight": 100}
    size = [128, 128] if large else [64, 64]
    kinds = {"v2f": "V2FDecoder", "sf2f": "FaceGanDecoder_v2" if large else "FaceGanDecoder"}
    return {
        "logs": {"name": kind, "output_dir": "output/"},
        "data": {"dataset": "vox", "data_opts_path": "options/data_opts/vox.yaml", "image_size": size},
        "generator": {
            "arch": "EncoderDecoder",
            "options": {
                "encoder_arch": "V2F1DCNN",
                "encoder_kwargs": encoder,
                "decoder_arch": kinds[kind.split("_")[0]],
                "decoder_kwargs": decoder,
            },
        },
        "discriminator": discriminator,
        "optim": optim,
        "eval": {"facenet": {"deprocess_and_preprocess": True, "crop_faces": True}},
    }


def write_checkpoint(
    path: Path, generator: EncoderDecoder, discriminators: Discriminators, **more: Any
) -> Path:
    """Write a checkpoint like the published trainer, with data-parallel names."""
    content = {
        "model_state": {f"module.{k}": v for k, v in generator.state_dict().items()},
        "lr": 5e-4,
        **more,
    }
    for word, networks in (
        ("d_img_state", discriminators.image),
        ("d_ac_state", discriminators.identity),
        ("cond_d_state", discriminators.condition),
    ):
        content |= {f"{word}_{at}": network.state_dict() for at, network in enumerate(networks)}
    content["counters"] = {"t": 3, "epoch": 1, "best_vfs": (1.0, 0.1)}
    torch.save(content, path)
    return path
