"""Embeddings in Parquet and Arrow files: own ones with a digest of the whole file, and those of others.

Arrow does not verify its files, and a changed byte can make it read beyond its memory. Files written here
carry a digest of all bytes, which is compared before Arrow sees them. All files are validated as a whole
before a value is converted; checksums of Parquet pages are verified where a file has them.
"""

import hashlib
import mmap
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voiceface.io.decoding_worker import decode_isolated
from voiceface.io.foreign_files import expansion_limit

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "COLUMN_NAMES",
    "build_columns",
    "decode_unverified",
    "parse_columns",
    "read_columns",
    "to_parquet",
    "write_columns",
]

FORMAT = "voiceface-embeddings-2"
COLUMN_NAMES = {
    "item": ("item", "path", "file", "name", "id"),
    "embedding": ("embedding", "vector", "embeddings", "features"),
}
"""Accepted names of the two columns, the first one is written."""
REASON = "reason"
"""Column of the reason why a row has no embedding, in parts of tables."""
_TAG = b"voiceface-sha256:"
_DIGEST = re.compile(re.escape(_TAG) + rb"([0-9a-f]{64})")
_ZEROS = b"0" * 64

Vectors = npt.NDArray[np.float32]


def write_columns(
    path: Path,
    items: list[str],
    vectors: Vectors,
    fingerprint: str,
    suffix: str,
    facts: list[str] | None = None,
    *,
    encoder: str = "",
) -> None:
    """Write a table with its digest; equal tables give equal bytes.

    Args:
        path: file to write.
        items: N names.
        vectors: (N, D).
        fingerprint: of the model.
        suffix: ".parquet", or another one for Arrow's file format.
        facts: N texts of a further column `facts`; None: no such column.
        encoder: text about the encoder; "": not stated.
    """
    table = build_columns(items, vectors, fingerprint, facts, encoder=encoder)
    if suffix == ".parquet":
        path.write_bytes(to_parquet(table))
        return
    import pyarrow.feather

    pyarrow.feather.write_feather(table, str(path), compression="uncompressed")
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        _stamp_digest(data)


def build_columns(
    items: list[str],
    vectors: Vectors,
    fingerprint: str,
    facts: list[str] | None = None,
    *,
    encoder: str = "",
    failed: Mapping[str, str] | None = None,
) -> "pa.Table":
    """Build the Arrow table of `write_columns`; embeddings are plain lists of fixed size.

    Args:
        items: N names.
        vectors: (N, D).
        fingerprint: of the model.
        facts: N texts of a further column `facts`; None: no such column.
        encoder: text about the encoder; "": not stated.
        failed: M further items that have no embedding -> reason; they become rows after the others, and all
            rows have a column `reason`, "" for those with an embedding. None: no such column.
    """
    import pyarrow as pa

    extra = dict(failed or {})
    flat = np.zeros((len(items) + len(extra), vectors.shape[1]), np.float32)
    flat[: len(items)] = vectors
    missing = np.arange(len(flat)) >= len(items)
    mask = pa.array(missing) if extra else None
    lists = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), vectors.shape[1], mask=mask)
    # Bytes of file names that are not UTF-8 appear as in `voiceface.io.atomic.write_text`.
    columns = {"item": pa.array([*map(_to_utf8, (*items, *extra))], pa.string()), "embedding": lists}
    if facts is not None:
        columns["facts"] = pa.array([*facts, *[""] * len(extra)], pa.string())
    if failed is not None:
        columns[REASON] = pa.array([*[""] * len(items), *map(_to_utf8, extra.values())], pa.string())
    metadata = {"fingerprint": fingerprint, "format": FORMAT, "digest": _TAG + _ZEROS}
    if encoder:
        metadata["encoder"] = encoder.encode()
    return pa.table(columns).replace_schema_metadata(metadata)


def to_parquet(table: "pa.Table") -> bytes:
    """Bytes of a Parquet file with the digest of all of them.

    Args:
        table: of `build_columns`, or another one whose metadata has an entry for the digest.
    """
    import pyarrow as pa
    import pyarrow.parquet

    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink, use_dictionary=[REASON], write_page_checksum=True)
    data = bytearray(sink.getvalue())
    _stamp_digest(data)
    return bytes(data)


def _stamp_digest(data: Any) -> None:
    """Replace the zeros that hold the place of the digest."""
    places = [found.start(1) for found in _DIGEST.finditer(data)]
    digest = hashlib.sha256(data).hexdigest().encode()
    for place in places:
        data[place : place + len(digest)] = digest


def _to_utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def read_columns(path: Path) -> dict[str, Any]:
    """Read a table; to be called inside `voiceface.io.foreign_files.reading`.

    A table without a right digest is read in a process of its own: Arrow ends the process on some damaged
    files.

    Args:
        path: ends in ".parquet", or in another suffix for Arrow's formats (file or stream).

    Returns:
        As `parse_columns`.

    Raises:
        ValueError: a wrong digest, other columns, missing or ragged values.
    """
    return parse_columns(path.read_bytes(), path)


def parse_columns(data: bytes, path: Path | None = None) -> dict[str, Any]:
    """Read the bytes of a table.

    Args:
        data: the bytes.
        path: the file that holds them, whose ending tells the format; None: a Parquet file of this module.

    Returns:
        "items" (N), "vectors" (N, D), "fingerprint" and "encoder" ("" if none is stated), "facts" (N texts)
        and "failed" (item -> reason of rows without embedding) where there are any.

    Raises:
        ValueError: a wrong digest, other columns, missing or ragged values.
    """
    if _verify_digest(data):
        return _parse_columns(data, path.suffix if path else ".parquet", verified=True)
    if path is None:
        raise ValueError("it has no digest")
    found: dict[str, Any] = decode_isolated("voiceface.embeddings.columnar:decode_unverified", str(path))
    return found


def decode_unverified(path: str) -> dict[str, Any]:
    """Read a table without digest: "items", "vectors" and "fingerprint"; runs in the decoding worker."""
    return _parse_columns(Path(path).read_bytes(), Path(path).suffix, verified=False)


def _parse_columns(data: bytes, suffix: str, *, verified: bool) -> dict[str, Any]:
    """Items, vectors and fingerprint of a table."""
    table = _read_parquet(data) if suffix == ".parquet" else _read_arrow(data)
    metadata = table.schema.metadata or {}
    if metadata.get(b"format", b"").decode() == FORMAT and not verified:
        raise ValueError("its digest is missing, though its format has one")
    found: dict[str, Any] = {
        "fingerprint": metadata.get(b"fingerprint", b"").decode(),
        "encoder": metadata.get(b"encoder", b"").decode(),
    }
    if verified and REASON in table.column_names:
        table, found["failed"] = _split_failed(table)
    items, embeddings = (_find_column(table, wanted) for wanted in COLUMN_NAMES)
    width = embeddings.type.list_size if "failed" in found and not len(items) else 0
    vectors = np.zeros((0, width), np.float32) if width else _to_vectors(embeddings)
    found |= {"items": _to_items(items), "vectors": vectors}
    if verified and "facts" in table.column_names:
        found["facts"] = table.column("facts").to_pylist()
    return found


def _split_failed(table: "pa.Table") -> tuple["pa.Table", dict[str, str]]:
    """Rows with an embedding, and the reasons of the others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in ("item", REASON):
        if name not in table.column_names or table.column(name).type != pa.string():
            raise ValueError(f"its column {name} is missing or no text")
        if table.column(name).null_count:
            raise ValueError(f"its column {name} has empty cells")
    good = pc.equal(table.column(REASON), "")
    bad = table.filter(pc.invert(good)).select(["item", REASON])
    return table.filter(good), dict(zip(bad.column("item").to_pylist(), bad.column(REASON).to_pylist()))


def _verify_digest(data: bytes) -> bool:
    """Compare the digest; False if the file states none."""
    stated = list(_DIGEST.finditer(data))
    if not stated:
        return False
    blank = bytearray(data)
    for found in stated:
        blank[found.start(1) : found.end(1)] = _ZEROS
    actual = hashlib.sha256(blank).hexdigest().encode()
    if any(found[1] != actual for found in stated):
        raise ValueError("its SHA-256 differs from the one that it states")
    return True


def _read_parquet(data: bytes) -> Any:
    """Read the two columns of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(pa.py_buffer(data), page_checksum_verification=True)
    wanted = {"facts", REASON, *(name for names in COLUMN_NAMES.values() for name in names)}
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    values = sum(each.num_values for each in chunks if each.path_in_schema.split(".")[0] in wanted)
    if not 0 <= 8 * values <= expansion_limit(len(data)):
        raise ValueError(f"it promises {values:,} values, more than a file of its size can hold")
    return file.read([name for name in file.schema_arrow.names if name in wanted])


def _read_arrow(data: bytes) -> Any:
    """Read a file or a stream of Arrow."""
    import pyarrow as pa
    import pyarrow.ipc

    buffer = pa.py_buffer(data)
    reader = pyarrow.ipc.open_file(buffer) if data[:6] == b"ARROW1" else pyarrow.ipc.open_stream(buffer)
    table = reader.read_all()
    table.validate(full=True)  # offsets and lengths, before anything is converted
    if table.nbytes > expansion_limit(len(data)):
        raise ValueError("it expands far beyond its size")
    return table


def _find_column(table: Any, wanted: str) -> Any:
    """One of the two columns, validated."""
    names = COLUMN_NAMES[wanted]
    found = [name for name in names if name in table.column_names]
    if not found:
        shown = ", ".join(map(str, table.column_names[:8])) or "no columns"
        raise ValueError(f"it has {shown}, expected a column {wanted} (or {', '.join(names[1:])})")
    column = table.column(found[0])
    column.validate(full=True)
    if column.null_count:
        raise ValueError(f"its column {found[0]} has {column.null_count} empty cells")
    return column


def _to_items(column: Any) -> list[str]:
    """Names of the items; numbers are spelled."""
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not is_text and not pa.types.is_integer(kind):
        raise ValueError(f"its items are {column.type}, expected text")
    return [str(item) for item in column.to_pylist()]


def _to_vectors(column: Any) -> Vectors:
    """Vectors (N, D) of lists of numbers of one length."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(column):
        raise ValueError("it has no rows")
    column = pa.chunked_array([getattr(chunk, "storage", chunk) for chunk in column.chunks])
    kind = column.type
    if not any(
        check(kind)
        for check in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, _is_list_view)
    ) or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise ValueError(f"its embeddings are {kind}, expected lists of numbers")
    lengths = pc.list_value_length(column).to_numpy()
    if (lengths != lengths[0]).any() or not lengths[0]:
        row = int(np.flatnonzero(lengths != lengths[0])[0]) if lengths[0] else 0
        raise ValueError(f"row {row} has {lengths[row]} numbers, the first {lengths[0]}")
    flat = pc.list_flatten(column)
    if flat.null_count:
        raise ValueError(f"its embeddings have {flat.null_count} empty numbers")
    return np.array(flat.to_numpy(), np.float32).reshape(len(column), int(lengths[0]))


def _is_list_view(kind: Any) -> bool:
    """Whether a type is one of Arrow's list views."""
    import pyarrow as pa

    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))
