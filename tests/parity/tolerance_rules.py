"""Tolerance rules of cases, stated in numbers or in words."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMBER = r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)"
BOUND = rf"(?:\s+(?:difference|error))?(?:\s+(?:of|at most|below|up to))?\s+{NUMBER}"
TERMS = {"atol": "atol", "rtol": "rtol", "atol_per_std": "per_std", "atol_per_max": "per_max"}
WORDS = {
    "atol": rf"(?:abs(?:olute)?|within){BOUND}",
    "rtol": rf"rel(?:ative)?{BOUND}",
    "mean": rf"mean(?:\s+abs(?:olute)?)?{BOUND}",
    "beyond": rf"except\s+(?:on|for|in)\s+(?:at most\s+)?{NUMBER}\s*(?:%|per ?cent)",
}


@dataclass(frozen=True)
class ToleranceRule:
    """Tolerance of an element: atol + rtol |expected| + per_std x std + per_max x max |expected|.

    Attributes:
        atol: absolute tolerance.
        rtol: fraction of each expected value.
        per_std: fraction of the standard deviation of the expected array.
        per_max: fraction of the largest expected value.
        mean: bound on the mean absolute difference, or None.
        beyond: fraction of pixels that may exceed the element-wise tolerance.
    """

    atol: float = 0.0
    rtol: float = 0.0
    per_std: float = 0.0
    per_max: float = 0.0
    mean: float | None = None
    beyond: float = 0.0

    def tolerances(self, expected: NDArray[Any], std: float | None = None) -> NDArray[np.float64]:
        """Return the tolerance of every element; `std` replaces the standard deviation of `expected`."""
        size = np.abs(expected).astype(np.float64)
        if std is None:
            std = float(np.std(expected, dtype=np.float64)) if size.size else 0.0
        largest = float(size.max(initial=0.0))
        return self.atol + self.rtol * size + self.per_std * std + self.per_max * largest


EXACT = ToleranceRule()


def parse_rule(stated: object) -> ToleranceRule | None:
    """Parse one entry of a tolerance table; None if it cannot be parsed.

    Args:
        stated: a mapping of `TERMS` to numbers, a number (absolute), "exact", or words such as "max abs
            difference 2, mean abs difference below 0.2" or "max abs difference 2 except on at most 2% of
            pixels".
    """
    if isinstance(stated, Mapping):
        found = dict(_parse_term(TERMS[word], value) for word, value in stated.items() if word in TERMS)
        return ToleranceRule(**found) if found else None
    if isinstance(stated, int | float):
        return ToleranceRule(atol=float(stated))
    if not isinstance(stated, str):
        return None
    text = stated.lower()
    if text.strip().startswith("exact"):
        return EXACT
    mean = re.search(WORDS["mean"], text)
    rest = text.replace(mean[0], "") if mean else text
    numbers = {word: re.search(WORDS[word], rest) for word in ("atol", "rtol", "beyond")}
    known: dict[str, float] = {word: float(match[1]) for word, match in numbers.items() if match}
    if mean:
        known["mean"] = float(mean[1])
    if "beyond" in known:
        known["beyond"] /= 100
    if known.keys() <= {"beyond"}:
        return None
    if "atol" not in known and "rtol" not in known:
        known["atol"] = np.inf  # only the mean is bounded
    return ToleranceRule(**known)


def find_rule(table: object, names: tuple[str, ...], default: ToleranceRule) -> ToleranceRule:
    """Return the rule of the last entry whose key or pattern matches one of the names, else the table's own.

    Args:
        table: a case's `tolerance`: entries by key, or one rule for everything.
        names: names of the value and of its groups.
        default: rule if no entry matches or it cannot be parsed.
    """
    if not isinstance(table, Mapping) or table.keys() <= TERMS.keys():
        return parse_rule(table) or default
    fitting = [
        stated
        for key, stated in table.items()
        if any(key == name or fnmatchcase(name, key) for name in names)
    ]
    general = {word: table[word] for word in TERMS if word in table}
    return parse_rule(fitting[-1] if fitting else general) or default


def _parse_term(term: str, value: object) -> tuple[str, float]:
    """Parse a term of a rule; "1e-3 of the largest of the group" is a fraction of the largest."""
    if isinstance(value, str) and (share := re.match(rf"\s*{NUMBER}\s+of the largest", value.lower())):
        return "per_max", float(share[1])
    return term, float(str(value))
