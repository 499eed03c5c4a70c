"""Compiled counting of retrieval ranks on the CPU without sorting the gallery."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

__all__ = [
    "BUCKETS",
    "count_ranks",
]

BUCKETS = 2048  # more buckets: fewer comparisons a score, longer tables to fill for each query


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with a cache on disk, or without one where no folder can be written."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)


@_compiled
def count_ranks(
    scores: np.ndarray,
    labels: np.ndarray,
    gallery_labels: np.ndarray,
    members: np.ndarray,
    starts: np.ndarray,
    first_wins: bool,
    above: np.ndarray,
    tied: np.ndarray,
) -> None:
    """For every relevant item count the gallery items that score higher and those that score the same.

    The relevant scores of a query are sorted; they cut the line of scores into intervals, and each gallery
    score is put into its interval. Scores are counted in equal-width buckets, which rounding keeps in order:
    a bucket without a cut lies in one interval as a whole. Scores of the few buckets with a cut are compared
    with the cuts themselves, so the counts are exact. Bucket 0 lies below the lowest cut.

    Args:
        scores: float32 (B, G), query by gallery, finite.
        labels: int64 (B,), identity numbers of the queries, each below I.
        gallery_labels: int64 (G,).
        members: int64 (G,), gallery positions in the order of their identity number.
        starts: int64 (I + 1,), where each identity begins in `members`.
        first_wins: count ties as if the item that comes first in the gallery scored higher.
        above: int64 (B, R), written: per relevant item in descending order of score, how many items stand
            before it.
        tied: int64 (B, R), written: how many items share its score, itself included (1 where `first_wins`).
            Columns past the number of relevant items are left as they are.
    """
    gallery = scores.shape[1]
    width = above.shape[1]
    bins = BUCKETS + 3
    cuts = np.empty(width + 1, np.float32)
    between = np.empty(width + 1, np.int64)
    equal = np.empty(width + 1, np.int64)
    before = np.empty(width + 1, np.int64)
    seen = np.empty(width + 1, np.int64)
    first_cut = np.zeros(bins, np.int32)
    holds = np.zeros(bins, np.uint8)
    counts = np.empty((4, bins), np.int32)
    total = np.empty(bins, np.int32)
    bucket = np.empty(gallery, np.int32)
    unclear = np.empty(gallery + 1, np.int32)
    top = np.float32(BUCKETS + 2)
    one = np.float32(1)
    zero = np.float32(0)
    for b in range(scores.shape[0]):
        row = scores[b]
        begin, end = starts[labels[b]], starts[labels[b] + 1]
        relevant = end - begin
        if relevant == 0:
            continue
        for i in range(relevant):
            cuts[i] = row[members[begin + i]]
        cuts[:relevant].sort()
        cuts[relevant] = np.float32(np.inf)
        low = cuts[0]
        span = cuts[relevant - 1] - low
        scale = zero
        if span > np.float32(1e-30):
            scale = np.float32(BUCKETS) / span
        for j in range(gallery):
            bucket[j] = np.int32(min(max((row[j] - low) * scale + one, zero), top))
        previous = -1
        for i in range(relevant):
            c = int(min(max((cuts[i] - low) * scale + one, zero), top))
            if c != previous:
                holds[c] = 1
                first_cut[c] = i
                previous = c
        counts[:] = 0  # four tables, as an increment waits for the one before it in the same place
        whole = gallery - gallery % 4
        for j in range(0, whole, 4):
            counts[0, np.uint32(bucket[j])] += 1
            counts[1, np.uint32(bucket[j + 1])] += 1
            counts[2, np.uint32(bucket[j + 2])] += 1
            counts[3, np.uint32(bucket[j + 3])] += 1
        for j in range(whole, gallery):
            counts[0, np.uint32(bucket[j])] += 1
        n = np.uint32(0)
        for j in range(gallery):  # written always and kept if there is a cut: no branch to be predicted
            unclear[n] = j
            n += np.uint32(holds[np.uint32(bucket[j])])
        for i in range(relevant + 1):
            between[i] = 0
            equal[i] = 0
            seen[i] = 0
        for c in range(bins):
            total[c] = counts[0, c] + counts[1, c] + counts[2, c] + counts[3, c]
        begin_bin = 0
        for i in range(relevant):
            c = int(min(max((cuts[i] - low) * scale + one, zero), top))
            if holds[c]:
                between[i] = total[begin_bin:c].sum()
                begin_bin = c + 1
                holds[c] = 0
        between[relevant] = total[begin_bin:].sum()
        for k in range(n):
            j = unclear[k]
            score = row[j]
            i = first_cut[bucket[j]]
            while cuts[i] < score:
                i += 1
            between[i] += 1
            if cuts[i] == score:
                if first_wins and gallery_labels[j] == labels[b]:
                    before[i + seen[i]] = equal[i]
                    seen[i] += 1
                equal[i] += 1
        higher = between[relevant]
        stop = relevant
        while stop > 0:
            first = stop - 1
            while first > 0 and cuts[first - 1] == cuts[first]:
                first -= 1
            for i in range(first, stop):
                column = relevant - stop + (i - first)
                if first_wins:
                    above[b, column] = higher + before[i]
                    tied[b, column] = 1
                else:
                    above[b, column] = higher
                    tied[b, column] = equal[first]
            higher += between[first]
            stop = first
