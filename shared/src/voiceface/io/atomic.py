"""Atomic writing of files, and their hashes."""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["atomic_path", "compute_sha256", "write_bytes", "write_json", "write_png", "write_text"]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which is renamed to `path` when the block ends without an error.

    Readers never see a partial file, even after a kill or with a full disk: they see the old file (or none)
    before the rename and the new one after it. When the block fails, the temporary file is removed.

    Args:
        path: the file to write; missing parent folders are created.

    Yields:
        The path to write to: hidden, in the same folder, with the same suffix.

    Raises:
        OSError: the disk is full or the folder cannot be written; the message names `path`.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}.", suffix=f".part{target.suffix}", dir=target.parent
        )
    except OSError as error:  # it names the temporary file
        raise OSError(error.errno, f"could not write {target}: {error.strerror or error}") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, f"could not write {target}: {error.strerror or error}") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    r"""Write a UTF-8 text file atomically, line ends as given.

    Bytes of file names that are not UTF-8 (surrogates in Python's text) are written as ``\udcff``, which
    JSON reads back as it was.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_png(path: str | os.PathLike[str], image: "NDArray[np.uint8]") -> None:
    """Write an RGB image (H, W, 3), uint8, as PNG, atomically."""
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG")
    write_bytes(path, data.getvalue())


def compute_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    """Umask of the process; tempfile creates private files, but results should have ordinary permissions."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
