"""Percentiles of scores among impostor pairs: laws, and agreement with counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from voiceface.metrics.impostor_scores import (
    MAX_FILES,
    PROBABILITIES,
    ImpostorScores,
    measure_impostor_scores,
)

RNG = np.random.default_rng(0)


def measured(
    num_identities: int = 40, per_identity: int = 3, dim: int = 8
) -> tuple[ImpostorScores, np.ndarray]:
    """A distribution, and all impostor scores that it summarises."""
    ids = np.repeat(np.arange(num_identities), per_identity)
    voices, faces = RNG.normal(size=(2, len(ids), dim))
    scores = measure_impostor_scores(voices, faces, ids.tolist(), ids.tolist(), source="here")
    assert scores is not None
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (voices, faces)]
    return scores, (unit[0] @ unit[1].T)[ids[:, None] != ids[None, :]]


def test_percentile_is_the_share_of_impostor_pairs_below() -> None:
    scores, impostors = measured()
    assert scores.num_pairs == len(impostors) == 120 * 117 and scores.num_identities == 40
    asked = np.linspace(-1, 1, 41)
    counted = (impostors[None, :] < asked[:, None]).mean(axis=1)
    assert np.abs(scores.percentiles(asked) - counted).max() < 0.01
    tail = np.sort(impostors)[-50:]
    counted = (impostors[None, :] < tail[:, None]).mean(axis=1)
    assert np.abs(scores.percentiles(tail) - counted).max() < 5e-4  # finer where good candidates are


def test_pairs_of_one_identity_do_not_count() -> None:
    ids = list("aabb")
    same = np.eye(2)[[0, 0, 1, 1]]
    scores = measure_impostor_scores(same, same, ids, ids, source="")
    assert scores is not None and set(scores.quantiles) == {0.0} and scores.num_pairs == 8
    assert measure_impostor_scores(same[:2], same[:2], ids[:2], ids[:2], source="") is None


def test_length_of_embeddings_does_not_count() -> None:
    voices, faces = RNG.normal(size=(2, 30, 5))
    ids = list(range(30))
    plain = measure_impostor_scores(voices, faces, ids, ids, source="")
    scaled = measure_impostor_scores(voices * 7, faces * RNG.uniform(1, 9, (30, 1)), ids, ids, source="")
    assert plain is not None and scaled is not None
    assert np.allclose(plain.quantiles, scaled.quantiles, atol=2e-6)


def test_of_many_files_evenly_spaced_ones_are_compared() -> None:
    count = 3 * MAX_FILES
    voices = np.ones((count, 1))
    scores = measure_impostor_scores(voices, voices[:2], list(range(count)), [0, -1], source="")
    assert scores is not None and scores.num_pairs == 2 * MAX_FILES - 1


def test_percentiles_are_never_certain_and_keep_nan() -> None:
    scores, _ = measured(5, 2)
    shares = scores.percentiles([[-2.0, 2.0, np.nan]])
    assert shares[0, 0] == 0 and shares[0, 1] == scores.num_pairs / (scores.num_pairs + 1)
    assert np.isnan(shares[0, 2])


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30))
def test_higher_scores_never_have_lower_percentiles(asked: list[float]) -> None:
    scores = ImpostorScores(tuple(np.sqrt(PROBABILITIES) - 0.5), 1000, 10, "")
    shares = scores.percentiles(sorted(asked))
    assert (np.diff(shares) >= 0).all() and (shares >= 0).all() and (shares < 1).all()


def test_best_of_many_impostors_is_expected_to_be_high() -> None:
    chance = ImpostorScores.chance_of_best
    assert chance(0.0, 3) == 1 and chance(0.5, 1) == pytest.approx(0.5)
    assert chance(0.99, 100) == pytest.approx(1 - 0.99**100, abs=1e-6)
    best = np.random.default_rng(1).random((2000, 50)).max(axis=1)
    below = np.mean([chance(percentile, 50) < 0.05 for percentile in best])
    assert 0.03 < below < 0.07  # of galleries of impostors, five in a hundred seem to stand out
    assert ImpostorScores.describe_best(0.5, 10).startswith("nothing stands out: the best of 10 impostors")
    assert ImpostorScores.describe_best(0.9999, 3).startswith("the best candidate stands out")


@pytest.mark.parametrize(
    "values",
    [
        None,
        {},
        {"quantiles": [0.0] * 5, "num_pairs": 3, "num_identities": 2, "source": ""},
        {"quantiles": [float("nan")] * len(PROBABILITIES), "num_pairs": 3, "num_identities": 2, "source": ""},
        {"quantiles": "no", "num_pairs": 3, "num_identities": 2, "source": ""},
    ],
)
def test_stored_values_that_do_not_fit_are_none(values: dict | None) -> None:
    assert ImpostorScores.from_values(values) is None


def test_stored_values_come_back() -> None:
    scores, _ = measured(4, 2)
    assert ImpostorScores.from_values(scores.to_values()) == scores
