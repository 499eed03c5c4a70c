"""What a pickle may request: containers, paths and dates of Python, arrays and scalars of numpy.

Each constructor takes the arguments in the pickle and returns a plain value: a path and a date become text,
a time difference seconds, a deque a list, every kind of dict a dict, a range and a slice their numbers, a
decimal number or a fraction text.
"""

import datetime
import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from voiceface.io.pickle_machine import Constructor, PickleMachine
from voiceface.io.pickle_plain import Name, PickleRefusedError, plain_dict

__all__ = ["EMPTY_DICTS", "PYTHON_CONSTRUCTORS", "RECORDS", "numpy_constructors"]

RECORDS = frozenset([("argparse", "Namespace"), ("types", "SimpleNamespace"), ("uuid", "UUID")])
"""Classes whose instances become the dict of their attributes."""
EMPTY_DICTS = frozenset(
    [
        *(("easydict", "EasyDict"), ("addict.addict", "Dict"), ("addict", "Dict"), ("munch", "Munch")),
        *(
            ("yacs.config", "CfgNode"),
            ("fvcore.common.config", "CfgNode"),
            ("attrdict.dictionary", "AttrDict"),
        ),
        *(("mmcv.utils.config", "ConfigDict"), ("mmengine.config.config", "ConfigDict")),
        *(("timm.utils.misc", "AttrDict"), ("box.box", "Box"), ("torch._utils", "AttrDict")),
    ]
)
"""Dict classes of configurations; an empty instance of another class cannot be told from an object."""


def _make_dict(machine: PickleMachine, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """A dict of nothing, of a dict or of pairs."""
    content = arguments[0] if arguments else ()
    pairs = content.items() if isinstance(content, dict) else [(key, value) for key, value in content]
    machine.allocate(100 * len(pairs))
    return plain_dict(pairs)


def _make_default_dict(machine: PickleMachine, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """A defaultdict without its factory."""
    return _make_dict(machine, arguments[1:])


def _make_list(machine: PickleMachine, arguments: tuple[Any, ...]) -> list[Any]:
    """A list, or a deque without its greatest length."""
    content = arguments[0] if arguments else []
    if type(content) not in (list, tuple):
        raise ValueError("no list")
    machine.allocate(8 * len(content))
    return list(content)


def _make_set(machine: PickleMachine, arguments: tuple[Any, ...]) -> set[Any]:
    """A set."""
    items = _make_list(machine, arguments)
    machine.allocate(100 * len(items))
    return set(plain_dict((item, None) for item in items))


def _make_bytes(machine: PickleMachine, arguments: tuple[Any, ...]) -> bytes:
    """Bytes, as old protocols spell them: empty, or text in Latin-1."""
    content, encoding = (*arguments, "latin-1", "latin-1")[:2] if arguments else (b"", "latin-1")
    if isinstance(content, str):
        return _encode(machine, (content, encoding))
    if not isinstance(content, bytes | bytearray):
        raise ValueError("no bytes")
    machine.allocate(len(content))
    return bytes(content)


def _encode(machine: PickleMachine, arguments: tuple[Any, ...]) -> bytes:
    """Text of old protocols as bytes."""
    text, encoding = (*arguments, "latin1")[:2]
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise PickleRefusedError(f"the encoding {encoding!r:.20}")
    machine.allocate(len(text))
    return text.encode("latin-1")


def _reconstruct_instance(machine: PickleMachine, arguments: tuple[Any, ...]) -> Any:
    """An instance as protocols 0 and 1 write it: class, base class, content of the base class."""
    kind, base, content = arguments
    if not isinstance(kind, Name) or not isinstance(base, Name):
        raise ValueError("no class")
    instance = machine.new_instance(kind)
    if base.name == "dict":
        instance.items = _make_dict(machine, (content,))
    elif base.name == "list":
        instance.elements = _make_list(machine, (content,))
    elif base.name != "object" or content is not None:
        raise ValueError(f"base class {base}")
    return instance


def _path(kind: type) -> Constructor:
    """Constructor of a path as text."""

    def make(machine: PickleMachine, arguments: tuple[Any, ...]) -> str:
        if not all(isinstance(part, str) for part in arguments):
            raise ValueError("no text")
        machine.allocate(sum(map(len, arguments)))
        return str(kind(*arguments))

    return make


def _date(kind: Callable[..., Any]) -> Constructor:
    """Constructor of a date or time as text by ISO 8601."""

    def make(machine: PickleMachine, arguments: tuple[Any, ...]) -> str:
        state = arguments[0]
        state = state.encode("latin-1") if isinstance(state, str) else state
        if not isinstance(state, bytes):
            return kind(*arguments).isoformat()
        return kind(state).isoformat()  # a time zone would be a further argument

    return make


def _time_difference(machine: PickleMachine, arguments: tuple[Any, ...]) -> float:
    """Seconds of a time difference of days, seconds, microseconds."""
    return datetime.timedelta(*arguments).total_seconds()


def _complex(machine: PickleMachine, arguments: tuple[Any, ...]) -> complex:
    """A complex number."""
    return complex(*map(float, arguments))


def _zone(machine: PickleMachine, arguments: tuple[Any, ...]) -> str:
    """A time zone by its difference to UTC, in seconds."""
    return f"UTC{arguments[0]:+}" if arguments and isinstance(arguments[0], float) else "UTC"


def _numbers(machine: PickleMachine, arguments: tuple[Any, ...]) -> tuple[int | None, ...]:
    """Start, stop and step of a range or a slice."""
    if len(arguments) > 3 or not all(each is None or type(each) is int for each in arguments):
        raise ValueError("no numbers")
    return arguments


def _fraction(machine: PickleMachine, arguments: tuple[Any, ...]) -> str:
    """A decimal number or a fraction as text."""
    if not 1 <= len(arguments) <= 2 or not all(type(each) in (int, str) for each in arguments):
        raise ValueError("no numbers")
    return "/".join(str(each) for each in arguments)


def _in_builtins(**makers: Constructor) -> dict[tuple[str, str], Constructor]:
    """Constructors under the names of Python 2 and 3."""
    return {(module, name): maker for module in ("builtins", "__builtin__") for name, maker in makers.items()}


PYTHON_CONSTRUCTORS: Mapping[tuple[str, str], Constructor] = {
    **_in_builtins(dict=_make_dict, list=_make_list, set=_make_set, bytes=_make_bytes, complex=_complex),
    **_in_builtins(bytearray=lambda machine, arguments: bytearray(_make_bytes(machine, arguments))),
    **_in_builtins(frozenset=lambda machine, arguments: frozenset(_make_set(machine, arguments))),
    **_in_builtins(range=_numbers, xrange=_numbers, slice=_numbers),
    ("decimal", "Decimal"): _fraction,
    ("fractions", "Fraction"): _fraction,
    ("collections", "OrderedDict"): _make_dict,
    ("collections", "Counter"): _make_dict,
    ("collections", "defaultdict"): _make_default_dict,
    ("collections", "deque"): _make_list,
    ("_codecs", "encode"): _encode,
    **{(module, "_reconstructor"): _reconstruct_instance for module in ("copyreg", "copy_reg")},
    **{
        (module, name): _path(PureWindowsPath if "Windows" in name else PurePosixPath)
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "PurePosixPath", "Path", "PurePath", "WindowsPath", "PureWindowsPath")
    },
    ("datetime", "datetime"): _date(datetime.datetime),
    ("datetime", "date"): _date(datetime.date),
    ("datetime", "time"): _date(datetime.time),
    ("datetime", "timedelta"): _time_difference,
    ("datetime", "timezone"): _zone,
}
"""Constructors of Python's own plain values, by (module, name)."""


class _Type:
    """Recorded arguments of a numpy data type."""

    __slots__ = ("code", "order", "pattern")

    def __init__(self, pattern: re.Pattern[str], code: Any) -> None:
        self.pattern, self.code, self.order = pattern, code, "="

    def set_state(self, state: Any) -> None:
        """Set the byte order; further parts describe records."""
        self.order = state[1]
        if any(part is not None for part in state[2:5]):
            raise ValueError("expected numbers, found records")

    def build_type(self) -> np.dtype:
        """Build the type if it is an allowed one."""
        code = self.code.decode() if isinstance(self.code, bytes) else self.code
        if not isinstance(code, str) or not self.pattern.fullmatch(code):
            raise PickleRefusedError(f"an array of the type {code!r:.40}, expected numbers")
        if self.order not in ("<", ">", "=", "|"):
            raise PickleRefusedError(f"the byte order {self.order!r:.20}")
        return np.dtype((self.order if self.order != "|" else "=") + code)

    def build(self) -> str:
        """Name of a type that is no part of an array."""
        return self.build_type().name


class _Array:
    """Recorded arguments of a numpy array."""

    __slots__ = ("machine", "parts")

    def __init__(self, machine: PickleMachine, *parts: Any) -> None:
        self.machine, self.parts = machine, parts

    def set_state(self, state: Any) -> None:
        """Set shape, type, order and content."""
        shape, kind, fortran, content = state[-4:]
        self.parts = shape, kind, "F" if fortran else "C", content

    def build(self) -> Any:
        """Build the array from its bytes; for an array of objects, the list of its elements."""
        if len(self.parts) != 4:
            raise PickleRefusedError("an array without content")
        shape, kind, order, content = self.parts
        if isinstance(content, list):
            return content
        if not isinstance(kind, _Type) or not isinstance(shape, tuple):
            raise PickleRefusedError("an array without type or shape")
        if isinstance(content, str):  # Python 2 wrote bytes as text
            content = content.encode("latin-1")
        if order not in ("C", "F") or not isinstance(content, bytes | bytearray):
            raise PickleRefusedError("an array in an unknown arrangement")
        self.machine.allocate(2 * len(content))
        try:
            values = np.frombuffer(content, kind.build_type()).reshape(shape, order=order)
        except (ValueError, TypeError, OverflowError) as error:
            raise PickleRefusedError(f"an array whose parts do not fit ({str(error)[:80]})") from None
        return values.astype(values.dtype.newbyteorder("="))


def _scalar(machine: PickleMachine, arguments: tuple[Any, ...]) -> Any:
    """A numpy scalar."""
    kind, content = (*arguments, b"")[:2]
    return _Array(machine, (), kind, "C", content).build()[()]


def _frombuffer(machine: PickleMachine, arguments: tuple[Any, ...]) -> _Array:
    """An array from content, type, shape and order."""
    content, kind, shape, order = arguments
    return _Array(machine, shape, kind, order, content)


def numpy_constructors(type_codes: str = r"[fiu](1|2|4|8)|b1") -> dict[tuple[str, str], Constructor]:
    """Constructors of numpy's arrays, scalars and data types, by (module, name).

    Args:
        type_codes: regular expression of the accepted types, as numpy spells them; numbers by default.
    """
    pattern = re.compile(type_codes)
    found: dict[tuple[str, str], Constructor] = {
        ("numpy", "ndarray"): lambda machine, _: _Array(machine),
        ("numpy", "dtype"): lambda _, arguments: _Type(pattern, arguments[0]),
    }
    for core in ("numpy.core", "numpy._core"):
        found[f"{core}.multiarray", "_reconstruct"] = lambda machine, _: _Array(machine)
        found[f"{core}.multiarray", "scalar"] = _scalar
        found[f"{core}.numeric", "_frombuffer"] = _frombuffer
    return found
