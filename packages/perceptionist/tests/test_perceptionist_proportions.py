"""Proportions: invariances, agreement with the published scripts, the description of a face."""

import math

import numpy as np
import pytest
from perceptionist import proportions
from perceptionist.face_models.synthetic_head import build_synthetic_face_model, frontal_vertices
from voiceface.synthetic.head.model import build_head_model

PAIRS = {"oicd": (0, 1), "forehead": (2, 3), "cheek": (4, 5), "ear": (6, 7), "midline": (8, 9)}
LANDMARKS = np.arange(5, 73)
RNG = np.random.default_rng(6)


def meshes(count: int, vertices: int = 90) -> np.ndarray:
    return RNG.normal(size=(count, vertices, 3)) * [60, 80, 50]


def published_scripts(predicted: np.ndarray, true: np.ndarray) -> tuple[list[float], float]:
    """ARE and keypoint error as the published scripts go about it, in plain loops."""

    def distance(mesh: np.ndarray, pair: tuple[int, int]) -> float:
        return math.sqrt(sum((mesh[pair[0]][axis] - mesh[pair[1]][axis]) ** 2 for axis in range(3)))

    scaled = predicted * (distance(true, PAIRS["oicd"]) / distance(predicted, PAIRS["oicd"]))
    are = []
    for name in ("forehead", "cheek", "ear", "midline"):
        actual = distance(scaled, PAIRS[name]) / distance(scaled, PAIRS["oicd"])
        expected = distance(true, PAIRS[name]) / distance(true, PAIRS["oicd"])
        are.append(abs(actual - expected))
    total = 0.0
    for mark in LANDMARKS:
        for axis in range(3):
            total += (scaled[mark][axis] - true[mark][axis]) ** 2
    size = (true[:, 0].max() - true[:, 0].min()) * (true[:, 1].max() - true[:, 1].min())
    return are, math.sqrt(total) / math.sqrt(size)


def test_error_table_equals_the_published_scripts() -> None:
    predicted, true = meshes(4), meshes(4)
    table = proportions.error_table(predicted, true, PAIRS, LANDMARKS)
    for row in range(4):
        are, keypoint = published_scripts(predicted[row], true[row])
        np.testing.assert_allclose(table[row, :4], are, rtol=1e-10)
        assert table[row, 4] == pytest.approx(np.mean(are))
        assert table[row, 5] == pytest.approx(keypoint)


def test_ratios_are_invariant_to_scale_translation_and_rotation() -> None:
    mesh = meshes(1)[0]
    turn, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    displaced = 0.013 * mesh @ turn + [5, -9, 2]
    np.testing.assert_allclose(proportions.ratios(displaced, PAIRS), proportions.ratios(mesh, PAIRS))
    other = meshes(1)[0]
    kept = proportions.error_table(mesh[None], other[None], PAIRS, LANDMARKS)
    scaled = proportions.error_table(7 * mesh[None], 0.1 * other[None], PAIRS, LANDMARKS)
    np.testing.assert_allclose(scaled, kept)
    proper = turn * np.linalg.det(turn)
    assert proportions.aligned_landmark_error(mesh @ proper + 4, mesh, PAIRS, LANDMARKS) < 1e-12
    assert proportions.keypoint_error(mesh @ proper + 4, mesh, PAIRS, LANDMARKS) > 0.1


def test_one_mesh_is_broadcast_to_all_identities() -> None:
    true, mean = meshes(3), meshes(1)[0]
    full = proportions.error_table(mean, true, PAIRS, LANDMARKS)
    for row in range(3):
        one = proportions.error_table(mean[None], true[row : row + 1], PAIRS, LANDMARKS)
        np.testing.assert_allclose(full[row], one[0], rtol=1e-12)


def test_means_are_over_the_predictions_of_an_identity_first() -> None:
    table = np.zeros((3, 7))
    table[:, 0] = [1, 3, 10]
    means = proportions.identity_mean_errors(table, [5, 5, 1])
    assert means["forehead"] == 6
    assert list(means) == list(proportions.ERRORS)


def test_comparison_with_baselines_names_every_error() -> None:
    true = np.repeat(meshes(40), 2, axis=0)
    near = true + RNG.normal(size=true.shape)
    tables = {"mean face": proportions.error_table(true.mean(axis=0), true, PAIRS, LANDMARKS)}
    actual = proportions.error_table(near, true, PAIRS, LANDMARKS)
    result = proportions.compare_with_baselines(
        actual, tables, np.repeat(np.arange(40), 2), bootstrap_samples=300
    )
    assert list(result) == list(proportions.ERRORS)
    for comparison in result.values():
        assert comparison.differences["mean face"].high < 0
        assert comparison.differences["mean face"].p_value < 0.02


def test_mean_faces_of_all_and_of_each_gender() -> None:
    vertices = np.stack([np.full((4, 3), value) for value in (0.0, 2, 7)])
    result = proportions.mean_faces(vertices, ["male", "male", "female"])
    assert [result[name][0, 0] for name in ("all", "male", "female")] == [3, 1, 7]
    with pytest.raises(ValueError, match="female"):
        proportions.mean_faces(vertices, ["male"] * 3)


def test_description_by_hand() -> None:
    base = meshes(1)[0]
    sizes = {"male": 1.1, "female": 0.9, "wide": 1.3, "skinny": 0.7, "regular": 1.0, "slim": 0.8}
    references = {name: size * base for name, size in sizes.items()}
    reported = proportions.describe_face(1.04 * base, references, PAIRS)
    assert reported.gender == "male"
    assert reported.face_type == "regular"
    assert reported.differences["cheek"] == pytest.approx(1.04 / 1.1 - 1)
    assert reported.errors["wide"] == pytest.approx(0.26 * np.linalg.norm(base) / 90)
    assert proportions.describe_face(0.72 * base, references, PAIRS).face_type == "skinny"


def test_ties_go_to_female_and_to_the_first_type() -> None:
    base = meshes(1)[0]
    references = dict.fromkeys((*proportions.GENDERS, *proportions.FACE_TYPES), base)
    reported = proportions.describe_face(2 * base, references, PAIRS)
    assert (reported.gender, reported.face_type) == ("female", "wide")


def test_references_of_the_population_describe_themselves() -> None:
    model = build_synthetic_face_model()
    for name in proportions.FACE_TYPES:
        assert (
            proportions.describe_face(model.references[name], model.references, model.pairs).face_type == name
        )
    for sex in proportions.GENDERS:
        reported = proportions.describe_face(model.references[sex], model.references, model.pairs)
        assert reported.gender == sex
        assert max(map(abs, reported.differences.values())) < 1e-6
    wide = frontal_vertices(build_head_model(), np.zeros(40))
    assert proportions.describe_face(wide, model.references, model.pairs).face_type == "regular"


def test_unmeasurable_meshes_are_reported() -> None:
    mesh = meshes(1)[0]
    with pytest.raises(ValueError, match="cheek"):
        proportions.ratios(mesh, {name: pair for name, pair in PAIRS.items() if name != "cheek"})
    flat = mesh.copy()
    flat[1] = flat[0]
    with pytest.raises(ValueError, match="interocular"):
        proportions.ratios(flat, PAIRS)
    with pytest.raises(ValueError, match="wide, skinny"):
        proportions.describe_face(mesh, {"male": mesh, "female": mesh}, PAIRS)
    references = dict.fromkeys((*proportions.GENDERS, *proportions.FACE_TYPES), mesh[:-1])
    with pytest.raises(ValueError, match="male"):
        proportions.describe_face(mesh, references, PAIRS)
