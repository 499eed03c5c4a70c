"""Gradient steps on codes and noise maps, as inversion and guidance share them. Specification, section 11.

Letters: N pictures, D length of a code, L codes of a picture, S steps.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from voicestyle.config import DescentConfig
from voicestyle.stylegan2.generator import Generator

SMALLEST_MAP = 8  # noise maps of this side and below are not averaged further
KEPT = (
    *("codes", "noise", "step", "rows"),
    *("_history", "_kept", "_kept_steps", "_best", "_since", "_made"),
)
Terms: TypeAlias = dict[str, Tensor]
"""Weighted terms of a loss by name, (N,) each, or scalars where a batch is coupled."""
Objective: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], Terms]
"""(pictures (N, 3, S, S), codes, codes with their noise, rows (N,) that are still at work) -> terms."""


class Draws(Protocol):
    """Where normal numbers come from."""

    def normal(self, role: str, shape: Sequence[int], rows: Sequence[int]) -> Tensor:
        """(len(rows), *shape) for these pictures; `role` says what for: "map K" or "latent"."""
        ...


class RowDraws:
    """One generator a picture, so that its numbers do not depend on which others are in the batch.

    Args:
        seeds: one for each picture.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]

    def normal(self, role: str, shape: Sequence[int], rows: Sequence[int]) -> Tensor:
        """See `Draws`; the role makes no difference."""
        return torch.stack([torch.randn(*shape, generator=self.generators[row]) for row in rows])

    def state_dict(self) -> list[Tensor]:
        """Where the generators are."""
        return [generator.get_state() for generator in self.generators]

    def load_state_dict(self, states: Sequence[Tensor]) -> None:
        """Go on from `state_dict`."""
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state)


@dataclass(frozen=True)
class LatentStatistics:
    """Mean (1, D) and root of the total variance of w."""

    mean: Tensor
    deviation: float


@torch.no_grad()
def latent_statistics(generator: Generator, z: Tensor, chunk: int = 4096) -> LatentStatistics:
    """Statistics of w over normal z (M, D): the deviation is over all samples and dimensions together."""
    w = torch.cat([generator.mapping(part) for part in z.split(chunk)])
    mean = w.mean(0, keepdim=True)
    return LatentStatistics(mean, float((w - mean).square().sum().div(len(w)).sqrt()))


def normal_z(generator: Generator, count: int, seed: int) -> Tensor:
    """Normal z (count, D) on the generator's device."""
    like = generator.input.input
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator.config.style_dim, generator=draw).to(like)


def ramp(t: float, up: float = 0.05, down: float = 0.25) -> float:
    """Factor of the learning rate at t = step / steps: rises linearly, falls as a cosine; 0 at t = 0."""
    falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / down))
    return falling * min(1.0, t / up)


def noise_factor(t: float, noise: float = 0.05, noise_ramp: float = 0.75) -> float:
    """Strength of the noise on codes at t, in deviations of w."""
    return noise * max(0.0, 1 - t / noise_ramp) ** 2


def noise_regulariser(maps: Sequence[Tensor], coupled: bool = False) -> Tensor:
    """How much neighbouring pixels of noise maps go together, at every scale down to 8 pixels.

    Args:
        maps: (N, 1, r, r) each.
        coupled: means over all pictures, published; else picture by picture.

    Returns:
        (N,), or a scalar where coupled. A map of white noise gives about 0.
    """
    axes = (0, 1, 2, 3) if coupled else (1, 2, 3)
    total: Tensor | float = 0.0
    for noise in maps:
        while True:
            for axis in (3, 2):
                total = total + (noise * noise.roll(1, axis)).mean(axes).square()
            if noise.shape[2] <= SMALLEST_MAP:
                break
            noise = F.avg_pool2d(noise, 2)
    return torch.as_tensor(total)


@torch.no_grad()
def standardise(maps: Sequence[Tensor], coupled: bool = False) -> None:
    """Bring noise maps (N, 1, r, r) to mean 0 and deviation 1 in place; coupled: of the whole tensor."""
    for noise in maps:
        axes = (0, 1, 2, 3) if coupled else (1, 2, 3)
        deviation, mean = torch.std_mean(noise, axes, keepdim=True)
        noise.sub_(mean).div_(deviation)


def averaged(pictures: Tensor, side: int = 256) -> Tensor:
    """Pictures averaged down to `side` pixels where they are larger."""
    factor = pictures.shape[2] // side
    return F.avg_pool2d(pictures, factor) if factor > 1 else pictures


@dataclass
class Path:
    """What a descent found.

    Attributes:
        codes: last codes, (N, D) or (N, L, D).
        noise: last noise maps, (N, 1, r, r) each.
        kept: codes after every so many steps and after the last, (K, *codes).
        kept_steps: their numbers, counted from 1.
        history: values by name, (S, N); NaN where a picture had stopped.
        steps: how many each picture made, (N,).
    """

    codes: Tensor
    noise: list[Tensor]
    kept: Tensor
    kept_steps: list[int]
    history: dict[str, Tensor]
    steps: Tensor


@dataclass
class Descent:
    """Codes and noise maps on their way; `run` makes the steps.

    Attributes:
        generator: frozen.
        config: schedule and weights.
        draws: randomness.
        deviation: of w.
        codes: (N, D), or (N, L, D) in w_plus.
        noise: maps (N, 1, r, r).
        coupled: as published, the batch is one thing; see `noise_regulariser`, `standardise`.
        step: steps made.
    """

    generator: Generator
    config: DescentConfig
    draws: Draws
    deviation: float
    codes: Tensor
    noise: list[Tensor]
    coupled: bool = False
    step: int = 0
    rows: list[int] = field(default_factory=list)
    _variables: list[Tensor] = field(default_factory=list)
    _adam: torch.optim.Adam | None = None
    _history: dict[str, list[Tensor]] = field(default_factory=dict)
    _kept: list[Tensor] = field(default_factory=list)
    _kept_steps: list[int] = field(default_factory=list)
    _best: Tensor | None = None
    _since: Tensor | None = None
    _made: Tensor | None = None

    @classmethod
    def begin(
        cls,
        generator: Generator,
        config: DescentConfig,
        draws: Draws,
        deviation: float,
        start: Tensor,
        *,
        coupled: bool = False,
    ) -> "Descent":
        """At the start: codes (N, D), or (N, L, D) in w_plus, and fresh noise maps.

        Raises:
            ValueError: codes of another length, or one for each layer in the space w.
        """
        dim, count = generator.config.style_dim, generator.config.codes
        if start.shape[-1] != dim or start.ndim not in (2, 3) or start.shape[1:-1] not in ((), (count,)):
            raise ValueError(f"expected codes (N, {dim}) or (N, {count}, {dim}), found {tuple(start.shape)}")
        if start.ndim == 3 and config.space == "w":
            raise ValueError("the start has a code for each layer: choose space: w_plus")
        if start.ndim == 2 and config.space == "w_plus":
            start = start[:, None].expand(-1, count, -1)
        rows = list(range(len(start)))
        noise = [
            draws.normal(f"map {number}", (1, side, side), rows).to(start)
            for number, side in enumerate(generator.config.noise_sides)
        ]
        found = cls(generator, config, draws, deviation, start.clone(), noise, coupled, rows=rows)
        found._variables = [each.clone().requires_grad_() for each in (found.codes, *found.noise)]
        found._adam = torch.optim.Adam(found._variables, lr=config.lr)
        found._best = torch.full((len(rows),), torch.inf)
        found._since = torch.zeros(len(rows), dtype=torch.int64)
        found._made = torch.zeros(len(rows), dtype=torch.int64)
        return found

    def run(
        self,
        objective: Objective,
        after: "Callable[[Descent], None]" = lambda _: None,
        stop_at: int | None = None,
    ) -> Path:
        """Make the steps that are left.

        Args:
            objective: what is made small, beside the regulariser of the noise maps.
            after: called after every step, such as to save or to show something.
            stop_at: end after this step, though more are planned.
        """
        last = self.config.steps if stop_at is None else min(stop_at, self.config.steps)
        while self.step < last and self.rows:
            self._make_step(objective)
            after(self)
        return self.path()

    def _make_step(self, objective: Objective) -> None:
        """One step: noise on codes, picture, losses, Adam, noise maps standardised."""
        config, t = self.config, self.step / self.config.steps
        rate = config.lr * ramp(t, config.ramp_up, config.ramp_down)
        strength = self.deviation * noise_factor(t, config.noise, config.noise_ramp)
        at = torch.tensor(self.rows)
        codes, *noise = self._variables
        shaken = codes + strength * self.draws.normal("latent", codes.shape[1:], self.rows).to(codes)
        layers = shaken if shaken.ndim == 3 else shaken[:, None].expand(-1, self.generator.config.codes, -1)
        pictures = averaged(self.generator.synthesise(layers, noise))
        terms = objective(pictures, codes, shaken, at)
        terms["noise"] = config.noise_regularise * noise_regulariser(noise, self.coupled)
        assert self._adam is not None
        self._adam.zero_grad(set_to_none=True)
        torch.stack([term.sum() for term in terms.values()]).sum().backward()
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()
        standardise(noise, self.coupled)
        with torch.no_grad():
            for whole, value in zip((self.codes, *self.noise), self._variables):
                whole[at] = value
        values = {name: term.detach().expand(len(at)).cpu() for name, term in terms.items()}
        total = torch.stack(list(values.values())).sum(0)
        values["strength"] = torch.full((len(at),), strength)
        self._record(values, at)
        self.step += 1
        self._keep(force=self.step == config.steps)
        self._rest(total, at)

    def _record(self, values: Terms, at: Tensor) -> None:
        """Add a row to the history."""
        for name, value in values.items():
            row = torch.full((len(self.codes),), torch.nan)
            row[at] = value.float()
            self._history.setdefault(name, []).append(row)

    def _keep(self, force: bool) -> None:
        """Remember codes for the film."""
        due = self.step % self.config.keep_every == 0 or force
        if due and (not self._kept_steps or self._kept_steps[-1] != self.step):
            self._kept.append(self.codes.clone())
            self._kept_steps.append(self.step)

    def _rest(self, loss: Tensor, at: Tensor) -> None:
        """Take pictures out that have not become better for long; a coupled batch goes on as one."""
        assert self._best is not None and self._since is not None and self._made is not None
        self._made[at] = self.step
        better = loss < self._best[at] * (1 - self.config.least_gain)
        self._best[at] = torch.where(better, loss, self._best[at])
        self._since[at] = torch.where(better, 0, self._since[at] + 1)
        if self.config.patience and not self.coupled:
            staying = [n for n, row in enumerate(self.rows) if int(self._since[row]) < self.config.patience]
            if len(staying) < len(self.rows):
                self._narrow(staying)

    def _narrow(self, staying: list[int]) -> None:
        """Leave only some of the rows at work, with their part of Adam's moments."""
        assert self._adam is not None
        before, rows = self._adam, torch.tensor(staying, dtype=torch.int64)
        self.rows = [self.rows[n] for n in staying]
        variables = [each.detach()[rows].requires_grad_() for each in self._variables]
        self._adam = torch.optim.Adam(variables, lr=self.config.lr)
        for old, new in zip(self._variables, variables):
            state = before.state[old]
            self._adam.state[new] = {k: v[rows] if v.ndim else v for k, v in state.items()}
        self._variables = variables

    def path(self) -> Path:
        """What has been found so far."""
        assert self._made is not None
        self._keep(force=True)
        return Path(
            self.codes.clone(),
            [each.clone() for each in self.noise],
            torch.stack(self._kept),
            list(self._kept_steps),
            {name: torch.stack(rows) for name, rows in self._history.items()},
            self._made.clone(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later `load_state_dict` needs to go on exactly."""
        assert self._adam is not None
        draws = self.draws.state_dict() if isinstance(self.draws, RowDraws) else None
        return {
            **{name: getattr(self, name) for name in KEPT},
            "adam": self._adam.state_dict(),
            "draws": draws,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same descent.

        Raises:
            ValueError: of another one.
        """
        codes = state["codes"]
        if codes.shape != self.codes.shape or len(state["noise"]) != len(self.noise):
            raise ValueError(f"a state of codes {tuple(codes.shape)} for codes {tuple(self.codes.shape)}")
        for name in KEPT:
            place = self.codes.device if name in ("codes", "noise", "_kept") else None
            setattr(self, name, _moved(state[name], place))
        at = torch.tensor(self.rows, dtype=torch.int64)
        self._variables = [each[at].requires_grad_() for each in (self.codes, *self.noise)]
        self._adam = torch.optim.Adam(self._variables, lr=self.config.lr)
        self._adam.load_state_dict(state["adam"])
        if isinstance(self.draws, RowDraws) and state["draws"] is not None:
            self.draws.load_state_dict(state["draws"])


def _moved(value: Any, device: torch.device | None) -> Any:
    """Tensors of nested lists on a device; anything else as it is."""
    if isinstance(value, Tensor):
        return value if device is None else value.to(device)
    return [_moved(each, device) for each in value] if isinstance(value, list) else value
