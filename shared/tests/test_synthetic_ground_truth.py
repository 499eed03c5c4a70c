"""Ground truth of a written population, and the reference observers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from voiceface.datasets.corpus import open_corpus
from voiceface.datasets.trials.sampling import generate_trial_lists
from voiceface.evaluation.all_pairs import all_pairs_metrics, score_matrix
from voiceface.evaluation.evaluator import evaluate
from voiceface.evaluation.protocol import Protocol
from voiceface.report.association_report import write_association_report
from voiceface.synthetic.ground_truth import (
    GroundTruth,
    GroundTruthError,
    oracle_embeddings,
    read_ground_truth,
    reference_embeddings,
)
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.layout import build_settings
from voiceface.synthetic.writer import write_population


def truth_of(rho: float, count: int = 200) -> GroundTruth:
    identities = sample_identities(np.arange(count), rho=rho)
    return GroundTruth(
        tuple(identities.face_names),
        identities.sex,
        identities.voice_factors,
        identities.face_factors,
        identities.coupling,
        {"share_sex": True},
    )


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("truth") / "population"
    settings = build_settings("tiny", clips=2, clip_seconds=0.6, images=2, render_size=32, rho=0.9)
    return write_population(root, settings, workers=1, progress=False)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.7, 1.0])
def test_oracle_vectors_rank_as_the_likelihood_ratio_does(rho):
    truth = truth_of(rho)
    by_cosine = all_pairs_metrics(score_matrix(*oracle_embeddings(truth)), truth.sex)
    by_ratio = all_pairs_metrics(truth.oracle_scores, truth.sex)
    for name, (value, _) in by_ratio.items():
        assert by_cosine[name][0] == pytest.approx(value, abs=2e-3), name


def test_oracle_vectors_ignore_the_sex_where_it_is_not_shared():
    truth = replace(truth_of(0.7), settings={"share_sex": False})
    voices, faces = oracle_embeddings(truth)
    order = np.argsort(truth.oracle_scores[5])
    assert np.array_equal(np.argsort(score_matrix(voices, faces)[5]), order)


def test_ground_truth_equals_the_sampled_identities(population):
    truth = read_ground_truth(population)
    sampled = sample_identities([309, 0], rho=0.9)
    selected = truth.select(sampled.face_names)
    assert np.allclose(selected.voice_factors, sampled.voice_factors, atol=1e-8)
    assert np.allclose(selected.face_factors, sampled.face_factors, atol=1e-8)
    assert np.array_equal(selected.sex, sampled.sex) and np.allclose(truth.coupling, 0.9)


def test_baseline_and_upper_bound_enclose_other_scores(population):
    corpus = open_corpus(population, "test")
    lists = tuple(generate_trial_lists(corpus, seed=3))
    protocol = Protocol("tiny", lists, replicates=50)
    results = {
        name: evaluate(protocol, *tables, corpus)
        for name, tables in reference_embeddings(read_ground_truth(population), corpus).items()
    }
    for name in ("match_g_v2f_2_test", "match_g_f2v_2_test", "verify_g_v2f_test"):
        assert results["gender-only baseline"].by_name[name].main_metric.value == pytest.approx(0.5)
        assert results["oracle upper bound"].by_name[name].main_metric.value > 0.9
    assert 0.5 < results["gender-only baseline"].by_name["match_v2f_2_test"].main_metric.value < 1
    assert results["oracle upper bound"].by_name["reterival_v2f_test"].main_metric.value > 0.8


def test_the_report_shows_metrics_with_their_references(population, tmp_path):
    corpus = open_corpus(population, "test")
    protocol = Protocol("tiny", tuple(generate_trial_lists(corpus, seed=3)), replicates=20)
    tables = reference_embeddings(read_ground_truth(population), corpus)
    results = {name: evaluate(protocol, *each, corpus) for name, each in tables.items()}
    out = write_association_report(
        tmp_path / "report.html",
        {"model": results["oracle upper bound"], "other": results["gender-only baseline"]},
        corpus,
        tables["oracle upper bound"],
        title="A & B",
        references=results,
        identity_weights=np.array([0.0, 0.9, 1.0]),
    )
    page = out.read_text()
    assert "A &amp; B" in page and "match_g_v2f_2_test" in page and protocol.sha256 in page
    assert page.count("<audio") + page.count("data:audio") > 0 and "data:image" in page


def test_unknown_identities_and_corrupt_ground_truth_are_named(population, tmp_path):
    truth = read_ground_truth(population)
    with pytest.raises(GroundTruthError, match="Nobody_Here"):
        truth.select(["Nobody_Here"])
    with pytest.raises(FileNotFoundError, match=r"population\.json"):
        read_ground_truth(tmp_path)
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "population.json").write_text(json.dumps({"settings": {}, "coupling": [1] * 8}))
    (tmp_path / "truth" / "identities.csv").write_text("k,name,sex\n1,A,0\n")
    with pytest.raises(GroundTruthError, match="write the population again"):
        read_ground_truth(tmp_path)
