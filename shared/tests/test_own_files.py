"""A person's own files: told apart by content, listed once for all commands, what is left out is said."""

import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sound_files import RATE, encode, speech_like
from voiceface.association.embedding import find_files
from voiceface.audio.loading import decode_audio, write_wav
from voiceface.images.photographs import load_photograph
from voiceface.io.file_kinds import recognise
from voiceface.io.input_files import find_input_files
from voiceface.io.own_files import (
    PICTURE_SUFFIXES,
    SOUND_SUFFIXES,
    LeftOut,
    classify,
    find_own_files,
    find_wrong_kind,
    format_left_out,
    is_sound,
    log_left_out,
    walk_folder,
)
from voiceface.suite.user_media import collect_media

OTHERS = {
    "page.html": b"<!doctype html><html></html>",
    "notes.txt": b"notes",
    "table.csv": b"a,b\n",
    "packed.zip": b"PK\x03\x04" + bytes(40),
}


def picture(path: Path) -> Path:
    """A picture of noise, in the format of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def sound(path: Path) -> Path:
    """A recording of 1 s."""
    write_wav(path, speech_like(1))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings, pictures, videos and other files, visible and hidden, with and without endings."""
    root = tmp_path / "own"
    for name in (
        "a.wav",
        "sub/b.wav",
        "sub/no_ending",
        "sub/memo.dat",
        ".hidden.wav",
        ".ipynb_checkpoints/c.wav",
    ):
        sound(root / name)
    for name in ("@eaDir/d.wav", ".Trash/e.wav", "#recycle/f.wav", "__MACOSX/h.wav", "._a.wav", "a.wav~"):
        sound(root / name)
    for name in ("face.png", "sub/face.jpg", ".ipynb_checkpoints/face-checkpoint.png", "._face.png"):
        picture(root / name)
    picture(root / "made.png").rename(root / "picture_called.wav")
    encode(root / "film.avi", "libmp3lame", "avi", with_video="mpeg4")
    encode(root / "call.amr", "libopencore_amrnb", "amr", rate=8000)
    encode(root / "clip.ts", "aac", "mpegts")
    for name, data in OTHERS.items():
        (root / name).write_bytes(data)
    return root


SOUNDS = ["a.wav", "call.amr", "clip.ts", "film.avi", "sub/b.wav", "sub/memo.dat", "sub/no_ending"]
PICTURES = ["face.png", "picture_called.wav", "sub/face.jpg"]


def names(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_content_decides_and_copies_of_editors_are_no_candidates(folder: Path) -> None:
    found = find_own_files([folder])
    assert names(found.sounds, folder) == SOUNDS
    assert names(found.pictures, folder) == PICTURES
    assert {item.path.name for item in found.left_out} == set(OTHERS)
    reasons = {item.path.name: item for item in found.left_out}
    assert "web page" in reasons["page.html"].reason
    assert "zip archive" in reasons["packed.zip"].reason and "unpack" in reasons["packed.zip"].remedy


def test_all_commands_take_the_same_recordings(folder: Path) -> None:
    voices, faces = find_files([folder])
    assert names(voices, folder) == SOUNDS
    assert names(faces, folder) == PICTURES
    assert names([path for path, _ in find_input_files([folder])], folder) == SOUNDS
    media = collect_media(folder, folder, per_image=True)
    assert sorted(names([each.file for each in media.utterances], folder)) == SOUNDS
    assert sorted(entry.name for entry in media.gallery) == PICTURES
    for path in voices:
        assert find_input_files([path]) == [(path, Path(path.stem))]
        assert find_files([path]) == ([path], [])
    with pytest.raises(ValueError, match=r"page\.html is a web page"):
        find_files([folder / "page.html"])
    with pytest.raises(
        ValueError, match=r"packed\.zip: suffix \.zip, expected a recording .* zip archive; unpack"
    ):
        find_input_files([folder / "packed.zip"])


def test_what_is_left_out_is_said_once_in_one_table(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        find_files([folder])
        find_files([folder])
        find_input_files([folder])
    (record,) = [record for record in caplog.records if "left out" in record.message]
    lines = record.message.splitlines()
    assert lines[0] == f"{len(OTHERS)} files are left out:"
    assert lines[1].split() == ["file", "reason", "remedy"]
    assert len(lines) == 2 + len(OTHERS)


def test_long_tables_are_cut_and_names_printed_safely() -> None:
    items = [LeftOut(Path(f"a{i}\x1b[2J.txt"), "is text") for i in range(25)]
    table = format_left_out(items, max_shown=3)
    assert table.splitlines()[-1] == "and 22 more"
    assert "\x1b" not in table
    log_left_out([])


def test_recordings_that_differ_only_in_their_ending_do_not_replace_each_other(tmp_path: Path) -> None:
    sound(tmp_path / "v/x.wav")
    encode(tmp_path / "v/x.mp3", "libmp3lame")
    sound(tmp_path / "v/y.wav")
    found = find_input_files([tmp_path / "v"])
    assert [(path.name, place.as_posix()) for path, place in found] == [
        ("x.mp3", "x_mp3"),
        ("x.wav", "x_wav"),
        ("y.wav", "y"),
    ]
    assert [each.name for each in collect_media(tmp_path / "v").utterances] == ["x.mp3", "x.wav", "y"]
    (tmp_path / "v/x.npy").write_bytes(b"")
    assert [path.name for path, _ in find_input_files([tmp_path / "v"], (".npy",))] == ["x.npy", "y.wav"]


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    sound(tmp_path / "a/x.wav")
    sound(tmp_path / "elsewhere/y.wav")
    (tmp_path / "a/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a/circle").symlink_to(tmp_path / "a")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "a")
    (tmp_path / "a/gone.wav").symlink_to(tmp_path / "nothing.wav")
    found = [path.relative_to(tmp_path / "a").as_posix() for path in walk_folder(tmp_path / "a")]
    assert found == ["gone.wav", "link/y.wav", "x.wav"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are not UTF-8 need Linux")
def test_a_name_that_is_not_utf8_is_found(tmp_path: Path) -> None:
    made = sound(tmp_path / "v/made")
    os.rename(made, os.fsencode(tmp_path / "v") + b"/caf\xe9.wav")  # noqa: PTH104 - the name is no text
    sound(tmp_path / "v/plain.wav")
    assert len(find_own_files([tmp_path / "v"]).sounds) == 2
    assert len(find_input_files([tmp_path / "v"])) == 2


def test_files_that_cannot_be_opened_keep_the_kind_of_their_ending(tmp_path: Path) -> None:
    for name in ("empty.wav", "empty.png"):
        (tmp_path / name).touch()
    assert [classify(tmp_path / name)[0] for name in ("empty.wav", "empty.png")] == ["sound", "picture"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.wav")
        assert is_sound(tmp_path / "pipe.wav")  # at once; its reader refuses it
    assert not set(SOUND_SUFFIXES) & set(PICTURE_SUFFIXES)


def test_a_name_that_begins_with_a_dash_gets_a_hint(tmp_path: Path) -> None:
    for find in (find_files, find_input_files):
        with pytest.raises(FileNotFoundError, match=r"write \./-gone\.wav"):
            find(["-gone.wav"])
    assert tmp_path.is_dir()


@pytest.mark.parametrize(
    "codec, kind, rate, expected",
    [
        ("libmp3lame", "mp3", RATE, "audio"),
        ("aac", "adts", RATE, "audio"),
        ("mp2", "mp2", RATE, "audio"),
        ("ac3", "ac3", 48000, "audio"),
        ("pcm_s16be", "aiff", RATE, "audio"),
        ("pcm_s16be", "au", RATE, "audio"),
        ("pcm_s16le", "w64", RATE, "audio"),
        ("pcm_s16le", "caf", RATE, "audio"),
        ("libopencore_amrnb", "amr", 8000, "audio"),
        ("wavpack", "wv", RATE, "audio"),
        ("aac", "mp4", RATE, "video"),
        ("aac", "mpegts", RATE, "video"),
        ("libmp3lame", "avi", RATE, "video"),
        ("libmp3lame", "flv", 44100, "video"),
        ("libopus", "webm", 48000, "video"),
    ],
)
def test_containers_are_recognised_without_an_ending(
    tmp_path: Path, codec: str, kind: str, rate: int, expected: str
) -> None:
    encode(tmp_path / "a", codec, kind, rate=rate)
    found = recognise((tmp_path / "a").read_bytes()[:1024])
    assert found is not None and found.key == expected
    assert classify(tmp_path / "a")[0] == "sound"


def test_text_and_pictures_are_no_sound(tmp_path: Path) -> None:
    for data in (
        "Grüße".encode("utf-16"),
        b"Good morning",
        b"\xff\xd8\xff\xe0" + bytes(50),
        b"\0\0\0\x18ftypheic",
    ):
        found = recognise(data)
        assert found is None or found.key not in ("audio", "video")
    picture(tmp_path / "a.png").rename(tmp_path / "a.mp3")
    assert classify(tmp_path / "a.mp3")[0] == "picture"


@pytest.mark.parametrize(
    ("name", "content", "wanted", "found"),
    [
        ("a.wav", b"RIFF\0\0\0\0WAVEfmt ", "sound", ""),
        ("a.wav", b"", "sound", "an empty file"),
        ("a.wav", b"\x89PNG\r\n\x1a\n", "sound", "a PNG image"),
        ("a.wav", b"unknown", "sound", ""),
        ("a.wav", bytes(3000), "sound", "filled with zeros, as interrupted downloads leave it"),
        ("a.mp3", bytes(3000) + b"\xff\xfb\x90\x00", "sound", ""),
        ("a.mp3", bytes(1 << 20) + b"\xff\xfb\x90\x00", "sound", ""),
        ("a.mp3", bytes(3 << 19), "sound", "filled with zeros, as interrupted downloads leave it"),
        ("a.mp2", b"\xff\xfe\x90\x00", "sound", ""),
        ("a.mp4", b"\0\0\0\x18ftypisom", "sound", ""),
        ("a.npy", b"", "sound", ""),
        ("a.jpg", b"\x89PNG\r\n\x1a\n", "picture", ""),
        ("a.jpg", b"fLaC", "picture", "a FLAC recording"),
        ("a.JPG", b"PK\x03\x04", "picture", "a zip archive"),
    ],
)
def test_files_of_another_kind_are_told_by_their_first_bytes(tmp_path, name, content, wanted, found):
    (tmp_path / name).write_bytes(content)
    assert find_wrong_kind(tmp_path / name, wanted) == found
    assert find_wrong_kind(tmp_path / f"absent_{name}", wanted) == ""


CONTENTS = {
    "sound": {
        "dts": ("dca", "dts", 48000),
        "rm": ("ac3", "rm", 44100),
        "sox": ("pcm_s32le", "sox", RATE),
        "mxf": ("pcm_s16le", "mxf_opatom", 48000),
        "nut": ("pcm_s16le", "nut", RATE),
        "mov": ("pcm_s16le", "mov", RATE),
    },
    "picture": {"jp2": {}, "ppm": {}, "bmp": {}, "dds": {}, "j2k": {}},
}


@pytest.mark.parametrize("name", CONTENTS["sound"])
def test_rarer_recordings_are_told_by_their_content(name: str, tmp_path: Path) -> None:
    codec, form, rate = CONTENTS["sound"][name]
    path = tmp_path / f"a.{name}"
    try:
        encode(path, codec, form, rate=rate)
    except Exception as error:  # a build of FFmpeg without this encoder
        pytest.skip(f"cannot be written here: {error}")
    data = path.read_bytes()
    if name == "mov":  # older cameras write no `ftyp`
        data = data[int.from_bytes(data[:4], "big") :]
        assert data[4:8] in (b"wide", b"mdat", b"moov")
    (tmp_path / "no_ending").write_bytes(data)
    assert decode_audio(tmp_path / "no_ending", scale="unit").samples.shape[1] >= 1.9 * rate
    found = find_own_files([tmp_path / "no_ending"])
    assert len(found.sounds) == 1 and not found.pictures


@pytest.mark.parametrize("name", CONTENTS["picture"])
def test_rarer_pictures_are_told_by_their_content(name: str, tmp_path: Path) -> None:
    picture(tmp_path / f"a.{name}").rename(tmp_path / "no_ending")
    assert load_photograph(tmp_path / "no_ending").shape == (40, 40, 3)
    found = find_own_files([tmp_path])
    assert len(found.pictures) == 1 and not found.sounds and not found.left_out


@pytest.mark.parametrize("text", [b"BM is a town\n" * 9, b"P1 and P2 agree\n", b"MPEG\n", b"P6 x 3\n"])
def test_text_is_no_picture(text: bytes) -> None:
    assert recognise(text) is None
