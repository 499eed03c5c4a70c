"""Packed folders at addresses: tables and indices are copied to a cache, archives when they are read.

The copy is a packed folder of this machine (`voiceface.io.packed_folders`), so that everything that reads a
data folder reads one at an address. It lies in ``$VOICEFACE_HOME/packed``, or in the user's cache directory,
under a name that depends on the address and on the content of its `shards.json`; it may be deleted.
"""

import hashlib
import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

from voiceface.io.atomic import write_bytes, write_json
from voiceface.io.file_kinds import printable
from voiceface.io.locations import fetch_file, is_url, join_location, read_location
from voiceface.io.packed_folders import GENERATED_SCHEME
from voiceface.io.regular_files import first_line
from voiceface.io.shard_folders import MAX_RECORD_BYTES, RECORD_FILE, check_record
from voiceface.io.shard_index import INDEX_SUFFIX
from voiceface.io.shards import MAX_INDEX_BYTES, ShardError
from voiceface.io.tar_members import find_name_fault

__all__ = ["local_folder"]

HOME_VARIABLE = "VOICEFACE_HOME"
_OF_ONE_PROCESS = "memory:"  # such files are not there in decoding processes


def local_folder(place: str | os.PathLike[str]) -> Path:
    """Folder of this machine for a data folder: the folder itself, or the copy of one at an address.

    Of ``population:PRESET?people=N`` it is a folder of the tables alone, whose other files are generated when
    they are opened.

    Args:
        place: path, address of a folder that `voiceface pack` wrote, or such a name of a population.

    Raises:
        FileNotFoundError: nothing packed is at the address.
        ModuleNotFoundError: the package for this kind of address is not installed.
        ShardError: what is there is damaged, or cannot be read.
    """
    if os.fspath(place).startswith(GENERATED_SCHEME):
        above = import_module("voiceface.synthetic.generated_folder")  # above this floor
        folder: Path = above.write_population_tables(os.fspath(place), _cache_directory())
        return folder
    if not is_url(place):
        return Path(place)
    url = os.fspath(place).rstrip("/")
    name = printable(url)
    try:
        data = read_location(join_location(url, RECORD_FILE), MAX_RECORD_BYTES)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{name}: no {RECORD_FILE}, expected a folder of `voiceface pack`; check the address"
        ) from None
    except ModuleNotFoundError:
        raise
    except Exception as error:  # of any library below fsspec
        raise ShardError(f"{name} cannot be read ({first_line(error)}); check the address") from error
    folder = _cache_directory() / hashlib.sha256(url.encode() + b"\0" + data).hexdigest()[:24]
    if not (folder / RECORD_FILE).is_file():
        _copy(url, data, folder)
    return folder


def _cache_directory() -> Path:
    """Folder of the copies."""
    given = os.environ.get(HOME_VARIABLE)
    if given:
        return Path(given).expanduser() / "packed"
    import platformdirs

    return Path(platformdirs.user_cache_dir("voiceface")) / "packed"


def _copy(url: str, data: bytes, folder: Path) -> None:
    """Copy what is small; the record is written last."""
    place = printable(join_location(url, RECORD_FILE))
    try:
        record: dict[str, Any] = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ShardError(f"{place} is corrupt or truncated ({error}); pack again") from error
    check_record(record, place)
    for entry in record.get("plain_files", []):
        name, digest, size = (entry.get(key) for key in ("name", "sha256", "bytes"))
        if not isinstance(name, str) or find_name_fault(name) or name == RECORD_FILE or type(size) is not int:
            raise ShardError(f"{place} names the file {name!r}, which is refused; pack again")
        content = read_location(join_location(url, name), size)
        if hashlib.sha256(content).hexdigest() != digest:
            raise ShardError(
                f"{printable(join_location(url, name))} is damaged: its digest is wrong; pack again"
            )
        write_bytes(folder / name, content)
    for shard in record["shards"]:
        name = shard["name"]
        source = join_location(url, name + INDEX_SUFFIX)
        write_bytes(folder / (name + INDEX_SUFFIX), read_location(source, MAX_INDEX_BYTES))
        if url.startswith(_OF_ONE_PROCESS) and not fetch_file(join_location(url, name), folder / name):
            raise ShardError(
                f"{printable(join_location(url, name))}: no room for a copy in {folder}; make some"
            )
    write_json(folder / RECORD_FILE, {**record, "location": url})
