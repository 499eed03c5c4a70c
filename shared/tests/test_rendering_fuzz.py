"""Random meshes: the renderer equals the reference renderer bit by bit, on any number of threads."""

import numpy as np
import pytest
import reference_renderer
from hypothesis import given, settings
from hypothesis import strategies as st
from voiceface import rendering
from voiceface.rendering import parallel

SIDE = 20
extreme = st.floats(width=32)  # NaN, infinities, 1e-40, 1e38
near = st.floats(-4, SIDE + 4, width=32)
ties = st.integers(-8, 4 * SIDE).map(lambda quarter: quarter / 4)
far = st.sampled_from([-3e9, -1e6, -20000.25, 16384, 16385, 2**31, 1e12])
coordinates = st.one_of(near, ties, ties, near, far, extreme)
numbers = st.one_of(st.floats(-0.5, 1.5, width=32), st.floats(width=32))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Divide even the smallest mesh among threads."""
    monkeypatch.setattr(parallel, "MIN_WORK_PER_THREAD", 1.0)


@st.composite
def meshes(draw):
    """Vertices, triangles; many vertices share coordinates."""
    count = draw(st.integers(1, 9))
    palette = np.array(draw(st.lists(coordinates, min_size=2, max_size=12)), np.float32)
    chosen = draw(st.lists(st.integers(0, len(palette) - 1), min_size=3 * count, max_size=3 * count))
    vertices = palette[chosen].reshape(count, 3)
    corners = st.tuples(*[st.integers(0, count - 1)] * 3)
    triangles = draw(st.lists(corners, max_size=12))
    return vertices, np.array(triangles, np.int32).reshape(-1, 3)


@st.composite
def image_shapes(draw):
    """Height, width, channels and a seed of the content."""
    return draw(st.integers(1, SIDE)), draw(st.integers(1, SIDE)), draw(st.integers(1, 4)), draw(seeds)


seeds = st.integers(0, 2**32 - 1)
rules = st.sampled_from(sorted(rendering.COVERAGE))
threads = st.integers(1, 5)


@settings(max_examples=400, deadline=None)
@given(
    meshes(), image_shapes(), rules, threads, st.sampled_from([1.0, 0.35, 0.0]), st.booleans(), st.booleans()
)
def test_images_and_depths_equal_the_reference(mesh, shape, rule, count, alpha, reverse, preset):
    vertices, triangles = mesh
    height, width, channels, seed = shape
    rng = np.random.default_rng(seed)
    colors = rng.uniform(-0.2, 1.3, (len(vertices), channels)).astype(np.float32)
    colors[rng.random(colors.shape) < 0.05] = rng.choice([np.nan, np.inf, -np.inf, 1e30])
    image = rng.integers(0, 256, (height, width, channels), np.uint8)
    depth = rng.normal(8, 9, (height, width)) if preset else np.full((height, width), rendering.FAR)
    actual, expected = (image.copy(), depth.astype(np.float32)), (image.copy(), depth.astype(np.float32))
    rendering.rasterize(
        vertices,
        triangles,
        colors,
        actual[0],
        depth=actual[1],
        alpha=alpha,
        reverse=reverse,
        coverage=rule,
        threads=count,
    )
    reference_renderer.render(
        vertices, triangles, expected[1], rule, colors=colors, image=expected[0], alpha=alpha, reverse=reverse
    )
    np.testing.assert_array_equal(actual[1], expected[1])
    np.testing.assert_array_equal(actual[0], expected[0])


def soup(seed, count=200):
    """Triangles of 0.01 to 40 pixels: anywhere, on pixels, on quarters, nearly on a line of pixels."""
    rng = np.random.default_rng(seed)
    size = 10 ** rng.uniform(-2, 1.6, (count, 1, 1))
    points = rng.uniform(-2, SIDE + 2, (count, 1, 2)) + size * rng.normal(size=(count, 3, 2))
    points[::4] = np.round(points[::4])
    points[1::4] = np.round(4 * points[1::4]) / 4
    line = rng.integers(0, SIDE, (count, 1, 2)) + rng.integers(-4, 5, (count, 3, 1)) * rng.integers(
        -2, 3, (count, 1, 2)
    )
    points[2::4] = (line * (1 + rng.integers(-4, 5, line.shape) * 2.0**-23))[2::4]
    depths = rng.normal(0, 5, (3 * count, 1))
    vertices = np.concatenate([points.reshape(-1, 2), depths], 1).astype(np.float32)
    return vertices, np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rule", [*sorted(rendering.COVERAGE), "within"])
def test_many_triangles_of_all_sizes_equal_the_reference(seed, rule):
    vertices, triangles = soup(seed)
    shape, channels = (SIDE, SIDE + 3), 3 + (seed == 1)
    if rule == "within":
        visible = rendering.rasterize_triangles(vertices, triangles, *shape, coverage="inclusive")
        depth = np.full(shape, rendering.FAR, np.float32)
        ids, weights = reference_renderer.render(vertices, triangles, depth, rule)
        np.testing.assert_array_equal(visible.triangles, ids)
        np.testing.assert_array_equal(visible.weights, weights)
        return
    colors = np.random.default_rng(seed).uniform(-0.2, 1.3, (len(vertices), channels)).astype(np.float32)
    options = {"alpha": 0.4 if seed == 2 else 1.0, "reverse": seed == 3}
    expected, depth = np.zeros((*shape, channels), np.uint8), np.full(shape, rendering.FAR, np.float32)
    reference_renderer.render(vertices, triangles, depth, rule, colors=colors, image=expected, **options)
    for count in (1, 3):
        image = np.zeros_like(expected)
        rendering.rasterize(vertices, triangles, colors, image, coverage=rule, threads=count, **options)
        np.testing.assert_array_equal(image, expected)


@settings(max_examples=200, deadline=None)
@given(meshes(), image_shapes(), rules, threads)
def test_triangles_and_weights_equal_the_reference(mesh, shape, rule, count):
    visible = rendering.rasterize_triangles(*mesh, *shape[:2], coverage=rule, threads=count)
    depth = np.full(shape[:2], rendering.FAR, np.float32)
    ids, weights = reference_renderer.render(*mesh, depth, "within" if rule == "inclusive" else rule)
    np.testing.assert_array_equal(visible.depth, depth)
    np.testing.assert_array_equal(visible.triangles, ids)
    np.testing.assert_array_equal(visible.weights, weights)


@settings(max_examples=200, deadline=None)
@given(meshes())
def test_normals_equal_the_reference_and_are_finite(mesh):
    actual = rendering.get_normals(*mesh)
    assert np.isfinite(actual).all()
    expected = reference_renderer.vertex_normals(*mesh)
    usable = np.isfinite(expected).all(1)  # sums beyond float32 are ours to guard
    np.testing.assert_allclose(actual[usable], expected[usable], atol=1e-6)
    lengths = np.linalg.norm(actual.astype(np.float64), axis=1)
    assert np.logical_or(abs(lengths - 1) < 1e-6, lengths == 0).all()


@settings(max_examples=200, deadline=None)
@given(meshes(), st.lists(numbers.filter(lambda x: 0 <= x < 1e6), min_size=4, max_size=4), rules, threads)
def test_light_is_always_between_0_and_1(mesh, strengths, rule, count):
    lighting = rendering.Lighting(*strengths)
    light = lighting.light(*mesh, threads=count)
    assert light.shape == mesh[0].shape and (light >= 0).all() and (light <= 1).all()
    image = np.zeros((9, 7, 3), np.uint8)
    assert lighting(*mesh, image, coverage=rule, threads=count) is image
