"""One adversarial training step, in the published order.

Generator forward, its loss and update; then the image discriminators on the same images (generated before
real), then the identity discriminators (real before generated), then conditional ones. The order affects the
running statistics of batch norms. Letters: B items, R image sizes, smallest first.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from voiceface.models.contexts import parameters_frozen, preserve_buffers
from voiceface.runtime.distributed import all_reduce_max

from sf2f.config import OptimiserConfig
from sf2f.discriminators import Discriminators, IdentityLogits
from sf2f.generator import EncoderDecoder, GeneratorOutput, Noise
from sf2f.losses import (
    condition_discriminator_terms,
    generator_terms,
    identity_discriminator_terms,
    image_discriminator_terms,
    match_image_sizes,
    sum_terms,
)
from sf2f.network_config import LossConfig

__all__ = [
    "Batch",
    "Objective",
    "Optimisers",
    "PerceptualDistance",
    "TrainStepResult",
    "UpdateStep",
    "build_adam",
    "build_optimisers",
    "compute_condition_discriminator_losses",
    "compute_generator_losses",
    "compute_identity_discriminator_losses",
    "compute_image_discriminator_losses",
    "train_step",
    "update_parameters",
]

PerceptualDistance = Callable[[Tensor, Tensor], Tensor]
"""Distance of generated and real images, both (B, 3, side, side), normalised; e.g. `FaceNetLoss`."""
UpdateStep = Callable[..., None]
"""Zero the gradients, backpropagate a loss and step optimisers: `update(loss, *optimisers)`."""


class Batch(NamedTuple):
    """Input of one step.

    Attributes:
        mel: windows (B, M, T), or windows of speakers (B, S, M, T).
        real_images: images of the same identities, normalised, (B, 3, side, side) of the largest size, or a
            tuple with one tensor per size.
        labels: identities (B,).
        mask: (B, S), False for padding.
    """

    mel: Tensor
    real_images: Tensor | tuple[Tensor, ...]
    labels: Tensor
    mask: Tensor | None = None


@dataclass(frozen=True)
class Optimisers:
    """One optimiser for the generator, and one for each discriminator.

    Attributes:
        generator: of the trainable parameters of the generator.
        image, identity, condition: in the order of `Discriminators`.
    """

    generator: Optimizer
    image: tuple[Optimizer, ...] = ()
    identity: tuple[Optimizer, ...] = ()
    condition: tuple[Optimizer, ...] = ()

    @property
    def discriminators(self) -> tuple[Optimizer, ...]:
        """Optimisers of all discriminators."""
        return (*self.image, *self.identity, *self.condition)

    @property
    def all(self) -> tuple[Optimizer, ...]:
        """All optimisers, that of the generator first."""
        return (self.generator, *self.discriminators)


class TrainStepResult(NamedTuple):
    """Result of one step.

    Attributes:
        generator_losses: weighted terms of the generator, detached; their sum is `loss`.
        discriminator_losses: terms of the discriminators, detached; empty if skipped.
        loss: of the generator, scalar.
        skipped: the loss was not finite: no parameter and no running statistic has changed.
        generated: images and embeddings, detached.
    """

    generator_losses: dict[str, Tensor]
    discriminator_losses: dict[str, Tensor]
    loss: Tensor
    skipped: bool
    generated: GeneratorOutput


@dataclass(frozen=True)
class Objective:
    """What is minimised, and how.

    Attributes:
        loss_config: weights of the terms.
        perceptual: distance of images; None disables the term.
        update: applies a loss to optimisers; `Run.backward_and_step` in a training run.
        autocast: precision context; `Run.autocast`.
    """

    loss_config: LossConfig = field(default_factory=LossConfig)
    perceptual: PerceptualDistance | None = None
    update: UpdateStep | None = None
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext


def build_optimisers(
    generator: EncoderDecoder, discriminators: Discriminators, config: OptimiserConfig | None = None
) -> Optimisers:
    """Build one Adam optimiser for the trainable part of the generator and one for each discriminator.

    Args:
        generator: only parameters that require a gradient are optimised.
        discriminators: every parameter is optimised.
        config: learning rates and beta1; None: the published values.

    Raises:
        ValueError: the generator has no trainable parameter.
    """
    config = config or OptimiserConfig()
    trainable = [parameter for parameter in generator.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError("the generator has no trainable parameter; see `freeze_except_fuser`")
    lr = config.discriminator_lr or config.lr
    by_kind = {
        kind: tuple(build_adam(each.parameters(), lr, config.beta1) for each in getattr(discriminators, kind))
        for kind in ("image", "identity", "condition")
    }
    return Optimisers(build_adam(trainable, config.lr, config.beta1), **by_kind)


def build_adam(parameters: Iterable[nn.Parameter], lr: float, beta1: float = 0.9) -> torch.optim.Adam:
    """Adam in its fused implementation, which passes through memory once per step."""
    return torch.optim.Adam(parameters, lr=lr, betas=(beta1, 0.999), fused=True)


def train_step(
    generator: EncoderDecoder,
    discriminators: Discriminators,
    optimisers: Optimisers,
    batch: Batch,
    objective: Objective | None = None,
    noise: Noise = None,
) -> TrainStepResult:
    """Run one step: update every network, unless the generator's loss is not finite on one process.

    Args:
        generator: in the desired mode, normally `train()`.
        discriminators: in training mode, as published.
        optimisers: see `build_optimisers`.
        batch: voices, images and labels.
        objective: what is minimised.
        noise: see `VoiceEncoder.forward_head`.

    Raises:
        ValueError: shapes or numbers of images and discriminators are inconsistent.
    """
    objective = objective or Objective()
    update, loss_config = objective.update or update_parameters, objective.loss_config
    restore = preserve_buffers(generator, discriminators)
    with objective.autocast():
        generated = generator(batch.mel, batch.mask, noise=noise)
        real = match_image_sizes(batch.real_images, generated.images)
        terms = compute_generator_losses(
            generated, real, batch.labels, discriminators, objective.perceptual, loss_config
        )
        loss = sum_terms(terms)
    detached = GeneratorOutput(
        tuple(each.detach() for each in generated.images), generated.embedding.detach()
    )
    generator_losses = {name: term.detach() for name, term in terms.items()}
    if all_reduce_max(int(not torch.isfinite(loss.detach())), loss.device):
        restore()
        return TrainStepResult(generator_losses, {}, loss.detach(), True, detached)
    update(loss, optimisers.generator)
    discriminator_losses: dict[str, Tensor] = {}
    discriminator_updates: tuple[tuple[tuple[Optimizer, ...], Callable[[], dict[str, Tensor]]], ...] = (
        (
            optimisers.image,
            lambda: compute_image_discriminator_losses(discriminators, detached, real, loss_config),
        ),
        (
            optimisers.identity,
            lambda: compute_identity_discriminator_losses(
                discriminators, detached, real, batch.labels, loss_config
            ),
        ),
        (
            optimisers.condition,
            lambda: compute_condition_discriminator_losses(discriminators, detached, real, loss_config),
        ),
    )
    for kind_optimisers, compute_losses in discriminator_updates:
        if kind_optimisers:
            with objective.autocast():
                terms = compute_losses()
                total = sum_terms(terms)
            update(total, *kind_optimisers)
            discriminator_losses |= {name: term.detach() for name, term in terms.items()}
    return TrainStepResult(generator_losses, discriminator_losses, loss.detach(), False, detached)


def compute_generator_losses(
    generated: GeneratorOutput,
    real_images: Sequence[Tensor],
    labels: Tensor,
    discriminators: Discriminators,
    perceptual: PerceptualDistance | None = None,
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Terms of the generator; see `losses.generator_terms`.

    Discriminator weights get no gradient; the published code computes and discards it. Gradients do flow into
    the embedding that conditional discriminators see.

    Args:
        generated: output of the generator.
        real_images: images of the same identities at the same sizes.
        labels: identities (B,).
        discriminators: this pass updates the running statistics of their batch norms.
        perceptual: distance; not called with weight 0.
        config: weights.
    """
    config = config or LossConfig()
    images = generated.images
    with parameters_frozen(discriminators):
        image_logits = [
            discriminator(each) for discriminator, each in _pair_with_images(discriminators.image, images)
        ]
        identity_logits: list[IdentityLogits] = [
            discriminator(each) for discriminator, each in _pair_with_images(discriminators.identity, images)
        ]
        condition_logits = [
            discriminator(each, generated.embedding)
            for discriminator, each in _pair_with_images(discriminators.condition, images)
        ]
    distances = []
    if perceptual is not None and config.perceptual:
        distances = [
            perceptual(generated_image, real_image)
            for generated_image, real_image in zip(images, real_images, strict=True)
        ]
    return generator_terms(
        images, real_images, labels, image_logits, identity_logits, condition_logits, distances, config
    )


def compute_image_discriminator_losses(
    discriminators: Discriminators,
    generated: GeneratorOutput,
    real_images: Sequence[Tensor],
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Terms of the image discriminators on detached images, generated before real."""
    pairs = list(_pair_with_images(discriminators.image, generated.images))
    generated_logits, real_logits = [], []
    for (discriminator, generated_image), real_image in zip(pairs, real_images):
        generated_logits.append(discriminator(generated_image.detach()))
        real_logits.append(discriminator(real_image))
    return image_discriminator_terms(real_logits, generated_logits, (config or LossConfig()).gan_type)


def compute_identity_discriminator_losses(
    discriminators: Discriminators,
    generated: GeneratorOutput,
    real_images: Sequence[Tensor],
    labels: Tensor,
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Terms of the identity discriminators on detached images, real before generated."""
    pairs = list(_pair_with_images(discriminators.identity, generated.images))
    generated_logits, real_logits = [], []
    for (discriminator, generated_image), real_image in zip(pairs, real_images):
        real_logits.append(discriminator(real_image))
        generated_logits.append(discriminator(generated_image.detach()))
    return identity_discriminator_terms(
        real_logits, generated_logits, labels, (config or LossConfig()).gan_type
    )


def compute_condition_discriminator_losses(
    discriminators: Discriminators,
    generated: GeneratorOutput,
    real_images: Sequence[Tensor],
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Terms of the conditional discriminators on detached images and embeddings, generated before real."""
    embedding = generated.embedding.detach()
    pairs = list(_pair_with_images(discriminators.condition, generated.images))
    generated_logits, real_logits = [], []
    for (discriminator, generated_image), real_image in zip(pairs, real_images):
        generated_logits.append(discriminator(generated_image.detach(), embedding))
        real_logits.append(discriminator(real_image, embedding))
    return condition_discriminator_terms(real_logits, generated_logits, (config or LossConfig()).gan_type)


def update_parameters(loss: Tensor, *optimisers: Optimizer) -> None:
    """Zero the gradients, backpropagate `loss` and step the optimisers."""
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()
    for optimiser in optimisers:
        optimiser.step()


def _pair_with_images(
    discriminators: nn.ModuleList, images: Sequence[Tensor]
) -> Iterable[tuple[nn.Module, Tensor]]:
    """Pair discriminators with images by size; empty without discriminators."""
    if len(discriminators) not in (0, len(images)):
        raise ValueError(f"{len(discriminators)} discriminators for images of {len(images)} sizes")
    return zip(discriminators, images)
