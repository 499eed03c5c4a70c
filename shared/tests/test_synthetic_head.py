"""Head model: counts, geometry, landmarks, anthropometry, both forms of the bases."""

import pickle
import time

import numpy as np
import pytest
from oracle_reference import max_factor_r2
from voiceface.synthetic.face import head, mean_surface
from voiceface.synthetic.identities import sample_identities

# Landmark pairs (iBUG numbers, 0-based) of anthropometric distances.
ANTHROPOMETRIC_PAIRS = {
    "n-gn": (27, 8),
    "n-sn": (27, 33),
    "sn-gn": (33, 8),
    "al-al": (31, 35),
    "en-en": (39, 42),
    "ex-ex": (36, 45),
    "ch-ch": (48, 54),
}
# Means of men and women in mm, tolerance 10 %.
EXPECTED = {
    "n-gn": (126.5, 120.2),
    "n-sn": (50.4, 48.4),
    "sn-gn": (77.6, 74.3),
    "al-al": (30.2, 26.0),
    "en-en": (35.7, 34.6),
    "ex-ex": (94.3, 92.4),
    "ch-ch": (53.7, 48.0),
}


def landmark_distances(landmarks, pairs=ANTHROPOMETRIC_PAIRS):
    """Named distances of landmarks (..., 68, 3)."""
    return {
        name: np.linalg.norm(landmarks[..., a, :] - landmarks[..., b, :], axis=-1)
        for name, (a, b) in pairs.items()
    }


def compute_vertex_normals(vertices, triangles):
    """Unit normals (V, 3): area-weighted means of the triangles' normals."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for corner in triangles.T:
        np.add.at(normals, corner, faces)
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def model():
    return head.build_head_model()


@pytest.fixture(scope="module")
def crowd():
    return sample_identities(np.arange(2000), seed=3)


def test_profiles_are_the_usual_monotone_cubic():
    from scipy.interpolate import PchipInterpolator

    at = np.linspace(-170, 120, 999)
    for knots in (
        mean_surface.HALF_WIDTH,
        mean_surface.FRONT_DEPTH,
        mean_surface.BACK_DEPTH,
        mean_surface.NOSE_HEIGHT,
        mean_surface.NOSE_SPREAD,
    ):
        places, values = np.array(knots, float).T
        inside = np.clip(at, places[0], places[-1])
        assert np.allclose(
            mean_surface.monotone_cubic(knots, at), PchipInterpolator(places, values)(inside), atol=1e-9
        )
    assert (
        mean_surface.monotone_cubic(mean_surface.NOSE_HEIGHT, np.array([-60.0, 20.0]), outside=0.0) == 0
    ).all()


def test_counts(model):
    assert model.mean.shape == (6400, 3)
    assert model.triangles.shape == (12482, 3)
    assert model.shape_basis.shape == (40, 6400, 3)
    assert model.expression_basis.shape == (10, 6400, 3)
    assert sorted(set(model.triangles.ravel().tolist())) == list(range(6400))


def test_the_model_is_built_quickly_and_cached():
    from voiceface.synthetic.head.model import build_head_model

    started = time.process_time()
    fresh = build_head_model.__wrapped__(1.0)
    fresh.orthonormal  # noqa: B018
    assert time.process_time() - started < 3.0
    assert build_head_model() is build_head_model()


def test_no_degenerate_front_triangle_and_outward_normals(model):
    corners = model.mean[model.triangles]
    double_area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    in_front = (np.cos(mean_surface.build_mean_surface().theta).ravel() > 0.2)[model.triangles].all(axis=1)
    assert double_area[in_front].min() > 2 * 0.2
    normals = compute_vertex_normals(model.mean, model.triangles)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-6)
    # Away from the vertical axis almost everywhere; never inwards on the smooth forehead and back.
    radial = model.mean[:, [0, 2]] / np.linalg.norm(model.mean[:, [0, 2]], axis=1, keepdims=True)
    outward = (normals[:, [0, 2]] * radial).sum(axis=1)
    smooth = (model.mean[:, 1] > 25) & (model.mean[:, 1] < 85)
    assert outward[smooth].min() > 0.1
    assert (outward > 0).mean() > 0.93


def test_landmarks_are_distinct_and_in_order(model):
    assert len(set(model.landmarks.tolist())) == 68
    points = model.mean[model.landmarks]
    assert (np.diff(points[:17, 0]) > 0).all()  # jaw from the viewer's left to right
    assert points[8, 1] == points[:17, 1].min()
    assert (np.diff(points[27:31, 1]) < 0).all()  # down the nose
    assert points[30, 2] == points[:, 2].max()  # its tip stands out most
    mirror = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31]
    assert np.abs(points[mirror, 1] - points[: len(mirror), 1]).max() < 1e-9


def test_landmarks_are_visible_from_the_front(model):
    """No other triangle covers a landmark of the mean face, jaw line excepted where it turns away."""
    points = model.mean[model.landmarks]
    corners = model.mean[model.triangles]
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    usable = np.abs(area) > 1e-6
    for point in points:
        with np.errstate(divide="ignore", invalid="ignore"):
            wb = ((point - a)[:, 0] * (c - a)[:, 1] - (point - a)[:, 1] * (c - a)[:, 0]) / area
            wc = ((b - a)[:, 0] * (point - a)[:, 1] - (b - a)[:, 1] * (point - a)[:, 0]) / area
        inside = usable & (wb > 1e-6) & (wc > 1e-6) & (wb + wc < 1 - 1e-6)
        nearest = (a + wb[:, None] * (b - a) + wc[:, None] * (c - a))[inside, 2]
        assert nearest.size == 0 or nearest.max() < point[2] + 1.5


def test_anthropometric_means(model, crowd):
    measured = landmark_distances(model.compute_landmarks(head.shape_coefficients(crowd)))
    for name, (men, women) in EXPECTED.items():
        assert measured[name][crowd.face_sex == 1].mean() == pytest.approx(men, rel=0.10), name
        assert measured[name][crowd.face_sex == 0].mean() == pytest.approx(women, rel=0.10), name


def test_coefficients_have_unit_variance_within_a_sex(crowd):
    alpha = head.shape_coefficients(crowd)
    for sex in (0, 1):
        rows = alpha[crowd.face_sex == sex]
        assert np.abs(rows.std(axis=0) - 1).max() < 0.1
        sign = 2 * sex - 1
        assert np.abs(rows.mean(axis=0) - sign * shape_space.sex_shift()).max() < 0.12


def test_the_sex_of_the_face_determines_the_head():
    identities = sample_identities(np.arange(60), share_sex=False)
    alpha = head.shape_coefficients(identities)
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


def test_coefficients_mesh_coefficients_round_trip(model, crowd):
    alpha = head.shape_coefficients(crowd)[5]
    design = model.shape_basis.reshape(40, -1)
    offset = (model.compute_vertices(alpha) - model.mean).ravel()
    fitted = np.linalg.solve(design @ design.T, design @ offset)
    assert np.abs(fitted - alpha).max() < 1e-4
    assert np.linalg.matrix_rank(model.shape_basis.reshape(40, -1)) == 40
    assert np.linalg.matrix_rank(model.expression_basis.reshape(10, -1)) == 10


def test_face_gain_scales_all_bases(model):
    alpha = np.linspace(-1, 1, 40)
    half = head.build_head_model(0.5)
    assert np.allclose(
        half.compute_vertices(alpha) - half.mean, 0.5 * (model.compute_vertices(alpha) - model.mean)
    )
    with pytest.raises(ValueError, match="face_gain"):
        head.build_head_model(0.0)


def test_orthonormal_form_gives_the_same_heads(model, crowd):
    form = model.orthonormal
    assert form.w_shp.shape == (19200, 40) and form.w_exp.shape == (19200, 10)
    for basis in (form.w_shp, form.w_exp):
        product = basis.astype(float).T @ basis
        assert np.abs(product - np.eye(len(product))).max() < 1e-5
    alpha, expression = head.shape_coefficients(crowd)[7], np.full(10, 0.4)
    semantic = model.compute_vertices(alpha, expression) * head.MICROMETRES_PER_MM
    orthonormal = form.u_shp + form.u_exp
    orthonormal = orthonormal + form.w_shp @ (form.shape_from_semantic @ alpha)[:, None]
    orthonormal = orthonormal + form.w_exp @ (form.expression_from_semantic @ expression)[:, None]
    assert np.abs(orthonormal.reshape(-1, 3) - semantic).max() < 1.0  # micrometres
    assert form.keypoints.shape == (204,)
    assert np.array_equal(form.keypoints.reshape(68, 3)[:, 0], 3 * model.landmarks)
    assert form.tri.shape == (3, 12482) and form.tri.min() == 1 and form.tri.max() == 6400
    assert form.param_mean.shape == form.param_std.shape == (102,)
    assert (form.param_std > 0).all()


def test_whitening_describes_the_population(model, crowd):
    form = model.orthonormal
    coefficients = head.shape_coefficients(crowd) @ form.shape_from_semantic.T
    white = (coefficients - form.param_mean[12:52]) / form.param_std[12:52]
    assert np.abs(white.mean(axis=0)).max() < 0.12
    assert np.abs(white.std(axis=0) - 1).max() < 0.1
    assert (np.diff(form.param_std[12:52]) <= 0).all()


def test_saved_orthonormal_bases_read_back(model, tmp_path):
    from scipy.io import loadmat

    model.orthonormal.save(tmp_path)
    assert (tmp_path / "tri.mat").read_bytes()[:116] == b"MATLAB 5.0 MAT-file".ljust(116), "no time in it"
    assert np.load(tmp_path / "w_shp_sim.npy").dtype == np.float32
    assert loadmat(tmp_path / "tri.mat")["tri"].min() == 1
    with (tmp_path / "param_whitening_sim.pkl").open("rb") as file:
        assert set(pickle.load(file)) == {"param_mean", "param_std"}


def test_obj_file_reads_back(model, tmp_path):
    path = tmp_path / "head.obj"
    head.write_obj(path, model.mean, model.triangles)
    lines = path.read_text().splitlines()
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    faces = np.array([line.split()[1:] for line in lines if line.startswith("f ")], int)
    assert np.abs(vertices - model.mean).max() < 1e-4
    assert np.array_equal(faces - 1, model.triangles)


def test_landmark_pairs_measure_the_named_distances(model):
    distances = landmark_distances(model.mean[model.landmarks], head.RATIO_LANDMARK_PAIRS)
    assert set(distances) == {"OICD", "FR", "CR", "ER", "MR"}
    assert distances["ER"] > distances["MR"] > distances["CR"]


@pytest.mark.parametrize("name", shape_space.EXPRESSION_NAMES)
def test_expressions_stay_on_the_face(model, name):
    moved = np.linalg.norm(model.expression_basis[shape_space.EXPRESSION_NAMES.index(name)], axis=1)
    back = np.cos(mean_surface.build_mean_surface().theta).ravel() < -0.3
    assert moved.max() > 1.0
    assert moved[back].max() < 0.1


def test_jaw_opens_the_mouth(model):
    lips = model.compute_landmarks(np.zeros(40), np.eye(10)[0])
    closed = model.mean[model.landmarks]
    gap = lambda points: points[62, 1] - points[66, 1]  # noqa: E731
    assert gap(lips) - gap(closed) > 6.0
    assert lips[8, 1] - closed[8, 1] == pytest.approx(-9.0, abs=1.0)
