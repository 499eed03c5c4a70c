"""Bootstrap over identities, paired tests, chance levels, and the figures over all pairs."""

import numpy as np
import pytest
from voiceface.evaluation.all_pairs import (
    all_pairs_metrics,
    all_pairs_table,
    all_pairs_to_dict,
    evaluate_all_pairs,
    evaluate_all_pairs_averaged,
    jackknife_metrics,
    score_matrix,
)
from voiceface.metrics.bootstrap import (
    bootstrap_counts,
    bootstrap_mean,
    bootstrap_verification,
    chance_levels,
    chance_recall,
    mean_interval,
    paired_difference,
    paired_verification_difference,
)
from voiceface.metrics.multiple_testing import holm_adjust


def lines(people=40, each=9, spread=0.2, seed=0):
    """Hits whose rate differs from person to person."""
    rng = np.random.default_rng(seed)
    rate = np.clip(0.7 + spread * rng.normal(size=people), 0, 1)
    groups = np.repeat(np.arange(people), each)
    return (rng.random(people * each) < rate[groups]).astype(np.float64), groups


def test_replicates_equal_a_plain_resampling():
    values, groups = lines(people=5, each=3)
    mean, again = bootstrap_mean(values, groups, replicates=20, seed=3)
    assert mean == pytest.approx(values.mean())
    for draw, found in zip(bootstrap_counts(5, 20, 3).astype(int), again):
        taken = np.concatenate([values[groups == identity] for identity in np.repeat(np.arange(5), draw)])
        assert found == pytest.approx(taken.mean())


def test_error_follows_people_not_lines():
    values, groups = lines()
    once = mean_interval(values, groups)
    copied = mean_interval(np.tile(values, 10), np.tile(groups, 10))
    assert copied.standard_error == pytest.approx(once.standard_error)
    assert once.low < once.value < once.high
    per_person = values.reshape(40, 9).mean(1)
    assert once.standard_error == pytest.approx(per_person.std(ddof=1) / 40**0.5, rel=0.15)
    assert mean_interval(values, groups, seed=1) == mean_interval(values, groups, seed=1)
    assert mean_interval(values, groups, seed=1) != once


def test_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        values, groups = lines(people=30, each=4, spread=0.1, seed=seed)
        span = mean_interval(values, groups, replicates=300, confidence=0.9)
        covered += span.low <= 0.7 <= span.high
    assert 0.8 < covered / 200 < 0.97


def test_verification_replicates_equal_plain_figures():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 120)
    scores = np.round(rng.normal(size=120) + labels, 1)
    groups = rng.integers(0, 10, 120)
    found = bootstrap_verification(scores, labels, groups, replicates=15, seed=4)
    assert found["auc"][0] == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    for b, draw in enumerate(bootstrap_counts(10, 15, 4)):
        auc = metrics.roc_auc_score(labels, scores, sample_weight=draw[groups])
        assert found["auc"][1][b] == pytest.approx(auc, abs=1e-12)


def test_weighted_error_rates_equal_the_unweighted_ones():
    import torch
    from voiceface.metrics.verification import equal_error_rate, min_dcf

    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 300)
    scores = np.round(rng.normal(size=300) + labels, 1)
    found = bootstrap_verification(scores, labels, np.arange(300), replicates=2)
    torch_scores, torch_labels = torch.from_numpy(scores), torch.from_numpy(labels)
    assert found["eer"][0] == pytest.approx(equal_error_rate(torch_scores, torch_labels).rate.item())
    assert found["min_dcf"][0] == pytest.approx(min_dcf(torch_scores, torch_labels).item())


def test_paired_difference_sees_what_separate_intervals_hide():
    values, groups = lines(spread=0.3)
    better = values.copy()
    better[np.flatnonzero(values == 0)[::4]] = 1
    found = paired_difference(better, values, groups)
    assert found.value == pytest.approx(better.mean() - values.mean())
    assert found.low > 0 and found.p_value < 0.01
    one, other = mean_interval(better, groups), mean_interval(values, groups)
    assert one.low < other.high  # the intervals overlap
    same = paired_difference(values, values, groups)
    assert (same.value, same.p_value) == (0, 1)
    back = paired_difference(values, better, groups)
    assert (back.value, back.p_value) == (-found.value, found.p_value)
    with pytest.raises(ValueError, match="evaluate the same list"):
        paired_difference(values, values[1:], groups)
    holes = better.copy()
    holes[:90:7] = np.nan  # lines without a result of one system count for neither
    known = ~np.isnan(holes)
    assert paired_difference(holes, values, groups) == paired_difference(
        better[known], values[known], groups[known]
    )


def test_paired_verification_difference():
    rng = np.random.default_rng(1)
    labels, groups = rng.integers(0, 2, 600), np.repeat(np.arange(30), 20)
    noise = rng.normal(size=600)
    good, bad = labels * 1.5 + noise, labels * 0.5 + noise
    assert paired_verification_difference(good, bad, labels, groups, replicates=200).low > 0
    assert paired_verification_difference(good, bad, labels, groups, metric="eer", replicates=200).high < 0


def test_chance_levels():
    assert chance_levels("match", num_candidates=4) == {"accuracy": 0.25}
    assert chance_levels("verify")["eer"] == 0.5
    found = chance_levels("retrieval", num_relevant=np.array([1, 1]), gallery_size=4)
    assert found["map"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert found["relevant_fraction"] == 0.25
    assert chance_recall(np.array([1, 2, 3]), 3, 1) == pytest.approx(2 / 3)
    assert chance_recall(np.array([1]), 5, 10) == 1
    with pytest.raises(ValueError, match="got 'rank'"):
        chance_levels("rank")


def slow_pairs(scores, sex):
    """Figures by loops over people; no ties."""
    n = len(scores)
    u = [np.mean([scores[i, i] > scores[i, j] for j in range(n) if j != i]) for i in range(n)]
    g = [
        np.mean([scores[i, i] > scores[i, j] for j in range(n) if j != i and sex[i] == sex[j]])
        for i in range(n)
    ]
    pairs = [(j, k) for j in range(n) for k in range(n) if j != k]
    auc = np.mean([scores[i, i] > scores[j, k] for i in range(n) for j, k in pairs])
    auc_g = np.mean([scores[i, i] > scores[j, k] for i in range(n) for j, k in pairs if sex[j] == sex[k]])
    rank = [1 + np.sum(scores[i] > scores[i, i]) for i in range(n)]
    return {
        "u_v2f": np.mean(u),
        "g_v2f": np.mean(g),
        "auc": auc,
        "auc_g": auc_g,
        "map_v2f": np.mean(1 / np.array(rank)),
    }


def some_scores(people=24, seed=0, strength=1.0):
    rng = np.random.default_rng(seed)
    sex = rng.integers(0, 2, people)
    sex[:4] = [0, 0, 1, 1]
    return rng.normal(size=(people, people)) + strength * np.eye(people), sex


def test_all_pairs_equal_loops():
    scores, sex = some_scores()
    found = all_pairs_metrics(scores, sex)
    for name, value in slow_pairs(scores, sex).items():
        assert found[name][0] == pytest.approx(value), name
    turned = all_pairs_metrics(scores.T, sex)
    assert turned["g_v2f"] == found["g_f2v"]
    assert turned["map_f2v"] == found["map_v2f"]
    assert found["map100_v2f"] == found["map_v2f"]  # fewer than 100 people


def test_jackknife_errors_equal_leaving_people_out():
    scores, sex = some_scores(14, seed=3)
    found = all_pairs_metrics(scores, sex, gallery_size=6)
    left_out = []
    for identity in range(14):
        keep = np.arange(14) != identity
        left_out.append(all_pairs_metrics(scores[np.ix_(keep, keep)], sex[keep], gallery_size=6))
    for name, (_, error) in found.items():
        values = np.array([metrics[name][0] for metrics in left_out])
        assert error == pytest.approx(np.sqrt(13 / 14 * ((values - values.mean()) ** 2).sum())), name


def test_metrics_that_nobody_is_left_for_are_nan_without_an_identity():
    """With genders 0, 0, 1 nobody has a same-gender impostor once one of the first two is left out."""
    scores = np.random.default_rng(0).normal(size=(3, 3))
    left_out = jackknife_metrics(scores, np.array([0, 0, 1]), 100)
    for name in ("g_v2f", "g_f2v", "auc_g"):
        _, without = left_out[name]
        assert np.isnan(without[:2]).all() and np.isfinite(without[2])
    assert all(np.isfinite(left_out[name][1]).all() for name in ("u_v2f", "u_f2v", "auc", "map_v2f"))


def test_small_galleries_are_the_mean_over_random_ones():
    scores, sex = some_scores(30, seed=1)
    found = all_pairs_metrics(scores, sex, gallery_size=8)["map8_v2f"][0]
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(1500):
        chosen = rng.permutation(30)[:8]
        part = scores[np.ix_(chosen, chosen)]
        draws.append(np.mean(1 / (1 + (part > np.diagonal(part)[:, None]).sum(1))))
    assert found == pytest.approx(np.mean(draws), abs=4 * np.std(draws) / 1500**0.5)


def test_error_of_a_blind_system_is_as_simulated():
    # Known standard deviation of same-sex matching under chance: .038 for 60 people, .029 for 100.
    for num_identities, expected in ((60, 0.038), (100, 0.029)):
        errors, values = [], []
        for seed in range(60):
            scores, sex = some_scores(num_identities, seed, strength=0)
            value, error = all_pairs_metrics(scores, sex)["g_v2f"]
            values.append(value)
            errors.append(error)
        assert np.mean(errors) == pytest.approx(expected, rel=0.15)
        assert np.std(values) == pytest.approx(np.mean(errors), rel=0.3)


def test_model_between_sex_only_and_oracle():
    rng = np.random.default_rng(0)
    num_identities, sex = 50, np.arange(50) % 2
    truth = rng.normal(size=(num_identities, 5))
    voices = truth + 0.7 * rng.normal(size=(num_identities, 5))
    oracle = -((truth[:, None] - truth) ** 2).sum(2)
    oracle[sex[:, None] != sex] = -np.inf
    found = evaluate_all_pairs(voices, truth, sex, oracle_scores=oracle)
    assert found["u_v2f"].chance == 0.5 and found["auc"].chance == 0.5
    assert found["u_v2f"].gender_baseline == pytest.approx((25 + 24 / 2) / 49)
    assert found["g_v2f"].gender_baseline == 0.5 and found["auc_g"].gender_baseline == 0.5
    assert found["g_v2f"].upper_bound == 1
    g = found["g_v2f"]
    assert g.normalized_gain == pytest.approx((g.value - 0.5) / 0.5)
    perfect = evaluate_all_pairs(truth, truth, sex, oracle_scores=oracle)
    assert perfect["map_v2f"].normalized_gain == pytest.approx(1)
    assert evaluate_all_pairs(truth, truth, sex)["u_v2f"].normalized_gain is None
    small = evaluate_all_pairs(voices, truth, sex, gallery_size=8)
    expected = all_pairs_metrics(score_matrix(voices, truth), sex, gallery_size=8)
    assert {name: (metric.value, metric.standard_error) for name, metric in small.items()} == expected


def test_averaging_helps_and_constant_embeddings_do_not():
    rng = np.random.default_rng(4)
    sex, truth = np.arange(60) % 2, rng.normal(size=(60, 1, 6))
    voices, faces = (truth + 1.2 * rng.normal(size=(60, 4, 6)) for _ in range(2))
    found = evaluate_all_pairs_averaged(voices, faces, sex)
    assert list(found) == ["single", "avg4"]
    assert found["avg4"]["u_v2f"].value > found["single"]["u_v2f"].value
    assert score_matrix(voices, faces).shape == (60, 60)
    assert set(all_pairs_to_dict(found)["avg4"]["auc"]) >= {
        "value",
        "standard_error",
        "chance",
        "gender_baseline",
        "upper_bound",
    }
    assert "mean of 4 samples, map100_v2f" in all_pairs_table(found)
    blind = evaluate_all_pairs(np.ones((60, 3)), np.ones((60, 3)), sex)
    for metric in blind.values():
        assert metric.value == pytest.approx(metric.chance, abs=1e-12)
    with pytest.raises(ValueError, match="avg9 needs 9"):
        evaluate_all_pairs_averaged(voices, faces, sex, sample_counts=(9,))


@pytest.mark.parametrize(
    ("rho", "same_sex", "anyone", "auc", "mean_precision"),
    [(0.5, 0.860, 0.929, 0.932, 0.384), (0.7, 0.956, 0.977, 0.980, 0.649)],
)
def test_oracle_reaches_its_expected_figures(rho, same_sex, anyone, auc, mean_precision):
    rng = np.random.default_rng(0)
    voice, sex = rng.normal(size=(400, 8)), np.arange(400) % 2
    face = rho * voice + (1 - rho**2) ** 0.5 * rng.normal(size=(400, 8))
    squares = rho**2 * ((voice**2).sum(1)[:, None] + (face**2).sum(1))
    ratio = (2 * rho * voice @ face.T - squares) / (2 * (1 - rho**2))
    ratio[sex[:, None] != sex] = -np.inf
    found = all_pairs_metrics(ratio, sex)
    expected = {"g_v2f": same_sex, "u_v2f": anyone, "auc": auc, "map100_v2f": mean_precision}
    for name, level in expected.items():
        value, error = found[name]
        assert value == pytest.approx(level, abs=3.5 * error), name


def test_holm_adjusts_step_by_step():
    assert holm_adjust([]) == [] and holm_adjust([0.2]) == [0.2]
    assert holm_adjust([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm_adjust([0.5, 0.4, 0.9]) == [1.0, 1.0, 1.0]
