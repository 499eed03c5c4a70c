"""The renderer: coverage of pixels, depth, blending, array types and error messages."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from voiceface import rendering
from voiceface.rendering import parallel

RIGHT = np.array([[0, 0, 1], [4, 0, 1], [0, 4, 1]], np.float32)  # right angle at the top left
ONE = np.array([[0, 1, 2]], np.int32)
RULES = sorted(rendering.COVERAGE)


def covered(vertices, triangles, height=40, width=40, rule="top_left"):
    """How many triangles own each pixel."""
    pixels = np.zeros((height, width), int)
    for triangle in triangles:
        pixels += (
            rendering.rasterize_triangles(vertices, [triangle], height, width, coverage=rule).triangles + 1
        )
    return pixels


def patchwork(seed, step, denominator):
    """A rectangle cut into triangles of many shapes and corner orders, on a grid of 1 / `denominator`."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(2, 7, 2)
    y, x = (axis * step * denominator for axis in np.mgrid[0 : rows + 1, 0 : columns + 1])
    reach = (step * denominator - 1) // 4  # less than a quarter: every cell stays convex
    inner_x, inner_y = (x % x.max()) > 0, (y % y.max()) > 0
    x = x + inner_x * rng.integers(-reach, reach + 1, x.shape)
    y = y + inner_y * rng.integers(-reach, reach + 1, y.shape)
    vertices = np.stack([x.ravel(), y.ravel(), rng.integers(0, 5, x.size)], -1) / denominator
    names = np.arange(x.size).reshape(x.shape)
    triangles = []
    for a, b, c, d in zip(names[:-1, :-1].flat, names[:-1, 1:].flat, names[1:, :-1].flat, names[1:, 1:].flat):
        halves = [(a, b, c), (b, c, d)] if rng.random() < 0.5 else [(a, b, d), (a, c, d)]
        triangles += [rng.permutation(half) for half in halves]
    return vertices.astype(np.float32), np.array(triangles, np.int32)


def surface(side=60):
    """A bumpy sheet of 2 (side - 1)**2 triangles that fills -1..1."""
    y, x = np.mgrid[0:side, 0:side] / (side - 1) * 2 - 1
    z = np.sqrt(2.2 - x * x - y * y) + 0.1 * np.sin(9 * x) * np.cos(7 * y)
    names = np.arange(side * side, dtype=np.int32).reshape(side, side)
    a, b, c, d = (
        names[:-1, :-1].ravel(),
        names[:-1, 1:].ravel(),
        names[1:, :-1].ravel(),
        names[1:, 1:].ravel(),
    )
    triangles = np.stack([a, c, b, b, c, d], 1).reshape(-1, 3)
    return np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32), triangles


# Coverage


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("step", "denominator"), [(5, 1), (3, 4), (2, 64), (3, 2048)])
def test_every_pixel_of_a_triangulated_rectangle_belongs_to_exactly_one_triangle(seed, step, denominator):
    vertices, triangles = patchwork(seed, step, denominator)
    across, down = vertices[:, :2].max(0).astype(int)
    expected = np.zeros((40, 40), int)
    expected[1 : down + 1, 1 : across + 1] = 1  # the left and top sides belong to it, the others do not
    assert (covered(vertices + np.float32([1, 1, 0]), triangles) == expected).all()


@pytest.mark.parametrize("scale", [1e4, 1e6, 2e8])
@pytest.mark.parametrize("seed", range(4))
def test_coverage_is_exact_for_corners_far_outside_the_image(seed, scale):
    vertices, triangles = patchwork(seed, 3, 4)
    wide = (vertices - vertices.max(0) * np.float32([0.43, 0.47, 0])) * np.float32([scale, scale, 1])
    assert (covered(wide, triangles, 9, 11) == 1).all()


def test_a_fan_shares_its_centre_once():
    rim = [[8 + 6 * np.cos(turn), 8 + 6 * np.sin(turn), 0] for turn in np.linspace(0, 6.2, 9)]
    vertices = np.array([[8, 8, 0], *rim], np.float32)
    fan = [[0, 1 + i, 1 + (i + 1) % 9] for i in range(9)]
    assert covered(vertices, fan, 17, 17)[8, 8] == 1


@pytest.mark.parametrize("rule", ["top_left", "strict"])
def test_the_order_of_corners_does_not_matter(rule):
    rng = np.random.default_rng(5)
    for _ in range(40):
        vertices = np.round(rng.uniform(-3, 15, (3, 3)) * 4).astype(np.float32) / 4
        orders = [[0, 1, 2], [1, 2, 0], [2, 1, 0], [0, 2, 1]]
        result = [covered(vertices, [order], 12, 12, rule) for order in orders]
        assert all((result[0] == other).all() for other in result)


@pytest.mark.parametrize(("rule", "pixels"), [("top_left", 10), ("inclusive", 10), ("strict", 3)])
def test_a_right_triangle_by_hand(rule, pixels):
    owned = covered(RIGHT, ONE, 6, 6, rule)
    assert owned.sum() == pixels
    assert owned[1, 1] == 1 and owned[0, 4] == 0 and owned[2, 2] == 0


def test_the_published_rules_skip_and_repeat_pixels_with_integer_coordinates():
    square = np.array([[1, 1, 0], [5, 1, 0], [5, 5, 0], [1, 5, 0]], np.float32)
    halves = [[0, 1, 2], [0, 2, 3]]
    assert covered(square, halves, 8, 8, "strict")[3, 3] == 0
    assert covered(square, halves, 8, 8, "inclusive")[3, 3] == 2
    assert covered(square, halves, 8, 8, "top_left")[3, 3] == 1


def test_only_the_inclusive_rule_draws_a_triangle_without_area():
    vertices = np.array([[1, 1, 3], [2, 2, 3], [4, 4, 3]], np.float32)
    colors = np.array([[1], [0], [0]], np.float32)
    for rule in RULES:
        image = rendering.rasterize(vertices, ONE, colors, height=6, width=6, coverage=rule)[:, :, 0]
        expected = np.zeros((6, 6))
        expected[1:5, 1:5] = 255 * (rule == "inclusive")  # the whole box in the first corner's colour
        assert (image == expected).all()
    assert not (rendering.rasterize_triangles(vertices, ONE, 6, 6).triangles + 1).any()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("axis", range(3))
def test_triangles_with_a_non_finite_corner_are_skipped(rule, value, axis):
    vertices = np.concatenate([RIGHT, RIGHT + np.float32([0, 0, 5])])
    vertices[4, axis] = value
    both = [[3, 4, 5], [0, 1, 2]]
    visible = rendering.rasterize_triangles(vertices, both, 6, 6, coverage=rule)
    alone = rendering.rasterize_triangles(RIGHT, ONE, 6, 6, coverage=rule)
    assert set(np.unique(visible.triangles)) == {-1, 1} and (visible.depth == alone.depth).all()


# Depth, colour, blending


@pytest.mark.parametrize("rule", RULES)
def test_weights_and_depth_are_linear(rule):
    vertices = np.array([[-3.3, -2.1, 4.0], [30.2, 5.6, -7.0], [4.4, 28.7, 11.0]], np.float32)
    visible = rendering.rasterize_triangles(vertices, ONE, 20, 24, coverage=rule)
    y, x = np.nonzero(visible.triangles == 0)
    assert len(y) > 200
    points = visible.weights[y, x] @ vertices
    np.testing.assert_allclose(points, np.stack([x, y, visible.depth[y, x]], -1), atol=3e-3)
    assert (
        not visible.weights[visible.triangles < 0].any()
        and (visible.depth[visible.triangles < 0] == rendering.FAR).all()
    )


def test_the_nearest_triangle_is_visible_and_of_equal_ones_the_first():
    vertices = np.concatenate([RIGHT, RIGHT, RIGHT + np.float32([0, 0, 1])])
    for order, winner in [([0, 1], 0), ([1, 0], 1), ([2, 0, 1], 2), ([0, 2, 1], 2)]:
        triangles = np.arange(9).reshape(3, 3)[order]
        visible = rendering.rasterize_triangles(vertices, triangles, 6, 6).triangles[1, 1]
        assert order[visible] == winner


def test_alpha_blends_each_accepted_triangle_over_the_last():
    vertices = np.concatenate([RIGHT, RIGHT + np.float32([0, 0, 1]), RIGHT])
    triangles, colors = np.arange(9).reshape(3, 3), np.ones((9, 1))
    image = np.full((6, 6, 1), 100, np.uint8)
    assert rendering.rasterize(vertices, triangles[:1], colors, image.copy(), alpha=0.5)[1, 1, 0] == 177
    assert rendering.rasterize(vertices, triangles, colors, image.copy(), alpha=0.5)[1, 1, 0] == 216
    assert (rendering.rasterize(vertices, triangles, colors, image.copy(), alpha=0.0) == image).all()


def test_colours_beyond_the_range_are_clipped():
    colors = np.array([[-3, 0.5, 9, np.nan]] * 3)
    assert rendering.rasterize(RIGHT, ONE, colors, height=5, width=5)[1, 1].tolist() == [0, 127, 255, 0]


def test_reverse_flips_the_image_and_not_the_depth():
    colors, depth, turned = (
        np.random.default_rng(0).random((3, 3)),
        *np.full((2, 6, 5), rendering.FAR, np.float32),
    )
    plain = rendering.rasterize(RIGHT, ONE, colors, height=6, width=5, depth=depth)
    upside = rendering.rasterize(RIGHT, ONE, colors, height=6, width=5, depth=turned, reverse=True)
    assert plain.any() and (upside == plain[::-1]).all() and (depth == turned).all()


def test_initial_depths_hide_triangles_behind_them():
    depth = np.full((6, 6), rendering.FAR, np.float32)
    depth[1] = 1.0  # ties keep what is there
    image = rendering.rasterize(RIGHT, ONE, np.ones((3, 1)), height=6, width=6, depth=depth)[:, :, 0]
    assert image[0, 0] == 255 and not image[1].any() and depth[0, 0] == 1 and depth[5, 5] == rendering.FAR


# Threads


@pytest.mark.parametrize("rule", RULES)
def test_a_large_mesh_renders_identically_on_any_number_of_threads(rule, monkeypatch):
    monkeypatch.setattr(parallel, "MIN_WORK_PER_THREAD", 1000.0)
    vertices, triangles = surface(110)
    vertices = (vertices + np.float32([1, 1, 0])) * np.float32([70, 45, 30])
    vertices[::97] = np.random.default_rng(1).uniform(-400, 400, vertices[::97].shape)
    colors = np.random.default_rng(2).random((len(vertices), 3))
    images = [
        rendering.rasterize(
            vertices, triangles, colors, height=91, width=141, alpha=0.6, coverage=rule, threads=threads
        )
        for threads in (1, 2, 3, 7, 64)
    ]
    assert images[0].std() > 20 and all((image == images[0]).all() for image in images)


def test_ranges_cover_all_rows():
    for count in (0, 1, 5, 64):
        for parts in (1, 2, 7):
            numbers = [
                number for first, end in parallel.split_evenly(count, parts) for number in range(first, end)
            ]
            assert numbers == list(range(count))
            work = np.random.default_rng(count).random(count + 1) ** 4
            rows = parallel.split_by_work(work, parts)
            assert [row for first, end in rows for row in range(first, end)] == list(range(count + 1))
            assert len(rows) <= parts and all(first < end for first, end in rows)
    assert parallel.split_by_work(np.ones(8), 2) == [(0, 4), (4, 8)]


def test_the_number_of_threads_follows_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert parallel.thread_count(None) == 3 and parallel.thread_count(5) == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert 1 <= parallel.thread_count(None) <= parallel.DEFAULT_MAX_THREADS
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="threads"):
            parallel.thread_count(wrong)


def test_every_part_of_the_work_runs_once_and_results_keep_their_order():
    calls = []

    def work(a, b):
        calls.append((a, b))
        return a + b

    parts = [(i, 10 * i) for i in range(5)]
    for count in (0, 1, 2, 5):
        calls.clear()
        assert parallel.run_parallel(work, parts[:count]) == [11 * i for i in range(count)]
        assert sorted(calls) == parts[:count]


def test_without_threads_the_work_runs_in_order(monkeypatch):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    monkeypatch.setattr(parallel, "_pools", [pool])
    assert parallel.run_parallel(lambda a, b: a + b, [(1, 2), (3, 4), (5, 6)]) == [3, 7, 11]


def drawing(seed):
    """Image of a large mesh on two threads."""
    vertices, triangles = surface(80)
    colors = np.random.default_rng(seed).random((len(vertices), 3))
    return rendering.rasterize((vertices + 1) * 40, triangles, colors, height=80, width=80, threads=2)


def test_several_callers_and_forked_processes_may_draw_at_once():
    expected = [drawing(seed) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        assert all((a == b).all() for a, b in zip(pool.map(drawing, range(6)), expected))
    if hasattr(os, "fork"):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            rendered = pool.map_async(drawing, range(6)).get(60)
        assert all((a == b).all() for a, b in zip(rendered, expected))


# Arrays of any kind


def test_images_and_depths_are_updated_in_place_in_any_layout():
    expected = rendering.rasterize(RIGHT, ONE, np.ones((3, 3)), height=6, width=5)
    strided, turned = np.zeros((6, 10, 3), np.uint8)[:, ::2], np.zeros((3, 6, 5), np.uint8).transpose(1, 2, 0)
    for image in (np.zeros((6, 5, 3), np.uint8), strided, turned):
        depth = np.full((5, 6), rendering.FAR, np.float64).T
        assert rendering.rasterize(RIGHT, ONE, np.ones((3, 3)), image, depth=depth) is image
        assert (image == expected).all() and (depth[:4, :4] == 1).sum() == 10
    grey = np.zeros((6, 5), np.uint8)
    assert (
        rendering.rasterize(RIGHT, ONE, np.ones((3, 1)), grey) is grey and (grey == expected[:, :, 0]).all()
    )
    depth = np.full((5, 6), rendering.FAR, np.float64).T
    assert rendering.rasterize_triangles(RIGHT, ONE, 6, 5, depth=depth).depth is depth
    assert (depth[:4, :4] == 1).sum() == 10


def test_unsuitable_images_are_unchanged_and_a_new_one_is_returned():
    fixed, rough = np.zeros((6, 5, 1), np.uint8), np.full((6, 5, 1), 99.7)
    fixed.flags.writeable = False
    rendered = rendering.rasterize(RIGHT, ONE, np.ones((3, 1)), fixed)
    assert rendered.sum() == 2550 and not fixed.any()
    rendered = rendering.rasterize(RIGHT, ONE, np.ones((3, 1)), rough)
    assert rendered.dtype == np.uint8 and rendered[5, 4, 0] == 100 and (rough == 99.7).all()


def test_vertices_triangles_and_colours_of_other_types_are_converted():
    expected = rendering.rasterize(RIGHT, ONE, np.eye(3, dtype=np.float32), height=6, width=6)
    table = np.zeros((3, 7))
    table[:, ::3] = RIGHT
    packed = np.frombuffer(b"x" + RIGHT.tobytes(), np.uint8)[1:].view(np.float32).reshape(3, 3)  # unaligned
    for vertices in (RIGHT.tolist(), table[:, ::3], RIGHT.astype(">f4"), RIGHT.astype(np.float16), packed):
        for triangles in ([[0, 1, 2]], ONE.astype(np.int64), ONE.astype(np.uint8), ONE.astype(">i2")):
            colors = np.asfortranarray(np.eye(3))
            assert (rendering.rasterize(vertices, triangles, colors, height=6, width=6) == expected).all()


@pytest.mark.parametrize("vertices", [[], np.zeros((0, 3)), RIGHT])
@pytest.mark.parametrize("triangles", [[], np.zeros((0, 3)), np.zeros((0, 3), np.int32)])
def test_empty_meshes_draw_nothing(vertices, triangles):
    image = np.full((4, 5, 3), 7, np.uint8)
    assert (rendering.rasterize(vertices, triangles, np.zeros((len(vertices), 3)), image) == 7).all()
    assert (rendering.rasterize_triangles(vertices, triangles, 4, 5).triangles == -1).all()
    assert rendering.get_normals(vertices, triangles).tolist() == [[0, 0, 0]] * len(vertices)
    assert rendering.get_triangle_normals(vertices, triangles).shape == (0, 3)
    assert (rendering.Lighting()(vertices, triangles, image) == 7).all()


def test_an_image_without_pixels_is_returned_unchanged():
    image = np.zeros((0, 5, 3), np.uint8)
    assert rendering.rasterize(RIGHT, ONE, np.ones((3, 3)), image) is image


SIZE = {"height": 6, "width": 6}
WRONG = {
    "vertices of two columns": ({"vertices": RIGHT[:, :2]}, r"vertices.*\(V, 3\).*\(3, 2\)"),
    "vertices of words": ({"vertices": [["a", "b", "c"]] * 3}, "vertices: real numbers"),
    "complex vertices": ({"vertices": RIGHT * 1j}, "vertices: real numbers.*complex"),
    "triangles as columns": ({"triangles": np.zeros((3, 5), int)}, r"triangles.*\(T, 3\).*\(3, 5\)"),
    "triangles of fractions": ({"triangles": [[0.0, 1.0, 2.0]]}, "integers are expected.*float64"),
    "triangles counted from 1": (
        {"triangles": [[1, 2, 3]]},
        "row 0 has vertex 3, expected 0 to 2.*start at 0",
    ),
    "a negative vertex": ({"triangles": [[0, 1, 2], [0, -1, 2]]}, "row 1 has vertex -1"),
    "a vertex beyond 32 bits": ({"triangles": [[0, 1, 2**40]]}, str(2**40)),
    "too few colours": ({"colors": np.ones((2, 3))}, r"colors.*\(3, C\).*\(2, 3\)"),
    "five channels": ({"colors": np.ones((3, 5))}, "1 to 4 channels"),
    "colours up to 255": ({"colors": np.full((3, 3), 255, np.uint8)}, "divide by 255"),
    "no size": ({"height": None}, "height and width"),
    "no pixels": ({"height": 0}, "height: an integer number"),
    "half a pixel": ({"width": 2.5}, "width: an integer number"),
    "another channel count": ({"channel": 1}, "channel: 1 is given"),
    "another height": ({"bg": np.zeros((4, 6, 3), np.uint8)}, "height: 6 is given.*4"),
    "another depth": ({"depth": np.zeros((3, 3), np.float32)}, r"depth.*\(6, 6\).*\(3, 3\)"),
    "a depth in a list": ({"depth": [[0.0] * 6] * 6}, "depth: a writable float32 array.*list"),
    "integer depths": ({"depth": np.zeros((6, 6), int)}, "depth: a writable float32 array.*int"),
    "a grey image": ({"bg": np.zeros((6, 6), np.uint8)}, "1 channels are expected"),
    "a flat image": ({"bg": np.zeros(6, np.uint8)}, "bg: the shape"),
    "an unknown image": ({"bg": np.full((6, 6, 3), np.nan)}, "NaN"),
    "a boolean image": ({"bg": np.zeros((6, 6, 3), bool)}, "bg: uint8"),
    "an unknown rule": ({"coverage": "Strict"}, "top_left, inclusive, strict.*'Strict'"),
    "too much alpha": ({"alpha": 1.5}, "alpha: a number from 0 to 1"),
    "an unknown alpha": ({"alpha": np.nan}, "alpha"),
    "no threads": ({"threads": 0}, "threads"),
}


@pytest.mark.parametrize("name", WRONG)
def test_invalid_arguments_raise_errors_that_name_them(name):
    changed, words = WRONG[name]
    arguments = {"vertices": RIGHT, "triangles": ONE, "colors": np.ones((3, 3)), **SIZE}
    with pytest.raises(ValueError, match=words):
        rendering.rasterize(**{**arguments, **changed})
