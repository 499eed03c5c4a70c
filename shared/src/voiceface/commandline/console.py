"""The terminal of a command: log lines, warnings of libraries, pipes, names that begin with a dash."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from voiceface.io.file_kinds import printable_lines

__all__ = ["DASH_HINT", "clean_console", "has_dashed_word", "protect_dashed_files", "route_library_warnings"]

DASH_HINT = "a file whose name begins with a dash is written with its folder: ./-NAME"
OWN_LOGGERS = (
    "voiceface",
    "seeking_shape",
    "archetype_agnostic",
    "sf2f",
    "perceptionist",
    "cmpc2",
    "voicestyle",
    "fop",
)
NUMBER = re.compile(r"-\d*\.?\d+(e[-+]?\d+)?$", re.IGNORECASE)
log = logging.getLogger(__name__)


@contextmanager
def clean_console() -> Iterator[None]:
    """Set up logging, warnings and standard output for a command, and restore the last two at the end.

    Log lines appear above progress bars and change nothing else on the terminal. Warnings of libraries become
    log lines, each once. Output whose reader has ended (`| head`) is dropped, and the command goes on: its
    files are written and its exit status counts.
    """
    handler = _Handler()
    handler.setFormatter(_PrintableFormatter("%(levelname)s: %(message)s"))
    handler.addFilter(_ForeignRecords())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    shown, output = warnings.showwarning, sys.stdout
    route_library_warnings()
    sys.stdout = _Output(output)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout, warnings.showwarning = output, shown


def route_library_warnings() -> None:
    """Turn warnings of libraries into log lines without file, line number and source, each text once."""
    told: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = " ".join(str(message).split())
        if text not in told:
            told.add(text)
            log.warning("%s (%s)", text, _library_of(filename))

    warnings.showwarning = show


def protect_dashed_files(words: Sequence[str]) -> list[str]:
    """Write existing files whose names begin with a dash as ./-NAME, so that they are no options.

    Args:
        words: arguments of a command. Numbers, `-h` and options (two dashes, no dot) stay as they are.

    Example:
        >>> protect_dashed_files(["--seed", "-1"])
        ['--seed', '-1']
    """
    return [f"./{word}" if has_dashed_word([word]) and Path(word).exists() else word for word in words]


def has_dashed_word(words: Sequence[str]) -> bool:
    """Whether a word begins with a dash and is no number, no `-h` and no option."""
    for word in words:
        is_option = word.startswith("--") and "." not in word.partition("=")[0]
        if word.startswith("-") and word not in ("-", "-h") and not is_option and not NUMBER.match(word):
            return True
    return False


def _library_of(filename: str) -> str:
    """Name of the library that a module belongs to, for a log line."""
    parts = Path(filename).parts
    place = max(
        (n for n, part in enumerate(parts) if part in ("site-packages", "dist-packages")), default=None
    )
    name = parts[place + 1] if place is not None and place + 1 < len(parts) else Path(filename).stem
    return f"warning of {name.removesuffix('.py')}"


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the standard error of the moment, above progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self.setStream(sys.stderr)
        if "tqdm" not in sys.modules:
            super().emit(record)
            return
        from tqdm import tqdm

        with tqdm.external_write_mode(file=sys.stderr):
            super().emit(record)


class _ForeignRecords(logging.Filter):
    """Lets every warning through once, and records of libraries from warnings on, with the library's name."""

    def __init__(self) -> None:
        super().__init__()
        self.told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown."""
        library = record.name.partition(".")[0]
        text = record.getMessage()
        if library in OWN_LOGGERS:
            is_new = record.levelno < logging.WARNING or text not in self.told
            self.told.add(text)
            return is_new
        if record.levelno < logging.WARNING or text in self.told:
            return False
        self.told.add(text)
        record.msg, record.args = "%s (warning of %s)", (" ".join(text.split()), library)
        record.exc_info = None
        return True


class _PrintableFormatter(logging.Formatter):
    """Formatter whose lines change nothing else on the terminal, whatever names of files they quote."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return printable_lines(super().format(record))


class _Output:
    """Standard output that drops what its reader no longer takes, and escapes what it cannot encode."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._closed = False

    def write(self, text: str) -> int:
        """Write text."""
        try:
            if not self._closed:
                self._stream.write(text)
        except BrokenPipeError:
            self._close()
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Flush, as `write`."""
        try:
            if not self._closed:
                self._stream.flush()
        except BrokenPipeError:
            self._close()

    def _close(self) -> None:
        """Send the rest of the output nowhere, also what the interpreter flushes at its end."""
        self._closed = True
        target = os.open(os.devnull, os.O_WRONLY)
        os.dup2(target, self._stream.fileno())
        os.close(target)

    def __getattr__(self, name: str) -> Any:
        """Everything else is that of the stream."""
        return getattr(self._stream, name)
