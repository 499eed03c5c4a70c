"""Counted ranks: exact for any scores, and the same to the bit on any number of threads."""

import numpy as np
import pytest
import torch
from voiceface.metrics import matching, ranking_numba
from voiceface.metrics.block_threads import map_blocks
from voiceface.metrics.ranking import Ranker
from voiceface.metrics.retrieval import compute_retrieval


def counts_by_comparing(scores, labels, gallery_labels, relevant, first_wins):
    """Counts of one query after the other, by comparing all pairs."""
    above = np.zeros((len(scores), int(relevant.max())), np.int64)
    tied = np.ones_like(above)
    for row, line in enumerate(scores):
        own = np.flatnonzero(gallery_labels == labels[row])
        own = own[np.lexsort((own, -line[own]))]
        higher = (line[None] > line[own, None]).sum(1)
        equal = line[None] == line[own, None]
        above[row, : len(own)] = higher
        if first_wins:
            above[row, : len(own)] += (equal & (np.arange(len(line))[None] < own[:, None])).sum(1)
        else:
            tied[row, : len(own)] = equal.sum(1)
    return above, tied


@pytest.mark.parametrize("first_wins", [False, True])
@pytest.mark.parametrize("spread", [1.0, 1e-7, 1e-33, 0.0, 3e4])
def test_counts_are_exact(first_wins, spread):
    """Also where the scores lie closer than buckets can tell apart, or are all equal."""
    rng = np.random.default_rng(4)
    scores = rng.normal(size=(23, 400)) * spread
    scores[:, ::7] = np.round(scores[:, ::7] / (spread or 1), 1) * spread
    scores = (scores + (0.25 if spread < 1e-30 else 0.0)).astype(np.float32)
    gallery_labels = torch.from_numpy(rng.integers(0, 9, 400))
    labels = torch.from_numpy(rng.integers(0, 10, 23))  # nobody in the gallery is the last
    ranker = Ranker(torch.randn(400, 3), gallery_labels, labels, first_wins)
    own, others = ranker.labels.numpy(), ranker.gallery_labels.numpy()
    expected = counts_by_comparing(scores, own, others, ranker.relevant, first_wins)
    found = np.zeros_like(expected[0]), np.ones_like(expected[1])
    arrays = scores, own, others, ranker.members.numpy(), ranker.starts.numpy()
    ranking_numba.count_ranks(*arrays, first_wins, *found)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("double", [False, True])
def test_threads_do_not_change_a_bit(double, monkeypatch):
    monkeypatch.setattr(matching, "BLOCK_BYTES", 40_000)
    generator = torch.Generator().manual_seed(4)
    queries, gallery = (torch.randn(count, 40, generator=generator) for count in (300, 700))
    query_ids, gallery_ids = torch.arange(300) % 21, torch.arange(700) % 21
    if double:
        queries, gallery = queries.double(), gallery.double()
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(compute_retrieval(queries, gallery, query_ids, gallery_ids))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        for name in ("average_precision", "hit_at", "cmc", "first_rank"):
            assert torch.equal(getattr(result, name), getattr(results[0], name)), name


def test_threads_are_restored_after_an_error_and_by_the_last_of_several_users():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        blocks = [slice(0, 1), slice(1, 2)]
        first, second = (map_blocks(lambda rows: torch.get_num_threads(), blocks) for _ in range(2))
        assert next(first) == 1 and torch.get_num_threads() == 1
        assert list(map_blocks(lambda rows: rows.start, blocks)) == [0, 1]
        assert torch.get_num_threads() == 1 and list(first) == [1]
        assert torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError):
            list(map_blocks(lambda rows: 1 // rows.start, blocks))
        assert torch.get_num_threads() == 3 and list(second) == [1, 1]
    finally:
        torch.set_num_threads(before)
