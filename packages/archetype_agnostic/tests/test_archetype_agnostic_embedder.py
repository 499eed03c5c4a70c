"""The three-line API: load, embed, score."""

from importlib import resources
from pathlib import Path

import archetype_agnostic
import numpy as np
import pytest
import torch
from archetype_agnostic.__main__ import main
from archetype_agnostic.config import ArchetypeAgnosticConfig
from archetype_agnostic.model import Aasm
from archetype_agnostic.model_config import VoiceConfig
from archetype_agnostic.published import save_checkpoint
from voiceface.association.embedder import Embedder
from voiceface.audio.loading import load_audio
from voiceface.checkpoints.native import load_model, save_model
from voiceface.checkpoints.published import CheckpointError
from voiceface.images.loading import load_image
from voiceface.runtime.config import load_config


@pytest.fixture(scope="module")
def model(trained: Path) -> Embedder:
    return archetype_agnostic.load(trained)


@pytest.fixture(scope="module")
def voices(people: Path) -> list[Path]:
    return sorted((people / "wav").rglob("*.wav"))[:5]


@pytest.fixture(scope="module")
def faces(people: Path) -> list[Path]:
    return sorted((people / "faces").rglob("*.jpg"))[:4]


def test_a_run_folder_and_its_file_are_the_same_model(trained: Path, model: Embedder) -> None:
    file = archetype_agnostic.load(trained / "model.safetensors")
    assert isinstance(file, archetype_agnostic.Embedder)
    assert file.fingerprint == model.fingerprint
    assert model.identity_names is not None and len(model.identity_names) == 10
    assert model.embedding_dim == 16 and "rained on a synthetic population" in model.disclaimer
    assert not model.model.training


def test_voices_and_faces_meet_in_one_space(model: Embedder, voices: list[Path], faces: list[Path]) -> None:
    scores = model.score(model.embed_voices(voices), model.embed_faces(faces))
    assert scores.shape == (5, 4) and scores.dtype == torch.float32
    assert float(scores.abs().max()) <= 1 + 1e-6 and float(scores.std()) > 0


def test_paths_and_arrays_are_one_and_the_same(
    model: Embedder, voices: list[Path], faces: list[Path]
) -> None:
    waves = [load_audio(path, scale="int16") for path in voices[:2]]
    assert torch.equal(model.embed_voices(voices[:2]), model.embed_voices(waves))
    pictures = [load_image(path) for path in faces[:2]]
    assert torch.equal(model.embed_faces(faces[:2]), model.embed_faces(pictures))


def test_pictures_are_squeezed_and_not_padded(model: Embedder) -> None:
    """A picture twice as wide as high gives what its squeezed form gives (here exactly: pairs of columns)."""
    square = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    wide = np.repeat(square, 2, axis=1)
    assert torch.equal(model.embed_faces(wide), model.embed_faces(square))


def test_the_refreshed_identity_weights_are_in_the_file(trained: Path) -> None:
    state = load_model(trained / "model.safetensors").state
    assert state["eqm.weight"].shape == (10,) and not torch.equal(state["eqm.weight"], torch.ones(10))


@pytest.mark.parametrize(
    "words", [["data.resize_mode=letterbox"], ["data.channels=rgb"], ["data.sample_scale=native"]]
)
def test_the_fingerprint_covers_the_front_end(tiny: tuple[str, ...], words: list[str]) -> None:
    def embedder(*more: str) -> Embedder:
        config = load_config("main", ArchetypeAgnosticConfig, "archetype_agnostic", [*tiny, *more])
        torch.manual_seed(0)
        return Embedder(Aasm(config.model, 4), config)

    assert embedder().fingerprint == embedder().fingerprint
    assert embedder().fingerprint != embedder(*words).fingerprint


def test_bundled_weights_are_half_as_large_and_nearly_the_same(
    model: Embedder, trained: Path, voices: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "small.safetensors"
    assert main(["export", str(trained), "--out", str(path)]) == 0
    assert path.stat().st_size < 0.7 * (trained / "model.safetensors").stat().st_size
    half, full = archetype_agnostic.load(path).embed_voices(voices), model.embed_voices(voices)
    assert float(torch.nn.functional.cosine_similarity(half, full).min()) > 0.999


def test_without_a_name_the_bundled_weights_are_read_or_missed_clearly() -> None:
    if (resources.files("archetype_agnostic") / "weights" / "population.safetensors").is_file():
        assert "a synthetic population" in archetype_agnostic.load().disclaimer
    else:
        with pytest.raises(CheckpointError, match="brings no weights: name a weights file"):
            archetype_agnostic.load()


def test_files_that_are_no_model_are_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weights at .*absent.*archetype_agnostic train"):
        archetype_agnostic.load(tmp_path / "absent")
    loaded = load_model(trained / "model.safetensors")
    how = {"kind": "model", "config": loaded.config}
    save_model(tmp_path / "other.safetensors", loaded.state, system="sf2f", **how)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"found 'sf2f', expected 'archetype_agnostic'"):
        archetype_agnostic.load(tmp_path / "other.safetensors")
    part = {key: value for key, value in loaded.state.items() if not key.startswith("eqm.")}
    save_model(tmp_path / "part.safetensors", part, system="archetype_agnostic", **how)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"no identity weights eqm\.weight"):
        archetype_agnostic.load(tmp_path / "part.safetensors")


@pytest.mark.parametrize("arch", ["ir50", "ir152"])
def test_published_checkpoints_of_full_size_are_read(
    tmp_path: Path, arch: str, voices: list[Path], faces: list[Path]
) -> None:
    config = load_config(
        "published", ArchetypeAgnosticConfig, "archetype_agnostic", [f"model.face.arch={arch}"]
    )
    torch.manual_seed(0)
    model = Aasm(config.model, 3)
    save_checkpoint(tmp_path / "ckp.pth.tar", model, 1)
    loaded = archetype_agnostic.load(tmp_path / "ckp.pth.tar")
    assert loaded.embedding_dim == 128 and loaded.identity_names is None
    assert loaded.config.data.sample_scale == "native" and loaded.config.evaluation.tie_breaking == "first"
    (tmp_path / "ckp.pth.tar").unlink()
    state = loaded.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    if arch == "ir50":
        scores = loaded.score(loaded.embed_voices(voices[:1]), loaded.embed_faces(faces[:1]))
        assert torch.isfinite(scores).all()


def test_small_networks_are_not_taken_for_published_ones(tmp_path: Path) -> None:
    """Strides leave no trace in a state dict: other networks would be read as what they are not."""
    config = load_config("quick", ArchetypeAgnosticConfig, "archetype_agnostic").model
    with pytest.raises(ValueError, match="does not say the strides"):
        save_checkpoint(tmp_path / "ckp.pth.tar", Aasm(config, 3), 1)
    assert not (tmp_path / "ckp.pth.tar").exists()
    face = config.face.model_copy(update={"stem_stride": 1})
    plain = config.model_copy(update={"face": face, "voice": VoiceConfig()})
    save_checkpoint(tmp_path / "ckp.pth.tar", Aasm(plain, 3), 1)
    with pytest.raises(CheckpointError, match=r"ckp\.pth\.tar do not fit Aasm"):
        archetype_agnostic.load(tmp_path / "ckp.pth.tar")
