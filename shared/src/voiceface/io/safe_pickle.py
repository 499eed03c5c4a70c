"""Read arrays from third-party pickles and .npy files without calling anything that they name.

Published face models and feature files are pickles, and Python's own reader runs any code that a pickle
requests. Here stand-ins replace the few names that numpy arrays need and only record their arguments; any
other name ends the reading. Arrays of plain numbers are then built from their bytes.
"""

import io
import pickle
import pickletools
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ArrayFileError", "read_npy", "read_pickle"]

Array = NDArray[Any]
FORBIDDEN_OPCODES = frozenset(
    ["INST", "OBJ", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"]
)
UNREADABLE_ERRORS = (
    *(pickle.UnpicklingError, ValueError, TypeError, LookupError, EOFError, AttributeError, OverflowError),
    *(MemoryError, RecursionError, struct.error, UnicodeError),
)
PLAIN_TYPES = (bool, int, float, complex, str, bytes, bytearray, np.generic)
MAX_NESTING_DEPTH = 50


class ArrayFileError(ValueError):
    """A pickle or .npy file is corrupt or requests more than arrays; the message names the file."""


def read_pickle(path: str | Path) -> Any:
    """Read a pickle of dicts, lists, tuples, numbers, text and numpy arrays of plain numbers.

    Args:
        path: written by Python 2 or later, any protocol.

    Returns:
        The pickled value; arrays are new and writeable.

    Raises:
        FileNotFoundError: no such file.
        ArrayFileError: corrupt, or it requests anything else; no code of the file has run.
    """
    path = Path(path)
    _check_is_file(path)
    return _load_pickle_bytes(path.read_bytes(), path)


def read_npy(path: str | Path) -> Any:
    """Read a .npy file: an array, or for an array of objects the list of its elements.

    Raises:
        FileNotFoundError, ArrayFileError: as `read_pickle`.
    """
    path = Path(path)
    _check_is_file(path)
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                header = np.lib.format.read_array_header_1_0(file)
            else:
                header = np.lib.format.read_array_header_2_0(file)
        except UNREADABLE_ERRORS as error:
            raise ArrayFileError(f"{path} is no .npy file ({error})") from None
        if header[2].hasobject:
            return _load_pickle_bytes(file.read(), path)
    try:
        return np.load(path, allow_pickle=False)
    except UNREADABLE_ERRORS as error:
        raise ArrayFileError(f"{path} is corrupt or truncated ({error})") from None


class _Type:
    """Recorded arguments of a numpy data type."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def build(self) -> np.dtype:
        """Build the type if it is one of plain numbers."""
        code = self.code.decode() if isinstance(self.code, bytes) else self.code
        if not isinstance(code, str) or not re.fullmatch(r"[fiu](1|2|4|8)|b1", code):
            raise pickle.UnpicklingError(f"an array of the type {code!r:.40}, expected numbers")
        if self.order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError(f"the byte order {self.order!r:.20}")
        return np.dtype((self.order if self.order != "|" else "=") + code)


class _Array:
    """Recorded arguments of a numpy array."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        shape, kind, fortran, content = state[-4:]
        self.parts = shape, kind, "F" if fortran else "C", content

    def build(self) -> Any:
        """Build the array from its bytes; for an array of objects, the list of its elements."""
        if len(self.parts) != 4:
            raise pickle.UnpicklingError("an array without content")
        shape, kind, order, content = self.parts
        if isinstance(content, list):
            return content
        if not isinstance(kind, _Type) or not isinstance(shape, tuple):
            raise pickle.UnpicklingError("an array without type or shape")
        if isinstance(content, str):  # Python 2 wrote bytes as text
            content = content.encode("latin-1")
        if order not in ("C", "F") or not isinstance(content, bytes | bytearray):
            raise pickle.UnpicklingError("an array in an unknown arrangement")
        values = np.frombuffer(content, kind.build()).reshape(shape, order=order)
        return values.astype(values.dtype.newbyteorder("="))


class _Call:
    """A function that a pickle may request; unlike a real one it cannot be modified."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *arguments: Any) -> Any:
        return self.call(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a change of a function")


def _frombuffer(content: Any, kind: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.parts = shape, kind, order, content
    return array


def _scalar(kind: Any, content: Any = b"") -> Any:
    return _frombuffer(content, kind, (), "C").build()[()]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise pickle.UnpicklingError(f"the encoding {encoding!r:.20}")
    return text.encode("latin-1")


class _RestrictedUnpickler(pickle.Unpickler):
    """Unpickler that resolves only the names of `find_class`."""

    def find_class(self, module: str, name: str) -> Any:
        numpy_module = module.replace("numpy._core", "numpy.core")
        match numpy_module, name:
            case "numpy", "ndarray":
                return _Call(lambda *_: _Array())
            case "numpy", "dtype":
                return _Type
            case "numpy.core.multiarray", "_reconstruct":
                return _Call(lambda *_: _Array())
            case "numpy.core.multiarray", "scalar":
                return _Call(_scalar)
            case "numpy.core.numeric", "_frombuffer":
                return _Call(_frombuffer)
            case "_codecs", "encode":
                return _Call(_encode)
            case "__builtin__" | "builtins", "bytes":  # the empty value in old protocols
                return _Call(lambda: b"")
            case "collections", "OrderedDict":
                return dict
        raise pickle.UnpicklingError(f"it requests {module}.{name}, which could run code")


def _load_pickle_bytes(data: bytes, path: Path) -> Any:
    try:
        for opcode, argument, _ in pickletools.genops(data):  # lengths are checked before anything is built
            if opcode.name in FORBIDDEN_OPCODES or ("PUT" in opcode.name and int(argument or 0) > len(data)):
                raise pickle.UnpicklingError(f"the instruction {opcode.name}")
        value = _RestrictedUnpickler(io.BytesIO(data), encoding="latin1").load()
        return _to_plain(value, {}, 0)
    except UNREADABLE_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise ArrayFileError(
            f"{path} is refused: {reason[:200]}. Expected a pickle of plain numpy arrays; if its source is "
            "trusted, load it there and save the arrays again"
        ) from None


def _to_plain(value: Any, converted: dict[int, Any], depth: int) -> Any:
    """Copy with arrays built from their recorded arguments."""
    if id(value) in converted:
        return converted[id(value)]
    if depth > MAX_NESTING_DEPTH:
        raise pickle.UnpicklingError("it is nested too deeply")
    if isinstance(value, _Array):
        array = value.build()
        result = _to_plain(array, converted, depth + 1) if isinstance(array, list) else array
    elif isinstance(value, dict):
        result = {
            _to_plain(k, converted, depth + 1): _to_plain(v, converted, depth + 1) for k, v in value.items()
        }
    elif isinstance(value, list | tuple):
        result = type(value)(_to_plain(item, converted, depth + 1) for item in value)
    elif value is None or isinstance(value, PLAIN_TYPES):
        return value
    else:
        raise pickle.UnpicklingError(f"it holds a {type(value).__name__.strip('_')}")
    converted[id(value)] = result
    return result


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; check the path"
        )
