"""Small shards for tests."""

import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path

from voiceface.io.shard_index import INDEX_SUFFIX, ShardIndex
from voiceface.io.tar_members import END_OF_ARCHIVE, make_header, padding_of

__all__ = ["write_shard"]


def write_shard(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write a tar archive of files with its index."""
    blocks: list[bytes] = []
    offsets: list[int] = []
    place = 0
    for name, data in files.items():
        header = make_header(name, len(data))
        offsets.append(place + len(header))
        blocks += [header, data, bytes(padding_of(len(data)))]
        place += sum(map(len, blocks[-3:]))
    archive = b"".join(blocks) + END_OF_ARCHIVE
    path.write_bytes(archive)
    index = ShardIndex(
        list(files),
        offsets,
        [len(data) for data in files.values()],
        [zlib.crc32(data) for data in files.values()],
        len(archive),
        hashlib.sha256(archive).hexdigest(),
    )
    path.with_name(path.name + INDEX_SUFFIX).write_bytes(index.to_bytes())
    return path
