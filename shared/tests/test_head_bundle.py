"""The bundle of the head: shapes, symmetry, regions, texture, size, subdivision."""

import numpy as np
import pytest
from voiceface.synthetic.head import landmarks as table
from voiceface.synthetic.head import shape_space
from voiceface.synthetic.head.bundle import BUNDLE_FILE, load_head_bundle, read_bundle
from voiceface.synthetic.head.occlusion import compute_normals, compute_occlusion
from voiceface.synthetic.head.subdivision import load_subdivided_head, subdivide
from voiceface.synthetic.head.targets import SHAPE_FIELDS

MIRROR = np.array([-1.0, 1.0, 1.0])


def border_edges(triangles: np.ndarray) -> np.ndarray:
    """Edges of one triangle only."""
    sides = np.sort(np.stack([triangles, np.roll(triangles, -1, axis=1)], -1).reshape(-1, 2), axis=1)
    edges, uses = np.unique(sides, axis=0, return_counts=True)
    assert uses.max() <= 2
    return edges[uses == 1]


def test_the_bundle_is_small_and_complete():
    head = load_head_bundle()
    assert BUNDLE_FILE.stat().st_size <= 4_000_000
    assert head.shape_names == shape_space.SHAPE_NAMES
    assert head.expression_names == shape_space.EXPRESSION_NAMES
    count = len(head.mean)
    assert head.shape_basis.shape == (40, count, 3)
    assert head.expression_basis.shape == (10, count, 3)
    assert list(head.part_vertices) == [
        *("skin", "eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue", "lashes")
    ]
    assert head.part_vertices["lashes"][1] == count
    assert set(np.unique(head.triangles)) == set(range(count))
    assert not head.mean.flags.writeable


def test_the_forty_fields_are_independent():
    fields = load_head_bundle().shape_basis.reshape(40, -1)
    scaled = fields / np.linalg.norm(fields, axis=1, keepdims=True)
    assert np.linalg.matrix_rank(scaled, tol=0.03) == 40


def test_a_file_of_another_format_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file(
        {"mean": np.zeros((3, 3), np.float32)},
        tmp_path / "other.safetensors",
        {"head": '{"format": "other"}'},
    )
    with pytest.raises(ValueError, match="format is 'other', expected 'voiceface-head-1'"):
        read_bundle(tmp_path / "other.safetensors")


def test_the_mean_head_and_its_triangles_are_symmetric():
    head = load_head_bundle()
    assert (head.mirror[head.mirror] == np.arange(len(head.mean))).all()
    np.testing.assert_allclose(head.mean[head.mirror] * MIRROR, head.mean, atol=2e-3)
    sides = {tuple(row) for row in np.sort(head.triangles, axis=1).tolist()}
    assert {tuple(row) for row in np.sort(head.mirror[head.triangles], axis=1).tolist()} == sides


@pytest.mark.parametrize("name", shape_space.SHAPE_NAMES)
def test_fields_are_symmetric_or_odd(name):
    head = load_head_bundle()
    field = head.shape_basis[head.shape_names.index(name)]
    sign = -1.0 if SHAPE_FIELDS[name].odd else 1.0
    np.testing.assert_allclose(field[head.mirror] * MIRROR, sign * field, atol=0.01)


def test_expressions_are_symmetric():
    head = load_head_bundle()
    reflected = head.expression_basis[:, head.mirror] * MIRROR
    np.testing.assert_allclose(reflected, head.expression_basis, atol=0.02)


def test_landmarks_are_distinct_visible_skin_and_mirror_each_other():
    head = load_head_bundle()
    assert len(set(head.landmarks.tolist())) == 68
    assert (head.landmarks < head.part_vertices["skin"][1]).all()
    for right, left in table.MIRRORED_LANDMARKS.items():
        assert head.mirror[head.landmarks[right]] == head.landmarks[left]
    for middle in table.MIDLINE_LANDMARKS:
        assert abs(head.mean[head.landmarks[middle], 0]) < 1e-3
    points = head.mean[head.landmarks]
    assert (np.diff(points[:17, 0]) > -0.5).all()  # along the jaw from the viewer's left to the right
    assert (np.diff(points[17:27, 0]) > 0).all()
    assert points[8, 1] < points[57, 1] < points[51, 1] < points[33, 1] < points[27, 1] < points[19, 1]
    assert points[30, 2] == points[:, 2].max()
    normals = compute_normals(head.mean, head.triangles)[head.landmarks]
    assert (normals[17:60, 2] > -0.35).all()


def test_coordinates_are_those_of_an_adult_seen_from_the_front():
    head = load_head_bundle()
    eyes = np.concatenate([head.mean[head.vertices_of(part)] for part in ("eye_left", "eye_right")])
    assert abs(eyes[:, 1].mean()) < 3.0
    assert (
        head.mean[head.vertices_of("eye_left"), 0].max()
        < 0
        < head.mean[head.vertices_of("eye_right"), 0].min()
    )
    ears = head.mean[head.regions["ears"] > 0.9]
    assert abs(ears[:, 2].mean()) < 20.0
    assert 200.0 < np.ptp(head.mean[:, 1]) < 300.0


def test_the_neck_ends_in_one_clean_ring():
    head = load_head_bundle()
    edges = border_edges(head.triangles[head.triangles_of("skin")])
    low = head.mean[np.unique(edges)]
    neck = low[:, 1] < -100.0
    ring = edges[(head.mean[edges][..., 1] < -100.0).all(axis=1)]
    assert np.bincount(ring.ravel()).max() == 2  # no branches
    assert (np.bincount(ring.ravel(), minlength=len(head.mean))[np.unique(ring)] == 2).all()  # closed
    design = np.stack([low[neck, 2], np.ones(neck.sum())], axis=1)
    height = low[neck, 1]
    left = height - design @ np.linalg.lstsq(design, height, rcond=None)[0]
    assert np.abs(left).max() < 1.5  # mm: all on one plane


def test_regions_lie_where_they_belong():
    head = load_head_bundle()
    for weight in head.regions.values():
        assert weight.min() >= 0.0 and weight.max() <= 1.0 and weight.max() > 0.5
        np.testing.assert_allclose(weight[head.mirror], weight, atol=0.005)
    marks = head.landmarks
    assert (head.regions["lips"][marks[[48, 50, 52, 54, 56, 58]]] >= 0.49).all()
    assert (head.regions["brows"][marks[[18, 19, 20, 23, 24, 25]]] > 0.5).all()
    assert head.regions["nose"][marks[30]] > 0.5
    assert head.regions["lips"][marks[[8, 27, 36, 45]]].max() == 0.0
    assert head.regions["scalp"][head.mean[:, 1].argmax()] == 1.0
    assert head.regions["scalp"][marks].max() < 0.05
    start, _ = head.part_vertices["eye_left"]
    assert all((weight[start:] == 0).all() for weight in head.regions.values())


def test_loops_are_closed_and_made_of_edges():
    head = load_head_bundle()
    quad_sides = np.stack([head.triangles, np.roll(head.triangles, -1, axis=1)], -1).reshape(-1, 2)
    edges = {tuple(sorted(side)) for side in quad_sides.tolist()}
    assert set(head.loops) == {
        *("lip_border", "lip_line", "lid_rim_left", "lid_rim_right", "lid_edge_left", "lid_edge_right")
    }
    for loop in head.loops.values():
        sides = np.stack([loop, np.roll(loop, -1)], axis=1).tolist()
        assert all(tuple(sorted(side)) in edges for side in sides)


def test_every_corner_has_texture_coordinates_and_no_two_parts_share_them():
    head = load_head_bundle()
    assert head.texture_triangles.shape == head.triangles.shape
    assert head.texture.min() >= 0.0 and head.texture.max() <= 1.0
    owners = np.full(len(head.texture), -1)
    for number, part in enumerate(head.part_triangles):
        corners = np.unique(head.texture_triangles[head.triangles_of(part)])
        assert (owners[corners] == -1).all()
        owners[corners] = number
    pairs = np.unique(np.stack([head.texture_triangles.ravel(), head.triangles.ravel()], axis=1), axis=0)
    assert len(pairs) == len(head.texture)  # one vertex for each pair of texture coordinates


def test_occlusion_darkens_what_is_enclosed():
    head = load_head_bundle()
    open_sky = head.regions["forehead"] > 0.9
    assert head.occlusion[open_sky].min() > 0.9
    assert head.occlusion[head.regions["mouth"] > 0.5].mean() < 0.2
    assert head.occlusion[head.regions["under_chin"] > 0.8].mean() < 0.75


def test_occlusion_of_a_plane_under_a_roof():
    square = np.array([[-50, 0, -50], [50, 0, -50], [50, 0, 50], [-50, 0, 50]], float)
    ground = np.array([[0, 2, 1], [0, 3, 2]])
    inner = np.concatenate([square, 0.02 * square])
    triangles = np.concatenate([ground, ground + 4])
    assert compute_occlusion(inner, triangles, 64)[4:].min() > 0.99
    roofed = np.concatenate([inner, 5 * square + [0, 20, 0]])
    triangles = np.concatenate([triangles, ground[:, ::-1] + 8])
    assert compute_occlusion(roofed, triangles, 64)[4:8].max() < 0.1
    upside_down = compute_occlusion(inner, triangles[:4, ::-1], 64, floor=(-30.0, 400.0))
    assert upside_down[4:].max() < 0.1


def test_midpoint_subdivision_keeps_the_surface():
    head = load_head_bundle()
    step = subdivide(head.triangles, len(head.mean), "midpoint")
    fine = step.matrix @ head.mean
    coarse = head.mean[head.triangles]
    area = np.linalg.norm(np.cross(coarse[:, 1] - coarse[:, 0], coarse[:, 2] - coarse[:, 0]), axis=1)
    small = fine[step.triangles]
    parts = np.linalg.norm(np.cross(small[:, 1] - small[:, 0], small[:, 2] - small[:, 0]), axis=1)
    np.testing.assert_allclose(parts.reshape(-1, 4), np.repeat(area[:, None] / 4, 4, axis=1), rtol=1e-9)


def test_loop_subdivision_follows_its_rules():
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], float)
    tetrahedron = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    step = subdivide(tetrahedron, 4)
    fine = step.matrix @ corners
    np.testing.assert_allclose(step.matrix @ np.ones(4), 1.0)
    np.testing.assert_allclose(fine[0], 7 / 16 * corners[0] + 3 / 16 * corners[1:].sum(axis=0))
    np.testing.assert_allclose(fine[4], 3 / 8 * (corners[0] + corners[1]) + 1 / 8 * (corners[2] + corners[3]))
    alone = subdivide(np.array([[0, 1, 2]]), 3)
    np.testing.assert_allclose(alone.matrix.toarray()[0], [3 / 4, 1 / 8, 1 / 8])
    np.testing.assert_allclose(alone.matrix.toarray()[3], [1 / 2, 1 / 2, 0])
    with pytest.raises(ValueError, match="axis"):
        subdivide(np.array([0, 1, 2]), 3)


def test_the_subdivided_head_is_the_same_head():
    head, fine = load_head_bundle(), load_subdivided_head()
    assert len(fine.triangles) == 4 * len(head.triangles)
    distance = np.linalg.norm(fine.mean[fine.landmarks] - head.mean[head.landmarks], axis=1)
    assert distance.max() < 1.5
    assert set(np.unique(fine.triangles)) == set(range(len(fine.mean)))
    assert fine.texture_triangles.shape == fine.triangles.shape
    np.testing.assert_allclose(fine.mean[fine.mirror] * MIRROR, fine.mean, atol=2e-3)
    shape = np.linspace(-1, 1, 40)
    moved = fine.mean + np.tensordot(shape, fine.shape_basis, 1)
    lips = moved[fine.loops["lip_line"]]
    coarse = (head.mean + np.tensordot(shape, head.shape_basis, 1))[head.loops["lip_line"]]
    assert np.linalg.norm(lips - coarse, axis=1).max() < 1.0
