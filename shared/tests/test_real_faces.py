"""Boxes, points, crops and alignment of `voiceface.real`, without trained weights."""

import numpy as np
import pytest
from voiceface.real.alignment import (
    apply_affine,
    crop_matrix,
    fit_similarity,
    invert_affine,
    warp_crop,
)
from voiceface.real.backends import Network
from voiceface.real.catalogue import MODELS
from voiceface.real.face_detector import (
    FaceDetections,
    FaceDetector,
    blend_overlapping,
    box_overlaps,
    decode_boxes,
    letterbox,
    make_anchors,
)
from voiceface.real.face_encoder import FaceEncoder, align_faces, chip_points
from voiceface.real.face_mesh import FIVE_POINTS, FaceMesh, face_regions


def make_network(name, run):
    return Network(MODELS[name], run, "torch", "fingerprint")


def gradient_image(height, width):
    """Picture whose red is x and whose green is y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.zeros_like(x)], 2).astype(np.uint8)


def test_anchors_are_the_centres_of_the_cells():
    anchors = make_anchors()
    assert anchors.shape == (896, 2)
    assert anchors[:4].tolist() == [[8, 8], [8, 8], [24, 8], [24, 8]]  # two in a cell, row by row
    assert anchors[512:519].tolist() == [[16, 16]] * 6 + [[48, 16]]
    assert anchors.min() == 8 and anchors.max() == 248


def test_a_hand_made_box_is_decoded():
    raw = np.zeros((1, 16), np.float32)
    raw[0, :4] = [2, -3, 40, 20]
    raw[0, 4:6], raw[0, 14:] = [1, 1], [-5, 7]
    boxes, points = decode_boxes(raw, np.array([[100, 60]], np.float32))
    assert boxes.tolist() == [[82, 47, 122, 67]]
    assert points[0, 0].tolist() == [101, 61] and points[0, 5].tolist() == [95, 67]
    assert points[0, 1].tolist() == [100, 60]


def test_overlap_is_symmetric_and_one_for_equal_boxes():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 50, (30, 2))
    boxes = np.hstack([low, low + rng.uniform(1, 50, (30, 2))])
    table = np.stack([box_overlaps(box, boxes) for box in boxes])
    np.testing.assert_allclose(table, table.T)
    np.testing.assert_allclose(np.diag(table), 1)
    assert table.min() >= 0 and (table > 0).sum() > 60
    assert box_overlaps(np.array([3, 3, 3, 3]), np.array([[3, 3, 3, 3]])).tolist() == [0]


def test_boxes_of_one_face_are_blended_by_their_scores():
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]], np.float32)
    points = np.arange(36, dtype=np.float32).reshape(3, 6, 2)
    scores = np.array([0.9, 0.3, 0.95], np.float32)
    faces = blend_overlapping(boxes, points, scores)
    np.testing.assert_allclose(faces.scores, [0.95, 0.9])
    np.testing.assert_allclose(faces.boxes, [[50, 50, 60, 60], [0.5, 0, 10.5, 10]])
    np.testing.assert_allclose(faces.points[1], points[0] * 0.75 + points[1] * 0.25, rtol=1e-6)


def test_blended_boxes_do_not_depend_on_the_order_and_leave_no_overlap_with_the_best():
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 100, (60, 2))
    boxes = np.hstack([low, low + rng.uniform(20, 40, (60, 2))]).astype(np.float32)
    points, scores = rng.normal(size=(60, 6, 2)).astype(np.float32), rng.permutation(60) / 60 + 0.01
    faces = blend_overlapping(boxes, points, scores.astype(np.float32))
    order = rng.permutation(60)
    other = blend_overlapping(boxes[order], points[order], scores[order].astype(np.float32))
    for a, b in zip(faces, other):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)
    assert 1 < len(faces.boxes) < 60 and (np.diff(faces.scores) < 0).all()
    again = blend_overlapping(boxes, points, scores.astype(np.float32), max_overlap=1.0)
    assert len(again.boxes) == 60


def test_boxes_without_area_are_no_faces():
    boxes = np.array([[5, 5, 5, 9], [9, 9, 2, 2]], np.float32)
    faces = blend_overlapping(boxes, np.zeros((2, 6, 2), np.float32), np.ones(2, np.float32))
    assert [each.shape for each in faces] == [(0, 4), (0, 6, 2), (0,)]


@pytest.mark.parametrize("height, width", [(100, 300), (640, 480), (256, 256), (3, 900), (20, 10)])
def test_a_letterbox_maps_points_there_and_back(height, width):
    image = np.full((height, width, 3), 200, np.uint8)
    square, scale, shift = letterbox(image)
    corners = scale * np.array([[0, 0], [width, height]]) + shift
    assert square.shape == (256, 256, 3) and corners.min() > -1.5 and corners.max() < 257.5
    left, top = np.round(corners[0]).astype(int)
    right, bottom = np.round(corners[1]).astype(int)
    assert (square[max(top, 0) : bottom, max(left, 0) : right] == 200).mean() > 0.98
    assert abs((square > 0).mean() - height * width * scale**2 / 256**2) < 0.02


def test_a_letterbox_refuses_what_is_no_picture():
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="a picture must be"):
            letterbox(wrong)


def test_found_boxes_are_in_pixels_of_each_picture():
    """A network that sees a face in the middle of every square finds it in the middle of every picture."""

    def run(batch):
        boxes, scores = (
            np.zeros((len(batch), 896, 16), np.float32),
            np.full((len(batch), 896), -9, np.float32),
        )
        cell = np.flatnonzero((make_anchors() == 136).all(1))
        boxes[:, cell, :2], boxes[:, cell, 2:4] = -8, 64
        boxes[:, cell, 4:] = -8
        scores[:, cell] = 3
        return boxes, scores

    images = [np.zeros((100, 300, 3), np.uint8), np.zeros((512, 256, 3), np.uint8)]
    found = FaceDetector(make_network("face_detector", run)).detect(images)
    for image, faces in zip(images, found):
        height, width = image.shape[:2]
        side = max(height, width) / 4
        middle = np.array([width, height]) / 2
        np.testing.assert_allclose(faces.boxes, [[*(middle - side / 2), *(middle + side / 2)]], atol=0.5)
        np.testing.assert_allclose(faces.points[0], np.tile(middle, (6, 1)), atol=0.5)
        np.testing.assert_allclose(faces.scores, 1 / (1 + np.exp(-3)), rtol=1e-6)
    none = FaceDetector(make_network("face_detector", run)).detect(images, min_score=0.96)
    assert [len(faces.boxes) for faces in none] == [0, 0]
    assert FaceDetector(make_network("face_detector", run)).detect([]) == []


def test_a_similarity_is_found_again_and_minimises_the_error():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(7, 5, 2))
    angle, scale, shift = 0.7, 2.5, np.array([3.0, -4])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrices = fit_similarity(source, source @ turn.T + shift)
    np.testing.assert_allclose(matrices, np.tile(np.hstack([turn, shift[:, None]]), (7, 1, 1)), atol=1e-9)
    target = rng.normal(size=(5, 2))
    best = fit_similarity(source[0], target)
    error = np.square(apply_affine(best, source[0]) - target).sum()
    for _ in range(50):
        a, b, x, y = np.array([best[0, 0], best[1, 0], *best[:, 2]]) + rng.normal(size=4) * 0.01
        other = np.array([[a, -b, x], [b, a, y]])
        assert np.square(apply_affine(other, source[0]) - target).sum() > error
    with pytest.raises(ValueError, match="coincide"):
        fit_similarity(np.ones((5, 2)), target)
    with pytest.raises(ValueError, match="two sets"):
        fit_similarity(np.ones((5, 3)), np.ones((5, 3)))


def test_a_crop_matrix_and_its_inverse():
    matrix = crop_matrix((10, 20), 50, 0.3, 100)
    np.testing.assert_allclose(apply_affine(matrix, [[10, 20]]), [[49.5, 49.5]])
    np.testing.assert_allclose(np.linalg.det(matrix[:, :2]), 4)
    along = np.array([[10 + np.cos(0.3), 20 + np.sin(0.3)]])
    np.testing.assert_allclose(apply_affine(matrix, along), [[51.5, 49.5]])
    points = np.random.default_rng(0).normal(size=(9, 2))
    np.testing.assert_allclose(apply_affine(invert_affine(matrix), apply_affine(matrix, points)), points)
    with pytest.raises(ValueError, match="positive"):
        crop_matrix((0, 0), 0, 0, 10)


@pytest.mark.parametrize("side", [20, 40, 90, 150, 230])
@pytest.mark.parametrize("angle", [0, 0.4, -2])
def test_a_crop_shows_the_place_that_its_matrix_names(side, angle):
    """Also where a large part is averaged over blocks first."""
    image = gradient_image(250, 255)
    matrix = crop_matrix((130, 120), side, angle, 32)
    crop = warp_crop(image, matrix, 32).astype(float)
    y, x = np.mgrid[8:24, 8:24]
    places = apply_affine(invert_affine(matrix), np.stack([x, y], 2).reshape(-1, 2)).reshape(16, 16, 2)
    assert abs(crop[8:24, 8:24, :2] - places).max() < 1.0


def test_fine_structure_becomes_grey_and_outside_is_black():
    image = np.zeros((256, 256, 3), np.uint8)
    image[:, ::2] = 255
    crop = warp_crop(image, crop_matrix((127.5, 127.5), 256, 0, 16), 16)
    assert abs(crop[2:-2, 2:-2].astype(int) - 127).max() <= 2
    assert not warp_crop(image + 1, crop_matrix((900, 900), 100, 0, 16), 16).any()
    assert not warp_crop(image + 1, crop_matrix((90, 9000), 1000, 0, 16), 16).any()


def make_faces(centre, width, height, angle):
    """One face whose eyes lie at an angle."""
    points = np.zeros((1, 6, 2), np.float32)
    points[0, 0] = np.array(centre) - 10 * np.array([np.cos(angle), np.sin(angle)])
    points[0, 1] = np.array(centre) + 10 * np.array([np.cos(angle), np.sin(angle)])
    half = np.array([width, height]) / 2
    box = np.array([[*(np.array(centre) - half), *(np.array(centre) + half)]], np.float32)
    return FaceDetections(box, points, np.ones(1, np.float32))


def test_the_region_of_a_mesh_has_level_eyes_and_the_longer_side():
    matrix = face_regions(make_faces((50, 60), 20, 40, 0.5))[0]
    eyes = apply_affine(matrix, make_faces((50, 60), 20, 40, 0.5).points[0, :2])
    assert abs(eyes[0, 1] - eyes[1, 1]) < 1e-4 and eyes[1, 0] > eyes[0, 0]
    np.testing.assert_allclose(np.sqrt(np.linalg.det(matrix[:, :2])), 192 / 60)


def test_points_of_a_mesh_are_placed_in_their_picture():
    def run(batch):
        points = np.zeros((len(batch), 468, 3), np.float32)
        points[:, :, :2] = 95.5
        points[:, FIVE_POINTS[0]] = [191.5, 95.5, 6]
        return points, np.full(len(batch), 5, np.float32)

    mesh = FaceMesh(make_network("face_mesh", run))
    faces = [make_faces((50.5, 60.5), 20, 40, 0.0), make_faces((30.5, 31.5), 64, 64, np.pi / 2)]
    none = FaceDetections(*(each[:0] for each in faces[0]))
    images = [np.zeros((100, 120, 3), np.uint8)] * 3
    first, empty, second = mesh.fit(images, [faces[0], none, faces[1]])
    np.testing.assert_allclose(first.points[0, 7], [50, 60, 0], atol=1e-3)
    np.testing.assert_allclose(first.five_points[0, 0], [80, 60], atol=1e-3)
    np.testing.assert_allclose(first.points[0, FIVE_POINTS[0], 2], 6 * 60 / 192, rtol=1e-5)
    np.testing.assert_allclose(second.five_points[0, 0], [30, 79], atol=1e-3)
    np.testing.assert_allclose(first.presence, [1 / (1 + np.exp(-5))], rtol=1e-6)
    assert empty.points.shape == (0, 468, 3) and empty.five_points.shape == (0, 5, 2)
    assert [len(each.points) for each in mesh.fit(images, [none] * 3)] == [0, 0, 0]
    with pytest.raises(ValueError, match="3 pictures and faces of 1"):
        mesh.fit(images, [none])


def test_aligned_faces_have_their_points_in_place():
    rng = np.random.default_rng(0)
    turn = np.array([[0, -1.5], [1.5, 0]])
    points = np.stack([chip_points() @ turn.T + 160, chip_points() * 0.5 + [20, 40]])
    image = gradient_image(255, 255)
    aligned = align_faces(image, points)
    assert aligned.chips.shape == (2, 150, 150, 3) and aligned.chips.dtype == np.uint8
    for each, matrix in zip(points, aligned.matrices):
        np.testing.assert_allclose(apply_affine(matrix, each), chip_points(), atol=1e-9)
    place = chip_points()[4].round().astype(int)
    seen = aligned.chips[1, place[1], place[0], :2]
    np.testing.assert_allclose(seen, points[1, 4], atol=1)
    assert align_faces(image, np.zeros((0, 5, 2))).chips.shape == (0, 150, 150, 3)
    with pytest.raises(ValueError, match="five points"):
        align_faces(image, rng.normal(size=(5, 2)))


def test_the_encoder_refuses_pictures_that_are_no_chips():
    encoder = FaceEncoder(make_network("face_encoder", lambda batch: (batch.mean((2, 3)),)))
    chips = np.zeros((2, 150, 150, 3), np.uint8)
    chips[1, :, :, 0] = 9
    assert encoder.embed(chips).tolist() == [[0, 0, 0], [9, 0, 0]]  # channels come before rows
    assert encoder.embed(chips[:0]).shape == (0, 128)
    for wrong in (chips[0], chips[:, :140], chips.transpose(0, 3, 1, 2)):
        with pytest.raises(ValueError, match="chips must be"):
            encoder.embed(wrong)
