"""What training reads: a data folder that is encoded first, held-out people, measures of validation."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from feature_sets import make_features, write_published_csv
from fop import training_data
from fop.config import FopConfig
from fop.train import main
from fop.validation import FeatureValidation, expected_matching_accuracy, measure
from voiceface.association.data import load_split
from voiceface.checkpoints.native import load_model
from voiceface.commandline.dispatch import run_main
from voiceface.datasets.trials.trial_list import TrialList
from voiceface.embeddings.table import EmbeddingTable
from voiceface.encoders.interface import EncoderError
from voiceface.runtime.config import load_config
from voiceface.testing.runs import read_log_without_clock, use_one_thread, write_small_population


def load(*overrides: str) -> FopConfig:
    return load_config("main", FopConfig, "fop", overrides)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A small population, and the settings of encoders that look features of its files up in tables."""
    use_one_thread()
    root = tmp_path_factory.mktemp("data")
    data = write_small_population(root / "population", train=8, val=4, test=3)
    rng = np.random.default_rng(0)
    items: dict[str, list[str]] = {"voices": [], "faces": []}
    for split in ("train", "val", "test"):
        corpus = load_split(data, split)
        items["voices"] += [str(corpus.voice_path(item)) for item in corpus.voices]
        items["faces"] += [str(corpus.face_path(item)) for item in corpus.faces]
    settings = []
    for name, dim in (("voices", 6), ("faces", 9)):
        table = EmbeddingTable(
            items[name], rng.standard_normal((len(items[name]), dim)).astype(np.float32), "tables"
        )
        table.save(root / f"{name}.npz")
        settings.append(f"data.{name[:-1]}_encoder=table:{root / name}.npz")
    return data, [*settings, "training.batch_size=8", "training.epochs=2", "training.log_interval=1"]


def test_data_folder_is_encoded_and_its_validation_list_used(
    encoded: tuple[Path, list[str]], tmp_path: Path
) -> None:
    data, settings = encoded
    out = tmp_path / "run"
    arguments = ["--cfg", "main", "--data", str(data), "--out", str(out), "--device", "cpu"]
    assert main([*arguments, *settings]) == 0
    loaded = load_model(out / "model.safetensors")
    assert len(loaded.extra["names"]) == 8 and "synthetic population" in loaded.extra["disclaimer"]
    assert loaded.config["model"]["voice_dim"] == 6 and loaded.config["model"]["face_dim"] == 9
    assert [row["step"] for row in read_log_without_clock(out) if "val/matching_accuracy" in row]
    assert loaded.extra["impostor_scores"]["num_identities"] == 4


def test_people_of_a_data_folder_without_a_face_are_left_out(
    encoded: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(encoded[0], tmp_path / "data")
    person = load_split(data, "train").records[2]
    for item in person.faces:
        (data / "faces" / item).unlink()
    tables = []
    for name in ("voice", "face"):
        table = EmbeddingTable.load(encoded[0].parent / f"{name}s.npz")
        items = [item.replace(str(encoded[0]), str(data)) for item in table.items]
        EmbeddingTable(items, table.vectors, "tables").save(tmp_path / f"{name}.npz")
        tables.append(f"data.{name}_encoder=table:{tmp_path / name}.npz")
    found = training_data.load_encoded_data(load(*tables), data, tmp_path / "cache")
    assert len(found.dataset.people) == 7 and person.identity.name not in found.dataset.identities
    assert "1 of 8 training people left out: no voice or no face" in capsys.readouterr().err


def test_missing_encoder_is_told_before_anything_is_written(
    encoded: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--cfg", "main", "--data", str(encoded[0]), "--out", str(tmp_path / "run")]
    assert run_main("fop.train", [*arguments, "data.voice_encoder=no_such_encoder"]) == 1
    assert "no_such_encoder" in capsys.readouterr().err
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_folder_with_files_is_refused_before_encoding(
    encoded: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    arguments = ["--cfg", "main", "--data", str(encoded[0]), "--out", str(tmp_path)]
    assert run_main("fop.train", [*arguments, "data.voice_encoder=no_such_encoder"]) == 1
    assert "is not empty (notes.txt)" in capsys.readouterr().err


def test_people_are_held_out_by_seed() -> None:
    features = make_features(people=20)
    rest, held = training_data.hold_out_people(features, 0.2, seed=1)
    assert len(held.people) == 4 and len(rest.people) == 16
    assert not set(held.identities) & set(rest.identities)
    again = training_data.hold_out_people(features, 0.2, seed=1)[1]
    other = training_data.hold_out_people(features, 0.2, seed=2)[1]
    assert again.identities == held.identities != other.identities
    with pytest.raises(ValueError, match="3 people with voice and face"):
        training_data.hold_out_people(make_features(people=3), 0.2, seed=1)


@pytest.mark.parametrize(
    ("splits", "overrides", "training", "validating", "people"),
    [
        (("train", "val", "test"), (), 4, 4, "validation"),
        (("train", "val", "test"), ("training.best_checkpoint=test",), 4, 4, "test"),
        ((), ("data.validation_share=0.25",), 9, 3, "validation"),
        (("train",), (), 10, 2, "validation"),
    ],
)
def test_who_trains_and_who_chooses(
    splits: tuple[str, ...], overrides: tuple[str, ...], training: int, validating: int, people: str
) -> None:
    data = training_data.load_feature_data(load(*overrides), make_features(people=12, splits=splits))
    validation: Any = data.validation
    assert len(data.dataset.people) == training
    assert len(validation.features.people) == validating and validation.people == people
    assert not set(data.dataset.identities) & set(validation.features.identities)


def test_features_of_other_splits_are_not_trained_on() -> None:
    with pytest.raises(EncoderError, match=r"no identity is in the split 'train' \(found: test, val\)"):
        training_data.load_feature_data(load(), make_features(people=6, splits=("val", "test")))


def test_people_of_one_modality_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    features = make_features(people=8)
    seen = features.face_identities != 0
    features = replace(
        features,
        faces=features.faces[seen],
        face_identities=features.face_identities[seen],
        face_files=tuple(np.array(features.face_files)[seen].tolist()),
    )
    data = training_data.load_feature_data(load("data.validation_share=0.25"), features)
    names = {*data.dataset.identities, *data.validation.features.identities}  # type: ignore[attr-defined]
    assert len(names) == 7 and "person000" not in names
    assert "1 of 8 training people left out" in capsys.readouterr().err


def test_features_for_validation_are_of_other_people_and_the_same_encoders() -> None:
    everybody = make_features(people=12, splits=("train", "val", "test"))
    data = training_data.load_feature_data(load(), everybody.split("train"), everybody)
    assert data.validation.features.identities == everybody.split("val").identities  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="4 of 4 people are trained on, such as person000"):
        training_data.load_feature_data(load(), everybody, everybody.split("train"))
    other = make_features(people=12, voice_dim=5, splits=("val",))
    with pytest.raises(ValueError, match=r"voice features of length 5 by voices of tests, expected .* 12"):
        training_data.load_feature_data(load(), everybody, other)
    info = replace(everybody.face_encoder, name="others", fingerprint="g")
    with pytest.raises(ValueError, match="face features of length 20 by others"):
        training_data.load_feature_data(load(), everybody, replace(everybody, face_encoder=info))


def test_encoders_that_nothing_states_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    everybody = make_features(people=12, splits=("train", "val"))
    training_data.load_feature_data(load(), everybody, everybody)
    assert "states" not in capsys.readouterr().err
    unstated = replace(everybody.face_encoder, name="table:faces.npz", fingerprint="")
    training_data.load_feature_data(load(), everybody, replace(everybody, face_encoder=unstated))
    assert "nothing states the encoder of faces; their lengths" in capsys.readouterr().err
    named = replace(everybody.voice_encoder, name="others", fingerprint="")
    with pytest.raises(ValueError, match="voice features of length 12 by others"):
        training_data.load_feature_data(load(), everybody, replace(everybody, voice_encoder=named))


def test_published_files_become_features(tmp_path: Path) -> None:
    original = make_features(people=3, voices=2, faces=4)
    features = training_data.read_features(write_published_csv(original, tmp_path))
    assert features.identities == ("0", "1", "2")
    assert np.allclose(features.faces, original.faces, rtol=1e-4)
    assert features.voice_files[1] == "voices.csv#2"
    assert np.array_equal(features.face_identities, original.face_identities)
    with pytest.raises(ValueError, match="3 paths"):
        training_data.read_features([tmp_path] * 3)


def test_expected_accuracy_is_that_of_all_pairs_of_candidates() -> None:
    rng = np.random.default_rng(3)
    scores = torch.from_numpy(rng.integers(0, 4, (6, 9)).astype(np.float32))
    same = torch.from_numpy(rng.random((6, 9)) < 0.3)
    same[0] = False  # a probe without a target
    values = []
    for row in range(6):
        targets, others = scores[row][same[row]].tolist(), scores[row][~same[row]].tolist()
        pairs = [(t > o) + 0.5 * (t == o) for t in targets for o in others]
        values += [sum(pairs) / len(pairs)] if pairs else []
    assert expected_matching_accuracy(scores, same) == pytest.approx(np.mean(values))
    with pytest.raises(ValueError, match="matching needs a probe"):
        expected_matching_accuracy(scores[:1], same[:1])


def test_measures_of_perfect_and_of_constant_embeddings() -> None:
    features = make_features(people=4, voices=2, faces=3)
    owners = (features.voice_identities, features.face_identities)
    perfect = [torch.eye(4)[torch.from_numpy(rows)] for rows in owners]
    validation = FeatureValidation(features)
    assert measure(*perfect, validation, "cosine", eer=True) == {"matching_accuracy": 1.0, "eer": 0.0}
    constant = torch.ones(8, 4), torch.ones(12, 4)
    found = measure(*constant, validation, "euclidean", eer=True)
    assert found == pytest.approx({"matching_accuracy": 0.5, "eer": 0.5})


def test_trial_list_is_used_where_there_is_one() -> None:
    features = make_features(people=3, voices=1, faces=1)
    trials = TrialList(
        "match_v2f_2_val",
        "match",
        "v2f",
        "U",
        features.voice_files,
        features.face_files,
        np.array([0, 1]),
        np.array([[0, 1], [1, 2]]),
        None,
    )
    voices, faces = torch.eye(3), torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]])
    found = measure(voices, faces, FeatureValidation(features, trials), "cosine")
    assert found == {"matching_accuracy": 0.5}, "a tie is a miss"
