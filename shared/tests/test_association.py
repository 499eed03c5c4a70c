"""Laws, hand-worked cases and slow clear versions for the association figures."""

import itertools

import numpy as np
import pytest
import torch
from voiceface.metrics import matching, ranking, ranking_numba
from voiceface.metrics.matching import matching_accuracy, matching_correct, pair_scores
from voiceface.metrics.ranking import Ranker
from voiceface.metrics.retrieval import RETRIEVAL_TIE_BREAKING, chance_average_precision, compute_retrieval
from voiceface.metrics.verification import equal_error_rate, min_dcf, roc_curve, verification_auc


def some_embeddings(
    seed: int, queries: int = 37, gallery: int = 90, identities: int = 7, grid: int | None = None
):
    """Random embeddings; with `grid` (4 or 16) coordinates are +-1: scores are exact and tie often."""
    generator = torch.Generator().manual_seed(seed)

    def draw(rows):
        if grid is None:
            return torch.randn(rows, 6, generator=generator)
        return torch.randint(0, 2, (rows, grid), generator=generator) * 2.0 - 1

    ids = [torch.randint(0, identities, (n,), generator=generator) for n in (queries, gallery)]
    return draw(queries), draw(gallery), *ids


def expected_over_orders(scores, relevant):
    """Average precision and first rank, averaged over every order of equal scores, by enumeration."""
    groups = [np.flatnonzero(scores == value) for value in sorted(set(scores), reverse=True)]
    precisions, ranks = [], []
    for parts in itertools.product(*(list(itertools.permutations(group)) for group in groups)):
        hit = relevant[[i for part in parts for i in part]]
        places = np.flatnonzero(hit) + 1
        precisions.append(np.mean((np.arange(len(places)) + 1) / places))
        ranks.append(places[0])
    return np.mean(precisions), np.array(ranks)


def test_matching_by_hand():
    scores = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [-0.2, -0.3]])
    assert matching_correct(scores).tolist() == [1, 0, 0.5, 1]
    assert matching_accuracy(scores, "first").item() == 0.75
    assert matching_accuracy(scores, "strict").item() == 0.5
    three = torch.tensor([[0.5, 0.5, 0.5], [0.5, 0.5, 0.4], [0.5, 0.6, 0.5]])
    assert matching_correct(three).tolist() == pytest.approx([1 / 3, 1 / 2, 0])


@pytest.mark.parametrize("candidates", [2, 3, 5, 10])
def test_constant_embedding_gets_exactly_chance(candidates):
    voices, faces = torch.full((11, 7), 0.3), torch.full((13, 7), 0.7)
    anchor, candidate = torch.randint(0, 11, (50,)), torch.randint(0, 13, (50, candidates))
    scores = pair_scores(voices, faces, anchor, candidate)
    assert matching_accuracy(scores).item() == pytest.approx(1 / candidates, abs=1e-12)
    assert matching_accuracy(scores, "first").item() == 1
    labels = torch.arange(50) % 2
    assert verification_auc(scores[:, 0], labels).item() == 0.5
    assert equal_error_rate(scores[:, 0], labels).rate.item() == 0.5
    assert min_dcf(scores[:, 0], labels).item() == 1


@pytest.mark.parametrize("size", [100, 331, 1031])
def test_constant_embedding_gets_exactly_chance_in_retrieval(size):
    ids, queries = torch.arange(size) % 9, torch.arange(45) % 9
    result = compute_retrieval(torch.full((45, 33), 0.3), torch.full((size, 33), 0.7), queries, ids)
    assert result.mean_average_precision == pytest.approx(result.chance, abs=1e-12)
    assert result.recall[1] == pytest.approx((result.num_relevant.double() / size).mean().item(), abs=1e-12)


def test_pair_scores_are_cosines():
    voices, faces = torch.randn(5, 8), torch.randn(6, 8)
    anchor, candidate = torch.tensor([0, 4, 2]), torch.tensor([[0, 5], [1, 1], [3, 2]])
    expected = torch.cosine_similarity(voices[anchor][:, None], faces[candidate], dim=2)
    assert torch.allclose(pair_scores(voices, faces, anchor, candidate), expected, atol=1e-6)
    assert torch.allclose(pair_scores(voices, faces, anchor, candidate[:, 1]), expected[:, 1], atol=1e-6)
    assert torch.allclose(pair_scores(voices * 7, faces / 3, anchor, candidate), expected, atol=1e-6)
    zeros = pair_scores(torch.zeros(1, 8), faces, torch.tensor([0]), torch.tensor([1]))
    assert zeros.item() == 0


def test_auc_is_the_chance_that_a_match_wins():
    scores, labels = torch.rand(90), torch.arange(90) % 3 == 0
    wins = scores[labels][:, None] > scores[~labels]
    assert verification_auc(scores, labels).item() == pytest.approx(wins.double().mean().item())
    assert verification_auc(-scores, labels).item() == pytest.approx(1 - wins.double().mean().item())


@pytest.mark.parametrize("levels", [5, 40, 10**7])
def test_auc_and_roc_agree_with_scikit_learn(levels):
    reference = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(levels)
    labels = rng.random(700) < 0.4
    scores = np.round((rng.normal(size=700) + 0.7 * labels) * levels) / levels
    ours, mine = torch.from_numpy(scores), torch.from_numpy(labels)
    assert verification_auc(ours, mine).item() == pytest.approx(
        reference.roc_auc_score(labels, scores), abs=1e-9
    )
    false_alarm, hit, _ = reference.roc_curve(labels, scores, drop_intermediate=False)
    curve = roc_curve(ours, mine)
    assert np.allclose(curve.fpr, false_alarm, atol=1e-12)
    assert np.allclose(curve.tpr, hit, atol=1e-12)
    dense = np.linspace(0, 1, 200_001)
    miss = 1 - np.interp(dense, false_alarm, hit)
    assert equal_error_rate(ours, mine).rate.item() == pytest.approx(
        dense[np.argmin(abs(miss - dense))], abs=1e-5
    )
    cost = (0.1 * (1 - hit) + 0.9 * false_alarm).min() / 0.1
    assert min_dcf(ours, mine, p_target=0.1).item() == pytest.approx(cost, abs=1e-12)


def test_equal_error_rate_by_hand():
    # Matches 3, 1; mismatches 2, 0: corners (0, 0), (0, .5), (.5, .5) ...; miss = alarm in the third.
    rate, threshold = equal_error_rate(torch.tensor([3.0, 2, 1, 0]), torch.tensor([1, 0, 1, 0]))
    assert (rate.item(), threshold.item()) == (0.5, 2)
    assert equal_error_rate(torch.tensor([3.0, 2, 1, 0]), torch.tensor([1, 1, 0, 0])).rate.item() == 0
    assert equal_error_rate(torch.tensor([3.0, 2, 1, 0]), torch.tensor([0, 0, 1, 1])).rate.item() == 1
    # Alarm 0 with miss 1/3, then alarm 1/2 with miss 1/3: the line meets miss = alarm at 1/3.
    scores, labels = torch.tensor([9.0, 8, 7, 6, 5]), torch.tensor([1, 1, 0, 1, 0])
    assert equal_error_rate(scores, labels).rate.item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("grid", [None, 4, 16])
def test_grouped_retrieval_agrees_with_scikit_learn(grid):
    reference = pytest.importorskip("sklearn.metrics")
    queries, gallery, query_ids, gallery_ids = some_embeddings(3, grid=grid)
    queries, gallery = queries.double(), gallery.double()
    result = compute_retrieval(queries, gallery, query_ids, gallery_ids, tie_breaking="grouped")
    unit = matching.l2_normalize
    scores = unit(queries) @ unit(gallery).T
    for q, found in enumerate(result.average_precision.tolist()):
        truth = reference.average_precision_score((gallery_ids == query_ids[q]).numpy(), scores[q].numpy())
        assert found == pytest.approx(truth, abs=1e-9)
    single = compute_retrieval(
        queries.float(), gallery.float(), query_ids, gallery_ids, tie_breaking="grouped"
    )
    scores = (unit(queries.float()) @ unit(gallery.float()).T).numpy()
    if grid is None:  # without ties all rules are one
        fair = compute_retrieval(queries, gallery, query_ids, gallery_ids)
        assert torch.allclose(fair.average_precision, result.average_precision, atol=1e-12)
        truth = [
            reference.average_precision_score((gallery_ids == query_ids[q]).numpy(), scores[q])
            for q in range(len(queries))
        ]
        assert np.allclose(single.average_precision, truth, atol=1e-9)


def test_fair_ties_are_the_mean_over_all_orders():
    rng = np.random.default_rng(5)
    for _ in range(12):
        values = rng.integers(0, 3, 8)
        angles = torch.tensor(values / 3)
        gallery = torch.stack([angles.cos(), angles.sin()], 1).float()
        ids = torch.from_numpy(rng.integers(0, 2, 8))
        ids[0] = 1
        result = compute_retrieval(torch.tensor([[1.0, 0.0]]), gallery, torch.tensor([1]), ids, cmc_length=8)
        precision, ranks = expected_over_orders(-values, ids.numpy() == 1)
        assert result.average_precision[0].item() == pytest.approx(precision, abs=1e-12)
        assert result.first_rank[0].item() == pytest.approx(ranks.mean())
        assert result.cmc.tolist() == pytest.approx([np.mean(ranks <= k) for k in range(1, 9)])


def test_published_ties_keep_gallery_order():
    gallery = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    result = compute_retrieval(
        gallery[:1], gallery, torch.tensor([5]), torch.tensor([4, 5, 4, 5]), tie_breaking="first"
    )
    assert result.average_precision[0].item() == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert result.first_rank[0].item() == 2


@pytest.mark.parametrize("grid", [None, 4, 16])
@pytest.mark.parametrize("first_wins", [False, True])
def test_compiled_counts_equal_tensor_counts(grid, first_wins):
    queries, gallery, query_ids, gallery_ids = some_embeddings(8, grid=grid)
    ranker = Ranker(gallery, gallery_ids, query_ids, first_wins)
    for rows in (slice(0, 20), slice(20, 37)):
        compiled = ranker.count(queries[rows], rows, compiled=True)
        exact = Ranker(gallery.double(), gallery_ids, query_ids, first_wins).count(
            queries[rows].double(), rows
        )
        by_tensors = ranker.count(queries[rows], rows, compiled=False)
        assert all(torch.equal(a, b) for a, b in zip(compiled, by_tensors))
        if grid is not None:  # single precision is exact
            assert all(torch.equal(a, b) for a, b in zip(compiled, exact))
        assert torch.equal(compiled[2], exact[2])


@pytest.mark.parametrize("first_wins", [False, True])
def test_the_kernel_stays_inside_its_arrays(first_wins):
    """Run it as plain Python, which checks every index, unlike the compiled form."""
    queries, gallery, query_ids, gallery_ids = some_embeddings(9, queries=3, gallery=30, grid=4)
    ranker = Ranker(gallery, gallery_ids, query_ids, first_wins)
    above, tied, _ = ranker.count(queries, slice(0, 3), compiled=True)
    arrays = (queries @ gallery.T, ranker.labels, ranker.gallery_labels, ranker.members, ranker.starts)
    found = np.zeros_like(above.numpy()), np.ones_like(tied.numpy())
    ranking_numba.count_ranks.py_func(*(array.numpy() for array in arrays), first_wins, *found)
    assert np.array_equal(found, [above.numpy(), tied.numpy()])


def test_the_kernel_is_compiled_for_many_scores_only(monkeypatch):
    queries, gallery, query_ids, gallery_ids = some_embeddings(9, queries=3, gallery=30, grid=4)
    calls = []
    monkeypatch.setattr(ranking_numba, "count_ranks", lambda *arrays: calls.append(arrays))
    compute_retrieval(queries, gallery, query_ids, gallery_ids)
    assert not calls
    monkeypatch.setattr(ranking, "COMPILED_FROM", 90)
    compute_retrieval(queries, gallery, query_ids, gallery_ids)
    assert len(calls) == 1


def test_the_kernel_is_compiled_without_a_cache_where_none_can_be_written(monkeypatch):
    compile_function = ranking_numba.numba.njit

    def refuse(*, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_function(**options)

    monkeypatch.setattr(ranking_numba.numba, "njit", refuse)
    assert ranking_numba._compiled(lambda x: x + 1)(2) == 3


@pytest.mark.parametrize("seed", range(3))
def test_retrieval_equals_a_plain_sort(seed):
    queries, gallery, query_ids, gallery_ids = some_embeddings(seed, gallery=400)
    rule = {"cutoffs": (1, 7), "cmc_length": 20, "tie_breaking": "first"}
    result = compute_retrieval(queries, gallery, query_ids, gallery_ids, **rule)
    scores = matching.l2_normalize(queries) @ matching.l2_normalize(gallery).T
    for q in range(len(queries)):
        hit = (gallery_ids == query_ids[q])[scores[q].argsort(descending=True, stable=True)]
        places = hit.nonzero()[:, 0] + 1
        expected = ((torch.arange(len(places)) + 1) / places.double()).mean().item()
        assert result.average_precision[q].item() == pytest.approx(expected, abs=1e-12)
        assert result.hit_at[q].tolist() == [float(hit[:1].any()), float(hit[:7].any())]
        assert result.first_rank[q].item() == places[0].item()
    assert result.cmc[6].item() == pytest.approx(result.recall[7])


def test_blocks_do_not_change_results(monkeypatch):
    inputs = some_embeddings(4, grid=4)
    whole = compute_retrieval(*inputs)
    monkeypatch.setattr(matching, "BLOCK_BYTES", 1000)
    parts = compute_retrieval(*inputs)
    assert torch.allclose(whole.average_precision, parts.average_precision, atol=1e-12, equal_nan=True)
    assert torch.allclose(whole.hit_at, parts.hit_at, atol=1e-12, equal_nan=True)
    anchor, candidate = torch.arange(30), torch.randint(0, 90, (30, 4))
    few = pair_scores(inputs[0], inputs[1], anchor, candidate)
    monkeypatch.undo()
    assert torch.equal(few, pair_scores(inputs[0], inputs[1], anchor, candidate))


def test_chance_is_the_mean_over_random_orders():
    generator = torch.Generator().manual_seed(1)
    for relevant, gallery in ((1, 1), (1, 6), (3, 9), (9, 9)):
        order = torch.rand(20_000, gallery, generator=generator).argsort(1)
        places = (order < relevant).nonzero()[:, 1].reshape(-1, relevant) + 1
        precision = ((torch.arange(relevant) + 1) / places.double()).mean(1)
        found = chance_average_precision(torch.tensor([relevant]), gallery).item()
        assert found == pytest.approx(precision.mean().item(), abs=4 * precision.std().item() / 141 + 1e-12)


def test_queries_without_relevant_items_are_left_out():
    queries, gallery = torch.randn(3, 4), torch.randn(5, 4)
    ids = torch.tensor([0, 0, 1, 1, 1])
    result = compute_retrieval(queries, gallery, torch.tensor([0, 7, 1]), ids)
    assert result.average_precision.isnan().tolist() == [False, True, False]
    assert result.mean_average_precision == pytest.approx(result.average_precision[[0, 2]].mean().item())
    assert result.cutoffs == (1, 5, 10)
    for wrong in ({"cutoffs": (0, 5)}, {"cmc_length": 0}):
        with pytest.raises(ValueError, match="start at 1"):
            compute_retrieval(queries, gallery, torch.tensor([0, 7, 1]), ids, **wrong)
    with pytest.raises(ValueError, match="no query shares an identity"):
        compute_retrieval(queries, gallery, torch.tensor([7, 7, 8]), ids)


def test_errors_say_what_was_found():
    with pytest.raises(ValueError, match="row 2 first"):
        pair_scores(
            torch.tensor([[1.0], [1], [float("nan")]]), torch.ones(1, 1), torch.tensor([0]), torch.tensor([0])
        )
    with pytest.raises(ValueError, match="reaches from 0 to 3, expected 0 to 2"):
        pair_scores(torch.ones(4, 2), torch.ones(3, 2), torch.tensor([0, 1]), torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="at least 2"):
        matching_correct(torch.ones(4, 1))
    with pytest.raises(ValueError, match="got 'best'"):
        matching_correct(torch.ones(4, 2), "best")
    holes = torch.tensor([0.5, float("nan"), 0.25, float("nan")])
    with pytest.raises(ValueError, match="2 of 4 scores are NaN"):
        matching_correct(holes.reshape(2, 2))
    with pytest.raises(ValueError, match="2 of 4 scores are NaN"):
        verification_auc(holes, torch.tensor([1, 0, 1, 0]))
    with pytest.raises(ValueError, match="got 3 and 0"):
        verification_auc(torch.rand(3), torch.ones(3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_cpu():
    inputs = some_embeddings(6, grid=4)
    for ties in RETRIEVAL_TIE_BREAKING:
        here, there = (
            compute_retrieval(*inputs, tie_breaking=ties),
            compute_retrieval(*(t.cuda() for t in inputs), tie_breaking=ties),
        )
        assert torch.allclose(here.average_precision, there.average_precision, atol=1e-12, equal_nan=True)
