"""The videos that are prepared: found in folders, told from other files, named by people."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from voiceface.datasets.identities import (
    IdentityError,
    check_spelling,
    parse_folder_name,
    parse_gender,
    read_table_rows,
)
from voiceface.io.atomic import compute_sha256, write_text
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import find_file_kind
from voiceface.io.own_files import LeftOut, find_own_files
from voiceface.preparation.settings import NAME_MODES, PreparationError

__all__ = ["DigestCache", "PersonFacts", "Video", "choose_names", "find_videos", "name_of_file", "read_names"]

NAMES_HEADER = ("video", "name", "gender", "nationality", "age")
_VIDEO_ENDINGS = (".ogv", ".ogm", ".ogx")  # Ogg is recognised as sound
_COUNTER = re.compile(r"[\s._-]*(?:\(\d+\)|\d+)$")


@dataclass(frozen=True)
class Video:
    """A file that is prepared.

    Attributes:
        path: the file.
        label: path below the given folder, or the name of a given file, with forward slashes.
        name: of the person; "" if none is given.
        folder: name of the folder that counts as the person's, "" if there is none.
        digest: SHA-256 of the content; "" until it is computed.
    """

    path: Path
    label: str
    name: str = ""
    folder: str = ""
    digest: str = ""

    @property
    def key(self) -> str:
        """Short name of the content in file names and in `clusters.csv`."""
        return self.digest[:10]


@dataclass(frozen=True)
class PersonFacts:
    """What a table of names says about a person, as in a manifest."""

    gender: str = ""
    nationality: str = ""
    age: float | None = None


def find_videos(paths: Sequence[str | Path]) -> tuple[list[Video], list[LeftOut]]:
    """Find videos among files and in folders, by content.

    Args:
        paths: files and folders.

    Returns:
        (videos by label, files that are none with the reason).

    Raises:
        FileNotFoundError: a path does not exist.
        PreparationError: no video was found, or a given file is none.
    """
    videos: dict[Path, Video] = {}
    left_out: list[LeftOut] = []
    labels: set[str] = set()
    for given in map(Path, paths):
        try:
            found = find_own_files([given])
        except ValueError as error:
            raise PreparationError(str(error)) from None
        left_out += found.left_out
        left_out += [LeftOut(path, "is a picture, no video") for path in found.pictures]
        nested = any(path.parent != given for path in found.sounds) if given.is_dir() else False
        for path in found.sounds:
            if path.exists() and not path.is_file():
                left_out.append(LeftOut(path, "is a named pipe or a device, expected a regular file"))
                continue
            kind = find_file_kind(path)
            if kind is not None and kind.key == "audio" and path.suffix.lower() not in _VIDEO_ENDINGS:
                left_out.append(LeftOut(path, f"is {kind.title}, no video"))
                continue
            if path in videos:
                continue
            place = path.relative_to(given) if given.is_dir() else Path(path.name)
            label = place.as_posix()
            if label in labels:
                label = f"{given.resolve().name}/{label}" if given.is_dir() else path.as_posix()
            labels.add(label)
            if given.is_dir() and nested:
                folder = place.parts[0] if len(place.parts) > 1 else ""
            else:
                folder = path.resolve().parent.name
            videos[path] = Video(path, label, folder=folder)
    if not videos:
        wrong = f"; left out: {left_out[0].path.name} {left_out[0].reason}" if left_out else ""
        where = ", ".join(printable(path) for path in paths)
        raise PreparationError(f"no videos (mp4, mov, webm, mkv, avi and others) in {where}{wrong}")
    return sorted(videos.values(), key=lambda video: video.label), left_out


def choose_names(
    videos: Sequence[Video], names: str, given: Sequence[str | Path] = ()
) -> tuple[list[Video], dict[str, PersonFacts], str]:
    """Give every video the name of its person.

    Args:
        videos: from `find_videos`.
        names: "folders" (NAME/clip.mp4), "files" (NAME_01.mp4), "none", "auto" (folders if every video lies
            in a folder below a given one, else none), or a table of names.
        given: what `find_videos` was given; folders among them decide "auto".

    Returns:
        (videos with names, facts by name, the mode that was used).

    Raises:
        PreparationError: a video has no name, or the name cannot be used.
        voiceface.datasets.identities.IdentityError: a line of the table is wrong.
    """
    mode = names
    if names == "auto":
        folders = {Path(each).resolve() for each in given if Path(each).is_dir()}
        below = all(video.folder and len(PurePosixPath(video.label).parts) > 1 for video in videos) and bool(
            folders
        )
        mode = "folders" if below else "none"
    if mode == "none":
        return list(videos), {}, mode
    facts: dict[str, PersonFacts] = {}
    if mode in NAME_MODES:
        chosen = {video.label: _given_name(video, mode) for video in videos}
    else:
        table, facts = read_names(mode, videos)
        chosen = {video.label: table.get(video.label, "") for video in videos}
        mode = "table"
    spelled: dict[str, str] = {}
    for label, name in chosen.items():
        if name:
            check_spelling(spelled, name, f"the name of {printable(label)}")
    return [replace(video, name=chosen[video.label]) for video in videos], facts, mode


def name_of_file(stem: str) -> str:
    """Name of a person in the name of a file: without a number at its end.

    Example:
        >>> [name_of_file(stem) for stem in ("Ann_Lee_01", "Ann Lee (2)", "Ann Lee", "1")]
        ['Ann_Lee', 'Ann Lee', 'Ann Lee', '1']
    """
    return _COUNTER.sub("", stem) or stem


def _given_name(video: Video, mode: str) -> str:
    """Name by folder or file; "" where a video beside the folders of people has none."""
    name = (video.folder if mode == "folders" else name_of_file(video.path.stem)).strip()
    try:
        if any("\udc80" <= letter <= "\udcff" for letter in name):
            raise ValueError(f"{printable(video.label)}: the name {printable(name)} is no UTF-8 text")
        return parse_folder_name(name, printable(video.label)) if name else ""
    except ValueError as error:
        raise PreparationError(f"{error}; rename it or use --names FILE") from None


def read_names(path: str | Path, videos: Sequence[Video]) -> tuple[dict[str, str], dict[str, PersonFacts]]:
    """Read a table of names: `video,name` and optionally `gender,nationality,age`, one line for each video.

    Args:
        path: comma-separated UTF-8 text. A video is its path below the given folder, or its name if no other
            has it; an age is in years. A line without a name leaves the video out.
        videos: that may be named; others may be in the table.

    Returns:
        (label -> name, name -> facts).

    Raises:
        PreparationError: the table does not exist.
        voiceface.datasets.identities.IdentityError: names file and line.
    """
    table = Path(path)
    if not table.is_file():
        raise PreparationError(
            f"--names {printable(path)}: expected {', '.join(NAME_MODES)} or a table "
            f"{','.join(NAMES_HEADER[:2])}"
        )
    by_name: dict[str, list[str]] = {}
    for video in videos:
        for known in {video.label, video.path.name}:
            by_name.setdefault(known, []).append(video.label)
    result: dict[str, str] = {}
    facts: dict[str, PersonFacts] = {}
    for line, (cell, name, gender, nationality, age) in read_table_rows(
        table, NAMES_HEADER, ",", num_optional=3
    ):
        where = f"{printable(table)}, line {line}, column "
        labels = by_name.get(cell, [])
        if cell in labels:
            labels = [cell]
        if len(labels) > 1:
            raise IdentityError(f"{where}1 (video): {cell!r} is in several folders: {', '.join(labels)}")
        if name:
            parse_folder_name(name, f"{where}2 (name)")
        parse_gender(gender, f"{where}3 (gender)", optional=True)
        if age and not re.fullmatch(r"\d{1,3}(\.\d+)?", age):
            raise IdentityError(f"{where}5 (age): {age!r}, expected years")
        for label in labels:
            if result.setdefault(label, name) != name:
                raise IdentityError(f"{where}2 (name): {cell} is {result[label]!r} before and {name!r} here")
        if name:
            new = PersonFacts(gender, nationality, float(age) if age else None)
            old = facts.get(name, PersonFacts())
            facts[name] = PersonFacts(
                new.gender or old.gender,
                new.nationality or old.nationality,
                old.age if new.age is None else new.age,
            )
    if not result:
        raise IdentityError(
            f"{printable(table)}: names none of the {len(videos)} videos; expected names such as "
            f"{printable(videos[0].label)}"
        )
    return result, facts


class DigestCache:
    """SHA-256 of files, computed again only where size or time of change differ.

    Args:
        path: JSON file that keeps them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            stored = json.loads(path.read_text("utf-8"))
            self._known = {str(key): tuple(value) for key, value in stored.items()}
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            self._known = {}

    def digest(self, file: Path) -> str:
        """Digest of a file.

        Raises:
            OSError: it cannot be read.
        """
        status = file.stat()
        state = (status.st_size, status.st_mtime_ns)
        key = os.path.realpath(file).encode("utf-8", "backslashreplace").decode()
        found = self._known.get(key)
        if found is None or len(found) != 3 or found[:2] != state:
            found = self._known[key] = (*state, compute_sha256(file))
        return str(found[2])

    def save(self) -> None:
        """Write the file."""
        write_text(self.path, json.dumps(dict(sorted(self._known.items()))) + "\n")
