"""The system for its contracts: small encoders in ONNX files in place of the real ones."""

import pytest
from published_fop_files import write_published
from voiceface.testing.contracts.fixtures import *  # noqa: F403
from voiceface.testing.contracts.subject import SystemUnderTest
from voiceface.testing.onnx_graphs import write_arcface, write_speaker


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> SystemUnderTest:
    """The system for its contracts."""
    folder = tmp_path_factory.mktemp("encoders")
    encoders = write_speaker(folder / "speaker.onnx"), write_arcface(folder / "arcface.onnx")
    return SystemUnderTest(
        "fop",
        config="quick",
        overrides=(
            f"data.voice_encoder=onnx:{encoders[0]}",
            f"data.face_encoder=onnx:{encoders[1]}",
            "model.embedding_dim=16",
            "model.attention_width=16",
            "training.batch_size=8",
            "training.log_interval=1",
        ),
        interrupted=("training.max_steps=8",),
        required_key="voice_branch.fc1.0.weight",
        branches=("voice_branch", "face_branch"),
        write_published=write_published,
        frontend_settings={"evaluation.score": "euclidean"},
        validating=("training.max_steps=3",),
        unvalidated=(
            "training.max_steps=1",
            "training.validation_interval=null",
            "training.best_checkpoint=none",
        ),
        face_crop="arcface",
        short_schedule=(),
    )
