"""Parts that association systems share: normalisation, freezing, crops, front ends, initial weights."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import Tensor, nn
from voiceface.association.config import TEST_LISTS, AssociationConfig, DataConfig
from voiceface.association.data import rename_for_split, sample_crop, training_dataset
from voiceface.association.demo import train_if_needed
from voiceface.association.embedder import Embedder
from voiceface.association.embedding import find_files
from voiceface.association.encoder_config import EncodersConfig, FaceBackboneConfig, VoiceBackboneConfig
from voiceface.association.encoders import (
    Branch,
    Encoders,
    InputNormalization,
    VoiceBackbone,
    freeze,
    sample_crop_interval,
)
from voiceface.association.initialisation import load_initial_weights
from voiceface.association.loading import load_embedder
from voiceface.association.system import SystemSpec
from voiceface.association.trainer import Trainer
from voiceface.checkpoints.native import save_model
from voiceface.checkpoints.published import CheckpointError
from voiceface.datasets.augmentation_config import AugmentationConfig
from voiceface.datasets.corpus import Corpus, IdentityRecord
from voiceface.datasets.identities import Identity
from voiceface.runtime.config import to_dict
from voiceface.training.optimisers import build_lr_schedule

SIDE = 16
CONFIG = AssociationConfig(
    name="toy",
    model=EncodersConfig(face=FaceBackboneConfig(image_size=SIDE), embedding_dim=3),
    data=DataConfig(clip_samples=8, crop_samples=(2, 5)),
)


class Toy(Encoders):
    """Scaled mean of each colour, and sums over thirds of the waveform; a classifier of two identities."""

    def __init__(self, num_identities: int = 2) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.cls = nn.Linear(3, num_identities, bias=False)

    def encode_faces(self, faces: Tensor) -> Tensor:
        return self.scale * faces.mean((2, 3))

    def encode_voices(self, voices: Tensor) -> Tensor:
        return self.scale * torch.stack([voices[:, part::3].sum(1) for part in range(3)], dim=1)


def with_data(**values: Any) -> AssociationConfig:
    return CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update=values)})


def build_toy(config: AssociationConfig, state: dict[str, Tensor], names: Any) -> Toy:
    return Toy(len(state["cls.weight"]))


def refuse_published(path: Path) -> Any:
    raise CheckpointError(f"{path} is no published checkpoint")


def toy_system(name: str = "toy") -> SystemSpec:
    return SystemSpec(
        name=name,
        description="",
        subtitle="",
        config="voiceface.association.config:AssociationConfig",
        build_model=f"{__name__}:build_toy",
        read_published=f"{__name__}:refuse_published",
        train="",
    )


def test_normalising_maps_bytes_to_minus_one_to_one_and_is_frozen() -> None:
    normalise = InputNormalization()
    values = normalise(torch.tensor([0.0, 127.5, 255.0]).expand(1, 3, 1, 3).contiguous())
    assert torch.allclose(values[0, :, 0], torch.tensor([-1.0, 0.0, 1.0]).expand(3, 3), atol=1e-6)
    assert not any(p.requires_grad for p in normalise.parameters())


def test_a_frozen_branch_neither_learns_nor_moves_its_statistics() -> None:
    branch = Branch()
    branch.add_module("norm", nn.BatchNorm1d(2))
    freeze(branch)
    branch.eval()
    branch.train()
    branch.norm(torch.rand(5, 2))
    assert torch.equal(branch.norm.running_mean, torch.zeros(2))
    assert not any(p.requires_grad for p in branch.parameters())


def test_voice_backbone_returns_features_or_the_pooled_map() -> None:
    small = VoiceBackboneConfig(blocks=(1, 1, 1, 1), widths=(2, 2, 4, 8), n_mels=8)
    waves = torch.rand(2, 4000)
    with_head, without = VoiceBackbone(small, 5), VoiceBackbone(small, None)
    assert with_head(waves).shape == (2, 5)
    assert without(waves).shape == (2, 8) and without.features == 8
    assert {key for key in with_head.state_dict() if key not in without.state_dict()} == {
        "fc.weight",
        "fc.bias",
    }


def test_the_crop_is_uniform_seeded_and_inside() -> None:
    crops = [sample_crop_interval(np.random.default_rng(seed), 160_000) for seed in range(400)]
    assert crops == [sample_crop_interval(np.random.default_rng(seed), 160_000) for seed in range(400)]
    starts, lengths = np.array(crops).T
    assert lengths.min() >= 40_000 and lengths.max() <= 79_999
    assert starts.min() >= 0 and (starts + lengths).max() <= 160_000
    assert abs(lengths.mean() - 60_000) < 3_000
    assert sample_crop_interval(np.random.default_rng(0), 500, 500, 501) == (0, 500)
    with pytest.raises(ValueError, match="do not fit 300"):
        sample_crop_interval(np.random.default_rng(0), 300, 400, 500)


def test_every_crop_length_occurs_and_fits() -> None:
    data = DataConfig(clip_samples=20, crop_samples=(12, 16))
    crops = [sample_crop(data, 1, step) for step in range(400)]
    assert {end - first for first, end in crops} == {12, 13, 14, 15}
    assert min(first for first, _ in crops) == 0 and max(end for _, end in crops) <= 20
    assert crops == [sample_crop(data, 1, step) for step in range(400)]
    assert crops != [sample_crop(data, 2, step) for step in range(400)]


def test_the_rate_falls_after_each_milestone() -> None:
    def rates(**schedule: Any) -> list[float]:
        values = {**to_dict(CONFIG), "schedule": schedule}
        values["optimiser"]["lr"], values["training"]["max_steps"] = 0.1, 6
        config = AssociationConfig.model_validate(values)
        rate = build_lr_schedule(config.schedule, config.optimiser.lr, config.training.max_steps)
        return [rate(step) for step in range(6)]

    assert np.allclose(rates(milestones=(2, 4)), [0.1, 0.1, 0.1, 0.01, 0.01, 0.001])
    cosine = rates(kind="cosine", warm_up=2)
    assert cosine[0] < cosine[1] < cosine[2] + 1e-12
    assert cosine[2] > cosine[3] > cosine[4] > cosine[5] >= 0


def test_images_have_the_configured_channel_order() -> None:
    red = np.zeros((SIDE, SIDE, 3), np.uint8)
    red[..., 0] = 100
    blue_first, red_first = Embedder(Toy(), CONFIG), Embedder(Toy(), with_data(channels="rgb"))
    assert blue_first.embed_faces(red).tolist() == [[0, 0, 200]]
    assert red_first.embed_faces(red).tolist() == [[200, 0, 0]]


@pytest.mark.parametrize(
    "choice",
    [{}, {"resize_mode": "stretch"}, {"channels": "rgb"}, {"sample_scale": "native"}, {"in_memory": True}],
)
def test_training_and_inference_preprocess_files_equally(tmp_path: Path, choice: dict[str, Any]) -> None:
    config = with_data(**choice)
    stripes = np.repeat(np.arange(30, dtype=np.uint8)[None] * 8, 20, axis=0)
    Image.fromarray(np.stack([stripes, 255 - stripes, stripes // 2], axis=2)).save(tmp_path / "face.png")
    soundfile.write(tmp_path / "voice.wav", np.arange(6) / 8, 16_000, subtype="FLOAT")
    record = IdentityRecord(Identity("Ann", "id1", "Ann", "f", "", "train"), 0, ("voice.wav",), ("face.png",))
    pairs = training_dataset(Corpus((record,), tmp_path, tmp_path), config, progress=False, augment=False)
    sample, model = pairs.sample(0, np.random.default_rng(0)), Embedder(Toy(), config)
    assert np.array_equal(sample["face"], model.load_face(tmp_path / "face.png"))
    assert np.array_equal(sample["voice"], model.load_voice(tmp_path / "voice.wav"))
    assert sample["voice"].max() == (0.625 if choice == {"sample_scale": "native"} else 0.625 * 32768)


def test_the_fingerprint_covers_every_choice_of_the_front_end() -> None:
    choices: list[dict[str, Any]] = [
        {},
        {"resize_mode": "stretch"},
        {"channels": "rgb"},
        {"sample_scale": "native"},
        {"resample": True},
    ]
    choices += [{"corrupt_audio": "salvage"}, {"clip_samples": 9}]
    models = [Toy() for _ in choices]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    prints = [Embedder(model, with_data(**choice)).fingerprint for model, choice in zip(models, choices)]
    assert len(set(prints)) == len(choices)
    assert Embedder(models[1], CONFIG).fingerprint == prints[0]


def test_weights_are_read_for_the_system_that_wrote_them(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    kind: dict[str, Any] = {"system": "toy", "kind": "model", "config": to_dict(CONFIG)}
    save_model(path, Toy(5).state_dict(), extra={"disclaimer": "beware", "names": list("abcde")}, **kind)
    model = load_embedder(toy_system(), tmp_path, on_corrupt="salvage")
    assert (model.disclaimer, model.identity_names, model.source) == (
        "beware",
        tuple("abcde"),
        "model.safetensors",
    )
    assert model.config.data.resample and model.config.data.corrupt_audio == "salvage"
    assert load_embedder(toy_system(), path, resample=None).config == CONFIG
    with pytest.raises(CheckpointError, match="expected 'other'"):
        load_embedder(toy_system("other"), path)
    (tmp_path / "ckp.pth").write_bytes(b"")
    with pytest.raises(CheckpointError, match="no published checkpoint"):
        load_embedder(toy_system(), tmp_path / "ckp.pth")


def test_initial_weights_of_other_identities_leave_the_classifier_random(tmp_path: Path, caplog: Any) -> None:
    path = tmp_path / "model.safetensors"
    stored = Toy()
    nn.init.constant_(stored.scale, 7)
    extra = {"names": ["ann", "bob"]}
    save_model(path, stored.state_dict(), system="toy", kind="model", config={}, extra=extra)

    def start(num_identities: int, names: list[str], **options: Any) -> Toy:
        model = Toy(num_identities)
        load_initial_weights(
            model,
            path,
            system="toy",
            read_published=refuse_published,
            identity_names=names,
            classifier_keys=["cls.weight"],
            **options,
        )
        return model

    same = start(2, ["ann", "bob"])
    assert same.scale == 7 and torch.equal(same.cls.weight, stored.cls.weight)
    assert "re-initialised" not in caplog.text
    with caplog.at_level(logging.WARNING):
        for model in (start(2, ["bob", "ann"]), start(3, ["ann", "bob", "cid"])):
            assert model.scale == 7 and not torch.equal(model.cls.weight[:2], stored.cls.weight)
    assert caplog.text.count("the classifier is re-initialised") == 2
    assert start(2, ["ann", "bob"], excluded_keys=["sc*"]).scale == 2


def test_demo_step_is_resumed_and_done_once(tmp_path: Path) -> None:
    calls = []

    def train(what: str, out: Path, *, resume: bool) -> Path:
        calls.append((what, resume))
        out.mkdir(exist_ok=True)
        (out / ("model.safetensors" if resume else "state")).touch()
        return out

    for _ in range(3):  # stopped, finished, nothing to do
        assert train_if_needed(train, tmp_path / "run", "model") == tmp_path / "run"
    assert calls == [("model", False), ("model", True)]


def test_lists_have_the_name_of_their_split() -> None:
    assert rename_for_split(TEST_LISTS, "test") == list(TEST_LISTS)
    assert rename_for_split(["match_g_v2f_2_test", "reterival_v2f_test"], "val") == [
        "match_g_v2f_2_val",
        "reterival_v2f_val",
    ]
    assert rename_for_split(["match_v2f_10_unseen"], "train") == ["match_v2f_10_unseen"]


def test_files_are_found_once_in_the_order_of_the_paths(tmp_path: Path) -> None:
    for name in ("v0.wav", "v1.wav", "f0.jpg", "f1.jpg", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "z.wav").symlink_to(tmp_path / "v0.wav")
    voices, faces = find_files([tmp_path / "v1.wav", tmp_path])
    assert [path.name for path in voices] == ["v1.wav", "v0.wav", "z.wav"]
    assert [path.name for path in faces] == ["f0.jpg", "f1.jpg"]


def test_masks_of_spectrograms_need_a_system_that_applies_them() -> None:
    class Plain(Trainer[Any, Any]):
        spec = SimpleNamespace(name="plain")  # type: ignore[assignment]

        def list_identities(self) -> list[str]:
            return []

    class Masking(Plain):
        masks_spectrograms = True

    augmentation = AugmentationConfig.model_validate({"voice": {"spec_augment": {}}})
    masked = SimpleNamespace(data=SimpleNamespace(augmentation=augmentation))
    with pytest.raises(ValueError, match=r"spec_augment: the training step of .* does not mask"):
        Plain(masked, None)
    Masking(masked, None)
    for other in ({"voice": {"noise": {}}}, {"face": {"blur": {}}}):
        augmentation = AugmentationConfig.model_validate(other)
        Plain(SimpleNamespace(data=SimpleNamespace(augmentation=augmentation)), None)
    Plain(SimpleNamespace(data=SimpleNamespace(augmentation=None)), None)
