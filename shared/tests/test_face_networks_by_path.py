"""Face networks of others: graphs with their inputs and outputs, whose answers are worked out by hand."""

import numpy as np
import pytest
from PIL import Image
from small_graphs import GraphBuilder, write_arcface
from voiceface.commandline.dispatch import run_main
from voiceface.faces import PictureReader, load_arcface, open_face_finder
from voiceface.faces.onnx_files import FaceModelFileError
from voiceface.faces.quality import FRONTAL_POINTS, measure_quality, point_angles
from voiceface.faces.scrfd import decode_outputs, load_scrfd
from voiceface.faces.yunet import load_yunet
from voiceface.images.loading import ImageError

STRIDES = (8, 16, 32)


def cells(builder, source, stride):
    """Mean brightness of every cell of `stride` pixels, times 1 / 255, (1, 1, H / stride, W / stride)."""
    pooled = builder.add("AveragePool", source, kernel_shape=[stride, stride], strides=[stride, stride])
    weight = builder.constant(np.full((1, 3, 1, 1), 1 / 765))
    return builder.add("Conv", pooled, weight, kernel_shape=[1, 1])


def as_rows(builder, maps, width, output):
    """A map (1, C, h, w) as rows (1, h w, C)."""
    moved = builder.add("Transpose", maps, perm=[0, 2, 3, 1])
    builder.add("Reshape", moved, builder.constant([1, -1, width], np.int64), output=output)


# Of a cell in row r and column c: box centre (c + .5, r + .25), sides e and e²; points in cells.
BOX = (0.5, 0.25, 1.0, 2.0)
POINTS = (0.0, 0.0, 1.0, 0.0, 0.5, 0.6, 0.1, 1.0, 0.9, 1.0)


def write_yunet(path, *, kinds=("cls", "obj", "bbox", "kps")):
    """A cell is a face, at stride 16 alone, if it is white."""
    builder = GraphBuilder([1, 3, "height", "width"])
    for kind in kinds:
        for stride in STRIDES:
            bright = cells(builder, "input", stride)
            values = {"bbox": BOX, "kps": POINTS}.get(kind, (0.0,))
            gain = 1.0 if kind in ("cls", "obj") and stride == 16 else 0.0
            weight = builder.constant(np.full((len(values), 1, 1, 1), gain))
            maps = builder.add("Conv", bright, weight, builder.constant(values), kernel_shape=[1, 1])
            as_rows(builder, maps, len(values), f"{kind}_{stride}")
            builder.output(f"{kind}_{stride}", [1, None, len(values)])
    return builder.save(path)


def write_scrfd(path, side=64, *, anchors=2, widths=(1, 4, 10)):
    """A cell is a face for the first anchor, at stride 16 alone, if it is white: (255 - 127.5) / 128."""
    builder = GraphBuilder([1, 3, side, side], "input.1")
    shapes = []
    for width in widths:
        for stride in STRIDES:
            values = {1: (0.0,), 4: (1.0, 0.5, 2.0, 1.5), 10: POINTS}[width]
            pooled = builder.add("AveragePool", "input.1", kernel_shape=[stride] * 2, strides=[stride] * 2)
            gains = np.zeros((anchors * width, 3, 1, 1))
            if width == 1 and stride == 16:
                gains[0] = 1 / 3
            bias = builder.constant(np.tile(values, anchors))
            maps = builder.add("Conv", pooled, builder.constant(gains), bias, kernel_shape=[1, 1])
            moved = builder.add("Transpose", maps, perm=[0, 2, 3, 1])
            name = f"out_{width}_{stride}"
            builder.add("Reshape", moved, builder.constant([-1, width], np.int64), output=name)
            shapes.append((name, [None, width]))
    for name, shape in shapes:
        builder.output(name, shape)
    return builder.save(path)


def places_at(column, row):
    """The five points of a cell, in cells."""
    return np.reshape(POINTS, (5, 2)) + np.array([column, row])


def make_picture(height, width, row, column, stride=16):
    picture = np.zeros((height, width, 3), np.uint8)
    picture[row * stride : (row + 1) * stride, column * stride : (column + 1) * stride] = 255
    return picture


def test_yunet_finds_the_face_of_a_white_cell(tmp_path, capfd):
    finder = open_face_finder(write_yunet(tmp_path / "yunet.onnx"))
    assert capfd.readouterr().err == ""  # no warning of OpenCV
    pictures = [make_picture(96, 160, 2, 5), np.zeros((64, 64, 3), np.uint8), make_picture(96, 160, 1, 1)]
    (face,), nothing, (other,) = finder.find(pictures)
    assert nothing == []
    centre, sides = np.array([5.5, 2.25]) * 16, np.exp([1.0, 2.0]) * 16
    np.testing.assert_allclose(face.box, [*(centre - sides / 2), *(centre + sides / 2)], rtol=1e-5)
    np.testing.assert_allclose(face.points, places_at(5, 2) * 16, rtol=1e-5)
    assert face.score == pytest.approx(1, abs=1e-3) and face.presence == face.score and face.mesh is None
    np.testing.assert_allclose(other.points, face.points - [64, 16], rtol=1e-5)


def test_large_pictures_are_searched_smaller(tmp_path):
    finder = load_yunet(write_yunet(tmp_path / "yunet.onnx"))
    large = np.kron(make_picture(96, 640, 2, 5), np.ones((3, 3, 1), np.uint8))
    (face,) = finder.find([large])[0]
    places = places_at(5, 2) * 16
    np.testing.assert_allclose(face.points, (places + 0.5) * 3 - 0.5, rtol=1e-4)


def test_scrfd_finds_the_face_of_a_white_cell(tmp_path):
    finder = open_face_finder(write_scrfd(tmp_path / "scrfd.onnx"))
    (face,) = finder.find([make_picture(64, 64, 1, 2)])[0]
    np.testing.assert_allclose(face.box, np.array([2 - 1, 1 - 0.5, 2 + 2, 1 + 1.5]) * 16, rtol=1e-5)
    np.testing.assert_allclose(face.points, places_at(2, 1) * 16, rtol=1e-5)
    assert face.score == pytest.approx(127.5 / 128)
    wide = np.kron(make_picture(32, 64, 1, 2), np.ones((4, 4, 1), np.uint8))  # a quarter of 128 x 256
    (scaled,) = finder.find([wide])[0]
    np.testing.assert_allclose(scaled.points, (face.points + 0.5) * 4 - 0.5, rtol=1e-4)
    assert finder.find([np.zeros((50, 70, 3), np.uint8)]) == [[]]


@pytest.mark.parametrize(("write", "searched"), [(write_yunet, 640), (write_scrfd, 64)])
def test_pictures_of_odd_sizes(tmp_path, write, searched):
    finder = open_face_finder(write(tmp_path / "finder.onnx"))
    for height, width in ((1, 1), (2, 2), (3, 500), (500, 3), (1, 5000)):  # faces below a pixel are none
        for value in (0, 255):
            assert finder.find([np.full((height, width, 3), value, np.uint8)]) == [[]]
    picture, stride = np.zeros((641, 479, 3), np.uint8), round(16 * 641 / searched)
    picture[stride : 2 * stride, 2 * stride : 3 * stride] = 255
    (face,) = finder.find([picture])[0]
    factor = np.array([479 / round(479 * searched / 641), 641 / searched])
    np.testing.assert_allclose(face.points, (places_at(2, 1) * 16 + 0.5) * factor - 0.5, rtol=1e-4)
    assert face.score > 0.9 and face.quality.eye_distance == pytest.approx(16 * factor[0], rel=1e-4)
    strip = np.linspace(0, 90, 17 * 500 * 3).reshape(17, 500, 3)
    Image.fromarray(strip.astype(np.uint8)).save(tmp_path / "strip.png")
    with pytest.raises(ImageError, match=r"strip\.png: no face found"):
        PictureReader("always", finder=finder).read_faces(tmp_path / "strip.png")
    Image.new("RGB", (1, 1), "white").save(tmp_path / "pixel.png")
    with pytest.raises(ImageError, match=r"pixel\.png: 1 x 1 pixels, expected at least 16 x 16"):
        PictureReader("always", finder=finder).read_faces(tmp_path / "pixel.png")


def test_scrfd_rows_are_places_times_anchors():
    outputs = []
    for width in (1, 4, 10):
        for stride in STRIDES:
            outputs.append(np.zeros((2 * (64 // stride) ** 2, width), np.float32))
    # stride 32 has two columns: row 7 is the second anchor of row 1, column 1.
    outputs[2][7], outputs[5][7], outputs[8][7] = 0.8, (0.5, 0.25, 0.5, 0.75), np.arange(10)
    scores, boxes, points = decode_outputs(outputs, 64, 0.5)
    assert scores.tolist() == [pytest.approx(0.8)]
    assert boxes.tolist() == [[32 - 16, 32 - 8, 32 + 16, 32 + 24]]
    assert points.tolist() == [[[32 + 32 * 2 * k, 32 + 32 * (2 * k + 1)] for k in range(5)]]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("batch", ["batch", 1])
def test_arcface_gets_rgb_from_minus_one_to_one(tmp_path, channels_last, batch):
    path = write_arcface(tmp_path / "arcface.onnx", channels_last=channels_last, batch=batch)
    encoder = load_arcface(path)
    chips = np.zeros((3, 112, 112, 3), np.uint8)
    chips[1], chips[2] = 255, (255, 0, 51)
    expected = [[-1, -1, -1], [1, 1, 1], [1, -1, -0.6]]
    np.testing.assert_allclose(encoder.embed(chips), expected, atol=1e-4)
    assert encoder.embedding_dim == 3 and len(encoder.fingerprint) == 64
    assert encoder.embed(chips[:0]).shape == (0, 3)
    with pytest.raises(ValueError, match=r"chips must be \(N, 112, 112, 3\)"):
        encoder.embed(chips[:, :100])


def test_a_found_face_is_aligned_for_the_encoder(tmp_path):
    picture = make_picture(64, 64, 1, 2)
    (face,) = load_scrfd(write_scrfd(tmp_path / "scrfd.onnx")).find([picture])[0]
    chip = load_arcface(write_arcface(tmp_path / "arcface.onnx")).align(picture, face)
    assert chip.shape == (112, 112, 3) and chip.max() == 255


@pytest.mark.parametrize(
    ("write", "load", "found"),
    [
        (lambda path: write_arcface(path), open_face_finder, "input ? x 3 x 112 x 112"),
        (lambda path: write_yunet(path, kinds=("cls", "bbox", "kps")), open_face_finder, "9 outputs"),
        (lambda path: write_scrfd(path, widths=(1, 4)), open_face_finder, "6 outputs"),
        (lambda path: write_scrfd(path, anchors=1), load_scrfd, "found .* rows"),
        (lambda path: write_scrfd(path), load_yunet, "not a YuNet face detector"),
        (lambda path: write_yunet(path), load_scrfd, "not an SCRFD face detector"),
        (lambda path: write_arcface(path, side=96), load_arcface, "expected one of N x 3 x 112 x 112"),
        (lambda path: write_scrfd(path), load_arcface, "not an ArcFace encoder"),
        (lambda path: path.write_text("no graph"), load_arcface, "corrupt, truncated or not"),
        (lambda path: path.write_bytes(b""), open_face_finder, "is an empty file, expected a face detector"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path, write, load, found):
    path = tmp_path / "other.onnx"
    write(path)
    with pytest.raises(FaceModelFileError, match=rf"other\.onnx.*{found}".replace("? x", r"\? x")):
        load(path)
    with pytest.raises(FileNotFoundError, match=r"absent\.onnx"):
        load(tmp_path / "absent.onnx")


def test_finders_by_path_stand_behind_the_door(tmp_path, capsys):
    picture = np.full((96, 160, 3), 60, np.uint8)
    picture[16:32, 32:48] = 255
    Image.fromarray(picture).save(tmp_path / "a.png")
    reader = PictureReader("always", finder=open_face_finder(write_yunet(tmp_path / "yunet.onnx")))
    (face,) = reader.read_faces(tmp_path / "a.png")
    assert reader.load(face).shape == (128, 128, 3) and face.facts.face.crop == "population"
    other = PictureReader("always", finder=open_face_finder(write_scrfd(tmp_path / "scrfd.onnx")))
    assert other.identity != reader.identity and other.identity.split()[3] == "scrfd"
    words = [str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--face-finder"]
    assert run_main("voiceface.commands.faces", [*words, str(tmp_path / "yunet.onnx")]) == 0
    assert "a.png#1 of 1" in capsys.readouterr().out
    assert run_main("voiceface.commands.faces", [*words, str(tmp_path / "a.png")]) == 1
    assert "a.png is" in capsys.readouterr().err


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (25, 0), (-40, 0), (0, 20), (0, -30), (15, 10)])
def test_angles_of_five_points(yaw, pitch):
    a, b = np.radians((yaw, pitch))
    # Depth grows away from the viewer: a face that turns to the right of the picture has its right side
    # farther away, one that looks up its chin nearer.
    aside = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    up = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    points = (FRONTAL_POINTS @ (aside @ up).T)[:, :2] * 60 + 120
    assert point_angles(points) == pytest.approx((yaw, pitch), abs=0.1 if 0 in (yaw, pitch) else 3)
    quality = measure_quality(np.zeros((300, 300, 3), np.uint8), points)
    assert (quality.yaw, quality.pitch) == point_angles(points)
