"""Linear face models: linearity, exact inverses, poses, the population's head, subsets of vertices."""

import numpy as np
import pytest
import torch
from perceptionist.face_models.landmarks import PAIR_NAMES, default_pose_whitening, pairs_from_landmarks
from perceptionist.face_models.linear import REFERENCE_NAMES, FaceModelError, FaceParameters, LinearFaceModel
from perceptionist.face_models.pose import PUBLISHED_Y_FLIP, apply_pose, split_pose
from perceptionist.face_models.synthetic_head import (
    build_synthetic_face_model,
    expression_coefficients,
    frontal_vertices,
    orthonormal_shape,
    pose_parameters,
)
from voiceface.synthetic.camera import sample_render_params
from voiceface.synthetic.head.linear_model import RATIO_LANDMARK_PAIRS
from voiceface.synthetic.head.model import build_head_model
from voiceface.synthetic.head.shape_space import shape_coefficients
from voiceface.synthetic.identities import sample_identities

RNG = np.random.default_rng(4)


def small_model(**changes: object) -> LinearFaceModel:
    """90 vertices, 5 + 3 numbers."""
    landmarks = RNG.permutation(90)[:68]
    parts: dict = {
        "name": "small",
        "mean": RNG.normal(size=270) * 10,
        "shape_basis": RNG.normal(size=(270, 5)),
        "expression_basis": RNG.normal(size=(270, 3)),
        "triangles": RNG.integers(0, 90, (40, 3)),
        "landmarks": landmarks,
        "pairs": pairs_from_landmarks(landmarks),
        "parameter_mean": np.concatenate([[2, 0, 0, 50, 0, 2, 0, 60, 0, 0, 2, -3], RNG.normal(size=8)]),
        "parameter_std": RNG.uniform(0.5, 2, 20),
    }
    return LinearFaceModel(**(parts | changes))


def numbers(*shape: int) -> torch.Tensor:
    return torch.from_numpy(RNG.normal(size=shape)).float()


def test_vertices_equal_the_explicit_sum() -> None:
    model = small_model()
    a, e = numbers(4, 5), numbers(4, 3)
    result = model.vertices(a, e)
    assert result.shape == (4, 3, 90)
    for b in range(4):
        for vertex in (0, 17, 89):
            for axis in range(3):
                row = 3 * vertex + axis
                expected = (
                    model.mean[row] + model.shape_basis[row] @ a[b] + model.expression_basis[row] @ e[b]
                )
                assert result[b, axis, vertex].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-4)
    torch.testing.assert_close(model.vertices(a), model.vertices(a, torch.zeros(4, 3)))


def test_vertices_are_differentiable_and_stay_single_under_mixed_precision() -> None:
    model = small_model()
    a = numbers(2, 5).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        result = model.vertices(a.bfloat16().float(), numbers(2, 3).bfloat16())
    assert result.dtype == torch.float32
    model.vertices(a)[1, 2, 7].backward()
    assert a.grad is not None
    torch.testing.assert_close(a.grad[1], model.shape_basis[23])
    assert not a.grad[0].any()


def test_model_has_no_state_to_store_and_moves_as_a_module() -> None:
    model = small_model().double()
    assert not model.state_dict()
    assert model.vertices(torch.zeros(1, 5).double()).dtype == torch.float64


def test_whitening_round_trip_and_texture_ignored() -> None:
    model = small_model()
    known = FaceParameters(numbers(3, 12), numbers(3, 5), numbers(3, 3))
    white = model.whiten(known)
    padded = torch.cat([white, numbers(3, 40)], dim=1)
    for vector in (white, padded):
        loaded = model.unwhiten(vector)
        for name in ("pose", "shape", "expression"):
            torch.testing.assert_close(getattr(loaded, name), getattr(known, name))
    with pytest.raises(ValueError, match=r"\(B, 20 or more\)"):
        model.unwhiten(white[:, :-1])


def test_pose_splits_into_scale_rotation_offset() -> None:
    angle = torch.tensor(0.3)
    turn = torch.tensor([[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0], [0, 0, 1]])
    offset = torch.tensor([[5.0], [6.0], [7.0]])
    pose = torch.cat([4 * turn, offset], dim=1).reshape(1, 12)
    for rule in ("rows", "cross"):
        result = split_pose(pose, rule)  # type: ignore[arg-type]
        torch.testing.assert_close(result.scale, torch.tensor([4.0]))
        torch.testing.assert_close(result.rotation, turn[None])
        torch.testing.assert_close(result.translation, offset[None])
    with pytest.raises(ValueError, match="rows, cross"):
        split_pose(pose, "other")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="12"):
        split_pose(pose[:, :11])


def test_rows_and_cross_differ_in_the_third_row_of_a_skew_pose() -> None:
    pose = numbers(3, 12)
    rows, cross = split_pose(pose), split_pose(pose, "cross")
    torch.testing.assert_close(rows.rotation[:, :2], cross.rotation[:, :2])
    torch.testing.assert_close(rows.rotation.norm(dim=2), torch.ones(3, 3))
    dots = (cross.rotation[:, 2:] * cross.rotation[:, :2]).sum(dim=2)
    torch.testing.assert_close(dots, torch.zeros(3, 2), atol=1e-6, rtol=0)
    assert (rows.rotation[:, 2] - cross.rotation[:, 2]).abs().max() > 0.1


def test_frontal_vertices_ignore_the_rotation() -> None:
    model = small_model()
    known = FaceParameters(numbers(3, 12), numbers(3, 5), numbers(3, 3))
    full = model.reconstruct(model.whiten(known))
    expected = full.pose.scale[:, None, None] * model.vertices(known.shape, known.expression)
    torch.testing.assert_close(full.vertices, expected)
    torch.testing.assert_close(model.frontal_vertices(model.whiten(known)), expected)
    posed = apply_pose(full.vertices, full.pose)
    upright = apply_pose(full.vertices, full.pose, y_flip=None)
    torch.testing.assert_close(posed[:, 1], 121 - upright[:, 1])
    torch.testing.assert_close(posed[:, [0, 2]], upright[:, [0, 2]])
    torch.testing.assert_close(apply_pose(full.vertices, full.pose, PUBLISHED_Y_FLIP)[:, 1], posed[:, 1] + 6)


def test_supervised_targets_are_the_inverse_of_vertices_from_supervised() -> None:
    model = small_model(scale=(0.5, 0.02))
    scale, shape, expression = numbers(3).abs() + 0.1, numbers(3, 5), numbers(3, 3)
    mesh = model.vertices_from_supervised(model.supervised_targets(scale, shape, expression))
    torch.testing.assert_close(mesh, scale[:, None, None] * model.vertices(shape, expression))


def test_vertices_at_landmarks_equal_those_of_the_whole_mesh() -> None:
    model = small_model()
    shape, expression = numbers(2, 5), numbers(2, 3)
    full = model.vertices(shape, expression)
    torch.testing.assert_close(model.vertices_at(shape, expression), full[:, :, model.landmarks])
    torch.testing.assert_close(model.vertices_at(shape, expression, [3, 3, 1]), full[:, :, [3, 3, 1]])


def test_a_subset_is_the_model_on_fewer_vertices() -> None:
    model = small_model(references={"male": RNG.normal(size=(90, 3))})
    keep = np.sort(
        np.concatenate([model.landmarks, RNG.permutation(np.setdiff1d(np.arange(90), model.landmarks))[:9]])
    )
    part = model.subset(keep)
    shape = numbers(2, 5)
    torch.testing.assert_close(part.vertices(shape), model.vertices(shape)[:, :, keep])
    assert np.array_equal(keep[part.landmarks], model.landmarks)
    assert {k: tuple(keep[list(v)]) for k, v in part.pairs.items()} == model.pairs
    inside = np.isin(model.triangles, keep).all(axis=1)
    assert np.array_equal(keep[part.triangles], model.triangles[inside])
    assert np.array_equal(part.references["male"], model.references["male"][keep])
    far = {"ear": (int(np.setdiff1d(np.arange(90), keep)[0]), 3)}
    other = small_model(landmarks=model.landmarks, pairs=model.pairs | far)
    with pytest.raises(FaceModelError, match="ear"):
        other.subset(keep)
    assert other.subset(keep, replace_pairs=True).pairs == part.pairs
    with pytest.raises(FaceModelError, match="landmarks"):
        model.subset(keep[:-30])
    with pytest.raises(FaceModelError, match="repeated"):
        model.subset([0, 0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean": np.zeros(271)}, "271"),
        ({"mean": np.full(270, np.nan)}, "not finite"),
        ({"shape_basis": np.zeros((90, 5))}, r"shape basis of shape \(90, 5\)"),
        ({"triangles": [[0, 1, 90]]}, "0 to 89"),
        ({"triangles": [[0.0, 1, 2]]}, "integers"),
        ({"landmarks": np.arange(67)}, "landmarks"),
        ({"pairs": {"oicd": (0, 1)}}, "forehead"),
        ({"pairs": dict.fromkeys(PAIR_NAMES, (0, 95))}, "oicd"),
        ({"parameter_std": np.ones(19)}, "19"),
        ({"references": {"male": np.zeros((3, 90))}}, "male"),
    ],
)
def test_inconsistent_parts_of_a_model_are_named(changes: dict, words: str) -> None:
    with pytest.raises(FaceModelError, match=words):
        small_model(**changes)


def test_invalid_widths_are_named() -> None:
    model = small_model()
    for call in (
        lambda: model.vertices(numbers(2, 4)),
        lambda: model.vertices(numbers(2, 5), numbers(2, 4)),
        lambda: model.vertices_from_supervised(numbers(2, 8)),
        lambda: model.vertices(numbers(5)),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()


def test_population_model_generates_the_populations_heads() -> None:
    model, head = build_synthetic_face_model(), build_head_model()
    identities = sample_identities(range(6), rho=0.7)
    alpha = shape_coefficients(identities)
    semantic = np.abs(RNG.normal(size=(6, 10)))
    shape, expression = (
        torch.from_numpy(orthonormal_shape(identities)),
        torch.from_numpy(expression_coefficients(semantic)),
    )
    actual = model.vertices(shape, expression).transpose(1, 2).numpy() * model.unit_mm
    assert np.abs(actual - head.compute_vertices(alpha, semantic)).max() < 1e-3  # mm
    points = actual[:, model.landmarks]
    distances = {
        name: np.linalg.norm(points[:, a] - points[:, b], axis=1)
        for name, (a, b) in RATIO_LANDMARK_PAIRS.items()
    }
    names = dict(zip(PAIR_NAMES, ("OICD", "FR", "CR", "ER", "MR")))
    for word, pair in model.pairs.items():
        result = np.linalg.norm(actual[:, pair[0]] - actual[:, pair[1]], axis=1)
        np.testing.assert_allclose(result, distances[names[word]], rtol=1e-6)
    assert "synthetic population" in model.disclaimer.lower()


def test_population_triangles_face_the_viewer_if_y_points_down() -> None:
    model = build_synthetic_face_model()
    points = model.mean.reshape(-1, 3).numpy() * [1, -1, 1]
    a, b, c = (points[model.triangles[:, i]] for i in range(3))
    middle = points[model.triangles].mean(axis=1)
    forehead = (middle[:, 2] > 60_000) & (np.abs(middle[:, 0]) < 40_000) & (middle[:, 1] < -35_000)
    assert forehead.sum() > 50 and (np.cross(b - a, c - a)[forehead, 2] > 0).all()
    assert np.array_equal(model.outward_triangles[:, ::-1], model.triangles)


def test_population_whitening_is_that_of_its_identities() -> None:
    model = build_synthetic_face_model()
    identities = sample_identities(range(4000), rho=0.7)
    shape = (orthonormal_shape(identities) - model.parameter_mean[12:52].numpy()) / model.parameter_std[
        12:52
    ].numpy()
    assert np.abs(shape.mean(axis=0)).max() < 0.08
    assert np.abs(shape.std(axis=0) - 1).max() < 0.06


def test_pose_parameters_project_landmarks_to_those_of_the_image() -> None:
    model, identities = build_synthetic_face_model(), sample_identities(range(12), rho=0.7)
    alpha, shape = shape_coefficients(identities), torch.from_numpy(orthonormal_shape(identities))
    for i in range(12):
        view = sample_render_params(identities, i, 0)
        pose = split_pose(torch.from_numpy(pose_parameters(view, alpha[i]))[None])
        expression = torch.from_numpy(expression_coefficients(view.expression[None]))
        points = pose.scale[:, None, None] * model.vertices_at(shape[i : i + 1], expression)
        posed = apply_pose(points, pose)[0].numpy()[:2].T
        away = np.linalg.norm(posed - 120 * view.landmarks, axis=1)
        assert away.mean() < 1.2
        assert away.max() < 6


def test_references_separate_the_populations_genders_and_widths() -> None:
    model, head = build_synthetic_face_model(), build_head_model()
    assert tuple(model.references) == REFERENCE_NAMES
    widths = {
        word: np.linalg.norm(points[model.pairs["cheek"][0]] - points[model.pairs["cheek"][1]])
        / np.ptp(points[model.landmarks, 1])
        for word, points in model.references.items()
    }
    assert widths["wide"] > widths["regular"] > widths["slim"] > widths["skinny"]
    identities = sample_identities(range(300), rho=0.7)
    meshes = frontal_vertices(head, shape_coefficients(identities))
    away = [np.linalg.norm(meshes - model.references[word], axis=(1, 2)) for word in ("male", "female")]
    assert ((away[0] < away[1]) == (identities.sex == 1)).mean() > 0.8
    box = np.ptp(model.references["male"][model.landmarks, :2], axis=0).sum() / 2
    assert box == pytest.approx(0.57 * 120, rel=1e-4)


def test_default_pose_whitening_centres_the_face() -> None:
    head = build_head_model()
    mean, std = default_pose_whitening(head.mean, head.landmarks)
    pose = split_pose(torch.from_numpy(mean)[None])
    points = pose.scale * torch.from_numpy(head.mean[head.landmarks]).T[None]
    posed = apply_pose(points, pose, 120.0)[0].numpy()
    assert np.ptp(posed[:2], axis=1).sum() / 2 == pytest.approx(72)
    middle = (posed.min(axis=1) + posed.max(axis=1)) / 2
    assert middle[:2] == pytest.approx([60, 0.56 * 120])
    assert (std > 0).all()
