"""Oracle of the population: upper bound, chance level and gender-only baseline."""

import numpy as np
import pytest
from oracle_reference import (
    COUPLINGS,
    EXPECTED_METRICS,
    GENDER_BASELINE,
    effective_coupling,
    equivalent_coupling,
    expected_metric,
    max_factor_r2,
    metrics_from_scores,
    normalized_gain,
    oracle_metrics,
    oracle_scores,
    simulate_oracle,
)
from voiceface.evaluation.all_pairs import all_pairs_metrics
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.oracle import log_likelihood_ratio, max_shape_r2


def test_ratio_is_that_of_the_two_densities():
    from scipy.stats import multivariate_normal, norm

    rng = np.random.default_rng(0)
    v, g = rng.normal(size=(3, 8)), rng.normal(size=(4, 8))
    c = np.linspace(0, 0.95, 8)
    ratio = log_likelihood_ratio(v, np.ones(3), g, np.ones(4), c)
    for a in range(3):
        for b in range(4):
            joint = sum(
                multivariate_normal([0, 0], [[1, c[j]], [c[j], 1]]).logpdf([v[a, j], g[b, j]])
                for j in range(8)
            )
            assert ratio[a, b] == pytest.approx(joint - norm.logpdf(v[a]).sum() - norm.logpdf(g[b]).sum())


def test_different_sexes_are_excluded_unless_the_sex_is_independent():
    v = np.zeros((2, 8))
    ratio = log_likelihood_ratio(v, [0, 1], v, [0, 1], 0.5)
    assert np.isneginf(ratio[[0, 1], [1, 0]]).all()
    assert np.isfinite(log_likelihood_ratio(v, [0, 1], v, [0, 1], 0.5, share_sex=False)).all()


@pytest.mark.parametrize("c", [0.2, 0.5, 0.7])
def test_table_is_reproduced_by_simulation(c):
    for name, metric in simulate_oracle(c, 600, seed=11).items():
        assert (
            abs(metric.value - EXPECTED_METRICS[name][COUPLINGS.index(c)]) < 3 * metric.standard_error + 0.001
        ), name


def test_the_oracle_on_the_test_identities_agrees_with_the_table():
    # Spread of each metric over 40 populations of 193 identities at 0.7; a sample's own jackknife is too
    # small for a lucky sample this near 1.
    spread = {"U": 0.0034, "G": 0.0067, "G10": 0.0206, "AUC": 0.0029, "AUC_G": 0.0058, "mAP": 0.024}
    for name, metric in oracle_metrics(sample_identities(np.arange(116, 309))).items():
        assert abs(metric.value - EXPECTED_METRICS[name][7]) < 3 * spread[name], name
        assert metric.standard_error == pytest.approx(spread[name], rel=0.6)


def test_the_oracle_is_at_chance_within_a_sex_without_coupling():
    metrics = simulate_oracle(0.0, 200)
    assert metrics["G"].value == pytest.approx(0.5)
    assert metrics["AUC_G"].value == pytest.approx(0.5)
    assert metrics["G10"].value == pytest.approx(0.1)
    assert metrics["U"].value == pytest.approx(0.75, abs=0.01)
    assert metrics["mAP"].value == pytest.approx(0.09, abs=0.005)
    apart = oracle_metrics(sample_identities(np.arange(200), rho=0, share_sex=False))
    assert apart["U"].value == pytest.approx(0.5)


def test_the_oracle_makes_no_error_at_full_coupling():
    for metric in simulate_oracle(1.0, 150).values():
        assert metric.value == pytest.approx(1, abs=1e-3)


def test_metrics_of_a_hand_worked_case():
    scores = np.array([[3.0, 1, 2, 5], [0, 4, 4, 1], [2, 9, 3, 1], [0, 0, 0, 1]])
    metrics = metrics_from_scores(scores, [0, 0, 1, 1])
    assert metrics["U"].value == pytest.approx((2 + 2.5 + 2 + 3) / 12)
    assert metrics["G"].value == pytest.approx((1 + 1 + 1 + 1) / 4)
    assert metrics["mAP"].value == pytest.approx((1 / 2 + (1 + 1 / 2) / 2 + 1 / 2 + 1) / 4)
    wrong = [1, 2, 5, 0, 4, 1, 2, 9, 1, 0, 0, 0]
    beaten = [(r > w) + 0.5 * (r == w) for r in (3, 4, 3, 1) for w in wrong]
    assert metrics["AUC"].value == pytest.approx(np.mean(beaten))


def test_metrics_do_not_depend_on_the_order_of_identities():
    rng = np.random.default_rng(1)
    scores, sex = rng.normal(size=(40, 40)) + 2 * np.eye(40), rng.integers(0, 2, 40)
    order = rng.permutation(40)
    first, second = (
        metrics_from_scores(scores, sex),
        metrics_from_scores(scores[np.ix_(order, order)], sex[order]),
    )
    for name in first:
        assert first[name].value == pytest.approx(second[name].value)
        assert first[name].standard_error == pytest.approx(second[name].standard_error)


def test_jackknife_agrees_with_leaving_out_by_hand():
    rng = np.random.default_rng(2)
    scores, sex = rng.normal(size=(12, 12)) + np.eye(12), np.arange(12) % 2
    metrics = metrics_from_scores(scores, sex)
    for name in ("U", "G", "AUC", "AUC_G"):
        without = []
        for i in range(12):
            keep = np.arange(12) != i
            without.append(metrics_from_scores(scores[np.ix_(keep, keep)], sex[keep])[name].value)
        spread = np.sqrt(11 / 12 * np.square(np.array(without) - np.mean(without)).sum())
        assert metrics[name].standard_error == pytest.approx(spread)


def test_effective_coupling_and_its_inverse():
    assert effective_coupling(0.7, 1.0, 1.0) == pytest.approx(0.7)
    assert effective_coupling(0.7, 0.8, 0.5) == pytest.approx(0.7 * np.sqrt(0.4))
    assert expected_metric(0.7) == pytest.approx(0.956)
    assert equivalent_coupling(expected_metric(0.43)) == pytest.approx(0.43, abs=1e-6)
    assert equivalent_coupling(0.4) == 0.0
    assert GENDER_BASELINE["U"] == 0.75
    assert GENDER_BASELINE["G"] == 0.5
    assert normalized_gain(0.75, 0.95, 0.5) == pytest.approx(5 / 9)
    assert np.isnan(normalized_gain(0.5, 0.5, 0.5))


def test_shape_upper_bound_agrees_with_simulation():
    rng = np.random.default_rng(3)
    loadings = np.zeros((12, 8))
    loadings[np.arange(12), np.arange(12) % 8] = 0.7
    g = rng.normal(size=(20_000, 8))
    alpha = g @ loadings.T + np.sqrt(1 - np.square(loadings).sum(1)) * rng.normal(size=(20_000, 12))
    guess = alpha @ np.linalg.lstsq(alpha, g, rcond=None)[0]
    simulated = 1 - np.square(g - guess).mean(0) / g.var(0)
    np.testing.assert_allclose(max_factor_r2(loadings), simulated, atol=0.02)
    np.testing.assert_allclose(max_shape_r2(0.5, loadings), 0.7**2 * 0.25)


def test_invalid_inputs_raise():
    with pytest.raises(ValueError, match="NaN"):
        metrics_from_scores(np.full((4, 4), np.nan), [0, 0, 1, 1])
    with pytest.raises(ValueError, match="each sex"):
        metrics_from_scores(np.eye(4), [0, 1, 1, 1])
    with pytest.raises(ValueError, match="couplings"):
        log_likelihood_ratio(np.zeros((1, 8)), [0], np.zeros((1, 8)), [0], 1.2)
    with pytest.raises(ValueError, match="there are"):
        expected_metric(0.5, "H")
    with pytest.raises(ValueError, match="loadings"):
        max_shape_r2(0.5, np.ones((3, 8)))


def test_reference_agrees_with_the_metrics_over_all_pairs():
    """As many men as women: then pooled and per-probe same-gender accuracies are equal."""
    whole = sample_identities(np.arange(400), rho=0.6)
    rows = np.concatenate([np.flatnonzero(whole.sex == sex)[:60] for sex in (0, 1)])
    identities = whole.take(rows)
    scores = oracle_scores(identities)
    reference = metrics_from_scores(scores, identities.sex)
    actual = all_pairs_metrics(scores, identities.sex)
    names = {"U": "u_v2f", "G": "g_v2f", "AUC": "auc", "AUC_G": "auc_g", "mAP": "map100_v2f"}
    for name, other in names.items():
        assert actual[other][0] == pytest.approx(reference[name].value), name
