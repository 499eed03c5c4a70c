"""Files of `torch.save`, in the zip format and in that from before PyTorch 1.6, without running code in them.

`voiceface.io.pickle_machine` executes the pickle; tensors are views of storages whose bytes are read here.
PyTorch's own reader does not verify the checksums of the archive, refuses protocols above 2 and containers
that PyTorch does not know; this one verifies and reads them.
"""

import io
import math
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from voiceface.io.foreign_files import expansion_limit
from voiceface.io.pickle_constructors import EMPTY_DICTS, PYTHON_CONSTRUCTORS, RECORDS, numpy_constructors
from voiceface.io.pickle_machine import Constructor, PickleMachine
from voiceface.io.pickle_plain import Name, PickleRefusedError
from voiceface.io.zip_members import ZipMembers

__all__ = ["OtherFileError", "TorchFile", "read_torch_file"]

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_DIMENSIONS = 64
NUMPY_TYPES = r"[fiu](1|2|4|8)|b1|c(8|16)|[SU]\d{0,4}"
_DTYPES = {
    name: getattr(torch, name)
    for name in (
        *("float16", "float32", "float64", "bfloat16", "complex32", "complex64", "complex128"),
        *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "bool"),
        *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"),
    )
    if hasattr(torch, name)
}
_OLD_NAMES = {"half": "float16", "float": "float32", "double": "float64", "short": "int16", "int": "int32"}
_OLD_NAMES |= {"long": "int64", "cfloat": "complex64", "cdouble": "complex128"}
_STORAGES = {
    **{"FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16"},
    **{"BFloat16Storage": "bfloat16", "ByteStorage": "uint8", "CharStorage": "int8", "BoolStorage": "bool"},
    **{"ShortStorage": "int16", "IntStorage": "int32", "LongStorage": "int64", "UntypedStorage": "uint8"},
    **{"ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128"},
}
_CONSTANTS: dict[tuple[str, str], Any] = {
    ("torch", name): _DTYPES[known]
    for name, known in ({name: name for name in _DTYPES} | _OLD_NAMES).items()
    if known in _DTYPES
}
_STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")


class TorchFile(NamedTuple):
    """Content of a file.

    Attributes:
        content: plain value; tensors on the CPU, those that shared memory still share it.
        has_checksums: whether the file states checksums, which have been verified.
    """

    content: Any
    has_checksums: bool


class OtherFileError(ValueError):
    """A whole file of another kind."""


def read_torch_file(file: BinaryIO) -> TorchFile:
    """Read a file of `torch.save`.

    Args:
        file: open for reading, at its beginning.

    Raises:
        PickleRefusedError: it requests something else than plain values and tensors.
        OtherFileError: a whole file of another kind; the message goes on behind the name of the file.
        ValueError, LookupError, zipfile.BadZipFile, EOFError: damaged or another file; to be called inside
            `voiceface.io.foreign_files.reading`.
    """
    is_zip = file.read(4) == b"PK\x03\x04"
    file.seek(0)
    return _read_zip(file) if is_zip else TorchFile(_read_legacy(file), False)


class _Storage:
    """One storage: its type, its number of values and, once they are read, its bytes."""

    __slots__ = ("dtype", "numel", "values")

    def __init__(self, dtype: torch.dtype, numel: int) -> None:
        self.dtype, self.numel = dtype, numel
        self.values: Tensor | None = None

    def fill(self, data: bytearray, byte_order: str) -> None:
        """Set the bytes.

        Raises:
            ValueError: more or fewer than the pickle states, or no truth values.
        """
        if len(data) != self.numel * self.dtype.itemsize:
            raise ValueError(
                f"a storage of {len(data):,} bytes, expected {self.numel * self.dtype.itemsize:,}"
            )
        raw = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
        if self.dtype == torch.bool and data and int(raw.max()) > 1:
            raise ValueError("truth values other than 0 and 1")
        width = self.dtype.itemsize // (2 if self.dtype.is_complex else 1)
        if byte_order != sys.byteorder and width > 1:
            raw = raw.reshape(-1, width).flip(1).reshape(-1).clone()
        self.values = raw.view(self.dtype) if data else torch.empty(0, dtype=self.dtype)


class _StoredTensor:
    """A tensor whose storage may not have been read yet."""

    __slots__ = ("dtype", "layout", "storage")

    def __init__(self, storage: _Storage, dtype: torch.dtype, layout: tuple[int, Any, Any]) -> None:
        self.storage, self.dtype, self.layout = storage, dtype, layout

    def build(self) -> Tensor:
        """View of the storage."""
        offset, size, stride = self.layout
        assert self.storage.values is not None
        return self.storage.values.view(self.dtype).as_strided(size, stride, offset)


class _Storages:
    """The storages that a pickle names, by key, and the constructors of their tensors.

    Args:
        size: bytes of the whole file.
    """

    def __init__(self, size: int) -> None:
        self.by_key: dict[str, _Storage] = {}
        self._budget = expansion_limit(0) + 4 * size

    def persistent(self, identifier: Any) -> _Storage:
        """Storage of a persistent identifier.

        Raises:
            PickleRefusedError: another identifier, or one that contradicts an earlier one.
        """
        match identifier:
            case ("storage", Name(module=module, name=name), str(key), str(), int(numel), *view) if (
                module in _STORAGE_MODULES and name in _STORAGES and numel >= 0 and view in ([], [None])
            ):
                storage = self.by_key.setdefault(key, _Storage(_DTYPES[_STORAGES[name]], numel))
                if (storage.dtype, storage.numel) != (_DTYPES[_STORAGES[name]], numel):
                    raise PickleRefusedError(f"the storage {key} has two sizes")
                return storage
        raise PickleRefusedError(f"a persistent identifier {str(identifier)[:60]!r}")

    def constructors(self) -> dict[tuple[str, str], Constructor]:
        """Constructors of tensors, by (module, name)."""
        return {
            ("torch._utils", "_rebuild_tensor"): lambda _, args: self._tensor(*args[:4]),
            ("torch._utils", "_rebuild_tensor_v2"): lambda _, args: self._tensor(*args[:4]),
            ("torch._utils", "_rebuild_tensor_v3"): self._tensor_with_type,
            ("torch._utils", "_rebuild_parameter"): lambda _, args: _check_tensor(args[0]),
            ("torch._utils", "_rebuild_parameter_with_state"): lambda _, args: _check_tensor(args[0]),
            ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
            ("torch", "Size"): lambda _, args: tuple(map(int, *args)),
            ("torch", "device"): lambda _, args: ":".join(map(str, args)),
            ("torch.serialization", "_get_layout"): lambda _, args: str(*args),
        }

    def _tensor_with_type(self, _: PickleMachine, arguments: tuple[Any, ...]) -> _StoredTensor:
        """Tensor whose type is stated apart from its storage."""
        storage, offset, size, stride, _requires_grad, _hooks, name = arguments[:7]
        return self._tensor(storage, offset, size, stride, _CONSTANTS[name.key])

    def _tensor(
        self, storage: Any, offset: Any, size: Any, stride: Any, dtype: torch.dtype | None = None
    ) -> _StoredTensor:
        """Tensor of a storage; its last value must lie in it."""
        if not isinstance(storage, _Storage):
            raise ValueError("no storage")
        kind = dtype or storage.dtype
        numbers = (offset, *size, *stride)
        if any(type(number) is not int or number < 0 for number in numbers) or len(size) > MAX_DIMENSIONS:
            raise ValueError("a size that is none")
        numel = math.prod(size)
        available = storage.numel * storage.dtype.itemsize // kind.itemsize
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if numel and not last < available:
            raise ValueError("a tensor that does not fit its storage")
        self._budget -= numel * kind.itemsize
        if self._budget < 0:
            raise PickleRefusedError("its tensors expand far beyond the size of the file")
        return _StoredTensor(storage, kind, (offset if numel else 0, tuple(size), tuple(stride)))


def _check_tensor(value: Any) -> Any:
    """A parameter is its tensor."""
    if not isinstance(value, _StoredTensor):
        raise ValueError("no tensor")
    return value


def _rebuild_from_type(machine: PickleMachine, arguments: tuple[Any, ...]) -> Any:
    """A tensor with attributes, which are dropped; only plain tensors and parameters."""
    name, kind, parts = arguments[:3]
    if not isinstance(kind, Name) or kind.key not in (
        ("torch", "Tensor"),
        ("torch.nn.parameter", "Parameter"),
    ):
        raise PickleRefusedError(f"it requests {kind}, which could run code")
    return machine.construct(name, parts)


def _new_machine(file: BinaryIO, size: int, storages: _Storages | None = None) -> PickleMachine:
    """Machine for one pickle of a file."""
    constructors = {**PYTHON_CONSTRUCTORS, **numpy_constructors(NUMPY_TYPES)}
    persistent: Callable[[Any], Any] | None = None
    if storages is not None:
        constructors |= storages.constructors()
        persistent = storages.persistent
    return PickleMachine(
        file,
        size,
        constructors,
        constants=_CONSTANTS,
        persistent=persistent,
        empty_dicts=EMPTY_DICTS,
        records=RECORDS,
    )


def _read_zip(file: BinaryIO) -> TorchFile:
    """Read the zip format."""
    members = ZipMembers(file)
    folders = [
        name.removesuffix("data.pkl") for name in members.names if re.fullmatch(r"[^/]*/data\.pkl", name)
    ]
    if len(folders) != 1:
        shown = ", ".join(members.names[:3]) or "nothing"
        raise OtherFileError(
            f"is a zip archive of {shown}, expected a PyTorch file; unpack it and give the file inside"
        )
    folder = folders[0]
    if f"{folder}constants.pkl" in members.names or any(f"{folder}code/" in name for name in members.names):
        raise OtherFileError(
            "is a TorchScript program, expected tensors; ask its source for a plain state dict"
        )
    pickle = members.read(f"{folder}data.pkl")
    order = bytes(members.read(f"{folder}byteorder")) if f"{folder}byteorder" in members.names else b"little"
    if order not in (b"little", b"big"):
        raise ValueError(f"the byte order {order!r}")
    size = os.fstat(file.fileno()).st_size
    storages = _Storages(size)
    machine = _new_machine(io.BytesIO(pickle), size, storages)
    value = machine.run()
    read = {f"{folder}data.pkl", f"{folder}byteorder"}
    for key, storage in storages.by_key.items():
        read.add(f"{folder}data/{key}")
        storage.fill(members.read(f"{folder}data/{key}"), order.decode())
    members.verify([name for name in members.names if name not in read])
    return TorchFile(machine.finish(value), members.has_checksums)


def _read_legacy(file: BinaryIO) -> Any:
    """Read the format from before PyTorch 1.6: pickles in a row, then the storages."""
    size = os.fstat(file.fileno()).st_size

    def read_plain() -> Any:
        machine = _new_machine(file, size)
        return machine.finish(machine.run())

    try:
        magic = read_plain()
    except PickleRefusedError as error:
        raise ValueError(f"no file of torch.save: {error}") from None
    if magic != LEGACY_MAGIC:
        raise ValueError("a pickle, but no file of torch.save")
    if (protocol := read_plain()) != LEGACY_PROTOCOL:
        raise ValueError(f"the format {protocol}, expected {LEGACY_PROTOCOL}")
    system = read_plain()
    order = "little" if not isinstance(system, dict) or system.get("little_endian", True) else "big"
    storages = _Storages(size)
    machine = _new_machine(file, size, storages)
    value = machine.run()
    keys = read_plain()
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages.by_key):
        raise ValueError("the list of its storages contradicts its content")
    _fill_legacy(file, size, [storages.by_key[str(key)] for key in keys], order)
    return machine.finish(value)


def _fill_legacy(file: BinaryIO, size: int, storages: Iterable[_Storage], order: str) -> None:
    """Read the storages in the order of the file: a count of values, then the values."""
    for storage in storages:
        numel = int.from_bytes(file.read(8), order, signed=True)  # type: ignore[arg-type]
        count = storage.numel * storage.dtype.itemsize
        if numel != storage.numel or file.tell() + count > size:
            raise ValueError(
                f"a storage of {numel:,} values, expected {storage.numel:,}; the file is truncated"
            )
        data = bytearray(count)
        file.readinto(data)  # type: ignore[attr-defined]
        storage.fill(data, order)
