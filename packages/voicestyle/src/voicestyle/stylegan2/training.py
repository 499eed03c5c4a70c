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
from voicestyle.stylegan2.config import StyleGAN2Config
from voicestyle.stylegan2.discriminator import Discriminator
from voicestyle.stylegan2.generator import Generator

if TYPE_CHECKING:
    from voiceface.training.run import Run

Metrics = dict[str, Tensor | float]
"""What is logged."""


@dataclass
class TrainingState:
    """What is trained.

    Attributes:
        generator, discriminator: the two networks.
        generator_ema: running mean of the generator.
        g_optim, d_optim: their optimisers.
        ada: adaptation of the augmentation; None where there is none.
        mean_path_length: running mean of the path length.
    """

    generator: Generator
    discriminator: Discriminator
    generator_ema: Generator
    g_optim: torch.optim.Adam
    d_optim: torch.optim.Adam
    ada: AdaptiveAugment | None
    mean_path_length: Tensor

    @classmethod
    def from_config(cls, config: StyleGAN2Config, device: torch.device | str = "cpu") -> "TrainingState":
        """New networks of a configuration."""
        generator = Generator(config.generator).to(device)
        discriminator = Discriminator(config.discriminator).to(device)
        average = copy.deepcopy(generator).requires_grad_(False).eval()
        loss, plan = config.loss, config.augment
        lazy = (loss.path_interval if loss.path_weight else 0, loss.r1_interval if loss.r1_gamma else 0)
        return cls(
            generator,
            discriminator,
            average,
            build_lazy_adam(generator, config, lazy[0]),
            build_lazy_adam(discriminator, config, lazy[1]),
            AdaptiveAugment(plan.target, plan.adaptation_length, plan.adaptation_interval)
            if plan.enabled and not plan.p
            else None,
            torch.zeros((), device=device),
        )

    def load_values(self, values: dict[str, object]) -> None:
        """Take up the numbers that `store_values` put into a run's values."""
        if "mean_path_length" in values:
            self.mean_path_length.fill_(float(str(values["mean_path_length"])))
        if self.ada is not None and "ada" in values:
            self.ada.load_state_dict(values["ada"])  # type: ignore[arg-type]

    def store_values(self, values: dict[str, object]) -> None:
        """Put away the numbers that are no tensors of a module."""
        values["mean_path_length"] = float(self.mean_path_length)
        if self.ada is not None:
            values["ada"] = self.ada.state_dict()


def build_lazy_adam(module: nn.Module, config: StyleGAN2Config, interval: int) -> torch.optim.Adam:
    """Adam whose rate and betas make up for regulariser steps of their own.

    Rate times and betas to the power of every / (every + 1).

    Args:
        module: whose parameters.
        config: rate and betas.
        interval: iterations between regulariser steps; 0 where there are none.
    """
    ratio = interval / (interval + 1) if interval else 1.0
    betas = tuple(beta**ratio for beta in config.optimiser.betas)
    return torch.optim.Adam(module.parameters(), lr=config.optimiser.lr * ratio, betas=(betas[0], betas[1]))


def train_step(step: int, real: Tensor, state: TrainingState, config: StyleGAN2Config, run: "Run") -> Metrics:
    """One iteration; returns the figures to log.

    Args:
        step: number of the iteration, from 0.
        real: pictures (N, 3, S, S) in -1...1.
        state: changed in place.
        config: of the run.
        run: gives precision and backward passes.
    """
    loss = config.loss
    found: Metrics = {}
    probability = state.ada.p if state.ada else config.augment.p if config.augment.enabled else 0.0
    found |= discriminator_step(real, state, config, run, probability)
    if loss.r1_gamma and step % loss.r1_interval == 0:
        found |= r1_step(real, state, config, run, probability)
    found |= generator_step(len(real), state, config, run, probability)
    if loss.path_weight and step % loss.path_interval == 0:
        found |= path_length_step(len(real), state, config, run)
    update_ema(state.generator_ema, state.generator, ema_decay(config, step))
    if config.augment.enabled:
        found["augment_p"] = probability
    state.store_values(run.values)
    return found


def discriminator_step(
    real: Tensor, state: TrainingState, config: StyleGAN2Config, run: "Run", augment_p: float
) -> Metrics:
    """Logistic loss on as many made pictures as real ones, then the augmentation's adaptation."""
    _set_trainable(state.discriminator, state.generator)
    with run.autocast():
        with torch.no_grad():
            fake, _ = state.generator(sample_styles(len(real), state.generator, config.loss.mixing_prob))
        judged = [
            state.discriminator(augment(x, augment_p, quarter_turns=config.augment.quarter_turns))
            for x in (fake, real)
        ]
        value = losses.discriminator_loss(judged[1].float(), judged[0].float())
    run.backward_and_step(value, state.d_optim)
    scores = judged[1].detach().float()
    if state.ada is not None:
        state.ada.tune(scores)
    return {
        "d_loss": value.detach(),
        "real_score": scores.mean(),
        "fake_score": judged[0].detach().float().mean(),
    }


def r1_step(
    real: Tensor, state: TrainingState, config: StyleGAN2Config, run: "Run", augment_p: float
) -> Metrics:
    """Gradient penalty on the real pictures, through the augmentation; single precision."""
    _set_trainable(state.discriminator, state.generator)
    real = real.detach().requires_grad_()
    scores = state.discriminator(augment(real, augment_p, quarter_turns=config.augment.quarter_turns))
    penalty = losses.r1_penalty(scores, real)
    weight = config.loss.r1_gamma / 2 * config.loss.r1_interval
    run.backward_and_step(weight * penalty + 0 * scores[0, 0], state.d_optim)
    return {"r1": penalty.detach()}


def generator_step(
    batch_size: int, state: TrainingState, config: StyleGAN2Config, run: "Run", augment_p: float
) -> Metrics:
    """Loss that does not saturate."""
    _set_trainable(state.generator, state.discriminator)
    with run.autocast():
        fake, _ = state.generator(sample_styles(batch_size, state.generator, config.loss.mixing_prob))
        value = losses.generator_loss(
            state.discriminator(augment(fake, augment_p, quarter_turns=config.augment.quarter_turns)).float()
        )
    run.backward_and_step(value, state.g_optim)
    return {"g_loss": value.detach()}


def path_length_step(batch_size: int, state: TrainingState, config: StyleGAN2Config, run: "Run") -> Metrics:
    """Path length penalty on a smaller batch, not augmented; single precision."""
    _set_trainable(state.generator, state.discriminator)
    loss, generator = config.loss, state.generator
    rows = max(1, batch_size // loss.path_batch_shrink)
    pictures, latents = generator(sample_styles(rows, generator, loss.mixing_prob), return_latents=True)
    assert latents is not None
    noise = torch.randn(pictures.shape).to(pictures)
    lengths = losses.path_lengths(pictures, latents, noise)
    penalty, mean = losses.path_length_penalty(lengths, state.mean_path_length, loss.path_decay)
    state.mean_path_length.copy_(mean)
    run.backward_and_step(
        loss.path_weight * loss.path_interval * penalty + 0 * pictures[0, 0, 0, 0], state.g_optim
    )
    return {"path_penalty": penalty.detach(), "path_length": lengths.detach().mean()}


def sample_styles(batch_size: int, generator: Generator, mixing_prob: float) -> list[Tensor]:
    """One batch of normal z (N, D), or two to be mixed, with probability `mixing_prob`."""
    like = generator.input.input
    number = 2 if mixing_prob > 0 and float(torch.rand(())) < mixing_prob else 1
    return [torch.randn(batch_size, generator.config.style_dim).to(like) for _ in range(number)]


def ema_decay(config: StyleGAN2Config, step: int) -> float:
    """What the running mean keeps in iteration `step` (from 0)."""
    half_life, ramp = config.ema.half_life, config.ema.ramp_up
    if ramp is not None:
        half_life = min(half_life, max(ramp * (step + 1), 1e-8))
    return 0.5 ** (1 / half_life)


@torch.no_grad()
def update_ema(ema: nn.Module, module: nn.Module, decay: float) -> None:
    """Parameters of `ema` become decay a + (1 - decay) m; buffers stay."""
    ours: list[Tensor] = [*ema.parameters()]
    theirs: list[Tensor] = [*module.parameters()]
    torch._foreach_lerp_(ours, theirs, 1 - decay)


@torch.no_grad()
def generate_previews(generator: Generator, z: Tensor, *, batch_size: int = 16) -> Iterator[Tensor]:
    """Pictures of fixed z with stored noise, so that previews can be compared; no random state is touched."""
    for rows in z.split(batch_size):
        yield generator(rows.to(generator.input.input), randomize_noise=False)[0]


def _set_trainable(wanted: nn.Module, other: nn.Module) -> None:
    """Gradients for one of the two alone."""
    wanted.requires_grad_(True)
    other.requires_grad_(False)
