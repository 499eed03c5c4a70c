"""Registry of checks: finds the check of a case by its name, else by its contents."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from parity.case import Case, ComparisonLog

CheckFunction = Callable[[Case, ComparisonLog], None]


class CaseCheck(NamedTuple):
    """A check function, named after its kind of case, and the contents that identify such a case.

    Attributes:
        module: module of the function, in `parity`.
        arrays: arrays that every such case has.
        fields: keys of its JSON object.
        config: keys of its configuration.
    """

    module: str
    arrays: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    config: frozenset[str] = frozenset()


def case_check(
    module: str, *, arrays: Iterable[str] = (), fields: Iterable[str] = (), config: Iterable[str] = ()
) -> CaseCheck:
    """Make a `CaseCheck` from plain lists."""
    return CaseCheck(module, frozenset(arrays), frozenset(fields), frozenset(config))


class CheckRegistry:
    """Checks of one system.

    Args:
        checks: check by kind of case.
    """

    def __init__(self, checks: Mapping[str, CaseCheck]) -> None:
        self.checks = dict(checks)

    def kind_from_name(self, name: str) -> str | None:
        """Return the longest kind that is part of this name."""
        return max((kind for kind in self.checks if kind in name), key=len, default=None)

    def kinds_from_contents(self, case: Case) -> list[str]:
        """Return the kinds whose contents the case has."""
        arrays, fields, config = case.array_names, set(case.meta), set(case.config)
        return [
            kind
            for kind, known in self.checks.items()
            if known.arrays <= arrays and known.fields <= fields and known.config <= config
        ]

    def find_check(self, case: Case) -> CheckFunction | None:
        """Return the check of a case, or None: by its name, unless its contents identify another kind."""
        kind, fitting = self.kind_from_name(case.name), self.kinds_from_contents(case)
        if kind not in fitting and len(fitting) == 1:
            kind = fitting[0]
        if kind is None:
            return None
        return getattr(importlib.import_module(f"parity.{self.checks[kind].module}"), kind)
