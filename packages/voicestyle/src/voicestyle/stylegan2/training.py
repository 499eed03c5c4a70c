"""One iteration of adversarial training, step by step. Specification, section 12.5.

Order: discriminator, adaptation of the augmentation, R1, generator, path length, running mean; each with
fresh noise, R1 on the same real pictures. All randomness comes from PyTorch's own state on the CPU.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from voicestyle.stylegan2 import losses
from voicestyle.stylegan2.augment import AdaptiveAugment, augment
from voicestyle.stylegan2.config import StyleGan2Config
from voicestyle.stylegan2.discriminator import Discriminator
from voicestyle.stylegan2.generator import Generator

if TYPE_CHECKING:
    from voiceface.training.run import Run

Figures = dict[str, Tensor | float]
"""What is logged."""


@dataclass
class Players:
    """What is trained.

    Attributes:
        generator, discriminator: the two networks.
        average: running mean of the generator.
        g_optim, d_optim: their optimisers.
        ada: adaptation of the augmentation; None where there is none.
        path_mean: running mean of the path length.
    """

    generator: Generator
    discriminator: Discriminator
    average: Generator
    g_optim: torch.optim.Adam
    d_optim: torch.optim.Adam
    ada: AdaptiveAugment | None
    path_mean: Tensor

    @classmethod
    def of(cls, config: StyleGan2Config, device: torch.device | str = "cpu") -> "Players":
        """New networks of a configuration."""
        generator = Generator(config.generator).to(device)
        discriminator = Discriminator(config.discriminator).to(device)
        average = copy.deepcopy(generator).requires_grad_(False).eval()
        loss, plan = config.loss, config.augment
        lazy = (loss.path_every if loss.path else 0, loss.r1_every if loss.r1 else 0)
        return cls(
            generator,
            discriminator,
            average,
            lazy_adam(generator, config, lazy[0]),
            lazy_adam(discriminator, config, lazy[1]),
            AdaptiveAugment(plan.target, plan.length, plan.every) if plan.enabled and not plan.p else None,
            torch.zeros((), device=device),
        )

    def restore(self, values: dict[str, object]) -> None:
        """Take up the numbers that `remember` put into a run's values."""
        if "path_mean" in values:
            self.path_mean.fill_(float(str(values["path_mean"])))
        if self.ada is not None and "ada" in values:
            self.ada.load_state_dict(values["ada"])  # type: ignore[arg-type]

    def remember(self, values: dict[str, object]) -> None:
        """Put away the numbers that are no tensors of a module."""
        values["path_mean"] = float(self.path_mean)
        if self.ada is not None:
            values["ada"] = self.ada.state_dict()


def lazy_adam(module: nn.Module, config: StyleGan2Config, every: int) -> torch.optim.Adam:
    """Adam whose rate and betas make up for regulariser steps of their own.

    Rate times and betas to the power of every / (every + 1).

    Args:
        module: whose parameters.
        config: rate and betas.
        every: iterations between regulariser steps; 0 where there are none.
    """
    ratio = every / (every + 1) if every else 1.0
    betas = tuple(beta**ratio for beta in config.optimiser.betas)
    return torch.optim.Adam(module.parameters(), lr=config.optimiser.lr * ratio, betas=(betas[0], betas[1]))


def iterate(step: int, real: Tensor, players: Players, config: StyleGan2Config, run: "Run") -> Figures:
    """One iteration; returns the figures to log.

    Args:
        step: number of the iteration, from 0.
        real: pictures (N, 3, S, S) in -1...1.
        players: changed in place.
        config: of the run.
        run: gives precision and backward passes.
    """
    loss = config.loss
    found: Figures = {}
    probability = players.ada.p if players.ada else config.augment.p if config.augment.enabled else 0.0
    found |= discriminator_step(real, players, config, run, probability)
    if loss.r1 and step % loss.r1_every == 0:
        found |= r1_step(real, players, config, run, probability)
    found |= generator_step(len(real), players, config, run, probability)
    if loss.path and step % loss.path_every == 0:
        found |= path_step(len(real), players, config, run)
    move_average(players.average, players.generator, average_decay(config, step))
    if config.augment.enabled:
        found["augment_p"] = probability
    players.remember(run.values)
    return found


def discriminator_step(
    real: Tensor, players: Players, config: StyleGan2Config, run: "Run", probability: float
) -> Figures:
    """Logistic loss on as many made pictures as real ones, then the augmentation's adaptation."""
    _train_only(players.discriminator, players.generator)
    with run.autocast():
        with torch.no_grad():
            fake, _ = players.generator(styles(len(real), players.generator, config.loss.mixing))
        judged = [
            players.discriminator(augment(x, probability, turns=config.augment.turns)) for x in (fake, real)
        ]
        value = losses.discriminator_loss(judged[1].float(), judged[0].float())
    run.backward(value, players.d_optim)
    scores = judged[1].detach().float()
    if players.ada is not None:
        players.ada.tune(scores)
    return {
        "d": value.detach(),
        "real_score": scores.mean(),
        "fake_score": judged[0].detach().float().mean(),
    }


def r1_step(
    real: Tensor, players: Players, config: StyleGan2Config, run: "Run", probability: float
) -> Figures:
    """Gradient penalty on the real pictures, through the augmentation; single precision."""
    _train_only(players.discriminator, players.generator)
    real = real.detach().requires_grad_()
    scores = players.discriminator(augment(real, probability, turns=config.augment.turns))
    penalty = losses.r1_penalty(scores, real)
    weight = config.loss.r1 / 2 * config.loss.r1_every
    run.backward(weight * penalty + 0 * scores[0, 0], players.d_optim)
    return {"r1": penalty.detach()}


def generator_step(
    count: int, players: Players, config: StyleGan2Config, run: "Run", probability: float
) -> Figures:
    """Loss that does not saturate."""
    _train_only(players.generator, players.discriminator)
    with run.autocast():
        fake, _ = players.generator(styles(count, players.generator, config.loss.mixing))
        value = losses.generator_loss(
            players.discriminator(augment(fake, probability, turns=config.augment.turns)).float()
        )
    run.backward(value, players.g_optim)
    return {"g": value.detach()}


def path_step(count: int, players: Players, config: StyleGan2Config, run: "Run") -> Figures:
    """Path length penalty on a smaller batch, not augmented; single precision."""
    _train_only(players.generator, players.discriminator)
    loss, generator = config.loss, players.generator
    rows = max(1, count // loss.path_batch_shrink)
    pictures, latents = generator(styles(rows, generator, loss.mixing), return_latents=True)
    assert latents is not None
    noise = torch.randn(pictures.shape).to(pictures)
    lengths = losses.path_lengths(pictures, latents, noise)
    penalty, mean = losses.path_penalty(lengths, players.path_mean, loss.path_decay)
    players.path_mean.copy_(mean)
    run.backward(loss.path * loss.path_every * penalty + 0 * pictures[0, 0, 0, 0], players.g_optim)
    return {"path": penalty.detach(), "path_length": lengths.detach().mean()}


def styles(count: int, generator: Generator, mixing: float) -> list[Tensor]:
    """One batch of normal z (N, D), or two to be mixed, with probability `mixing`."""
    like = generator.input.input
    number = 2 if mixing > 0 and float(torch.rand(())) < mixing else 1
    return [torch.randn(count, generator.config.style_dim).to(like) for _ in range(number)]


def average_decay(config: StyleGan2Config, step: int) -> float:
    """What the running mean keeps in iteration `step` (from 0)."""
    half_life, ramp = config.average.half_life, config.average.ramp_up
    if ramp is not None:
        half_life = min(half_life, max(ramp * (step + 1), 1e-8))
    return 0.5 ** (1 / half_life)


@torch.no_grad()
def move_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Parameters of `average` become decay a + (1 - decay) m; buffers stay."""
    ours: list[Tensor] = [*average.parameters()]
    theirs: list[Tensor] = [*module.parameters()]
    torch._foreach_lerp_(ours, theirs, 1 - decay)


@torch.no_grad()
def preview(generator: Generator, z: Tensor, *, batch: int = 16) -> Iterator[Tensor]:
    """Pictures of fixed z with stored noise, so that previews can be compared; no random state is touched."""
    for rows in z.split(batch):
        yield generator(rows.to(generator.input.input), randomize_noise=False)[0]


def _train_only(wanted: nn.Module, other: nn.Module) -> None:
    """Gradients for one of the two alone."""
    wanted.requires_grad_(True)
    other.requires_grad_(False)
