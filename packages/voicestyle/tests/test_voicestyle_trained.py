"""Commands `train` and `test`, and the metrics of generated faces."""

import functools
import html
import json
import shutil
import types

import numpy as np
import pytest
import torch
from PIL import Image
from voiceface.commandline.exit_status import INCOMPLETE
from voiceface.datasets.corpus import open_corpus
from voiceface.synthetic import dataset
from voiceface.testing import runs
from voiceface.testing.corrupt_files import assert_mentions
from voicestyle.evaluation import GROUND_TRUTH, compare_metric, evaluate, identity_similarity, mean_of_others
from voicestyle.evaluation_data import alternate_genders

CMPC2 = [
    *("model.face.image_size=32", "model.face.widths=[8,8,8,8]", "model.voice.widths=[8,8,8,8]"),
    *(
        "model.embedding_dim=8",
        "data.voice.num_frames=60",
        "clustering.num_clusters=[2,3]",
        "clustering.start_step=2",
    ),
    *("clustering.interval=2", "optimiser.warm_up=2", "training.batch_size=8", "training.num_workers=0"),
    *("training.max_steps=4", "training.checkpoint_interval=2"),
]
STYLEGAN2 = [
    *("generator.size=8", "generator.channels=[4,4]", "generator.style_dim=4", "discriminator.size=8"),
    *(
        "discriminator.channels=[4,4]",
        "training.max_steps=4",
        "training.checkpoint_interval=2",
        "training.preview_images=4",
    ),
    *("training.preview_interval=4", "training.latent_avg_samples=16"),
]


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    """Eight to learn from and six others, two clips of a second and two images each."""
    return runs.write_small_population(tmp_path_factory.mktemp("data") / "population", train=8, val=2, test=6)


@pytest.fixture(scope="module")
def train(call, population):
    def run(out, *flags, stylegan2=STYLEGAN2):
        quoted = (f"training.{name}={json.dumps(list(v))}" for name, v in _settings(stylegan2))
        return call(
            *("train", "--cfg", "quick", "--data", population, "--out", out, "--device", "cpu"),
            *("--threads", "1", *flags, "training.stylegan2=quick_stylegan", *quoted),
        )

    return run


def _settings(stylegan2):
    return (("cmpc2_overrides", CMPC2), ("stylegan2_overrides", stylegan2))


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert train(out) == 0
    return out


def weights(out):
    files = ("cmpc2/model.safetensors", "cmpc2/memory.safetensors", "stylegan2/model.safetensors")
    return [(out / name).read_bytes() for name in files]


def test_generate_with_a_trained_run(trained, call, voices, faces, few, population, tmp_path, capsys):
    common = ("generate", voices / "v0.wav", "--weights", trained, "--cfg", "quick", *few)
    assert call(*common, "--bank", faces, "--out", tmp_path / "own") == 0
    assert Image.open(tmp_path / "own" / "faces" / "v0.png").size == (8, 8)
    few_prototypes = ("retrieval.num_prototypes=2", "retrieval.num_clusters=3")
    assert call(*common, *few_prototypes, "--population", "tiny", "--out", tmp_path / "population") == 0
    steps = json.loads((tmp_path / "population" / "voices" / "v0" / "retrieval.json").read_text())
    assert len(steps["prototypes"]) == 2
    capsys.readouterr()
    assert call(*common, "retrieval.num_clusters=7", "--population", "tiny", "--out", tmp_path / "c") == 1
    assert_mentions(capsys.readouterr().err, "no clustering of 7 clusters in this memory; available: 2, 3")
    assert call(*common[:2], "--weights", tmp_path / "no", "--bank", faces, "--out", tmp_path / "d") == 1
    assert_mentions(capsys.readouterr().err, "--weights: nothing at", tmp_path / "no")


def test_finished_part_is_skipped_on_resume(trained, train, tmp_path, capsys):
    import shutil

    out = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(out / "stylegan2")
    before = (out / "cmpc2" / "model.safetensors").stat().st_mtime_ns
    assert train(out, "--resume") == 0
    assert weights(out) == weights(trained)
    assert (out / "cmpc2" / "model.safetensors").stat().st_mtime_ns == before
    assert train(out) == 1
    assert_mentions(capsys.readouterr().err, "is not empty", "--resume")
    assert train(out, "--resume", stylegan2=[*STYLEGAN2, "training.seed=5"]) == 1
    assert_mentions(capsys.readouterr().err, "other settings", "stylegan2_overrides")
    assert train(tmp_path / "nothing", "--resume") == 1
    assert_mentions(capsys.readouterr().err, "nothing to resume")


def test_interrupted_run_ends_in_the_same_weights(trained, train, tmp_path, monkeypatch):
    from voicestyle import train_stylegan

    def stop(*args, **words):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train_stylegan, "train", stop)
        assert train(tmp_path / "run") not in (0, 1)
    assert (tmp_path / "run" / "cmpc2" / "model.safetensors").is_file()
    assert train(tmp_path / "run", "--resume") == 0
    assert weights(tmp_path / "run") == weights(trained)


def test_command_test_on_a_corpus(call, population, faces, few, tmp_path, capsys):
    common = ("test", "--data", population, "--bank", faces, "--cfg", "quick", "--bootstrap-samples", "20")
    assert call(*common, "--num-identities", "3", "--out", tmp_path / "out", *few) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(found["identities"]) == 3 and found["skipped"] == [] and found["in_bank"] == []
    fit = found["metrics"][0]
    assert fit["final"] - fit["initial"] == pytest.approx(fit["difference_to_initial"][0], abs=1e-6)
    assert (tmp_path / "out" / "report.html").is_file() and "--evaluation-identity" in found["notes"][0]
    assert len(list((tmp_path / "out" / "generated" / "faces").glob("*.png"))) == 3
    capsys.readouterr()
    assert call(*common, "--num-identities", "3", "--out", tmp_path / "out", *few) == 1
    assert_mentions(capsys.readouterr().err, "is not empty", "--resume")


def test_command_test_on_synthetic_identities(call, few, faces, tmp_path, monkeypatch):
    here = functools.partial(dataset.PopulationDataset, workers=1, progress=False)
    monkeypatch.setattr(dataset, "PopulationDataset", here)
    words = ("--population", "tiny", "--num-identities", "3", "--bank", faces, "--bootstrap-samples", "20")
    assert call("test", *words, "--out", tmp_path / "out", *few) == INCOMPLETE
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    names = [each["name"] for each in found["metrics"]]
    (row,) = found["unavailable"]
    assert len(names) == 3 and row["name"] == GROUND_TRUTH
    assert "two identities of each gender, found [" in row["reason"]
    assert row["reason"] in (tmp_path / "out" / "report.html").read_text()
    assert len(list((tmp_path / "out" / "clips").glob("*.wav"))) == 3


def test_unusable_files_cost_their_identities_only(call, population, faces, few, tmp_path, capsys):
    root = shutil.copytree(population, tmp_path / "population")
    corpus = open_corpus(root, "test")
    names = corpus.names
    corpus.face_path(corpus.records[0].faces[0]).write_bytes(b"no image")
    corpus.voice_path(corpus.records[1].voices[0]).write_bytes(b"no audio")
    words = ("test", "--data", root, "--bank", faces, "--cfg", "quick", "--bootstrap-samples", "20")
    assert call(*words, "--num-identities", "4", "--out", tmp_path / "out", *few) == INCOMPLETE
    printed = capsys.readouterr()
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["identities"] == names[2:4] and len(found["metrics"]) == 1
    image, voice = found["unavailable"]
    assert image["name"] == f"identity {names[0]}" and corpus.records[0].faces[0] in image["reason"]
    assert voice["name"] == f"identity {names[1]}" and corpus.records[1].voices[0] in voice["reason"]
    page = html.unescape((tmp_path / "out" / "report.html").read_text())
    for row in (image, voice):
        assert f"not computed: {row['name']}: {row['reason']}" in printed.out and row["reason"] in page
    assert f"not computed: {image['name']}" in printed.err, "before anything is generated"
    for record in corpus.records:
        corpus.face_path(record.faces[0]).write_bytes(b"no image")
    assert call(*words, "--num-identities", "4", "--out", tmp_path / "none", *few) == 1
    assert_mentions(capsys.readouterr().err, "none of 4 identities can be used")


def test_a_metric_that_fails_costs_no_other():
    def fail(images):
        raise ValueError("the network accepts no such image")

    encoder = types.SimpleNamespace(features=fail)
    images = np.zeros((3, 8, 8, 3), np.uint8)
    fit = (np.array([0.3, 0.2, 0.1]), np.zeros(3), np.zeros(3))
    found = evaluate(
        list("abc"), images, images, [images[:1]] * 3, fit, identity_encoder=encoder, replicates=20
    )
    assert [each.final for each in found.metrics] == [pytest.approx(0.2)]
    (row,) = found.unavailable
    assert row.name.startswith("identity similarity") and row.reason == "the network accepts no such image"
    assert (
        found.to_dict()["unavailable"] == [row.to_dict()] and f"not computed: {row}" in found.format_table()
    )


def test_compare_metric_by_hand():
    final, start, others = np.array([3.0, 5, 4]), np.array([1.0, 2, 6]), np.array([0.0, np.nan, 1])
    found = compare_metric("x", final, start, others, replicates=50)
    assert (found.final, found.initial, found.others) == (4, 3, 0.5)
    assert found.difference_to_initial[0] == pytest.approx(1) and found.difference_to_others[
        0
    ] == pytest.approx(3)
    lonely = compare_metric("x", final[:1], start[:1], others[1:2])
    assert np.isnan(lonely.others) and np.isnan(lonely.difference_to_initial).all()


def test_mean_of_others_by_hand():
    table = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    assert mean_of_others(table).tolist() == [5.5, 5, 4.5]
    found = mean_of_others(table, np.array(["f", "m", "f"]))
    assert found[[0, 2]].tolist() == [7, 3] and np.isnan(found[1])


class MeanColourEncoder:
    """Tells images apart by their colour."""

    def features(self, images):
        return torch.nn.functional.normalize(images.mean((2, 3)), dim=1)


def test_true_identity_is_most_similar():
    generated = torch.eye(3).view(3, 3, 1, 1).expand(3, 3, 4, 4)
    real = [generated[k : k + 1].expand(2, -1, -1, -1) for k in (1, 0, 2)]
    found = identity_similarity(generated, real, MeanColourEncoder())
    assert found.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_evaluate_prefers_the_true_faces():
    rng = np.random.default_rng(0)
    real = [rng.integers(0, 256, (1, 1, 1, 3), np.uint8).repeat(4, 1).repeat(4, 2) for _ in range(6)]
    final, start = np.concatenate(real), np.concatenate(real[1:] + real[:1])
    fit = np.ones(6), np.zeros(6), np.zeros(6)
    found = evaluate(
        list("abcdef"),
        final,
        start,
        real,
        fit,
        identity_encoder=MeanColourEncoder(),
        identity_encoder_name="colour",
        replicates=50,
    )
    seen = found.metrics[1]
    assert seen.final == pytest.approx(1) and seen.initial < 0.9 and seen.others < 0.9
    assert seen.difference_to_initial[1] > 0 and "colour" in found.format_table()


def test_genders_alternate():
    sexes = np.array(["m", "m", "m", "f", "m", "f"])
    assert alternate_genders(sexes, 4) == [0, 1, 3, 5]
    assert alternate_genders(sexes, 6) == [0, 1, 2, 3, 4, 5]
