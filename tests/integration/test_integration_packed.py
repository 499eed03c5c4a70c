"""A packed data folder gives every system what the folder gives; contracts train and test on it, too."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

POPULATION = {"num_identities": 6, "render_size": 32, "clip_seconds": 1.0, "clips": 2, "images": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A written population and the same in shards."""
    from voiceface.datasets.packing.plan import plan_packing
    from voiceface.datasets.packing.writing import write_packed
    from voiceface.synthetic.writer import write_population

    out = tmp_path_factory.mktemp("data")
    options = {"workers": 1, "lists": False, "progress": False}
    plain = write_population(out / "plain", "tiny", **options, **POPULATION)
    write_packed(plan_packing(plain, shard_bytes=200_000), out / "packed", progress=False)
    return plain, out / "packed"


def run(package: str, *words: object) -> int:
    return import_module(f"{package}.__main__").main([str(word) for word in words])


def test_meshes_of_perceptionist(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for folder in folders:
        words = ("--data", folder, "--split", "train", "--utterances", "1", "--out", tmp_path / folder.name)
        assert run("perceptionist", "test", *words) == 0
    meshes = sorted((tmp_path / "plain").rglob("*.obj"))
    assert meshes
    for path in meshes:
        other = tmp_path / "packed" / path.relative_to(tmp_path / "plain")
        assert other.read_bytes() == path.read_bytes()


def test_training_data_of_perceptionist_and_sf2f(folders: tuple[Path, Path]) -> None:
    from perceptionist.dataset.open import load_dataset
    from perceptionist.face_models.io import resolve_face_model
    from sf2f.data import open_speakers

    plain, packed = (open_speakers(folder, "train", workers=1, progress=False) for folder in folders)
    assert plain.names == packed.names
    for one, other in zip(plain.utterances, packed.utterances, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    plain, packed = (load_dataset(folder, "train", resolve_face_model()) for folder in folders)
    for one, other in zip(plain.utterances.items, packed.utterances.items, strict=True):
        assert np.array_equal(one, other)


def test_evaluation_data_of_voicestyle(folders: tuple[Path, Path]) -> None:
    from voicestyle.evaluation_data import build_corpus_evaluation_set

    plain, packed = (build_corpus_evaluation_set(folder, "train", 2) for folder in folders)
    assert not packed.unavailable
    for one, other in zip(plain.true_images, packed.true_images, strict=True):
        assert np.array_equal(one, other)


def test_features_of_encoders(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for folder in folders:
        words = ("--data", folder, "--voice-encoder", "cmpc2", "--face-encoder", "cmpc2", "--workers", "1")
        assert run("voiceface", "encode", *words, "--out", tmp_path / folder.name) == 0
    for name in ("voices.npz", "faces.npz"):
        assert (tmp_path / "packed" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
