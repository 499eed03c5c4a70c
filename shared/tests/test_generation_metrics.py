"""Figures of generated faces: distances, retrieval, Frechet distance, class scores, diversity."""

import itertools

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import entropy
from sklearn.metrics.pairwise import cosine_similarity, manhattan_distances
from voiceface.metrics.frechet import FeatureStatistics, Gaussian, frechet_distance, frechet_from_statistics
from voiceface.metrics.generation import (
    diversity,
    evaluation_galleries,
    feature_distances,
    identity_retrieval,
    pairwise_l1,
)
from voiceface.metrics.inception_score import inception_score_from_log_probs, to_log_probabilities


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(count, width, seed=0):
    return torch.randn(count, width, generator=seeded(seed), dtype=torch.float64)


def matrix_root_distance(a, b):
    """The published way: scipy's matrix root of the product of covariances."""
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(s1 @ s2).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s1 + s2 - 2 * root)


def test_distances_of_a_hand_worked_pair():
    found = feature_distances(torch.tensor([[3.0, 0], [0, 2]]), torch.tensor([[0.0, 4], [0, 5]]), eps=0.0)
    assert found.l2 == pytest.approx((5 + 3) / 2)
    assert found.l1 == pytest.approx((7 + 3) / 2)
    assert found.cosine == pytest.approx((0 + 1) / 2)
    assert found.mismatched_cosine == pytest.approx((0 + 1) / 2)  # 3,0 with 0,5 and 0,2 with 0,4


def test_distances_agree_with_slow_loops_and_the_library():
    predictions, references = rows(9, 5), rows(9, 5, 1)
    found = feature_distances(predictions, references)
    similar = cosine_similarity(predictions, references)
    assert found.cosine == pytest.approx(similar.diagonal().mean())
    strangers = [similar[i, j] for i, j in itertools.permutations(range(9), 2)]
    assert found.mismatched_cosine == pytest.approx(np.mean(strangers))
    pairwise = torch.nn.PairwiseDistance(p=2)(predictions, references)
    assert found.l2 == pytest.approx(pairwise.mean().item())
    assert found.l1 == pytest.approx(torch.nn.PairwiseDistance(p=1)(predictions, references).mean().item())


def test_scaling_a_prediction_changes_no_cosine_and_one_identity_has_no_strangers():
    predictions, references = rows(6, 4), rows(6, 4, 1)
    scaled = feature_distances(predictions * torch.arange(1, 7)[:, None], references)
    plain = feature_distances(predictions, references)
    assert scaled.cosine == pytest.approx(plain.cosine)
    assert scaled.mismatched_cosine == pytest.approx(plain.mismatched_cosine)
    assert np.isnan(feature_distances(predictions[:1], references[:1]).mismatched_cosine)


@pytest.mark.parametrize("similarity", ["cosine", "l1"])
def test_recall_agrees_with_sorting_every_query(similarity):
    predictions, references = rows(40, 6) + rows(40, 6, 1), rows(40, 6)
    by_cosine = similarity == "cosine"
    table = (cosine_similarity if by_cosine else manhattan_distances)(predictions, references)
    table = table if by_cosine else -table
    found = identity_retrieval(predictions, references, similarity, [1, 3, 7, 40])
    places = [list(np.argsort(-table[i])).index(i) for i in range(40)]
    for k, recall in found.recall.items():
        assert recall == pytest.approx(np.mean([place < k for place in places]))
    assert 0.1 < found.recall[3] < 0.9
    assert found.recall[40] == 1
    assert identity_retrieval(predictions, references).cutoffs == (1, 2, 5, 10, 20, 50)
    assert found.chance == {1: 1 / 40, 3: 3 / 40, 7: 7 / 40, 40: 1}


def test_recall_over_galleries_is_the_mean_of_each_alone():
    predictions, references = rows(35, 4) + rows(35, 4, 1), rows(35, 4)
    parts = evaluation_galleries(35, [10, 20, 30])
    full = identity_retrieval(predictions, references, cutoffs=[2], galleries=parts)
    slices = [slice(part.start, part.stop) for part in parts]
    alone = [identity_retrieval(predictions[rows_], references[rows_], cutoffs=[2]) for rows_ in slices]
    assert full.recall[2] == pytest.approx(np.mean([each.recall[2] for each in alone]))
    assert full.chance[2] == pytest.approx(0.2)
    assert full.hit_at.shape == (30, 1)
    assert full.gallery_index.tolist() == [0] * 10 + [1] * 10 + [2] * 10


def test_constant_embeddings_get_chance_and_copies_get_everything():
    same = torch.ones(12, 3)
    for similarity in ("cosine", "l1"):
        tied = identity_retrieval(same, same, similarity, [1, 6, 12])
        assert tied.recall == pytest.approx({1: 1 / 12, 6: 0.5, 12: 1.0})
    references = rows(12, 3)
    assert identity_retrieval(references * 3, references, cutoffs=[1]).recall[1] == 1
    assert identity_retrieval(references, references, "l1", cutoffs=[1]).recall[1] == 1


def test_galleries_are_named_by_their_ends():
    assert evaluation_galleries(7) == [range(7)]
    assert evaluation_galleries(7, 3) == [range(3)]
    assert evaluation_galleries(378, [100, 200, 300]) == [range(100), range(100, 200), range(200, 300)]
    for wrong in ([3, 3], [5, 2], 8, 0, []):
        with pytest.raises(ValueError, match="ends of galleries"):
            evaluation_galleries(7, wrong)


def test_what_cannot_be_measured_is_refused():
    good = rows(4, 3)
    broken = good.clone()
    broken[2, 1] = torch.nan
    for call in (feature_distances, identity_retrieval):
        with pytest.raises(ValueError, match="references: 1 rows hold NaN or infinity, row 2 first"):
            call(good, broken)
        with pytest.raises(ValueError, match=r"\(4, 3\) and \(3, 3\)"):
            call(good, good[:3])
    with pytest.raises(ValueError, match="similarity"):
        identity_retrieval(good, good, "l2")
    with pytest.raises(ValueError, match="cutoffs"):
        identity_retrieval(good, good, cutoffs=[0])
    with pytest.raises(ValueError, match="galleries"):
        identity_retrieval(good, good, galleries=[range(2, 5)])


def test_city_block_agrees_with_the_library_whatever_the_blocks(monkeypatch):
    a, b = rows(11, 7), rows(5, 7, 1)
    for size in (1, 1000, 10**7):
        monkeypatch.setattr("voiceface.metrics.generation.BLOCK_BYTES", size)
        np.testing.assert_allclose(pairwise_l1(a, b), manhattan_distances(a, b))


def test_diversity_is_over_every_pair_once():
    pictures = torch.tensor([0.0, 1.0, 3.0])[:, None]
    found = diversity(lambda a, b: (a - b).abs(), pictures, batch_size=2)
    assert found.mean == pytest.approx((1 + 3 + 2) / 3)
    assert found.std == pytest.approx(np.std([1, 3, 2]))
    chosen = diversity(lambda a, b: (a - b).abs(), pictures, torch.tensor([[0, 2]]))
    assert chosen == pytest.approx((3.0, 0.0))
    with pytest.raises(ValueError, match="at least one pair"):
        diversity(lambda a, b: (a - b).abs(), pictures[:1])


def test_frechet_distance_of_normal_distributions_on_a_line():
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [9.0]])
    # means 1 and 7, deviations sqrt(2) and sqrt(8): (7 - 1)^2 + (sqrt 8 - sqrt 2)^2
    assert frechet_distance(a, b) == pytest.approx(36 + 2)


@pytest.mark.parametrize("count", [60, 9])
def test_frechet_distance_agrees_with_the_matrix_root(count):
    a = rows(count, 8) @ rows(8, 8, 5)
    b = rows(count + 5, 8, 1) + 0.3
    assert frechet_distance(a, b) == pytest.approx(matrix_root_distance(a.numpy(), b.numpy()), rel=1e-9)


def test_both_ways_agree_where_there_are_fewer_pictures_than_features():
    a, b = rows(6, 20), rows(9, 20, 1) * 2
    statistics = [FeatureStatistics().update(each).gaussian() for each in (a, b)]
    assert frechet_from_statistics(*statistics) == pytest.approx(frechet_distance(a, b), rel=1e-6)
    # within the 14 directions that the pictures span, the covariances have the same root
    basis = torch.linalg.qr(torch.cat([a - a.mean(0), b - b.mean(0), (a.mean(0) - b.mean(0))[None]]).T)[0]
    assert frechet_distance(a @ basis, b @ basis) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_frechet_distance_is_zero_for_equal_sets_symmetric_and_moves_with_the_mean():
    a, b = rows(12, 30), rows(40, 30, 1)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(b, b) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a, a + 2) == pytest.approx(4 * 30)
    turned = torch.linalg.qr(rows(30, 30, 2))[0]
    assert frechet_distance(a @ turned, b @ turned) == pytest.approx(frechet_distance(a, b))


def test_the_published_offset_enters_the_root_only():
    a, b = rows(50, 4), rows(50, 4, 1)
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    step = np.eye(4) * 0.1
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum().item()
    expected += np.trace(s1 + s2 - 2 * sqrtm((s1 + step) @ (s2 + step)).real)
    assert frechet_distance(a, b, eps=0.1) == pytest.approx(expected)


def test_statistics_come_in_blocks_and_far_from_zero():
    full = rows(50, 6) + 1e6
    blocks = FeatureStatistics()
    for block in full.split(7):
        blocks.update(block)
    at_once = FeatureStatistics().update(full)
    for found in (blocks.gaussian(), at_once.gaussian()):
        np.testing.assert_allclose(found.covariance, np.cov(full, rowvar=False), atol=1e-9)
        np.testing.assert_allclose(found.mean, full.mean(0), rtol=1e-15)
    untouched = FeatureStatistics().update(full[:0])
    with pytest.raises(ValueError, match="at least two rows of features, found 0"):
        untouched.gaussian()


def test_frechet_distance_refuses_what_has_no_covariance():
    with pytest.raises(ValueError, match="found 1 and 5"):
        frechet_distance(rows(1, 3), rows(5, 3))
    with pytest.raises(ValueError, match="found 3 and 4"):
        frechet_distance(rows(5, 3), rows(5, 4))
    with pytest.raises(ValueError, match="NaN"):
        frechet_distance(rows(5, 3), rows(5, 3) * torch.nan)
    with pytest.raises(ValueError, match="4 columns, those before 3"):
        FeatureStatistics().update(rows(5, 3)).update(rows(5, 4))
    lopsided = Gaussian(torch.zeros(2).double(), torch.tensor([[1.0, 2], [0, 1]]).double())
    with pytest.raises(ValueError, match="symmetric"):
        frechet_from_statistics(lopsided, lopsided)


def slow_score(probabilities, edges):
    """The definition, by scipy's entropy."""
    parts = [probabilities[a:b] for a, b in itertools.pairwise(edges)]
    scores = [np.exp(np.mean([entropy(row, part.mean(0)) for row in part])) for part in parts]
    return np.mean(scores), np.std(scores)


def test_class_score_agrees_with_the_definition_in_both_ways_of_cutting():
    logits = rows(23, 7) * 3
    probabilities = logits.softmax(1).numpy()
    spread = inception_score_from_log_probs(logits.log_softmax(1), 5)
    assert spread[:2] == pytest.approx(slow_score(probabilities, [k * 23 // 5 for k in range(6)]))
    dropped = inception_score_from_log_probs(logits.log_softmax(1), 5, remainder="drop")
    assert dropped[:2] == pytest.approx(slow_score(probabilities, [4 * k for k in range(6)]))
    assert dropped.split_scores != spread.split_scores
    from_probabilities = inception_score_from_log_probs(
        to_log_probabilities(torch.from_numpy(probabilities) * 2), 5
    )
    assert from_probabilities.split_scores == pytest.approx(spread.split_scores)


def test_class_score_goes_from_one_to_the_number_of_classes():
    certain = to_log_probabilities(torch.eye(6))
    assert inception_score_from_log_probs(certain, 1).mean == pytest.approx(6)
    assert inception_score_from_log_probs(certain[:1].expand(8, -1), 2).split_scores == pytest.approx(
        (1.0, 1.0)
    )
    far = torch.full((6, 6), -2000.0).fill_diagonal_(0)  # probabilities underflow to zero
    assert inception_score_from_log_probs(far.log_softmax(1), 1).mean == pytest.approx(6)


def test_class_score_follows_a_given_order_and_a_seed():
    answers = (rows(20, 5) * 3).log_softmax(1)
    order = torch.randperm(20, generator=seeded(3))
    assert inception_score_from_log_probs(answers, 4, order=order) == inception_score_from_log_probs(
        answers[order], 4
    )
    assert inception_score_from_log_probs(answers, 4, generator=seeded(3)) == inception_score_from_log_probs(
        answers[order], 4
    )
    assert (
        inception_score_from_log_probs(answers, 4, generator=seeded(4)).mean
        != inception_score_from_log_probs(answers, 4, generator=seeded(3)).mean
    )


def test_class_score_refuses_what_it_cannot_cut():
    answers = rows(4, 3).log_softmax(1)
    with pytest.raises(ValueError, match="5 parts need as many images or more, found 4"):
        inception_score_from_log_probs(answers, 5)
    with pytest.raises(ValueError, match="without NaN"):
        inception_score_from_log_probs(answers * torch.nan, 2)
    with pytest.raises(ValueError, match="each of the 4 rows once"):
        inception_score_from_log_probs(answers, 2, order=torch.tensor([0, 0, 1, 2]))
    with pytest.raises(ValueError, match="not both"):
        inception_score_from_log_probs(answers, 2, generator=seeded(), order=torch.arange(4))
    with pytest.raises(ValueError, match="remainder"):
        inception_score_from_log_probs(answers, 2, remainder="keep")
    for wrong in (torch.tensor([[0.0, 0.0]]), torch.tensor([[1.5, -0.5]])):
        with pytest.raises(ValueError, match="probabilities"):
            to_log_probabilities(wrong)
