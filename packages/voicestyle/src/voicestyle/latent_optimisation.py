"""Optimise latents and noise maps by gradient descent; inversion and guidance share this loop.

The method is the projector of StyleGAN2 (Karras et al., CVPR 2020, appendix D). See docs/voicestyle.md.
Letters: N images, D length of a latent, L layers, S steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from voiceface.runtime.progress import progress_bar

from voicestyle.config import LatentOptimisationConfig
from voicestyle.noise import NoiseSource, PerSampleNoise, noise_regularisation_loss, normalise_noise_maps
from voicestyle.stylegan2.generator import Generator

__all__ = [
    "LatentOptimiser",
    "LatentStatistics",
    "LatentTrajectory",
    "LossTerms",
    "Objective",
    "compute_latent_statistics",
    "downsample_to_side",
    "latent_noise_strength",
    "lr_ramp",
    "sample_z",
]

STATE_FIELDS = (
    *("latents", "noise_maps", "step", "active_rows", "_history", "_snapshots"),
    *("_snapshot_steps", "_best_loss", "_steps_since_best", "_num_steps"),
)

LossTerms: TypeAlias = dict[str, Tensor]

"""Weighted loss terms by name, (N,) each, or scalars if the batch is coupled."""

Objective: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], LossTerms]

"""(images (N, 3, S, S), latents, noisy latents, active rows (N,)) -> loss terms."""


@dataclass(frozen=True)
class LatentStatistics:
    """Mean (1, D) of w, and the square root of its total variance."""

    mean: Tensor
    std: float


@torch.no_grad()
def compute_latent_statistics(generator: Generator, z: Tensor, chunk_size: int = 4096) -> LatentStatistics:
    """Compute statistics of w from normal z (M, D); the variance is the sum over dimensions."""
    w = torch.cat([generator.mapping(part) for part in z.split(chunk_size)])
    mean = w.mean(0, keepdim=True)
    return LatentStatistics(mean, float((w - mean).square().sum().div(len(w)).sqrt()))


def sample_z(generator: Generator, num_samples: int, seed: int) -> Tensor:
    """Sample normal z (num_samples, D) on the generator's device."""
    like = generator.input.input
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(num_samples, generator.config.style_dim, generator=rng).to(like)


def lr_ramp(t: float, ramp_up: float = 0.05, ramp_down: float = 0.25) -> float:
    """Return the learning rate factor at t = step / S: linear ramp-up, cosine ramp-down; 0 at t = 0."""
    falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / ramp_down))
    return falling * min(1.0, t / ramp_up)


def latent_noise_strength(t: float, initial: float = 0.05, ramp_length: float = 0.75) -> float:
    """Return the strength of the latent noise at t = step / S, in standard deviations of w."""
    return initial * max(0.0, 1 - t / ramp_length) ** 2


def downsample_to_side(images: Tensor, side: int = 256) -> Tensor:
    """Average-pool images that are larger than `side` pixels."""
    factor = images.shape[2] // side
    return F.avg_pool2d(images, factor) if factor > 1 else images


@dataclass
class LatentTrajectory:
    """Result of an optimisation.

    Attributes:
        latents: final latents, (N, D) or (N, L, D).
        noise_maps: final noise maps, (N, 1, r, r) each.
        snapshots: latents at regular steps and at the last one, (K, *latents).
        snapshot_steps: number of completed steps at each snapshot.
        history: loss terms by name, (S, N); NaN after an image has stopped.
        num_steps: completed steps of each image, (N,).
    """

    latents: Tensor
    noise_maps: list[Tensor]
    snapshots: Tensor
    snapshot_steps: list[int]
    history: dict[str, Tensor]
    num_steps: Tensor


@dataclass
class LatentOptimiser:
    """State of an optimisation of latents and noise maps; `run` performs the steps.

    Attributes:
        generator: frozen.
        config: schedule and weights.
        noise_source: random numbers.
        latent_std: standard deviation of w.
        latents: (N, D), or (N, L, D) in w_plus.
        noise_maps: (N, 1, r, r) each.
        coupled: regularise the batch jointly, as published.
        step: completed steps.
        active_rows: rows that have not stopped.
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
        """Start at latents (N, D), or (N, L, D) in w_plus, with new noise maps.

        Raises:
            ValueError: the latents have another length, or one per layer in the space w.
        """
        dim, count = generator.config.style_dim, generator.config.n_latent
        if (
            initial_latents.shape[-1] != dim
            or initial_latents.ndim not in (2, 3)
            or initial_latents.shape[1:-1] not in ((), (count,))
        ):
            raise ValueError(
                f"expected latents (N, {dim}) or (N, {count}, {dim}), found {tuple(initial_latents.shape)}"
            )
        if initial_latents.ndim == 3 and config.space == "w":
            raise ValueError("the initial latents differ by layer: choose space: w_plus")
        if initial_latents.ndim == 2 and config.space == "w_plus":
            initial_latents = initial_latents[:, None].expand(-1, count, -1)
        rows = list(range(len(initial_latents)))
        noise_maps = [
            noise_source.normal(f"map {number}", (1, side, side), rows).to(initial_latents)
            for number, side in enumerate(generator.config.noise_sides)
        ]
        optimiser = cls(
            generator,
            config,
            noise_source,
            latent_std,
            initial_latents.clone(),
            noise_maps,
            coupled,
            active_rows=rows,
        )
        optimiser._variables = [
            each.clone().requires_grad_() for each in (optimiser.latents, *optimiser.noise_maps)
        ]
        optimiser._optimiser = torch.optim.Adam(optimiser._variables, lr=config.lr)
        optimiser._best_loss = torch.full((len(rows),), torch.inf)
        optimiser._steps_since_best = torch.zeros(len(rows), dtype=torch.int64)
        optimiser._num_steps = torch.zeros(len(rows), dtype=torch.int64)
        return optimiser

    def run(
        self,
        objective: Objective,
        callback: "Callable[[LatentOptimiser], None]" = lambda _: None,
        stop_at: int | None = None,
    ) -> LatentTrajectory:
        """Perform the remaining steps.

        Args:
            objective: loss to minimise, besides the regulariser of the noise maps.
            callback: called after every step.
            stop_at: stop after this step, even if more are planned.
        """
        last = self.config.num_steps if stop_at is None else min(stop_at, self.config.num_steps)
        kind = type(self.config).__name__.removesuffix("Config").lower()
        with progress_bar(description=kind, unit="step", total=last, initial=self.step, leave=False) as bar:
            while self.step < last and self.active_rows:
                self._optimise_step(objective)
                callback(self)
                bar.update()
        return self.trajectory()

    def _optimise_step(self, objective: Objective) -> None:
        """Perform one step: add latent noise, synthesise, compute losses, update, normalise noise maps."""
        config, t = self.config, self.step / self.config.num_steps
        lr = config.lr * lr_ramp(t, config.lr_ramp_up, config.lr_ramp_down)
        strength = self.latent_std * latent_noise_strength(t, config.latent_noise, config.latent_noise_ramp)
        rows = torch.tensor(self.active_rows)
        latents, *noise_maps = self._variables
        normals = self.noise_source.normal("latent", latents.shape[1:], self.active_rows)
        noisy_latents = latents + strength * normals.to(latents)
        per_layer = self.generator.broadcast_latents(noisy_latents)
        images = downsample_to_side(self.generator.synthesise(per_layer, noise_maps))
        terms = objective(images, latents, noisy_latents, rows)
        terms["noise"] = config.noise_regularisation * noise_regularisation_loss(noise_maps, self.coupled)
        assert self._optimiser is not None
        self._optimiser.zero_grad(set_to_none=True)
        torch.stack([term.sum() for term in terms.values()]).sum().backward()
        self._optimiser.param_groups[0]["lr"] = lr
        self._optimiser.step()
        normalise_noise_maps(noise_maps, self.coupled)
        with torch.no_grad():
            for full, value in zip((self.latents, *self.noise_maps), self._variables):
                full[rows] = value
        values = {name: term.detach().expand(len(rows)).cpu() for name, term in terms.items()}
        total = torch.stack(list(values.values())).sum(0)
        values["strength"] = torch.full((len(rows),), strength)
        self._record_history(values, rows)
        self.step += 1
        self._save_snapshot(force=self.step == config.num_steps)
        self._retire_stalled(total, rows)

    def _record_history(self, values: LossTerms, rows: Tensor) -> None:
        """Append one row to the history."""
        for name, value in values.items():
            row = torch.full((len(self.latents),), torch.nan)
            row[rows] = value.float()
            self._history.setdefault(name, []).append(row)

    def _save_snapshot(self, force: bool) -> None:
        """Save the latents if a snapshot is due."""
        due = self.step % self.config.snapshot_interval == 0 or force
        if due and (not self._snapshot_steps or self._snapshot_steps[-1] != self.step):
            self._snapshots.append(self.latents.clone())
            self._snapshot_steps.append(self.step)

    def _retire_stalled(self, loss: Tensor, rows: Tensor) -> None:
        """Stop images whose loss has not improved for `patience` steps; a coupled batch never stops early."""
        assert (
            self._best_loss is not None and self._steps_since_best is not None and self._num_steps is not None
        )
        self._num_steps[rows] = self.step
        improved = loss < self._best_loss[rows] * (1 - self.config.min_improvement)
        self._best_loss[rows] = torch.where(improved, loss, self._best_loss[rows])
        self._steps_since_best[rows] = torch.where(improved, 0, self._steps_since_best[rows] + 1)
        if self.config.patience and not self.coupled:
            kept = [
                n
                for n, row in enumerate(self.active_rows)
                if int(self._steps_since_best[row]) < self.config.patience
            ]
            if len(kept) < len(self.active_rows):
                self._keep_active(kept)

    def _keep_active(self, kept: list[int]) -> None:
        """Continue with some of the rows only, and their part of Adam's state."""
        assert self._optimiser is not None
        previous, rows = self._optimiser, torch.tensor(kept, dtype=torch.int64)
        self.active_rows = [self.active_rows[n] for n in kept]
        variables = [each.detach()[rows].requires_grad_() for each in self._variables]
        self._optimiser = torch.optim.Adam(variables, lr=self.config.lr)
        for old, new in zip(self._variables, variables):
            state = previous.state[old]
            self._optimiser.state[new] = {k: v[rows] if v.ndim else v for k, v in state.items()}
        self._variables = variables

    def trajectory(self) -> LatentTrajectory:
        """Return the result so far."""
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
        """Return everything that `load_state_dict` needs to resume exactly."""
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
        """Resume from a state of the same optimisation.

        Raises:
            ValueError: the state has other shapes.
        """
        shape = state["latents"].shape
        if shape != self.latents.shape or len(state["noise_maps"]) != len(self.noise_maps):
            raise ValueError(
                f"the state has latents {tuple(shape)}, expected {tuple(self.latents.shape)} as in this run"
            )
        for name in STATE_FIELDS:
            device = self.latents.device if name in ("latents", "noise_maps", "_snapshots") else None
            setattr(self, name, _to_device(state[name], device))
        rows = torch.tensor(self.active_rows, dtype=torch.int64)
        self._variables = [each[rows].requires_grad_() for each in (self.latents, *self.noise_maps)]
        self._optimiser = torch.optim.Adam(self._variables, lr=self.config.lr)
        self._optimiser.load_state_dict(state["optimiser"])
        if isinstance(self.noise_source, PerSampleNoise) and state["noise_source"] is not None:
            self.noise_source.load_state_dict(state["noise_source"])


def _to_device(value: Any, device: torch.device | None) -> Any:
    """Move tensors in nested lists to a device; return anything else unchanged."""
    if isinstance(value, Tensor):
        return value if device is None else value.to(device)
    return [_to_device(each, device) for each in value] if isinstance(value, list) else value
