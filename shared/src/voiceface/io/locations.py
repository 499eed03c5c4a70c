"""Places of files: paths of this machine, and addresses such as ``s3://bucket/data`` (fsspec)."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from voiceface.io.atomic import atomic_path

__all__ = [
    "as_location",
    "fetch_file",
    "file_size",
    "is_url",
    "join_location",
    "list_location",
    "location_exists",
    "modified_time",
    "open_file_system",
    "read_location",
    "read_range",
    "remove_location",
    "write_bytes_to",
    "write_file",
]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(//)?")
_ONE_SLASH = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/(?=[^/])")
_ATOMIC_UPLOADS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "hf", "oss", "r2", "oci"}


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether a place is an address with a scheme, such as ``memory://data``.

    Example:
        >>> is_url("s3://bucket/data"), is_url("data/x"), is_url("C:/data")
        (True, False, False)
    """
    found = _SCHEME.match(os.fspath(place))
    return bool(found and found[2])


def as_location(path: Path) -> str:
    """Path or address of an argument; `Path` makes one slash of the two of an address.

    Example:
        >>> as_location(Path("s3://bucket/data")), as_location(Path("data/a.wav"))
        ('s3://bucket/data', 'data/a.wav')
    """
    text = path.as_posix()
    return _ONE_SLASH.sub(lambda found: f"{found[1]}://{'/' * (found[1].lower() == 'file')}", text)


def join_location(place: str | os.PathLike[str], name: str) -> str:
    """Place of a file in a folder or below an address."""
    return f"{os.fspath(place).rstrip('/')}/{name}" if is_url(place) else str(Path(place) / name)


def open_file_system(url: str) -> tuple[Any, str]:
    """File system of an address, and the path in it.

    Raises:
        ModuleNotFoundError: the package for this kind of address is not installed.
        ValueError: an unknown kind of address.
    """
    from fsspec.core import url_to_fs

    try:
        file_system, path = url_to_fs(url)
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


def list_location(place: str | os.PathLike[str]) -> set[str]:
    """Names in a folder or directly below an address, hidden ones left out; empty where there is nothing."""
    if not is_url(place):
        path = Path(place)
        return {each.name for each in path.iterdir() if each.name[0] != "."} if path.is_dir() else set()
    file_system, path_in = open_file_system(os.fspath(place))
    try:
        return {name.rstrip("/").rpartition("/")[2] for name in file_system.ls(path_in, detail=False)}
    except FileNotFoundError:
        return set()


def modified_time(place: str | os.PathLike[str]) -> tuple[float | None, int]:
    """Time of the last change in seconds since 1970, None where it is not known, and bytes of a file.

    Raises:
        FileNotFoundError: no such file.
    """
    if not is_url(place):
        state = Path(place).stat()
        return state.st_mtime, state.st_size
    file_system, path = open_file_system(os.fspath(place))
    try:
        changed = file_system.modified(path).timestamp()
    except (NotImplementedError, AttributeError, KeyError, TypeError):
        changed = None
    return changed, int(file_system.size(path))


def remove_location(place: str | os.PathLike[str]) -> None:
    """Remove a file, if it exists."""
    if not is_url(place):
        Path(place).unlink(missing_ok=True)
        return
    file_system, path = open_file_system(os.fspath(place))
    with suppress(FileNotFoundError):
        file_system.rm_file(path)


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


def fetch_file(url: str, target: str | os.PathLike[str]) -> bool:
    """Copy a file from an address to this machine, unless another process has done so meanwhile.

    Args:
        url: the file.
        target: its path here; it appears when it is complete.

    Returns:
        False where less than twice its bytes are free on the disk; nothing was copied then.

    Raises:
        FileNotFoundError: no such file.
    """
    import shutil

    file_system, path = open_file_system(url)
    with _locked(Path(f"{os.fspath(target)}.lock")):
        if Path(target).exists():
            return True
        if shutil.disk_usage(Path(target).parent).free < 2 * int(file_system.size(path)):
            return False
        with atomic_path(target) as temporary:
            file_system.get_file(path, str(temporary))
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time do something, where the system has locks."""
    with path.open("w") as file:
        with suppress(ImportError):  # Windows: files may be fetched twice
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


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
