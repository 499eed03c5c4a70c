"""Tiny generators, random networks and synthetic voices for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sf2f.config import Sf2fConfig, config_to_dict
from sf2f.generator import EncoderDecoder
from sf2f.models import SYSTEM
from torch import nn
from voiceface.audio.loading import write_wav
from voiceface.checkpoints.native import save_model
from voiceface.checkpoints.paths import MODEL_FILE
from voiceface.runtime.config import load_config

SAMPLE_RATE, WINDOW_WIDTH = 16000, 40
DISCLAIMER = "no identity real is meant by these weights"
TINY_OVERRIDES = (
    "generator.encoder.channels=[16,16]",
    "generator.encoder.embedding_dim=16",
    f"data.windows.width={WINDOW_WIDTH}",
)
TINY_DECODERS: dict[str, tuple[str, ...]] = {
    "quick_1st_stage": ("generator.decoder.channels=[8,8,8]",),
    "quick_fuser": ("generator.decoder.kind=facegan_v2", "generator.decoder.channels=[8,8,8]"),
}
TINY_BACKBONE = "{arch: 'C4-4-2,C4-8-2', normalisation: batch, padding: valid, activation: leakyrelu-0.1}"


def tiny_config(name: str, *overrides: str) -> Sf2fConfig:
    """A bundled configuration with tiny networks."""
    backbones = ", ".join([TINY_BACKBONE] * (2 if name == "quick_fuser" else 1))
    more = (f"discriminators.{each}=[{backbones}]" for each in ("image", "identity"))
    return load_config(name, Sf2fConfig, "sf2f", [*TINY_OVERRIDES, *TINY_DECODERS[name], *more, *overrides])


def tiny_generator(config: Sf2fConfig, seed: int = 0) -> EncoderDecoder:
    """Random weights and batch norm statistics, scaled so that images depend on voices."""
    torch.manual_seed(seed)
    generator = EncoderDecoder(config.generator)
    with torch.no_grad():
        for module in generator.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
                module.running_var.uniform_(0.2, 0.5)  # type: ignore[union-attr]
        generator.encoder.model[-1].bias.zero_()  # type: ignore[union-attr,operator]
        for name, value in generator.decoder.named_parameters():
            if value.ndim > 1:
                value.mul_(12.0 if name == "fc.0.weight" else 2.0)
    return generator.eval()


def write_model(path: Path, name: str = "quick_1st_stage", *overrides: str, seed: int = 0) -> Path:
    """Write a run folder with a tiny model."""
    config = tiny_config(name, *overrides)
    extra: dict[str, Any] = {"disclaimer": DISCLAIMER, "names": ["a", "b"]}
    state = tiny_generator(config, seed).state_dict()
    save_model(
        path / MODEL_FILE, state, system=SYSTEM, kind="generator", config=config_to_dict(config), extra=extra
    )
    return path


def synthesise_voice(seconds: float, pitch: float = 110.0, seed: int = 0) -> np.ndarray:
    """A buzz with a formant and syllables, int16; the detector classifies it as speech."""
    moment = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(pitch + 15 * np.sin(2 * np.pi * 3 * moment)) / SAMPLE_RATE
    partials = (np.sin(k * phase) * np.exp(-(((k * pitch - 600) / 700) ** 2)) for k in range(1, 30))
    wave = np.sum(list(partials), 0) * (1 + 0.7 * np.sin(2 * np.pi * 4 * moment)) * 2500
    wave += np.random.default_rng(seed).normal(0, 20, len(wave))
    return np.clip(wave, -32768, 32767).astype(np.int16)


def write_voice(path: Path, seconds: float = 2.0, pitch: float = 110.0, seed: int = 0) -> Path:
    """Write a synthetic voice to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, synthesise_voice(seconds, pitch, seed))
    return path


def seeded(seed: int = 0) -> torch.Generator:
    """A generator with a seed."""
    return torch.Generator().manual_seed(seed)


def randomise(network: nn.Module) -> nn.Module:
    """Set random weights that make outputs depend on the images; evaluation mode."""
    generator = seeded(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                spread = (2 / parameter[0].numel()) ** 0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return network.eval()
