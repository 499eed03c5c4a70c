"""Published files: read, written, refused."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from seeking_shape.model import Voice2Face
from seeking_shape.model_config import FaceConfig, ModelConfig, VoiceConfig
from seeking_shape.published import (
    infer_model_config,
    load_checkpoint,
    load_face_backbone,
    load_id_weight,
    load_voice_backbone,
    read_checkpoint,
    read_id_weight,
    save_checkpoint,
    save_face_backbone,
    save_id_weight,
    save_voice_backbone,
)
from torch import Tensor
from voiceface.association.pretrained_backbones import restore_momentum
from voiceface.checkpoints.published import CheckpointError

SMALL = ModelConfig(
    face=FaceConfig(blocks=(1, 2, 1, 1), widths=(4, 6, 8, 10), image_size=32, num_features=12),
    voice=VoiceConfig(blocks=(1, 1, 2, 1), widths=(4, 6, 8, 10), num_features=12, n_mels=16),
    embedding_dim=8,
    num_classes=5,
)


def small(seed: int = 0) -> Voice2Face:
    torch.manual_seed(seed)
    model = Voice2Face(SMALL)
    with torch.no_grad():
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.add_(0.1 * torch.rand_like(buffer))
    return model


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def trained(model: Voice2Face) -> torch.optim.SGD:
    optimiser = torch.optim.SGD(model.parameter_groups(), lr=0.01, momentum=0.9)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.rand_like(parameter)
    optimiser.step()
    return optimiser


def test_checkpoint_round_trip_keeps_weights_and_momentum(tmp_path: Path) -> None:
    model = small()
    optimiser = trained(model)
    save_checkpoint(tmp_path / "ckp_000007.pth.tar", model, 7, optimiser)
    other = small(1)
    checkpoint = load_checkpoint(other, tmp_path / "ckp_000007.pth.tar")
    assert checkpoint.step == 7
    assert same(model.state_dict(), other.state_dict())
    fresh = torch.optim.SGD(other.parameter_groups(), lr=0.01, momentum=0.9)
    restore_momentum(other, fresh, checkpoint.momentum)
    for own, reference in zip(model.parameters(), other.parameters()):
        if own.requires_grad:
            assert torch.equal(
                optimiser.state[own]["momentum_buffer"], fresh.state[reference]["momentum_buffer"]
            )


def test_parallel_prefix_legacy_format_and_address_numbers_are_read(tmp_path: Path) -> None:
    model = small()
    optimiser = trained(model)
    state = OrderedDict((f"module.{key}", value) for key, value in model.state_dict().items())
    saved = optimiser.state_dict()
    address = {number: 140_000_000_000 + 7919 * number for number in saved["state"]}
    old = {
        "state": {address[number]: value for number, value in saved["state"].items()},
        "param_groups": [
            {**group, "params": [address[n] for n in group["params"]]} for group in saved["param_groups"]
        ],
    }
    content = {"start_it": 3, "stage": 0, "state_dict": state, "optimizer": {"match": old}}
    torch.save(content, tmp_path / "old.pth.tar", _use_new_zipfile_serialization=False)
    checkpoint = read_checkpoint(tmp_path / "old.pth.tar")
    assert same(checkpoint.state, dict(model.state_dict()))
    name = "V.model.layer3.0.downsample.0.weight"
    parameter = dict(model.named_parameters())[name]
    assert torch.equal(checkpoint.momentum[name], optimiser.state[parameter]["momentum_buffer"])


def test_architecture_is_inferred_from_the_shapes() -> None:
    assert infer_model_config(small().state_dict(), image_size=32) == SMALL
    whole = ModelConfig(voice=VoiceConfig(pooling="asp"), num_classes=7)
    assert infer_model_config(Voice2Face(whole).state_dict()) == whole


@pytest.mark.parametrize("upstream", [False, True])
def test_backbone_files_initialise_their_branch_only(tmp_path: Path, upstream: bool) -> None:
    model, other = small(), small(1)
    before = {key: value.clone() for key, value in other.state_dict().items()}
    save_face_backbone(tmp_path / "face.pth", model)
    if upstream:  # the form of the speaker trainer: prefix, loss parameters, no front end
        state = {
            f"__S__.{key}": value for key, value in model.V.model.state_dict().items() if "torchfb" not in key
        }
        torch.save({**state, "__L__.fc.weight": torch.ones(3, 2)}, tmp_path / "voice.model")
    else:
        save_voice_backbone(tmp_path / "voice.model", model)
    load_face_backbone(other, tmp_path / "face.pth")
    load_voice_backbone(other, tmp_path / "voice.model")
    for key, value in other.state_dict().items():
        if key.startswith(("F.model.", "V.model.")) and not (upstream and "torchfb" in key):
            assert torch.equal(value, model.state_dict()[key]), key
        else:
            assert torch.equal(value, before[key]), key


def test_incomplete_backbone_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    model = small()
    state = dict(small(1).F.model.state_dict())
    del state["output_layer.3.weight"]
    torch.save(state, tmp_path / "face.pth")
    before = model.F.model.body[0].res_layer[1].weight.clone()
    with pytest.raises(CheckpointError, match=r"output_layer\.3\.weight"):
        load_face_backbone(model, tmp_path / "face.pth")
    assert torch.equal(before, model.F.model.body[0].res_layer[1].weight)


def test_identity_weights_are_read_from_their_own_file_or_a_checkpoint(tmp_path: Path) -> None:
    model = small()
    model.center.weight.copy_(torch.tensor([0, 1, 0.5, 0.25, 1]))
    save_id_weight(tmp_path / "id_weight.pth", model.center.weight)
    save_checkpoint(tmp_path / "ckp.pth.tar", model, 1)
    for name in ("id_weight.pth", "ckp.pth.tar"):
        assert torch.equal(read_id_weight(tmp_path / name), model.center.weight)
    other = small(1)
    load_id_weight(other.center, tmp_path / "id_weight.pth")
    assert torch.equal(other.center.weight, model.center.weight)
    save_id_weight(tmp_path / "six.pth", torch.ones(6))
    with pytest.raises(CheckpointError, match="6 identities, the training set has 5"):
        load_id_weight(other.center, tmp_path / "six.pth")


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    save_id_weight(tmp_path / "id_weight.pth", torch.ones(5))
    with pytest.raises(CheckpointError, match="no checkpoint of seeking_shape"):
        read_checkpoint(tmp_path / "id_weight.pth")
    torch.save({"x": torch.ones(2)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"center\.weight"):
        read_id_weight(tmp_path / "x.pth")
