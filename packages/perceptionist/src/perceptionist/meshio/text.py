"""Tables of numbers as text, which are read back exactly.

Arrow's CSV writer and reader write the shortest representation of a number and read it correctly rounded.
Blocks with other separators than one blank are left to the caller.
"""

from typing import Any, BinaryIO, Literal, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = [
    "NumberFormat",
    "read_rows",
    "write_rows",
]


Array = NDArray[Any]
NumberFormat = Literal["shortest", "published"]


def write_rows(
    file: BinaryIO, keyword: str, columns: list[Array], number_format: NumberFormat = "shortest"
) -> None:
    """Write one line per row: `keyword`, then the row's numbers, separated by one blank.

    Args:
        file: binary file, open for writing.
        keyword: first word of every line; "" for none.
        columns: (N,) float32, float64 or integers each.
        number_format: "shortest": the fewest digits that give the same value of the column's own type;
            "published": a float32 as Python's repr of its double value (-0.0007058780756779015), which is
            longer and reads back as the same float32.

    Raises:
        ValueError: an unknown number format.
    """
    import pyarrow as pa
    from pyarrow import csv

    if number_format not in get_args(NumberFormat):
        raise ValueError(
            f"number_format is {number_format!r}, expected one of {', '.join(get_args(NumberFormat))}"
        )
    rows = len(columns[0])
    if not rows:
        return
    cells: dict[str, Any] = {}
    if keyword:
        same = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array([keyword]))
        cells["mark"] = same.cast(pa.string())
    for number, column in enumerate(columns):
        whole = np.ascontiguousarray(column)
        floating = whole.dtype.kind == "f"
        cells[str(number)] = (
            _format_like_python(whole) if number_format == "published" and floating else pa.array(whole)
        )
    options = csv.WriteOptions(include_header=False, delimiter=" ", quoting_style="none", batch_size=1 << 14)
    csv.write_csv(pa.table(cells), file, options)


def read_rows(block: bytes, width: int, dtype: DTypeLike, *, has_keyword: bool = False) -> Array | None:
    """Read lines of numbers in the form that `write_rows` writes.

    Args:
        block: the lines, each ended by a line feed.
        width: numbers per line.
        dtype: float32, float64 or int32; text is rounded once, directly to this type.
        has_keyword: whether a keyword precedes the numbers.

    Returns:
        (lines, width), or None if a line has another form.
    """
    import pyarrow as pa
    from pyarrow import csv

    if not block:
        return np.zeros((0, width), dtype)
    if np.dtype(dtype).kind == "i" and (b"x" in block or b"X" in block):
        return None  # Arrow would read hexadecimal numbers
    names = [str(number) for number in range(width)]
    kind = pa.from_numpy_dtype(np.dtype(dtype))
    try:
        table = csv.read_csv(
            pa.BufferReader(block),
            csv.ReadOptions(use_threads=False, column_names=(["mark"] if has_keyword else []) + names),
            csv.ParseOptions(delimiter=" ", quote_char=False, double_quote=False),
            csv.ConvertOptions(
                include_columns=names, column_types=dict.fromkeys(names, kind), null_values=[]
            ),
        )
    except pa.ArrowInvalid:
        return None
    if len(table) != block.count(b"\n") + (not block.endswith(b"\n")):
        return None  # empty lines were skipped
    return np.stack([table.column(name).to_numpy() for name in names], axis=1)


def _format_like_python(values: Array) -> Any:
    """Arrow strings of float values in double precision, formatted as by Python.

    Both use the fewest digits; they differ where Python writes an exponent or the `.0` of integers.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    double = values.astype(np.float64)
    size = np.abs(double)
    differs = (size < 1e-3) | (size >= 1e15) | (double == np.floor(double))
    text = pa.array(double).cast(pa.string())
    if not differs.any():
        return text
    spelled = pa.array([repr(value) for value in double[differs].tolist()], pa.string())
    return pc.replace_with_mask(text, pa.array(differs), spelled)
