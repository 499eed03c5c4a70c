"""Inputs of work by units: files and folders, packed or not, here and at addresses (fsspec)."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from voiceface.engines.file_units import DOWNLOADS, FileItem
from voiceface.engines.units import describe_error
from voiceface.io.file_kinds import printable
from voiceface.io.locations import as_location, is_url, open_file_system
from voiceface.io.own_files import PICTURE_SUFFIXES, SOUND_SUFFIXES, LeftOut, find_own_files
from voiceface.io.packed_folders import PACKING_SUFFIXES, RECORD_FILE, stamp_of
from voiceface.io.shards import SHARD_SUFFIX

__all__ = ["VIDEO_SUFFIXES", "Sources", "as_location", "find_sources", "is_address"]

VIDEO_SUFFIXES = (*(".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".wmv", ".flv", ".mpg", ".mpeg"), ".3gp")
"""Endings of videos at addresses and in shards, where the content is not looked at beforehand."""
_WEB = ("http://", "https://")
_USED = {*SOUND_SUFFIXES, *PICTURE_SUFFIXES, SHARD_SUFFIX}
_CONTENT = (
    *("ETag", "etag", "md5Hash", "crc32c", "checksum", "sha256", "LastModified", "mtime", "created"),
    *("Last-Modified", "modify"),  # of web and FTP servers
)
_UNUSED = "is of unknown kind ({}), no recording and no picture"


@dataclass
class Sources:
    """Files by kind, in the order in which they were given; those of a folder sorted.

    Attributes:
        sounds: recordings and videos.
        pictures: pictures.
        archives: tar shards at addresses.
        left_out: files that are not used.
    """

    sounds: list[FileItem] = field(default_factory=list)
    pictures: list[FileItem] = field(default_factory=list)
    archives: list[FileItem] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def is_address(path: Path) -> bool:
    """Whether an argument is an address."""
    return is_url(as_location(path))


def find_sources(paths: Iterable[Path], relative_to: Path | None = None) -> Sources:
    """Find recordings, pictures and shards among files, folders and addresses.

    Files of this machine are told by their content, others by their endings.

    Args:
        paths: the arguments.
        relative_to: files are named relative to this folder or address; None: by their paths.

    Raises:
        FileNotFoundError: a path does not exist, or nothing can be used.
        ModuleNotFoundError: the package for a kind of address is not installed.
        OSError: an address cannot be read.
        ValueError: a given file is of another kind, or not below `relative_to`.
    """
    base = None if relative_to is None else as_location(relative_to)
    found = Sources()
    given = list(paths)
    for path in given:
        place = as_location(path)
        if is_url(place):
            _find_remote(place, base, found)
        else:
            _find_local(path, base, found)
    for name in ("sounds", "pictures", "archives"):
        setattr(found, name, list({item.source: item for item in getattr(found, name)}.values()))
    if not (found.sounds or found.pictures or found.archives):
        shown = ", ".join(map(as_location, given))
        raise FileNotFoundError(f"no utterances, images or shards in {shown}")
    return found


def _find_local(path: Path, base: str | None, found: Sources) -> None:
    """Add a file, or the files of a folder."""
    files = find_own_files([path])
    found.sounds += [_local_item(each, base) for each in files.sounds]
    found.pictures += [_local_item(each, base) for each in files.pictures]
    found.left_out += files.left_out


def _local_item(path: Path, base: str | None) -> FileItem:
    try:
        state = " ".join(map(str, stamp_of(path)))
    except (OSError, ValueError) as error:
        state = describe_error(error)
    return FileItem(_item_name(path.as_posix(), base), str(path), str(path.absolute()), state)


def _find_remote(url: str, base: str | None, found: Sources) -> None:
    """Add a file at an address, or the files below it."""
    file_system, root = open_file_system(url)
    root = root.rstrip("/")
    try:
        if root.startswith(_WEB) and _ending(root) not in _USED:
            listing = _list_pages(file_system, root)
        elif file_system.isfile(root):
            listing = {root: file_system.info(root)}
        else:
            listing = file_system.find(root, detail=True)
    except Exception as error:  # of any library below fsspec
        raise OSError(f"{printable(url)} cannot be read: {describe_error(error)}") from error
    if not listing:
        raise FileNotFoundError(f"no file or folder at {printable(url)}")
    packed = {path.rpartition("/")[0] for path in listing if path.endswith(f"/{RECORD_FILE}")}
    for path, facts in sorted(listing.items()):
        address = url.rstrip("/") + path[len(root) :] if path.startswith(root) else path
        if any(part.startswith(".") for part in PurePosixPath(path[len(root) :]).parts[1:]):
            continue
        item = FileItem(_item_name(address, base), address, address, _state(facts))
        _sort_by_ending(item, found, is_packed=path.rpartition("/")[0] in packed)


def _list_pages(file_system: Any, root: str) -> dict[str, dict[str, Any]]:
    """Files below a folder of a web server, whose pages of links name them without size and time."""
    found = file_system.find(f"{root}/")
    paths = [path for path in found if path.startswith(f"{root}/") and "?" not in path]
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        return dict(zip(paths, pool.map(file_system.info, paths)))


def _ending(address: str) -> str:
    return PurePosixPath(address.partition("?")[0].lower()).suffix


def _sort_by_ending(item: FileItem, found: Sources, *, is_packed: bool) -> None:
    """Add a file at an address to its kind; files of packed folders are named as if they were unpacked."""
    name = item.source.partition("?")[0].lower()
    ending = _ending(name)
    if ending == SHARD_SUFFIX:
        folders = (item.name.rpartition("/")[0], item.given.rpartition("/")[0])
        found.archives.append(replace(item, name=folders[0], given=folders[1]) if is_packed else item)
    elif ending in SOUND_SUFFIXES:
        found.sounds.append(item)
    elif ending in PICTURE_SUFFIXES:
        found.pictures.append(item)
    elif not name.endswith(PACKING_SUFFIXES):
        found.left_out.append(LeftOut(Path(item.given), _UNUSED.format(ending or "no ending")))


def _state(facts: dict[str, Any]) -> str:
    """What changes with the content of a file at an address."""
    content: Sequence[Any] = [facts[name] for name in _CONTENT if facts.get(name)]
    return f"{facts.get('size')} {content[0] if content else ''}".strip()


def _item_name(place: str, base: str | None) -> str:
    """Name of a file in the table."""
    if base is None:
        return place
    if is_url(place) and place.startswith(base.rstrip("/") + "/"):
        return place[len(base.rstrip("/")) + 1 :]
    if is_url(place) or is_url(base) or not Path(place).is_relative_to(base):
        raise ValueError(
            f"{place} is not below {base} (--relative-to): give both relative to the same folder, or "
            "omit --relative-to"
        )
    return Path(place).relative_to(base).as_posix()
