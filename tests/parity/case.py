"""One stored parity case, and the book that keeps how far our values are from its values."""

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
from parity.rules import EXACT, ToleranceRule, find_rule

Array = NDArray[Any]


class SkipCase(Exception):
    """A case cannot be judged because something beside it is absent; the text says what."""


@dataclass(frozen=True)
class CaseInputs:
    """What stands beside the cases: the fill rule and the published lists."""

    fill: Path
    lists: Path


@dataclass(frozen=True)
class Case:
    """A pair of files NAME.json and NAME.npz.

    Attributes:
        path: the JSON file.
        inputs: files beside the cases.
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
        """Names of the stored arrays; nothing is read but the table of contents."""
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
        """A stored array as a tensor."""
        return torch.as_tensor(np.ascontiguousarray(self.arrays[key])).to(dtype)

    def tolerance(self, *keys: str, **default: float) -> dict[str, float]:
        """`atol` and `rtol` of the first of `keys` in the case's tolerance table, else its general ones.

        Verbal tolerances count as absent; `default` stands in then.
        """
        table = self.meta.get("tolerance") or {}
        for place in (*(table.get(key) for key in keys), table, default):
            if isinstance(place, dict):
                found = {word: float(place[word]) for word in ("atol", "rtol") if word in place}
                if found:
                    return found
        return {"atol": 0.0}

    def rule(self, *names: str, default: ToleranceRule = EXACT) -> ToleranceRule:
        """What the tolerance table allows for a value: its last entry that fits one of the names."""
        return find_rule(self.meta.get("tolerance"), names, default)

    def compare(
        self,
        log: "ComparisonLog",
        name: str,
        ours: ArrayLike | torch.Tensor,
        *aliases: str,
        default: ToleranceRule = EXACT,
    ) -> None:
        """Compare a value with the stored array of this name by the rule for it (or for its groups).

        The standard deviation that a rule may refer to is, for X_sub and X_stats, the second entry of
        X_stats where that is stored.
        """
        stats = self.arrays.get(re.sub(r"_(sub|stats)$", "", name) + "_stats")
        whole = re.search(r"_(sub|stats)$", name) and stats is not None
        rule = self.rule(*aliases, name, default=default)
        log.compare_by_rule(name, ours, self.arrays[name], rule, float(stats[1]) if whole else None)

    def stored_slices(self, *names: str, **symbols: int) -> tuple[slice, ...]:
        """The slices that the description of the outputs states for an array, as in ``X_sub = ... [:, ::8]``.

        Args:
            names: of the array, as the description may spell it (`body3_sub`, `bodyI_sub`); the first counts.
            symbols: values of letters that stand for strides.

        Raises:
            ValueError: none is stated.
        """
        text = str(self.meta.get("outputs", ""))
        places = (re.search(rf"\b{re.escape(name)}\b[^\[\];]*\[([^\]]*)\]", text) for name in names)
        found = next((place for place in places if place), None)
        if found is None:
            raise ValueError(f"{self.name}: the outputs do not say which part of its array {names[0]} is")
        strides = [part.strip().removeprefix("::").strip(":") or "1" for part in found[1].split(",")]
        return tuple(slice(None, None, symbols.get(stride) or int(stride)) for stride in strides)

    def stated_number(self, pattern: str, default: int) -> int:
        """A number that only the description of the outputs states."""
        found = re.search(pattern, str(self.meta.get("outputs", "")))
        return int(found[1]) if found else default

    def filled_weights(self, seed: int | None = None) -> dict[str, torch.Tensor]:
        """Weights by key for the case's layout, made by the fill rule."""
        fill_all = load_fill_rule(self.inputs.fill).fill_all
        stated = self.meta.get("fill_seed", self.config.get("fill_seed", 0))
        chosen = int(stated) if seed is None else seed
        return {k: torch.as_tensor(v) for k, v in fill_all(self.meta["layout"], chosen).items()}

    def find_sibling(self, *keys: str) -> "Case | None":
        """Another case whose arrays have all these keys: in this folder, else in a folder beside it."""
        folder = self.path.parent
        for path in [*sorted(folder.glob("*.npz")), *sorted(folder.parent.glob("*/*.npz"))]:
            with np.load(path, allow_pickle=False) as archive:
                if set(keys) <= set(archive.files) and path.with_suffix(".json").is_file():
                    return Case(path.with_suffix(".json"), self.inputs)
        return None


@dataclass
class ComparisonLog:
    """Comparisons of one case. `worst` is the one nearest to, or farthest beyond, its tolerance."""

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
        """Element by element: |ours - theirs| <= atol + rtol |theirs|."""
        a, b = _to_float64(ours), _to_float64(theirs)
        if a.shape != b.shape:
            self.comparisons.append((np.inf, name, f"shape {a.shape}, expected {b.shape}"))
            return
        if not a.size:
            self.comparisons.append((0.0, name, "empty"))
            return
        error, share = _error_ratios(a, b, allowed := atol + rtol * np.abs(b))
        self._record_worst(name, error, allowed, share)

    def compare_by_rule(
        self,
        name: str,
        ours: ArrayLike | torch.Tensor,
        theirs: ArrayLike,
        rule: ToleranceRule,
        std: float | None = None,
    ) -> None:
        """By a rule of the case; `std` stands for the standard deviation of the expected values."""
        a, b = _to_float64(ours), _to_float64(theirs)
        if a.shape != b.shape or not a.size:
            self.compare_close(name, a, b)
            return
        error, share = _error_ratios(a, b, allowed := rule.tolerances(b, std))
        if rule.mean is not None:
            self.compare_limit(f"{name}: mean error", float(error.mean()), rule.mean)
        if rule.beyond:
            self.compare_limit(f"{name}: share of pixels off", _pixel_fraction(share > 1), rule.beyond)
        else:
            self._record_worst(name, error, allowed, share)

    def _record_worst(self, name: str, error: Array, allowed: Array, share: Array) -> None:
        """Note the element that is nearest to, or farthest beyond, what is allowed."""
        at = int(np.argmax(share))
        words = f"error {error.flat[at]:.2g} (tolerance {allowed.flat[at]:.2g})"
        self.comparisons.append((float(share.flat[at]), name, words))

    def compare_limit(self, name: str, value: float, limit: float) -> None:
        """A measure that must not exceed `limit`."""
        share = value / limit if limit > 0 else (0.0 if value <= 0 else np.inf)
        self.comparisons.append((float(share), name, f"error {value:.2g} (tolerance {limit:.2g})"))

    def compare_equal(self, name: str, ours: object, theirs: object) -> None:
        """Exactly the same value."""
        if ours == theirs:
            self.comparisons.append((0.0, name, "exact"))
        else:
            self.comparisons.append(
                (np.inf, name, f"found {_short_repr(ours)}, expected {_short_repr(theirs)}")
            )

    def expect_error(self, name: str, call: Callable[[], object], *expected_words: str) -> None:
        """`call` must raise a ValueError or FileNotFoundError that mentions all `expected_words`."""
        try:
            call()
        except (ValueError, FileNotFoundError) as error:
            absent = [word for word in expected_words if word not in str(error)]
            self.compare_equal(
                name, f"words absent from the message: {absent}", "words absent from the message: []"
            )
        else:
            self.comparisons.append((np.inf, name, "no error raised"))

    @property
    def passed(self) -> bool:
        return bool(self.comparisons) and all(share <= 1 for share, _, _ in self.comparisons)

    def summary(self) -> str:
        """The worst comparison in words."""
        if not self.comparisons:
            return "nothing was compared"
        share, name, words = max(self.comparisons, key=lambda line: line[0])
        missed = sum(line[0] > 1 for line in self.comparisons)
        text = f"{name}: {words}" if share > 0 else "all exact"
        count = (
            f"{missed} of {len(self.comparisons)} comparisons failed"
            if missed
            else f"{len(self.comparisons)} comparisons"
        )
        return "; ".join([text, count, *self.notes])


def load_fill_rule(path: Path) -> Any:
    """The fill rule as a module."""
    if not path.is_file():
        raise FileNotFoundError(f"the fill rule {path} is absent: give --fill")
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
    """Absolute differences, infinite where only one side is finite, and their shares of what is allowed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.abs(ours - theirs)
        error = np.where(np.isfinite(error), error, np.where(ours == theirs, 0.0, np.inf))
        return error, np.where(error == 0, 0.0, error / allowed)


def _pixel_fraction(wrong: Array) -> float:
    """Share of pixels with something wrong in any channel; channels are an axis of three at either end."""
    if wrong.ndim == 3:
        for axis in (0, 2):
            if wrong.shape[axis] == 3:
                return float(wrong.any(axis).mean())
    return float(wrong.mean())


def _short_repr(value: object) -> str:
    text = repr(value)
    return text if len(text) < 200 else text[:197] + "..."
