"""Head model: counts, landmarks, coefficients, both forms of the bases."""

import pickle

import numpy as np
import pytest
from oracle_reference import max_factor_r2
from voiceface.synthetic.head import linear_model, model, shape_space
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.layout import DEFAULT_FACE_GAIN


def landmark_distances(landmarks, pairs):
    """Named distances of landmarks (..., 68, 3)."""
    return {
        name: np.linalg.norm(landmarks[..., a, :] - landmarks[..., b, :], axis=-1)
        for name, (a, b) in pairs.items()
    }


@pytest.fixture(scope="module")
def head():
    return model.build_head_model()


@pytest.fixture(scope="module")
def crowd():
    return sample_identities(np.arange(2000), seed=3)


def test_counts(head):
    assert head.mean.shape == (4883, 3)
    assert head.triangles.shape == (9584, 3)
    assert head.shape_basis.shape == (40, 4883, 3)
    assert head.expression_basis.shape == (10, 4883, 3)
    assert sorted(set(head.triangles.ravel().tolist())) == list(range(4883))


def test_the_model_is_built_once():
    assert model.build_head_model() is model.build_head_model(face_gain=DEFAULT_FACE_GAIN)


def test_landmarks_are_distinct_and_in_order(head):
    assert len(set(head.landmarks.tolist())) == 68
    points = head.mean[head.landmarks]
    assert (np.diff(points[1:16, 0]) > 0).all()  # jaw from the viewer's left to right
    assert points[8, 1] == points[:17, 1].min()
    assert (np.diff(points[27:31, 1]) < 0).all()  # down the nose
    assert points[30, 2] == points[:, 2].max()  # its tip stands out most
    mirror = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31]
    assert np.abs(points[mirror, 1] - points[: len(mirror), 1]).max() < 1e-9


def test_coefficients_have_unit_variance_within_a_sex(crowd):
    alpha = shape_space.shape_coefficients(crowd)
    for sex in (0, 1):
        rows = alpha[crowd.face_sex == sex]
        assert np.abs(rows.std(axis=0) - 1).max() < 0.1
        sign = 2 * sex - 1
        assert np.abs(rows.mean(axis=0) - sign * shape_space.sex_shift()).max() < 0.12


def test_the_sex_of_the_face_determines_the_head():
    identities = sample_identities(np.arange(60), share_sex=False)
    alpha = shape_space.shape_coefficients(identities)
    shift = (
        alpha
        - identities.face_factors @ shape_space.factor_loadings().T
        - identities.shape_nuisance * shape_space.residual_scale()
    )[:, 4]
    assert np.allclose(shift > 0, identities.face_sex == 1)
    assert (identities.face_sex != identities.sex).any()


def test_factors_are_predictable_from_the_true_shape():
    table = [0.80, 0.79, 0.74, 0.78, 0.82, 0.78, 0.80, 0.63]
    assert np.abs(max_factor_r2() - table).max() < 0.01
    coupled = (shape_space.factor_loadings() ** 2).sum(axis=1)
    assert (coupled > 0).sum() == 26
    assert coupled[coupled > 0].mean() == pytest.approx(0.445, abs=0.001)


def test_coefficients_mesh_coefficients_round_trip(head, crowd):
    alpha = shape_space.shape_coefficients(crowd)[5]
    design = head.shape_basis.reshape(40, -1)
    offset = (head.compute_vertices(alpha) - head.mean).ravel()
    fitted = np.linalg.solve(design @ design.T, design @ offset) / head.gain
    assert np.abs(fitted - alpha).max() < 1e-4
    assert np.linalg.matrix_rank(head.shape_basis.reshape(40, -1)) == 40
    assert np.linalg.matrix_rank(head.expression_basis.reshape(10, -1)) == 10


def test_orthonormal_form_gives_the_same_heads(head, crowd):
    form = head.orthonormal
    assert form.w_shp.shape == (14649, 40) and form.w_exp.shape == (14649, 10)
    for basis in (form.w_shp, form.w_exp):
        product = basis.astype(float).T @ basis
        assert np.abs(product - np.eye(len(product))).max() < 1e-5
    alpha, expression = shape_space.shape_coefficients(crowd)[7], np.full(10, 0.4)
    semantic = head.compute_vertices(alpha, expression) * linear_model.MICROMETRES_PER_MM
    orthonormal = form.u_shp + form.u_exp
    orthonormal = orthonormal + form.w_shp @ (form.shape_from_semantic @ alpha)[:, None]
    orthonormal = orthonormal + form.w_exp @ (form.expression_from_semantic @ expression)[:, None]
    assert np.abs(orthonormal.reshape(-1, 3) - semantic).max() < 1.0  # micrometres
    assert form.keypoints.shape == (204,)
    assert np.array_equal(form.keypoints.reshape(68, 3)[:, 0], 3 * head.landmarks)
    assert form.tri.shape == (3, 9584) and form.tri.min() == 1 and form.tri.max() == 4883
    assert form.param_mean.shape == form.param_std.shape == (102,)
    assert (form.param_std > 0).all()


def test_whitening_describes_the_population(head, crowd):
    form = head.orthonormal
    coefficients = shape_space.shape_coefficients(crowd) @ form.shape_from_semantic.T
    white = (coefficients - form.param_mean[12:52]) / form.param_std[12:52]
    assert np.abs(white.mean(axis=0)).max() < 0.12
    assert np.abs(white.std(axis=0) - 1).max() < 0.1
    assert (np.diff(form.param_std[12:52]) <= 0).all()


def test_saved_orthonormal_bases_read_back(head, tmp_path):
    from scipy.io import loadmat

    head.orthonormal.save(tmp_path)
    assert (tmp_path / "tri.mat").read_bytes()[:116] == b"MATLAB 5.0 MAT-file".ljust(116), "no time in it"
    assert np.load(tmp_path / "w_shp_sim.npy").dtype == np.float32
    assert loadmat(tmp_path / "tri.mat")["tri"].min() == 1
    with (tmp_path / "param_whitening_sim.pkl").open("rb") as file:
        assert set(pickle.load(file)) == {"param_mean", "param_std"}


def test_obj_file_reads_back(head, tmp_path):
    path = tmp_path / "head.obj"
    linear_model.write_obj(path, head.mean, head.triangles)
    lines = path.read_text().splitlines()
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    faces = np.array([line.split()[1:] for line in lines if line.startswith("f ")], int)
    assert np.abs(vertices - head.mean).max() < 1e-4
    assert np.array_equal(faces - 1, head.triangles)


def test_landmark_pairs_measure_the_named_distances(head):
    distances = landmark_distances(head.mean[head.landmarks], linear_model.RATIO_LANDMARK_PAIRS)
    assert set(distances) == {"OICD", "FR", "CR", "ER", "MR"}
    assert distances["ER"] > distances["MR"] > distances["CR"]
