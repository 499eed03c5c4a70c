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

from voicestyle.config import LatentOptimisationConfig
from voicestyle.stylegan2.generator import Generator

MIN_NOISE_SIDE = 8  # noise maps of this side and below are not averaged further
STATE_FIELDS = (
    *("latents", "noise_maps", "step", "active_rows", "_history", "_snapshots"),
    *("_snapshot_steps", "_best_loss", "_steps_since_best", "_num_steps"),
)
LossTerms: TypeAlias = dict[str, Tensor]
"""Weighted terms of a loss by name, (N,) each, or scalars where a batch is coupled."""
Objective: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], LossTerms]
"""(pictures (N, 3, S, S), codes, codes with their noise, rows (N,) that are still at work) -> terms."""


class NoiseSource(Protocol):
    """Where normal numbers come from."""

    def normal(self, role: str, shape: Sequence[int], rows: Sequence[int]) -> Tensor:
        """(len(rows), *shape) for these pictures; `role` says what for: "map K" or "latent"."""
        ...


class PerSampleNoise:
    """One generator a picture, so that its numbers do not depend on which others are in the batch.

    Args:
        seeds: one for each picture.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]

    def normal(self, role: str, shape: Sequence[int], rows: Sequence[int]) -> Tensor:
        """See `NoiseSource`; the role makes no difference."""
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
    std: float


@torch.no_grad()
def compute_latent_statistics(generator: Generator, z: Tensor, chunk_size: int = 4096) -> LatentStatistics:
    """Statistics of w over normal z (M, D): the deviation is over all samples and dimensions together."""
    w = torch.cat([generator.mapping(part) for part in z.split(chunk_size)])
    mean = w.mean(0, keepdim=True)
    return LatentStatistics(mean, float((w - mean).square().sum().div(len(w)).sqrt()))


def sample_z(generator: Generator, num_samples: int, seed: int) -> Tensor:
    """Normal z (count, D) on the generator's device."""
    like = generator.input.input
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(num_samples, generator.config.style_dim, generator=draw).to(like)


def lr_ramp(t: float, ramp_up: float = 0.05, ramp_down: float = 0.25) -> float:
    """Factor of the learning rate at t = step / steps: rises linearly, falls as a cosine; 0 at t = 0."""
    falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / ramp_down))
    return falling * min(1.0, t / ramp_up)


def latent_noise_strength(t: float, initial: float = 0.05, ramp_length: float = 0.75) -> float:
    """Strength of the noise on codes at t, in deviations of w."""
    return initial * max(0.0, 1 - t / ramp_length) ** 2


def noise_regularisation_loss(maps: Sequence[Tensor], coupled: bool = False) -> Tensor:
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
            if noise.shape[2] <= MIN_NOISE_SIDE:
                break
            noise = F.avg_pool2d(noise, 2)
    return torch.as_tensor(total)


@torch.no_grad()
def normalise_noise_maps(maps: Sequence[Tensor], coupled: bool = False) -> None:
    """Bring noise maps (N, 1, r, r) to mean 0 and deviation 1 in place; coupled: of the whole tensor."""
    for noise in maps:
        axes = (0, 1, 2, 3) if coupled else (1, 2, 3)
        deviation, mean = torch.std_mean(noise, axes, keepdim=True)
        noise.sub_(mean).div_(deviation)


def downsample_to_side(images: Tensor, side: int = 256) -> Tensor:
    """Pictures averaged down to `side` pixels where they are larger."""
    factor = images.shape[2] // side
    return F.avg_pool2d(images, factor) if factor > 1 else images


@dataclass
class LatentTrajectory:
    """What a descent found.

    Attributes:
        latents: last codes, (N, D) or (N, L, D).
        noise_maps: last noise maps, (N, 1, r, r) each.
        snapshots: codes after every so many steps and after the last, (K, *codes).
        snapshot_steps: their numbers, counted from 1.
        history: values by name, (S, N); NaN where a picture had stopped.
        num_steps: how many each picture made, (N,).
    """

    latents: Tensor
    noise_maps: list[Tensor]
    snapshots: Tensor
    snapshot_steps: list[int]
    history: dict[str, Tensor]
    num_steps: Tensor


@dataclass
class LatentOptimiser:
    """Codes and noise maps on their way; `run` makes the steps.

    Attributes:
        generator: frozen.
        config: schedule and weights.
        noise_source: randomness.
        latent_std: of w.
        latents: (N, D), or (N, L, D) in w_plus.
        noise_maps: maps (N, 1, r, r).
        coupled: as published, the batch is one thing; see `noise_regularisation_loss`, `normalise_noise_maps`.
        step: steps made.
    """

    generator: Generator
    config: LatentOptimisationConfig
    noise_source: NoiseSource
    latent_std: float
    latents: Tensor
    noise_maps: list[Tensor]
    coupled: bool = False
    step: int = 0
    active_rows: list[int] = field(default_factory=list)
    _variables: list[Tensor] = field(default_factory=list)
    _optimiser: torch.optim.Adam | None = None
    _history: dict[str, list[Tensor]] = field(default_factory=dict)
    _snapshots: list[Tensor] = field(default_factory=list)
    _snapshot_steps: list[int] = field(default_factory=list)
    _best_loss: Tensor | None = None
    _steps_since_best: Tensor | None = None
    _num_steps: Tensor | None = None

    @classmethod
    def initialise(
        cls,
        generator: Generator,
        config: LatentOptimisationConfig,
        noise_source: NoiseSource,
        latent_std: float,
        initial_latents: Tensor,
        *,
        coupled: bool = False,
    ) -> "LatentOptimiser":
        """At the start: codes (N, D), or (N, L, D) in w_plus, and fresh noise maps.

        Raises:
            ValueError: codes of another length, or one for each layer in the space w.
        """
        dim, count = generator.config.style_dim, generator.config.n_latent
        if (
            initial_latents.shape[-1] != dim
            or initial_latents.ndim not in (2, 3)
            or initial_latents.shape[1:-1] not in ((), (count,))
        ):
            raise ValueError(
                f"expected codes (N, {dim}) or (N, {count}, {dim}), found {tuple(initial_latents.shape)}"
            )
        if initial_latents.ndim == 3 and config.space == "w":
            raise ValueError("the start has a code for each layer: choose space: w_plus")
        if initial_latents.ndim == 2 and config.space == "w_plus":
            initial_latents = initial_latents[:, None].expand(-1, count, -1)
        rows = list(range(len(initial_latents)))
        noise = [
            noise_source.normal(f"map {number}", (1, side, side), rows).to(initial_latents)
            for number, side in enumerate(generator.config.noise_sides)
        ]
        found = cls(
            generator,
            config,
            noise_source,
            latent_std,
            initial_latents.clone(),
            noise,
            coupled,
            active_rows=rows,
        )
        found._variables = [each.clone().requires_grad_() for each in (found.latents, *found.noise_maps)]
        found._optimiser = torch.optim.Adam(found._variables, lr=config.lr)
        found._best_loss = torch.full((len(rows),), torch.inf)
        found._steps_since_best = torch.zeros(len(rows), dtype=torch.int64)
        found._num_steps = torch.zeros(len(rows), dtype=torch.int64)
        return found

    def run(
        self,
        objective: Objective,
        callback: "Callable[[LatentOptimiser], None]" = lambda _: None,
        stop_at: int | None = None,
    ) -> LatentTrajectory:
        """Make the steps that are left.

        Args:
            objective: what is made small, beside the regulariser of the noise maps.
            callback: called after every step, such as to save or to show something.
            stop_at: end after this step, though more are planned.
        """
        last = self.config.num_steps if stop_at is None else min(stop_at, self.config.num_steps)
        while self.step < last and self.active_rows:
            self._optimise_step(objective)
            callback(self)
        return self.trajectory()

    def _optimise_step(self, objective: Objective) -> None:
        """One step: noise on codes, picture, losses, Adam, noise maps standardised."""
        config, t = self.config, self.step / self.config.num_steps
        rate = config.lr * lr_ramp(t, config.lr_ramp_up, config.lr_ramp_down)
        strength = self.latent_std * latent_noise_strength(t, config.latent_noise, config.latent_noise_ramp)
        at = torch.tensor(self.active_rows)
        codes, *noise = self._variables
        shaken = codes + strength * self.noise_source.normal("latent", codes.shape[1:], self.active_rows).to(
            codes
        )
        layers = (
            shaken if shaken.ndim == 3 else shaken[:, None].expand(-1, self.generator.config.n_latent, -1)
        )
        pictures = downsample_to_side(self.generator.synthesise(layers, noise))
        terms = objective(pictures, codes, shaken, at)
        terms["noise"] = config.noise_regularisation * noise_regularisation_loss(noise, self.coupled)
        assert self._optimiser is not None
        self._optimiser.zero_grad(set_to_none=True)
        torch.stack([term.sum() for term in terms.values()]).sum().backward()
        self._optimiser.param_groups[0]["lr"] = rate
        self._optimiser.step()
        normalise_noise_maps(noise, self.coupled)
        with torch.no_grad():
            for whole, value in zip((self.latents, *self.noise_maps), self._variables):
                whole[at] = value
        values = {name: term.detach().expand(len(at)).cpu() for name, term in terms.items()}
        total = torch.stack(list(values.values())).sum(0)
        values["strength"] = torch.full((len(at),), strength)
        self._record_history(values, at)
        self.step += 1
        self._save_snapshot(force=self.step == config.num_steps)
        self._retire_stalled(total, at)

    def _record_history(self, values: LossTerms, rows: Tensor) -> None:
        """Add a row to the history."""
        for name, value in values.items():
            row = torch.full((len(self.latents),), torch.nan)
            row[rows] = value.float()
            self._history.setdefault(name, []).append(row)

    def _save_snapshot(self, force: bool) -> None:
        """Remember codes for the film."""
        due = self.step % self.config.snapshot_interval == 0 or force
        if due and (not self._snapshot_steps or self._snapshot_steps[-1] != self.step):
            self._snapshots.append(self.latents.clone())
            self._snapshot_steps.append(self.step)

    def _retire_stalled(self, loss: Tensor, rows: Tensor) -> None:
        """Take pictures out that have not become better for long; a coupled batch goes on as one."""
        assert (
            self._best_loss is not None and self._steps_since_best is not None and self._num_steps is not None
        )
        self._num_steps[rows] = self.step
        better = loss < self._best_loss[rows] * (1 - self.config.min_improvement)
        self._best_loss[rows] = torch.where(better, loss, self._best_loss[rows])
        self._steps_since_best[rows] = torch.where(better, 0, self._steps_since_best[rows] + 1)
        if self.config.patience and not self.coupled:
            staying = [
                n
                for n, row in enumerate(self.active_rows)
                if int(self._steps_since_best[row]) < self.config.patience
            ]
            if len(staying) < len(self.active_rows):
                self._keep_active(staying)

    def _keep_active(self, kept: list[int]) -> None:
        """Leave only some of the rows at work, with their part of Adam's moments."""
        assert self._optimiser is not None
        before, rows = self._optimiser, torch.tensor(kept, dtype=torch.int64)
        self.active_rows = [self.active_rows[n] for n in kept]
        variables = [each.detach()[rows].requires_grad_() for each in self._variables]
        self._optimiser = torch.optim.Adam(variables, lr=self.config.lr)
        for old, new in zip(self._variables, variables):
            state = before.state[old]
            self._optimiser.state[new] = {k: v[rows] if v.ndim else v for k, v in state.items()}
        self._variables = variables

    def trajectory(self) -> LatentTrajectory:
        """What has been found so far."""
        assert self._num_steps is not None
        self._save_snapshot(force=True)
        return LatentTrajectory(
            self.latents.clone(),
            [each.clone() for each in self.noise_maps],
            torch.stack(self._snapshots),
            list(self._snapshot_steps),
            {name: torch.stack(rows) for name, rows in self._history.items()},
            self._num_steps.clone(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later `load_state_dict` needs to go on exactly."""
        assert self._optimiser is not None
        noise_state = (
            self.noise_source.state_dict() if isinstance(self.noise_source, PerSampleNoise) else None
        )
        return {
            **{name: getattr(self, name) for name in STATE_FIELDS},
            "optimiser": self._optimiser.state_dict(),
            "noise_source": noise_state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same descent.

        Raises:
            ValueError: of another one.
        """
        shape = state["latents"].shape
        if shape != self.latents.shape or len(state["noise_maps"]) != len(self.noise_maps):
            raise ValueError(
                f"the state has latents {tuple(shape)}, expected {tuple(self.latents.shape)} as in this run"
            )
        for name in STATE_FIELDS:
            device = self.latents.device if name in ("latents", "noise_maps", "_snapshots") else None
            setattr(self, name, _to_device(state[name], device))
        at = torch.tensor(self.active_rows, dtype=torch.int64)
        self._variables = [each[at].requires_grad_() for each in (self.latents, *self.noise_maps)]
        self._optimiser = torch.optim.Adam(self._variables, lr=self.config.lr)
        self._optimiser.load_state_dict(state["optimiser"])
        if isinstance(self.noise_source, PerSampleNoise) and state["noise_source"] is not None:
            self.noise_source.load_state_dict(state["noise_source"])


def _to_device(value: Any, device: torch.device | None) -> Any:
    """Tensors of nested lists on a device; anything else as it is."""
    if isinstance(value, Tensor):
        return value if device is None else value.to(device)
    return [_to_device(each, device) for each in value] if isinstance(value, list) else value
