"""Decoding and transforms of face images: laws, hand-worked cases, and a message for each bad file."""

import io
import logging

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from voiceface.images import transforms
from voiceface.images.loading import ImageError, load_image


def smooth(height, width):
    """An image of slow waves, another in each channel."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + y / 17), np.cos(x / 13 - y / 11), np.sin(x / 21) * np.cos(y / 8)]
    return np.round(127 + 100 * np.stack(waves, axis=2)).astype(np.uint8)


def noise(height, width):
    """An image on which every step of a resize shows."""
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3)).astype(np.uint8)


def planes(pixels):
    """(H, W, 3) to (3, H, W)."""
    return pixels.transpose(2, 0, 1)


def encoded(image, kind="PNG", **options):
    """Bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_png_gives_its_pixels_from_path_and_bytes(tmp_path):
    pixels = smooth(20, 31)
    data = encoded(Image.fromarray(pixels))
    (tmp_path / "a.png").write_bytes(data)
    for found in (
        load_image(data),
        load_image(tmp_path / "a.png"),
        load_image(str(tmp_path / "a.png")),
    ):
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, pixels)
        found[0] = 0  # the caller's own


def test_jpeg_comes_close():
    pixels = smooth(64, 64)
    found = load_image(encoded(Image.fromarray(pixels), "JPEG", quality=95, subsampling=0))
    assert np.abs(found.astype(int) - pixels).max() < 8


def test_grey_becomes_three_equal_channels():
    grey = smooth(16, 16)[..., 0]
    for data in (encoded(Image.fromarray(grey)), encoded(Image.fromarray(grey), "JPEG", quality=100)):
        found = load_image(data)
        assert found.shape == (16, 16, 3)
        assert np.abs(found.astype(int) - grey[..., None]).max() <= 2
        assert (found == found[..., :1]).all()


def test_sixteen_bit_grey_is_scaled_not_cut():
    grey = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    assert load_image(encoded(Image.fromarray(grey)))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_one_bit_images_are_black_and_white():
    bits = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    assert load_image(encoded(bits))[..., 1].tolist() == [[0, 255], [255, 0]]


def test_palette_gives_the_colours_of_its_table():
    pixels = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    table = Image.fromarray(pixels).quantize(4)
    np.testing.assert_array_equal(load_image(encoded(table)), pixels)
    np.testing.assert_array_equal(load_image(encoded(table, transparency=b"\x00\x80\xff\xff")), pixels)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_not_blended(mode):
    pixels = smooth(8, 8)
    pixels[...] = pixels[..., :1]
    image = Image.fromarray(pixels)
    image.putalpha(Image.fromarray(np.zeros((8, 8), np.uint8)))
    np.testing.assert_array_equal(load_image(encoded(image.convert(mode))), pixels)


@pytest.mark.parametrize("colour", [(255, 0, 0), (10, 200, 40), (255, 255, 255)])
def test_cmyk_jpeg_keeps_its_colour(colour):
    pixels = np.full((16, 16, 3), colour, np.uint8)
    data = encoded(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=100)
    assert b"Adobe" in data  # inverted, as Adobe writes it
    assert np.abs(load_image(data).astype(int) - pixels).max() <= 3


def test_exif_orientation_is_ignored_unless_asked_for():
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter, clockwise
    data = encoded(Image.fromarray(smooth(20, 30)), "PNG", exif=exif)
    np.testing.assert_array_equal(load_image(data), smooth(20, 30))
    np.testing.assert_array_equal(load_image(data, exif_orientation=True), np.rot90(smooth(20, 30), -1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"\0 chrm\0\0", b"MM\x83\xee\0\0\0\x08", b"MM\0*\xff\xff\xff\xff"])
def test_an_image_with_damaged_exif_data_stays_as_it_is(exif, caplog):
    data = encoded(Image.fromarray(smooth(20, 30)), "WEBP", exif=exif, lossless=True)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(load_image(data, exif_orientation=True), load_image(data))
    assert {"EXIF data cannot be read" in each for each in caplog.messages} <= {True}


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated_files_are_used_or_refused(tmp_path, kind, caplog):
    pixels = smooth(64, 64)
    data = encoded(Image.fromarray(pixels), kind)
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: len(data) * 2 // 3])
    with caplog.at_level(logging.WARNING):
        found = load_image(path)
    assert "cut.jpg: truncated image" in caplog.text
    assert found.shape == pixels.shape
    assert np.abs(found[:16].astype(int) - pixels[:16]).mean() < 8
    with pytest.raises(ImageError, match=r"cut\.jpg: corrupt image .*strict=False"):
        load_image(path, strict=True)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "page.jpg").write_text("<html>404 not found</html>")
    (tmp_path / "zero.jpg").touch()
    with pytest.raises(ImageError, match=r"page\.jpg: not an image \(it is a web page"):
        load_image(tmp_path / "page.jpg")
    with pytest.raises(ImageError, match=r"zero\.jpg: empty file \(0 bytes\)"):
        load_image(tmp_path / "zero.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg: no such image"):
        load_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="image in memory: empty"):
        load_image(b"")
    with pytest.raises(ImageError, match="image in memory: "):
        load_image(encoded(Image.fromarray(smooth(9, 9)))[:20])


def test_huge_images_are_refused_by_their_header():
    with pytest.raises(ImageError, match=r"too large \(300 x 200 pixels\), expected at most 59999"):
        load_image(encoded(Image.new("1", (300, 200))), max_pixels=59_999)
    bomb = bytearray(encoded(Image.new("1", (8, 8))))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(ImageError, match="image in memory"):
        load_image(bytes(bomb))


def test_float_images_are_refused():
    data = encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF")
    with pytest.raises(ImageError, match="float image of unknown range"):
        load_image(data)


def test_to_bgr_is_its_own_inverse():
    pixels = smooth(5, 7)
    np.testing.assert_array_equal(transforms.to_bgr(pixels), pixels[..., ::-1])
    np.testing.assert_array_equal(transforms.to_bgr(transforms.to_bgr(pixels)), pixels)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([64, 112]))
def test_resize_brings_the_longer_side_to_the_size(height, width, side):
    resized = transforms.resize_longer_side(np.zeros((height, width, 3), np.uint8), side)
    assert max(resized.shape[:2]) == side
    assert min(resized.shape[:2]) == max(1, int(side * min(height, width) / max(height, width)))


def test_resize_by_hand():
    assert transforms.resize_longer_side(smooth(150, 130), 112).shape == (112, 97, 3)
    assert transforms.resize_longer_side(smooth(96, 120), 112).shape == (89, 112, 3)
    pixels = smooth(112, 80)
    assert transforms.resize_longer_side(pixels, 112) is pixels
    pairs = np.array([[0, 100], [50, 150]], np.uint8)
    doubled = transforms.resize_longer_side(np.repeat(pairs[..., None], 3, axis=2), 4)[..., 0]
    assert np.abs(doubled[0].astype(int) - [0, 25, 75, 100]).max() <= 1  # half-pixel centres
    assert np.abs(doubled[1].astype(int) - [12.5, 37.5, 87.5, 112.5]).max() <= 1


@pytest.mark.parametrize(
    "degrees, side",
    [(0, 111), (1, 111), (2, 113), (3, 115), (7, 123), (8, 125), (9, 125), (13, 133), (14, 133), (15, 135)],
)
def test_published_canvas_of_a_112_square(degrees, side):
    for sign in (1, -1):
        assert transforms.published_canvas_size(112, 112, sign * degrees) == (side, side)


def test_published_rotation_keeps_the_middle_where_it_was_and_a_border_in_one_channel():
    pixels = np.full((112, 112, 3), 200, np.uint8)
    pixels[52:61, 52:61] = 255  # symmetric about (56, 56)
    turned = transforms.rotate(pixels, 14, expand_centred=False)
    assert turned.shape == (133, 133, 3)
    y, x = (np.average(np.arange(133), weights=(turned[..., 0] > 220).sum(axis=1 - axis)) for axis in (0, 1))
    np.testing.assert_allclose([y, x], 56, atol=0.1)
    assert (turned[-5:] == [127, 0, 0]).all()  # the new room lies below and on the right
    assert (turned[:, -5:] == [127, 0, 0]).all()


def test_positive_degrees_turn_counter_clockwise():
    pixels = np.zeros((113, 113, 3), np.uint8)
    pixels[54:59, 100:105] = 255  # on the right
    for centred in (True, False):
        turned = transforms.rotate(pixels, 15, expand_centred=centred)[..., 1]
        y, _ = np.nonzero(turned > 200)
        middle = (turned.shape[0] - 1) / 2 if centred else 56.5
        assert y.mean() == pytest.approx(middle - 46 * np.sin(np.radians(15)), abs=1)


@pytest.mark.parametrize("degrees", range(-15, 15))
def test_centred_rotation_keeps_the_whole_image_in_the_middle_of_grey(degrees):
    turned = transforms.rotate(np.full((112, 90, 3), 200, np.uint8), degrees)
    weight = turned[..., 0].astype(float) - 127
    assert (turned == turned[..., :1]).all()
    assert set(np.unique(turned)) <= set(range(127, 201))
    y, x = (
        np.average(np.arange(n), weights=weight.sum(axis=1 - axis)) for axis, n in enumerate(turned.shape[:2])
    )
    np.testing.assert_allclose([y, x], [(turned.shape[0] - 1) / 2, (turned.shape[1] - 1) / 2], atol=0.01)
    assert weight.sum() / 73 > 111 * 89  # nothing cut away


def test_centred_rotation_by_nothing_changes_nothing_and_mirrors():
    pixels = smooth(112, 90)
    np.testing.assert_array_equal(transforms.rotate(pixels, 0), pixels)
    mirrored = transforms.flip(transforms.rotate(transforms.flip(pixels), -11)).astype(int)
    assert np.abs(mirrored - transforms.rotate(pixels, 11)).max() <= 3
    quarter = transforms.rotate(pixels, 90).astype(int)
    assert quarter.shape == (90, 112, 3)
    assert np.abs(quarter - np.rot90(pixels)).max() <= 1


def test_crop_takes_one_fraction_for_both_axes():
    y, x = np.mgrid[:100, :70].astype(np.uint8)
    pixels = np.stack([y, x, y], axis=2)
    cut = transforms.crop_or_pad(pixels, 64, 0.5)
    assert cut[0, 0].tolist() == [18, 3, 18]
    assert cut.shape == (64, 64, 3)
    assert transforms.crop_or_pad(pixels, 64, 0.999)[0, 0].tolist() == [35, 5, 35]


def test_pad_centres_in_127():
    framed = transforms.crop_or_pad(np.full((4, 1, 3), 9, np.uint8), 4, 0.7)
    assert framed[..., 2].tolist() == [[127, 9, 127, 127]] * 4
    both = transforms.crop_or_pad(np.full((6, 3, 3), 9, np.uint8), 4, 0.0, fill_value=0)
    assert both[..., 0].tolist() == [[9, 9, 9, 0]] * 4


@pytest.mark.parametrize("rotation", ["expand_centred", "published"])
@pytest.mark.parametrize("shape", [(128, 128), (200, 60), (30, 31)])
@pytest.mark.parametrize("side", [64, 112])
def test_training_transform_is_a_function_of_image_and_seed(rotation, shape, side):
    pixels = smooth(*shape)
    before = pixels.copy()
    first, again, other = (
        transforms.training_transform(pixels, side, np.random.default_rng(seed), rotation=rotation)
        for seed in (5, 5, 6)
    )
    assert (first.shape, first.dtype) == ((3, side, side), np.float32)
    assert first.flags.c_contiguous
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.min() >= 0 and first.max() <= 255 and (first == np.round(first)).all()
    np.testing.assert_array_equal(pixels, before)


def test_training_transform_makes_its_draws_in_any_case():
    def after(seed):
        rng = np.random.default_rng(seed)
        transforms.training_transform(smooth(30, 30), 16, rng)
        return rng.random()

    def four(seed):
        rng = np.random.default_rng(seed)
        rng.random(2), rng.integers(-15, 15), rng.random()
        return rng.random()

    assert [after(seed) for seed in range(8)] == [four(seed) for seed in range(8)]


def test_half_of_the_training_views_are_mirrored_and_half_are_turned():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16] = 200
    rng = np.random.default_rng(0)
    views = [transforms.training_transform(pixels, 32, rng) for _ in range(400)]
    mirrored = np.mean([view[0, 16, 4] < view[0, 16, 27] for view in views])
    straight = np.mean([set(np.unique(view)) == {0, 200} for view in views])
    assert abs(mirrored - 0.5) < 0.1
    assert abs(straight - (0.5 + 0.5 / 30)) < 0.1


def weights_of(length, target):
    """Bilinear weights with half-pixel centres, shape (target, length): the resize as a matrix."""
    place = np.clip((np.arange(target) + 0.5) * length / target - 0.5, 0, length - 1)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(length)))


@pytest.mark.parametrize(
    "height, width, between", [(50, 81, (32, 51)), (67, 40, (53, 32)), (9, 17, (32, 60))]
)
def test_squeezing_goes_by_way_of_the_covering_size(height, width, between):
    pixels = noise(height, width)
    clear = pixels.astype(float)
    for rows, columns in (between, (32, 32)):
        down, across = weights_of(clear.shape[0], rows), weights_of(clear.shape[1], columns)
        clear = np.floor(np.einsum("ih,hwc,jw->ijc", down, clear, across) + 0.5)
    actual = transforms.resize_by_stretching(pixels, 32)
    assert (actual.shape, actual.dtype) == ((32, 32, 3), np.uint8)
    assert np.abs(actual - clear).max() <= 2  # OpenCV works in fixed point, twice
    straight = cv2.resize(pixels, (32, 32), interpolation=cv2.INTER_LINEAR)
    assert np.abs(straight - clear).max() > 10  # so the step in between counts
    np.testing.assert_array_equal(
        transforms.evaluation_transform(pixels, 32, resize_mode="stretch"), planes(actual)
    )


def test_squeezing_leaves_the_final_size_alone_and_bears_any_shape():
    square = smooth(32, 32)
    assert transforms.resize_by_stretching(square, 32) is square
    for shape in ((1, 1), (1, 900), (900, 1), (1, 60_000)):
        assert (
            transforms.resize_by_stretching(np.full((*shape, 3), 9, np.uint8), 32).tolist()
            == [[[9] * 3] * 32] * 32
        )
    with pytest.raises(ValueError, match="side"):
        transforms.resize_by_stretching(square, 0)


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize("shape", [(61, 40), (40, 61), (32, 32), (20, 20)])
def test_a_image_kept_at_its_final_size_gives_the_same_faces(fit, shape):
    pixels = noise(*shape)
    kept = transforms.resize(pixels, 32, fit)
    assert transforms.resize(kept, 32, fit) is kept
    for seed in range(8):
        first, second = (
            transforms.training_transform(image, 32, np.random.default_rng(seed), resize_mode=fit)
            for image in (pixels, kept)
        )
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(
        transforms.evaluation_transform(pixels, 32, resize_mode=fit),
        transforms.evaluation_transform(kept, 32, resize_mode=fit),
    )


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_a_squeezed_face_has_no_padding_and_a_padded_one_has(fit):
    tall = np.full((60, 30, 3), 9, np.uint8)
    assert set(np.unique(transforms.evaluation_transform(tall, 32, resize_mode=fit))) == (
        {9, 127} if fit == "letterbox" else {9}
    )


@pytest.mark.parametrize("rotation", ["expand_centred", "published"])
def test_a_view_is_drawn_and_applied_apart_as_it_is_together(rotation):
    pixels = noise(40, 30)
    views = [transforms.sample_augmentation(np.random.default_rng(seed)) for seed in range(20)]
    for seed, view in enumerate(views):
        apart = transforms.apply_augmentation(pixels, 32, view, rotation=rotation)
        together = transforms.training_transform(pixels, 32, np.random.default_rng(seed), rotation=rotation)
        np.testing.assert_array_equal(apart, together)
    assert {view.flipped for view in views} == {True, False}
    assert any(view.rotation_degrees is None for view in views) and any(
        view.rotation_degrees for view in views
    )


def test_hand_worked_view():
    pixels = noise(6, 6)
    view = transforms.AugmentationParams(flipped=True, rotation_degrees=None, crop_position=0.5)
    np.testing.assert_array_equal(transforms.apply_augmentation(pixels, 6, view), planes(pixels[:, ::-1]))
    turned = transforms.apply_augmentation(
        pixels, 6, transforms.AugmentationParams(False, 12, 0.99), rotation="published"
    )
    canvas = transforms.rotate(pixels, 12, expand_centred=False)
    np.testing.assert_array_equal(turned, planes(transforms.crop_or_pad(canvas, 6, 0.99)))


def test_evaluation_transform_pads_and_says_so_once(caplog):
    transforms._log_padding_once.cache_clear()
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            tall = transforms.evaluation_transform(np.full((100, 50, 3), 9, np.uint8), 112)
    assert caplog.text.count("not square") == 1
    assert tall.shape == (3, 112, 112)
    assert (
        (tall[:, :, :28] == 127).all() and (tall[:, :, 28:84] == 9).all() and (tall[:, :, 84:] == 127).all()
    )
    square = smooth(112, 112)
    np.testing.assert_array_equal(transforms.evaluation_transform(square, 112), square.transpose(2, 0, 1))


def test_arrays_that_are_no_image_are_refused():
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ImageError, match=r"expected a uint8 image of shape \(H, W, 3\)"):
            transforms.evaluation_transform(wrong, 112)
    with pytest.raises(ValueError, match="rotation"):
        transforms.training_transform(smooth(4, 4), 4, np.random.default_rng(0), rotation="none")
    with pytest.raises(ValueError, match=r'resize_mode must be "letterbox" or "stretch", found \'crop\''):
        transforms.evaluation_transform(smooth(4, 4), 4, resize_mode="crop")
    with pytest.raises(ValueError, match="position"):
        transforms.crop_or_pad(smooth(4, 4), 2, 1.5)


@pytest.mark.parametrize("content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n"])
def test_no_other_program_is_started_for_a_picture(tmp_path, monkeypatch, content):
    def start(*arguments, **options):
        raise AssertionError(f"started {arguments}")

    monkeypatch.setattr("subprocess.Popen", start)
    (tmp_path / "a.jpg").write_bytes(content)
    for strict in (False, True):
        with pytest.raises(ImageError, match=r"a\.jpg.*EPS.*export it as png"):
            load_image(tmp_path / "a.jpg", strict=strict)
