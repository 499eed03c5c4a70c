"""Laws of the figures of 3-D shapes: alignment, distances, errors per person, explained variance."""

import numpy as np
import pytest
from voiceface.metrics.geometry import (
    aligned_error,
    compare_errors,
    explained_variance,
    fit_similarity_transform,
    identity_means,
    pair_distances,
)


def rotations(rng: np.random.Generator, count: int) -> np.ndarray:
    q, _ = np.linalg.qr(rng.normal(size=(count, 3, 3)))
    q[:, :, 0] *= np.linalg.det(q)[:, None]
    return q


def test_pair_distances_by_hand() -> None:
    points = np.array([[0, 0, 0], [3, 4, 0], [0, 0, 2.0]])
    assert pair_distances(points, [(0, 1), (2, 0), (1, 1)]).tolist() == [5, 2, 0]
    assert pair_distances(np.stack([points, 2 * points]), [(0, 1)]).tolist() == [[5], [10]]
    for pairs in ([(0, 3)], [(-1, 0)], [0, 1]):
        with pytest.raises(ValueError, match="pairs"):
            pair_distances(points, pairs)
    with pytest.raises(ValueError, match="vertices"):
        pair_distances(points[:, :2], [(0, 1)])


def test_alignment_undoes_any_similarity() -> None:
    rng = np.random.default_rng(0)
    source, turn = rng.normal(size=(20, 9, 3)), rotations(rng, 20)
    scale, offset = rng.uniform(0.1, 9, 20), rng.normal(size=(20, 3))
    target = scale[:, None, None] * source @ turn.swapaxes(1, 2) + offset[:, None]
    found = fit_similarity_transform(source, target)
    np.testing.assert_allclose(found.scale, scale)
    np.testing.assert_allclose(found.rotation, turn, atol=1e-12)
    np.testing.assert_allclose(found.apply(source), target, atol=1e-12)
    assert aligned_error(source, target).max() < 1e-12


def test_aligned_error_by_hand() -> None:
    source = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    target = source + np.array([5, -2, 7])
    target[:, 2] += [0.3, 0.3, -0.3, -0.3]  # out of the plane, which no similarity can follow
    assert aligned_error(source, target) == pytest.approx(0.3)
    assert aligned_error(np.stack([source, source]), np.stack([target, 2 * target])) == pytest.approx(
        [0.3, 0.6]
    )
    with pytest.raises(ValueError, match="coincide"):
        aligned_error(np.stack([source, np.ones((4, 3))]), np.stack([target, target]))


def test_alignment_is_the_best_and_never_mirrors() -> None:
    rng = np.random.default_rng(1)
    source = rng.normal(size=(30, 3))
    target = source * [-1, 1, 1] + 0.1 * rng.normal(size=(30, 3))
    best = fit_similarity_transform(source, target)
    assert np.linalg.det(best.rotation) == pytest.approx(1)
    least = ((best.apply(source) - target) ** 2).sum()
    for turn in rotations(rng, 300):
        near, _ = np.linalg.qr(best.rotation + 0.05 * turn)
        near *= np.sign((near * best.rotation).sum(axis=0))
        for rotation in (turn, near):
            scale = best.scale * rng.uniform(0.9, 1.1)
            moved = scale * source @ rotation.T
            moved += (target - moved).mean(axis=0)
            if np.linalg.det(rotation) > 0:
                assert ((moved - target) ** 2).sum() >= least
    with pytest.raises(ValueError, match="coincide"):
        fit_similarity_transform(np.ones((4, 3)), source[:4])
    with pytest.raises(ValueError, match="three points"):
        fit_similarity_transform(source[:2], source[:2])


def test_every_person_counts_once() -> None:
    values, num_identities = np.array([[1.0, 0], [3, 0], [10, 6]]), np.array([7, 7, 2])
    assert identity_means(values, num_identities).tolist() == [[10, 6], [2, 0]]
    assert identity_means(values[:, 0], num_identities).tolist() == [10, 2]
    found = compare_errors(values[:, 0], {"zero": np.zeros(3)}, num_identities, replicates=50)
    assert found.ours.value == 6
    assert found.differences["zero"].value == 6
    with pytest.raises(ValueError, match="one identity per row"):
        identity_means(values, num_identities[:2])


def test_comparison_finds_a_difference_only_where_there_is_one() -> None:
    rng = np.random.default_rng(2)
    num_identities = np.repeat(np.arange(80), 3)
    base = np.abs(rng.normal(1, 0.3, 240))
    others = {"worse": base + 0.05 + 0.02 * rng.normal(size=240), "same": base + 0.05 * rng.normal(size=240)}
    found = compare_errors(base, others, num_identities)
    worse, same = found.differences["worse"], found.differences["same"]
    assert worse.high < 0
    assert worse.p_value < 0.01
    assert same.low < 0 < same.high
    assert found.ours.low < base.mean() < found.ours.high


def test_explained_variance_of_perfect_mean_and_noisy_predictions() -> None:
    rng = np.random.default_rng(3)
    sex = np.arange(400) % 2
    true = rng.normal(size=(400, 3)) + 4 * sex[:, None]
    true[:, 2] = 5
    assert explained_variance(true, true)[:2].tolist() == [1, 1]
    assert np.isnan(explained_variance(true, true)[2])
    by_sex = identity_means(true, sex)[sex]
    np.testing.assert_allclose(explained_variance(by_sex, true, sex)[:2], 0, atol=1e-12)
    assert (explained_variance(by_sex, true)[:2] > 0.7).all()
    half = by_sex + 0.5 * (true - by_sex)  # error is half of every deviation
    np.testing.assert_allclose(explained_variance(half, true, sex)[:2], 0.75)
    assert explained_variance([[1.0], [3]], [[0.0], [4]]).tolist() == [1 - 2 / 8]  # two rows are enough
    with pytest.raises(ValueError, match="two tables"):
        explained_variance(true, true[:5])
    with pytest.raises(ValueError, match="stratum"):
        explained_variance(true, true, sex[:5])
