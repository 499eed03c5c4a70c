"""Normals and lighting: cases by hand, agreement with the reference renderer, rendered images."""

import numpy as np
import pytest
import reference_renderer
from voiceface import rendering

RIGHT = np.array([[0, 0, 3], [2, 0, 3], [0, 2, 3]], np.float32)
ONE = np.array([[0, 1, 2]], np.int32)


def test_a_flat_triangle_by_hand():
    # unit position of the first corner (-1, -1, 0), its light (1, 1, 5) / sqrt 27, cosine 5 / sqrt 27;
    # reflection (-1, -1, 5) / sqrt 27, so that the powers are (-1/27)^5 twice and (25/27)^5
    places = rendering.unit_positions(RIGHT)
    assert places.tolist() == [[-1, -1, 0], [1, -1, 0], [-1, 1, 0]]
    cosine, shine = 5 / 27**0.5, (25 / 27) ** 5 - 2 / 27**5
    light = rendering.Lighting().light(RIGHT, ONE)
    np.testing.assert_allclose(light, 0.3 + 0.6 * cosine + 0.1 * shine, atol=1e-6)
    away = rendering.Lighting().light(
        RIGHT, ONE[:, ::-1]
    )  # turned away; reflections do not know it, as published
    np.testing.assert_allclose(away, 0.3 + 0.1 * shine, atol=1e-6)


def test_the_defaults_are_the_published_constants():
    actual = rendering.Lighting()
    assert (actual.intensity_ambient, actual.intensity_directional, actual.intensity_specular) == (
        0.3,
        0.6,
        0.1,
    )
    assert (actual.specular_exp, actual.light_pos, actual.view_pos) == (5, (0, 0, 5), (0, 0, 5))
    other = rendering.SYNERGYNET
    assert (other.intensity_ambient, other.intensity_directional, other.intensity_specular) == (
        0.75,
        0.7,
        0.2,
    )


SETTINGS = [
    rendering.Lighting(),
    rendering.SYNERGYNET,
    rendering.Lighting(0.1, 0.4, 0.9, 2, (1, 0.5, 0), (0.2, 0.9, 1), (2, -1, 3), (-1, 0, 2)),
    rendering.Lighting(0.0, 0.8, 0.3, 8, light_pos=(0, 4, 1)),
    rendering.Lighting(intensity_directional=0.0, intensity_specular=0.7),
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_light_equals_the_reference_renderer(setting):
    rng = np.random.default_rng(3)
    vertices = rng.normal(40, 30, (500, 3)).astype(np.float32)
    triangles = rng.integers(0, 490, (900, 3))  # the last ten vertices have no triangle
    normals = rendering.get_normals(vertices, triangles)
    np.testing.assert_allclose(normals, reference_renderer.vertex_normals(vertices, triangles), atol=1e-6)
    light = setting.light(vertices, triangles, threads=1)
    np.testing.assert_allclose(light, reference_renderer.light(vertices, normals, setting), atol=1e-5)


def test_light_does_not_depend_on_threads():
    rng = np.random.default_rng(4)
    vertices, triangles = rng.normal(0, 9, (30000, 3)), rng.integers(0, 30000, (60000, 3))
    one, five = (rendering.Lighting().light(vertices, triangles, threads=threads) for threads in (1, 5))
    assert (one == five).all()


def test_a_fractional_exponent_applies_to_positive_values_only():
    light = rendering.Lighting(specular_exp=2.5).light(RIGHT, ONE)
    np.testing.assert_allclose(light, 0.3 + 0.6 * 5 / 27**0.5 + 0.1 * (25 / 27) ** 2.5, atol=1e-6)


def test_large_triangles_weigh_more():
    vertices = np.array([[0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 0, 1]], np.float32)
    normals = rendering.get_normals(vertices, [[0, 1, 2], [0, 2, 3]])  # areas 9 along z, 3 along x
    np.testing.assert_allclose(normals[0], np.array([3, 0, 9]) / 90**0.5, atol=1e-6)
    assert normals[1].tolist() == [0, 0, 1] and normals[3].tolist() == [1, 0, 0]


def test_normals_do_not_depend_on_the_unit_of_length():
    rng = np.random.default_rng(6)
    vertices, triangles = rng.normal(0, 1, (40, 3)), rng.integers(0, 40, (80, 3))
    expected = rendering.get_normals(vertices, triangles)
    for scale in (1e-7, 1e5):
        np.testing.assert_allclose(rendering.get_normals(vertices * scale, triangles), expected, atol=1e-4)


def test_normals_of_triangles():
    assert rendering.get_triangle_normals(RIGHT, ONE).tolist() == [[0, 0, 4]]
    assert rendering.get_triangle_normals(RIGHT, ONE[:, ::-1], unit=True).tolist() == [[0, 0, -1]]
    assert rendering.get_triangle_normals(RIGHT, [[0, 0, 1]], unit=True).tolist() == [[0, 0, 0]]


def test_non_finite_vertices_do_not_affect_the_others():
    vertices = np.concatenate([RIGHT, [[np.nan, 0, 0], [np.inf, 5, 5]]])
    triangles = np.concatenate([ONE, [[0, 1, 3], [1, 2, 4]]])
    assert (rendering.get_normals(vertices, triangles)[:3] == rendering.get_normals(RIGHT, ONE)).all()
    places = rendering.unit_positions(vertices)
    assert np.isfinite(places[:3]).all() and np.isnan(places[3, 0])
    light = rendering.Lighting().light(vertices, triangles)
    assert ((light >= 0) & (light <= 1)).all()


def test_texture_is_multiplied_and_not_modified():
    image, texture = np.zeros((3, 3, 3), np.uint8), np.tile(np.float32([1, 0.5, 0]), (3, 1))
    before = texture.copy()
    lit = rendering.Lighting()
    rendered = lit(RIGHT, ONE, image, texture)
    assert rendered is image and (texture == before).all()
    light = lit.light(RIGHT, ONE)[0, 0]
    assert rendered[0, 0].tolist() == [int(255 * light), int(255 * np.float32(light * 0.5)), 0]


def test_moving_the_light_returns_a_copy():
    lit = rendering.Lighting()
    displaced = lit.moved((9, 0, 1))
    assert displaced.light_pos == (9, 0, 1) and lit.light_pos == (0, 0, 5)
    assert displaced.light(RIGHT, ONE)[1, 0] > displaced.light(RIGHT, ONE)[0, 0]


def test_overlay_blends_with_a_copy():
    image = np.full((4, 4, 3), 50, np.uint8)
    full, half = (rendering.overlay(image, RIGHT, ONE, alpha=alpha) for alpha in (1.0, 0.5))
    assert (image == 50).all()
    assert (full == rendering.Lighting()(RIGHT, ONE, image.copy())).all() and full[0, 0, 0] > 200
    assert (half == np.rint((image + full.astype(float)) / 2)).all()
    assert (rendering.overlay(image, RIGHT, ONE, alpha=0.0) == image).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rendering.Lighting(intensity_ambient=-1), "intensity_ambient"),
        (lambda: rendering.Lighting(specular_exp=np.nan), "specular_exp"),
        (lambda: rendering.Lighting(color_ambient=(1, 1)), "color_ambient: three numbers"),
        (lambda: rendering.Lighting().moved((0, 0, np.inf)), "light_pos: three numbers"),
        (lambda: rendering.Lighting()(RIGHT, ONE, np.zeros((4, 4, 3), np.uint8), np.ones((2, 3))), "texture"),
        (lambda: rendering.overlay(np.zeros((4, 4), np.uint8), RIGHT, ONE), "three channels"),
        (lambda: rendering.overlay(np.zeros((4, 4, 3), np.uint8), RIGHT, ONE, alpha=2), "alpha"),
        (lambda: rendering.get_normals(RIGHT, [[0, 1, 3]]), "vertex 3"),
    ],
)
def test_invalid_lighting_raises_errors_that_name_the_value(make, words):
    with pytest.raises(ValueError, match=words):
        make()
