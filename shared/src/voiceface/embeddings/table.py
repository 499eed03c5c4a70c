"""Tables of embeddings: one vector per item, written and read in numpy's and Arrow's formats."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceface.embeddings.columnar import read_columns, write_columns
from voiceface.io.atomic import atomic_path
from voiceface.io.file_facts import FileFacts, facts_from_json, facts_to_json
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import reading
from voiceface.io.safe_pickle import read_npz

__all__ = ["EmbeddingError", "EmbeddingTable"]

log = logging.getLogger(__name__)

FORMAT = "voiceface-embeddings-1"


class EmbeddingError(ValueError):
    """Embeddings that cannot be computed or read; `failures` maps items to reasons."""

    def __init__(self, message: str, failures: dict[str, str] | None = None) -> None:
        """Store the failures with the message."""
        super().__init__(message)
        self.failures = failures or {}


@dataclass(frozen=True)
class EmbeddingTable:
    """One embedding per item.

    Attributes:
        items: distinct names, such as paths relative to a root.
        vectors: float32 (N, D), not necessarily of unit length.
        fingerprint: of the model that computed them.
        failed: items that could not be encoded -> reason (saved in parts alone, see
            `voiceface.embeddings.parts`).
        facts: items of people's own files -> what is known about the file beside its embedding.
        encoder: JSON about the encoders that computed them (`voiceface.encoders.records`); "": not stated.
    """

    items: list[str]
    vectors: npt.NDArray[np.float32]
    fingerprint: str = ""
    failed: dict[str, str] = field(default_factory=dict)
    facts: Mapping[str, FileFacts] = field(default_factory=dict)
    encoder: str = ""

    def __post_init__(self) -> None:
        """Check that there is one row per item and that items are distinct."""
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.items):
            raise EmbeddingError(
                f"expected one row per item, ({len(self.items)}, D), got shape {self.vectors.shape}"
            )
        rows = {item: row for row, item in enumerate(self.items)}
        if len(rows) != len(self.items):
            raise EmbeddingError(f"{len(self.items) - len(rows)} items are in the table more than once")
        object.__setattr__(self, "_rows", rows)

    def __len__(self) -> int:
        """Number of items."""
        return len(self.items)

    def __contains__(self, item: object) -> bool:
        """Whether the table has an embedding of `item`."""
        return item in self._rows  # type: ignore[attr-defined]

    def row_indices(self, items: Sequence[str], on_missing: str = "error") -> npt.NDArray[np.int64]:
        """Row of each item, int64 (len(items),); -1 for missing items with on_missing="mark".

        Raises:
            EmbeddingError: items are missing and on_missing is "error"; states their number and the first.
        """
        get = self._rows.get  # type: ignore[attr-defined]
        rows = np.fromiter((get(item, -1) for item in items), np.int64, len(items))
        missing = np.flatnonzero(rows < 0)
        if len(missing) and on_missing == "error":
            raise EmbeddingError(
                f"{len(missing)} of {len(items)} items have no embedding, the first is {items[missing[0]]}; "
                "encode them, or skip their trials (--missing skip)"
            )
        return rows

    def take(self, items: Sequence[str]) -> "EmbeddingTable":
        """Select items, in the given order.

        Raises:
            EmbeddingError: an item is not in the table.
        """
        facts = {item: self.facts[item] for item in items if item in self.facts}
        vectors = self.vectors[self.row_indices(items)]
        return EmbeddingTable(list(items), vectors, self.fingerprint, facts=facts, encoder=self.encoder)

    def take_common(self, other: "EmbeddingTable") -> "EmbeddingTable":
        """Select the items that the other table has, too, in the order of the other table."""
        return self.take([item for item in other.items if item in self])

    def group_means(self, groups: Sequence[Sequence[str]]) -> npt.NDArray[np.float32]:
        """Mean of the unit-length embeddings of each group of items, at unit length, (len(groups), D)."""
        mean = np.stack(
            [_l2_normalize(self.vectors[self.row_indices(group)]).mean(axis=0) for group in groups]
        )
        return _l2_normalize(mean).astype(np.float32)

    def mean_resultant_lengths(self, groups: Sequence[Sequence[str]]) -> npt.NDArray[np.float32]:
        """Length of the mean of the unit-length embeddings of each group, 0...1, (len(groups),).

        The cosine with the unit mean of a group times this length is the mean of the cosines with its items.
        """
        means = [_l2_normalize(self.vectors[self.row_indices(group)]).mean(axis=0) for group in groups]
        return np.linalg.norm(np.stack(means), axis=1).astype(np.float32)

    def save(self, path: str | Path) -> None:
        """Write the table atomically: .npz, .parquet, .arrow or .feather; equal tables give equal bytes."""
        target = Path(path)
        facts = facts_to_json(self.facts, self.items) if self.facts else None
        if target.suffix == ".npz":
            extra: dict[str, Any] = (
                {} if facts is None else {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
            )
            if self.encoder:
                extra["encoder"] = np.array(self.encoder)
            with atomic_path(target) as temporary, temporary.open("wb") as file:
                np.savez(
                    file,
                    items=np.array(self.items, dtype=np.str_),
                    vectors=self.vectors,
                    fingerprint=np.array(self.fingerprint),
                    format=np.array(FORMAT),
                    **extra,
                )
        elif target.suffix in (".parquet", ".arrow", ".feather"):
            with atomic_path(target) as temporary:
                write_columns(
                    temporary,
                    self.items,
                    self.vectors,
                    self.fingerprint,
                    target.suffix,
                    facts,
                    encoder=self.encoder,
                )
        else:
            raise EmbeddingError(f"{target}: expected a name that ends in .npz, .parquet, .arrow or .feather")

    @classmethod
    def load(cls, path: str | Path) -> "EmbeddingTable":
        """Read a table of `save`, or one that another program wrote.

        The digest of `.parquet`, `.arrow` and `.feather` files of `save` and the checksums of `.npz` files
        are verified. Tables of others have a column `item` (or `path`, `file`, `name`, `id`) of text and a
        column `embedding` (or `vector`, `embeddings`, `features`) of lists of numbers of one length, as
        pandas, Polars and Hugging Face write them; further columns are ignored, `facts` in tables of `save`
        and `reason` in parts (`voiceface.embeddings.parts`) excepted.

        Args:
            path: .npz with the arrays `items`, `vectors` and, if known, `fingerprint`; .parquet; .arrow or
                .feather, Arrow's file or stream format.

        Raises:
            FileNotFoundError: no such file.
            EmbeddingError: it is corrupt or not a table, or a vector is not finite.
        """
        source = Path(path)
        kinds = {".npz": "zip", ".parquet": "parquet"}
        with reading(
            source, EmbeddingError, "an embedding table", own_kinds=(kinds.get(source.suffix, "arrow"),)
        ):
            if source.suffix == ".npz":
                arrays = read_npz(source)
                items, vectors = arrays["items"], arrays["vectors"]
                fingerprint, encoder = (str(arrays.get(name, "")) for name in ("fingerprint", "encoder"))
                if items.dtype.kind != "U" or items.ndim != 1 or vectors.dtype.kind not in "fiu":
                    raise ValueError(f"items of type {items.dtype}, vectors of type {vectors.dtype}")
                names, values = items.tolist(), vectors.astype(np.float32, copy=False)
                texts = json.loads(arrays["facts"].tobytes()) if "facts" in arrays else None
                found = {"items": names, "vectors": values, "fingerprint": fingerprint, "encoder": encoder}
                if texts is not None:
                    found["facts"] = texts
            else:
                found = read_columns(source)
            try:
                return cls.from_columns(found)
            except EmbeddingError as error:
                raise EmbeddingError(f"{printable(source)}: {error}") from None

    @classmethod
    def from_columns(cls, found: Mapping[str, Any]) -> "EmbeddingTable":
        """Build the table from what `voiceface.embeddings.columnar.parse_columns` returns.

        Raises:
            EmbeddingError: an item is there twice.
            ValueError: facts of another form, or a vector that is not finite.
        """
        names, texts = found["items"], found.get("facts")
        if texts is not None and (len(texts) != len(names) or not all(isinstance(t, str) for t in texts)):
            raise ValueError("its facts are no text for every item")
        facts = {} if texts is None else facts_from_json(names, texts)
        table = cls(
            names,
            found["vectors"],
            found["fingerprint"],
            dict(found.get("failed", {})),
            facts,
            found["encoder"],
        )
        if not np.isfinite(table.vectors).all():
            row = int(np.flatnonzero(~np.isfinite(table.vectors).all(axis=1))[0])
            raise ValueError(f"the vector of {table.items[row]!r} is not finite")
        return table


def _l2_normalize(vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Scale rows to unit length; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
