"""Selection of the image that represents a video."""

import sys
import types
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from cmpc2.prototype_retrieval import TrainingVideo
from cmpc2.published import PrototypeMemory
from voiceface.checkpoints.published import CheckpointError
from voiceface.testing.corrupt_files import MaliciousPickle
from voicestyle import models, pipeline
from voicestyle.config import SelectionConfig, VoiceStyleConfig
from voicestyle.face_bank import FaceBank, FaceBankError
from voicestyle.selection import load_clip_features, select_image, select_images


@dataclass(frozen=True)
class FlatImage:
    """An image whose first pixel is its feature."""

    label: str
    value: tuple = (0, 0, 0)
    readable: bool = True

    def read(self):
        if not self.readable:
            raise ValueError(f"{self.label} is damaged")
        return np.full((2, 2, 3), self.value, np.uint8)


def features(images):
    return torch.stack([torch.from_numpy(each[0, 0]).float() for each in images])


def bank_of(frames, frontal=()):
    table = [TrainingVideo(f"p{n}", "1", "", "", "", "", f"v{n}") for n in range(len(frames))]
    memory = PrototypeMemory([torch.eye(2)], [torch.zeros(len(frames), dtype=torch.int64)], [])
    return FaceBank(memory, table, frames, dict(frontal))


FRAME = FlatImage("frame", (200, 10, 0))
FRONTAL = [FlatImage("far", (0, 0, 90)), FlatImage("same", (200, 10, 0)), FlatImage("near", (150, 60, 0))]


def test_identical_image_is_selected():
    bank = bank_of([[FRAME]], {"p0": FRONTAL})
    found = select_image(0, bank, SelectionConfig(), features)
    assert found.image.label == "same" and found.similarity == pytest.approx(1) and found.is_frontal


def test_dot_product_prefers_long_features():
    bank = bank_of(
        [[FRAME]], {"p0": [FlatImage("long", (240, 240, 0)), FlatImage("same direction", (100, 5, 0))]}
    )
    found = [select_image(0, bank, SelectionConfig(similarity=word), features) for word in ("dot", "cosine")]
    assert [each.image.label for each in found] == ["long", "same direction"]
    assert found[0].similarity == pytest.approx(200 * 240 + 10 * 240)


def test_reference_is_the_mean_or_the_first_frame():
    frames = [FlatImage("0", (255, 0, 0)), FlatImage("1", (0, 255, 0)), FlatImage("2", (0, 250, 0))]
    pool = [FlatImage("red", (90, 0, 0)), FlatImage("green", (0, 90, 0))]
    bank = bank_of([frames], {"p0": pool})
    found = [select_image(0, bank, SelectionConfig(reference=word), features) for word in ("first", "mean")]
    assert [each.image.label for each in found] == ["red", "green"]


def test_without_frontal_images_the_most_typical_frame_is_selected():
    frames = [
        FlatImage("odd", (0, 0, 255)),
        FlatImage("usual", (200, 0, 30)),
        FlatImage("other", (200, 30, 0)),
    ]
    found = select_image(0, bank_of([frames]), SelectionConfig(), features)
    assert found.image.label in ("usual", "other") and not found.is_frontal
    alone = select_image(0, bank_of([[FRAME]]), SelectionConfig(), features)
    assert alone.image is FRAME and np.isnan(alone.similarity)


def test_without_frames_the_most_typical_frontal_image_is_selected():
    values = {"odd": (0, 90, 90), "a": (200, 0, 0), "b": (200, 90, 0), "c": (200, 0, 90), "d": (200, 9, 9)}
    pool = [FlatImage(name, value) for name, value in values.items()]
    unit = torch.nn.functional.normalize(features([each.read() for each in pool]), dim=1)
    usual = pool[int((unit @ unit.T).mean(1).argmax())]
    found = select_image(0, bank_of([[]], {"p0": pool}), SelectionConfig(), features)
    assert found.image is usual and usual.label not in ("odd", "a") and found.is_frontal
    assert select_image(0, bank_of([[]]), SelectionConfig(), features) is None


def test_method_first_computes_no_features():
    def fail(images):
        raise AssertionError("features were asked for")

    frames = [FlatImage("bad", readable=False), FlatImage("second")]
    found = select_image(0, bank_of([frames], {"p0": FRONTAL}), SelectionConfig(method="first"), fail)
    assert found.image.label == "second" and not found.is_frontal and np.isnan(found.similarity)
    found = select_image(0, bank_of([frames[:1]], {"p0": FRONTAL}), SelectionConfig(method="first"), None)
    assert found.image.label == "far" and found.is_frontal


def test_unreadable_images_are_replaced_by_others():
    bad = FlatImage("bad", (200, 10, 0), readable=False)
    found = select_image(0, bank_of([[FRAME]], {"p0": [bad, FRONTAL[2]]}), SelectionConfig(), features)
    assert found.image.label == "near"
    found = select_image(0, bank_of([[FRAME, FlatImage("x")]], {"p0": [bad]}), SelectionConfig(), features)
    assert found.image in (FRAME, FlatImage("x")) and not found.is_frontal
    found = select_image(0, bank_of([[bad]], {"p0": FRONTAL}), SelectionConfig(), features)
    assert found.image.label in ("same", "near") and found.is_frontal
    assert select_image(0, bank_of([[bad]]), SelectionConfig(), features) is None


def test_no_image_is_selected_twice():
    shared = FlatImage("shared", (9, 9, 9))
    bank = bank_of([[shared], [shared], [], [FRAME]])
    found = select_images([0, 1, 2, 3], bank, SelectionConfig(), features, 8)
    assert [each.video_row for each in found] == [0, 3]
    assert [each.video_row for each in select_images([3, 0], bank, SelectionConfig(), features, 1)] == [3]
    with pytest.raises(FaceBankError, match=r"none of the 1 retrieved videos has a readable image"):
        select_images([2], bank, SelectionConfig(), features, 8)


def test_clip_without_open_clip_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install open_clip_torch, or choose selection.method"):
        load_clip_features(tmp_path / "clip.pt")


class Small(torch.nn.Module):
    """Stands for CLIP's network."""

    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(3, 2)

    def encode_image(self, images):
        return self.line(images.mean((2, 3)))


@pytest.fixture
def open_clip(monkeypatch):
    """A stand-in for the package."""

    def prepare(image):
        return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float()

    def create(name, pretrained):
        assert name == "ViT-B-32-quickgelu" and pretrained is None
        return Small(), None, prepare

    module = types.SimpleNamespace(create_model_and_transforms=create)
    monkeypatch.setitem(sys.modules, "open_clip", module)


def test_clip_programs_are_refused(tmp_path, open_clip):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pt")
    with pytest.raises(CheckpointError, match=r"script.pt"):
        load_clip_features(tmp_path / "script.pt")
    torch.save({"state_dict": MaliciousPickle(tmp_path / "mark")}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match=r"evil.pt is refused"):
        load_clip_features(tmp_path / "evil.pt")
    assert not (tmp_path / "mark").exists()
    (tmp_path / "torn.safetensors").write_bytes(b"12345")
    with pytest.raises(CheckpointError, match=r"torn.safetensors is corrupt"):
        load_clip_features(tmp_path / "torn.safetensors")
    for name in ("absent.pt", "absent.safetensors"):
        with pytest.raises(FileNotFoundError, match=name):
            load_clip_features(tmp_path / name)


def test_clip_state_dict_is_read(tmp_path, open_clip, embedder, generator):
    from safetensors.torch import save_file

    found, names = [], []
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = Small().state_dict()
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "clip.pt")
        save_file(state, tmp_path / "clip.safetensors")
        images = [FRAME.read(), FRONTAL[0].read()]
        both = [load_clip_features(tmp_path / f"clip.{kind}") for kind in ("pt", "safetensors")]
        assert torch.equal(*(each(images) for each in both))
        found.append(both[0](images))
        config = VoiceStyleConfig.model_validate({"inversion": {"latent_mean_samples": 8}})
        names.append(models.build_models(embedder, generator, config, feature_extractor=both[0]).fingerprint)
    assert found[0].shape == (2, 2) and not torch.equal(*found)
    assert names[0] != names[1]  # other weights, other ways
    torch.save({"wrong": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other.pt"):
        load_clip_features(tmp_path / "other.pt")


def test_method_clip_needs_clip_weights(embedder, generator):
    config = VoiceStyleConfig.model_validate(
        {"selection": {"method": "clip"}, "inversion": {"latent_mean_samples": 8}}
    )
    pipeline_models = models.build_models(embedder, generator, config)
    with pytest.raises(ValueError, match=r"selection.method is clip and no CLIP is given"):
        pipeline.select_bank_images([0], bank_of([[FRAME]]), pipeline_models, config)
