"""Results as Parquet files, named by what they are of: a stopped run goes on behind the last.

The engine knows nothing of the rows: a function makes a table of a unit, and this module stores it.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.embeddings.columnar import to_parquet
from voiceface.engines.interface import Engine
from voiceface.engines.units import Factory, Failure, StoreError, Unit, describe_error
from voiceface.io.atomic import write_bytes
from voiceface.io.file_kinds import printable
from voiceface.io.locations import (
    is_url,
    join_location,
    location_exists,
    open_file_system,
    write_bytes_to,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PartStore", "Rows", "name_part", "run_parts"]

PART, RETRY, SUFFIX = "part-", "retry-", ".parquet"


@dataclass(frozen=True)
class Rows:
    """What a function makes of a unit.

    Attributes:
        table: rows, whose schema has the metadata that `voiceface.embeddings.columnar.to_parquet` needs.
        complete: False where items failed for a reason that is not theirs, such as a network that does not
            answer: the next run does the unit again.
    """

    table: "pa.Table"
    complete: bool = True


class PartStore:
    """Folder of parts, here or at an address.

    Args:
        place: path or address.
    """

    def __init__(self, place: str | os.PathLike[str]) -> None:
        self.place = os.fspath(place)

    def names(self) -> set[str]:
        """Names of the files.

        Raises:
            StoreError: the place cannot be read.
            ModuleNotFoundError: the package for this kind of address is not installed.
        """
        if not is_url(self.place):
            folder = Path(self.place)
            return {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
        file_system, path = open_file_system(self.place)
        try:
            file_system.invalidate_cache()
            if not file_system.isdir(path):
                return set()
            return {str(name).rpartition("/")[2] for name in file_system.ls(path, detail=False)}
        except Exception as error:  # of any library below fsspec
            raise StoreError(f"{printable(self.place)} cannot be read: {describe_error(error)}") from error

    def read(self, name: str) -> bytes:
        """Bytes of a file.

        Raises:
            StoreError: it cannot be read.
        """
        place = join_location(self.place, name)
        try:
            if not is_url(place):
                return Path(place).read_bytes()
            file_system, path = open_file_system(place)
            return bytes(file_system.cat_file(path))
        except Exception as error:  # of any library below fsspec
            raise StoreError(f"{printable(place)} cannot be read: {describe_error(error)}") from error

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all.

        Raises:
            StoreError: it cannot be written.
        """
        place = join_location(self.place, name)
        try:
            if is_url(place):
                write_bytes_to(data, place)
            else:
                write_bytes(place, data)
        except Exception as error:  # of any library below fsspec
            raise StoreError(f"{printable(place)} cannot be written: {describe_error(error)}") from error

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens if there is none."""
        place = join_location(self.place, name)
        if not is_url(place):
            Path(place).unlink(missing_ok=True)
            return
        file_system, path = open_file_system(place)
        if file_system.exists(path):
            file_system.rm_file(path)


def name_part(unit: Unit, fingerprint: str) -> str:
    """Name of a part: a digest of the items, their content, and of what makes the rows."""
    text = f"{fingerprint}\n{unit.key}".encode("utf-8", "backslashreplace")
    return f"{PART}{hashlib.sha256(text).hexdigest()[:32]}{SUFFIX}"


def run_parts(
    engine: Engine,
    factory: Factory,
    units: Sequence[Unit],
    store: PartStore,
    fingerprint: str,
    describe_failure: Callable[[Any, str], "pa.Table"],
) -> list[str]:
    """Make the parts of all units that are not there yet.

    Args:
        engine: runs the work.
        factory: device -> function of a unit that returns `Rows`.
        units: distinct.
        store: where the parts are.
        fingerprint: of all that decides the rows beside the items: weights, front end, options.
        describe_failure: (unit of one item, reason) -> rows for an item that cannot be processed at all, such
            as one that ends its process. They are stored, and the item is tried again by the next run.

    Returns:
        Names of the files, in the order of the units.

    Raises:
        EngineError: no worker starts, or nothing succeeds.
        StoreError: a part cannot be written.
    """
    present = store.names()
    names = [name_part(unit, fingerprint) for unit in units]
    missing = [number for number, name in enumerate(names) if name not in present]
    pieces: dict[int, list[tuple[tuple[int, ...], str]]] = {number: [] for number in missing}
    make = _StoredParts(factory, store.place, fingerprint)
    for task, result in engine.map(make, [units[number] for number in missing]):
        if isinstance(result, Failure):
            name = name_part(task.unit, fingerprint).replace(PART, RETRY)
            store.write(name, to_parquet(describe_failure(task.unit, result.reason)))
        else:
            name = result
        pieces[missing[task.number]].append((task.place, name))
    parts = [
        part
        for number, name in enumerate(names)
        for part in ([name] if number not in pieces else [each for _, each in sorted(pieces[number])])
    ]
    for name in present - set(parts):
        if name.startswith(RETRY):
            store.remove(name)
    return parts


@dataclass(frozen=True)
class _StoredParts:
    """Factory of functions that store what those of another factory make, and return the name."""

    factory: Factory
    place: str
    fingerprint: str

    def __call__(self, device: str) -> Callable[[Any], str]:
        return partial(self.make, self.factory(device))

    def make(self, work: Callable[[Any], Rows], unit: Unit) -> str:
        """Store the rows of a unit, unless they are there."""
        store = PartStore(self.place)
        name = name_part(unit, self.fingerprint)
        if _is_there(store, name):
            return name
        rows = work(unit)
        if not rows.complete:
            name = name.replace(PART, RETRY)
        store.write(name, to_parquet(rows.table))
        return name


def _is_there(store: PartStore, name: str) -> bool:
    try:
        return location_exists(join_location(store.place, name))
    except Exception as error:  # of any library below fsspec
        raise StoreError(f"{printable(store.place)} cannot be read: {describe_error(error)}") from error
