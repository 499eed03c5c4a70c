"""Opening files for reading bytes, and the first words of an error."""

import io
import os
import stat

from voiceface.io.file_kinds import printable

__all__ = ["first_line", "open_system_file"]

_MAX_REASON = 200
_FILE_TYPES = (
    (stat.S_ISDIR, "is a folder"),
    (stat.S_ISFIFO, "is a named pipe"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
    (stat.S_ISSOCK, "is a socket"),
)


def open_system_file(
    path: str | os.PathLike[str], error_type: type[Exception], what: str
) -> io.BufferedReader:
    """Open a file for reading bytes, unless it is a pipe, a device, a socket or a folder.

    Raises:
        FileNotFoundError: no such file, or a folder.
        Exception: `error_type`: not a regular file, or it cannot be opened.
    """
    name = printable(path)
    try:
        # A pipe without a writer would block an ordinary open.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{name} does not exist, expected {what}; check the path") from None
    except IsADirectoryError:
        raise FileNotFoundError(f"{name} is a folder, expected {what}; check the path") from None
    except (OSError, ValueError) as error:
        raise error_type(f"{name} cannot be read ({first_line(error)}), expected {what}") from None
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            found = next((title for matches, title in _FILE_TYPES if matches(mode)), "is no regular file")
            if stat.S_ISDIR(mode):
                raise FileNotFoundError(f"{name} is a folder, expected {what}; check the path")
            raise error_type(f"{name} {found}, expected {what} in a regular file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def first_line(error: BaseException) -> str:
    """First line of an error's message, shortened and printable; its type if it has none."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    text = getattr(error, "strerror", None) or str(error)  # of the operating system, and of FFmpeg
    lines = text.strip().splitlines()
    return printable(lines[0][:_MAX_REASON]) if lines else type(error).__name__
