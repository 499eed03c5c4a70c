"""The three-line API: load, embed, score."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import seeking_shape
import soundfile
import torch
from seeking_shape.config import SeekingShapeConfig
from seeking_shape.model import Voice2Face
from seeking_shape.published import save_checkpoint
from voiceface.association.embedder import Embedder
from voiceface.audio.loading import AudioError, load_audio
from voiceface.checkpoints.native import load_model, save_model
from voiceface.checkpoints.published import CheckpointError
from voiceface.images.loading import load_image
from voiceface.runtime.config import load_config


@pytest.fixture(scope="module")
def model(trained: Path) -> Embedder:
    return seeking_shape.load(trained)


@pytest.fixture(scope="module")
def voices(people: Path) -> list[Path]:
    return sorted((people / "wav").rglob("*.wav"))[:5]


@pytest.fixture(scope="module")
def faces(people: Path) -> list[Path]:
    return sorted((people / "faces").rglob("*.jpg"))[:4]


def test_a_run_folder_and_its_file_are_the_same_model(trained: Path, model: Embedder) -> None:
    file = seeking_shape.load(trained / "model.safetensors")
    assert file.fingerprint == model.fingerprint
    assert model.identity_names is not None and len(model.identity_names) == 10
    assert model.embedding_dim == 16 and model.source == "model.safetensors"
    assert "rained on a synthetic population" in model.disclaimer
    assert not model.model.training


def test_voices_and_faces_meet_in_one_space(model: Embedder, voices: list[Path], faces: list[Path]) -> None:
    scores = model.score(model.embed_voices(voices), model.embed_faces(faces))
    assert scores.shape == (5, 4) and scores.dtype == torch.float32
    assert float(scores.abs().max()) <= 1 + 1e-6 and float(scores.std()) > 0
    own = model.embed_voices(voices)
    assert torch.allclose(model.score(own, own).diagonal(), torch.ones(5), atol=1e-6)


def test_paths_text_and_arrays_are_one_and_the_same(
    model: Embedder, voices: list[Path], faces: list[Path]
) -> None:
    by_path = model.embed_voices(voices[:2])
    waves = [load_audio(path, scale="int16") for path in voices[:2]]
    pictures = [load_image(path) for path in faces[:2]]
    assert torch.equal(by_path, model.embed_voices([str(path) for path in voices[:2]]))
    assert torch.equal(by_path, model.embed_voices(waves))
    assert torch.equal(by_path, model.embed_voices(np.stack(waves)))
    assert torch.allclose(by_path[:1], model.embed_voices(waves[0]), atol=1e-5)
    assert torch.equal(model.embed_faces(faces[:2]), model.embed_faces(pictures))
    assert torch.allclose(model.embed_faces(faces[:2])[:1], model.embed_faces(pictures[0]), atol=1e-5)
    assert model.embed_voices([]).shape == (0, 16)


def test_a_wave_of_any_length_will_do(model: Embedder) -> None:
    tone = np.float32(3000 * np.sin(np.arange(40_000) / 9))
    short = model.embed_voices(tone[:5000])
    assert torch.equal(short, model.embed_voices(np.tile(tone[:5000], 4)[:16_000]))
    assert torch.equal(model.embed_voices(tone), model.embed_voices(tone[:16_000]))


def test_the_batch_does_not_matter(model: Embedder, voices: list[Path], faces: list[Path]) -> None:
    together = model.embed_voices(voices), model.embed_faces(faces)
    alone = (
        torch.cat([model.embed_voices(path) for path in voices]),
        torch.cat([model.embed_faces(path) for path in faces]),
    )
    for some, single in zip(together, alone):
        assert torch.allclose(some, single, atol=1e-5 * float(single.abs().max()))


def test_every_kind_of_picture_is_read(model: Embedder, faces: list[Path], tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.open(faces[0])
    for name, mode in (("grey.png", "L"), ("palette.png", "P"), ("alpha.png", "RGBA"), ("cmyk.jpg", "CMYK")):
        picture.convert(mode).save(tmp_path / name)
    picture.resize((90, 40)).save(tmp_path / "wide.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    embeddings = model.embed_faces(sorted(tmp_path.iterdir()))
    assert embeddings.shape == (6, 16) and torch.isfinite(embeddings).all()
    png = tmp_path / "same.png"
    picture.convert("RGB").save(png)
    assert torch.allclose(
        model.embed_faces(tmp_path / "alpha.png"), model.embed_faces(png), atol=1e-4
    )  # an opaque alpha channel says nothing


@pytest.mark.parametrize(
    "words", [["data.clip_samples=12000", "data.crop_samples=[6000,9000]"], ["data.resample=true"]]
)
def test_the_fingerprint_covers_the_front_end(tiny: tuple[str, ...], words: list[str]) -> None:
    def embedder(*more: str) -> Embedder:
        config = load_config("main", SeekingShapeConfig, "seeking_shape", [*tiny, *more])
        torch.manual_seed(0)
        return Embedder(Voice2Face(config.model, 4), config)

    assert embedder().fingerprint == embedder().fingerprint
    assert embedder().fingerprint != embedder(*words).fingerprint


def test_the_fingerprint_covers_the_weights(trained: Path, reweighted: Path) -> None:
    assert seeking_shape.load(trained).fingerprint != seeking_shape.load(reweighted).fingerprint
    strict = seeking_shape.load(trained, resample=False)
    assert strict.fingerprint != seeking_shape.load(trained).fingerprint


def test_half_precision_weights_give_nearly_the_same(
    model: Embedder, trained: Path, voices: list[Path], tmp_path: Path
) -> None:
    loaded = load_model(trained / "model.safetensors")
    path = tmp_path / "half.safetensors"
    how = {"system": "seeking_shape", "kind": "model", "config": loaded.config, "extra": loaded.extra}
    save_model(path, loaded.state, dtype=torch.float16, **how)  # type: ignore[arg-type]
    assert path.stat().st_size < 0.7 * (trained / "model.safetensors").stat().st_size
    half, full = seeking_shape.load(path).embed_voices(voices), model.embed_voices(voices)
    assert float(torch.nn.functional.cosine_similarity(half, full).min()) > 0.999


def test_files_that_are_no_model_are_refused(trained: Path, id_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weights at .*absent.*seeking_shape train"):
        seeking_shape.load(tmp_path / "absent")
    with pytest.raises(CheckpointError, match=r"found 'id_weight', expected 'model'"):
        seeking_shape.load(id_weights)
    loaded = load_model(trained / "model.safetensors")
    other = tmp_path / "other.safetensors"
    save_model(other, loaded.state, system="sf2f", kind="model", config=loaded.config)
    with pytest.raises(CheckpointError, match=r"another system: found 'sf2f', expected 'seeking_shape'"):
        seeking_shape.load(other)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes((trained / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"torn\.safetensors is truncated"):
        seeking_shape.load(torn)
    data = bytearray((trained / "model.safetensors").read_bytes())
    data[-50] ^= 1
    torn.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"torn\.safetensors is damaged"):
        seeking_shape.load(torn)


def test_a_gpu_that_is_not_there_is_told(trained: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ValueError, match="cuda"):
        seeking_shape.load(trained, device="cuda")
    with pytest.raises(ValueError, match="toaster"):
        seeking_shape.load(trained, device="toaster")


def test_sound_at_another_rate(model: Embedder, trained: Path, tmp_path: Path) -> None:
    tone = 0.3 * np.sin(np.arange(48_000) * 2 * np.pi * 300 / 48_000)
    soundfile.write(tmp_path / "high.wav", tone, 48_000)
    low = 0.3 * np.sin(np.arange(16_000) * 2 * np.pi * 300 / 16_000)
    soundfile.write(tmp_path / "ours.wav", low, 16_000)
    high, ours = model.embed_voices([tmp_path / "high.wav", tmp_path / "ours.wav"])
    assert float(torch.nn.functional.cosine_similarity(high, ours, dim=0)) > 0.95
    strict = seeking_shape.load(trained, resample=False)
    with pytest.raises(AudioError, match=r"48,?000.*16,?000"):
        strict.embed_voices(tmp_path / "high.wav")


def test_a_published_checkpoint_of_full_size_is_read(tmp_path: Path) -> None:
    config = load_config("published_main", SeekingShapeConfig, "seeking_shape")
    torch.manual_seed(0)
    model = Voice2Face(config.model, 3)
    save_checkpoint(tmp_path / "ckp.pth.tar", model, 1)
    loaded = seeking_shape.load(tmp_path / "ckp.pth.tar")
    assert loaded.embedding_dim == 128 and loaded.identity_names is None
    shutil.rmtree(tmp_path)
    state = loaded.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
