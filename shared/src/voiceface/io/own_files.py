"""A person's own recordings, pictures and videos among files and folders, told apart by their content.

Published data folders are listed by `voiceface.datasets.layouts`, by the endings of the published programs.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from voiceface.io.atomic import write_json
from voiceface.io.file_facts import FileFacts
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import find_file_kind
from voiceface.io.locations import as_location
from voiceface.io.packed_folders import PACKING_SUFFIXES, file_exists, folder_exists, list_packed_files

__all__ = [
    "PICTURE_SUFFIXES",
    "SOUND_SUFFIXES",
    "FoundFiles",
    "LeftOut",
    "classify",
    "describe_left_out",
    "find_own_files",
    "find_wrong_kind",
    "format_left_out",
    "is_sound",
    "log_left_out",
    "walk_folder",
    "write_file_records",
]

log = logging.getLogger(__name__)

SOUND_SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".m4a", ".ogg", ".oga", ".aac", ".opus", ".mp4", ".webm", ".aif", ".aifc"),
    *(".aiff", ".amr", ".ape", ".asf", ".au", ".avi", ".awb", ".ac3", ".caf", ".eac3", ".flv", ".m2ts"),
    *(".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mpeg", ".mpg", ".mts", ".ogv", ".rf64", ".snd"),
    *(".spx", ".ts", ".tta", ".voc", ".w64", ".wma", ".wmv", ".wv", ".3g2", ".3gp", ".3gpp", ".dsf", ".dts"),
    *(".f4v", ".gsm", ".latm", ".loas", ".m4r", ".mp1", ".mpc", ".mpga", ".mxf", ".nist", ".nut", ".qt"),
    *(".ra", ".rm", ".rmvb", ".sox", ".sph", ".tak", ".vob", ".weba"),
)
"""Endings of recordings and of videos (their sound); they count where the content is not known."""
PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jfif"),
    *(".jpe", ".jp2", ".j2k", ".mpo", ".pbm", ".pgm", ".ppm", ".tga"),
)
"""Endings of pictures; as `SOUND_SUFFIXES`."""
IGNORED_NAMES = {
    *("@eadir", "#recycle", "$recycle.bin", "__macosx", "lost+found", "system volume information"),
    *("thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"),
}
FILES_FORMAT = "voiceface-files-1"
MAX_SHOWN = 20
BLOCK_BYTES = 1 << 20
MAX_COLUMN = 60  # characters; longer cells move the rest of their row to the right
_told: set[Path] = set()


class LeftOut(NamedTuple):
    """A file that is not used, the reason, and what can be done."""

    path: Path
    reason: str
    remedy: str = ""

    @classmethod
    def from_error(cls, path: str | Path, error: object) -> "LeftOut":
        """Build the entry from the error of a reader, whose message is ``PATH: FINDING; REMEDY``.

        Args:
            path: the file.
            error: the error, or its text. The name of the file at its beginning is left out.
        """
        text = str(error) or type(error).__name__
        for name in (str(path), printable(path)):
            text = text.removeprefix(f"{name}: ")
            text = text.removeprefix(f"{name} ") if text.startswith(f"{name} is ") else text
        finding, _, remedy = text.rpartition("; ")
        return cls(Path(path), finding or remedy, remedy if finding else "")


@dataclass
class FoundFiles:
    """Files by kind, without duplicates, in the order in which they were given; those of a folder sorted."""

    sounds: list[Path] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def walk_folder(root: str | Path) -> Iterator[Path]:
    """Yield every file below a folder, sorted by path.

    Files of a packed folder or archive count as if they were unpacked. Hidden files and folders, waste
    baskets, thumbnails and the copies that editors and file systems make are no files of a person: they are
    skipped.
    Links are followed, except to a folder that is being read already.

    Args:
        root: the folder.
    """
    packed = list_packed_files(root)
    pending: list[tuple[Path, tuple[str, ...]]] = []
    if packed is None or Path(root).is_dir():
        pending.append((Path(root), (os.path.realpath(root),)))
    found: list[Path] = []
    while pending:
        folder, above = pending.pop()
        try:
            with os.scandir(folder) as entries:
                items = [(entry.name, entry.is_dir(), entry.is_symlink()) for entry in entries]
        except PermissionError:
            log.warning("%s cannot be listed: permission denied; its files are left out", printable(folder))
            continue
        for name, is_folder, is_link in items:
            if name.startswith((".", "._")) or name.endswith("~") or name.lower() in IGNORED_NAMES:
                continue
            if not is_folder:
                found.append(folder / name)
                continue
            target = os.path.realpath(folder / name) if is_link else f"{above[-1]}/{name}"
            if target not in above:
                pending.append((folder / name, (*above, target)))
    if packed is not None:
        found = [path for path in found if not path.name.endswith(PACKING_SUFFIXES)]
        found += [Path(root) / name for name in packed]
    yield from sorted(found)


def classify(path: str | Path) -> tuple[str, str, str]:
    """Tell by the content, else by the ending, what a file is.

    Args:
        path: the file.

    Returns:
        ("sound", "picture" or "", what it is, remedy): a video counts as sound, "" is anything else. What
        cannot be opened or recognised has the kind of its ending: its reader says what is wrong with it.
    """
    kind, suffix = find_file_kind(path), Path(path).suffix.lower()
    if kind is not None and kind.key in ("audio", "video"):
        return "sound", kind.title, kind.remedy
    if kind is not None and kind.key == "image":
        return "picture", kind.title, kind.remedy
    title, remedy = (
        (kind.title, kind.remedy) if kind is not None else (f"of unknown kind ({suffix or 'no ending'})", "")
    )
    if suffix in SOUND_SUFFIXES:
        return "sound", title, remedy
    return ("picture" if suffix in PICTURE_SUFFIXES else ""), title, remedy


def find_wrong_kind(path: str | Path, wanted: Literal["sound", "picture"]) -> str:
    """What a file with the ending of a recording or picture is instead, by its first bytes.

    Args:
        path: the file.
        wanted: what it should be.

    Returns:
        What it is, with an article; "" for a file that may be readable, is absent, or has another ending.
    """
    name, is_sound_wanted = Path(path), wanted == "sound"
    if name.suffix.lower() not in (SOUND_SUFFIXES if is_sound_wanted else PICTURE_SUFFIXES):
        return ""
    kind = find_file_kind(name)
    # Audio of MPEG layer I begins as text in UTF-16 does; MP3 may begin with zeros.
    readable = ("audio", "video", "utf-16") if is_sound_wanted else ("image",)
    if kind is None or kind.key in readable or (kind.key == "zeros" and _has_content(name)):
        return ""
    return kind.title


def _has_content(path: Path) -> bool:
    """Whether a file has other bytes than zeros; it is read in blocks."""
    with path.open("rb") as file:
        return any(block.count(0) < len(block) for block in iter(lambda: file.read(BLOCK_BYTES), b""))


def is_sound(path: str | Path) -> bool:
    """Whether a file is a recording or a video, by `classify`."""
    return classify(path)[0] == "sound"


def find_own_files(paths: Iterable[str | Path], *, ignored_suffixes: Sequence[str] = ()) -> FoundFiles:
    """Find recordings and pictures among files and, recursively, in folders.

    Args:
        paths: files and folders. A file that is neither recording nor picture is an error; in a folder it is
            left out.
        ignored_suffixes: of files in folders that are used in another way and not reported.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: a given file is neither a recording nor a picture.
    """
    sounds: dict[Path, None] = {}
    pictures: dict[Path, None] = {}
    left_out: dict[Path, LeftOut] = {}
    for root in map(Path, paths):
        if not root.exists() and not file_exists(root) and not folder_exists(root):
            hint = f"; if its name begins with a dash, write ./{root}" if str(root).startswith("-") else ""
            raise FileNotFoundError(f"no file or folder at {printable(root)}{hint}")
        for path in walk_folder(root) if folder_exists(root) else (root,):
            if path != root and path.suffix.lower() in ignored_suffixes:
                continue
            kind, title, remedy = classify(path)
            if kind:
                (sounds if kind == "sound" else pictures)[path] = None
            elif path == root:
                raise ValueError(
                    f"{printable(path)} is {title}, expected a recording (.wav, .m4a, ...), a video "
                    "(.mp4, ...) or a picture (.jpg, .png, ...)" + (f"; {remedy}" if remedy else "")
                )
            else:
                left_out[path] = LeftOut(path, f"is {title}, no recording and no picture", remedy)
    return FoundFiles(list(sounds), list(pictures), list(left_out.values()))


def format_left_out(left_out: Sequence[LeftOut], max_shown: int = MAX_SHOWN) -> str:
    """Format files that are not used as a table: file, reason, remedy.

    Args:
        left_out: at least one file.
        max_shown: further files are counted.
    """
    rows = [("file", "reason", "remedy")]
    rows += [
        (printable(as_location(item.path)), printable(item.reason), printable(item.remedy) or "-")
        for item in left_out[:max_shown]
    ]
    widths = [min(MAX_COLUMN, max(len(row[column]) for row in rows)) for column in range(2)]
    lines = [f"{first:{widths[0]}}  {second:{widths[1]}}  {third}" for first, second, third in rows]
    if further := len(left_out) - max_shown:
        lines += [f"and {further} more"] if further > 0 else []
    return "\n".join(lines)


def describe_left_out(left_out: Sequence[LeftOut]) -> list[dict[str, str]]:
    """Values for JSON files: file, reason and remedy of every file that is not used."""
    return [{"file": str(item.path), "reason": item.reason, "remedy": item.remedy} for item in left_out]


def write_file_records(
    path: str | Path, files: Mapping[str, Sequence[FileFacts]], left_out: Sequence[LeftOut]
) -> None:
    """Write what is known about a person's own files as JSON, atomically: `files` and `left_out`.

    Args:
        path: the JSON file.
        files: result -> records of the files behind it.
        left_out: files that were not used.
    """
    known = {result: [each.to_values() for each in records] for result, records in files.items()}
    write_json(path, {"format": FILES_FORMAT, "files": known, "left_out": describe_left_out(left_out)})


def log_left_out(left_out: Sequence[LeftOut]) -> None:
    """Log files that are not used as one table, each file once in a process; nothing if there are none."""
    new = [item for item in left_out if item.path not in _told]
    _told.update(item.path for item in new)
    if new:
        count = f"{len(new)} file{'s are' if len(new) > 1 else ' is'}"
        log.warning("%s left out:\n%s", count, format_left_out(new))
