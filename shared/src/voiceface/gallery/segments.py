"""Segments of an exact gallery: files of vectors, names and metadata that are written once and memory-mapped.

A segment NAME has four files: `NAME.vectors.npy` (N, D) float32; `NAME.text.npy`, the UTF-8 bytes of item and
metadata (JSON) of each row, one after the other; `NAME.offsets.npy` (2N + 1,), where these begin; and
`NAME.hashes.npy` (2, N), the sorted hashes of the items and their rows.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.gallery.interface import GalleryError, Vectors
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import reading

__all__ = ["PARTS", "Segment", "hash_items", "write_array", "write_segment"]

PARTS = ("vectors", "text", "offsets", "hashes")


@dataclass(frozen=True, eq=False)
class Segment:
    """One segment, its files memory-mapped.

    Attributes:
        name: first part of its file names.
        vectors: (N, D) float32, unit rows.
        text: (M,) uint8.
        offsets: (2N + 1,) int64.
        hashes: (2, N) int64, sorted hashes and their rows.
        digests: SHA-256 of the files, by part.
    """

    name: str
    vectors: Vectors
    text: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    hashes: NDArray[np.int64]
    digests: dict[str, str]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.vectors)

    @classmethod
    def open(cls, folder: Path, record: Any, dimension: int) -> "Segment":
        """Map the files of a segment.

        Args:
            folder: folder of the files.
            record: `to_values` of the segment.
            dimension: length D of its vectors.

        Raises:
            GalleryError: a file is missing, of another size than stated, or names and hashes are damaged. The
                digest of the vectors is left to `verify`.
        """
        try:
            name, count, digests = str(record["name"]), int(record["rows"]), dict(record["sha256"])
            size = int(record["text_bytes"])
            if not name.isalnum() or set(digests) != set(PARTS):
                raise ValueError("names of files")
        except (TypeError, KeyError, ValueError) as error:
            raise GalleryError(f"{printable(folder)}: a segment is described wrongly ({error})") from None
        shapes = {
            "vectors": ((count, dimension), np.float32),
            "text": ((size,), np.uint8),
            "offsets": ((2 * count + 1,), np.int64),
            "hashes": ((2, count), np.int64),
        }
        arrays = {}
        for part, (shape, kind) in shapes.items():
            arrays[part] = _map_array(folder / f"{name}.{part}.npy", shape, np.dtype(kind))
        segment = cls(name, **arrays, digests=digests)
        for part in PARTS[1:]:
            segment._check_digest(folder, part)
        return segment

    def verify(self, folder: Path) -> None:
        """Compare the digests of all files.

        Raises:
            GalleryError: a file has changed; names it.
        """
        for part in PARTS:
            self._check_digest(folder, part)

    def _check_digest(self, folder: Path, part: str) -> None:
        if _digest(getattr(self, part)) != self.digests[part]:
            file = folder / f"{self.name}.{part}.npy"
            raise GalleryError(
                f"{printable(file)} is damaged: its SHA-256 differs from the one of the index; build the "
                "gallery again"
            )

    def to_values(self) -> dict[str, Any]:
        """Plain values, for the index."""
        return {
            "name": self.name,
            "rows": len(self),
            "text_bytes": len(self.text),
            "sha256": self.digests,
        }

    def item(self, row: int) -> str:
        """Name of a row."""
        return self._text(2 * row)

    def metadata(self, row: int) -> dict[str, Any]:
        """Metadata of a row."""
        text = self._text(2 * row + 1)
        return json.loads(text) if text else {}

    def find(self, items: Sequence[str], hashes: NDArray[np.int64]) -> dict[str, list[int]]:
        """Rows that have the given names: item -> rows, for those that are there.

        Args:
            items: N names.
            hashes: `hash_items` of them.
        """
        known, rows = self.hashes
        first = np.searchsorted(known, hashes, side="left")
        last = np.searchsorted(known, hashes, side="right")
        found: dict[str, list[int]] = {}
        for index in np.flatnonzero(last > first).tolist():
            same = [int(row) for row in rows[first[index] : last[index]] if self.item(row) == items[index]]
            if same:
                found[items[index]] = same
        return found

    def _text(self, index: int) -> str:
        begin, end = self.offsets[index], self.offsets[index + 1]
        return self.text[begin:end].tobytes().decode()


def write_segment(
    folder: Path, vectors: Vectors, items: Sequence[str], metadata: Sequence[dict[str, Any]]
) -> Segment:
    """Write the files of a new segment and synchronise them with the disk.

    Nothing refers to them yet: a crash leaves files that the next change of the gallery removes.

    Args:
        folder: where to write.
        vectors: (N, D), unit rows.
        items: N names.
        metadata: N mappings.

    Raises:
        OSError: the disk is full or the folder cannot be written; names the file.
    """
    texts: list[bytes] = []
    for item, values in zip(items, metadata):
        texts.append(item.encode())
        texts.append(json.dumps(values, sort_keys=True).encode() if values else b"")
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    hashes = hash_items(items)
    order = np.argsort(hashes, kind="stable")
    arrays: dict[str, NDArray[Any]] = {
        "vectors": np.ascontiguousarray(vectors, np.float32),
        "text": np.frombuffer(b"".join(texts), np.uint8),
        "offsets": np.concatenate([np.zeros(1, np.int64), lengths.cumsum()]),
        "hashes": np.stack([hashes[order], order]),
    }
    name = os.urandom(8).hex()
    for part in PARTS:
        write_array(folder / f"{name}.{part}.npy", arrays[part])
    record = {
        "name": name,
        "rows": len(items),
        "text_bytes": len(arrays["text"]),
        "sha256": {part: _digest(array) for part, array in arrays.items()},
    }
    return Segment.open(folder, record, vectors.shape[1])


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an .npy file and synchronise it.

    Raises:
        OSError: names the file; nothing of it stays.
    """
    try:
        with path.open("wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(error.errno, f"could not write {path}: {error.strerror or error}") from error


def hash_items(items: Sequence[str]) -> NDArray[np.int64]:
    """Hashes of names, 64 bits of BLAKE2b each."""
    parts = [hashlib.blake2b(item.encode(), digest_size=8).digest() for item in items]
    return np.frombuffer(b"".join(parts), np.dtype("<i8")).astype(np.int64)


def _map_array(path: Path, shape: tuple[int, ...], kind: np.dtype[Any]) -> NDArray[Any]:
    """Map a file; changes would stay in memory."""
    try:
        with reading(path, GalleryError, "an array of a gallery", remedy="build the gallery again"):
            array = np.load(path, mmap_mode="c" if shape[0] else None, allow_pickle=False)
    except FileNotFoundError:
        raise GalleryError(
            f"{printable(path)} is missing, and the index of the gallery names it; build the gallery again"
        ) from None
    if array.shape != shape or array.dtype != kind:
        raise GalleryError(
            f"{printable(path)} holds {array.dtype} {array.shape}, the index states {kind} {shape}; build "
            "the gallery again"
        )
    return np.asarray(array)


def _digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
