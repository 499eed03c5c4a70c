"""Average linkage: groups, thresholds, and members that must stay apart."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from voiceface.metrics.linkage import average_linkage


def slow(rows, limit):
    """Join the two nearest groups as long as their mean distance is at most the limit."""
    groups = [[k] for k in range(len(rows))]
    while len(groups) > 1:
        means = {
            (a, b): np.mean([np.linalg.norm(rows[i] - rows[j]) for i in groups[a] for j in groups[b]])
            for a in range(len(groups))
            for b in range(a)
        }
        (a, b), mean = min(means.items(), key=lambda item: item[1])
        if mean > limit:
            break
        groups[b] += groups.pop(a)
    return {tuple(sorted(group)) for group in groups}


@pytest.mark.parametrize("limit", [0.3, 0.8, 1.5, 9.0])
def test_groups_are_those_of_a_slow_search(limit):
    rows = np.random.default_rng(0).normal(size=(14, 3))
    found = average_linkage(rows, limit)
    assert {tuple(np.flatnonzero(found == k).tolist()) for k in set(found.tolist())} == slow(rows, limit)
    assert list(dict.fromkeys(found.tolist())) == list(range(found.max() + 1))  # by first appearance


@pytest.mark.parametrize("count", [2, 3, 40, 300])
def test_a_pair_apart_is_in_two_groups_however_many_there_are(count):
    rows = np.random.default_rng(1).normal(size=(count, 4)) * 1e-3
    apart = np.zeros((count, count), bool)
    apart[0, -1] = apart[-1, 0] = True
    found = average_linkage(rows, 0.6, apart)
    assert found[0] != found[-1] and set(found.tolist()) == {0, 1}


def test_distances_of_others_stay_as_they_are():
    rows = np.random.default_rng(2).normal(size=(60, 4))
    apart = np.zeros((60, 60), bool)
    apart[0, 1] = apart[1, 0] = True
    found = average_linkage(np.concatenate([rows[:2] + 50, rows[2:]]), 1.5, apart)[2:]
    wanted = fcluster(linkage(rows[2:], "average"), 1.5, "distance")
    assert ((found[:, None] == found) == (wanted[:, None] == wanted)).all()


def test_none_and_one():
    assert average_linkage(np.zeros((0, 3)), 0.6).shape == (0,)
    assert average_linkage(np.zeros((1, 3)), 0.6).tolist() == [0]
