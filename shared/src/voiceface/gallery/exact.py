"""Exact galleries: a folder of memory-mapped segments, and an index file that names those that count.

`add` writes a new segment, then the index under a temporary name, and renames it: a crash leaves the old
state or the new one. Small segments are joined with new ones, so that their number grows with the logarithm
of the rows. Removed rows are masked until `save` writes their segments anew.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voiceface.gallery.index_file import INDEX_FILE, read_index, require_new_folder, write_index
from voiceface.gallery.interface import Found, Gallery, GalleryError, GalleryFacts, Metadata, Vectors
from voiceface.gallery.segments import Segment, hash_items, write_segment
from voiceface.io.atomic import write_json
from voiceface.io.file_kinds import printable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ExactGallery"]

JOINED_BYTES = 64 * 2**20  # segments of more are not joined with new ones


class ExactGallery(Gallery):
    """Vectors in a folder, searched completely.

    Several processes may read; one at a time changes it, and the others wait. A reader keeps the state in
    which it has opened the gallery.
    """

    engine: ClassVar[str] = "exact"

    def __init__(self, folder: Path) -> None:
        """Open the gallery in a folder.

        Raises:
            FileNotFoundError: no gallery is there.
            GalleryError: it is damaged, or of another engine.
        """
        self.folder = folder
        self._segments: list[Segment] = []
        self.place = printable(folder)
        self._read()

    @classmethod
    def create(cls, folder: Path, facts: GalleryFacts) -> Self:
        """Create an empty gallery in a folder that is new or empty.

        Raises:
            GalleryError: there is something already.
        """
        require_new_folder(folder)
        write_index(folder, facts, segments=[], removed=[])
        return cls(folder)

    def __len__(self) -> int:
        """Number of items."""
        return self.num_rows - len(self._removed)

    @property
    def num_rows(self) -> int:
        """Number of stored rows, removed ones included."""
        return int(self._starts[-1])

    def add(
        self, items: Sequence[str], vectors: ArrayLike, metadata: Sequence[Metadata] | None = None
    ) -> None:
        """See `Gallery.add`; what other processes have done since counts."""
        self._refresh()
        super().add(items, vectors, metadata)

    def remove(self, items: Iterable[str]) -> None:
        """See `Gallery.remove`; what other processes have done since counts."""
        self._refresh()
        super().remove(items)

    def describe(self) -> dict[str, str | int | float]:
        """See `Gallery.describe`."""
        files = [path for path in self.folder.iterdir() if path.is_file()]
        return {
            "removed rows on disk": len(self._removed),
            "segments": len(self._segments),
            "bytes": sum(path.stat().st_size for path in files),
        }

    def verify(self) -> None:
        """Compare the digests of all files.

        Raises:
            GalleryError: a file has changed; names it.
        """
        for segment in self._segments:
            segment.verify(self.folder)

    def save(self) -> None:
        """Write segments with removed rows anew, without them."""
        with self._changing():
            if len(self._removed):
                alive = self._alive()
                segments = []
                for start, segment in zip(self._starts, self._segments):
                    keep = np.flatnonzero(alive[start : start + len(segment)])
                    if len(keep) == len(segment):
                        segments.append(segment)
                    elif len(keep):
                        segments.append(self._rewrite([(segment, keep)]))
                self._commit(segments, np.empty(0, np.int64))

    def close(self) -> None:
        """Unmap the files; they are unmapped when nothing refers to them."""
        self._segments = []
        self._set([], np.empty(0, np.int64))

    def _find_known(self, items: Sequence[str]) -> list[str]:
        rows = self._rows_of(items)
        return [item for item in items if item in rows]

    def _get(self, items: list[str]) -> tuple[Vectors, list[Metadata]]:
        rows = self._rows_of(items)
        places = [self._locate(rows[item]) for item in items]
        vectors = np.stack([segment.vectors[row] for segment, row in places])
        return vectors, [segment.metadata(row) for segment, row in places]

    def _add(self, items: list[str], vectors: Vectors, metadata: list[dict[str, Any]]) -> None:
        with self._changing():
            if known := self._find_known(items):  # by another process, since they were checked
                raise GalleryError(f"{printable(known[0])} is in {self.place} already; remove it first")
            joined, total = len(self._segments), vectors.nbytes
            while joined > self._first_joinable() and self._segments[joined - 1].vectors.nbytes <= min(
                total, JOINED_BYTES
            ):
                joined -= 1
                total += self._segments[joined].vectors.nbytes
            start, alive = int(self._starts[joined]), self._alive()
            old = [
                (segment, np.flatnonzero(alive[begin : begin + len(segment)]))
                for segment, begin in zip(self._segments[joined:], self._starts[joined:])
            ]
            segment = self._rewrite(old, (items, vectors, metadata))
            self._commit([*self._segments[:joined], segment], self._removed[self._removed < start])

    def _remove(self, items: list[str]) -> None:
        with self._changing():
            rows = self._rows_of(items)
            now = np.fromiter((rows[item] for item in items if item in rows), np.int64)
            self._commit(self._segments, np.union1d(self._removed, now))

    def _search(self, queries: Vectors, top: int) -> list[list[Found]]:
        import torch

        from voiceface.metrics.nearest import nearest_rows

        scores, rows = nearest_rows(torch.from_numpy(queries), self._parts(), top, self._alive_tensor())
        return self._found(scores, rows)

    def _first_joinable(self) -> int:
        """The first segment that may be joined with new rows."""
        return 0

    def _rewrite(
        self,
        old: Sequence[tuple[Segment, NDArray[np.int64]]],
        new: tuple[list[str], Vectors, list[dict[str, Any]]] | None = None,
    ) -> Segment:
        """Write rows of segments, and new ones, as one segment."""
        items, vectors, metadata = new or ([], np.empty((0, self.facts.dimension), np.float32), [])
        names = [[segment.item(row) for row in rows] for segment, rows in old]
        values = [[segment.metadata(row) for row in rows] for segment, rows in old]
        return write_segment(
            self.folder,
            np.concatenate([*(segment.vectors[rows] for segment, rows in old), vectors]),
            [*chain.from_iterable(names), *items],
            [*chain.from_iterable(values), *metadata],
        )

    def _parts(self) -> "list[Tensor]":
        import torch

        return [torch.from_numpy(segment.vectors) for segment in self._segments]

    def _alive(self) -> NDArray[np.bool_]:
        alive = np.ones(self.num_rows, bool)
        alive[self._removed] = False
        return alive

    def _alive_tensor(self) -> "Tensor | None":
        import torch

        return torch.from_numpy(self._alive()) if len(self._removed) else None

    def _found(self, scores: "Tensor", rows: "Tensor") -> list[list[Found]]:
        """Results for rows and their scores; those of minus infinity are left out."""
        results = []
        for line_scores, line_rows in zip(scores.tolist(), rows.tolist()):
            places = [(score, *self._locate(row)) for score, row in zip(line_scores, line_rows) if score > -2]
            results.append(
                [Found(segment.item(row), score, segment.metadata(row)) for score, segment, row in places]
            )
        return results

    def _rescore(self, queries: Vectors, rows: NDArray[np.int64], top: int) -> list[list[Found]]:
        """Results of candidates (Q, K), -1 for none."""
        import torch

        from voiceface.metrics.nearest import rescore

        return self._found(*rescore(torch.from_numpy(queries), self._parts(), torch.from_numpy(rows), top))

    def _locate(self, row: int) -> tuple[Segment, int]:
        index = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._segments[index], row - int(self._starts[index])

    def _rows_of(self, items: Sequence[str]) -> dict[str, int]:
        """Row of each item that is there and not removed."""
        hashes = hash_items(items)
        removed = set(self._removed.tolist())
        found: dict[str, int] = {}
        for start, segment in zip(self._starts, self._segments):
            for item, rows in segment.find(items, hashes).items():
                alive = [int(start) + row for row in rows if int(start) + row not in removed]
                found |= {item: alive[0]} if alive else {}
        return found

    def _read(self) -> None:
        """Read the index and map the segments; another process may be changing them."""
        for attempt in range(5):
            self._index = read_index(self.folder)
            self.facts = GalleryFacts.from_values(self._index, printable(self.folder / INDEX_FILE))
            if self.facts.engine != self.engine:
                raise GalleryError(f"{self.place} is a gallery of the engine {self.facts.engine}")
            records: Any = self._index.get("segments")
            removed: Any = self._index.get("removed")
            if not _is_list_of(dict, records) or not _is_list_of(int, removed):
                raise GalleryError(
                    f"{self.place}/{INDEX_FILE} has no list of segments or of removed rows; build the "
                    "gallery again"
                )
            known = {segment.name: segment for segment in self._segments}
            try:
                segments = [
                    known.get(record.get("name")) or Segment.open(self.folder, record, self.facts.dimension)
                    for record in records
                ]
                break
            except GalleryError:
                if attempt == 4 or read_index(self.folder) == self._index:
                    raise
        if removed and not 0 <= min(removed) <= max(removed) < sum(map(len, segments)):
            raise GalleryError(f"{self.place}/{INDEX_FILE} removes rows that are not there")
        self._set(segments, np.array(removed, np.int64))

    def _set(self, segments: list[Segment], removed: NDArray[np.int64]) -> None:
        self._segments = segments
        self._starts = np.cumsum([0, *map(len, segments)])
        self._removed = removed

    def _commit(self, segments: list[Segment], removed: NDArray[np.int64], **more: Any) -> None:
        """Write the index and take the new state; then files that it does not name are removed."""
        records = [segment.to_values() for segment in segments]
        index = {**self._index, "segments": records, "removed": removed.tolist(), **more}
        write_json(self.folder / INDEX_FILE, index)
        _synchronise(self.folder)
        self._index = index
        self._set(segments, removed)
        self._clean()

    def _clean(self) -> None:
        """Remove files of segments that the index does not name, of earlier states or of a crash."""
        named = {segment.name for segment in self._segments}
        for path in self.folder.glob("*.npy"):
            if path.name.partition(".")[0] not in named:
                path.unlink(missing_ok=True)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the gallery alone, in its newest state; other processes wait."""
        with (self.folder / "lock").open("a") as file:
            if os.name == "posix":
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            self._refresh()
            yield

    def _refresh(self) -> None:
        """Take the newest state."""
        if read_index(self.folder) != self._index:
            self._read()


def _is_list_of(kind: type, values: Any) -> bool:
    return isinstance(values, list) and all(type(each) is kind for each in values)


def _synchronise(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
