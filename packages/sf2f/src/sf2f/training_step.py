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
from voiceface.models.contexts import held, keep_buffers

from sf2f.discriminators import Discriminators, Verdict
from sf2f.generator import EncoderDecoder, Generated, Noise
from sf2f.losses import (
    LossConfig,
    condition_discriminator_terms,
    generator_terms,
    identity_discriminator_terms,
    image_discriminator_terms,
    sizes_of,
    total,
)

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""Distance of made and real pictures, both (B, 3, side, side), normalised: `facenet.FaceNetLoss`."""
Learn = Callable[..., None]
"""Clear gradients, go back through a loss, step the optimisers: `learn(loss, *optimisers)`."""


class Batch(NamedTuple):
    """What one iteration sees.

    Attributes:
        mel: windows (B, M, T), or windows of speakers (B, S, M, T).
        real: pictures of the same people, normalised, (B, 3, side, side) of the largest size, or a tuple with
            one tensor for each size.
        labels: identities (B,).
        mask: (B, S), False for windows that are padding.
    """

    mel: Tensor
    real: Tensor | tuple[Tensor, ...]
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


class Outcome(NamedTuple):
    """What an iteration found.

    Attributes:
        generator: weighted terms of the generator, detached; their sum is `loss`.
        discriminators: terms of the discriminators, detached; empty when skipped.
        loss: of the generator, scalar.
        skipped: the loss was not finite: nothing has learnt, and no running statistics have changed.
        generated: pictures and embeddings, detached.
    """

    generator: dict[str, Tensor]
    discriminators: dict[str, Tensor]
    loss: Tensor
    skipped: bool
    generated: Generated


@dataclass(frozen=True)
class Objective:
    """What is minimised, and how passes and steps are made.

    Attributes:
        losses: weights.
        perceptual: distance of pictures; None leaves the term out.
        learn: how a loss becomes steps; `Run.backward` in a training run.
        autocast: precision of the passes; `Run.autocast`.
    """

    losses: LossConfig = field(default_factory=LossConfig)
    perceptual: Perceptual | None = None
    learn: Learn | None = None
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext


def optimisers_of(
    generator: EncoderDecoder, discriminators: Discriminators, lr: float = 5e-4, beta1: float = 0.9
) -> Optimisers:
    """Adam for everything that learns, as published: betas (`beta1`, 0.999), no decay.

    Raises:
        ValueError: nothing in the generator learns.
    """
    learning = [parameter for parameter in generator.parameters() if parameter.requires_grad]
    if not learning:
        raise ValueError("no parameter of the generator learns; see `freeze_but_fuser`")
    lists = {
        kind: tuple(adam(network.parameters(), lr, beta1) for network in getattr(discriminators, kind))
        for kind in ("image", "identity", "condition")
    }
    return Optimisers(adam(learning, lr, beta1), **lists)


def adam(parameters: Iterable[nn.Parameter], lr: float, beta1: float = 0.9) -> torch.optim.Adam:
    """Adam in its fused form, where a step passes through memory once."""
    return torch.optim.Adam(parameters, lr=lr, betas=(beta1, 0.999), fused=True)


def iterate(
    generator: EncoderDecoder,
    discriminators: Discriminators,
    optimisers: Optimisers,
    batch: Batch,
    objective: Objective | None = None,
    noise: Noise = None,
) -> Outcome:
    """One iteration: every network makes one step, unless the generator's loss is not finite.

    Args:
        generator: in the mode that is wanted, `train()` as a rule.
        discriminators: in training mode, as published.
        optimisers: see `optimisers_of`.
        batch: voices, pictures, labels.
        objective: what is minimised.
        noise: see `VoiceEncoder.head`.

    Raises:
        ValueError: shapes or numbers of pictures and discriminators do not fit.
    """
    objective = objective or Objective()
    learn, losses = objective.learn or step, objective.losses
    restore = keep_buffers(generator, discriminators)
    with objective.autocast():
        generated = generator(batch.mel, batch.mask, noise=noise)
        real = sizes_of(batch.real, generated.pictures)
        terms = generator_side(generated, real, batch.labels, discriminators, objective.perceptual, losses)
        loss = total(terms)
    fixed = Generated(tuple(each.detach() for each in generated.pictures), generated.embedding.detach())
    plain = {name: term.detach() for name, term in terms.items()}
    if not torch.isfinite(loss.detach()):
        restore()
        return Outcome(plain, {}, loss.detach(), True, fixed)
    learn(loss, optimisers.generator)
    found: dict[str, Tensor] = {}
    sides: tuple[tuple[tuple[Optimizer, ...], Callable[[], dict[str, Tensor]]], ...] = (
        (optimisers.image, lambda: image_discriminator_side(discriminators, fixed, real, losses)),
        (
            optimisers.identity,
            lambda: identity_discriminator_side(discriminators, fixed, real, batch.labels, losses),
        ),
        (optimisers.condition, lambda: condition_discriminator_side(discriminators, fixed, real, losses)),
    )
    for stepped, side in sides:
        if stepped:
            with objective.autocast():
                terms = side()
                loss_of_side = total(terms)
            learn(loss_of_side, *stepped)
            found |= {name: term.detach() for name, term in terms.items()}
    return Outcome(plain, found, loss.detach(), False, fixed)


def generator_side(
    generated: Generated,
    real: Sequence[Tensor],
    labels: Tensor,
    discriminators: Discriminators,
    perceptual: Perceptual | None = None,
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Terms of the generator; see `losses.generator_terms`.

    Weights of the discriminators get no gradient; the published code computes and drops them. Gradients
    do pass into the embedding that conditional discriminators see.

    Args:
        generated: what the generator made.
        real: pictures of the same people at the same sizes.
        labels: identities (B,).
        discriminators: their batch norms count this pass.
        perceptual: distance; not called with weight 0.
        config: weights.
    """
    config = config or LossConfig()
    pictures = generated.pictures
    with held(discriminators):
        image = [judge(each) for judge, each in _pairs(discriminators.image, pictures)]
        verdicts: list[Verdict] = [judge(each) for judge, each in _pairs(discriminators.identity, pictures)]
        fitting = [
            judge(each, generated.embedding) for judge, each in _pairs(discriminators.condition, pictures)
        ]
    distances = []
    if perceptual is not None and config.perceptual:
        distances = [perceptual(made, true) for made, true in zip(pictures, real, strict=True)]
    return generator_terms(pictures, real, labels, image, verdicts, fitting, distances, config)


def image_discriminator_side(
    discriminators: Discriminators,
    generated: Generated,
    real: Sequence[Tensor],
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Terms of the image discriminators on detached pictures, made ones first."""
    pairs = list(_pairs(discriminators.image, generated.pictures))
    made, true = [], []
    for (judge, fake), picture in zip(pairs, real):
        made.append(judge(fake.detach()))
        true.append(judge(picture))
    return image_discriminator_terms(true, made, (config or LossConfig()).gan)


def identity_discriminator_side(
    discriminators: Discriminators,
    generated: Generated,
    real: Sequence[Tensor],
    labels: Tensor,
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Terms of the identity discriminators on detached pictures, real ones first."""
    pairs = list(_pairs(discriminators.identity, generated.pictures))
    made, true = [], []
    for (judge, fake), picture in zip(pairs, real):
        true.append(judge(picture))
        made.append(judge(fake.detach()))
    return identity_discriminator_terms(true, made, labels, (config or LossConfig()).gan)


def condition_discriminator_side(
    discriminators: Discriminators,
    generated: Generated,
    real: Sequence[Tensor],
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Terms of the conditional discriminators on detached pictures and embeddings, made ones first."""
    embedding = generated.embedding.detach()
    pairs = list(_pairs(discriminators.condition, generated.pictures))
    made, true = [], []
    for (judge, fake), picture in zip(pairs, real):
        made.append(judge(fake.detach(), embedding))
        true.append(judge(picture, embedding))
    return condition_discriminator_terms(true, made, (config or LossConfig()).gan)


def step(loss: Tensor, *optimisers: Optimizer) -> None:
    """Clear the gradients of the optimisers' parameters, go back through `loss`, step."""
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()
    for optimiser in optimisers:
        optimiser.step()


def _pairs(judges: nn.ModuleList, pictures: Sequence[Tensor]) -> Iterable[tuple[nn.Module, Tensor]]:
    """Each discriminator with the pictures that it judges; nothing where there are no discriminators."""
    if len(judges) not in (0, len(pictures)):
        raise ValueError(f"{len(judges)} discriminators for pictures of {len(pictures)} sizes")
    return zip(judges, pictures)
