"""Places of files: paths of this machine, and addresses such as ``s3://bucket/data`` (fsspec)."""

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from voiceface.io.atomic import atomic_path

__all__ = [
    "file_size",
    "is_url",
    "join_location",
    "location_exists",
    "open_file_system",
    "read_location",
    "read_range",
    "write_bytes_to",
    "write_file",
]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(//)?")
_ATOMIC_UPLOADS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "hf", "oss", "r2", "oci"}


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether a place is an address with a scheme, such as ``memory://data``.

    Example:
        >>> is_url("s3://bucket/data"), is_url("data/x"), is_url("C:/data")
        (True, False, False)
    """
    found = _SCHEME.match(os.fspath(place))
    return bool(found and found[2])


def join_location(place: str | os.PathLike[str], name: str) -> str:
    """Place of a file in a folder or below an address."""
    return f"{os.fspath(place).rstrip('/')}/{name}" if is_url(place) else str(Path(place) / name)


def open_file_system(url: str) -> tuple[Any, str]:
    """File system of an address, and the path in it.

    Raises:
        ModuleNotFoundError: the package for this kind of address is not installed.
        ValueError: an unknown kind of address.
    """
    import fsspec

    try:
        file_system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ModuleNotFoundError(f"{url}: {error}; install the package that fsspec names") from None
    except ValueError as error:
        raise ValueError(
            f"{url}: {error}; expected a folder or an address such as s3://bucket/folder"
        ) from None
    return file_system, path


def location_exists(place: str | os.PathLike[str]) -> bool:
    """Whether there is a file."""
    if not is_url(place):
        return Path(place).is_file()
    file_system, path = open_file_system(os.fspath(place))
    return bool(file_system.isfile(path))


def file_size(place: str | os.PathLike[str]) -> int:
    """Bytes of a file.

    Raises:
        FileNotFoundError: no such file.
    """
    if not is_url(place):
        return Path(place).stat().st_size
    file_system, path = open_file_system(os.fspath(place))
    return int(file_system.size(path))


def read_location(place: str | os.PathLike[str], max_bytes: int) -> bytes:
    """Read a file whole.

    Raises:
        FileNotFoundError: no such file.
        ValueError: more than `max_bytes`.
    """
    size = file_size(place)
    if size > max_bytes:
        raise ValueError(f"{os.fspath(place)} has {size:,} bytes, expected at most {max_bytes:,}")
    if not is_url(place):
        return Path(place).read_bytes()
    file_system, path = open_file_system(os.fspath(place))
    return bytes(file_system.cat_file(path))


def read_range(url: str, start: int, end: int) -> bytes:
    """Read the bytes `start` to ``end - 1`` below an address."""
    file_system, path = open_file_system(url)
    return bytes(file_system.cat_file(path, start=start, end=end))


def write_file(source: Path, place: str | os.PathLike[str]) -> None:
    """Put a file of this machine to a place; readers see all of it or nothing.

    Args:
        source: the file; it is renamed where it lies on the same disk as the place.
        place: path or address; missing folders are made.
    """
    if not is_url(place):
        with atomic_path(place) as temporary:
            _move(source, temporary)
        return
    file_system, path = open_file_system(os.fspath(place))
    file_system.makedirs(path.rpartition("/")[0], exist_ok=True)
    if (
        re.split(r"[:]", os.fspath(place))[0].lower() in _ATOMIC_UPLOADS
    ):  # an upload appears when it is complete
        file_system.put_file(str(source), path)
        return
    file_system.put_file(str(source), f"{path}.part")
    file_system.mv(f"{path}.part", path)


def write_bytes_to(data: bytes, place: str | os.PathLike[str]) -> None:
    """Write bytes to a place, as `write_file`."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "file"
        source.write_bytes(data)
        write_file(source, place)


def _move(source: Path, target: Path) -> None:
    """Rename, or copy to another disk."""
    import shutil

    shutil.move(source, target)
