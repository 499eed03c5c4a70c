"""Finding, measuring and cutting out faces, with stand-ins that take red squares for faces."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from PIL import Image
from square_faces import BLUE, LANDMARKS, RED, make_finder, make_picture
from voiceface.commandline.dispatch import run_main
from voiceface.commands import faces as command
from voiceface.faces import CROP_CONVENTIONS, crop_face
from voiceface.faces.crops import ENCODER_CHIP, is_tight_crop, upright_square
from voiceface.faces.quality import FaceQuality, measure_quality, mesh_angles
from voiceface.images.loading import load_image
from voiceface.synthetic.camera import sample_render_params
from voiceface.synthetic.identities import sample_identities


def test_faces_are_found_where_they_are_largest_first():
    pictures = [
        make_picture(300, 400, (40, 50, 60, RED), (200, 120, 90, RED)),
        make_picture(200, 200),
        make_picture(200, 200, (60, 60, 80, BLUE)),
        make_picture(500, 250, (80, 200, 100, RED)),
    ]
    found = make_finder().find(pictures)
    assert [len(faces) for faces in found] == [2, 0, 0, 1]
    large, small = found[0]
    np.testing.assert_allclose(large.points[2], [199.5 + 45, 119.5 + 45], atol=2)
    np.testing.assert_allclose(small.points[2], [39.5 + 30, 49.5 + 30], atol=2)
    np.testing.assert_allclose(small.points[:2], [[57.5, 67.5], [81.5, 67.5]], atol=2)
    np.testing.assert_allclose(found[3][0].box, [80, 200, 180, 300], atol=3)
    assert large.quality.eye_distance == pytest.approx(0.4 * 90, rel=0.1)
    assert make_finder().find([]) == []


def test_the_presence_score_keeps_false_finds_out():
    picture = make_picture(200, 200, (60, 60, 80, BLUE))
    assert len(make_finder(min_presence=0.5).find([picture])[0]) == 1
    assert make_finder().find([picture]) == [[]]
    assert make_finder(min_score=0.99).find([make_picture(200, 200, (60, 60, 80, RED))]) == [[]]


def test_a_tight_crop_is_searched_again_with_a_border():
    framed = make_picture(104, 104, (3, 3, 98, RED))
    assert make_finder(border=0).find([framed]) == [[]]
    (face,) = make_finder().find([framed])[0]
    np.testing.assert_allclose(face.points[2], [2.5 + 49, 2.5 + 49], atol=2)
    np.testing.assert_allclose(face.box, [3, 3, 101, 101], atol=3)
    assert face.quality.eye_distance == pytest.approx(0.4 * 98, rel=0.05)


def test_a_crop_has_its_points_where_the_convention_wants_them():
    rng = np.random.default_rng(0)
    for name, convention in CROP_CONVENTIONS.items():
        picture = np.zeros((300, 300, 3), np.uint8)
        turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * rng.uniform(90, 150)
        points = np.array(convention.points) @ turn.T + [130, 60]
        for place in points:
            cv2.circle(picture, tuple(int(v) for v in place.round()), 6, (255, 255, 255), -1)
        crop = crop_face(picture, points, name, 96)
        assert crop.shape == (96, 96, 3)
        for x, y in np.array(convention.points) * 96 - 0.5:
            assert crop[round(y), round(x)].mean() > 200
        assert crop_face(picture, points, convention).shape[0] == convention.side
        assert np.ptp(np.array(convention.points), axis=0).min() > 0.2
    with pytest.raises(ValueError, match="no crop convention 'other'"):
        crop_face(picture, points, "other")
    with pytest.raises(ValueError, match="points must be"):
        crop_face(picture, points[:4])


def test_a_picture_that_is_a_crop_already_is_recognised():
    convention = CROP_CONVENTIONS["vggface_frontal"]
    places = np.array(convention.points) * 128 - 0.5
    assert is_tight_crop(places, (128, 128), convention)
    assert is_tight_crop(places + 6, (128, 128), convention)
    assert not is_tight_crop(places + np.array([12, 0]), (128, 128), convention)
    assert not is_tight_crop(places, (256, 256), convention)
    assert not is_tight_crop(places, (128, 130), convention)
    assert not is_tight_crop(places, (128, 128), CROP_CONVENTIONS["population"])


def test_faces_are_cut_out_as_those_of_the_population():
    people = sample_identities(np.arange(309, 389))
    marks = np.mean([sample_render_params(people, row, 0).landmarks for row in range(80)], axis=0)
    places = np.stack([marks[36:42].mean(0), marks[42:48].mean(0), marks[48], marks[54]])
    known = np.array(CROP_CONVENTIONS["population"].points)[[0, 1, 3, 4]]
    assert np.abs(known - places).max() < 0.02


def test_an_upright_square_shows_a_face_as_its_convention_does():
    for convention in CROP_CONVENTIONS.values():
        places = np.array(convention.points)
        left, top, side = upright_square(places * 70 + [20.5, -3.5], convention)
        assert (left, top, side) == pytest.approx((21, -3, 70))
        turn = np.array([[0.98, -0.199], [0.199, 0.98]])  # a turned face stays in the middle
        turned = (places - places.mean(0)) @ turn.T * 70 + 100
        left, top, side = upright_square(turned, convention)
        assert side == pytest.approx(70 * 0.98)
        np.testing.assert_allclose((left, top) + places.mean(0) * side, 100.5)
    with pytest.raises(ValueError, match="coincide"):
        upright_square(np.ones((5, 2)), convention)
    with pytest.raises(ValueError, match="points must be"):
        upright_square(np.ones((4, 2)), convention)


def test_a_face_without_mesh_has_a_chip_by_its_five_points():
    picture = make_picture(300, 400, (200, 120, 90, RED))
    (face,) = make_finder().find([picture])[0]
    bare = dataclasses.replace(face, mesh=None)
    assert bare.encoder_points is None and face.encoder_chip(picture).shape == (150, 150, 3)
    np.testing.assert_array_equal(
        bare.encoder_chip(picture), crop_face(picture, face.points, ENCODER_CHIP, 150)
    )


def make_face():
    """Picture with structure at all scales, five points and a mesh that looks into the camera."""
    rng = np.random.default_rng(0)
    coarse = sum(
        cv2.resize(rng.normal(size=(k, k)), (300, 300), interpolation=cv2.INTER_CUBIC)
        for k in (5, 20, 80, 300)
    )
    picture = np.repeat((128 + 25 * coarse).clip(0, 255).astype(np.uint8)[..., None], 3, 2)
    points = (np.array(CROP_CONVENTIONS["arcface"].points) * 200 + 50).astype(np.float32)
    mesh = np.zeros((468, 3), np.float32)
    for number, (x, y) in LANDMARKS.items():
        mesh[number, :2] = 50 + 200 * x, 50 + 200 * y
    return picture, points, mesh


def test_sharpness_falls_with_blur_and_with_enlargement():
    picture, points, mesh = make_face()
    values = [
        measure_quality(cv2.GaussianBlur(picture, (0, 0), sigma), points, mesh).sharpness
        for sigma in (0.3, 1, 2, 4, 8)
    ]
    assert (np.diff(values) < 0).all() and values[-1] < 0.015 < values[0]
    small = cv2.resize(picture, (30, 30), interpolation=cv2.INTER_AREA)
    shrunk = measure_quality(small, points / 10, mesh / 10)
    assert shrunk.sharpness < values[0] and any("small" in each for each in shrunk.problems)


def test_exposure_and_roll_are_those_of_the_picture():
    picture, points, mesh = make_face()
    normal = measure_quality(picture, points, mesh)
    assert normal.roll == pytest.approx(-0.3, abs=0.1) and 0.4 < normal.brightness < 0.6
    dark = measure_quality((picture * 0.04).astype(np.uint8), points, mesh)
    bright = measure_quality(np.clip(picture.astype(int) + 150, 0, 255).astype(np.uint8), points, mesh)
    assert dark.dark > 0.5 and bright.bright > 0.5 and dark.brightness < normal.brightness < bright.brightness
    assert any("dark" in each for each in dark.problems)
    assert any("overexposed" in each for each in bright.problems)
    turn = cv2.getRotationMatrix2D((150, 150), -25, 1)  # clockwise
    turned = measure_quality(picture, (points @ turn[:, :2].T + turn[:, 2]).astype(np.float32), mesh)
    assert turned.roll == pytest.approx(normal.roll + 25, abs=0.1)


@pytest.mark.parametrize("degrees", [-50, -20, 0, 35])
def test_angles_of_a_turned_mesh(degrees):
    mesh = make_face()[2]
    angle = np.radians(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    # Depth grows away from the viewer: the side of the picture to which a face turns is farther away.
    aside = mesh @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], np.float32)
    up = mesh @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], np.float32)
    level = mesh_angles(mesh)
    assert abs(mesh_angles(aside)[0]) == pytest.approx(abs(degrees), abs=0.1)
    assert np.sign(mesh_angles(aside)[0]) == np.sign(aside[454, 2] - aside[234, 2])
    assert mesh_angles(aside)[1] == pytest.approx(level[1], abs=0.1)
    assert abs(mesh_angles(up)[1] - level[1]) == pytest.approx(abs(degrees), abs=0.1)
    assert mesh_angles(up)[0] == pytest.approx(0, abs=0.1)
    if degrees:  # looks up: the chin is nearer than the forehead
        assert (mesh_angles(up)[1] > level[1]) == (up[152, 2] < up[10, 2])


def test_problems_are_named_and_a_good_face_has_none():
    good = FaceQuality(60, 0.2, 3, -4, 1, 0.5, 0.0, 0.01)
    assert good.problems == ()
    bad = FaceQuality(10, 0.001, 60, -70, 1, 0.05, 0.9, 0.5)
    for word in ("small", "blurred", "turned aside", "looks up or down", "dark", "overexposed"):
        assert any(word in each for each in bad.problems), word


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Folder with a picture of two faces, one turned by its EXIF tag, one without a face and a text."""
    monkeypatch.setattr("voiceface.faces.finding.load_face_finder", lambda *arguments: make_finder())
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    two = make_picture(300, 400, (40, 50, 60, RED), (200, 120, 90, RED))
    Image.fromarray(two).save(folder / "two.png")
    sideways = Image.fromarray(np.rot90(make_picture(300, 200, (60, 40, 90, RED))))
    exif = sideways.getexif()
    exif[0x0112] = 6  # a viewer turns it by 90 degrees clockwise
    sideways.save(folder / "trip" / "two.png", exif=exif)
    Image.fromarray(make_picture(200, 200, (60, 60, 80, BLUE))).save(folder / "sea.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def test_the_command_writes_crops_sheets_and_a_list(photographs, tmp_path, capsys):
    out = tmp_path / "out"
    assert run_main("voiceface.commands.faces", [str(photographs), "--out", str(out), "--every-face"]) == 0
    said = capsys.readouterr()
    listed = json.loads((out / "faces.json").read_text())
    assert [(each["file"].rsplit("photos/")[1], each["face"]) for each in listed["faces"]] == [
        ("trip/two.png", 1),
        ("two.png", 1),
        ("two.png", 2),
    ]
    left_out = {each["file"].rsplit("/")[-1]: each["reason"] for each in listed["left_out"]}
    assert left_out.keys() == {"notes.txt", "sea.png"} and left_out["sea.png"] == "no face found"
    assert said.err.count("sea.png") == said.err.count("notes.txt") == 1
    words = [str(photographs), "--out", str(out), "--strict"]
    assert run_main("voiceface.commands.faces", words) == 1
    assert "error: --strict: 2 files were left out" in capsys.readouterr().err
    for each in listed["faces"]:
        crop = load_image(out / each["crop"])
        assert crop.shape == (128, 128, 3)
        assert crop[60, 62, 0] > 180 and crop[60, 62, 2] < 60  # between eyes and nose
        assert each["crop"] in said.out
    turned = listed["faces"][0]
    np.testing.assert_allclose(turned["box"], [60, 40, 150, 130], atol=3)
    sheet = load_image(out / "sheet_001.png")
    assert sheet.shape == (160, 1280, 3) and (sheet == (0, 200, 0)).all(2).any()


def test_the_largest_face_is_taken_and_names_do_not_clash(photographs, tmp_path, capsys):
    out = tmp_path / "out"
    words = [photographs / "two.png", photographs / "trip" / "two.png", "--out", out]
    assert run_main("voiceface.commands.faces", [*map(str, words), "--convention", "arcface"]) == 0
    faces = json.loads((out / "faces.json").read_text())["faces"]
    assert [each["face"] for each in faces] == [1, 1] and faces[0]["faces_in_picture"] == 2
    assert len({each["crop"] for each in faces}) == 2
    assert faces[0]["box"][0] > 150  # the larger one
    assert load_image(out / faces[0]["crop"]).shape == (112, 112, 3)


def test_no_face_at_all_is_exit_status_one_and_a_missing_file_an_error(photographs, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert run_main("voiceface.commands.faces", [str(photographs / "sea.png"), "--out", out]) == 1
    assert run_main("voiceface.commands.faces", [str(tmp_path / "absent.jpg"), "--out", out]) == 1
    assert "no file or folder at" in capsys.readouterr().err


def test_without_the_networks_the_command_says_how_to_get_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VOICEFACE_HOME", str(tmp_path))
    Image.fromarray(make_picture(50, 50)).save(tmp_path / "a.png")
    out = tmp_path / "out"
    assert run_main("voiceface.commands.faces", [str(tmp_path / "a.png"), "--out", str(out)]) == 1
    assert "`voiceface models get real`" in capsys.readouterr().err and not out.exists()


def test_many_faces_fill_several_sheets(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "ROWS", 1)
    monkeypatch.setattr(command, "COLUMNS", 2)
    out = tmp_path / "out"
    assert run_main("voiceface.commands.faces", [str(photographs), "--out", str(out), "--every-face"]) == 0
    assert sorted(path.name for path in out.glob("sheet_*")) == ["sheet_001.png", "sheet_002.png"]
