"""The system for its contracts: tiny networks in which all three components act."""

import pytest
from published_archetype_agnostic_files import write_published
from voiceface.testing.contracts.fixtures import *  # noqa: F403
from voiceface.testing.contracts.subject import SystemUnderTest

OVERRIDES = (
    "model.face.image_size=32",
    "model.face.widths=[8,8,8,8]",
    "model.face.blocks=[1,1,1,1]",
    "model.face.hidden_dim=16",
    "model.voice.widths=[8,8,8,8]",
    "model.voice.blocks=[1,1,1,1]",
    "model.voice.hidden_dim=16",
    "model.embedding_dim=16",
    "data.clip_samples=16000",
    "data.crop_samples=[8000,12000]",
    "data.in_memory=true",
    "regauging.start_step=2",
    "equilibrium.warm_up=2",
    "equilibrium.update_interval=2",
    "training.batch_size=8",
    "training.num_workers=0",
    "training.log_interval=1",
    "training.validation_interval=null",
)


@pytest.fixture(scope="session")
def system() -> SystemUnderTest:
    """The system for its contracts."""
    return SystemUnderTest(
        "archetype_agnostic",
        config="main",
        overrides=OVERRIDES,
        trained=(
            "training.max_steps=6",
            "training.checkpoint_interval=2",
            "training.validation_interval=3",
            "training.validation_start=3",
        ),
        interrupted=(
            "training.max_steps=8",
            "training.checkpoint_interval=3",
            "training.validation_interval=4",
            "training.validation_start=4",
            "regauging.start_step=3",
            "regauging.trust_threshold=-1.0",  # a network that is not trained has loose pairs, too
            "equilibrium.warm_up=2",
            "equilibrium.update_interval=5",  # refreshed before step 5: earlier saves have full counters
        ),
        required_key="vNet.fc.2.weight",
        branches=("vNet", "aNet"),
        short_schedule=("schedule.warm_up=0", "stopping.rule=max_steps"),
        write_published=write_published,
        checkpoint_flags=("--checkpoint", "--face-backbone", "--voice-backbone"),
        frontend_settings={
            "data.clip_samples": 12_500,
            "data.resize_mode": "letterbox",
            "data.channels": "rgb",
            "data.sample_scale": "native",
            "model.face.image_size": 40,
        },
        preloaded=("train", "published", "losses", "regauging"),
    )
