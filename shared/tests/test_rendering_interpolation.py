"""Attributes at the pixels: against NumPy, in perspective against rays, empty pixels, errors."""

import numpy as np
import pytest
from voiceface import rendering
from voiceface.rendering import interpolation

SHAPE = 33, 41


def scene(seed=0, count=30):
    """Vertices in pixels with depths, triangles of all sizes, visible fragments."""
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-5, 45, (count, 3)).astype(np.float32)
    triangles = rng.integers(0, count, (12, 3)).astype(np.int32)
    return vertices, triangles, rendering.rasterize_triangles(vertices, triangles, *SHAPE)


def reference(fragments, triangles, attributes, background, distances=None):
    """The same in plain NumPy, float32."""
    weights = fragments.weights
    corners = triangles[np.maximum(fragments.triangles, 0)]
    with np.errstate(divide="ignore", invalid="ignore"):
        if distances is not None:
            weights = weights * (np.float32(1) / distances)[corners]
            total = np.float32(1) / (weights[..., 0] + weights[..., 1] + weights[..., 2])
            weights = weights * total[..., None]
    parts = [weights[..., i, None] * attributes[corners[..., i]] for i in range(3)]
    values = parts[0] + parts[1] + parts[2]
    return np.where(fragments.triangles[..., None] < 0, np.float32(background), values)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 16])
@pytest.mark.parametrize("perspective", [False, True])
def test_values_equal_numpy_for_any_number_of_channels_and_threads(channels, perspective, monkeypatch):
    monkeypatch.setattr(interpolation, "MIN_VALUES_PER_THREAD", 1)
    rng = np.random.default_rng(channels)
    vertices, triangles, fragments = scene(channels)
    assert 0.1 < (fragments.triangles < 0).mean() < 0.9
    attributes = rng.normal(size=(len(vertices), channels)).astype(np.float32)
    background = rng.normal(size=channels).astype(np.float32)
    distances = rng.uniform(0.5, 3, len(vertices)).astype(np.float32) if perspective else None
    expected = reference(fragments, triangles, attributes, background, distances)
    for threads in (1, 4):
        values = rendering.interpolate(
            fragments, triangles, attributes, background=background, distances=distances, threads=threads
        )
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, expected)


def test_in_perspective_positions_lie_on_the_ray_of_the_pixel():
    """A plane far from parallel to the image: the point at a pixel is where its ray meets the plane."""
    focal, middle = 30.0, 20.0
    points = np.array([[-3, -3, 4], [3, -3, 4], [3, 3, 12], [-3, 3, 12]], np.float64)
    screen = np.stack(
        [middle + focal * points[:, 0] / points[:, 2], middle + focal * points[:, 1] / points[:, 2]], 1
    )
    vertices = np.column_stack([screen, -points[:, 2]]).astype(np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    fragments = rendering.rasterize_triangles(vertices, triangles, 41, 41)
    found = rendering.interpolate(fragments, triangles, points, distances=points[:, 2])
    y, x = np.nonzero(fragments.triangles >= 0)
    assert len(y) > 300
    there = found[y, x].astype(np.float64)
    np.testing.assert_allclose(middle + focal * there[:, 0] / there[:, 2], x, atol=1e-3)
    np.testing.assert_allclose(middle + focal * there[:, 1] / there[:, 2], y, atol=1e-3)
    linear = rendering.interpolate(fragments, triangles, points)[y, x]
    assert abs(middle + focal * linear[:, 1] / linear[:, 2] - y).max() > 0.5  # without distances it does not


def test_the_positions_on_the_screen_are_the_pixels():
    vertices, triangles, fragments = scene(3)
    found = rendering.interpolate(fragments, triangles, vertices[:, :2], background=-1)
    y, x = np.nonzero(fragments.triangles >= 0)
    np.testing.assert_allclose(found[y, x], np.stack([x, y], 1), atol=1e-3)
    assert (found[fragments.triangles < 0] == -1).all()


def test_nothing_visible_and_attributes_of_other_types():
    vertices, _, _ = scene()
    empty = rendering.rasterize_triangles(vertices, np.empty((0, 3), int), *SHAPE)
    filled = rendering.interpolate(
        empty, [], np.ones((len(vertices), 2), np.float64)[::-1], background=[3, 4]
    )
    assert filled.shape == (*SHAPE, 2) and (filled == [3, 4]).all()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"attributes": np.zeros((30, 17))}, "attributes: one row of 1 to 16"),
        ({"attributes": np.zeros(30)}, "attributes: one row"),
        ({"attributes": np.zeros((5, 2))}, "expected 0 to 4"),
        ({"triangles": [[0, 1, 2]]}, "fragments: triangle .* is visible, but there are 1 triangles"),
        ({"distances": np.ones(4)}, "distances: one per vertex"),
        ({"distances": np.arange(30)}, "found 0.0 for vertex 0"),
        ({"distances": np.full(30, np.nan)}, "found nan for vertex 0"),
        ({"background": [1, 2, 3]}, "background: one number or 2 are expected"),
    ],
)
def test_invalid_arguments_raise_errors_that_name_them(changed, words):
    vertices, triangles, fragments = scene()
    arguments = {"triangles": triangles, "attributes": np.zeros((len(vertices), 2)), **changed}
    with pytest.raises(ValueError, match=words):
        rendering.interpolate(fragments, **arguments)


def test_fragments_of_another_shape_are_refused():
    vertices, triangles, fragments = scene()
    wrong = rendering.Fragments(fragments.depth, fragments.triangles, fragments.weights[:-1])
    with pytest.raises(ValueError, match="weights"):
        rendering.interpolate(wrong, triangles, vertices)
