"""The guarded door: one error type for whatever a decoder raises, regular files only, budgets, safe names."""

import gzip
import io
import os
import socket
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from voiceface.commandline.dispatch import run_main
from voiceface.commandline.messages import print_skipped
from voiceface.io.file_kinds import printable, recognise
from voiceface.io.foreign_files import (
    EXPANSION_FLOOR,
    check_regular_file,
    decode_text,
    decompress_gzip,
    first_line,
    read_file_bytes,
    read_file_text,
    reading,
)
from voiceface.report.learning_curves import LogError, read_log
from voiceface.suite.parallel_training import describe_progress


class ThingError(ValueError):
    """Documented error of the reader in these tests."""


class PanicException(BaseException):
    """Stands for the errors of compiled Rust code."""


def read_with(error, path):
    with reading(path, ThingError, "a thing"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        *(ValueError("x"), RecursionError(), MemoryError(), zlib.error("x"), zipfile.BadZipFile("x")),
        *(SystemError("x"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), KeyError("x"), OSError(5, "x")),
        *(IndexError(), AssertionError(), StopIteration(), SyntaxError("x"), PanicException("x")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_of_a_decoder_becomes_the_documented_one(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"some content")
    with pytest.raises(
        ThingError, match=r"a\.bin is corrupt, truncated or not a thing \(12 bytes: .+\); "
    ) as found:
        read_with(error, path)
    assert found.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(2), GeneratorExit()])
def test_interruptions_are_no_fault_of_the_file(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"x")
    with pytest.raises(type(error)):
        read_with(error, path)


def test_the_readers_own_errors_stay_as_they_are(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"x")
    with pytest.raises(ThingError, match=r"^own$"):
        read_with(ThingError("own"), path)
    with pytest.raises(ThingError) as found:
        read_with(ThingError("line 3: 'a\x1b[2Jb'\nsecond"), path)
    assert str(found.value) == "line 3: 'a\\x1b[2Jb'\nsecond"
    with (
        pytest.raises(TypeError, match=r"^other$"),
        reading(path, ThingError, "a thing", passing=(TypeError,)),
    ):
        raise TypeError("other")
    with pytest.raises(ValueError, match=r"a\.bin is corrupt"), reading(path, ValueError, "a thing"):
        raise ValueError("of the decoder")


def test_only_regular_files_are_opened(tmp_path):
    pipe, link, place = tmp_path / "pipe.wav", tmp_path / "link", tmp_path / "socket"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(place))
    for path, found in (
        (pipe, "named pipe"),
        (link, "named pipe"),
        ("/dev/null", "device"),
        (place, "cannot be"),
    ):
        with pytest.raises(ThingError, match=found):  # without a writer, an ordinary open would hang
            check_regular_file(path, ThingError, "a thing")
        with pytest.raises(ThingError), reading(path, ThingError, "a thing"):
            pytest.fail("the file was opened")
    server.close()
    with pytest.raises(FileNotFoundError, match="is a folder, expected a thing"):
        check_regular_file(tmp_path, ThingError, "a thing")
    for missing in (tmp_path / "none", tmp_path / "none" / "below"):
        with pytest.raises(FileNotFoundError, match="does not exist, expected a thing"):
            check_regular_file(missing, ThingError, "a thing")
    with pytest.raises(ThingError, match="cannot be read"):
        check_regular_file(tmp_path / ("x" * 300), ThingError, "a thing")
    with pytest.raises(ThingError, match="cannot be read"):
        check_regular_file("nul\0nul", ThingError, "a thing")


def packed(kind):
    stream = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=stream, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
    else:
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("a.txt", "x")
    return stream.getvalue()


@pytest.mark.parametrize(
    "content, found",
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer .*git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html>", "a web page"),
        (b"\xef\xbb\xbf<HTML><body>", "a web page"),
        (packed("tar"), "a tar archive.*unpack it"),
        (packed("zip"), "a zip archive.*unpack it"),
        (gzip.compress(b"x", mtime=0), "a gzip file"),
        (b'{"message": "Not Found"}', "a JSON file"),
        (b"\x89PNG\r\n\x1a\n....", "a PNG image"),
        (bytes(5000), "filled with zeros"),
    ],
)
def test_a_wrong_file_is_called_what_it_is(tmp_path, content, found):
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    with pytest.raises(ThingError, match=f"a\\.bin is {found}"):
        read_with(ValueError("bad magic"), path)
    with (
        pytest.raises(ThingError, match=r"bad magic"),
        reading(path, ThingError, "a thing", own_kinds=(recognise(content[:1024]).key,)),
    ):
        raise ValueError("bad magic")


def test_names_cannot_write_to_the_terminal(tmp_path):
    assert printable("plain name.wav") == "plain name.wav"
    assert printable("Zoë 李.wav") == "Zoë 李.wav"
    assert printable("a\x1b[31m\n\x9b\u202e\u2028.wav") == r"a\x1b[31m\x0a\x9b\u202e\u2028.wav"
    raw = os.fsencode(tmp_path) + b"/a\xff\n.bin"
    path = os.fsdecode(raw)
    with pytest.raises(FileNotFoundError) as missing:
        check_regular_file(path, ThingError, "a thing")
    with Path(path).open("wb"):
        pass
    with pytest.raises(ThingError) as empty:
        read_with(ValueError("x"), path)
    for error in (missing, empty):
        assert r"a\xff\x0a.bin" in str(error.value)
        str(error.value).encode()
    with pytest.raises(ThingError) as inner:
        read_with(ValueError("bad\x1b[0m\nsecond line"), __file__)
    assert r"bad\x1b[0m" in str(inner.value) and "second" not in str(inner.value)


def test_sizes_are_bounded_before_anything_is_read(tmp_path):
    path = tmp_path / "a.bin"
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no space
    with pytest.raises(ThingError, match=r"1,099,511,627,776 bytes; a thing here has at most 1,000"):
        read_file_bytes(path, ThingError, "a thing", max_bytes=1000)


def test_gzip_is_verified_and_bounded():
    data = os.urandom(3000)
    whole = gzip.compress(data)
    expand = lambda value: decompress_gzip(value, "a.gz", ThingError, "a list")  # noqa: E731
    assert expand(whole + whole + bytes(10)) == data + data
    for cut in (5, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ThingError, match=r"a\.gz is"):
            expand(whole[:cut])
    for place in range(10, len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 4
        with pytest.raises(ThingError, match=r"a\.gz is"):
            expand(bytes(flipped))
    with pytest.raises(ThingError, match=r"a\.gz is"):
        expand(whole + b"more")
    bomb = gzip.compress(bytes(EXPANSION_FLOOR + 1))
    with pytest.raises(ThingError, match="expands beyond"):
        expand(bomb)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "latin-1"])
def test_text_in_other_encodings_is_read_or_named(tmp_path, encoding):
    text = "Zoë,François\r\nline two\n"
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    if encoding in ("utf-16-le", "latin-1"):
        with pytest.raises(ThingError, match=r"a\.txt is not .*text.*save it as UTF-8"):
            read_file_text(path, ThingError, "a list")
    else:
        assert read_file_text(path, ThingError, "a list") == text
    with pytest.raises(ThingError, match="a PNG image, expected a list"):
        decode_text(b"\x89PNG\r\n\x1a\n\0\0", path, ThingError, "a list")


def test_marks_inside_joined_files_are_left_out_and_web_pages_are_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\n\ufefftwo\n\ufeffth\ufeffree\n".encode())
    assert read_file_text(path, ThingError, "a list") == "one\r\ntwo\nth\ufeffree\n"
    path.write_bytes(b"\n <!DOCTYPE html><html>no such file</html>\n")
    with pytest.raises(ThingError, match=r"a\.txt is a web page .*expected a list; open its address"):
        read_file_text(path, ThingError, "a list")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ThingError, match="git lfs pull"):
        read_file_text(path, ThingError, "a list")


def test_logs_and_records_of_trainings_pass_the_door(tmp_path):
    run = tmp_path / "system" / "run"
    run.mkdir(parents=True)
    (run / "log.jsonl").write_bytes(
        b'{"step": 1, "loss": 2}\n\xff\n' + b"[" * 100_000 + b'\n{"step": 2, "loss": 1}\n[3]'
    )
    steps, values = read_log(run)["loss"]
    assert steps.tolist() == [1, 2] and values.tolist() == [2, 1]
    assert describe_progress(tmp_path / "system") == "system: run"
    (run / "log.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"log\.jsonl does not exist"):
        read_log(run)
    os.mkfifo(run / "log.jsonl")
    with pytest.raises(LogError, match=r"log\.jsonl is a named pipe"):
        read_log(run / "log.jsonl")


def test_commands_print_no_escape_codes_of_names(capsys):
    def command(argv):
        raise ValueError("a\x1b[2J.wav is corrupt\n\tsecond line")

    assert run_main(command, []) == 1
    print_skipped({"a\x1b[2J\n.wav": "corrupt"})
    shown = capsys.readouterr().err
    assert shown == "error: a\\x1b[2J.wav is corrupt\n\tsecond line\nskipped: a\\x1b[2J\\x0a.wav: corrupt\n"


def test_the_reason_of_ffmpeg_comes_without_its_number():
    import av

    with pytest.raises(av.FFmpegError) as caught:
        av.open(io.BytesIO(bytes(2000)))
    assert first_line(caught.value) == "Invalid data found when processing input"
