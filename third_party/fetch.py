"""Outside files: what there is, whether a placed file is right, and download where an address is known.

    python third_party/fetch.py list
    python third_party/fetch.py verify [NAME ...] --to DIR
    python third_party/fetch.py fetch NAME --to DIR

DIR is the folder that holds (or will hold) the files under the paths of manifest.toml. Standard library only.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

MANIFEST = Path(__file__).with_name("manifest.toml")
UNKNOWN = "unknown"


class FetchError(ValueError):
    """A name, a file or a download that cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Entry:
    """One outside file or folder; the fields are described at the top of manifest.toml."""

    name: str
    kind: str
    title: str
    file: str
    sha256: str
    bytes: int | str
    licence: str
    home: str
    address: str
    readers: tuple[str, ...]
    converter: str
    note: str = ""


def read_manifest(path: Path = MANIFEST) -> list[Entry]:
    """Entries in the order of the file.

    Raises:
        FetchError: a missing or unknown field, or a name that occurs twice.
    """
    entries: list[Entry] = []
    for i, fields in enumerate(tomllib.loads(path.read_text(encoding="utf-8")).get("entry", [])):
        values: dict[str, Any] = fields | {"readers": tuple(fields.get("readers", ()))}
        try:
            entry = Entry(**values)
        except TypeError as error:
            raise FetchError(f"{path}: entry {i + 1} ({fields.get('name', 'no name')}): {error}") from error
        if entry.name in {other.name for other in entries}:
            raise FetchError(f"{path}: the name {entry.name!r} occurs twice")
        entries.append(entry)
    return entries


def find_entry(entries: Sequence[Entry], name: str) -> Entry:
    """The entry of that name.

    Raises:
        FetchError: no such entry; names the nearest known one.
    """
    known = {entry.name: entry for entry in entries}
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "; `fetch.py list` names them all"
        raise FetchError(f"nothing is called {name!r}{hint}")
    return known[name]


def locate(entry: Entry, folder: Path) -> Path | None:
    """Where the entry lies below `folder`: its path, or its bare file name; None when neither is there."""
    if entry.file == UNKNOWN:
        return None
    places = (folder / entry.file, folder / Path(entry.file).name)
    return next((place for place in places if place.exists()), None)


def check_file(entry: Entry, folder: Path) -> tuple[str, str]:
    """Compare a placed file with what is known of it.

    Returns:
        (state, sentence). States: "right" (digest agrees), "there" (present, no digest known), "missing",
        "wrong" (size or digest differs).
    """
    place = locate(entry, folder)
    if place is None:
        where = f"expected {folder / entry.file}" if entry.file != UNKNOWN else "its file name is not known"
        return "missing", f"{where}; see {entry.home}"
    if place.is_dir():
        if entry.kind == "checkpoint":
            return "wrong", f"{place} is a folder, expected a file"
        return "there", f"{place} is a folder; `voiceface check` looks a corpus over"
    size = place.stat().st_size
    if isinstance(entry.bytes, int) and size != entry.bytes:
        return "wrong", f"{place} has {size} bytes, expected {entry.bytes}: download it again"
    found = compute_sha256(place)
    if entry.sha256 == UNKNOWN:
        return "there", f"{place}: {size} bytes, sha256 {found}; nothing to compare with"
    if found != entry.sha256:
        return "wrong", f"{place} has sha256 {found}, expected {entry.sha256}: download it again"
    return "right", f"{place}: {size} bytes, sha256 agrees"


def fetch(entry: Entry, folder: Path) -> tuple[Path, str]:
    """Download an entry to its place below `folder`; a file that is already there is checked, not replaced.

    Returns:
        (path, sha256 of the file).

    Raises:
        FetchError: no address is known, the file there is a wrong one, or the download failed.
    """
    state, sentence = check_file(entry, folder)
    if state == "wrong":
        raise FetchError(f"{entry.name}: {sentence} (the file there is left as it is)")
    place = locate(entry, folder)
    if place is not None:
        return place, compute_sha256(place) if place.is_file() else UNKNOWN
    if entry.address == UNKNOWN:
        target = folder / entry.file if entry.file != UNKNOWN else folder
        raise FetchError(
            f"{entry.name}: no stable address is known. Get it from {entry.home} (licence: {entry.licence}), "
            f"place it at {target} and run `fetch.py verify {entry.name} --to {folder}`"
        )
    target = folder / entry.file
    return target, download(entry.address, target, entry.sha256, entry.bytes)


def download(url: str, target: Path, sha256: str = UNKNOWN, size: int | str = UNKNOWN) -> str:
    """Download a file so that `target` is either whole and right, or absent.

    Args:
        url: where it comes from.
        target: where it goes; missing folders are made.
        sha256: expected digest, or "unknown".
        size: expected bytes, or "unknown".

    Returns:
        SHA-256 of what was written.

    Raises:
        FetchError: the address cannot be read, the answer is cut short, or size or digest differ.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    temporary = Path(name)
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "voiceface-fetch"})
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(request, timeout=60) as answer:
            announced = answer.headers.get("Content-Length")
            shutil.copyfileobj(answer, file, 1 << 20)
        written = temporary.stat().st_size
        for expected, meaning in ((announced, "announced"), (size, "expected")):
            if expected not in (None, UNKNOWN) and written != int(expected):
                raise FetchError(f"{url}: {written} bytes came, {expected} were {meaning}; try again")
        found = compute_sha256(temporary)
        if sha256 not in (UNKNOWN, found):
            raise FetchError(
                f"{url}: sha256 {found}, expected {sha256}: not the file that is meant, not kept"
            )
        temporary.chmod(0o644)
        temporary.replace(target)
        return found
    except (urllib.error.URLError, OSError) as error:
        raise FetchError(f"{url}: could not be downloaded to {target} ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def compute_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 done, 1 something is wrong or missing, 2 unusable command line."""
    parser = argparse.ArgumentParser(description="Outside checkpoints and data sets: list, verify, fetch.")
    commands = parser.add_subparsers(dest="command", required=True)
    lister = commands.add_parser("list", help="name everything, with licence and home page")
    lister.add_argument("--reader", help="only what this package reads")
    checker = commands.add_parser("verify", help="compare placed files with their size and digest")
    checker.add_argument("names", nargs="*", metavar="NAME", help="entries; none takes all that are there")
    checker.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder that holds the files")
    getter = commands.add_parser("fetch", help="download one file, where an address is known")
    getter.add_argument("name", metavar="NAME")
    getter.add_argument(
        "--to", type=Path, required=True, metavar="DIR", help="folder that will hold the file"
    )
    options = parser.parse_args(argv)
    try:
        entries = read_manifest()
        if options.command == "list":
            return _print_list(entries, options.reader)
        if options.command == "verify":
            return _print_states(entries, options.names, options.to)
        entry = find_entry(entries, options.name)
        print(f"{entry.title}\nlicence: {entry.licence}", file=sys.stderr)
        place, digest = fetch(entry, options.to)
        print(f"{place}\nsha256 {digest}" + (" (nothing to compare with)" if entry.sha256 == UNKNOWN else ""))
        return 0
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _print_list(entries: Sequence[Entry], reader: str | None) -> int:
    """Print every entry, or those of one package."""
    shown = [entry for entry in entries if reader is None or reader in entry.readers]
    if not shown:
        known = sorted({name for entry in entries for name in entry.readers})
        raise FetchError(f"nothing is read by {reader!r}; packages: {', '.join(known)}")
    for entry in shown:
        way = "download" if entry.address != UNKNOWN else "place it yourself"
        print(f"{entry.name}  [{entry.kind}, {way}]\n    {entry.title}\n    file     {entry.file}")
        print(f"    licence  {entry.licence}\n    home     {entry.home}")
        print(f"    read by  {', '.join(entry.readers) or 'nobody (origin of another entry)'}")
    return 0


def _print_states(entries: Sequence[Entry], names: Sequence[str], folder: Path) -> int:
    """Print the state of each named entry, or of each one that is there."""
    if not folder.is_dir():
        raise FetchError(f"{folder}: no such folder")
    chosen = [find_entry(entries, name) for name in names] or [e for e in entries if locate(e, folder)]
    if not chosen:
        print(f"no known file below {folder}")
    states = []
    for entry in chosen:
        state, sentence = check_file(entry, folder)
        states.append(state)
        print(f"{state:8}{entry.name}: {sentence}")
    return 1 if {"wrong", "missing"} & set(states) else 0


if __name__ == "__main__":
    raise SystemExit(main())
