"""Prototypes: k-means on a memory bank and concentration of its clusters (docs/cmpc2.md).

Notation: N points of D components, K clusters. Distances are computed in blocks.
"""

import importlib.util
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from cmpc2.model_config import Backend, CentreInit, EmptyClusters, FinalAssignment

__all__ = [
    "MAX_DISTANCES",
    "Clustering",
    "KMeansResult",
    "assign_to_centres",
    "cluster",
    "concentration",
    "kmeans",
]

MAX_DISTANCES = 2**21  # distances in memory at a time


@dataclass(frozen=True)
class Clustering:
    """Clustering of a bank.

    Attributes:
        assignment: cluster of every point, int64 (N,).
        centroids: means of the clusters, not of unit length, (K, D).
        distance: squared distance of every point to its centre, (N,).
        density: concentration phi of every cluster: temperature of its prototype, (K,).
    """

    assignment: Tensor
    centroids: Tensor
    distance: Tensor
    density: Tensor

    def to_dict(self) -> dict[str, Tensor]:
        """Return the tensors by name, for the resume state."""
        return dict(vars(self))


class KMeansResult(NamedTuple):
    """Result of k-means: assignment (N,), centroids (K, D), squared distances (N,)."""

    assignment: Tensor
    centroids: Tensor
    distance: Tensor


def cluster(
    points: Tensor,
    num_clusters: int,
    *,
    temperature: float = 0.2,
    num_iterations: int = 20,
    init: CentreInit = "random",
    empty_clusters: EmptyClusters = "reseed",
    final_assignment: FinalAssignment = "consistent",
    backend: Backend = "torch",
    generator: torch.Generator | None = None,
) -> Clustering:
    """Compute k-means and concentrations; for arguments see `kmeans` and `concentration`."""
    result = kmeans(
        points,
        num_clusters,
        num_iterations=num_iterations,
        init=init,
        empty_clusters=empty_clusters,
        final_assignment=final_assignment,
        backend=backend,
        generator=generator,
    )
    density = concentration(result.assignment, result.distance, num_clusters, temperature)
    return Clustering(result.assignment, result.centroids, result.distance, density)


@torch.no_grad()
def kmeans(
    points: Tensor,
    num_clusters: int,
    *,
    num_iterations: int = 20,
    init: CentreInit = "random",
    empty_clusters: EmptyClusters = "reseed",
    final_assignment: FinalAssignment = "consistent",
    cosine: bool = False,
    backend: Backend = "torch",
    generator: torch.Generator | None = None,
) -> KMeansResult:
    """Run k-means: Lloyd's algorithm with exact distances, in blocks.

    Args:
        points: shape (N, D), finite.
        num_clusters: K, at most N.
        num_iterations: iterations of assignment and update, at least 1.
        init: initial centres: "random" different points, "k-means++" (distant points preferred) or, as
            published, the "first" K points.
        empty_clusters: new centre of a cluster without members: the point farthest from its centre
            ("reseed"), or, as published, NaN permanently ("nan").
        final_assignment: "consistent": assignment and distances belong to the returned centres;
            "published": to the centres before the last update.
        cosine: assign by the largest dot product; centres are normalised after each update.
        backend: "torch"; "faiss" (its own initialisation; empty clusters are split); "auto": faiss if it is
            installed and the options are "random", "reseed" and "consistent".
        generator: for the initial centres.

    Raises:
        ValueError: more clusters than points, no iteration, or an unknown option.
        ModuleNotFoundError: the backend is "faiss", which is not installed.
    """
    for name, value, known in (
        ("init", init, ("random", "k-means++", "first")),
        ("empty_clusters", empty_clusters, ("reseed", "nan")),
        ("final_assignment", final_assignment, ("consistent", "published")),
        ("backend", backend, ("auto", "torch", "faiss")),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, found {value!r}")
    if points.ndim != 2 or not 1 <= num_clusters <= len(points) or num_iterations < 1:
        raise ValueError(
            f"k-means with {num_clusters} clusters and {num_iterations} iterations over points of shape "
            f"{tuple(points.shape)}: expected 1 to N clusters of (N, D) points and at least 1 iteration; "
            "reduce clustering.num_clusters or use more videos"
        )
    faiss_options = (init, empty_clusters, final_assignment) == ("random", "reseed", "consistent")
    if backend == "faiss" or (backend == "auto" and faiss_options and importlib.util.find_spec("faiss")):
        return _kmeans_faiss(points, num_clusters, num_iterations, cosine, generator)
    centres = _initial_centres(points, num_clusters, init, generator)
    for _ in range(num_iterations):
        assignment, distance = assign_to_centres(points, centres, cosine=cosine)
        previous, centres = centres, _cluster_means(points, assignment, num_clusters)
        if empty_clusters == "reseed":
            centres = _reseed_empty(points, assignment, distance, centres, previous)
        if cosine:
            centres = normalize(centres, dim=1)
    if final_assignment == "consistent":
        assignment, distance = assign_to_centres(points, centres, cosine=cosine)
    return KMeansResult(assignment, centres, distance)


@torch.no_grad()
def assign_to_centres(points: Tensor, centres: Tensor, *, cosine: bool = False) -> tuple[Tensor, Tensor]:
    """Assign every point to its nearest centre; centres that are NaN are ignored.

    Args:
        points: shape (N, D).
        centres: shape (K, D).
        cosine: assign to the centre with the largest dot product instead.

    Returns:
        (assignment, int64 (N,); squared distances, (N,)).
    """
    lengths = centres.square().sum(1)
    offset = torch.zeros_like(lengths) if cosine else lengths / 2
    offset = torch.where(lengths.isnan(), torch.inf, offset)
    finite = centres.nan_to_num(0.0)
    size = max(1, MAX_DISTANCES // len(centres))
    blocks = points.split(size)
    assignment = torch.cat([torch.addmm(offset, block, finite.T, alpha=-1).argmin(1) for block in blocks])
    distance = torch.cat(
        [(block - finite[rows]).square().sum(1) for block, rows in zip(blocks, assignment.split(size))]
    )
    return assignment, distance


@torch.no_grad()
def concentration(
    assignment: Tensor, distance: Tensor, num_clusters: int, temperature: float = 0.2
) -> Tensor:
    """Concentration phi of every cluster: mean distance of its members / log(members + 10), scaled.

    Clusters with less than two members get the largest value; values are clipped to the 10th and 90th
    percentile.

    Args:
        assignment: int64 (N,).
        distance: squared distances (N,).
        num_clusters: number of clusters K.
        temperature: mean of the result.

    Returns:
        Shape (K,), above 0; all are `temperature` if all distances are 0.
    """
    size = torch.bincount(assignment, minlength=num_clusters)
    spread = torch.zeros(num_clusters, dtype=torch.float64, device=distance.device)
    spread.index_add_(0, assignment, distance.double().clamp_min(0).sqrt())
    phi = spread / size.clamp_min(1) / (size.double() + 10).log()
    known = size > 1
    phi = torch.where(known, phi, phi[known].max() if known.any() else phi.max())
    low, high = torch.quantile(phi, torch.tensor([0.1, 0.9], dtype=phi.dtype, device=phi.device))
    phi = phi.clamp(low, high)
    mean = phi.mean()
    if not mean > 0:
        return torch.full_like(distance[:1].expand(num_clusters), temperature)
    return (phi * (temperature / mean)).to(distance.dtype)


def _initial_centres(
    points: Tensor, num_clusters: int, init: CentreInit, generator: torch.Generator | None
) -> Tensor:
    """Select the initial centres, (K, D), different rows of the points."""
    if init == "first":
        return points[:num_clusters].clone()
    if init == "random":
        rows = torch.randperm(len(points), generator=generator)[:num_clusters]
        return points[rows.to(points.device)].clone()
    draws = torch.rand(num_clusters, generator=generator, dtype=torch.float64)
    chosen = [min(int(draws[0] * len(points)), len(points) - 1)]
    nearest = (points - points[chosen[0]]).square().sum(1).double()
    for draw in draws[1:].tolist():
        cumulative = nearest.cumsum(0)
        if not cumulative[-1] > 0:  # all remaining points are copies of chosen ones
            cumulative = torch.ones_like(nearest).cumsum(0)
        row = int(torch.searchsorted(cumulative, draw * cumulative[-1], right=True))
        chosen.append(min(row, len(points) - 1))
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).square().sum(1).double())
    return points[torch.tensor(chosen, device=points.device)].clone()


def _cluster_means(points: Tensor, assignment: Tensor, num_clusters: int) -> Tensor:
    """Compute the mean of the members of every cluster; NaN for empty clusters."""
    total = points.new_zeros(num_clusters, points.shape[1]).index_add_(0, assignment, points)
    return total / torch.bincount(assignment, minlength=num_clusters)[:, None]


def _reseed_empty(
    points: Tensor, assignment: Tensor, distance: Tensor, centres: Tensor, previous_centres: Tensor
) -> Tensor:
    """Replace empty clusters by the farthest points; by their previous centres if all distances are 0."""
    size = torch.bincount(assignment, minlength=len(centres))
    empty = (size == 0).nonzero().flatten()
    if not len(empty):
        return centres
    farthest = distance.argsort(descending=True, stable=True)[: len(empty)]
    reseeded = torch.where(distance[farthest, None] > 0, points[farthest], previous_centres[empty])
    return centres.index_copy(0, empty, reseeded)


def _kmeans_faiss(
    points: Tensor, num_clusters: int, num_iterations: int, cosine: bool, generator: torch.Generator | None
) -> KMeansResult:
    """Run k-means with faiss on the CPU; the final assignment uses exact distances."""
    import faiss  # type: ignore[import-not-found,unused-ignore]

    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    algorithm = faiss.Kmeans(
        points.shape[1],
        num_clusters,
        niter=num_iterations,
        seed=seed,
        spherical=cosine,
        min_points_per_centroid=1,
        max_points_per_centroid=max(256, -(-len(points) // num_clusters)),
    )
    algorithm.train(points.detach().float().cpu().numpy())
    centres = torch.from_numpy(algorithm.centroids).to(points)
    assignment, distance = assign_to_centres(points, centres, cosine=cosine)
    return KMeansResult(assignment, centres, distance)
