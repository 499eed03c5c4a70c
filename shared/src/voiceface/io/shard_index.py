"""Index of a shard: where the files of a tar archive are, with their checksums.

The file is 64 bytes of header (magic, counts, CRC-32 of the rest, size and SHA-256 of the archive) and arrays
of little-endian numbers: place, length and CRC-32 of every file, the first file of every sample, and the
names, one behind another. It is read by one system call and kept as it is: opening a shard of a million files
takes milliseconds.
"""

import re
import struct
import zlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from voiceface.io.tar_members import MAX_MEMBER_BYTES, TarMember, find_name_fault

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["INDEX_SUFFIX", "ShardIndex", "split_key"]

INDEX_SUFFIX = ".index"
_MAGIC = b"VFSHARD1"
_HEADER = struct.Struct(
    "<8sIIQ32sII"
)  # magic, CRC-32, files, bytes and SHA-256 of the archive, samples, names


def split_key(name: str) -> tuple[str, str]:
    """Key and extension of a file as in WebDataset: the extension begins at the first dot of the last part.

    Example:
        >>> split_key("wav/id1/00001.seg.wav")
        ('wav/id1/00001', 'seg.wav')
    """
    found = re.fullmatch(r"((?:.*/)?[^/.][^/.]*)\.([^/]*)", name)
    return (found[1], found[2]) if found else (name, "")


class ShardIndex:
    """Files of one archive, in its order.

    Args:
        names: of the files; neighbours with one key are one sample.
        offsets: first byte of every file, (N,).
        lengths: in bytes, (N,).
        checksums: CRC-32, (N,); None: not known.
        archive_size: in bytes.
        archive_sha256: 64 hexadecimal digits; "": not known.

    Attributes:
        num_files: N.
        num_samples: S.
        offsets, lengths, checksums: memory views of integers.
        starts: first file of every sample and N, (S + 1,).
    """

    def __init__(
        self,
        names: Sequence[str],
        offsets: "Sequence[int] | NDArray[Any]",
        lengths: "Sequence[int] | NDArray[Any]",
        checksums: "Sequence[int] | NDArray[Any] | None",
        archive_size: int,
        archive_sha256: str = "",
    ) -> None:
        import numpy as np

        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        keys = [split_key(name)[0] for name in names]
        starts = [row for row, key in enumerate(keys) if not row or key != keys[row - 1]]
        self._fill(
            np.asarray(offsets, np.uint64),
            np.asarray(lengths, np.uint64),
            None if checksums is None else np.asarray(checksums, np.uint32),
            np.array([*starts, len(keys)], np.uint32),
            np.cumsum([0, *map(len, encoded)], dtype=np.uint32),
            b"".join(encoded),
        )
        self.archive_size, self.archive_sha256 = archive_size, archive_sha256

    def _fill(
        self,
        offsets: "NDArray[Any]",
        lengths: "NDArray[Any]",
        checksums: "NDArray[Any] | None",
        starts: "NDArray[Any]",
        ends: "NDArray[Any]",
        text: bytes,
    ) -> None:
        """Set the arrays."""
        self.num_files, self.num_samples = len(offsets), len(starts) - 1
        self.offsets, self.lengths = offsets.data, lengths.data
        self.checksums = None if checksums is None else checksums.data
        self.starts, self._ends, self._text = starts.data, ends.data, text

    @classmethod
    def from_members(cls, members: Sequence[TarMember], archive_size: int) -> "ShardIndex":
        """Index of an archive without checksums, from its headers."""
        names, offsets, lengths = zip(*members) if members else ((), (), ())
        return cls(names, offsets, lengths, None, archive_size)

    @classmethod
    def from_bytes(cls, data: bytes) -> "ShardIndex":
        """Read the bytes of an index file.

        Raises:
            ValueError: damaged, truncated, of another kind, or of files that cannot be in such an archive.
        """
        if data[:8] != _MAGIC or len(data) < _HEADER.size:
            raise ValueError(f"it begins with {data[:8]!r}, expected {_MAGIC!r}")
        _, checksum, files, size, digest, samples, text_bytes = _HEADER.unpack_from(data)
        expected = _HEADER.size + files * 24 + (samples + 1) * 4 + text_bytes + 4
        if len(data) != expected:
            raise ValueError(f"it has {len(data):,} bytes, expected {expected:,}")
        if zlib.crc32(data[12:]) != checksum:
            raise ValueError("its checksum is wrong")
        import numpy as np

        place = _HEADER.size

        def take(kind: str, count: int) -> "NDArray[Any]":
            nonlocal place
            found = np.frombuffer(data, kind, count, place)
            place += found.nbytes
            return found

        offsets, lengths = take("<u8", files), take("<u8", files)
        checksums, ends = take("<u4", files), take("<u4", files + 1)
        starts = take("<u4", samples + 1)
        index = cls.__new__(cls)
        index._fill(offsets, lengths, checksums, starts, ends, data[place:])
        index.archive_size, index.archive_sha256 = size, digest.hex()
        index._check(offsets, lengths, starts, ends)
        return index

    def to_bytes(self) -> bytes:
        """Bytes of the index file: the same for the same archive.

        Raises:
            ValueError: checksums are not known.
        """
        if self.checksums is None:
            raise ValueError("an index without checksums is not written")
        views = (self.offsets, self.lengths, self.checksums, self._ends, self.starts)
        body = b"".join(view.tobytes() for view in views) + self._text
        digest = bytes.fromhex(self.archive_sha256)
        parts = (self.num_files, self.archive_size, digest, self.num_samples, len(self._text))
        header = _HEADER.pack(_MAGIC, 0, *parts)
        return header[:8] + zlib.crc32(header[12:] + body).to_bytes(4, "little") + header[12:] + body

    def name(self, row: int) -> str:
        """Name of a file."""
        return self._text[self._ends[row] : self._ends[row + 1]].decode("utf-8", "surrogateescape")

    @cached_property
    def names(self) -> list[str]:
        """Names of all files."""
        return [self.name(row) for row in range(self.num_files)]

    @cached_property
    def rows(self) -> dict[str, int]:
        """Name -> number of the file."""
        return {name: row for row, name in enumerate(self.names)}

    def key(self, sample: int) -> str:
        """Key of a sample."""
        return split_key(self.name(self.starts[sample]))[0]

    @cached_property
    def keys(self) -> list[str]:
        """Keys of all samples."""
        return [self.key(sample) for sample in range(self.num_samples)]

    def _check(
        self, offsets: "NDArray[Any]", lengths: "NDArray[Any]", starts: "NDArray[Any]", ends: "NDArray[Any]"
    ) -> None:
        """Check what comes from outside; checksums can be made by anybody."""
        sizes_fit = bool((lengths <= MAX_MEMBER_BYTES).all() and (offsets <= self.archive_size).all())
        if not sizes_fit or not (offsets + lengths <= self.archive_size).all():
            raise ValueError("a file lies beyond the end of its archive, or is too large")
        steps_fit = bool((ends[1:] > ends[:-1]).all() and (starts[1:] > starts[:-1]).all())
        bounds = (int(ends[0]), int(ends[-1]), int(starts[0]), int(starts[-1]))
        if not steps_fit or bounds != (0, len(self._text), 0, self.num_files):
            raise ValueError("its names or samples are out of order")
        for name in self.names:
            if fault := find_name_fault(name):
                raise ValueError(f"the name {name!r} is refused: {fault}")
        if len(self.rows) != self.num_files:
            raise ValueError("two files have one name")
