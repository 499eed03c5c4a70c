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
from parity.rules import EXACT, Rule, rule_for

Array = NDArray[Any]


class Skip(Exception):
    """A case cannot be judged because something beside it is absent; the text says what."""


@dataclass(frozen=True)
class Inputs:
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
    inputs: Inputs

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

    def tolerance(self, *keys: str, **otherwise: float) -> dict[str, float]:
        """`atol` and `rtol` of the first of `keys` in the case's tolerance table, else its general ones.

        Verbal tolerances count as absent; `otherwise` stands in then.
        """
        table = self.meta.get("tolerance") or {}
        for place in (*(table.get(key) for key in keys), table, otherwise):
            if isinstance(place, dict):
                found = {word: float(place[word]) for word in ("atol", "rtol") if word in place}
                if found:
                    return found
        return {"atol": 0.0}

    def rule(self, *names: str, otherwise: Rule = EXACT) -> Rule:
        """What the tolerance table allows for a value: its last entry that fits one of the names."""
        return rule_for(self.meta.get("tolerance"), names, otherwise)

    def judge(
        self, book: "Book", name: str, ours: ArrayLike | torch.Tensor, *groups: str, otherwise: Rule = EXACT
    ) -> None:
        """Compare a value with the stored array of this name by the rule for it (or for its groups).

        The standard deviation that a rule may refer to is, for X_sub and X_stats, the second entry of
        X_stats where that is stored.
        """
        stats = self.arrays.get(re.sub(r"_(sub|stats)$", "", name) + "_stats")
        whole = re.search(r"_(sub|stats)$", name) and stats is not None
        rule = self.rule(*groups, name, otherwise=otherwise)
        book.within(name, ours, self.arrays[name], rule, float(stats[1]) if whole else None)

    def steps(self, name: str, **symbols: int) -> tuple[slice, ...]:
        """The slices that the description of the outputs states for an array, as in ``X_sub = ... [:, ::8]``.

        Args:
            name: of the array, as the description spells it (`bodyI_sub`).
            symbols: values of letters that stand for strides.

        Raises:
            ValueError: none is stated.
        """
        text = str(self.meta.get("outputs", ""))
        found = re.search(rf"\b{re.escape(name)}\b[^\[\];]*\[([^\]]*)\]", text)
        if found is None:
            raise ValueError(f"{self.name}: the outputs do not say which part of its array {name} is")
        strides = [part.strip().removeprefix("::").strip(":") or "1" for part in found[1].split(",")]
        return tuple(slice(None, None, symbols.get(stride) or int(stride)) for stride in strides)

    def stride(self, pattern: str, otherwise: int) -> int:
        """A number that only the description of the outputs states."""
        found = re.search(pattern, str(self.meta.get("outputs", "")))
        return int(found[1]) if found else otherwise

    def filled(self, seed: int | None = None) -> dict[str, torch.Tensor]:
        """Weights by key for the case's layout, made by the fill rule."""
        fill_all = load_fill(self.inputs.fill).fill_all
        stated = self.meta.get("fill_seed", self.config.get("fill_seed", 0))
        chosen = int(stated) if seed is None else seed
        return {k: torch.as_tensor(v) for k, v in fill_all(self.meta["layout"], chosen).items()}

    def beside(self, *keys: str) -> "Case | None":
        """Another case whose arrays have all these keys: in this folder, else in a folder beside it."""
        folder = self.path.parent
        for path in [*sorted(folder.glob("*.npz")), *sorted(folder.parent.glob("*/*.npz"))]:
            with np.load(path, allow_pickle=False) as archive:
                if set(keys) <= set(archive.files) and path.with_suffix(".json").is_file():
                    return Case(path.with_suffix(".json"), self.inputs)
        return None


@dataclass
class Book:
    """Comparisons of one case. `worst` is the one nearest to, or farthest beyond, its tolerance."""

    lines: list[tuple[float, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def close(
        self,
        name: str,
        ours: ArrayLike | torch.Tensor,
        theirs: ArrayLike,
        atol: float = 0.0,
        rtol: float = 0.0,
    ) -> None:
        """Element by element: |ours - theirs| <= atol + rtol |theirs|."""
        a, b = _numbers(ours), _numbers(theirs)
        if a.shape != b.shape:
            self.lines.append((np.inf, name, f"shape {a.shape}, expected {b.shape}"))
            return
        if not a.size:
            self.lines.append((0.0, name, "empty"))
            return
        error, share = _errors(a, b, allowed := atol + rtol * np.abs(b))
        self._worst(name, error, allowed, share)

    def within(
        self,
        name: str,
        ours: ArrayLike | torch.Tensor,
        theirs: ArrayLike,
        rule: Rule,
        spread: float | None = None,
    ) -> None:
        """By a rule of the case; `spread` stands for the standard deviation of the expected values."""
        a, b = _numbers(ours), _numbers(theirs)
        if a.shape != b.shape or not a.size:
            self.close(name, a, b)
            return
        error, share = _errors(a, b, allowed := rule.allowed(b, spread))
        if rule.mean is not None:
            self.below(f"{name}: mean error", float(error.mean()), rule.mean)
        if rule.beyond:
            self.below(f"{name}: share of pixels off", _pixels(share > 1), rule.beyond)
        else:
            self._worst(name, error, allowed, share)

    def _worst(self, name: str, error: Array, allowed: Array, share: Array) -> None:
        """Note the element that is nearest to, or farthest beyond, what is allowed."""
        at = int(np.argmax(share))
        words = f"error {error.flat[at]:.2g} (tolerance {allowed.flat[at]:.2g})"
        self.lines.append((float(share.flat[at]), name, words))

    def below(self, name: str, value: float, limit: float) -> None:
        """A measure that must not exceed `limit`."""
        share = value / limit if limit > 0 else (0.0 if value <= 0 else np.inf)
        self.lines.append((float(share), name, f"error {value:.2g} (tolerance {limit:.2g})"))

    def equal(self, name: str, ours: object, theirs: object) -> None:
        """Exactly the same value."""
        if ours == theirs:
            self.lines.append((0.0, name, "exact"))
        else:
            self.lines.append((np.inf, name, f"found {_short(ours)}, expected {_short(theirs)}"))

    def fails(self, name: str, call: Callable[[], object], *words: str) -> None:
        """`call` must raise a ValueError or FileNotFoundError that mentions all `words`."""
        try:
            call()
        except (ValueError, FileNotFoundError) as error:
            absent = [word for word in words if word not in str(error)]
            self.equal(name, f"words absent from the message: {absent}", "words absent from the message: []")
        else:
            self.lines.append((np.inf, name, "no error raised"))

    @property
    def passed(self) -> bool:
        return bool(self.lines) and all(share <= 1 for share, _, _ in self.lines)

    def summary(self) -> str:
        """The worst comparison in words."""
        if not self.lines:
            return "nothing was compared"
        share, name, words = max(self.lines, key=lambda line: line[0])
        missed = sum(line[0] > 1 for line in self.lines)
        text = f"{name}: {words}" if share > 0 else "all exact"
        count = (
            f"{missed} of {len(self.lines)} comparisons failed"
            if missed
            else f"{len(self.lines)} comparisons"
        )
        return "; ".join([text, count, *self.notes])


def load_fill(path: Path) -> Any:
    """The fill rule as a module."""
    if not path.is_file():
        raise FileNotFoundError(f"the fill rule {path} is absent: give --fill")
    spec = importlib.util.spec_from_file_location("parity_fill", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _numbers(value: ArrayLike | torch.Tensor) -> Array:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value, dtype=np.float64)


def _errors(ours: Array, theirs: Array, allowed: Array) -> tuple[Array, Array]:
    """Absolute differences, infinite where only one side is finite, and their shares of what is allowed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.abs(ours - theirs)
        error = np.where(np.isfinite(error), error, np.where(ours == theirs, 0.0, np.inf))
        return error, np.where(error == 0, 0.0, error / allowed)


def _pixels(wrong: Array) -> float:
    """Share of pixels with something wrong in any channel; channels are an axis of three at either end."""
    if wrong.ndim == 3:
        for axis in (0, 2):
            if wrong.shape[axis] == 3:
                return float(wrong.any(axis).mean())
    return float(wrong.mean())


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 200 else text[:197] + "..."
