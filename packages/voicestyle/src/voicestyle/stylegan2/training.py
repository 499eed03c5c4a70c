"""One training step of StyleGAN2.

Order: discriminator, adaptation of the augmentation, R1, generator, path length, moving average; each with
new noise, R1 on the same real images. All random numbers come from PyTorch's global generator on the CPU;
of several processes each draws those of all images and takes its own.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from voiceface.runtime.distributed import draw_rows, world_size

from voicestyle.stylegan2 import losses
from voicestyle.stylegan2.augment import AdaptiveAugment, augment
from voicestyle.stylegan2.config import StyleGAN2Config
from voicestyle.stylegan2.discriminator import Discriminator
from voicestyle.stylegan2.generator import Generator

if TYPE_CHECKING:
    from voiceface.training.run import Run

__all__ = [
    "Metrics",
    "TrainingState",
    "build_lazy_adam",
    "discriminator_step",
    "ema_decay",
    "generate_previews",
    "generator_step",
    "path_length_step",
    "r1_step",
    "sample_styles",
    "train_step",
    "update_ema",
]

Metrics = dict[str, Tensor | float]
"""Values to log, by name."""


@dataclass
class TrainingState:
    """Networks and optimisers of a run.

    Attributes:
        generator, discriminator: the two networks.
        generator_ema: moving average of the generator.
        g_optim, d_optim: their optimisers.
        ada: adaptive augmentation; None if it is off.
        mean_path_length: moving average of the path length.
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
        """Build new networks from a configuration."""
        generator = Generator(config.generator).to(device)
        discriminator = Discriminator(config.discriminator).to(device)
        generator_ema = copy.deepcopy(generator).requires_grad_(False).eval()
        loss, augmentation = config.loss, config.augment
        lazy = (loss.path_interval if loss.path_weight else 0, loss.r1_interval if loss.r1_gamma else 0)
        return cls(
            generator,
            discriminator,
            generator_ema,
            build_lazy_adam(generator, config, lazy[0]),
            build_lazy_adam(discriminator, config, lazy[1]),
            AdaptiveAugment(
                augmentation.target, augmentation.adaptation_length, augmentation.adaptation_interval
            )
            if augmentation.enabled and not augmentation.p
            else None,
            torch.zeros((), device=device),
        )

    def load_values(self, values: dict[str, object]) -> None:
        """Restore the numbers that `store_values` has put into a run's values."""
        if "mean_path_length" in values:
            self.mean_path_length.fill_(float(str(values["mean_path_length"])))
        if self.ada is not None and "ada" in values:
            self.ada.load_state_dict(values["ada"])  # type: ignore[arg-type]

    def store_values(self, values: dict[str, object]) -> None:
        """Store the numbers that are not tensors of a module."""
        values["mean_path_length"] = float(self.mean_path_length)
        if self.ada is not None:
            values["ada"] = self.ada.state_dict()


def build_lazy_adam(module: nn.Module, config: StyleGAN2Config, interval: int) -> torch.optim.Adam:
    """Build an Adam optimiser corrected for lazy regularisation (Karras et al., CVPR 2020, appendix B).

    The learning rate is multiplied by, and the betas raised to the power of, interval / (interval + 1).

    Args:
        module: module to optimise.
        config: learning rate and betas.
        interval: steps between regularisation steps; 0 if there are none.
    """
    ratio = interval / (interval + 1) if interval else 1.0
    betas = tuple(beta**ratio for beta in config.optimiser.betas)
    return torch.optim.Adam(module.parameters(), lr=config.optimiser.lr * ratio, betas=(betas[0], betas[1]))


def train_step(step: int, real: Tensor, state: TrainingState, config: StyleGAN2Config, run: "Run") -> Metrics:
    """Perform one training step; return the values to log.

    Args:
        step: index of the step, from 0.
        real: images (N, 3, S, S) in -1...1.
        state: changed in place.
        config: of the run.
        run: provides precision and backward passes.
    """
    loss = config.loss
    metrics: Metrics = {}
    probability = state.ada.p if state.ada else config.augment.p if config.augment.enabled else 0.0
    metrics |= discriminator_step(real, state, config, run, probability)
    if loss.r1_gamma and step % loss.r1_interval == 0:
        metrics |= r1_step(real, state, config, run, probability)
    metrics |= generator_step(len(real), state, config, run, probability)
    if loss.path_weight and step % loss.path_interval == 0:
        metrics |= path_length_step(len(real), state, config, run)
    update_ema(state.generator_ema, state.generator, ema_decay(config, step))
    if config.augment.enabled:
        metrics["augment_p"] = probability
    state.store_values(run.values)
    return metrics


def discriminator_step(
    real: Tensor, state: TrainingState, config: StyleGAN2Config, run: "Run", augment_p: float
) -> Metrics:
    """Logistic loss on real and as many generated images, then adaptation of the augmentation."""
    _set_trainable(state.discriminator, state.generator)
    with run.autocast():
        with torch.no_grad():
            fake, _ = state.generator(sample_styles(len(real), state.generator, config.loss.mixing_prob))
        fake_scores, real_scores = [
            state.discriminator(augment(x, augment_p, quarter_turns=config.augment.quarter_turns))
            for x in (fake, real)
        ]
        value = losses.discriminator_loss(real_scores.float(), fake_scores.float())
    run.backward_and_step(value, state.d_optim)
    scores = real_scores.detach().float()
    if state.ada is not None:
        state.ada.tune(scores)
    return {
        "d_loss": value.detach(),
        "real_score": scores.mean(),
        "fake_score": fake_scores.detach().float().mean(),
    }


def r1_step(
    real: Tensor, state: TrainingState, config: StyleGAN2Config, run: "Run", augment_p: float
) -> Metrics:
    """R1 penalty on the real images, through the augmentation; single precision."""
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
    """Non-saturating loss."""
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
    rows = max(1, batch_size * world_size() // loss.path_batch_shrink)
    if rows % world_size():
        raise ValueError(
            f"{rows} images of the path length cannot be shared equally by {world_size()} processes; choose "
            f"training.batch_size / loss.path_batch_shrink as a multiple of {world_size()}"
        )
    rows //= world_size()
    images, latents = generator(sample_styles(rows, generator, loss.mixing_prob), return_latents=True)
    assert latents is not None
    noise = draw_rows(torch.randn, images.shape).to(images)
    lengths = losses.path_lengths(images, latents, noise)
    penalty, mean = losses.path_length_penalty(lengths, state.mean_path_length, loss.path_decay)
    state.mean_path_length.copy_(mean)
    run.backward_and_step(
        loss.path_weight * loss.path_interval * penalty + 0 * images[0, 0, 0, 0], state.g_optim
    )
    return {"path_penalty": penalty.detach(), "path_length": lengths.detach().mean()}


def sample_styles(batch_size: int, generator: Generator, mixing_prob: float) -> list[Tensor]:
    """Sample this process's normal z (N, D), or, with probability `mixing_prob`, two to be mixed."""
    like = generator.input.input
    number = 2 if mixing_prob > 0 and float(torch.rand(())) < mixing_prob else 1
    shape = (batch_size, generator.config.style_dim)
    return [draw_rows(torch.randn, shape).to(like) for _ in range(number)]


def ema_decay(config: StyleGAN2Config, step: int) -> float:
    """Decay of the moving average at a step (from 0)."""
    half_life, ramp = config.ema.half_life, config.ema.ramp_up
    if ramp is not None:
        half_life = min(half_life, max(ramp * (step + 1), 1e-8))
    return 0.5 ** (1 / half_life)


@torch.no_grad()
def update_ema(ema: nn.Module, module: nn.Module, decay: float) -> None:
    """Set parameters of `ema` to decay a + (1 - decay) m; buffers are not changed."""
    averages: list[Tensor] = [*ema.parameters()]
    parameters: list[Tensor] = [*module.parameters()]
    torch._foreach_lerp_(averages, parameters, 1 - decay)


@torch.no_grad()
def generate_previews(generator: Generator, z: Tensor, *, batch_size: int = 16) -> Iterator[Tensor]:
    """Generate images of fixed z with stored noise, for comparable previews; use no random numbers."""
    for rows in z.split(batch_size):
        yield generator(rows.to(generator.input.input), randomize_noise=False)[0]


def _set_trainable(trained: nn.Module, frozen: nn.Module) -> None:
    """Require gradients of one of the two networks only."""
    trained.requires_grad_(True)
    frozen.requires_grad_(False)
