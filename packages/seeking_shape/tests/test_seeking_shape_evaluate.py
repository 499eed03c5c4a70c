"""`seeking_shape test`: lists, figures, references and files."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seeking_shape import load
from voiceface.association.config import TEST_LISTS
from voiceface.association.data import load_split, load_trial_lists
from voiceface.association.embedder import Embedder
from voiceface.association.evaluation import evaluate
from voiceface.embeddings.table import EmbeddingTable
from voiceface.metrics.matching import matching_accuracy

Call = Callable[..., int]


@pytest.fixture(scope="module")
def evaluated(
    call: Call, population: Path, final_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Results folder of the ten lists, drawn."""
    out = tmp_path_factory.mktemp("results") / "test"
    words = [
        "--data",
        population,
        "--weights",
        final_run,
        "--out",
        out,
        "--generate-lists",
        "3",
        "--workers",
        "1",
    ]
    assert call("test", *words) == 0
    return out


def test_all_ten_lists_are_evaluated_and_written(evaluated: Path, population: Path) -> None:
    result = json.loads((evaluated / "results.json").read_text())
    lists = {entry["name"]: entry for entry in result["lists"]}
    assert list(lists) == list(TEST_LISTS)
    text = (evaluated / "results.txt").read_text()
    assert all(name in text for name in TEST_LISTS)
    page = (evaluated / "report.html").read_text()
    assert "a synthetic population" in page and "oracle upper bound" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]+\.(?:js|css|png|jpg|wav)"', page)
    assert set(json.loads((evaluated / "all_pairs.json").read_text())) == {"single", "avg2"}


def test_metric_of_a_list_is_the_fraction_of_correct_trials(evaluated: Path, population: Path) -> None:
    corpus = load_split(population, "test")
    (questions,) = load_trial_lists(population, ["match_v2f_2_test"], corpus, generation_seed=3)
    voices, faces = (EmbeddingTable.load(evaluated / f"{name}.npz") for name in ("voices", "faces"))
    hits = []
    for anchor, (right, wrong) in zip(questions.probe_index, questions.gallery_index):
        rows = faces.row_indices([questions.gallery[right], questions.gallery[wrong]])
        voice, pair = voices.vectors[voices.row_indices([questions.probes[anchor]])[0]], faces.vectors[rows]
        first, second = (pair / np.linalg.norm(pair, axis=1, keepdims=True)) @ voice
        hits.append(float(first > second))
    result = json.loads((evaluated / "results.json").read_text())
    entry = next(entry for entry in result["lists"] if entry["name"] == "match_v2f_2_test")
    assert entry["metrics"]["accuracy"]["value"] == pytest.approx(np.mean(hits))
    assert entry["metrics"]["accuracy"]["chance"] == 0.5


def test_upper_bound_and_gender_baseline_have_their_theoretical_values(
    population: Path, final_run: Path
) -> None:
    corpus, model = load_split(population, "test"), load(final_run)
    lists = load_trial_lists(population, TEST_LISTS, corpus, generation_seed=3)
    result = evaluate(model, corpus, lists, workers=1, population=population)

    def figure(system: str, name: str) -> float:
        results = result.references[system]
        entry = next(entry for entry in results.lists if entry.trial_list.name == name)
        return next(iter(entry.metrics.values())).value

    for way in ("v2f", "f2v"):
        assert figure("gender-only baseline", f"match_g_{way}_2_test") == 0.5
        assert (
            figure("oracle upper bound", f"match_{way}_2_test") == 1
        )  # everything is shared in this population
        assert figure("oracle upper bound", f"match_g_{way}_2_test") == 1
    single = result.all_pairs["single"]
    assert single["g_v2f"].upper_bound == 1 and single["g_v2f"].gender_baseline == 0.5
    assert single["u_v2f"].gender_baseline > 0.5


def test_embeddings_of_gender_alone_are_at_chance_level_within_a_gender(
    population: Path, final_run: Path
) -> None:
    corpus, model = load_split(population, "test"), load(final_run)
    sex = {
        name: record.identity.gender for record in corpus.records for name in (*record.voices, *record.faces)
    }
    lists = load_trial_lists(population, TEST_LISTS, corpus, generation_seed=3)

    class BySex(Embedder):
        def modality_io(self, modality: str, corpus: Any) -> Any:
            place = corpus.voice_path if modality == "v" else corpus.face_path
            root = corpus.voice_root if modality == "v" else corpus.face_root

            def read(path: Path) -> np.ndarray:
                return np.float32([1, 0] if sex[path.relative_to(root).as_posix()] == "m" else [0, 1])

            return read, lambda batch: batch.float(), 4, place

    result = evaluate(BySex(model.model, model.config), corpus, lists, workers=1, population=population)
    values = {
        entry.trial_list.name: next(iter(entry.metrics.values())).value for entry in result.results.lists
    }
    assert [values[name] for name in TEST_LISTS if "_g_" in name] == [0.5] * 4
    assert values["match_v2f_2_test"] > 0.5
    assert result.all_pairs["single"]["g_v2f"].value == 0.5 == result.all_pairs["single"]["auc_g"].value


def test_second_evaluation_encodes_nothing_again(
    call: Call, evaluated: Path, population: Path, final_run: Path, monkeypatch: Any
) -> None:
    before = {name: (evaluated / name).read_bytes() for name in ("results.json", "voices.npz", "faces.npz")}
    monkeypatch.setattr(Embedder, "encode_voices", lambda *_: pytest.fail("a voice was encoded again"))
    words = [
        "--data",
        population,
        "--weights",
        final_run,
        "--out",
        evaluated,
        "--generate-lists",
        "3",
        "--workers",
        "1",
    ]
    assert call("test", *words) == 0
    assert before == {name: (evaluated / name).read_bytes() for name in before}


def test_tie_breaking_is_an_option(call: Call, population: Path, final_run: Path, tmp_path: Path) -> None:
    words = [
        "--data",
        population,
        "--weights",
        final_run,
        "--list",
        "match_v2f_2_test",
        "--generate-lists",
        "3",
    ]
    assert call("test", *words, "--out", tmp_path, "--tie-breaking", "first") == 0
    assert '"first"' in (tmp_path / "results.json").read_text()
    constant = torch.zeros(6, 2)
    assert float(matching_accuracy(constant, tie_breaking="expected")) == 0.5


def test_other_splits_have_their_own_lists(
    call: Call, population: Path, final_run: Path, tmp_path: Path
) -> None:
    words = [
        "--data",
        population,
        "--weights",
        final_run,
        "--split",
        "val",
        "--generate-lists",
        "3",
        "--out",
        tmp_path,
    ]
    assert call("test", *words, "--workers", "1") == 0
    result = json.loads((tmp_path / "results.json").read_text())
    names = [entry["name"] for entry in result["lists"]]
    assert "reterival_v2f_val" in names and all(name.endswith("_val") for name in names)


def test_lists_with_missing_files_are_refused_or_shortened(
    call: Call, population: Path, final_run: Path, tmp_path: Path, capsys: Any
) -> None:
    corpus = load_split(population, "test")
    (questions,) = load_trial_lists(population, ["match_v2f_2_test"], corpus, generation_seed=3)
    data = tmp_path / "population"
    shutil.copytree(population, data)
    missing = questions.gallery[0]
    lines = int((questions.gallery_index == 0).any(axis=1).sum())
    (data / "list_wav").mkdir(exist_ok=True)
    from voiceface.datasets.trials.reading import write_trial_list

    write_trial_list(data / "list_wav" / "match_v2f_2_test.txt", questions)
    (data / "faces" / missing).unlink()
    words = ["--data", data, "--weights", final_run, "--out", tmp_path / "out", "--list", "match_v2f_2_test"]
    assert call("test", *words) == 1
    message = capsys.readouterr().err
    assert "match_v2f_2_test" in message and missing in message and "--missing skip" in message
    assert call("test", *words, "--missing", "skip") == 0
    entry = json.loads((tmp_path / "out" / "results.json").read_text())["lists"][0]
    assert entry["counts"]["skipped"] == lines > 0
