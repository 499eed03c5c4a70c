"""k-means against scikit-learn, its laws, empty clusters, concentrations."""

import math
from typing import Any

import cmpc2.prototypes
import pytest
import torch
from cmpc2.prototypes import assign_to_centres, cluster, concentration, kmeans
from sklearn.cluster import KMeans
from torch.nn.functional import normalize

PUBLISHED: dict[str, Any] = {"init": "first", "empty_clusters": "nan", "final_assignment": "published"}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("clusters", [2, 5, 9])
def test_same_initialisation_converges_like_scikit_learn(clusters: int) -> None:
    points = torch.randn(200, 7, generator=seeded(), dtype=torch.float64)
    reference = KMeans(clusters, init=points[:clusters].numpy(), n_init=1, max_iter=300, tol=0).fit(
        points.numpy()
    )
    computed = kmeans(points, clusters, num_iterations=300, init="first")
    assert torch.equal(computed.assignment, torch.from_numpy(reference.labels_).long())
    assert torch.allclose(computed.centroids, torch.from_numpy(reference.cluster_centers_))
    assert float(computed.distance.sum()) == pytest.approx(reference.inertia_)


@pytest.mark.parametrize("start", ["random", "k-means++"])
def test_seeded_initialisation_is_about_as_good_as_scikit_learn(start: Any) -> None:
    centres = 4 * torch.randn(12, 5, generator=seeded(1))
    points = centres.repeat(20, 1) + torch.randn(240, 5, generator=seeded(2))
    best = KMeans(12, n_init=10, random_state=0).fit(points.numpy()).inertia_
    computed = min(
        float(kmeans(points, 12, init=start, generator=seeded(seed)).distance.sum()) for seed in range(5)
    )
    assert computed < 1.3 * best


@pytest.mark.parametrize("start", ["random", "k-means++", "first"])
def test_seed_gives_the_same_clusters_whatever_the_blocks(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = torch.randn(150, 6, generator=seeded())
    whole = kmeans(points, 8, init=start, generator=seeded(5))
    monkeypatch.setattr(cmpc2.prototypes, "MAX_DISTANCES", 64)
    pieces = kmeans(points, 8, init=start, generator=seeded(5))
    assert torch.equal(whole.assignment, pieces.assignment)
    assert torch.allclose(whole.centroids, pieces.centroids)


def test_distant_points_are_preferred_and_the_last_one_can_be_chosen() -> None:
    points = torch.zeros(7, 2)
    points[6] = 1.0
    rule: dict[str, Any] = {"num_iterations": 1, "empty_clusters": "nan"}
    for seed in range(5):
        result = kmeans(points, 2, init="k-means++", generator=seeded(seed), **rule)
        assert sorted(result.centroids[:, 0].tolist()) == [0.0, 1.0]


def test_clusterings_are_k_means_of_20_iterations_by_default() -> None:
    points = torch.randn(3000, 5, generator=seeded(4))
    result = cluster(points, 40, backend="torch", generator=seeded())
    for iterations in (19, 20, 21):
        expected = kmeans(points, 40, num_iterations=iterations, generator=seeded())
        assert torch.equal(result.centroids, expected.centroids) == (iterations == 20)


def test_every_point_is_assigned_to_its_nearest_returned_centre() -> None:
    points = torch.randn(100, 4, generator=seeded(3))
    result = kmeans(points, 7, num_iterations=2, generator=seeded())
    table = torch.cdist(points.double(), result.centroids.double()) ** 2
    assert torch.equal(result.assignment, table.argmin(1))
    assert torch.allclose(result.distance.double(), table.min(1).values, atol=1e-5)


def test_published_assignments_belong_to_the_centres_before_the_last_update() -> None:
    points = torch.randn(60, 3, generator=seeded(4))
    result = kmeans(points, 5, num_iterations=1, **PUBLISHED)
    assert torch.equal(result.assignment, torch.cdist(points, points[:5]).argmin(1))
    for k in range(5):
        assert torch.allclose(result.centroids[k], points[result.assignment == k].mean(0), atol=1e-6)


def test_cosine_form_depends_on_directions_only() -> None:
    points = normalize(torch.randn(80, 5, generator=seeded(6)), dim=1)
    result = kmeans(points, 6, cosine=True, generator=seeded())
    assert torch.allclose(result.centroids.norm(dim=1), torch.ones(6), atol=1e-5)
    assert torch.equal(result.assignment, (points @ result.centroids.T).argmax(1))


def test_empty_clusters_are_reseeded_or_as_published_nan() -> None:
    points = torch.randn(40, 3, generator=seeded(7))
    points[1:4] = points[0]  # four equal centres to begin with: three of them get no identity
    published = kmeans(points, 8, **PUBLISHED)
    broken = published.centroids.isnan().any(1)
    assert int(broken.sum()) == 3
    assert not torch.isin(published.assignment, broken.nonzero().flatten()).any()
    assert published.distance.isfinite().all()
    computed = kmeans(points, 8, init="first")
    assert computed.centroids.isfinite().all() and len(computed.assignment.unique()) == 8


def test_identical_points_terminate() -> None:
    points = torch.ones(10, 3)
    for start in ("first", "random", "k-means++"):
        result = cluster(points, 4, init=start, backend="torch", generator=seeded())  # type: ignore[arg-type]
        assert (
            (result.centroids == 1).all() and (result.distance == 0).all() and result.density.isfinite().all()
        )


def test_as_many_clusters_as_points_have_no_distance() -> None:
    points = torch.randn(9, 2, generator=seeded(8))
    result = kmeans(points, 9, generator=seeded())
    assert sorted(result.assignment.tolist()) == list(range(9))
    assert float(result.distance.max()) < 1e-10


@pytest.mark.parametrize("clusters", [0, 11])
def test_more_clusters_than_points_are_refused(clusters: int) -> None:
    with pytest.raises(ValueError, match=r"clusters.*\(10, 2\)"):
        kmeans(torch.randn(10, 2), clusters)


def test_unknown_options_are_refused() -> None:
    for wrong in (
        {"init": "last"},
        {"empty_clusters": "drop"},
        {"final_assignment": "none"},
        {"backend": "gpu"},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be one of"):
            kmeans(torch.randn(5, 2), 2, **wrong)  # type: ignore[arg-type]


def test_nan_centres_have_no_points() -> None:
    centres = torch.tensor([[0.0, 0.0], [torch.nan, torch.nan], [5.0, 5.0]])
    chosen, distance = assign_to_centres(torch.tensor([[0.1, 0.0], [4.0, 4.0]]), centres)
    assert chosen.tolist() == [0, 2] and torch.allclose(distance, torch.tensor([0.01, 2.0]))


def test_concentration_by_hand() -> None:
    assignment = torch.tensor([0, 0, 0, 1, 1, 2])
    distance = torch.tensor([1.0, 4.0, 9.0, 1.0, 1.0, 100.0])  # the last cluster has one member
    raw = [2 / math.log(13), 1 / math.log(12), 0.0, 0.0]
    raw[2] = raw[3] = max(raw[:2])
    values = torch.tensor(raw, dtype=torch.float64)
    low, high = torch.quantile(values, torch.tensor([0.1, 0.9], dtype=torch.float64))
    wanted = values.clamp(low, high)
    wanted = 0.3 * wanted / wanted.mean()
    result = concentration(assignment, distance, 4, 0.3)
    assert torch.allclose(result.double(), wanted, atol=1e-6)
    assert float(result.mean()) == pytest.approx(0.3)


def test_faiss_gives_clusters_of_the_same_quality() -> None:
    pytest.importorskip("faiss")
    points = torch.randn(300, 6, generator=seeded(9))
    computed = kmeans(points, 10, generator=seeded())
    reference = kmeans(points, 10, backend="faiss", generator=seeded())
    assert float(reference.distance.sum()) == pytest.approx(float(computed.distance.sum()), rel=0.15)
    assert torch.equal(reference.assignment, torch.cdist(points, reference.centroids).argmin(1))
    again = kmeans(points, 10, backend="faiss", generator=seeded())
    assert torch.equal(again.centroids, reference.centroids)
