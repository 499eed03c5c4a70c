"""Writing the shards of a plan: the same bytes for the same files, with any number of workers, resumable."""

import hashlib
import json
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

from voiceface.datasets.packing.plan import DESCRIPTION_SUFFIX, PackError, PackPlan, ShardPlan
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import digest_file, open_regular_file
from voiceface.io.locations import (
    is_url,
    join_location,
    list_location,
    location_exists,
    modified_time,
    read_location,
    remove_location,
    write_bytes_to,
    write_file,
)
from voiceface.io.shard_folders import MAX_RECORD_BYTES, RECORD_FILE, RECORD_FORMAT, UNFINISHED_FILE
from voiceface.io.shard_index import INDEX_SUFFIX, ShardIndex
from voiceface.io.shards import MAX_INDEX_BYTES
from voiceface.io.tar_members import END_OF_ARCHIVE, make_header, padding_of
from voiceface.runtime.progress import progress_bar

__all__ = ["write_packed"]

SCRATCH_FOLDER = ".part"
BLOCK_BYTES = 2**22
_OWN_NAME = re.compile(r"(train|val|test|other)-\d{6}\.tar(\.index)?")


def write_packed(
    plan: PackPlan, out: str | Path, *, workers: int = 2, progress: bool = True
) -> dict[str, Any]:
    """Write the shards of a plan, their indices, the plain files and `shards.json`.

    Every file appears under its name when it is complete. Shards that are there, of the same files and not
    older than them, are kept: a run that was stopped continues. Archives of an earlier plan that this one
    does not have are removed at the end.

    Args:
        plan: see `plan_packing`.
        out: folder, or an address that fsspec can write.
        workers: threads; the result does not depend on it.
        progress: show a bar.

    Returns:
        Content of `shards.json`.

    Raises:
        PackError: `out` holds other files, or a file changed meanwhile.
        OSError: reading or writing failed.
    """
    place = str(out)
    present = list_location(place)
    if present and not {RECORD_FILE, UNFINISHED_FILE} & present:
        raise PackError(
            f"{printable(place)} holds other files, expected a new or empty folder, or one of this command"
        )
    if not is_url(place) and Path(place).resolve().is_relative_to(plan.root.resolve()):
        raise PackError(f"{printable(place)} lies in the data folder {plan.root}; choose another --out")
    same_source = _read_source(place, present) == plan.source
    unfinished = {"format": RECORD_FORMAT, "source": plan.source}
    write_bytes_to(json.dumps(unfinished).encode(), join_location(place, UNFINISHED_FILE))
    if RECORD_FILE in present:  # readers must not see a mixture of two runs
        remove_location(join_location(place, RECORD_FILE))
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        jobs = pool.map(lambda shard: _write_shard(plan.root, shard, place, same_source), plan.shards)
        total = len(plan.shards)
        with progress_bar(jobs, "shards", "shard", total=total, enabled=progress) as bar:
            records = list(bar)
        plain = list(pool.map(lambda name: _write_plain(plan.root, name, place), plan.plain_files))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if not is_url(place):
            shutil.rmtree(Path(place) / SCRATCH_FOLDER, ignore_errors=True)
    content = {
        "format": RECORD_FORMAT,
        "samples": sum(each["samples"] for each in records),
        "shards": records,
        "plain_files": plain,
        "source": plan.source,
    }
    data = (json.dumps(content, indent=1, ensure_ascii=True) + "\n").encode()
    write_bytes_to(data, join_location(place, RECORD_FILE))
    used = {name for each in records for name in (each["name"], each["name"] + INDEX_SUFFIX)}
    for name in sorted(present - used):
        if _OWN_NAME.fullmatch(name):
            remove_location(join_location(place, name))
    remove_location(join_location(place, UNFINISHED_FILE))
    return content


def _read_source(place: str, present: set[str]) -> str:
    """Source of what was packed to a place before."""
    name = RECORD_FILE if RECORD_FILE in present else UNFINISHED_FILE
    if name not in present:
        return ""
    try:
        return str(json.loads(read_location(join_location(place, name), MAX_RECORD_BYTES))["source"])
    except (ValueError, KeyError, TypeError):  # damaged: nothing is kept
        return "unknown"


def _write_shard(root: Path, shard: ShardPlan, place: str, same_source: bool) -> dict[str, Any]:
    """Write one shard and its index, unless they are there; its entry in `shards.json`."""
    target = join_location(place, shard.name)
    index = _find_finished(root, shard, target) if same_source else None
    if index is None:
        with tempfile.TemporaryDirectory(prefix="voiceface-pack-", dir=_scratch_folder(place)) as folder:
            archive = Path(folder) / shard.name
            with archive.open("wb") as file:
                index = _fill(root, shard, file)
            write_file(archive, target)
        write_bytes_to(index.to_bytes(), target + INDEX_SUFFIX)
    return {
        "name": shard.name,
        "split": shard.split,
        "samples": index.num_samples,
        "files": index.num_files,
        "bytes": index.archive_size,
        "sha256": index.archive_sha256,
    }


def _scratch_folder(place: str) -> str | None:
    """Folder for archives that are being written: on the disk of the target, so that renaming is enough."""
    if is_url(place):
        return None
    folder = Path(place) / SCRATCH_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def _find_finished(root: Path, shard: ShardPlan, target: str) -> ShardIndex | None:
    """Index of a shard that was written before from the same files; None if it is to be written."""
    try:
        if not location_exists(target) or not location_exists(target + INDEX_SUFFIX):
            return None
        index = ShardIndex.from_bytes(read_location(target + INDEX_SUFFIX, MAX_INDEX_BYTES))
        written, size = modified_time(target)
        members = [member for sample in shard.samples for member in sample.members]
        found = zip(index.names, index.lengths)
        if size != index.archive_size or len(members) != index.num_files:
            return None
        if any(one[0] != two[0] or (two[1] >= 0 and one[1] != two[1]) for one, two in zip(found, members)):
            return None
        for sample in shard.samples:
            row = index.rows.get(sample.key + DESCRIPTION_SUFFIX)
            if sample.description and index.checksums[row] != zlib.crc32(sample.description):  # type: ignore[index]
                return None
        sources = (root / name for sample in shard.samples for name, size in sample.files if size >= 0)
        is_older = written is not None and any(path.stat().st_mtime > written for path in sources)
        return None if is_older else index
    except (ValueError, FileNotFoundError):  # damaged by others
        return None


def _fill(root: Path, shard: ShardPlan, file: BinaryIO) -> ShardIndex:
    """Write an archive."""
    digest = hashlib.sha256()
    place = 0

    def put(data: bytes) -> None:
        nonlocal place
        file.write(data)
        digest.update(data)
        place += len(data)

    names: list[str] = []
    numbers: list[tuple[int, int, int]] = []
    for sample in shard.samples:
        sources = [(name, size, _blocks(root / name)) for name, size in sample.files]
        sources += [(name, size, iter([sample.description])) for name, size in sample.members[len(sources) :]]
        for name, size, blocks in sources:
            if size < 0:
                data = b"".join(blocks)
                size, blocks = len(data), iter([data])
            put(make_header(name, size))
            start, checksum = place, 0
            for block in blocks:
                checksum = zlib.crc32(block, checksum)
                put(block)
            if place - start != size:
                raise PackError(f"{root / name} changed while it was packed; run the command again")
            names.append(name)
            numbers.append((start, size, checksum))
            put(bytes(padding_of(size)))
    put(END_OF_ARCHIVE)
    offsets, lengths, checksums = zip(*numbers)
    return ShardIndex(names, offsets, lengths, checksums, place, digest.hexdigest())


def _blocks(path: Path) -> Iterator[bytes]:
    """Content of a file, block by block."""
    with open_regular_file(path, PackError, "a recording or a picture") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _write_plain(root: Path, name: str, place: str) -> dict[str, Any]:
    """Copy a file that stays a file; its entry in `shards.json`."""
    source = root / name
    with tempfile.TemporaryDirectory(prefix="voiceface-pack-") as folder:
        copied = Path(folder) / "file"
        with open_regular_file(source, PackError, "a file") as file, copied.open("wb") as target:
            shutil.copyfileobj(file, target)
        entry = {"name": name, "bytes": copied.stat().st_size, "sha256": digest_file(copied)}
        write_file(copied, join_location(place, name))
    return entry
