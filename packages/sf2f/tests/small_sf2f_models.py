"""Tiny generators and made voices for the tests of programs; no package of their own."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sf2f.config import Sf2fConfig, stored
from sf2f.generator import EncoderDecoder
from sf2f.models import SYSTEM
from voiceface.audio.loading import write_wav
from voiceface.checkpoints.native import save_model
from voiceface.checkpoints.paths import MODEL_FILE
from voiceface.runtime.config import load_config

RATE, WIDTH = 16000, 40
NOTICE = "nobody real is meant by these weights"
SMALL = (
    "generator.encoder.channels=[16,16]",
    "generator.encoder.embedding=16",
    f"data.windows.width={WIDTH}",
)
KINDS: dict[str, tuple[str, ...]] = {
    "quick_1st_stage": ("generator.decoder.channels=[8,8,8]",),
    "quick_fuser": ("generator.decoder.kind=facegan_v2", "generator.decoder.channels=[8,8,8]"),
}
TRUNK = "{arch: 'C4-4-2,C4-8-2', normalisation: batch, padding: valid, activation: leakyrelu-0.1}"


def config_of(kind: str, *words: str) -> Sf2fConfig:
    """A bundled configuration with tiny networks."""
    trunks = ", ".join([TRUNK] * (2 if kind == "quick_fuser" else 1))
    more = (f"discriminators.{each}=[{trunks}]" for each in ("image", "identity"))
    return load_config(kind, Sf2fConfig, "sf2f", [*SMALL, *KINDS[kind], *more, *words])


def generator_of(config: Sf2fConfig, seed: int = 0) -> EncoderDecoder:
    """Random weights with norms that have seen something, so large that pictures depend on voices."""
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


def write_model(path: Path, kind: str = "quick_1st_stage", *words: str, seed: int = 0) -> Path:
    """A run folder, as far as programs read it."""
    config = config_of(kind, *words)
    extra: dict[str, Any] = {"notice": NOTICE, "names": ["a", "b"]}
    state = generator_of(config, seed).state_dict()
    save_model(path / MODEL_FILE, state, system=SYSTEM, kind="generator", config=stored(config), extra=extra)
    return path


def voice(seconds: float, pitch: float = 110.0, seed: int = 0) -> np.ndarray:
    """A buzz with a formant and syllables, int16: the detector takes it for a voice."""
    moment = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(pitch + 15 * np.sin(2 * np.pi * 3 * moment)) / RATE
    partials = (np.sin(k * phase) * np.exp(-(((k * pitch - 600) / 700) ** 2)) for k in range(1, 30))
    wave = np.sum(list(partials), 0) * (1 + 0.7 * np.sin(2 * np.pi * 4 * moment)) * 2500
    wave += np.random.default_rng(seed).normal(0, 20, len(wave))
    return np.clip(wave, -32768, 32767).astype(np.int16)


def write_voice(path: Path, seconds: float = 2.0, pitch: float = 110.0, seed: int = 0) -> Path:
    """The same in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, voice(seconds, pitch, seed))
    return path
