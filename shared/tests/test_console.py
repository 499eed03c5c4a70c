"""The terminal of a command: warnings of libraries, pipes, names with a dash, bars, files left out."""

import io
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from voiceface.commandline import console
from voiceface.commandline.dispatch import run_main
from voiceface.commandline.messages import report_left_out
from voiceface.io.own_files import LeftOut, describe_left_out
from voiceface.runtime.progress import progress_bar, write_line


def test_library_warnings_become_log_lines_told_once(caplog):
    def command(_):
        for _ in range(3):
            warnings.warn_explicit(
                "two\n  lines", UserWarning, "/x/lib/site-packages/torch/nn/modules.py", 12, registry={}
            )
        return 0

    before = warnings.showwarning
    assert run_main(command, []) == 0
    assert warnings.showwarning is before
    assert [record.getMessage() for record in caplog.records] == ["two lines (warning of torch)"]


@pytest.mark.parametrize(
    ("words", "place"),
    [(["", "x"], "1 of the command is"), (["x", "--out", ""], "3 of the command after --out is")],
)
def test_an_empty_word_is_no_file_name(words, place, capsys):
    assert run_main(lambda _: pytest.fail("called"), words) == 2
    assert capsys.readouterr().err.startswith(f"error: argument {place} empty, expected a name or value")


def test_records_of_libraries_are_shown_from_warnings_on_and_once():
    shown = console._ForeignRecords()

    def record(name, level, text):
        return logging.LogRecord(name, level, "x.py", 1, text, None, None)

    assert shown.filter(record("voiceface.audio", logging.INFO, "a")) is True
    assert shown.filter(record("numexpr.utils", logging.INFO, "a")) is False
    first = record("onnxruntime", logging.WARNING, "device\n missing")
    assert shown.filter(first) is True and first.getMessage() == "device missing (warning of onnxruntime)"
    assert shown.filter(record("onnxruntime", logging.WARNING, "device\n missing")) is False


def test_existing_files_that_begin_with_a_dash_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-dash.wav", "-1", "--two.wav", "--out", "-h"):
        (tmp_path / name).touch()
    words = ["-dash.wav", "--seed", "-1", "--two.wav", "--out", "-absent.wav", "-h", "plain.wav"]
    expected = ["./-dash.wav", "--seed", "-1", "./--two.wav", "--out", "-absent.wav", "-h", "plain.wav"]
    assert console.protect_dashed_files(words) == expected
    assert console.has_dashed_word(["-absent.wav"]) and not console.has_dashed_word(["--out", "-2.5e3", "-"])


def test_a_reader_that_ends_early_costs_the_command_nothing(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom voiceface.commandline.dispatch import run_main\n"
        "def command(_):\n"
        "    for n in range(100_000): print('line', n)\n"
        f"    Path({str(tmp_path / 'done')!r}).touch()\n"
        "raise SystemExit(run_main(command, []))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        assert process.wait(60) == 0 and process.stderr.read() == ""
    assert (tmp_path / "done").is_file()


def test_names_that_the_terminal_cannot_encode_are_escaped():
    raw = io.BytesIO()
    output = console._Output(io.TextIOWrapper(raw, encoding="ascii"))
    print("Zoë → ok", file=output)
    output.flush()
    assert raw.getvalue() == b"Zo\\xeb \\u2192 ok" + os.linesep.encode()


def test_files_left_out_are_one_table_and_an_error_only_with_strict(capsys):
    assert report_left_out([], strict=True) == 0 and capsys.readouterr().err == ""
    first = LeftOut.from_error("a b.wav", ValueError("a b.wav: is silent, expected speech; record it again"))
    assert first == LeftOut(first.path, "is silent, expected speech", "record it again")
    again = LeftOut.from_error("a b.wav", "something else")
    for reason in ("is a named pipe, expected an image", "is a device, expected a recording"):
        special = LeftOut.from_error("a b.wav", ValueError(f"a b.wav {reason}"))
        assert special == (Path("a b.wav"), reason, "")
    other = LeftOut.from_error("c\x1b.jpg", ValueError("c\\x1b.jpg: one pixel"))
    assert (other.reason, other.remedy) == ("one pixel", "")
    assert report_left_out([first, other, again]) == 0
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "2 files were left out:" and shown[1].split() == ["file", "reason", "remedy"]
    assert len(shown) == 4 and "record it again" in shown[2] and "something else" not in "".join(shown)
    assert "c\\x1b.jpg" in shown[3] and shown[3].endswith("  -")
    assert report_left_out([first], strict=True) == 1
    assert "error: --strict: 1 file was left out" in capsys.readouterr().err
    assert describe_left_out([other]) == [{"file": "c\x1b.jpg", "reason": "one pixel", "remedy": ""}]


class Terminal(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("terminal", "enabled"), [(True, True), (True, False), (False, True)])
def test_bars_appear_on_a_terminal_once_work_takes_long(monkeypatch, capsys, terminal, enabled):
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress_bar(range(3), "quick", enabled=enabled)) == [0, 1, 2]
    assert stream.getvalue() == ""
    monkeypatch.setattr("voiceface.runtime.progress.DELAY_SECONDS", 0)
    for _ in progress_bar(range(2), "slow", enabled=enabled):
        write_line("result")
    assert ("slow" in stream.getvalue()) is (terminal and enabled)
    assert capsys.readouterr().out == "result\nresult\n"


def test_a_warning_is_told_once():
    shown = console._ForeignRecords()
    records = [
        logging.LogRecord("voiceface.images", level, "x.py", 1, "a.jpg: %s", (text,), None)
        for level, text in (
            (logging.WARNING, "cut"),
            (logging.WARNING, "cut"),
            (logging.WARNING, "dark"),
            (logging.INFO, "step"),
            (logging.INFO, "step"),
        )
    ]
    assert [shown.filter(record) for record in records] == [True, False, True, True, True]


def test_remedies_name_the_option_of_the_command_and_not_the_argument_in_python(capsys):
    remedy = 'copy the file again or use on_corrupt="salvage"'
    report_left_out([LeftOut.from_error("a.wav", f"a.wav: truncated; {remedy}")])

    def fail(argv):
        raise ValueError(f"a.wav: truncated; {remedy}")

    assert run_main(fail, []) == 1
    printed = capsys.readouterr().err
    assert printed.count("or use --on-corrupt salvage") == 2 and "on_corrupt" not in printed
