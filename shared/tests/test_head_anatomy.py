"""Anatomy of the head: published distances, standard deviations, no folds, nothing through the skin."""

import numpy as np
import pytest
from head_geometry import depth_behind_skin, turned_over
from voiceface.synthetic.head import shape_space
from voiceface.synthetic.head.anthropometry import ANTHROPOMETRY, measure_distances
from voiceface.synthetic.head.bundle import load_head_bundle
from voiceface.synthetic.head.linear_model import HeadModel
from voiceface.synthetic.head.model import EMPHASIS, MODEL_PARTS, build_head_model
from voiceface.synthetic.head.subdivision import load_subdivided_head
from voiceface.synthetic.layout import DEFAULT_FACE_GAIN

SHIFT = shape_space.sex_shift()
PARTS = [
    *(("eye_left", "lid_rim_left"), ("eye_right", "lid_rim_right")),
    *(("teeth_upper", "lip_line"), ("teeth_lower", "lip_line"), ("tongue", "lip_line")),
]


def sample_shapes(count: int, seed: int) -> np.ndarray:
    """Shape coefficients of people of the population, (count, 40)."""
    generator = np.random.default_rng(seed)
    coupled = generator.standard_normal((count, 8)) @ shape_space.factor_loadings().T
    rest = generator.standard_normal((count, 40)) * shape_space.residual_scale()
    return coupled + rest + generator.choice([-1, 1], (count, 1)) * SHIFT


@pytest.mark.parametrize("name", ANTHROPOMETRY)
@pytest.mark.parametrize("sex", ["men", "women"])
def test_distances_of_the_mean_man_and_woman_are_within_two_deviations(name, sex):
    head = build_head_model(1.0)
    marks = head.compute_landmarks(SHIFT if sex == "men" else -SHIFT)
    found = measure_distances(marks)[name]
    for published in ANTHROPOMETRY[name]:
        mean, deviation = getattr(published, sex)
        assert abs(found - mean) <= 2.0 * deviation, f"{found:.1f} mm, {published}"


def test_men_are_larger_than_women():
    head = build_head_model(1.0)
    men, women = (measure_distances(head.compute_landmarks(sign * SHIFT)) for sign in (1, -1))
    assert all(men[name] > women[name] for name in ANTHROPOMETRY)


@pytest.mark.parametrize(
    ("field", "name"),
    [
        *(("facew", "zy-zy"), ("jaww", "go-go"), ("midlen", "n-sn"), ("lowlen", "sn-gn")),
        *(("nosew", "al-al"), ("eyesp", "en-en"), ("mouthw", "ch-ch")),
    ],
)
def test_coefficient_one_is_about_one_standard_deviation(field, name):
    head = build_head_model(1.0)
    step = np.zeros((2, 40))
    step[:, shape_space.SHAPE_NAMES.index(field)] = [-0.5, 0.5]
    low, high = measure_distances(head.compute_landmarks(step))[name]
    deviations = [deviation for one in ANTHROPOMETRY[name] for _, deviation in (one.men, one.women)]
    assert 0.75 * np.mean(deviations) < high - low < 1.35 * np.mean(deviations)


def test_distances_are_measured_between_landmarks():
    marks = np.zeros((2, 68, 3))
    marks[:, 39, 0] = -16.0
    marks[1, 42] = [16.0, 0.0, 0.0]
    np.testing.assert_allclose(measure_distances(marks)["en-en"], [16.0, 32.0])


@pytest.mark.parametrize("step", [-2.5, 2.5])
def test_no_triangle_turns_over_along_a_single_axis(step):
    head = load_head_bundle()
    for name, field in zip(head.shape_names, head.shape_basis):
        assert not turned_over(head, head.mean + 1.5 * step * field).any(), name


def test_no_triangle_turns_over_for_random_people_and_corners():
    head = load_head_bundle()
    generator = np.random.default_rng(0)
    shapes = [
        *np.clip(sample_shapes(30, 1), -2.5, 2.5),
        *generator.uniform(-2.5, 2.5, (30, 40)),
        *2.0 * generator.choice([-1, 1], (30, 40)),
    ]
    for shape in shapes:
        assert not turned_over(head, head.mean + np.tensordot(shape, head.shape_basis, 1)).any()


def test_hardly_any_triangle_turns_over_in_the_outermost_corners():
    head = load_head_bundle()
    corners = 2.5 * np.random.default_rng(0).choice([-1, 1], (40, 40))
    turned = [turned_over(head, head.mean + np.tensordot(c, head.shape_basis, 1)).mean() for c in corners]
    assert max(turned) < 0.002 and np.mean(np.array(turned) > 0) < 0.03


def test_hardly_anybody_has_a_turned_triangle_at_the_gain_of_the_population():
    head, gain = load_head_bundle(), DEFAULT_FACE_GAIN - 1.0
    scale = np.array([1.0 + gain * EMPHASIS.get(name, 1.0) for name in head.shape_names])
    shapes = scale * sample_shapes(60, 4)
    turned = [turned_over(head, head.mean + np.tensordot(s, head.shape_basis, 1)).any() for s in shapes]
    assert np.mean(turned) < 0.04


@pytest.mark.parametrize("load", [load_head_bundle, load_subdivided_head])
@pytest.mark.parametrize("number", range(10))
def test_no_eye_or_tooth_comes_through_the_skin_in_an_expression(load, number):
    head = load()
    expression = 2.5 * shape_space.EXPRESSION_SD[number] * head.expression_basis[number]
    for sign in (-1, 1):
        vertices = head.mean + expression + np.tensordot(sign * SHIFT, head.shape_basis, 1)
        for part, opening in PARTS:
            assert depth_behind_skin(head, vertices, part, opening).min() > 0.0, part


def test_no_eye_or_tooth_comes_through_the_skin_of_random_people():
    head = load_head_bundle()
    generator = np.random.default_rng(2)
    for shape in sample_shapes(20, 3):
        present = generator.random(10) < 0.5
        expression = np.abs(generator.standard_normal(10)) * shape_space.EXPRESSION_SD * present
        vertices = head.mean + np.tensordot(shape, head.shape_basis, 1)
        vertices = vertices + np.tensordot(expression, head.expression_basis, 1)
        for part, opening in PARTS:
            assert depth_behind_skin(head, vertices, part, opening).min() > 0.0, part


def test_a_point_in_front_of_the_skin_is_recognised():
    head = load_head_bundle()
    vertices = head.mean.copy()
    vertices[head.vertices_of("eye_left"), 2] += 5.0
    assert depth_behind_skin(head, vertices, "eye_left", "lid_rim_left").min() < 0.0


def test_a_blink_narrows_the_eyes_and_an_open_mouth_parts_the_lips():
    head = build_head_model(1.0)
    neutral = head.compute_landmarks(np.zeros(40), np.zeros(10))
    blink, jaw = np.zeros(10), np.zeros(10)
    blink[shape_space.EXPRESSION_NAMES.index("blink")] = 1.0
    jaw[shape_space.EXPRESSION_NAMES.index("jaw_open")] = 1.0

    def gap(marks: np.ndarray, upper: int, lower: int) -> float:
        return float(marks[upper, 1] - marks[lower, 1])

    assert gap(head.compute_landmarks(np.zeros(40), blink), 44, 46) < 0.45 * gap(neutral, 44, 46)
    assert gap(head.compute_landmarks(np.zeros(40), jaw), 62, 66) > 8.0 + gap(neutral, 62, 66)


def test_the_model_is_a_head_model_of_the_population():
    head = build_head_model(0.8)
    assert isinstance(head, HeadModel)
    bundle = load_head_bundle()
    count = bundle.part_vertices["tongue"][1]
    assert head.mean.shape == (count, 3) and head.triangles.max() == count - 1
    assert (head.landmarks == bundle.landmarks).all()
    shape, expression = np.linspace(-1, 1, 40), np.linspace(0, 1, 10)
    expected = bundle.mean + 0.8 * np.tensordot(shape, bundle.shape_basis, 1)
    expected = expected + np.tensordot(expression, bundle.expression_basis, 1)
    np.testing.assert_allclose(head.compute_vertices(shape, expression), expected[:count], atol=1e-9)
    basis = head.orthonormal.w_shp.astype(float)
    np.testing.assert_allclose(basis.T @ basis, np.eye(40), atol=1e-5)
    assert build_head_model(0.8) is head


def test_a_gain_below_life_size_shrinks_all_shape_alike():
    bundle, head = load_head_bundle(), build_head_model(0.5)
    expected = bundle.mean + 0.5 * bundle.shape_basis.sum(axis=0)
    np.testing.assert_allclose(head.compute_vertices(np.ones(40)), expected[: len(head.mean)], atol=1e-9)
    assert set(EMPHASIS) <= set(bundle.shape_names)


def test_the_model_may_have_fewer_parts():
    skin = build_head_model(1.0, ["skin"])
    assert len(skin.mean) == load_head_bundle().part_vertices["skin"][1]
    with pytest.raises(ValueError, match="first part must be 'skin'"):
        build_head_model(1.0, MODEL_PARTS[1:])
    with pytest.raises(ValueError, match="face_gain must be above 0, got 0"):
        build_head_model(0.0)
