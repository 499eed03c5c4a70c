"""A stored parity case, and the log of comparisons between our values and the stored ones."""

import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from parity.tolerance_rules import EXACT, ToleranceRule, find_rule

Array = NDArray[Any]


class SkipCase(Exception):
    """The case cannot be checked because another file is missing; the message names it."""


@dataclass(frozen=True)
class CaseInputs:
    """Files that cases refer to: the fill rule and the published lists."""

    fill: Path
    lists: Path


@dataclass(frozen=True)
class Case:
    """A case: the files NAME.json and NAME.npz.

    Attributes:
        path: the JSON file.
        inputs: files that cases refer to.
    """

    path: Path
    inputs: CaseInputs

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def meta(self) -> dict[str, Any]:
        return json.loads(self.path.read_text("utf-8"))

    @property
    def config(self) -> dict[str, Any]:
        return self.meta.get("config") or {}

    @cached_property
    def array_names(self) -> set[str]:
        """Names of the stored arrays; only the table of contents is read."""
        file = self.path.with_suffix(".npz")
        if not file.is_file():
            return set()
        with np.load(file, allow_pickle=False) as archive:
            return set(archive.files)

    @cached_property
    def arrays(self) -> dict[str, Array]:
        file = self.path.with_suffix(".npz")
        if not file.is_file():
            return {}
        with np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}

    def tensor(self, key: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Return a stored array as a tensor."""
        return torch.as_tensor(np.ascontiguousarray(self.arrays[key])).to(dtype)

    def tolerance(self, *keys: str, **default: float) -> dict[str, float]:
        """Return `atol` and `rtol` of the first of `keys` in the tolerance table, else the general ones.

        Tolerances in words are ignored; `default` is used then.
        """
        table = self.meta.get("tolerance") or {}
        for place in (*(table.get(key) for key in keys), table, default):
            if isinstance(place, dict):
                found = {word: float(place[word]) for word in ("atol", "rtol") if word in place}
                if found:
                    return found
        return {"atol": 0.0}

    def rule(self, *names: str, default: ToleranceRule = EXACT) -> ToleranceRule:
        """Return the tolerance of a value: the last entry of the table that matches one of the names."""
        return find_rule(self.meta.get("tolerance"), names, default)

    def compare(
        self,
        log: "ComparisonLog",
        name: str,
        ours: ArrayLike | torch.Tensor,
        *aliases: str,
        default: ToleranceRule = EXACT,
    ) -> None:
        """Compare a value with the stored array of this name by the rule for it or for its aliases.

        For X_sub and X_stats, the standard deviation in a rule is the second entry of X_stats, if stored.
        """
        stats = self.arrays.get(re.sub(r"_(sub|stats)$", "", name) + "_stats")
        whole = re.search(r"_(sub|stats)$", name) and stats is not None
        rule = self.rule(*aliases, name, default=default)
        log.compare_by_rule(name, ours, self.arrays[name], rule, float(stats[1]) if whole else None)

    def stored_slices(self, *names: str, **symbols: int) -> tuple[slice, ...]:
        """Return the slices that the description states for an array, as in ``X_sub = ... [:, ::8]``.

        Args:
            names: spellings of the array's name (`body3_sub`, `bodyI_sub`); the first match counts.
            symbols: values of letters that denote strides.

        Raises:
            ValueError: the description states no slices.
        """
        text = str(self.meta.get("outputs", ""))
        places = (re.search(rf"\b{re.escape(name)}\b[^\[\];]*\[([^\]]*)\]", text) for name in names)
        found = next((place for place in places if place), None)
        if found is None:
            raise ValueError(
                f"{self.name}: the description of the outputs does not state the slices of {names[0]}"
            )
        strides = [part.strip().removeprefix("::").strip(":") or "1" for part in found[1].split(",")]
        return tuple(slice(None, None, symbols.get(stride) or int(stride)) for stride in strides)

    def stated_number(self, pattern: str, default: int) -> int:
        """Return a number that only the description of the outputs states."""
        found = re.search(pattern, str(self.meta.get("outputs", "")))
        return int(found[1]) if found else default

    def filled_weights(self, seed: int | None = None) -> dict[str, torch.Tensor]:
        """Return weights by key for the case's layout, generated by the fill rule."""
        fill_all = load_fill_rule(self.inputs.fill).fill_all
        stated = self.meta.get("fill_seed", self.config.get("fill_seed", 0))
        chosen = int(stated) if seed is None else seed
        return {k: torch.as_tensor(v) for k, v in fill_all(self.meta["layout"], chosen).items()}

    def find_sibling(self, *keys: str) -> "Case | None":
        """Find another case whose arrays have all these keys, in this directory or one beside it."""
        folder = self.path.parent
        for path in [*sorted(folder.glob("*.npz")), *sorted(folder.parent.glob("*/*.npz"))]:
            with np.load(path, allow_pickle=False) as archive:
                if set(keys) <= set(archive.files) and path.with_suffix(".json").is_file():
                    return Case(path.with_suffix(".json"), self.inputs)
        return None


@dataclass
class ComparisonLog:
    """Comparisons of one case.

    Attributes:
        comparisons: (error relative to the tolerance, name, description).
        notes: remarks to show with the result.
    """

    comparisons: list[tuple[float, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def compare_close(
        self,
        name: str,
        ours: ArrayLike | torch.Tensor,
        theirs: ArrayLike,
        atol: float = 0.0,
        rtol: float = 0.0,
    ) -> None:
        """Check element by element: |ours - theirs| <= atol + rtol |theirs|."""
        a, b = _to_float64(ours), _to_float64(theirs)
        if a.shape != b.shape:
            self.comparisons.append((np.inf, name, f"shape {a.shape}, expected {b.shape}"))
            return
        if not a.size:
            self.comparisons.append((0.0, name, "empty"))
            return
        error, ratio = _error_ratios(a, b, allowed := atol + rtol * np.abs(b))
        self._record_worst(name, error, allowed, ratio)

    def compare_by_rule(
        self,
        name: str,
        ours: ArrayLike | torch.Tensor,
        theirs: ArrayLike,
        rule: ToleranceRule,
        std: float | None = None,
    ) -> None:
        """Check by a rule of the case; `std` replaces the standard deviation of the expected values."""
        a, b = _to_float64(ours), _to_float64(theirs)
        if a.shape != b.shape or not a.size:
            self.compare_close(name, a, b)
            return
        error, ratio = _error_ratios(a, b, allowed := rule.tolerances(b, std))
        if rule.mean is not None:
            self.compare_limit(f"{name}: mean error", float(error.mean()), rule.mean)
        if rule.beyond:
            self.compare_limit(f"{name}: fraction of wrong pixels", _pixel_fraction(ratio > 1), rule.beyond)
        else:
            self._record_worst(name, error, allowed, ratio)

    def _record_worst(self, name: str, error: Array, allowed: Array, ratio: Array) -> None:
        """Record the element with the largest error relative to its tolerance."""
        at = int(np.argmax(ratio))
        words = f"error {error.flat[at]:.2g} (tolerance {allowed.flat[at]:.2g})"
        self.comparisons.append((float(ratio.flat[at]), name, words))

    def compare_limit(self, name: str, value: float, limit: float) -> None:
        """Check that a value does not exceed `limit`."""
        ratio = value / limit if limit > 0 else (0.0 if value <= 0 else np.inf)
        self.comparisons.append((float(ratio), name, f"error {value:.2g} (tolerance {limit:.2g})"))

    def compare_equal(self, name: str, ours: object, theirs: object) -> None:
        """Check exact equality."""
        if ours == theirs:
            self.comparisons.append((0.0, name, "exact"))
        else:
            self.comparisons.append(
                (np.inf, name, f"found {_short_repr(ours)}, expected {_short_repr(theirs)}")
            )

    def expect_error(self, name: str, call: Callable[[], object], *expected_words: str) -> None:
        """Check that `call` raises a ValueError or FileNotFoundError that mentions all `expected_words`."""
        try:
            call()
        except (ValueError, FileNotFoundError) as error:
            missing = [word for word in expected_words if word not in str(error)]
            self.compare_equal(
                name, f"words missing in the message: {missing}", "words missing in the message: []"
            )
        else:
            self.comparisons.append((np.inf, name, "no error raised"))

    @property
    def passed(self) -> bool:
        return bool(self.comparisons) and all(ratio <= 1 for ratio, _, _ in self.comparisons)

    def summary(self) -> str:
        """Describe the comparison with the largest relative error."""
        if not self.comparisons:
            return "nothing was compared"
        ratio, name, words = max(self.comparisons, key=lambda line: line[0])
        missed = sum(line[0] > 1 for line in self.comparisons)
        text = f"{name}: {words}" if ratio > 0 else "all exact"
        count = (
            f"{missed} of {len(self.comparisons)} comparisons failed"
            if missed
            else f"{len(self.comparisons)} comparisons"
        )
        return "; ".join([text, count, *self.notes])


def load_fill_rule(path: Path) -> Any:
    """Load the fill rule as a module."""
    if not path.is_file():
        raise FileNotFoundError(f"no fill rule at {path}: give --fill")
    spec = importlib.util.spec_from_file_location("parity_fill", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _to_float64(value: ArrayLike | torch.Tensor) -> Array:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value, dtype=np.float64)


def _error_ratios(ours: Array, theirs: Array, allowed: Array) -> tuple[Array, Array]:
    """Return absolute errors (infinite where only one side is finite) and errors relative to tolerance."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.abs(ours - theirs)
        error = np.where(np.isfinite(error), error, np.where(ours == theirs, 0.0, np.inf))
        return error, np.where(error == 0, 0.0, error / allowed)


def _pixel_fraction(wrong: Array) -> float:
    """Return the fraction of pixels that are wrong in any channel; channels: a first or last axis of 3."""
    if wrong.ndim == 3:
        for axis in (0, 2):
            if wrong.shape[axis] == 3:
                return float(wrong.any(axis).mean())
    return float(wrong.mean())


def _short_repr(value: object) -> str:
    text = repr(value)
    return text if len(text) < 200 else text[:197] + "..."
