"""Tables of embeddings: one vector per item, written and read in numpy's and Arrow's formats."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voiceface.io.atomic import atomic_path

if TYPE_CHECKING:
    pass

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
        failed: items that could not be encoded -> reason (not saved).
    """

    items: list[str]
    vectors: npt.NDArray[np.float32]
    fingerprint: str = ""
    failed: dict[str, str] = field(default_factory=dict)

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
        return EmbeddingTable(list(items), self.vectors[self.row_indices(items)], self.fingerprint)

    def group_means(self, groups: Sequence[Sequence[str]]) -> npt.NDArray[np.float32]:
        """Mean of the unit-length embeddings of each group of items, at unit length, (len(groups), D)."""
        mean = np.stack(
            [_l2_normalize(self.vectors[self.row_indices(group)]).mean(axis=0) for group in groups]
        )
        return _l2_normalize(mean).astype(np.float32)

    def save(self, path: str | Path) -> None:
        """Write the table atomically: .npz, .parquet, .arrow or .feather; equal tables give equal bytes."""
        target = Path(path)
        if target.suffix == ".npz":
            with atomic_path(target) as temporary, temporary.open("wb") as file:
                np.savez(
                    file,
                    items=np.array(self.items, dtype=np.str_),
                    vectors=self.vectors,
                    fingerprint=np.array(self.fingerprint),
                    format=np.array(FORMAT),
                )
        elif target.suffix in (".parquet", ".arrow", ".feather"):
            import pyarrow as pa
            import pyarrow.feather
            import pyarrow.parquet

            flat = pa.array(np.ascontiguousarray(self.vectors, np.float32).reshape(-1))
            lists = pa.FixedSizeListArray.from_arrays(flat, self.vectors.shape[1])
            table = pa.table({"item": pa.array(self.items, pa.string()), "embedding": lists})
            table = table.replace_schema_metadata({"fingerprint": self.fingerprint, "format": FORMAT})
            with atomic_path(target) as temporary:
                if target.suffix == ".parquet":
                    pyarrow.parquet.write_table(table, temporary)
                else:
                    pyarrow.feather.write_feather(table, str(temporary), compression="uncompressed")
        else:
            raise EmbeddingError(f"{target}: expected a name that ends in .npz, .parquet, .arrow or .feather")

    @classmethod
    def load(cls, path: str | Path) -> "EmbeddingTable":
        """Read a table of `save`.

        Raises:
            FileNotFoundError: no such file.
            EmbeddingError: it is corrupt or not a table.
        """
        source = Path(path)
        if not source.is_file():
            raise FileNotFoundError(f"no embedding table at {source}")
        try:
            if source.suffix == ".npz":
                with np.load(source, allow_pickle=False) as data:
                    items, vectors = data["items"].tolist(), data["vectors"]
                    return cls(items, vectors.astype(np.float32, copy=False), str(data["fingerprint"]))
            import pyarrow.feather
            import pyarrow.parquet

            reader = pyarrow.parquet if source.suffix == ".parquet" else pyarrow.feather
            table = reader.read_table(source)
            column = table.column("embedding").combine_chunks()
            flat = np.array(column.flatten().to_numpy(zero_copy_only=False), np.float32)
            fingerprint = (table.schema.metadata or {}).get(b"fingerprint", b"").decode()
            items = table.column("item").to_pylist()
            return cls(items, flat.reshape(len(items), column.type.list_size), fingerprint)
        except EmbeddingError as error:
            raise EmbeddingError(f"{source}: {error}") from error
        except Exception as error:  # corrupt archives make the readers raise many types
            raise EmbeddingError(f"{source}: not an embedding table, or corrupt ({error})") from error


def _l2_normalize(vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Scale rows to unit length; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
