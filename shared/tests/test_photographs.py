"""People's own pictures come as a viewer shows them: upright, in sRGB, transparent parts on white."""

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, TiffImagePlugin
from voiceface.images.loading import ImageError, load_image
from voiceface.images.photographs import load_photograph

Pixels = NDArray[np.uint8]

# EXIF orientation -> how a camera stores an upright picture that it marks so.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


def blocks(height: int = 24, width: int = 40) -> Pixels:
    """Four blocks of different colours, which lossy formats keep."""
    colours = np.array([[[230, 40, 40], [40, 200, 60]], [[50, 60, 220], [240, 240, 120]]], np.uint8)
    return np.kron(colours, np.ones((height // 2, width // 2, 1), np.uint8))


def save(path: Path, pixels: Pixels, **options: object) -> Path:
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, **options)
    return path


def with_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_is_upright(suffix: str, orientation: int, tmp_path: Path) -> None:
    stored = STORED[orientation](blocks())
    path = save(tmp_path / f"a{suffix}", stored, exif=with_orientation(orientation), quality=95)
    found = load_photograph(path)
    assert found.shape == blocks().shape and np.abs(found.astype(int) - blocks()).mean() < 4
    if suffix != ".tiff":  # which Pillow itself turns
        assert load_image(path).shape == stored.shape  # data folders stay as the published programs read them


@pytest.mark.parametrize("suffix", [".heic", ".avif"])
def test_pictures_of_telephones_are_upright(suffix: str, tmp_path: Path) -> None:
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    path, exif = tmp_path / f"a{suffix}", with_orientation(6)
    image = Image.fromarray(np.ascontiguousarray(STORED[6](blocks(64, 96))))
    if suffix == ".heic":
        image.info["exif"] = exif.tobytes()  # pillow-heif then states the rotation itself
    image.save(path, quality=95, **({} if suffix == ".heic" else {"exif": exif}))
    found = load_photograph(path)
    assert found.shape == (64, 96, 3) and np.abs(found.astype(int) - blocks(64, 96)).mean() < 4


def test_heic_without_its_library_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(64))
    Image.init()
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    for library in ("pi_heif", "pillow_heif"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImageError, match=r"a\.heic.*pip install pi-heif"):
        load_photograph(tmp_path / "a.heic")


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    alpha = np.full((24, 40, 1), 255, np.uint8)
    alpha[:, 20:] = 0
    half = alpha.copy()
    half[:, 20:] = 51  # a fifth
    for name, opacity, share in (("clear", alpha, 0.0), ("fifth", half, 0.2)):
        path = save(tmp_path / f"{name}.png", np.dstack([blocks(), opacity]))
        found = load_photograph(path)
        assert np.array_equal(found[:, :20], blocks()[:, :20])
        expected = share * blocks()[:, 20:] + (1 - share) * 255
        assert np.abs(found[:, 20:] - expected).max() <= 1
    assert not np.array_equal(load_image(path), found)


def test_transparency_of_palettes_and_of_grey(tmp_path: Path) -> None:
    palette = Image.fromarray(blocks()).quantize(4)
    index = palette.getpixel((0, 0))
    palette.save(tmp_path / "p.png", transparency=index)
    found = load_photograph(tmp_path / "p.png")
    assert (found[:12, :20] == 255).all() and (found[12:, :20] != 255).any()
    grey = Image.fromarray(np.dstack([blocks()[..., 0], np.zeros((24, 40), np.uint8)]), "LA")
    grey.putpixel((0, 0), (0, 255))
    grey.save(tmp_path / "la.png")
    assert (load_photograph(tmp_path / "la.png").reshape(-1, 3)[1:] == 255).all()


def swapped_profile() -> bytes:
    """The profile of sRGB with red and blue exchanged: a stored (255, 0, 0) is blue."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack(">I", data[128:132])
    entries = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, blue = entries[b"rXYZ"], entries[b"bXYZ"]
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(data)


def test_colours_of_other_profiles_become_srgb(tmp_path: Path) -> None:
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = load_photograph(save(tmp_path / "srgb.png", blocks(), icc_profile=plain))
    assert np.abs(same.astype(int) - blocks()).max() <= 1
    found = load_photograph(save(tmp_path / "other.png", blocks(), icc_profile=swapped_profile()))
    assert np.abs(found.astype(int) - blocks()[..., ::-1]).max() <= 3


def with_gamma(png: bytes, gamma: float) -> bytes:
    """A PNG file with the chunk that says by which exponent light was stored."""
    data = b"gAMA" + struct.pack(">I", round(100000 * gamma))
    return png[:33] + struct.pack(">I", 4) + data + struct.pack(">I", zlib.crc32(data)) + png[33:]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_stored_gamma_is_applied_as_by_viewers(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(blocks()).convert(mode)
    expected = np.array(image.convert("RGB"))
    linear = Image.fromarray((255 * (expected / 255.0) ** 2.2).round().astype(np.uint8))
    for stored, gamma in ((linear.convert(mode), 1.0), (image, 1 / 2.2), (image, 0.45455)):
        path = save_bytes(tmp_path / "a.png", with_gamma(encoded(stored, "PNG"), gamma))
        assert np.abs(load_photograph(path).astype(int) - expected).max() <= 2
    assert (load_image(tmp_path / "a.png") == expected).all()


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def save_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def write_pages(path: Path, *pages: tuple[Pixels, bool]) -> Path:
    """A TIFF file of pictures, each with whether it is marked as a preview."""
    with TiffImagePlugin.AppendingTiffWriter(str(path), True) as file:
        for pixels, is_preview in pages:
            Image.fromarray(pixels).save(file, "TIFF", tiffinfo={254: int(is_preview)})
            file.newFrame()
    return path


def test_previews_are_no_photographs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = np.ascontiguousarray(blocks(24, 40)[:, ::-1])
    path = write_pages(tmp_path / "a.tif", (small, True), (small, True), (blocks(48, 80), False))
    assert np.array_equal(load_photograph(path), blocks(48, 80)) and not caplog.records
    with pytest.raises(ImageError, match=r"80 x 48 pixels\), expected at most 1000 pixels"):
        load_photograph(path, max_pixels=1000)
    assert np.array_equal(load_photograph(write_pages(path, (blocks(), False), (small, False))), blocks())
    path = write_pages(tmp_path / "raw.dng", (small, True))
    assert np.array_equal(load_photograph(path), small)
    assert "preview: 40 x 24 pixels beside raw data" in caplog.text
    data = write_pages(path, (small, True), (blocks(48, 80), False)).read_bytes()
    for size in range(200, len(data), 999):
        path.write_bytes(data[:size])
        try:
            load_photograph(path)
        except ImageError as error:
            assert "raw.dng" in str(error)


@pytest.mark.parametrize("profile", [b"nothing", b"\0" * 200])
def test_corrupt_profiles_are_ignored(profile: bytes, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", blocks(), icc_profile=profile)
    assert np.array_equal(load_photograph(path), blocks())


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_corrupt_exif_is_ignored(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", blocks(), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert np.array_equal(load_photograph(path), blocks())


def test_first_picture_of_an_animation(tmp_path: Path) -> None:
    first, second = (Image.fromarray(pixels) for pixels in (blocks(), blocks()[::-1]))
    for suffix in ("png", "tiff", "webp"):
        first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[second])
        found = load_photograph(tmp_path / f"a.{suffix}")
        assert np.abs(found.astype(int) - blocks()).mean() < 8


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    import cv2

    for name in ("a.png", "a.tiff"):
        assert cv2.imwrite(str(tmp_path / name), blocks()[..., ::-1].astype(np.uint16) * 257)
        assert np.abs(load_photograph(tmp_path / name).astype(int) - blocks()).max() <= 1


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (blocks(2, 2)[:1, :1], "1 x 1 pixels, expected at least 16 x 16"),
        (blocks(2, 40), "40 x 2 pixels"),
        (np.full((32, 32, 3), 7, np.uint8), "all pixels have one colour"),
    ],
)
def test_pictures_without_a_face_are_refused(pixels: Pixels, message: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=rf"a\.png: .*{message}"):
        load_photograph(save(tmp_path / "a.png", pixels))


def test_other_files_are_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(blocks()).save(buffer, "PNG")
    contents = {"page.jpg": b"<!doctype html><html>", "sound.png": b"RIFF\0\0\0\0WAVE", "none.jpg": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=rf"{name}: (not an image \(it is|empty file)"):
            load_photograph(tmp_path / name)
    assert np.array_equal(load_photograph(buffer.getvalue()), blocks())


def test_pages_show_what_the_networks_saw(tmp_path: Path) -> None:
    from voiceface.report import Photograph
    from voiceface.report.media import encode_image

    path = save(tmp_path / "a.png", STORED[6](blocks()), exif=with_orientation(6))
    for source, seen in ((Photograph(path), load_photograph(path)), (path, load_image(path))):
        shown = load_image(encode_image(source, 200, quality=95))
        assert shown.shape == seen.shape and np.abs(shown.astype(int) - seen).mean() < 4


def test_notes_are_returned_in_place_of_log_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from voiceface.images.photographs import read_photograph, remembered_notes

    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    whole, cut = tmp_path / "whole.png", tmp_path / "cut.png"
    Image.fromarray(pixels).save(whole)
    cut.write_bytes(whole.read_bytes()[:6000])
    found, notes = read_photograph(cut)
    assert found.shape == (64, 64, 3) and (found[0] == pixels[0]).all()
    assert [note.partition(":")[0] for note in notes] == ["truncated image"] and not caplog.records
    assert remembered_notes(cut) == notes and remembered_notes(whole) == ()
    assert read_photograph(whole)[1] == ()
    load_photograph(cut)
    assert f"{cut}: truncated image: " in caplog.text
