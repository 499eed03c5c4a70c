"""Published checkpoints of fop: read, written, refused with a sentence."""

from pathlib import Path

import pytest
import torch
from fop.config import ModelConfig
from fop.model import FopModel
from fop.published import load_with_config, read_checkpoint, read_with_config, save_checkpoint
from voiceface.checkpoints.published import CheckpointError


def write(path: Path, fusion: str = "gated", classes: int = 64) -> FopModel:
    torch.manual_seed(4)
    model = FopModel(ModelConfig(fusion=fusion, voice_dim=512, face_dim=4096), classes)
    save_checkpoint(path, model, epoch=49)
    return model


@pytest.mark.parametrize("fusion", ["gated", "linear"])
@pytest.mark.parametrize(
    ("classes", "data", "config"),
    [
        (64, "MAV-Celeb v1", "published_fame"),
        (78, "MAV-Celeb v2", "published_fame"),
        (50, "MAV-Celeb v3", "published_fame"),
        (901, "VoxCeleb1", "published"),
        (33, "", "published_fame"),
    ],
)
def test_published_files_are_read(tmp_path: Path, fusion: str, classes: int, data: str, config: str) -> None:
    path = tmp_path / "checkpoint_0049.pth.tar"
    model = write(path, fusion, classes)
    content = torch.load(path, weights_only=True)
    assert content["epoch"] == 49 and list(content["state_dict"]) == list(model.state_dict())
    checkpoint = read_checkpoint(path)
    assert (checkpoint.epoch, checkpoint.num_classes, checkpoint.trained_on) == (49, classes, data)
    loaded, found = load_with_config(path)
    assert (found.name, found.model.fusion) == (config, fusion) and not loaded.training
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_files_of_data_parallel_training_are_read(tmp_path: Path) -> None:
    path = tmp_path / "parallel.pth"
    state = {f"module.{key}": value for key, value in write(path).state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state}, path)
    assert "logits_layer.weight" in read_with_config(path)[0]


def _without(key: str) -> object:
    return lambda state: state.pop(key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("logits_layer.weight"), r"no classifier logits_layer\.weight"),
        (_without("face_branch.fc1.0.weight"), r"no matrix face_branch\.fc1\.0\.weight"),
        (_without("voice_branch.fc1.1.running_var"), r"voice_branch\.fc1\.1\.running_var"),
        (lambda state: state.update(extra=torch.ones(1)), "extra"),
        (lambda state: state.update({"logits_layer.bias": torch.ones(3)}), r"logits_layer\.bias"),
    ],
)
def test_incomplete_models_are_refused_with_the_key(tmp_path: Path, change, message: str) -> None:
    path = tmp_path / "x.pth.tar"
    state = dict(write(path).state_dict())
    change(state)
    torch.save({"epoch": 1, "state_dict": state}, path)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


def test_files_of_others_are_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {"F.model.weight": torch.ones(2, 2)}}, path)
    with pytest.raises(CheckpointError, match=r"no checkpoint of fop: expected keys voice_branch\.… and"):
        read_checkpoint(path)
    path.write_text("no weights")
    with pytest.raises(CheckpointError, match=r"other\.pth"):
        read_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "missing.pth")
