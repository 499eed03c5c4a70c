"""Published files: read, written, refused."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from archetype_agnostic.config import ArchetypeAgnosticConfig
from archetype_agnostic.model import Aasm
from archetype_agnostic.model_config import FaceConfig, ModelConfig, VoiceConfig
from archetype_agnostic.published import (
    build_published_state,
    get_momentum,
    infer_model_config,
    load_checkpoint,
    load_face_backbone,
    load_voice_backbone,
    read_checkpoint,
    read_full_checkpoint,
    save_checkpoint,
    save_face_backbone,
    save_voice_backbone,
)
from archetype_agnostic.train import build_model
from torch import Tensor
from voiceface.association.initialisation import InitialWeights
from voiceface.association.pretrained_backbones import restore_momentum
from voiceface.checkpoints.published import CheckpointError

SMALL = ModelConfig(
    face=FaceConfig(arch="ir50", blocks=(1, 2, 1, 1), widths=(4, 6, 8, 10), image_size=32, hidden_dim=7),
    voice=VoiceConfig(blocks=(1, 1, 2, 1), widths=(4, 6, 8, 10), hidden_dim=9, n_mels=16),
    embedding_dim=8,
    num_classes=5,
)
FRONT_END = ("aNet.model.torchfb.spectrogram.window", "aNet.model.torchfb.mel_scale.fb")


def small(seed: int = 0) -> Aasm:
    """A model with nothing at its start value but the front end."""
    torch.manual_seed(seed)
    model = Aasm(SMALL)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point() and name not in FRONT_END:
                buffer.add_(0.1 * torch.rand_like(buffer))
    return model


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def trained(model: Aasm) -> torch.optim.SGD:
    optimiser = torch.optim.SGD(model.parameter_groups(), lr=0.01, momentum=0.9)
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.rand_like(parameter)
    optimiser.step()
    return optimiser


def test_published_architecture_has_985_keys(tmp_path: Path) -> None:
    """Numbers of tensors in the published checkpoints."""
    model = Aasm(num_classes=924)
    state = build_published_state(model)
    assert len(state) == 985 and sum(value.numel() for value in state.values()) == 72_441_934
    learnt = sum(p.numel() for group in model.parameter_groups() for p in group["params"])
    unused = {
        key: value.numel()
        for key, value in state.items()
        if key.startswith(("vNet.model.output_layer.", "aNet.model.fc."))
        and not key.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }
    assert learnt == 59_457_622 and sum(unused.values()) == 12_847_616 + 66_048
    assert state["vNet.model.output_layer.3.weight"].shape == (512, 25_088)
    assert infer_model_config(state) == ModelConfig(num_classes=924)


def test_checkpoint_round_trip_keeps_weights_and_momentum(tmp_path: Path) -> None:
    model = small()
    optimiser = trained(model)
    save_checkpoint(tmp_path / "ckp_epoch_000007.pth.tar", model, 7, optimiser)
    other = small(1)
    checkpoint = load_checkpoint(other, tmp_path / "ckp_epoch_000007.pth.tar")
    assert checkpoint.step == 7 and checkpoint.config == SMALL
    assert same(model.state_dict(), other.state_dict())
    fresh = torch.optim.SGD(other.parameter_groups(), lr=0.01, momentum=0.9)
    restore_momentum(other, fresh, get_momentum(checkpoint))
    own, reference = (
        [model.state[p]["momentum_buffer"] for group in model.param_groups for p in group["params"]]
        for model in (optimiser, fresh)
    )
    assert len(own) == len(reference) and all(map(torch.equal, own, reference))


def test_momentum_is_numbered_with_the_layers_that_are_never_evaluated(tmp_path: Path) -> None:
    """Published order of the face network: input layer, output layer (6 parameters), body."""
    model = small()
    optimiser = trained(model)
    save_checkpoint(tmp_path / "ckp.pth.tar", model, 1, optimiser)
    saved = torch.load(tmp_path / "ckp.pth.tar", weights_only=True)["optimizer"]
    stem = len(list(model.vNet.model.input_layer.parameters()))
    assert set(range(stem, stem + 6)).isdisjoint(saved["state"])
    first = model.vNet.model.body[0].res_layer[0].weight
    assert torch.equal(saved["state"][stem + 6]["momentum_buffer"], optimiser.state[first]["momentum_buffer"])
    whole = 6 + 2 + sum(len(group["params"]) for group in model.parameter_groups())
    assert [n for group in saved["param_groups"] for n in group["params"]] == list(range(whole))
    assert get_momentum(read_checkpoint(tmp_path / "ckp.pth.tar")).keys() == {
        name for name, parameter in model.named_parameters() if parameter.requires_grad
    }


def test_weights_are_read_despite_an_unknown_optimiser_state(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "ckp.pth.tar", small(), 1)
    content = torch.load(tmp_path / "ckp.pth.tar", weights_only=True)
    content["optimizer"] = {"state": {0: {}}, "param_groups": [{"params": [0]}]}
    torch.save(content, tmp_path / "ckp.pth.tar")
    checkpoint = read_checkpoint(tmp_path / "ckp.pth.tar")
    assert len(checkpoint.state) == len(small().state_dict()) - len(FRONT_END)
    with pytest.raises(CheckpointError, match="holds 1 parameters, the network has"):
        get_momentum(checkpoint)


@pytest.mark.parametrize("form", ["bare", "wrapped", "parallel", "half_parallel", "old_zip"])
def test_every_published_form_gives_the_same_weights(tmp_path: Path, form: str) -> None:
    model = small()
    state: dict[str, Any] = OrderedDict(build_published_state(model))
    state["aNet.model.torchfb.mel_scale.fb"] = torch.empty(0)  # of an old torchaudio
    if form in ("parallel", "half_parallel"):
        keep = 0 if form == "parallel" else len(state) // 2
        state = {key if i < keep else f"module.{key}": state[key] for i, key in enumerate(state)}
    content = state if form == "bare" else {"start_it": 3, "stage": 0, "state_dict": state, "optimizer": {}}
    torch.save(content, tmp_path / "c.pth.tar", _use_new_zipfile_serialization=form != "old_zip")
    result = read_full_checkpoint(tmp_path / "c.pth.tar")
    wanted = {key: value for key, value in model.state_dict().items() if key not in FRONT_END}
    assert result.keys() == wanted.keys() and all(torch.equal(result[key], wanted[key]) for key in result)
    assert read_checkpoint(tmp_path / "c.pth.tar").step == (0 if form == "bare" else 3)


def test_unused_layers_and_identity_weights_may_be_missing(tmp_path: Path) -> None:
    model = small()
    unneeded = ("vNet.model.output_layer.", "aNet.model.fc.", "aNet.model.torchfb.", "eqm.", "corr", "comp")
    state = {
        key: value for key, value in build_published_state(model).items() if not key.startswith(unneeded)
    }
    torch.save(state, tmp_path / "c.pth")
    checkpoint = read_checkpoint(tmp_path / "c.pth")
    assert checkpoint.config.num_classes == 924
    assert torch.equal(checkpoint.state["eqm.weight"], torch.ones(924))
    assert torch.equal(checkpoint.state["vNet.fc.0.weight"], model.vNet.fc[0].weight)


@pytest.mark.parametrize(
    "key",
    [
        "normalize.conv.bias",
        "vNet.model.input_layer.2.weight",
        "vNet.model.body.1.res_layer.4.running_var",
        "vNet.model.body.1.res_layer.1.weight",
        "vNet.fc.2.weight",
        "aNet.model.attention",
        "aNet.model.layer3.1.se.fc.0.bias",
        "aNet.fc.0.weight",
    ],
)
def test_missing_required_key_is_named(tmp_path: Path, key: str) -> None:
    state = build_published_state(small())
    del state[key]
    torch.save({"state_dict": state}, tmp_path / "ckp.pth.tar")
    with pytest.raises(CheckpointError) as caught:
        read_full_checkpoint(tmp_path / "ckp.pth.tar")
    assert key in str(caught.value) and "ckp.pth.tar" in str(caught.value)


def test_unknown_and_duplicate_keys_are_refused(tmp_path: Path) -> None:
    state = build_published_state(small())
    torch.save({**state, "vNet.model.gate.weight": torch.ones(2)}, tmp_path / "more.pth")
    with pytest.raises(CheckpointError, match=r"1 unexpected \(vNet\.model\.gate\.weight\)"):
        read_full_checkpoint(tmp_path / "more.pth")
    torch.save({**state, "module.vNet.fc.0.weight": torch.ones(2)}, tmp_path / "twice.pth")
    with pytest.raises(CheckpointError, match=r"the same name vNet\.fc\.0\.weight"):
        read_full_checkpoint(tmp_path / "twice.pth")


def test_another_architecture_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "ckp.pth.tar", small(), 1)
    other = Aasm(SMALL.model_copy(update={"embedding_dim": 6}))
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"vNet\.fc\.2\.weight: file \(8, 7\), module \(6, 7\)"):
        load_checkpoint(other, tmp_path / "ckp.pth.tar")
    assert same(before, other.state_dict())


def test_architecture_is_inferred_from_the_shapes() -> None:
    assert infer_model_config(build_published_state(small())) == SMALL  # the recognition layer tells the side
    assert infer_model_config(small().state_dict(), image_size=32) == SMALL
    wide = ModelConfig(
        face=FaceConfig(arch="ir50", squeeze_excitation=True), voice=VoiceConfig(pooling="asp"), num_classes=7
    )
    assert infer_model_config(Aasm(wide).state_dict()) == wide


@pytest.mark.parametrize("upstream", [False, True])
def test_backbone_files_initialise_their_branch_only(tmp_path: Path, upstream: bool) -> None:
    model, other = small(), small(1)
    before = {key: value.clone() for key, value in other.state_dict().items()}
    save_face_backbone(tmp_path / "face.pth", model)
    save_voice_backbone(tmp_path / "voice.model", model)
    if upstream:  # the form of the speaker trainer: prefix, loss parameters, no front end
        bare = torch.load(tmp_path / "voice.model", weights_only=True)
        state = {f"__S__.{key}": value for key, value in bare.items() if "torchfb" not in key}
        torch.save({**state, "__L__.w": torch.ones(1), "__L__.b": torch.ones(1)}, tmp_path / "voice.model")
    load_face_backbone(other, tmp_path / "face.pth")
    load_voice_backbone(other, tmp_path / "voice.model")
    for key, value in other.state_dict().items():
        if key.startswith(("vNet.model.", "aNet.model.")):
            assert torch.equal(value, model.state_dict()[key]), key
        else:
            assert torch.equal(value, before[key]), key


def test_backbone_files_have_the_layers_of_their_sources(tmp_path: Path) -> None:
    save_face_backbone(tmp_path / "face.pth", small())
    save_voice_backbone(tmp_path / "voice.model", small())
    face = torch.load(tmp_path / "face.pth", weights_only=True)
    voice = torch.load(tmp_path / "voice.model", weights_only=True)
    assert face["output_layer.3.weight"].shape == (512, 10 * 2 * 2)
    assert voice["fc.weight"].shape == (512, 10) and "torchfb.mel_scale.fb" in voice


@pytest.mark.parametrize("key", ["body.3.res_layer.1.weight", "input_layer.0.weight"])
def test_incomplete_face_backbone_is_refused_and_changes_nothing(tmp_path: Path, key: str) -> None:
    model = small()
    save_face_backbone(tmp_path / "face.pth", small(1))
    state = torch.load(tmp_path / "face.pth", weights_only=True)
    del state[key]
    torch.save(state, tmp_path / "face.pth")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=key):
        load_face_backbone(model, tmp_path / "face.pth")
    assert same(before, model.state_dict())


def test_checkpoints_and_backbones_are_not_confused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "ckp.pth.tar", small(), 1)
    save_face_backbone(tmp_path / "face.pth", small())
    for load in (load_face_backbone, load_voice_backbone):
        with pytest.raises(CheckpointError, match="unexpected"):
            load(small(1), tmp_path / "ckp.pth.tar")
    with pytest.raises(CheckpointError, match="no checkpoint of archetype_agnostic: expected keys vNet"):
        read_checkpoint(tmp_path / "face.pth")


def config_of(model: ModelConfig) -> ArchetypeAgnosticConfig:
    return ArchetypeAgnosticConfig(name="x", model=model.model_copy(update={"num_classes": None}))


def test_run_starts_from_a_checkpoint_except_for_its_identities(tmp_path: Path) -> None:
    model = small()
    save_checkpoint(tmp_path / "ckp.pth.tar", model, 1)
    begun = build_model(
        config_of(SMALL), ["a", "b", "c"], InitialWeights(checkpoint=tmp_path / "ckp.pth.tar")
    )
    state = begun.state_dict()
    assert torch.equal(state.pop("eqm.weight"), torch.ones(3))
    assert all(torch.equal(state[key], model.state_dict()[key]) for key in state if "eqm" not in key)


@pytest.mark.parametrize(("saved", "begun", "words"), [(1, 2, "not in the file"), (2, 1, "not in the model")])
def test_run_does_not_start_from_an_incomplete_checkpoint(
    tmp_path: Path, saved: int, begun: int, words: str
) -> None:
    one, other = (
        SMALL.model_copy(update={"face": SMALL.face.model_copy(update={"blocks": (1, 2, 1, units)})})
        for units in (saved, begun)
    )
    save_checkpoint(tmp_path / "ckp.pth.tar", Aasm(one), 1)
    with pytest.raises(CheckpointError, match=rf"ckp\.pth\.tar is of another architecture: .*{words}"):
        build_model(config_of(other), ["a", "b"], InitialWeights(checkpoint=tmp_path / "ckp.pth.tar"))
