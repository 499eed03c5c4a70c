"""Fixtures: tiny networks, a face bank and recordings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from cmpc2.config import Cmpc2Config
from cmpc2.embedder import Embedder
from cmpc2.model import FV_Wrapper
from numpy.typing import NDArray
from PIL import Image
from voiceface.audio.loading import write_wav
from voiceface.testing import runs
from voiceface.testing.commands import CommandRunner, command_runner
from voicestyle.__main__ import COMMANDS
from voicestyle.stylegan2.generator import Generator, GeneratorConfig

FEW_STEPS = (
    "inversion.num_steps=2",
    "guidance.num_steps=2",
    "inversion.latent_mean_samples=64",
    "retrieval.max_images=3",
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Bit-identity needs the same number of threads everywhere."""
    runs.use_one_thread()


@pytest.fixture(scope="session")
def few() -> tuple[str, ...]:
    """Settings that make a way a matter of a second."""
    return FEW_STEPS


@pytest.fixture(scope="session")
def call() -> CommandRunner:
    """One `voicestyle` command in this process; gives its exit code."""
    return command_runner("voicestyle", COMMANDS)


@pytest.fixture(scope="session")
def generator() -> Generator:
    """8 pixels, latents of 8; its noise maps are seen."""
    torch.manual_seed(0)
    network = Generator(GeneratorConfig(size=8, channels=(6, 6), style_dim=8, n_mlp=2))
    for name, value in network.named_parameters():
        if name.endswith("noise.weight"):
            torch.nn.init.constant_(value, 0.3)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """Faces of 16 pixels and voices, to 8 numbers."""
    branch = {"widths": (8, 8, 8, 8), "blocks": (1, 1, 1, 1)}
    model = {"voice": branch, "face": {**branch, "image_size": 16}, "embedding_dim": 8}
    config = Cmpc2Config.model_validate({"name": "tiny", "model": model})
    torch.manual_seed(1)
    network = FV_Wrapper(config=config.model, voice_frontend=config.data.voice)
    return Embedder(network.eval().requires_grad_(False), config)


def random_image(number: int, side: int = 24) -> NDArray[np.uint8]:
    """An image (side, side, 3) unlike those of other numbers."""
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (4, 4, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def write_image(path: Path, number: int, mode: str = "RGB") -> Path:
    """Write an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random_image(number)).convert(mode).save(path)
    return path


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of nine images of three identities."""
    root = tmp_path_factory.mktemp("faces")
    for number in range(9):
        write_image(root / f"person{number % 3}" / f"{number}.png", number)
    return root


def synthetic_speech(seed: int, seconds: float = 2.0) -> NDArray[np.int16]:
    """Harmonics that waver, different for each seed."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(16_000 * seconds)) / 16_000
    pitch = 2 * np.pi * np.cumsum(110 + 40 * seed % 120 + 20 * np.sin(5 * time)) / 16_000
    sound = sum(np.sin(k * pitch) / k for k in range(1, 25)) * (0.6 + 0.4 * np.sin(12 * time))
    sound += rng.normal(0, 0.002, len(sound))
    return (9_000 * sound / np.abs(sound).max()).astype(np.int16)


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of two recordings."""
    root = tmp_path_factory.mktemp("voices")
    for number in range(2):
        write_wav(root / f"v{number}.wav", synthetic_speech(number))
    return root
