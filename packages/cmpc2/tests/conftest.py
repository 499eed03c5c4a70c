"""The system for its contracts: tiny networks, a published checkpoint; a speech-like waveform."""

import numpy as np
import pytest
from numpy.typing import NDArray
from published_cmpc2_files import write_published
from voiceface.testing.contracts.fixtures import *  # noqa: F403
from voiceface.testing.contracts.subject import SystemUnderTest

OVERRIDES = (
    "model.face.image_size=32",
    # Not fewer: oneDNN 3.13 with AVX2 overwrites memory in the gradient of a 1 x 1 convolution with stride 2
    # of two to four channels, channels last.
    "model.face.widths=[8,8,8,8]",
    "model.face.blocks=[1,1,1,1]",
    "model.voice.widths=[8,8,8,8]",
    "model.voice.blocks=[1,1,1,1]",
    "model.embedding_dim=8",
    "data.voice.num_frames=60",
    "data.in_memory=true",
    "clustering.num_clusters=[2,3]",
    "clustering.start_step=2",
    "clustering.interval=2",
    "optimiser.warm_up=2",
    "optimiser.cycle=6",
    "training.batch_size=8",
    "training.num_workers=0",
    "training.log_interval=1",
)


@pytest.fixture(scope="session")
def system() -> SystemUnderTest:
    """The system for its contracts; all terms of the loss act from the third step on."""
    return SystemUnderTest(
        "cmpc2",
        config="main",
        overrides=OVERRIDES,
        trained=("--splits", "train", "training.max_steps=6", "training.checkpoint_interval=2"),
        interrupted=("training.max_steps=8", "training.checkpoint_interval=3"),
        required_key="voice_subnet.conv1.weight",
        branches=("voice_subnet", "face_subnet"),
        short_schedule=(),
        write_published=write_published,
        published_key="model",
        loader="load_embedder",
        checkpoint_flags=("--checkpoint", "--imagenet"),
        frontend_settings={"data.voice.num_frames": 50, "model.face.image_size": 40},
        optimisers=("sgd", "adam", "adamw"),
        slow_learning="optimiser.max_lr=0.0005",
        resampling=("data.voice.sample_rates=error", "data.voice.sample_rates=resample"),
        corrupt_audio="data.voice.corrupt_audio",
        population={"train": 8, "val": 4, "test": 6, "second_view": True},
        face_folder="unzippedFaces",
        trains_on_videos=True,
        outputs=("model.safetensors", "memory.safetensors"),
        preloaded=("train", "embedder", "training_data", "memory"),
    )


@pytest.fixture(scope="session")
def speech() -> NDArray[np.int16]:
    """Return two seconds that voice activity detection classifies as speech between pauses."""
    rng = np.random.default_rng(5)
    time = np.arange(32_000) / 16_000
    phase = 2 * np.pi * np.cumsum(140 + 20 * np.sin(5 * time)) / 16_000
    waveform = sum(np.sin(k * phase) / k for k in range(1, 25)) * (0.6 + 0.4 * np.sin(12 * time))
    waveform[:6_000] *= 0.001
    waveform[24_000:] *= 0.001
    waveform += rng.normal(0, 0.002, len(waveform))
    return (9_000 * waveform / np.abs(waveform).max()).astype(np.int16)
