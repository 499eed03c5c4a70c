"""One iteration of the adversarial training, in the published order (specification, section 8.1).

Generator forward, its objective and step; then the image discriminators on the same pictures (made ones
first), then those of identity (real ones first), then conditional ones. The order shows in the running
statistics of batch norms. Letters: B items, R sizes of picture, smallest first.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from voiceface.models.contexts import parameters_frozen, preserve_buffers

from sf2f.config import OptimiserConfig
from sf2f.discriminators import Discriminators, IdentityLogits
from sf2f.generator import EncoderDecoder, GeneratorOutput, Noise
from sf2f.losses import (
    LossConfig,
    condition_discriminator_terms,
    generator_terms,
    identity_discriminator_terms,
    image_discriminator_terms,
    match_image_sizes,
    sum_terms,
)

PerceptualDistance = Callable[[Tensor, Tensor], Tensor]
"""Distance of made and real pictures, both (B, 3, side, side), normalised: `facenet.FaceNetLoss`."""
UpdateStep = Callable[..., None]
"""Clear gradients, go back through a loss, step the optimisers: `learn(loss, *optimisers)`."""


class Batch(NamedTuple):
    """What one iteration sees.

    Attributes:
        mel: windows (B, M, T), or windows of speakers (B, S, M, T).
        real_images: pictures of the same people, normalised, (B, 3, side, side) of the largest size, or a tuple with
            one tensor for each size.
        labels: identities (B,).
        mask: (B, S), False for windows that are padding.
    """

    mel: Tensor
    real_images: Tensor | tuple[Tensor, ...]
    labels: Tensor
    mask: Tensor | None = None


@dataclass(frozen=True)
class Optimisers:
    """One for the generator, and one for each discriminator.

    Attributes:
        generator: of the generator's parameters that learn.
        image, identity, condition: in the order of `Discriminators`.
    """

    generator: Optimizer
    image: tuple[Optimizer, ...] = ()
    identity: tuple[Optimizer, ...] = ()
    condition: tuple[Optimizer, ...] = ()

    @property
    def discriminators(self) -> tuple[Optimizer, ...]:
        """Those of all discriminators."""
        return (*self.image, *self.identity, *self.condition)

    @property
    def all(self) -> tuple[Optimizer, ...]:
        """Every one, the generator's first."""
        return (self.generator, *self.discriminators)


class TrainStepResult(NamedTuple):
    """What an iteration found.

    Attributes:
        generator_losses: weighted terms of the generator, detached; their sum is `loss`.
        discriminator_losses: terms of the discriminators, detached; empty when skipped.
        loss: of the generator, scalar.
        skipped: the loss was not finite: nothing has learnt, and no running statistics have changed.
        generated: pictures and embeddings, detached.
    """

    generator_losses: dict[str, Tensor]
    discriminator_losses: dict[str, Tensor]
    loss: Tensor
    skipped: bool
    generated: GeneratorOutput


@dataclass(frozen=True)
class Objective:
    """What is minimised, and how passes and steps are made.

    Attributes:
        loss_config: weights.
        perceptual: distance of pictures; None leaves the term out.
        update: how a loss becomes steps; `Run.backward` in a training run.
        autocast: precision of the passes; `Run.autocast`.
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
    """Adam in its fused form, where a step passes through memory once."""
    return torch.optim.Adam(parameters, lr=lr, betas=(beta1, 0.999), fused=True)


def train_step(
    generator: EncoderDecoder,
    discriminators: Discriminators,
    optimisers: Optimisers,
    batch: Batch,
    objective: Objective | None = None,
    noise: Noise = None,
) -> TrainStepResult:
    """One iteration: every network makes one step, unless the generator's loss is not finite.

    Args:
        generator: in the mode that is wanted, `train()` as a rule.
        discriminators: in training mode, as published.
        optimisers: see `build_optimisers`.
        batch: voices, pictures, labels.
        objective: what is minimised.
        noise: see `VoiceEncoder.head`.

    Raises:
        ValueError: shapes or numbers of pictures and discriminators do not fit.
    """
    objective = objective or Objective()
    learn, losses = objective.update or update_parameters, objective.loss_config
    restore = preserve_buffers(generator, discriminators)
    with objective.autocast():
        generated = generator(batch.mel, batch.mask, noise=noise)
        real = match_image_sizes(batch.real_images, generated.images)
        terms = compute_generator_losses(
            generated, real, batch.labels, discriminators, objective.perceptual, losses
        )
        loss = sum_terms(terms)
    fixed = GeneratorOutput(tuple(each.detach() for each in generated.images), generated.embedding.detach())
    plain = {name: term.detach() for name, term in terms.items()}
    if not torch.isfinite(loss.detach()):
        restore()
        return TrainStepResult(plain, {}, loss.detach(), True, fixed)
    learn(loss, optimisers.generator)
    found: dict[str, Tensor] = {}
    sides: tuple[tuple[tuple[Optimizer, ...], Callable[[], dict[str, Tensor]]], ...] = (
        (optimisers.image, lambda: compute_image_discriminator_losses(discriminators, fixed, real, losses)),
        (
            optimisers.identity,
            lambda: compute_identity_discriminator_losses(discriminators, fixed, real, batch.labels, losses),
        ),
        (
            optimisers.condition,
            lambda: compute_condition_discriminator_losses(discriminators, fixed, real, losses),
        ),
    )
    for stepped, side in sides:
        if stepped:
            with objective.autocast():
                terms = side()
                loss_of_side = sum_terms(terms)
            learn(loss_of_side, *stepped)
            found |= {name: term.detach() for name, term in terms.items()}
    return TrainStepResult(plain, found, loss.detach(), False, fixed)


def compute_generator_losses(
    generated: GeneratorOutput,
    real_images: Sequence[Tensor],
    labels: Tensor,
    discriminators: Discriminators,
    perceptual: PerceptualDistance | None = None,
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Terms of the generator; see `losses.generator_terms`.

    Weights of the discriminators get no gradient; the published code computes and drops them. Gradients
    do pass into the embedding that conditional discriminators see.

    Args:
        generated: what the generator made.
        real_images: pictures of the same people at the same sizes.
        labels: identities (B,).
        discriminators: their batch norms count this pass.
        perceptual: distance; not called with weight 0.
        config: weights.
    """
    config = config or LossConfig()
    pictures = generated.images
    with parameters_frozen(discriminators):
        image = [judge(each) for judge, each in _pair_with_images(discriminators.image, pictures)]
        verdicts: list[IdentityLogits] = [
            judge(each) for judge, each in _pair_with_images(discriminators.identity, pictures)
        ]
        fitting = [
            judge(each, generated.embedding)
            for judge, each in _pair_with_images(discriminators.condition, pictures)
        ]
    distances = []
    if perceptual is not None and config.perceptual:
        distances = [perceptual(made, true) for made, true in zip(pictures, real_images, strict=True)]
    return generator_terms(pictures, real_images, labels, image, verdicts, fitting, distances, config)


def compute_image_discriminator_losses(
    discriminators: Discriminators,
    generated: GeneratorOutput,
    real_images: Sequence[Tensor],
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Terms of the image discriminators on detached pictures, made ones first."""
    pairs = list(_pair_with_images(discriminators.image, generated.images))
    made, true = [], []
    for (judge, fake), picture in zip(pairs, real_images):
        made.append(judge(fake.detach()))
        true.append(judge(picture))
    return image_discriminator_terms(true, made, (config or LossConfig()).gan_type)


def compute_identity_discriminator_losses(
    discriminators: Discriminators,
    generated: GeneratorOutput,
    real_images: Sequence[Tensor],
    labels: Tensor,
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Terms of the identity discriminators on detached pictures, real ones first."""
    pairs = list(_pair_with_images(discriminators.identity, generated.images))
    made, true = [], []
    for (judge, fake), picture in zip(pairs, real_images):
        true.append(judge(picture))
        made.append(judge(fake.detach()))
    return identity_discriminator_terms(true, made, labels, (config or LossConfig()).gan_type)


def compute_condition_discriminator_losses(
    discriminators: Discriminators,
    generated: GeneratorOutput,
    real_images: Sequence[Tensor],
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Terms of the conditional discriminators on detached pictures and embeddings, made ones first."""
    embedding = generated.embedding.detach()
    pairs = list(_pair_with_images(discriminators.condition, generated.images))
    made, true = [], []
    for (judge, fake), picture in zip(pairs, real_images):
        made.append(judge(fake.detach(), embedding))
        true.append(judge(picture, embedding))
    return condition_discriminator_terms(true, made, (config or LossConfig()).gan_type)


def update_parameters(loss: Tensor, *optimisers: Optimizer) -> None:
    """Clear the gradients of the optimisers' parameters, go back through `loss`, step."""
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()
    for optimiser in optimisers:
        optimiser.step()


def _pair_with_images(
    discriminators: nn.ModuleList, images: Sequence[Tensor]
) -> Iterable[tuple[nn.Module, Tensor]]:
    """Each discriminator with the pictures that it judges; nothing where there are no discriminators."""
    if len(discriminators) not in (0, len(images)):
        raise ValueError(f"{len(discriminators)} discriminators for pictures of {len(images)} sizes")
    return zip(discriminators, images)
