"""Plain values of a pickle: names and instances that stand for others, keys, and the finished result."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["Finisher", "Instance", "Name", "PickleRefusedError", "plain_dict", "refuse_name"]

MAX_NESTING_DEPTH = 50
MAX_VALUES = 1_000_000
"""Values of a whole result, shared ones counted at every place; larger files may have more."""
_MAX_KEY_ITEMS = 64
_MAX_KEY_NUMBER = 2**61 - 1
_ATOMS = frozenset([type(None), bool, int, float, complex, str, bytes, bytearray])
_KEY_TYPES = frozenset([type(None), bool, int, float, str, bytes])


class PickleRefusedError(ValueError):
    """A pickle is damaged, or requests something else than plain values; nothing of it has run."""


class Name:
    """A module's attribute that a pickle names; it is never imported."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def key(self) -> tuple[str, str]:
        """Module and name."""
        return self.module, self.name


class Instance:
    """An instance of a named class: the items, elements and attributes that the pickle puts into it."""

    __slots__ = ("attributes", "elements", "items", "name")

    def __init__(self, name: Name) -> None:
        self.name = name
        self.items: dict[Any, Any] | None = None
        self.elements: list[Any] | None = None
        self.attributes: Any = None

    def set_state(self, state: Any) -> None:
        """Set the attributes."""
        self.attributes = state


def refuse_name(name: Name) -> PickleRefusedError:
    """Error for a name that is no plain value."""
    return PickleRefusedError(f"it requests {name}, which could run code")


def plain_dict(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Build a dict whose keys are numbers, text, bytes, None or short tuples of them.

    Raises:
        PickleRefusedError: another key, which could run code or take long to hash.
    """
    found = {}
    for key, value in pairs:
        if type(key) is not str:
            _check_key(key)
        found[key] = value
    return found


def _check_key(key: Any) -> None:
    """Refuse a key that is not plain."""
    pending, count = [key], 1
    while pending:
        item = pending.pop()
        if isinstance(item, Name | Instance):
            raise refuse_name(item if isinstance(item, Name) else item.name)
        if type(item) is tuple:
            count += len(item)
            if count > _MAX_KEY_ITEMS:
                raise PickleRefusedError("a key that is a long tuple")
            pending += item
        elif type(item) is int and abs(item) >= _MAX_KEY_NUMBER:
            raise PickleRefusedError("a key that is a huge number")
        elif type(item) not in _KEY_TYPES and not isinstance(item, np.number | np.bool_):
            raise PickleRefusedError(f"a key of the type {type(item).__name__.strip('_')}")


class Finisher:
    """Copies the values of a pickle as plain values: arrays are built, instances become dicts and lists.

    Shared values stay shared.

    Args:
        constants: plain values by (module, name) of names that may remain, such as data types.
        empty_dicts: classes by (module, name) whose empty instances are dicts.
        records: classes by (module, name) whose instances become the dict of their attributes.
    """

    def __init__(
        self,
        constants: Mapping[tuple[str, str], Any],
        empty_dicts: frozenset[tuple[str, str]],
        records: frozenset[tuple[str, str]],
    ) -> None:
        self._constants, self._empty_dicts, self._records = constants, empty_dicts, records
        self._weights: dict[int, int] = {}
        self._results: dict[int, Any] = {}
        self._kept: list[Any] = []  # so that no identity is used twice

    def finish(self, value: Any, max_values: int) -> Any:
        """Return the plain value.

        Raises:
            PickleRefusedError: names or instances that are no plain values, containers that contain
                themselves or are nested too deeply, or more than `max_values` values.
        """
        result, weight = self._finish(value, 0)
        limit = max(max_values, MAX_VALUES)
        if weight > limit:
            raise PickleRefusedError(f"its shared values multiply beyond {limit:,}")
        return result

    def resolve(self, instance: Instance) -> Any:
        """Container that an instance stands for, not yet finished.

        Raises:
            PickleRefusedError: an instance of an unknown class that is no dict and no list.
        """
        if instance.name.key in self._records:
            attributes = instance.attributes
            return attributes if type(attributes) is dict else {}
        if instance.items is not None:
            return instance.items
        if instance.elements is not None:
            return instance.elements
        if instance.name.key in self._empty_dicts:
            return {}
        raise refuse_name(instance.name)

    def _finish(self, value: Any, depth: int) -> tuple[Any, int]:
        """Plain copy of a value and the number of values in it."""
        if type(value) in _ATOMS:
            return value, 1
        key = id(value)
        if key in self._results:
            return self._results[key], self._weights[key]
        if key in self._weights:
            raise PickleRefusedError("a value that contains itself")
        if depth > MAX_NESTING_DEPTH:
            raise PickleRefusedError("it is nested too deeply")
        self._weights[key] = 0
        self._kept.append(value)
        result, weight = self._finish_new(value, depth + 1)
        self._results[key], self._weights[key] = result, weight
        return result, weight

    def _finish_new(self, value: Any, depth: int) -> tuple[Any, int]:
        """`_finish` for a value that is no atom and was not met before."""
        if isinstance(value, Instance):
            return self._finish(self.resolve(value), depth)
        if isinstance(value, Name):
            if value.key not in self._constants:
                raise refuse_name(value)
            return self._constants[value.key], 1
        if isinstance(value, dict):
            pairs = [(key, *self._finish(item, depth)) for key, item in value.items()]
            return {key: item for key, item, _ in pairs}, 1 + len(pairs) + sum(w for *_, w in pairs)
        if isinstance(value, list | tuple):
            parts = [(x, 1) if type(x) in _ATOMS else self._finish(x, depth) for x in value]
            return type(value)([item for item, _ in parts]), 1 + sum(weight for _, weight in parts)
        if isinstance(value, set | frozenset):
            return value, 1 + len(value)
        if isinstance(value, np.generic):
            return value, 1
        build: Callable[[], Any] | None = getattr(value, "build", None)
        if build is None:
            raise PickleRefusedError(f"it holds a {type(value).__name__.strip('_')}")
        built = build()
        return self._finish(built, depth) if isinstance(built, list) else (built, 1)
