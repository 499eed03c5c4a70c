"""`voiceface weights` names every published file that a system reads, from layouts of the published sizes."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from voiceface.checkpoints.published import CheckpointError
from voiceface.checkpoints.published_kinds import PUBLISHED_KINDS, flatten_tensors, identify
from voiceface.commands.weights import main

State = Mapping[str, Any]


def prefixed(prefix: str, state: State) -> dict[str, Any]:
    return {prefix + key: value for key, value in state.items()}


def without_memory(build: Callable[[], dict[str, State]]) -> Callable[[], dict[str, State]]:
    """Build on the meta device: names and shapes, no values."""

    def on_meta() -> dict[str, State]:
        with torch.device("meta"):
            return build()

    return on_meta


def association_files() -> dict[str, State]:
    from archetype_agnostic.model import Aasm
    from cmpc2.model import FV_Wrapper
    from fop.config import ModelConfig
    from fop.model import FopModel
    from seeking_shape.model import Voice2Face

    seeking, aasm = Voice2Face(num_classes=924).state_dict(), Aasm(num_classes=924).state_dict()
    voice = prefixed("__S__.", seeking_part(seeking, "V.model."))
    return {
        "seeking_shape, full model": {"start_it": 10_000, "stage": 0, "state_dict": seeking, "optimizer": {}},
        "seeking_shape, identity weights": {"center.weight": seeking["center.weight"]},
        "archetype_agnostic, full model": {"state_dict": aasm},
        "cmpc2 (CMPC), full model": {"epoch": 128, "model": FV_Wrapper().state_dict(), "optimizer": {}},
        "cmpc2 (CMPC), prototype memory of the training videos": {
            "centroids": [torch.empty(500, 512)],
            "inst2cluster": [torch.empty(18_057)],
            "density": [torch.empty(500)],
        },
        "fop, full model": {
            "epoch": 49,
            "state_dict": FopModel(ModelConfig(voice_dim=512, face_dim=4096), 64).state_dict(),
        },
        "face backbone IR of face.evoLVe": seeking_part(seeking, "F.model."),
        "voice backbone thin ResNet of voxceleb_trainer": voice,
    }


def seeking_part(state: State, prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


@without_memory
def generating_files() -> dict[str, State]:
    from perceptionist.face_network import FaceNetwork
    from perceptionist.generator import Generator
    from perceptionist.image_to_3d import ImageTo3D
    from perceptionist.supervised_head import SupervisedHead
    from perceptionist.voice_network import VoiceNetwork
    from sf2f.generator import EncoderDecoder
    from voicestyle.stylegan2.generator import Generator as StyleGenerator

    image_to_3d, stylegan = ImageTo3D().state_dict(), StyleGenerator().state_dict()
    expert = prefixed("module.IGM.backbone.", image_to_3d) | {"module.w_shp": torch.empty(159_645, 40)}
    voice = VoiceNetwork().state_dict()
    return {
        "voice network of voice2face and perceptionist": voice,
        "generator of voice2face and perceptionist": Generator().state_dict(),
        "face embedding of perceptionist": FaceNetwork().state_dict(),
        "perceptionist, supervised head": SupervisedHead().state_dict(),
        "perceptionist, student (image to 3-D)": prefixed("backbone.", image_to_3d),
        "perceptionist, expert with its face model (SynergyNet)": {"state_dict": expert},
        "sf2f, checkpoint of the published trainer": {
            **{"args": {"epochs": 90}, "options": {}, "model_kwargs": {}},
            **{"model_state": EncoderDecoder().state_dict(), "optim_state": {"state": {0: torch.empty(3)}}},
        },
        "StyleGAN2, checkpoint of the published trainer (g_ema is used)": {
            **{"g": stylegan, "d": {"final_conv.0.weight": torch.empty(1)}, "g_ema": stylegan},
            **{"g_optim": {"state": {}}, "latent_avg": torch.empty(512)},
        },
        "StyleGAN2, generator": stylegan,
    }


@without_memory
def evaluation_files() -> dict[str, State]:
    from voiceface.models.facenet import InceptionResNet
    from voiceface.models.iresnet import IR
    from voiceface.models.vggface2_resnet import CaffeResNet

    models = torchvision.models
    inception = models.inception_v3(weights=None, init_weights=False, num_classes=1008, aux_logits=False)
    return {
        "FaceNet (Inception-ResNet v1)": InceptionResNet(num_classes=8631).state_dict(),
        "ResNet-50 classifier of VGGFace2": CaffeResNet().state_dict(),
        "Inception graph of 2015": inception.state_dict(),
        "IR-SE face network (ArcFace)": IR((3, 4, 14, 3), squeeze_excitation=True).state_dict(),
        "AlexNet of torchvision": models.alexnet(weights=None).state_dict(),
        "VGG of torchvision": models.vgg16(weights=None).state_dict(),
        "SqueezeNet of torchvision": models.squeezenet1_1(weights=None).state_dict(),
        "ResNet of torchvision (ImageNet)": models.resnet34(weights=None).state_dict(),
        "CLIP ViT of open_clip": {
            "token_embedding.weight": torch.empty(49408, 512),
            "visual.conv1.weight": torch.empty(768, 3, 32, 32),
            "visual.transformer.resblocks.0.attn.in_proj_weight": torch.empty(2304, 768),
        },
        "linear weights of LPIPS": {"lin0.model.1.weight": torch.empty(1, 64, 1, 1)},
    }


@pytest.mark.parametrize("group", [association_files, generating_files, evaluation_files])
def test_files_of_the_published_sizes_are_named(group: Callable[[], dict[str, State]]) -> None:
    for title, content in group().items():
        kind = identify({key: tuple(value.shape) for key, value in flatten_tensors(content).items()})
        assert kind is not None and kind.title == title, f"{title}: {kind}"


def test_every_kind_is_tried_and_names_its_readers() -> None:
    tried = {*association_files(), *generating_files(), *evaluation_files()}
    parts = {"seeking_shape, face branch", "seeking_shape, voice branch"}
    assert {kind.title for kind in PUBLISHED_KINDS} - parts == tried
    assert all(kind.readers for kind in PUBLISHED_KINDS)


def save(path: Path, network: nn.Module | Mapping[str, Any]) -> Path:
    torch.save(network.state_dict() if isinstance(network, nn.Module) else network, path)
    return path


def test_files_are_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from perceptionist.generator import Generator

    style = {"style.1.weight": torch.ones(4, 4), "conv1.conv.weight": torch.ones(1, 4, 4, 3, 3)}
    classifier = {"layer1.0.conv3.weight": np.ones((2, 2, 1, 1)), b"fc.weight": np.ones((8631, 1))}
    (tmp_path / "resnet50_ft_weight.pkl").write_bytes(pickle.dumps(classifier, protocol=2))
    files = {
        save(tmp_path / "generator_48000.pth", Generator()): "generator of voice2face and perceptionist",
        save(tmp_path / "550000.pt", {"g_ema": style, "latent_avg": torch.ones(4)}): "StyleGAN2, checkpoint",
        tmp_path / "resnet50_ft_weight.pkl": "ResNet-50 classifier of VGGFace2",
    }
    for path, title in files.items():
        assert main([str(path)]) == 0
        shown = capsys.readouterr().out
        origin = "cannot be verified" if path.suffix == ".pkl" else "checksums of its archive are right"
        assert title in shown and "read by" in shown and origin in shown, shown
    assert main(["--keys", str(tmp_path / "550000.pt")]) == 0
    assert "g_ema.style.1.weight" in capsys.readouterr().out


def test_digests_in_file_names_are_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from voiceface.io.atomic import compute_sha256

    plain = save(tmp_path / "alexnet.pth", {"classifier.6.weight": torch.ones(2)})
    stated = plain.rename(tmp_path / f"alexnet-owt-{compute_sha256(plain)[:8]}.pth")
    assert main([str(stated)]) == 0
    assert "verified: the file name states" in capsys.readouterr().out
    wrong = stated.rename(tmp_path / "alexnet-owt-00000000.pth")
    assert main([str(wrong)]) == 1
    assert "its name states the digest 00000000" in capsys.readouterr().err


def test_malicious_pickles_run_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(tmp_path / "trace"), "w")

    (tmp_path / "resnet50_ft_weight.pkl").write_bytes(pickle.dumps({"fc.weight": Attack()}, protocol=2))
    assert main([str(tmp_path / "resnet50_ft_weight.pkl")]) == 1
    assert "resnet50_ft_weight.pkl" in capsys.readouterr().err and not (tmp_path / "trace").exists()


def test_endless_nesting_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    doubled: list[Any] = []
    for _ in range(40):  # 2^40 paths in 40 lists
        doubled = [doubled, doubled]
    for value in (endless, doubled):
        with pytest.raises(CheckpointError, match="nests its values without end"):
            flatten_tensors({"model": value})


def test_empty_values_are_no_tensors() -> None:
    assert flatten_tensors({"a": [], "b": {}, "c": 3, "optimizer": {"x": torch.ones(1)}}) == {}
    found: Mapping[str, Tensor] = flatten_tensors({"model": {"a": torch.ones(2)}, "list": [torch.ones(3)]})
    assert {key: len(value) for key, value in found.items()} == {"a": 2, "list.0": 3}
