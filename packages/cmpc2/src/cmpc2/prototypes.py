"""Prototypes: k-means over a bank of embeddings and the concentration of its clusters (docs/cmpc2.md).

Letters: N points, D their length, K clusters. Distances of all points to all centres are never held at once.
"""

import importlib.util
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from cmpc2.model_config import Backend, CentreInit, EmptyClusters, FinalAssignment

MAX_DISTANCES = 2**21  # distances held at once


@dataclass(frozen=True)
class Clustering:
    """One clustering of a bank.

    Attributes:
        assignment: cluster of every point, int64 (N,).
        centroids: means of the clusters, not of unit length, (K, D).
        distance: squared distance of every point to its centre, (N,).
        density: concentration phi of every cluster, the temperature of its prototype, (K,).
    """

    assignment: Tensor
    centroids: Tensor
    distance: Tensor
    density: Tensor

    def to_dict(self) -> dict[str, Tensor]:
        """By name, as resume states keep them."""
        return dict(vars(self))


class KMeansResult(NamedTuple):
    """What k-means gives: assignment (N,), centroids (K, D), squared distances (N,)."""

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
    backend: Backend = "auto",
    generator: torch.Generator | None = None,
) -> Clustering:
    """k-means and concentrations; arguments as of `kmeans` and `concentration`."""
    found = kmeans(
        points,
        num_clusters,
        num_iterations=num_iterations,
        init=init,
        empty_clusters=empty_clusters,
        final_assignment=final_assignment,
        backend=backend,
        generator=generator,
    )
    density = concentration(found.assignment, found.distance, num_clusters, temperature)
    return Clustering(found.assignment, found.centroids, found.distance, density)


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
    """Lloyd's algorithm with exact distances, in blocks.

    Args:
        points: shape (N, D), finite.
        num_clusters: K, at most N.
        num_iterations: of assignment and update.
        init: first centres: "random" different points, "k-means++" (far points preferred) or, as
            published, the "first" K points.
        empty_clusters: what becomes of a cluster without members: a point far from its own centre ("reseed"),
            or, as published, NaN for good ("nan").
        final_assignment: "consistent" assigns once more, so that assignment and distances belong to the
            centres that are returned; "published" returns those of the centres before the last update.
        cosine: compare by the largest dot product, centres at unit length after each update.
        backend: "torch"; "faiss" (its own start, empty clusters split); "auto": faiss where it is installed
            and its way is asked for (random start, reseeding, consistent).
        generator: for the start; the same one gives the same clusters.

    Raises:
        ValueError: more clusters than points, no iteration, or an unknown option.
        ModuleNotFoundError: faiss is asked for and absent.
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
            f"{tuple(points.shape)}: expected 1 to N clusters of (N, D) points, 1 iteration or more; "
            "ask for fewer clusters (clustering.num_clusters) or give more videos"
        )
    usual = (init, empty_clusters, final_assignment) == ("random", "reseed", "consistent")
    if backend == "faiss" or (backend == "auto" and usual and importlib.util.find_spec("faiss")):
        return _kmeans_faiss(points, num_clusters, num_iterations, cosine, generator)
    centres = _initial_centres(points, num_clusters, init, generator)
    for _ in range(num_iterations):
        assignment, distance = assign_to_centres(points, centres, cosine=cosine)
        before, centres = centres, _cluster_means(points, assignment, num_clusters)
        if empty_clusters == "reseed":
            centres = _reseed_empty(points, assignment, distance, centres, before)
        if cosine:
            centres = normalize(centres, dim=1)
    if final_assignment == "consistent":
        assignment, distance = assign_to_centres(points, centres, cosine=cosine)
    return KMeansResult(assignment, centres, distance)


@torch.no_grad()
def assign_to_centres(points: Tensor, centres: Tensor, *, cosine: bool = False) -> tuple[Tensor, Tensor]:
    """The nearest centre of every point and the squared distance to it; centres that are NaN are nobody's.

    Args:
        points: shape (N, D).
        centres: shape (K, D).
        cosine: the centre with the largest dot product instead.

    Returns:
        (int64 (N,), (N,)).
    """
    lengths = centres.square().sum(1)
    offset = torch.zeros_like(lengths) if cosine else lengths / 2
    offset = torch.where(lengths.isnan(), torch.inf, offset)
    safe = centres.nan_to_num(0.0)
    step = max(1, MAX_DISTANCES // len(centres))
    chosen = torch.cat(
        [torch.addmm(offset, block, safe.T, alpha=-1).argmin(1) for block in points.split(step)]
    )
    distance = torch.cat(
        [(block - safe[rows]).square().sum(1) for block, rows in zip(points.split(step), chosen.split(step))]
    )
    return chosen, distance


@torch.no_grad()
def concentration(
    assignment: Tensor, distance: Tensor, num_clusters: int, temperature: float = 0.2
) -> Tensor:
    """Concentration phi of every cluster: mean distance of its members / log(members + 10), scaled.

    Clusters of one member or none get the greatest value; all are cut at the 10th and 90th percentile.

    Args:
        assignment: int64 (N,).
        distance: squared distances (N,).
        clusters: K.
        temperature: mean of the result.

    Returns:
        Shape (K,), above 0 unless all distances are 0; then all are `temperature`.
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
    """Centres to begin with, (K, D), different rows of the points."""
    if init == "first":
        return points[:num_clusters].clone()
    if init == "random":
        rows = torch.randperm(len(points), generator=generator)[:num_clusters]
        return points[rows.to(points.device)].clone()
    draws = torch.rand(num_clusters, generator=generator, dtype=torch.float64)
    chosen = [min(int(draws[0] * len(points)), len(points) - 1)]
    nearest = (points - points[chosen[0]]).square().sum(1).double()
    for draw in draws[1:].tolist():
        rising = nearest.cumsum(0)
        if not rising[-1] > 0:  # only copies of chosen points are left
            rising = torch.ones_like(nearest).cumsum(0)
        row = int(torch.searchsorted(rising, draw * rising[-1], right=True))
        chosen.append(min(row, len(points) - 1))
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).square().sum(1).double())
    return points[torch.tensor(chosen, device=points.device)].clone()


def _cluster_means(points: Tensor, assignment: Tensor, num_clusters: int) -> Tensor:
    """Mean of the members of every cluster, NaN where there are none."""
    total = points.new_zeros(num_clusters, points.shape[1]).index_add_(0, assignment, points)
    return total / torch.bincount(assignment, minlength=num_clusters)[:, None]


def _reseed_empty(
    points: Tensor, assignment: Tensor, distance: Tensor, centres: Tensor, previous_centres: Tensor
) -> Tensor:
    """Centres with the farthest points in place of empty ones; old centres where all points are on theirs."""
    size = torch.bincount(assignment, minlength=len(centres))
    vacant = (size == 0).nonzero().flatten()
    if not len(vacant):
        return centres
    far = distance.argsort(descending=True, stable=True)[: len(vacant)]
    moved = torch.where(distance[far, None] > 0, points[far], previous_centres[vacant])
    return centres.index_copy(0, vacant, moved)


def _kmeans_faiss(
    points: Tensor, num_clusters: int, num_iterations: int, cosine: bool, generator: torch.Generator | None
) -> KMeansResult:
    """The same through faiss, on the CPU; a consistent assignment by our own exact distances."""
    import faiss  # type: ignore[import-not-found,unused-ignore]

    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    worker = faiss.Kmeans(
        points.shape[1],
        num_clusters,
        niter=num_iterations,
        seed=seed,
        spherical=cosine,
        min_points_per_centroid=1,
        max_points_per_centroid=max(256, -(-len(points) // num_clusters)),
    )
    worker.train(points.detach().float().cpu().numpy())
    centres = torch.from_numpy(worker.centroids).to(points)
    return KMeansResult(*_to_partition(assign_to_centres(points, centres, cosine=cosine), centres))


def _to_partition(assigned: tuple[Tensor, Tensor], centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    assignment, distance = assigned
    return assignment, centres, distance
