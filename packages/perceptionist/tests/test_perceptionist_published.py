"""Published files: round trips, with and without duplicate keys, and rejected files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from perceptionist import published, published_networks
from perceptionist.face_network import Classifier, Discriminator, FaceNetwork
from perceptionist.generator import Generator
from perceptionist.image_to_3d import ImageTo3D
from perceptionist.network_config import (
    PUBLISHED_STAGES,
    FaceNetworkConfig,
    GeneratorConfig,
    ImageTo3DConfig,
    RefinerConfig,
    SupervisedHeadConfig,
    VoiceNetworkConfig,
)
from perceptionist.published import ExpertArchive
from perceptionist.refiners import ForwardDirection, ReverseDirection
from perceptionist.supervised_head import SupervisedHead
from perceptionist.voice_network import VoiceNetwork
from published_files import save_expert, save_network, save_student
from torch import nn
from voiceface.checkpoints.published import CheckpointError

THIN = tuple(
    stage.model_copy(update={"channels": 2 + number, "expansion": 1 if number == 0 else 2})
    for number, stage in enumerate(PUBLISHED_STAGES)
)
STUDENT = ImageTo3DConfig(stem=2, stages=THIN, num_features=12, shape=5, expression=3, texture=4)
REFINER = RefinerConfig(
    point_channels=(5, 6), global_channels=(6, 7, 8), refine_channels=(9, 8, 7), num_features=12
)
NETWORKS = {
    "voice_network": VoiceNetwork(VoiceNetworkConfig(n_mels=5, channels=(6, 7), embedding_dim=4)),
    "generator": Generator(GeneratorConfig(embedding_dim=4, channels=(6, 5), image_channels=3)),
    "face_network": FaceNetwork(FaceNetworkConfig(channels=(4, 5), embedding_dim=6)),
    "discriminator": Discriminator(6),
    "classifier": Classifier(6, 9),
    "supervised_head": SupervisedHead(SupervisedHeadConfig(embedding_dim=4, shape=5, expression=3)),
}


def same(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


def expert() -> ExpertArchive:
    arrays = {
        name: np.random.default_rng(0).normal(size=(6, 1)).astype(np.float32)
        for name in published.FACE_MODEL_ARRAYS
    }
    return ExpertArchive(ImageTo3D(STUDENT), arrays, ForwardDirection(REFINER), ReverseDirection(REFINER))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_round_trips_with_its_sizes(name: str, tmp_path: Path) -> None:
    network, path = NETWORKS[name], tmp_path / "x.pth"
    save_network(path, network)
    result = getattr(published, f"load_{name}")(path)
    assert type(result) is type(network) and same(result, network) and not result.training
    if hasattr(network, "config"):
        assert result.config == network.config


@pytest.mark.parametrize("copies", [False, True])
def test_students_round_trip_with_and_without_duplicates(copies: bool, tmp_path: Path) -> None:
    student, path = ImageTo3D(STUDENT), tmp_path / "image3D_48000.pth"
    save_student(path, student, copies=copies)
    keys = set(torch.load(path, weights_only=True))
    assert all(key.startswith("backbone.") for key in keys)
    assert ("backbone.features_first.8.conv.3.weight" in keys) is copies
    assert ("backbone.features_second.9.conv.3.weight" in keys) is copies
    assert "backbone.features_first.9.conv.3.weight" not in keys
    result = published.load_student(path)
    assert same(result, student) and result.config == STUDENT


def test_published_sizes_are_read_off_the_shapes() -> None:
    with torch.device("meta"):
        student = ImageTo3D()
    assert published_networks.infer_image_to_3d_config(student.state_dict()) == ImageTo3DConfig()
    none = {key: v for key, v in student.state_dict().items() if "texture" not in key}
    assert published_networks.infer_image_to_3d_config(none).texture == 0


def test_a_file_with_the_second_names_alone_is_read(tmp_path: Path) -> None:
    student = ImageTo3D(STUDENT)
    save_student(tmp_path / "a.pth", student, copies=True)
    state = torch.load(tmp_path / "a.pth", weights_only=True)
    torch.save({k: v for k, v in state.items() if ".features." not in k}, tmp_path / "b.pth")
    assert same(published.load_student(tmp_path / "b.pth"), student)


def test_duplicates_that_differ_are_refused(tmp_path: Path) -> None:
    save_student(tmp_path / "a.pth", ImageTo3D(STUDENT), copies=True)
    state = torch.load(tmp_path / "a.pth", weights_only=True)
    state["backbone.features_first.3.conv.2.weight"] = state["backbone.features_first.3.conv.2.weight"] + 1
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth.*features_first\.3\.conv\.2\.weight"):
        published.load_student(tmp_path / "a.pth")


@pytest.mark.parametrize("copies", [False, True])
def test_the_expert_archive_round_trips(copies: bool, tmp_path: Path) -> None:
    full, path = expert(), tmp_path / "2D-to-3D-pretrained.tar"
    save_expert(path, full, copies=copies)
    content = torch.load(path, weights_only=True)
    assert list(content) == ["state_dict"]
    assert all(key.startswith("module.") for key in content["state_dict"])
    assert "module.IGM.backbone.features.0.0.weight" in content["state_dict"]
    result = published.load_expert(path)
    assert same(result.network, full.network) and result.network.config == STUDENT
    assert result.arrays.keys() == full.arrays.keys()
    assert all(np.array_equal(result.arrays[key], full.arrays[key]) for key in result.arrays)
    assert same(result.forward_direction, full.forward_direction)
    assert same(result.reverse_direction, full.reverse_direction)


def test_an_archive_without_extras_and_with_mixed_prefixes(tmp_path: Path) -> None:
    network = ImageTo3D(STUDENT)
    save_expert(tmp_path / "a.tar", ExpertArchive(network, {}, None, None))
    state = torch.load(tmp_path / "a.tar", weights_only=True)["state_dict"]
    torch.save({"state_dict": state | {"epoch": torch.zeros(1)}}, tmp_path / "a.tar")
    result = published.load_expert(tmp_path / "a.tar")
    assert same(result.network, network) and result.arrays == {} and result.forward_direction is None


def test_errors_for_files_of_another_kind_name_the_likely_kind(tmp_path: Path) -> None:
    save_network(tmp_path / "head.pth", NETWORKS["supervised_head"])
    save_network(tmp_path / "g.pth", NETWORKS["generator"])
    save_network(tmp_path / "c.pth", NETWORKS["classifier"])
    save_student(tmp_path / "s.pth", ImageTo3D(STUDENT))
    for load, name, words in (
        (published.load_generator, "head.pth", "not a generator.*looks like a supervised head"),
        (
            published.load_supervised_head,
            "g.pth",
            r"not a supervised head.*model\.0\.weight \(4, 6, 4, 4\)",
        ),
        (published.load_voice_network, "g.pth", "not a voice network"),
        (published.load_face_network, "g.pth", "not a face network"),
        (published.load_generator, "s.pth", "not a generator"),
        (published.load_student, "g.pth", "not an image-to-3D network"),
        (published.load_expert, "g.pth", "(not an|no) expert archive"),
        (published.load_discriminator, "c.pth", "not a discriminator"),
    ):
        with pytest.raises(CheckpointError, match=words) as caught:
            load(tmp_path / name)
        assert name in str(caught.value)


@pytest.mark.parametrize("name", NETWORKS)
def test_missing_unknown_and_misshapen_tensors_are_refused(name: str, tmp_path: Path) -> None:
    state, path = NETWORKS[name].state_dict(), tmp_path / "x.pth"
    load = getattr(published, f"load_{name}")
    for key in state:
        for changed in (
            {k: v for k, v in state.items() if k != key},
            state | {key: state[key][..., None]},
            state | {key: torch.zeros(0)},
            state | {"surplus": torch.zeros(2)},
        ):
            torch.save(changed, path)
            with pytest.raises(CheckpointError, match=r"x\.pth"):
                load(path)


def test_corrupt_students_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    state = {f"backbone.{k}": v for k, v in ImageTo3D(STUDENT).state_dict().items()}
    keys = ["features.0.0.weight", "features.5.conv.0.0.weight", "features.18.0.weight"]
    keys.append("classifier_shape.1.weight")
    for key in keys:
        key = f"backbone.{key}"
        for changed in (
            {k: v for k, v in state.items() if k != key},
            state | {key: torch.zeros(())},
            state | {key: state[key][:, :-1] if state[key].shape[1] > 1 else state[key][:-1]},
            {k: v for k, v in state.items() if "features.18" not in k},
        ):
            torch.save(changed, path)
            with pytest.raises(CheckpointError, match=r"x\.pth"):
                published.load_student(path)


def test_code_in_a_file_is_not_executed_and_missing_files_are_named(tmp_path: Path) -> None:
    torch.save({"state_dict": Path}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="refused"):
        published.load_generator(tmp_path / "bad.pth")
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        published.load_generator(tmp_path / "absent.pth")
    with pytest.raises(FileNotFoundError, match=r"voice network.*voice_embedding\.pth"):
        published.find_checkpoint(tmp_path, "voice network")
    (tmp_path / "generator_48000.pth").touch()
    assert published.find_checkpoint(tmp_path, "generator").name == "generator_48000.pth"
