"""Parts of a table of embeddings: what one worker made of one shard, failed items included.

A part is a Parquet file with the columns `item`, `embedding` (float32 list of fixed size, null where it
failed), `facts` and `reason` ("" for rows with an embedding), and with the digest of
`voiceface.embeddings.columnar`. `EmbeddingTable.load` reads it, and so does every reader of Parquet.

A table that is too large for one file stays in a folder of parts, whose `parts.json` names them in order.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from voiceface.embeddings.columnar import build_columns, parse_columns
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
from voiceface.io.file_facts import facts_to_json
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import read_json

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "INDEX_FILE",
    "format_index",
    "is_folder_of_parts",
    "join_fingerprints",
    "list_parts",
    "merge_parts",
    "read_part",
    "to_part",
]

INDEX_FILE = "parts.json"
INDEX_FORMAT = "voiceface-parts-1"


def to_part(table: EmbeddingTable) -> "pa.Table":
    """Rows of a part, those of `failed` last.

    Args:
        table: with its `failed` items; it may have no other rows, vectors are (0, D) then.
    """
    facts = facts_to_json(table.facts, table.items)
    return build_columns(
        table.items, table.vectors, table.fingerprint, facts, encoder=table.encoder, failed=table.failed
    )


def read_part(data: bytes, name: str) -> EmbeddingTable:
    """Read the bytes of a part.

    Args:
        data: the bytes.
        name: for messages.

    Raises:
        EmbeddingError: damaged, or no part.
    """
    import pyarrow as pa

    try:
        return EmbeddingTable.from_columns(parse_columns(data))
    except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise EmbeddingError(f"{name} is damaged or no part of a table: {error}") from None


def merge_parts(parts: Sequence[EmbeddingTable]) -> EmbeddingTable:
    """Join parts, in their order, to one table, with all failed items.

    Parts of two encoders get the digest of both fingerprints, as `voiceface encode` writes it.

    Raises:
        EmbeddingError: no row has an embedding, widths differ, or an item occurs twice.
    """
    failed = {item: reason for part in parts for item, reason in part.failed.items()}
    full = [part for part in parts if len(part)]
    if not full:
        shown = "; ".join(f"{item}: {reason}" for item, reason in list(failed.items())[:5])
        raise EmbeddingError(f"none of {len(failed)} files could be encoded: {shown}", failed)
    widths = {part.vectors.shape[1] for part in full}
    if len(widths) > 1:
        raise EmbeddingError(f"parts have embeddings of different lengths: {sorted(widths)}")
    mark = join_fingerprints([part.fingerprint for part in full])
    return EmbeddingTable(
        [item for part in full for item in part.items],
        np.concatenate([part.vectors for part in full]),
        mark,
        failed,
        {item: each for part in full for item, each in part.facts.items()},
        full[0].encoder,
    )


def join_fingerprints(fingerprints: Sequence[str]) -> str:
    """Fingerprint of a table by several models: that of the only one, or a digest of all in their order."""
    marks = list(dict.fromkeys(fingerprints))
    return marks[0] if len(marks) == 1 else hashlib.sha256(" ".join(marks).encode()).hexdigest()


def format_index(names: Sequence[str], fingerprint: str, dimension: int, encoder: str) -> bytes:
    """Content of `parts.json`.

    Args:
        names: of the parts, in the order of the table.
        fingerprint: of the model.
        dimension: length of an embedding.
        encoder: JSON about the encoders.
    """
    values = {
        "format": INDEX_FORMAT,
        "fingerprint": fingerprint,
        "dimension": dimension,
        "encoder": encoder,
        "parts": list(names),
    }
    return (json.dumps(values, indent=1) + "\n").encode()


def is_folder_of_parts(path: str | Path) -> bool:
    """Whether a path is a folder of parts of this machine."""
    return (Path(path) / INDEX_FILE).is_file()


def list_parts(folder: str | Path) -> list[Path]:
    """Parts of a folder, in the order of the table.

    Raises:
        FileNotFoundError: no folder of parts.
        EmbeddingError: its index is damaged.
    """
    path = Path(folder) / INDEX_FILE
    values = read_json(path, EmbeddingError, "the index of a folder of parts")
    names = values.get("parts") or []
    plain = isinstance(names, list) and all(
        isinstance(each, str) and Path(each).name == each for each in names
    )
    if values.get("format") != INDEX_FORMAT or not plain:
        raise EmbeddingError(f"{printable(path)} is no index of parts, or of another version; embed again")
    return [Path(folder) / name for name in names]


def _is_part(name: object) -> bool:
    """Whether a name is that of a part beside the index."""
    return isinstance(name, str) and name.endswith(".parquet") and not {"/", "\\"} & set(name)
