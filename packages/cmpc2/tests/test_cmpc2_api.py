"""Python interface: names and calls of the published package, and the model with its front ends."""

from pathlib import Path

import cmpc2
import numpy as np
import pytest
import torch
from cmpc2.model_config import ModelConfig
from cmpc2.published import PUBLISHED_MODELS
from numpy.typing import NDArray
from PIL import Image
from voiceface.audio.loading import write_wav
from voiceface.checkpoints.published import CheckpointError
from voiceface.images.loading import ImageError
from voiceface.testing.contracts.subject import SystemUnderTest

PUBLISHED = (
    "load",
    "audio_preprocess",
    "visual_preprocess",
    "load_voice",
    "getKNearestSamples",
    "FV_Wrapper",
)
PUBLISHED += ("load_model", "MFCC", "get_fbank")


@pytest.fixture
def files(tmp_path: Path, speech: NDArray[np.int16]) -> tuple[Path, Path]:
    write_wav(tmp_path / "a.wav", speech)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    return tmp_path / "a.wav", tmp_path / "a.jpg"


def test_published_names_exist() -> None:
    for name in PUBLISHED:
        assert callable(getattr(cmpc2, name)), name
    assert set(PUBLISHED) < set(cmpc2.__all__) and cmpc2.__version__
    with pytest.raises(AttributeError, match="encode"):
        cmpc2.encode  # noqa: B018


def test_code_for_the_published_package_runs_unchanged(
    files: tuple[Path, Path], tmp_path: Path, system: SystemUnderTest
) -> None:
    system.write_published(tmp_path / "model_best_256.pth.tar")
    # as in the published example
    model = cmpc2.load(str(tmp_path / "model_best_256.pth.tar"))
    model.eval()
    audio = cmpc2.audio_preprocess()(str(files[0])).unsqueeze(0)
    frame = cmpc2.visual_preprocess(256)(Image.open(files[1])).unsqueeze(0)
    with torch.no_grad():
        audio_emb, frame_emb = model(audio, frame)
    assert audio.shape == (1, 1, 64, 800) and frame.shape == (1, 3, 256, 256)
    assert audio_emb.shape == frame_emb.shape == (1, 16)
    assert torch.equal(model.voice_subnet(audio), audio_emb) and torch.equal(
        model.face_subnet(frame), frame_emb
    )


def test_models_are_in_evaluation_mode_unless_asked_otherwise(
    tmp_path: Path, system: SystemUnderTest
) -> None:
    system.write_published(tmp_path / "m.pth.tar")
    assert not cmpc2.load(tmp_path / "m.pth.tar").training
    assert cmpc2.load(tmp_path / "m.pth.tar", mode="train").training
    with pytest.raises(ValueError, match="eval or train"):
        cmpc2.load(tmp_path / "m.pth.tar", mode="test")  # type: ignore[arg-type]


def test_front_ends_follow_the_name_of_a_published_file(tmp_path: Path, system: SystemUnderTest) -> None:
    for name, (side, front_end) in {
        "checkpoint_CMPC.pth.tar": (224, "decibels"),
        "checkpoint_CID.pth.tar": (224, "decibels"),
        "model_best_256.pth.tar": (256, "sphinx"),
        "mine.pth.tar": (224, "decibels"),
    }.items():
        system.write_published(tmp_path / name)
        model = cmpc2.load(tmp_path / name)
        assert (model.config.face.image_size, model.voice_frontend.frontend) == (side, front_end), name
    model = cmpc2.load(tmp_path / "mine.pth.tar", image_size=96, frontend="sphinx")
    assert (model.config.face.image_size, model.voice_frontend.frontend) == (96, "sphinx")


def test_single_modalities_batches_and_files(
    files: tuple[Path, Path], tmp_path: Path, system: SystemUnderTest
) -> None:
    system.write_published(tmp_path / "m.pth.tar")
    model = cmpc2.load(tmp_path / "m.pth.tar", image_size=32)
    bands, images = torch.randn(3, 1, 64, 90), torch.rand(2, 3, 32, 32)
    assert torch.equal(model.encode_voice(bands), model.voice_subnet(bands))
    assert torch.equal(model.encode_voice(bands[0]), model.voice_subnet(bands[:1]))
    assert torch.equal(model.encode_face(images), model.face_subnet(images))
    voice, face = files
    one, several = model.encode_voice(voice), model.encode_voice([str(voice), voice])
    assert one.shape == (1, 16) and torch.allclose(several, one.expand(2, -1), atol=1e-5)
    image = Image.open(face)
    faces = model.encode_face([face, image, np.asarray(image)])
    assert torch.allclose(faces, model.encode_face(str(face)).expand(3, -1), atol=1e-5)
    scores = model.score(several, faces)
    assert scores.shape == (2, 3) and bool(((scores >= 0) & (scores <= 1 + 1e-6)).all())
    cosine = torch.nn.functional.cosine_similarity(several[0], faces[0], dim=0)
    assert scores[0, 0].item() == pytest.approx(cosine.item(), abs=1e-6)


def test_gradients_reach_the_images() -> None:
    """VoiceStyle follows the face embedding's gradient into its generator."""
    model = cmpc2.FV_Wrapper(config=None).eval()
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.encode_face(image).sum(), image)
    assert float(gradient.abs().sum()) > 0


def test_utterances_of_different_lengths_are_encoded_in_order(
    tmp_path: Path, speech: NDArray[np.int16], system: SystemUnderTest
) -> None:
    system.write_published(tmp_path / "m.pth.tar")
    model = cmpc2.load(tmp_path / "m.pth.tar", image_size=32, frontend="sphinx")
    long = np.tile(speech, 8)
    paths = [tmp_path / f"{name}.wav" for name in "abc"]
    for path, waveform in zip(paths, (speech, long, speech)):
        write_wav(path, waveform)
    together = model.encode_voice(paths)
    apart = torch.cat([model.encode_voice(path) for path in paths])
    assert torch.allclose(together, apart, atol=1e-5) and torch.equal(together[0], together[2])
    assert not torch.allclose(together[0], together[1])


def test_invalid_shapes_and_files_are_refused(tmp_path: Path) -> None:
    model = cmpc2.FV_Wrapper()
    with pytest.raises(ValueError, match=r"\(B, 1, 64, \*\), found \(1, 1, 40, 90\)"):
        model.encode_voice(torch.zeros(1, 1, 40, 90))
    with pytest.raises(ValueError, match=r"images: expected shape \(B, 3"):
        model.encode_face(torch.zeros(1, 9, 9))
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError):
        model.encode_face(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="path of torchvision"):
        cmpc2.FV_Wrapper(pretrain=True)


def test_projection_has_no_effect_as_published() -> None:
    model = cmpc2.FV_Wrapper(False, 512, 128, True, test_only=True).eval()
    assert model(torch.zeros(1, 1, 64, 20), torch.zeros(1, 3, 32, 32))[0].shape == (1, 512)


def test_load_model_copies_exactly_and_returns_the_model(tmp_path: Path, system: SystemUnderTest) -> None:
    state = system.write_published(tmp_path / "m.pth.tar", prefix="module.")
    model = cmpc2.load(tmp_path / "m.pth.tar")
    for value in model.parameters():
        torch.nn.init.zeros_(value)
    assert cmpc2.load_model(model, tmp_path / "m.pth.tar") is model
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    with pytest.raises(CheckpointError, match="mismatched"):
        cmpc2.load_model(cmpc2.FV_Wrapper(), tmp_path / "m.pth.tar")


def test_single_branch_of_a_checkpoint_is_loaded(tmp_path: Path, system: SystemUnderTest) -> None:
    from cmpc2.embedder import load_branch
    from cmpc2.resnet import ResNet

    state = system.write_published(tmp_path / "m.pth.tar")
    branch = ResNet("resnet34", 1, 16, (4, 8, 8, 16), (1, 1, 1, 1))
    load_branch(branch, tmp_path / "m.pth.tar", "voice_subnet")
    assert torch.equal(branch.conv1.weight, state["voice_subnet.conv1.weight"])


def test_imagenet_weights_initialise_both_branches_except_the_first_convolution(tmp_path: Path) -> None:
    import torchvision

    reference = torchvision.models.resnet18()
    torch.save(reference.state_dict(), tmp_path / "resnet.pth")
    branch = {"arch": "resnet18"}
    config = ModelConfig.model_validate({"voice": branch, "face": branch})
    model = cmpc2.FV_Wrapper(pretrain=tmp_path / "resnet.pth", config=config)
    for branch in (model.voice_subnet, model.face_subnet):
        assert torch.equal(branch.layer4[1].conv2.weight, reference.layer4[1].conv2.weight)
    assert not torch.equal(model.face_subnet.conv1.weight, reference.conv1.weight)


def test_available_models_are_the_bundled_one_and_known_files() -> None:
    assert cmpc2.available_models() == ["population", *PUBLISHED_MODELS]
    with pytest.raises(CheckpointError, match=r"checkpoint_CMPC\.pth\.tar"):
        cmpc2.load("CMPC")


def test_bundled_model_is_the_same_by_both_loaders(files: tuple[Path, Path]) -> None:
    embedder, model = cmpc2.load_embedder(), cmpc2.load("population")
    voices = torch.from_numpy(embedder.load_voice(files[0])[None])  # whole, as the published function
    assert torch.allclose(model.encode_voice(files[0]), embedder.encode_voices(voices), atol=1e-5)
    assert torch.allclose(model.encode_face(files[1]), embedder.embed_faces(files[1]), atol=1e-5)


def test_options_of_published_models_change_the_fingerprint(tmp_path: Path, system: SystemUnderTest) -> None:
    system.write_published(tmp_path / "m.pth.tar")
    small, large = (cmpc2.load_embedder(tmp_path / "m.pth.tar", image_size=size) for size in (32, 48))
    assert small.fingerprint != large.fingerprint
