"""Galleries with an approximate index of faiss beside the exact vectors.

The vectors, names and changes are those of an exact gallery. `save` builds the index over all rows, by size:
none below `MIN_ROWS`, where exact search is as fast; a graph (HNSW) up to `MAX_GRAPH_ROWS`; above it inverted
lists of vectors of one byte a number (IVF-SQ8). How thoroughly it searches is chosen so that the recall,
measured against exact search, reaches `TUNED_RECALL`; what was reached is stored.

Rows added after `save` are searched exactly besides the index. Candidates of the index are scored again by
their exact vectors.

Malkov and Yashunin, Efficient and robust approximate nearest neighbor search using hierarchical navigable
small world graphs, 2018; Douze et al., The Faiss library, 2024.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from voiceface.gallery.exact import ExactGallery
from voiceface.gallery.index_file import INDEX_FILE
from voiceface.gallery.interface import Found, GalleryError, GalleryFacts, Vectors
from voiceface.gallery.segments import Segment
from voiceface.io.atomic import atomic_path, compute_sha256
from voiceface.io.file_kinds import printable

__all__ = ["FaissGallery", "require_faiss"]

log = logging.getLogger(__name__)

MIN_ROWS = 20_000
MAX_GRAPH_ROWS = 2_000_000
NEIGHBOURS = 32  # of a node of the graph
BUILDING_DEPTH = 100  # candidates that are looked at when a node is added
LIST_ROWS = 64  # training rows for each list
TARGET_RECALL = 0.99
TUNED_RECALL = 0.993  # one and a half standard errors above, so that other queries reach the target
RECALL_TOP = 10
RECALL_QUERIES = 200  # of each kind
COVARIANCE_ROWS = 4_000
DEPTHS = (32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 512, 1024)  # candidates of a search in the graph
LISTS = (8, 16, 32, 64, 128, 256)  # lists that are looked into
MARGIN = 8  # further candidates that are scored exactly
BATCH_ROWS = 50_000
RECORD = {
    **dict.fromkeys(("file", "kind", "parameter", "sha256"), str),
    **dict.fromkeys(("value", "rows", "top"), int),
    "recall": float,
}
"""What the index file of a gallery states about the search index, with types."""


def require_faiss() -> Any:
    """Import faiss.

    Raises:
        ModuleNotFoundError: it is not installed; says how to get it.
    """
    try:
        import faiss
    except ModuleNotFoundError as error:
        if error.name != "faiss":
            raise
        raise ModuleNotFoundError(
            "the engine faiss needs faiss-cpu: pip install 'voiceface-shared[faiss]'", name="faiss"
        ) from None
    return faiss


class FaissGallery(ExactGallery):
    """Vectors in a folder, searched through an approximate index."""

    engine: ClassVar[str] = "faiss"

    def __init__(self, folder: Path) -> None:
        """Open the gallery and read its index.

        Raises:
            FileNotFoundError: no gallery is there.
            GalleryError: it is damaged, or of another engine.
            ModuleNotFoundError: faiss is not installed.
        """
        self._faiss = require_faiss()
        self._loaded: tuple[str, Any] = ("", None)
        super().__init__(folder)

    @classmethod
    def create(cls, folder: Path, facts: GalleryFacts) -> Self:
        """Create an empty gallery in a folder that is new or empty.

        Raises:
            GalleryError: there is something already.
            ModuleNotFoundError: faiss is not installed.
        """
        require_faiss()
        return super().create(folder, facts)

    @property
    def num_indexed(self) -> int:
        """Rows from the beginning that the index covers."""
        return int(self._record.get("rows", 0))

    def _read(self) -> None:
        super()._read()
        record = self._record
        wrong = [name for name, kind in RECORD.items() if not isinstance(record.get(name), kind)]
        if record and wrong:
            raise GalleryError(
                f"{self.place}/{INDEX_FILE}: what it states about the search index lacks {', '.join(wrong)}; "
                "build the gallery again"
            )

    @property
    def _record(self) -> dict[str, Any]:
        """What the index file of the gallery states about the index; empty: there is none."""
        record = self._index.get("search")
        return record if isinstance(record, dict) else {}

    def describe(self) -> dict[str, str | int | float]:
        """See `Gallery.describe`."""
        record = self._record
        if not record:
            return {**super().describe(), "index": "none: searched exactly"}
        return {
            **super().describe(),
            "index": f"{record['kind']}, {record['parameter']} {record['value']}",
            "rows in the index": record["rows"],
            f"recall@{record['top']} against exact search": record["recall"],
        }

    def save(self) -> None:
        """Erase removed rows and bring the index up to date; building takes minutes for millions of rows."""
        super().save()
        with self._changing():
            if self.num_rows != self.num_indexed:
                self._build()

    def verify(self) -> None:
        """See `ExactGallery.verify`; the index is compared as well."""
        super().verify()
        if self._record and compute_sha256(self._index_path()) != self._record["sha256"]:
            raise GalleryError(f"{printable(self._index_path())} is damaged: its SHA-256 has changed")

    def close(self) -> None:
        """See `Gallery.close`."""
        self._loaded = ("", None)
        super().close()

    def _first_joinable(self) -> int:
        """Segments that the index covers keep their rows."""
        return int(np.searchsorted(self._starts, self.num_indexed, side="left"))

    def _search(self, queries: Vectors, top: int) -> list[list[Found]]:
        index, covered = self._load(), self.num_indexed
        if index is None:
            return super()._search(queries, top)
        removed = int((self._removed < covered).sum())
        count = min(covered, top + MARGIN + min(removed, 10 * top))
        self._set_effort(index, int(self._record["value"]), count)
        _, rows = index.search(queries, count)
        if removed:
            rows = np.where(self._alive()[rows], rows, -1)
        if covered < self.num_rows:
            rows = np.concatenate([rows, self._newest(queries, top, covered)], axis=1)
        few = np.flatnonzero((rows >= 0).sum(axis=1) < top)
        results = self._rescore(queries, rows, top)
        if len(few):  # the index gives too few where many rows are removed, or the graph has islands
            for row, found in zip(few.tolist(), super()._search(queries[few], top)):
                results[row] = found
        return results

    def _newest(self, queries: Vectors, top: int, covered: int) -> NDArray[np.int64]:
        """The best rows that the index does not cover, (Q, K)."""
        import torch

        from voiceface.metrics.nearest import nearest_rows

        first = self._first_joinable()
        alive = torch.from_numpy(self._alive()[covered:])
        _, rows = nearest_rows(torch.from_numpy(queries), self._parts()[first:], top, alive)
        return rows.numpy() + covered

    def _build(self) -> None:
        """Build the index over all rows, measure its recall, write it, and name it in the gallery's index."""
        count = self.num_rows
        if count < MIN_ROWS:
            return
        import torch

        self._faiss.omp_set_num_threads(torch.get_num_threads())
        graph, covered = count <= MAX_GRAPH_ROWS, self.num_indexed
        index = self._load() if 2 * covered > count and graph == (self._record["kind"] == "HNSW") else None
        log.info("building an index of %d rows", count)
        if index is None:
            index, covered = self._new_graph() if graph else self._new_lists(), 0
        for rows in self._batches(covered):
            index.add(rows)
        value, recall = self._tune(index, DEPTHS if graph else LISTS)
        name = f"search-{np.random.default_rng().bytes(8).hex()}.faiss"
        with atomic_path(self.folder / name) as temporary:
            self._faiss.write_index(index, str(temporary))
        record = {
            "file": name,
            "kind": "HNSW" if graph else "IVF-SQ8",
            "parameter": "search depth" if graph else "lists looked into",
            "value": value,
            "rows": count,
            "recall": round(recall, 4),
            "top": RECALL_TOP,
            "queries": min(RECALL_QUERIES, count),
            "sha256": compute_sha256(self.folder / name),
        }
        if recall < TARGET_RECALL:
            log.warning("the index finds %.1f %% of the nearest %d", 100 * recall, RECALL_TOP)
        self._loaded = (name, index)
        self._commit(self._segments, self._removed, search=record)

    def _new_graph(self) -> Any:
        index = self._faiss.IndexHNSWFlat(self.facts.dimension, NEIGHBOURS, self._faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = BUILDING_DEPTH
        return index

    def _new_lists(self) -> Any:
        """Inverted lists, trained on rows of the gallery."""
        lists = min(round(4 * self.num_rows**0.5), self.num_rows // 39)  # it trains with 39 rows a list
        self._quantizer = self._faiss.IndexFlatIP(self.facts.dimension)  # the index does not own it
        index = self._faiss.IndexIVFScalarQuantizer(
            self._quantizer,
            self.facts.dimension,
            lists,
            self._faiss.ScalarQuantizer.QT_8bit,
            self._faiss.METRIC_INNER_PRODUCT,
        )
        index.train(self._spread(min(self.num_rows, LIST_ROWS * lists)))
        return index

    def _tune(self, index: Any, values: tuple[int, ...]) -> tuple[int, float]:
        """The smallest effort that reaches `TUNED_RECALL` with all queries, and what it reaches."""
        exactly = super()._search
        tests = [(queries, self._names(exactly(queries, RECALL_TOP))) for queries in self._queries()]
        recall = 0.0
        for value in values:
            self._set_effort(index, value, RECALL_TOP + MARGIN)
            recalls = []
            for queries, wanted in tests:
                _, rows = index.search(queries, RECALL_TOP + MARGIN)
                found = self._names(self._rescore(queries, rows, RECALL_TOP))
                recalls.append(np.mean([len(a & b) / len(b) for a, b in zip(found, wanted)]))
            recall = float(min(recalls))
            if recall >= TUNED_RECALL:
                break
        return value, recall

    def _queries(self) -> list[Vectors]:
        """Queries for the measurement of recall: like known people, and like people of whom there is no row.

        The first are rows of the gallery with noise of half their length. The second have the mean and the
        covariance of the rows, and each takes its principal components from different ones.
        """
        rng = np.random.default_rng(0)
        known = self._spread(min(RECALL_QUERIES, self.num_rows))
        noise = rng.standard_normal(known.shape).astype(np.float32)
        noise *= 0.5 / np.linalg.norm(noise, axis=1, keepdims=True)
        rows = self._spread(min(COVARIANCE_ROWS, self.num_rows))
        mean = rows.mean(axis=0)
        components = np.linalg.svd(rows - mean, full_matrices=False)[2]
        mixed = rng.permuted((rows - mean) @ components.T, axis=0)[: len(known)]
        return [self._unit_rows(each, "queries") for each in (known + noise, mixed @ components + mean)]

    @staticmethod
    def _names(results: list[list[Found]]) -> list[set[str]]:
        return [{each.item for each in found} for found in results]

    def _set_effort(self, index: Any, value: int, count: int) -> None:
        """Set how thoroughly the index searches."""
        if hasattr(index, "hnsw"):
            index.hnsw.efSearch = max(value, count)
        else:
            index.nprobe = value

    def _spread(self, count: int) -> Vectors:
        """Rows that are evenly spread over the gallery."""
        rows = np.arange(count) * self.num_rows // count
        parts = [
            segment.vectors[rows[(rows >= start) & (rows < start + len(segment))] - start]
            for start, segment in zip(self._starts, self._segments)
        ]
        return np.concatenate(parts)

    def _batches(self, first: int) -> Iterator[Vectors]:
        """Rows from a row at the beginning of a segment on."""
        for segment in self._segments[int(np.searchsorted(self._starts, first, side="left")) :]:
            for start in range(0, len(segment), BATCH_ROWS):
                yield np.ascontiguousarray(segment.vectors[start : start + BATCH_ROWS])

    def _index_path(self) -> Path:
        return self.folder / str(self._record["file"])

    def _load(self) -> Any:
        """The index; None: there is none, or it is damaged, which is logged."""
        record = self._record
        name = str(record.get("file", ""))
        if name != self._loaded[0]:
            index = None
            path = self.folder / name
            if Path(name).name != name or not path.is_file() or compute_sha256(path) != record["sha256"]:
                log.warning("%s is missing or damaged: searching exactly, until it is built again", path)
            else:
                index = self._faiss.read_index(str(path))
            self._loaded = (name, index)
        return self._loaded[1]

    def _commit(self, segments: list[Segment], removed: NDArray[np.int64], **more: Any) -> None:
        covered = self.num_indexed
        kept = [segment.name for segment in self._segments[: self._first_joinable()]]
        if [segment.name for segment in segments[: len(kept)]] != kept:  # rows of the index have moved
            more = {"search": None} | more
        super()._commit(segments, removed, **more)
        if not self._record and covered:
            self._loaded = ("", None)

    def _clean(self) -> None:
        super()._clean()
        for path in self.folder.glob("search-*.faiss"):
            if path.name != self._record.get("file"):
                path.unlink(missing_ok=True)
