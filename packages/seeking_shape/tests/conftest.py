"""The system for its contracts; runs of the three steps of the method."""

from pathlib import Path

import pytest
from published_seeking_shape_files import write_published
from voiceface.testing.commands import CommandRunner
from voiceface.testing.contracts.fixtures import *  # noqa: F403
from voiceface.testing.contracts.subject import SystemUnderTest

OVERRIDES = (
    "model.face.image_size=32",
    "model.face.widths=[8,8,8,8]",
    "model.face.blocks=[1,1,1,1]",
    "model.face.num_features=16",
    "model.voice.widths=[8,8,8,8]",
    "model.voice.blocks=[1,1,1,1]",
    "model.voice.num_features=16",
    "model.embedding_dim=16",
    "data.clip_samples=16000",
    "data.crop_samples=[8000,12000]",
    "data.in_memory=true",
    "training.batch_size=8",
    "training.num_workers=0",
    "training.log_interval=1",
    "training.validation_interval=null",
)


@pytest.fixture(scope="session")
def system() -> SystemUnderTest:
    """The system for its contracts."""
    return SystemUnderTest(
        "seeking_shape",
        config="reweight",
        overrides=OVERRIDES,
        interrupted=(
            "training.max_steps=8",
            "training.checkpoint_interval=3",
            "training.validation_interval=4",
            "training.validation_start=4",
            "weights.warm_up=2",
            "weights.update_interval=2",
        ),
        required_key="V.fc.2.weight",
        branches=("F", "V"),
        write_published=write_published,
        checkpoint_flags=("--checkpoint", "--id-weights", "--face-backbone", "--voice-backbone"),
        frontend_settings={
            "data.clip_samples": 12_500,
            "data.resize_mode": "stretch",
            "data.channels": "rgb",
            "data.sample_scale": "native",
        },
        preloaded=("train", "published", "losses", "extract_id_weight"),
    )


@pytest.fixture(scope="session")
def reweighted(train: CommandRunner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of step 1: six steps, weight updates before the third and fifth, validations."""
    out = tmp_path_factory.mktemp("runs") / "reweight"
    settings = ["weights.warm_up=2", "weights.update_interval=2", "weights.fraction_step=0.2"]
    settings += ["training.validation_interval=3", "training.validation_start=3"]
    assert train(out, "training.max_steps=6", "training.checkpoint_interval=2", *settings) == 0
    return out


@pytest.fixture(scope="session")
def id_weights(call: CommandRunner, reweighted: Path) -> Path:
    """Identity weights of step 2."""
    assert call("extract_id_weight", reweighted) == 0
    return reweighted / "id_weight.safetensors"


@pytest.fixture(scope="session")
def final_run(train: CommandRunner, id_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of step 3: three steps with the identity weights of step 2."""
    out = tmp_path_factory.mktemp("runs") / "main"
    assert train(out, "--id-weights", id_weights, "training.max_steps=3", cfg="main") == 0
    return out
