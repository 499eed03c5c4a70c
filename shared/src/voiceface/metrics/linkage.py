"""Groups of similar embeddings by average linkage (Sokal and Michener, 1958)."""

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

__all__ = ["average_linkage"]

FAR = 10.0  # mean distance of two groups that must stay apart, at least


def average_linkage(
    embeddings: npt.ArrayLike, max_distance: float, apart: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Join the two nearest groups while the mean Euclidean distance of their members is small enough.

    Args:
        embeddings: (N, D).
        max_distance: mean distance up to which two groups are joined; below 10.
        apart: (N, N), symmetric; members of such a pair are never in one group. None: no such pair.

    Returns:
        (N,) number of the group of each, in the order of first appearance.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist, squareform

    rows = np.asarray(embeddings, np.float64)
    count = len(rows)
    if count < 2:
        return np.zeros(count, np.int64)
    distances = pdist(rows)
    if apart is not None and apart.any():  # one such pair keeps even two halves of all rows apart
        distances = np.where(squareform(apart, checks=False), distances + FAR * count**2 / 4, distances)
    labels = fcluster(linkage(distances, "average"), max_distance, "distance")
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse.reshape(-1)].astype(np.int64)
