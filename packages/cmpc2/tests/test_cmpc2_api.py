"""The Python interface: published names and calls, and what people expect beside them."""

from pathlib import Path
from typing import Any

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
from voiceface.testing.corrupt_files import MaliciousPickle

PUBLISHED = (
    "load",
    "audio_preprocess",
    "visual_preprocess",
    "load_voice",
    "getKNearestSamples",
    "FV_Wrapper",
)
PUBLISHED += ("load_model", "MFCC", "get_fbank")


def published_file(path: Path, model: Any = None, prefix: str = "") -> dict[str, torch.Tensor]:
    """Write a checkpoint in the published form; small widths keep it light."""
    config = {"widths": (4, 8, 8, 16), "blocks": (1, 1, 1, 1)}
    small = ModelConfig.model_validate({"voice": config, "face": config, "embedding_dim": 16})
    state = (model or cmpc2.FV_Wrapper(config=small)).state_dict()
    content = {"epoch": 128, "model": {prefix + key: v for key, v in state.items()}, "optimizer": {}}
    torch.save({**content, "train_criterion": {}}, path)
    return state


@pytest.fixture
def files(tmp_path: Path, speech: NDArray[np.int16]) -> tuple[Path, Path]:
    write_wav(tmp_path / "a.wav", speech)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    return tmp_path / "a.wav", tmp_path / "a.jpg"


def test_every_published_name_is_there() -> None:
    for name in PUBLISHED:
        assert callable(getattr(cmpc2, name)), name
    assert set(PUBLISHED) < set(cmpc2.__all__) and cmpc2.__version__
    with pytest.raises(AttributeError, match="encode"):
        cmpc2.encode  # noqa: B018


def test_code_for_the_published_package_runs_as_it_is(files: tuple[Path, Path], tmp_path: Path) -> None:
    published_file(tmp_path / "model_best_256.pth.tar")
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


def test_models_are_ready_for_use_and_the_published_mode_is_an_option(tmp_path: Path) -> None:
    published_file(tmp_path / "m.pth.tar")
    assert not cmpc2.load(tmp_path / "m.pth.tar").training
    assert cmpc2.load(tmp_path / "m.pth.tar", mode="train").training
    with pytest.raises(ValueError, match="eval or train"):
        cmpc2.load(tmp_path / "m.pth.tar", mode="test")  # type: ignore[arg-type]


def test_front_ends_follow_the_name_of_a_published_file(tmp_path: Path) -> None:
    for name, (side, front_end) in {
        "checkpoint_CMPC.pth.tar": (224, "decibels"),
        "checkpoint_CID.pth.tar": (224, "decibels"),
        "model_best_256.pth.tar": (256, "sphinx"),
        "mine.pth.tar": (224, "decibels"),
    }.items():
        published_file(tmp_path / name)
        model = cmpc2.load(tmp_path / name)
        assert (model.config.face.image_size, model.voice_frontend.frontend) == (side, front_end), name
    model = cmpc2.load(tmp_path / "mine.pth.tar", image_size=96, frontend="sphinx")
    assert (model.config.face.image_size, model.voice_frontend.frontend) == (96, "sphinx")


def test_one_side_alone_batches_and_files(files: tuple[Path, Path], tmp_path: Path) -> None:
    published_file(tmp_path / "m.pth.tar")
    model = cmpc2.load(tmp_path / "m.pth.tar", image_size=32)
    bands, pictures = torch.randn(3, 1, 64, 90), torch.rand(2, 3, 32, 32)
    assert torch.equal(model.encode_voice(bands), model.voice_subnet(bands))
    assert torch.equal(model.encode_voice(bands[0]), model.voice_subnet(bands[:1]))
    assert torch.equal(model.encode_face(pictures), model.face_subnet(pictures))
    voice, face = files
    one, several = model.encode_voice(voice), model.encode_voice([str(voice), voice])
    assert one.shape == (1, 16) and torch.allclose(several, one.expand(2, -1), atol=1e-5)
    picture = Image.open(face)
    faces = model.encode_face([face, picture, np.asarray(picture)])
    assert torch.allclose(faces, model.encode_face(str(face)).expand(3, -1), atol=1e-5)
    scores = model.score(several, faces)
    assert scores.shape == (2, 3) and bool(((scores >= 0) & (scores <= 1 + 1e-6)).all())
    cosine = torch.nn.functional.cosine_similarity(several[0], faces[0], dim=0)
    assert scores[0, 0].item() == pytest.approx(cosine.item(), abs=1e-6)


def test_gradients_reach_features_and_pictures() -> None:
    """VoiceStyle follows the face embedding's gradient into its generator."""
    model = cmpc2.FV_Wrapper(config=None).eval()
    picture = torch.rand(1, 3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.encode_face(picture).sum(), picture)
    assert float(gradient.abs().sum()) > 0


def test_recordings_of_different_lengths_are_encoded_in_order(
    tmp_path: Path, speech: NDArray[np.int16]
) -> None:
    published_file(tmp_path / "m.pth.tar")
    model = cmpc2.load(tmp_path / "m.pth.tar", image_size=32, frontend="sphinx")
    long = np.tile(speech, 8)
    paths = [tmp_path / f"{name}.wav" for name in "abc"]
    for path, wave in zip(paths, (speech, long, speech)):
        write_wav(path, wave)
    together = model.encode_voice(paths)
    apart = torch.cat([model.encode_voice(path) for path in paths])
    assert torch.allclose(together, apart, atol=1e-5) and torch.equal(together[0], together[2])
    assert not torch.allclose(together[0], together[1])


def test_wrong_shapes_and_files_are_told(tmp_path: Path) -> None:
    model = cmpc2.FV_Wrapper()
    with pytest.raises(ValueError, match=r"\(B, 1, 64, \*\), found \(1, 1, 40, 90\)"):
        model.encode_voice(torch.zeros(1, 1, 40, 90))
    with pytest.raises(ValueError, match=r"pictures: expected shape \(B, 3"):
        model.encode_face(torch.zeros(1, 9, 9))
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError):
        model.encode_face(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="path of torchvision"):
        cmpc2.FV_Wrapper(pretrain=True)


def test_the_projection_has_no_effect_as_published() -> None:
    model = cmpc2.FV_Wrapper(False, 512, 128, True, test_only=True).eval()
    assert model(torch.zeros(1, 1, 64, 20), torch.zeros(1, 3, 32, 32))[0].shape == (1, 512)


def test_load_model_copies_exactly_and_gives_the_model(tmp_path: Path) -> None:
    state = published_file(tmp_path / "m.pth.tar", prefix="module.")
    model = cmpc2.load(tmp_path / "m.pth.tar")
    for value in model.parameters():
        torch.nn.init.zeros_(value)
    assert cmpc2.load_model(model, tmp_path / "m.pth.tar") is model
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    with pytest.raises(CheckpointError, match="mismatched"):
        cmpc2.load_model(cmpc2.FV_Wrapper(), tmp_path / "m.pth.tar")


def test_one_branch_of_a_checkpoint(tmp_path: Path) -> None:
    from cmpc2.embedder import load_branch
    from cmpc2.resnet import ResNet

    state = published_file(tmp_path / "m.pth.tar")
    branch = ResNet("resnet34", 1, 16, (4, 8, 8, 16), (1, 1, 1, 1))
    load_branch(branch, tmp_path / "m.pth.tar", "voice_subnet")
    assert torch.equal(branch.conv1.weight, state["voice_subnet.conv1.weight"])


def test_imagenet_weights_start_both_branches_but_for_the_first_convolution(tmp_path: Path) -> None:
    import torchvision

    theirs = torchvision.models.resnet18()
    torch.save(theirs.state_dict(), tmp_path / "resnet.pth")
    branch = {"arch": "resnet18"}
    config = ModelConfig.model_validate({"voice": branch, "face": branch})
    model = cmpc2.FV_Wrapper(pretrain=tmp_path / "resnet.pth", config=config)
    for branch in (model.voice_subnet, model.face_subnet):
        assert torch.equal(branch.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)
    assert not torch.equal(model.face_subnet.conv1.weight, theirs.conv1.weight)


def test_files_that_are_no_model_are_told_and_run_nothing(tmp_path: Path) -> None:
    torch.save({"model": {"fc.weight": torch.zeros(2)}}, tmp_path / "other.pth.tar")
    with pytest.raises(CheckpointError, match="no model of CMPC"):
        cmpc2.load(tmp_path / "other.pth.tar")
    mark = tmp_path / "mark"
    torch.save({"model": MaliciousPickle(mark)}, tmp_path / "evil.pth.tar")
    with pytest.raises(CheckpointError, match="could run code"):
        cmpc2.load(tmp_path / "evil.pth.tar")
    assert not mark.exists()
    (tmp_path / "cut.pth.tar").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(CheckpointError, match="damaged"):
        cmpc2.load(tmp_path / "cut.pth.tar")
    with pytest.raises(CheckpointError, match="no weights at"):
        cmpc2.load(tmp_path / "absent.pth.tar")


def test_available_models_are_the_bundled_one_and_known_files() -> None:
    assert cmpc2.available_models() == ["population", *PUBLISHED_MODELS]
    with pytest.raises(CheckpointError, match=r"checkpoint_CMPC\.pth\.tar"):
        cmpc2.load("CMPC")


def test_the_bundled_model_says_what_it_is_not(files: tuple[Path, Path]) -> None:
    found = cmpc2.load_embedder()
    assert "a synthetic population" in found.disclaimer and found.identity_names
    voices, faces = found.embed_voices([files[0], files[0]]), found.embed_faces(files[1])
    assert voices.shape == (2, found.embedding_dim) and faces.shape == (1, found.embedding_dim)
    model = cmpc2.load("population")
    assert torch.allclose(model.encode_voice(files[0]), voices[:1], atol=1e-5)
    assert found.score(voices, faces).shape == (2, 1)


def test_embedders_take_samples_and_pixels(
    tmp_path: Path, speech: NDArray[np.int16], files: tuple[Path, Path]
) -> None:
    published_file(tmp_path / "m.pth.tar")
    model = cmpc2.load_embedder(tmp_path / "m.pth.tar", image_size=32)
    assert torch.allclose(model.embed_voices(speech), model.embed_voices(files[0]), atol=1e-5)
    pixels = np.asarray(Image.open(files[1]))
    assert torch.allclose(model.embed_faces(pixels), model.embed_faces([files[1]]), atol=1e-5)
    assert model.embed_faces([]).shape == (0, 16)
    other = cmpc2.load_embedder(tmp_path / "m.pth.tar", image_size=48)
    assert model.fingerprint != other.fingerprint
