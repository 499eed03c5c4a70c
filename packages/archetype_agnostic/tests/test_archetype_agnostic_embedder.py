"""Front end and files of trained models: resizing, identity weights, compact and published checkpoints."""

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
from voiceface.checkpoints.native import load_model, save_model
from voiceface.checkpoints.published import CheckpointError
from voiceface.runtime.config import load_config
from voiceface.testing.contracts.subject import SystemUnderTest


def test_images_are_stretched_and_not_padded(embedder: Embedder) -> None:
    """An image with every column doubled gives exactly the embedding of the original."""
    square = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    wide = np.repeat(square, 2, axis=1)
    assert torch.equal(embedder.embed_faces(wide), embedder.embed_faces(square))


def test_checkpoint_holds_the_refreshed_identity_weights(trained: Path) -> None:
    state = load_model(trained / "model.safetensors").state
    assert state["eqm.weight"].shape == (10,) and not torch.equal(state["eqm.weight"], torch.ones(10))


def test_export_halves_the_checkpoint_and_keeps_the_embeddings(
    embedder: Embedder, trained: Path, utterances: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "small.safetensors"
    assert main(["export", str(trained), "--out", str(path)]) == 0
    assert path.stat().st_size < 0.7 * (trained / "model.safetensors").stat().st_size
    half, full = archetype_agnostic.load(path).embed_voices(utterances), embedder.embed_voices(utterances)
    assert float(torch.nn.functional.cosine_similarity(half, full).min()) > 0.999


def test_checkpoint_without_identity_weights_is_refused(trained: Path, tmp_path: Path) -> None:
    loaded, path = load_model(trained / "model.safetensors"), tmp_path / "part.safetensors"
    part = {key: value for key, value in loaded.state.items() if not key.startswith("eqm.")}
    save_model(path, part, system="archetype_agnostic", kind="model", config=loaded.config)
    with pytest.raises(CheckpointError, match=r"no identity weights eqm\.weight"):
        archetype_agnostic.load(path)


def test_published_checkpoint_of_ir152_is_loaded(system: SystemUnderTest, tmp_path: Path) -> None:
    path = tmp_path / "ckp.pth.tar"
    expected = system.write_published(path, "ir152")
    loaded = archetype_agnostic.load(path)
    path.unlink()  # hundreds of megabytes
    assert loaded.embedding_dim == 128 and loaded.identity_names is None
    assert loaded.config.data.sample_scale == "native" and loaded.config.evaluation.tie_breaking == "first"
    state = loaded.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in expected.items())


def test_small_networks_are_not_taken_for_published_ones(tmp_path: Path) -> None:
    """Strides leave no trace in a state dict, so that other networks would be built with the wrong ones."""
    path = tmp_path / "ckp.pth.tar"
    config = load_config("quick", ArchetypeAgnosticConfig, "archetype_agnostic").model
    with pytest.raises(ValueError, match="does not state strides"):
        save_checkpoint(path, Aasm(config, 3), 1)
    assert not path.exists()
    face = config.face.model_copy(update={"stem_stride": 1})
    plain = config.model_copy(update={"face": face, "voice": VoiceConfig()})
    save_checkpoint(path, Aasm(plain, 3), 1)
    with pytest.raises(CheckpointError, match=r"ckp\.pth\.tar do not fit Aasm"):
        archetype_agnostic.load(path)
