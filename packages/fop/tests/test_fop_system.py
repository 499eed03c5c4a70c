"""fop as a system: features in place of files, the published distance, what is missing, the leak guard."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from feature_sets import make_features
from fop.euclidean import distances_from_cosines, lift_faces, lift_voices
from fop.feature_evaluation import corpus_of_features
from torch.nn.functional import normalize
from voiceface.encoders.interface import EncoderError
from voiceface.encoders.tables import FeatureSet
from voiceface.testing.commands import CommandRunner
from voiceface.testing.corrupt_files import assert_mentions

if TYPE_CHECKING:
    from fop.embedder import FopEmbedder

Capture = pytest.CaptureFixture[str]
LIST = "match_v2f_2_test"


@pytest.fixture(scope="session")
def features(embedder: "FopEmbedder", population: Path) -> FeatureSet:
    """Features of the test people of the population, by the encoders of the trained model."""
    from voiceface.association.data import load_split

    corpus = load_split(population, "test")
    return FeatureSet.from_corpus(corpus, embedder.voice_encoder, embedder.face_encoder, workers=0)


@pytest.fixture
def no_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder of networks."""
    monkeypatch.setenv("VOICEFACE_HOME", str(tmp_path / "empty"))


def test_cosines_of_lifted_embeddings_are_distances() -> None:
    generator = torch.Generator().manual_seed(0)
    voices, faces = (normalize(torch.randn(rows, 7, generator=generator)).tanh() for rows in (5, 6))
    cosines = normalize(lift_voices(voices)) @ normalize(lift_faces(faces)).T
    torch.testing.assert_close(distances_from_cosines(cosines), torch.cdist(voices, faces))
    assert torch.allclose(lift_voices(voices).norm(dim=1), torch.tensor(1.5))
    with pytest.raises(ValueError, match=r"norm 1 at most, found 2\.000.*score=cosine"):
        lift_faces(2 * normalize(faces))


def test_score_of_the_configuration_ranks_by_distance(embedder: "FopEmbedder", features: FeatureSet) -> None:
    euclidean = type(embedder)(
        embedder.model,
        embedder.config.model_copy(
            update={"evaluation": embedder.config.evaluation.model_copy(update={"score": "euclidean"})}
        ),
    )
    plain = [torch.from_numpy(table.vectors) for table in embedder.embed_features(features)]
    lifted = [torch.from_numpy(table.vectors) for table in euclidean.embed_features(features)]
    assert euclidean.embedding_dim == embedder.embedding_dim + 4 == lifted[0].shape[1]
    torch.testing.assert_close(
        distances_from_cosines(euclidean.score(*lifted)), torch.cdist(*plain), atol=1e-3, rtol=1e-3
    )


def test_features_give_the_results_of_their_files(
    call: CommandRunner, population: Path, trained: Path, features: FeatureSet, tmp_path: Path
) -> None:
    features.save(tmp_path / "features")
    words = ["test", "--weights", trained, "--generate-lists", "3", "--list", LIST]
    sources = {
        "files": ["--data", population],
        "alone": ["--features", tmp_path / "features"],
        "both": ["--features", tmp_path / "features", "--data", population],
    }
    found = {}
    for name, source in sources.items():
        assert call(*words, *source, "--out", tmp_path / name) == 0
        (entry,) = json.loads((tmp_path / name / "results.json").read_text())["lists"]
        found[name] = entry["metrics"]["accuracy"]["value"]
    assert found["files"] == found["alone"] == found["both"]
    assert "oracle upper bound" in (tmp_path / "both" / "report.html").read_text()
    assert "data:audio" not in (tmp_path / "alone" / "report.html").read_text()


def test_one_split_is_evaluated_on_features_of_several(
    call: CommandRunner, population: Path, trained: Path, embedder: "FopEmbedder", tmp_path: Path
) -> None:
    from voiceface.datasets.corpus import open_corpus

    everybody = open_corpus(population, None)
    encoders = (embedder.voice_encoder, embedder.face_encoder)
    FeatureSet.from_corpus(everybody, *encoders, workers=0).save(tmp_path / "features")
    words = ["--weights", trained, "--data", population, "--split", "val", "--generate-lists", "3"]
    assert call("test", *words, "--features", tmp_path / "features", "--out", tmp_path / "features_out") == 0
    assert call("test", *words, "--out", tmp_path / "files_out") == 0
    found, expected = (
        [entry["metrics"] for entry in json.loads((tmp_path / name / "results.json").read_text())["lists"]]
        for name in ("features_out", "files_out")
    )
    assert found == expected and len(found) > 4


def test_test_needs_data_or_features(call: CommandRunner, tmp_path: Path, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stop:
        call("test", "--out", tmp_path / "out")
    assert stop.value.code == 2
    assert_mentions(capsys.readouterr().err, "--data", "--features")
    with pytest.raises(SystemExit) as stop:
        call("test", "--features", tmp_path, "--out", tmp_path)
    assert stop.value.code == 2 and "would be replaced" in capsys.readouterr().err


def test_features_of_another_encoder_are_refused(embedder: "FopEmbedder", features: FeatureSet) -> None:
    with pytest.raises(EncoderError, match=r"trained on voice features of length 192.*length 12"):
        embedder.embed_features(make_features())
    other = replace(features, face_encoder=replace(features.face_encoder, fingerprint="other"))
    with pytest.raises(EncoderError, match=r"trained on face features.*train again"):
        embedder.embed_features(other)


@pytest.mark.usefixtures("no_networks")
def test_missing_networks_are_one_sentence(
    call: CommandRunner, utterances: list[Path], images: list[Path], tmp_path: Path, capsys: Capture
) -> None:
    from fop.system import PLUGIN
    from voiceface.suite.plugins import SystemSet

    for words in (["match", utterances[0], "--gallery", images[0]], ["demo", "--out", tmp_path / "demo"]):
        assert call(*words) == 1
        message = capsys.readouterr().err
        assert message.count("\n") == 1 and "`voiceface models get real`" in message
    assert not (tmp_path / "demo").exists()
    found = SystemSet((PLUGIN,), {}).without_unready()
    assert not found.found and "`voiceface models get real`" in found.unavailable["fop"]


@pytest.mark.usefixtures("no_networks")
def test_bundled_weights_embed_features_without_networks() -> None:
    import fop

    model = fop.load()
    assert "synthetic" in model.disclaimer and model.identity_names and len(model.identity_names) == 300
    infos = model.encoder_infos
    assert [(info.name, info.modality, info.dimension) for info in infos] == [
        ("real", "voice", 256),
        ("real", "face", 128),
    ]
    features = make_features(voice_dim=256, face_dim=128)
    voice, face = (
        replace(made, fingerprint=info.fingerprint)
        for made, info in zip((features.voice_encoder, features.face_encoder), infos)
    )
    tables = model.embed_features(replace(features, voice_encoder=voice, face_encoder=face))
    assert all(np.isfinite(table.vectors).all() for table in tables)


def test_people_whom_the_encoders_know_are_stated(
    call: CommandRunner, embedder: "FopEmbedder", features: FeatureSet, trained: Path, tmp_path: Path
) -> None:
    people = tuple(
        replace(person, name=f"Person_{row}", face_id=f"Person_{row}", voice_id=f"id1027{row}")
        for row, person in enumerate(features.people)
    )
    known = replace(features.voice_encoder, trained_on=("voxceleb1",))
    replace(features, people=people, voice_encoder=known).save(tmp_path / "voxceleb1")
    words = ["--weights", trained, "--generate-lists", "3", "--list", LIST, "--out", tmp_path / "out"]
    assert call("test", "--features", tmp_path / "voxceleb1", *words) == 0
    stated = json.loads((tmp_path / "out" / "results.json").read_text())["encoder_overlap"]
    assert stated and "It is not known on whom" in stated[0]  # the checkpoint states its own encoders
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(sentence.split(":")[0] in page for sentence in stated)
    synthetic = corpus_of_features(features, tmp_path)
    assert embedder.find_encoder_overlap(synthetic, "population") == ()
