"""The truth of a written population, and the observers that figures are held against."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from voiceface.datasets.corpus import open_corpus
from voiceface.datasets.trials.sampling import draw_all
from voiceface.evaluation.all_pairs import all_pairs_figures, score_matrix
from voiceface.evaluation.evaluator import evaluate
from voiceface.evaluation.protocol import Protocol
from voiceface.report.association_report import association_report
from voiceface.synthetic.ground_truth import Truth, TruthError, oracle_vectors, read_truth, reference_tables
from voiceface.synthetic.identities import draw_people
from voiceface.synthetic.layout import settings_of
from voiceface.synthetic.writer import write_population


def truth_of(rho: float, count: int = 200) -> Truth:
    people = draw_people(np.arange(count), rho=rho)
    return Truth(tuple(people.names), people.sex, people.v, people.g, people.c, {"share_sex": True})


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("truth") / "population"
    settings = settings_of("tiny", clips=2, clip_seconds=0.6, pictures=2, picture_side=32, rho=0.9)
    return write_population(root, settings, workers=1, progress=False)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.7, 1.0])
def test_oracle_vectors_rank_as_the_likelihood_ratio_does(rho):
    truth = truth_of(rho)
    by_cosine = all_pairs_figures(score_matrix(*oracle_vectors(truth)), truth.sex)
    by_ratio = all_pairs_figures(truth.scores, truth.sex)
    for name, (value, _) in by_ratio.items():
        assert by_cosine[name][0] == pytest.approx(value, abs=2e-3), name


def test_oracle_vectors_ignore_the_sex_where_it_is_not_shared():
    truth = replace(truth_of(0.7), settings={"share_sex": False})
    voices, faces = oracle_vectors(truth)
    order = np.argsort(truth.scores[5])
    assert np.array_equal(np.argsort(score_matrix(voices, faces)[5]), order)


def test_truth_is_what_the_population_was_made_of(population):
    truth = read_truth(population)
    made = draw_people([309, 0], rho=0.9)
    rows = truth.of(made.names)
    assert np.allclose(rows.v, made.v, atol=1e-8) and np.allclose(rows.g, made.g, atol=1e-8)
    assert np.array_equal(rows.sex, made.sex) and np.allclose(truth.c, 0.9)


def test_references_stand_below_and_above(population):
    corpus = open_corpus(population, "test")
    lists = tuple(draw_all(corpus, seed=3))
    protocol = Protocol("tiny", lists, replicates=50)
    found = {
        name: evaluate(protocol, *tables, corpus)
        for name, tables in reference_tables(read_truth(population), corpus).items()
    }
    for name in ("match_g_v2f_2_test", "match_g_f2v_2_test", "verify_g_v2f_test"):
        assert found["sex only"].by_name[name].main.value == pytest.approx(0.5)
        assert found["oracle"].by_name[name].main.value > 0.9
    assert 0.5 < found["sex only"].by_name["match_v2f_2_test"].main.value < 1
    assert found["oracle"].by_name["reterival_v2f_test"].main.value > 0.8


def test_the_report_shows_figures_between_their_references(population, tmp_path):
    corpus = open_corpus(population, "test")
    protocol = Protocol("tiny", tuple(draw_all(corpus, seed=3)), replicates=20)
    tables = reference_tables(read_truth(population), corpus)
    found = {name: evaluate(protocol, *each, corpus) for name, each in tables.items()}
    out = association_report(
        tmp_path / "report.html",
        {"model": found["oracle"], "other": found["sex only"]},
        corpus,
        tables["oracle"],
        title="A & B",
        references=found,
        identity_weights=np.array([0.0, 0.9, 1.0]),
    )
    page = out.read_text()
    assert "A &amp; B" in page and "match_g_v2f_2_test" in page and protocol.sha256 in page
    assert page.count("<audio") + page.count("data:audio") > 0 and "data:image" in page


def test_other_people_and_damaged_truth_are_named(population, tmp_path):
    truth = read_truth(population)
    with pytest.raises(TruthError, match="Nobody_Here"):
        truth.of(["Nobody_Here"])
    with pytest.raises(FileNotFoundError, match=r"population\.json"):
        read_truth(tmp_path)
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "population.json").write_text(json.dumps({"settings": {}, "coupling": [1] * 8}))
    (tmp_path / "truth" / "identities.csv").write_text("k,name,sex\n1,A,0\n")
    with pytest.raises(TruthError, match="write the population again"):
        read_truth(tmp_path)
