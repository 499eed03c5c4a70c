"""Published files of the trunks, and published configurations, without any system around them."""

from pathlib import Path

import pytest
import torch
from voiceface.association import pretrained_backbones
from voiceface.association.encoder_config import FaceBackboneConfig, VoiceBackboneConfig
from voiceface.association.encoders import VoiceBackbone
from voiceface.checkpoints import published
from voiceface.checkpoints.published import CheckpointError
from voiceface.models import iresnet
from voiceface.runtime.config import ConfigError
from voiceface.runtime.published_config import PublishedKeys, iter_leaves, read_yaml

FACE = FaceBackboneConfig(blocks=(1, 2, 1, 1), widths=(4, 6, 8, 10))
VOICE = VoiceBackboneConfig(blocks=(1, 2, 1, 1), widths=(4, 6, 8, 10), n_mels=16)


def face(features: int | None, side: int = 32) -> iresnet.IR:
    return iresnet.IR(FACE.units, FACE.widths, side, features)


@pytest.mark.parametrize("features", [None, 12])
def test_a_face_file_fills_trunks_with_and_without_the_output_layer(
    tmp_path: Path, features: int | None
) -> None:
    whole, trunk = face(12), face(features)
    published.save_torch(tmp_path / "face.pth", published.cpu_state_dict(whole))
    report = pretrained_backbones.load_face_backbone(trunk, tmp_path / "face.pth")
    assert len(report.loaded) == len(trunk.state_dict())
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in trunk.state_dict().items())


@pytest.mark.parametrize(
    ("key", "word"), [("body.2.res_layer.1.weight", "missing"), ("body.9.x", "unexpected")]
)
def test_a_face_file_with_a_key_too_few_or_too_many_is_refused(tmp_path: Path, key: str, word: str) -> None:
    state = published.cpu_state_dict(face(12))
    if state.pop(key, None) is None:
        state[key] = torch.ones(2)
    published.save_torch(tmp_path / "face.pth", state)
    with pytest.raises(CheckpointError, match=rf"1 {word} \({key}\)"):
        pretrained_backbones.load_face_backbone(face(None), tmp_path / "face.pth")


def test_an_empty_filter_bank_is_computed_and_another_one_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole, trunk = VoiceBackbone(VOICE, 12), VoiceBackbone(VOICE, None)
    state = {f"__S__.{key}": value for key, value in published.cpu_state_dict(whole).items()} | {
        "__L__.w": torch.ones(1)
    }
    state["__S__.torchfb.mel_scale.fb"] = torch.empty(0)
    published.save_torch(tmp_path / "voice.model", state)
    pretrained_backbones.load_voice_backbone(trunk, tmp_path / "voice.model")
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in trunk.state_dict().items())
    state["__S__.torchfb.mel_scale.fb"] = torch.zeros(257, 40)
    published.save_torch(tmp_path / "voice.model", state)
    with pytest.raises(CheckpointError, match=r"mel_scale\.fb: file \(257, 40\), module \(257, 16\)"):
        pretrained_backbones.load_voice_backbone(trunk, tmp_path / "voice.model")


def test_the_architecture_is_read_below_any_prefix() -> None:
    state = {f"a.b.{key}": value for key, value in face(12, side=48).state_dict().items()}
    assert pretrained_backbones.infer_face_config(state, "a.b.") == FACE.model_copy(update={"image_size": 48})
    bare = {f"a.b.{key}": value for key, value in face(None).state_dict().items()}
    assert pretrained_backbones.infer_face_config(bare, "a.b.").image_size == 112
    state = {f"v.{key}": value for key, value in VoiceBackbone(VOICE, None).state_dict().items()}
    assert (
        pretrained_backbones.infer_voice_config({**state, "head": torch.empty(3, 10)}, "v.", "head") == VOICE
    )
    wide = pretrained_backbones.infer_voice_config({**state, "head": torch.empty(3, 20)}, "v.", "head")
    assert wide.pooling == "asp"
    with pytest.raises(CheckpointError, match=r"v\.layer1\.0\.conv1\.weight is missing"):
        pretrained_backbones.infer_voice_config({}, "v.", "head")


def test_least_widths_agree_where_the_widths_do() -> None:
    assert pretrained_backbones.minimal_widths((64, 128, 64, 512)) == (1, 2, 1, 3)


def test_a_dialect_names_what_it_does_not_know() -> None:
    dialect = PublishedKeys(
        {"a.kind": ("x", "y")}, frozenset({"a.idle"}), {"a.path": "pictures"}, frozenset({"b"})
    )
    values = dict(iter_leaves({"a": {"kind": "y", "idle": 0, "path": "here"}, "b": [1]}))
    dialect.check_values(values, "f.yaml")
    assert dialect.extract_paths(values) == {"pictures": "here"}
    assert dialect.extract_paths({"a.path": "none"}) == {}
    with pytest.raises(ConfigError, match=r"no key a\.knd; did you mean a\.kind"):
        dialect.check_values({"a.knd": "x"}, "f.yaml")
    with pytest.raises(ConfigError, match=r"a\.kind is 'z'; only 'x' or 'y' can be translated"):
        dialect.check_values({"a.kind": "z"}, "f.yaml")


@pytest.mark.parametrize(("text", "words"), [("a: [", "not readable YAML"), ("- 1", "holds no `key: value`")])
def test_a_file_without_keys_is_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_yaml(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        read_yaml(tmp_path / "absent.yaml")
