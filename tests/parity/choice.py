"""Which check serves which case: by the name of the case, else by what is in it."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from parity.case import Book, Case

Judge = Callable[[Case, Book], None]


class Check(NamedTuple):
    """A function that bears the name of a kind of case, and what tells such a case under another name.

    Attributes:
        module: of the function, below `parity`.
        arrays: names of arrays that every such case has.
        fields: keys of its JSON object.
        config: keys of its configuration.
    """

    module: str
    arrays: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    config: frozenset[str] = frozenset()


def check(
    module: str, *, arrays: Iterable[str] = (), fields: Iterable[str] = (), config: Iterable[str] = ()
) -> Check:
    """A `Check` from plain lists."""
    return Check(module, frozenset(arrays), frozenset(fields), frozenset(config))


class Choice:
    """The checks of one system.

    Args:
        checks: by kind of case.
    """

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self.checks = dict(checks)

    def named(self, name: str) -> str | None:
        """The longest kind whose name is part of this one."""
        return max((kind for kind in self.checks if kind in name), key=len, default=None)

    def alike(self, case: Case) -> list[str]:
        """The kinds that a case is by its contents."""
        arrays, fields, config = case.array_names, set(case.meta), set(case.config)
        return [
            kind
            for kind, known in self.checks.items()
            if known.arrays <= arrays and known.fields <= fields and known.config <= config
        ]

    def check_for(self, case: Case) -> Judge | None:
        """The check of a case, or None."""
        kind = self.named(case.name)
        if kind is None:
            fitting = self.alike(case)
            kind = fitting[0] if len(fitting) == 1 else None
        if kind is None:
            return None
        return getattr(importlib.import_module(f"parity.{self.checks[kind].module}"), kind)
