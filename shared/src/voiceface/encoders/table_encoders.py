"""Features that were computed elsewhere, read from a table by the names of their files."""

import hashlib
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voiceface.embeddings.table import EmbeddingTable
from voiceface.encoders.fop_csv import PUBLISHED_WIDTHS, read_fop_csv
from voiceface.encoders.interface import Encoder, EncoderError, EncoderInfo, Modality
from voiceface.io.file_facts import FileFacts
from voiceface.io.file_kinds import printable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TableEncoder", "load_table"]

Array = NDArray[np.float32]


class TableEncoder(Encoder):
    """Looks features up: the "network input" of a file is its feature.

    A file is looked up by its path, then by ever shorter ends of it (`voices/a/1.wav`, `a/1.wav`, `1.wav`).

    Args:
        info: what is known about the encoder that made the table.
        vectors: (N, D) float32.
        items: N names of files; None: the table names none, its rows belong to files in their order.
        source: the table, for messages.
    """

    def __init__(
        self, info: EncoderInfo, vectors: Array, items: list[str] | None = None, source: str = "the table"
    ) -> None:
        super().__init__(info, batch_size=1024)
        self.vectors, self.items, self.source = vectors, items, source
        self._rows = {} if items is None else {item: row for row, item in enumerate(items)}
        self._taken: dict[int, str] = {}
        self._lock = Lock()

    def load_file(self, path: str | Path) -> Array:
        """Feature of a file, (D,).

        Raises:
            EncoderError: the table has no feature of it, names no files, or one row is that of two files.
        """
        if self.items is None:
            raise EncoderError(
                f"{self.source} names no files: its rows belong to the files of a data folder in their "
                "order; give --data, or a table with names (.npz, .parquet)"
            )
        parts = Path(path).as_posix().split("/")
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        row = next((self._rows[end] for end in ends if end in self._rows), None)
        if row is None:
            raise EncoderError(
                f"{printable(path)} has no feature in {self.source}, whose first name is "
                f"{printable(self.items[0])}; encode it, or name files by the same paths"
            )
        with self._lock:
            other = self._taken.setdefault(row, str(path))
        if other != str(path):
            raise EncoderError(
                f"{printable(path)} and {printable(other)} are both {printable(self.items[row])} in "
                f"{self.source}; name files by longer paths"
            )
        return self.vectors[row]

    def load_own(self, path: str | Path) -> tuple[Array, FileFacts | None]:
        """Feature of a file, as `load_file`; nothing is known about the file itself."""
        return self.load_file(path), None

    def prepare(self, array: NDArray[Any]) -> Array:
        """A table has features of its files alone.

        Raises:
            EncoderError: always.
        """
        raise EncoderError(f"{self.source} has features of its files only; choose an encoder for other input")

    def encode_batch(self, inputs: "Tensor") -> "Tensor":
        """Return features (B, D) as they are."""
        return inputs


def load_table(path: str | Path, modality: Modality) -> TableEncoder:
    """Open a table of features as an encoder.

    Args:
        path: .npz, .parquet, .arrow or .feather as `EmbeddingTable.load` reads them; or FOP's .csv without
            header, in which a width of 4097 or 513 has labels in its last column.
        modality: "voice" or "face"; which files it is used for.

    Raises:
        EncoderError: no such file, no table, or one of the other modality.
    """
    source = Path(path)
    shown = printable(source)
    if not source.is_file():
        raise EncoderError(f"{shown} does not exist, expected a table of features; check the path")
    if source.suffix == ".csv":
        rows = read_fop_csv(source, None)
        published = PUBLISHED_WIDTHS.get((modality, rows.features.shape[1]))
        info = EncoderInfo(
            f"table:{source}",
            modality,
            rows.features.shape[1],
            licence="as its makers state",
            wants="the files of its rows, in their order",
            trained_on=published.trained_on if published else (),
            fingerprint=hashlib.sha256(rows.features.tobytes()).hexdigest(),
        )
        return TableEncoder(info, rows.features, None, shown)
    try:
        table = EmbeddingTable.load(source)
    except ValueError as error:
        raise EncoderError(str(error)) from None
    return TableEncoder(
        _describe(table, f"table:{source}", modality, shown), table.vectors, table.items, shown
    )


def _describe(table: EmbeddingTable, name: str, modality: Modality, shown: str) -> EncoderInfo:
    """What a table states about its encoder."""
    from voiceface.encoders.records import stated_encoder

    stated = stated_encoder(table, modality)
    if stated is None:
        digest = table.fingerprint or hashlib.sha256(table.vectors.tobytes()).hexdigest()
        return EncoderInfo(
            name, modality, table.vectors.shape[1], "as its makers state", "its own files", fingerprint=digest
        )
    if stated.modality != modality:
        raise EncoderError(
            f"{shown} has features of {stated.modality}s by {stated.name}, expected features of {modality}s"
        )
    return stated
