"""Readers of shards for the fuzz session: archives with and without their index, indices, records."""

import hashlib
import io
import json
import tarfile
import zlib
from pathlib import Path
from typing import Any

from reader import Reader
from voiceface.io.shard_folders import RECORD_FORMAT, read_record
from voiceface.io.shard_index import ShardIndex
from voiceface.io.shards import ShardError, open_shard
from voiceface.io.tar_members import END_OF_ARCHIVE, make_header, padding_of

__all__ = ["build_shard_readers"]

FILES = {
    "wav/a/1.wav": bytes(range(256)) * 3,
    "wav/a/1.json": b'{"identity": "a"}',
    "wav/" + "long/" * 30 + "2.wav": b"second" * 100,
    "faces/\u00c9va/1.jpg": b"",
}


def build_shard_readers() -> dict[str, Reader]:
    """Readers by name."""
    archive, index = _build()

    def read_indexed(path: Path) -> Any:
        path.with_name(f"{path.name}.index").write_bytes(index)
        return list(open_shard(path).iterate())

    def read_by_index(path: Path) -> Any:
        path.with_name("x.tar").write_bytes(archive)
        with open_shard(path.with_name("x.tar")) as shard:
            return list(shard.iterate())

    def read_plain(path: Path) -> Any:
        path.with_name(f"{path.name}.index").unlink(missing_ok=True)
        return list(open_shard(path).iterate())

    record = {"format": RECORD_FORMAT, "samples": 3, "shards": [{"name": "train-000000.tar", "bytes": 9}]}
    errors = (ShardError,)
    return {
        "shard": Reader("x.tar", lambda p: p.write_bytes(archive), read_indexed, errors, True),
        "shard (index)": Reader("x.tar.index", lambda p: p.write_bytes(index), read_by_index, errors, True),
        "shard (of others)": Reader("y.tar", _write_with_tarfile, read_plain, errors),
        "shard (record)": Reader(
            "shards.json", lambda p: p.write_text(json.dumps(record)), lambda p: read_record(p.parent), errors
        ),
    }


def _build() -> tuple[bytes, bytes]:
    """Bytes of an archive and of its index."""
    blocks = b""
    offsets = []
    for name, data in FILES.items():
        blocks += make_header(name, len(data))
        offsets.append(len(blocks))
        blocks += data + bytes(padding_of(len(data)))
    archive = blocks + END_OF_ARCHIVE
    lengths, checksums = [len(data) for data in FILES.values()], [zlib.crc32(data) for data in FILES.values()]
    digest = hashlib.sha256(archive).hexdigest()
    return archive, ShardIndex(list(FILES), offsets, lengths, checksums, len(archive), digest).to_bytes()


def _write_with_tarfile(path: Path) -> None:
    """Write an archive as GNU tar does, with folders."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        folder = tarfile.TarInfo("wav")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
