"""What generator and discriminators are trained with: adversarial, identity, pixel and perceptual terms.

Terms keep the names of the published log; all are means over the batch. Letters: N pictures, K identities, R
sizes of picture, smallest first (specification, section 7.3).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from voiceface.runtime.config import Config

from sf2f.discriminators import Verdict
from sf2f.image_transforms import halved_to

GanKind = Literal["gan", "wgan", "lsgan"]
Mixing = Literal["uniform", "normal"]


class LossConfig(Config):
    """Weights of the generator's terms; the defaults are those of `sf2f_1st_stage`.

    Discriminators are never weighted in their own objective. One is left out by leaving it out of
    `DiscriminatorsConfig`, for which the published files have negative weights.
    """

    gan: GanKind = Field(default="gan", description="gan: logistic; wgan: plain means; lsgan: squares")
    pixel: float = Field(default=10.0, ge=0, description="mean absolute difference, for each size of picture")
    adversarial: float = Field(default=1.0, ge=0, description="on all terms of discriminators")
    image: float = Field(default=1.0, ge=0, description="image discriminators")
    identity: float = Field(default=0.05, ge=0, description="identity discriminators, both heads")
    condition: float = Field(default=1.0, ge=0, description="conditional discriminators")
    perceptual: float = Field(default=100.0, ge=0, description="FaceNet's hidden features; 0: not computed")
    cosine: float = Field(
        default=0.0, ge=0, description="1 - cosine of FaceNet embeddings, inside perceptual"
    )


def generator_terms(
    pictures: Sequence[Tensor],
    real: Sequence[Tensor],
    labels: Tensor,
    image_logits: Sequence[Tensor] = (),
    verdicts: Sequence[Verdict] = (),
    condition_logits: Sequence[Tensor] = (),
    perceptual: Sequence[Tensor] = (),
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Weighted terms of the generator; their sum is what it minimises.

    Args:
        pictures: made ones of each size, (N, 3, side, side).
        real: pictures of the same people, the same sizes.
        labels: identities, (N,).
        image_logits: of the made ones, one for each size, or none.
        verdicts: the same of the identity discriminators.
        condition_logits: the same of the conditional ones.
        perceptual: distances, one for each size, or none.
        config: weights.

    Returns:
        `L1_pixel_loss`, `g_gan_img_loss_0`, `ac_loss_0`, `g_gan_ac_loss_0`, `g_gan_cond_loss_0` and
        `img_perceptual_loss` as far as there are any. With several sizes all of them are numbered.
    """
    config = config or LossConfig()
    terms = {
        f"L1_pixel_loss{_number(at, len(pictures))}": config.pixel * (made - true).abs().mean()
        for at, (made, true) in enumerate(zip(pictures, real, strict=True))
    }
    for at, logits in enumerate(image_logits):
        fooled = generator_loss(logits, config.gan)
        terms[f"g_gan_img_loss_{at}"] = config.adversarial * config.image * fooled
    for at, verdict in enumerate(verdicts):
        weight = config.adversarial * config.identity
        terms[f"ac_loss_{at}"] = weight * functional.cross_entropy(verdict.identity, labels)
        terms[f"g_gan_ac_loss_{at}"] = weight * generator_loss(verdict.real, config.gan)
    for at, logits in enumerate(condition_logits):
        fooled = generator_loss(logits, config.gan)
        terms[f"g_gan_cond_loss_{at}"] = config.adversarial * config.condition * fooled
    for at, distance in enumerate(perceptual):
        terms[f"img_perceptual_loss{_number(at, len(pictures))}"] = config.perceptual * distance
    return terms


def image_discriminator_terms(
    real: Sequence[Tensor], made: Sequence[Tensor], gan: GanKind = "gan"
) -> dict[str, Tensor]:
    """Terms `d_img_gan_loss_0` and so on.

    Args:
        real: logits of real pictures, one for each size.
        made: of made ones.
        gan: kind of objective.
    """
    return {
        f"d_img_gan_loss_{at}": discriminator_loss(*pair, gan)
        for at, pair in enumerate(zip(real, made, strict=True))
    }


def identity_discriminator_terms(
    real: Sequence[Verdict], made: Sequence[Verdict], labels: Tensor, gan: GanKind = "gan"
) -> dict[str, Tensor]:
    """Terms `d_ac_gan_loss_0`, `d_ac_loss_real_0` and so on; whose face is learnt from real pictures only.

    Args:
        real: logits of real pictures, one for each size.
        made: of made ones.
        labels: identities of the real ones, (N,).
        gan: kind of objective.
    """
    terms: dict[str, Tensor] = {}
    for at, (true, false) in enumerate(zip(real, made, strict=True)):
        terms[f"d_ac_gan_loss_{at}"] = discriminator_loss(true.real, false.real, gan)
        terms[f"d_ac_loss_real_{at}"] = functional.cross_entropy(true.identity, labels)
    return terms


def condition_discriminator_terms(
    real: Sequence[Tensor], made: Sequence[Tensor], gan: GanKind = "gan"
) -> dict[str, Tensor]:
    """Terms `d_cond_gan_loss_0` and so on, as `image_discriminator_terms`."""
    return {
        f"d_cond_gan_loss_{at}": discriminator_loss(*pair, gan)
        for at, pair in enumerate(zip(real, made, strict=True))
    }


def generator_loss(made: Tensor, kind: GanKind = "gan") -> Tensor:
    """What a generator pays for logits of its pictures, of any shape."""
    _require_kind(kind)
    return -made.mean() if kind == "wgan" else _against(made, 1.0, kind)


def discriminator_loss(real: Tensor, made: Tensor, kind: GanKind = "gan") -> Tensor:
    """What a discriminator pays for its logits of real and made pictures, of any shape."""
    _require_kind(kind)
    if kind == "wgan":
        return made.mean() - real.mean()
    return _against(real, 1.0, kind) + _against(made, 0.0, kind)


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    made: Tensor,
    noise: Tensor | torch.Generator,
    mixing: Mixing = "uniform",
    gamma: float = 1.0,
) -> Tensor:
    """Squared distance of the critic's slope from `gamma` between real and made pictures (WGAN-GP).

    No released model uses it. A sample's score is the mean of its logits; the slope is the length of its
    gradient by all numbers of the sample.

    Args:
        critic: pictures (N, 3, H, W) to logits of any shape (N, ...).
        real: (N, 3, H, W).
        made: the same shape.
        noise: share of the real picture in each mixture, N numbers, or where to draw it.
        mixing: how it is drawn: "uniform" in 0...1, as the method means; "normal", as published.
        gamma: wanted slope, above 0.

    Returns:
        Mean over the samples of (slope - gamma)^2 / gamma^2.

    Raises:
        ValueError: the shapes differ, `gamma` is not positive, or `mixing` is unknown.
    """
    if real.shape != made.shape:
        raise ValueError(f"as many pictures needed, found {tuple(real.shape)} and {tuple(made.shape)}")
    if mixing not in get_args(Mixing) or not gamma > 0:
        raise ValueError(f"mixing uniform or normal and gamma above 0 needed, found {mixing!r} and {gamma}")
    if isinstance(noise, torch.Generator):
        draw = torch.rand if mixing == "uniform" else torch.randn
        noise = draw(len(real), generator=noise, device=noise.device)
    share = noise.to(real).reshape(-1, *[1] * (real.ndim - 1))
    mixed = (share * real.detach() + (1 - share) * made.detach()).requires_grad_()
    scores = critic(mixed).flatten(1).mean(1)
    (slope,) = torch.autograd.grad(scores.sum(), mixed, create_graph=True)
    return ((slope.flatten(1).norm(dim=1) - gamma) / gamma).square().mean()


def sizes_of(real: Tensor | Sequence[Tensor], pictures: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Real pictures at the size of each made one: those given, or the largest, halved.

    Args:
        real: (N, 3, H, W), or a tuple with one tensor for each size, smallest first.
        pictures: made ones, smallest first.

    Raises:
        ValueError: no halving leads to the size, or the tuple has other sizes.
    """
    if isinstance(real, Tensor):
        return tuple(halved_to(real, (made.shape[-2], made.shape[-1])) for made in pictures)
    found, wanted = [[tuple(each.shape[-2:]) for each in group] for group in (real, pictures)]
    if found != wanted:
        raise ValueError(f"real pictures have sizes {found}, those made have {wanted}")
    return tuple(real)


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """Sum of all terms."""
    return torch.stack(list(terms.values())).sum()


def _against(logits: Tensor, label: float, kind: GanKind) -> Tensor:
    """Logistic loss of the logits against one label, or squared error of their sigmoids."""
    if kind == "lsgan":
        return (logits.sigmoid() - label).square().mean()
    return functional.softplus(-logits if label else logits).mean()


def _require_kind(kind: str) -> None:
    if kind not in get_args(GanKind):
        raise ValueError(f"the adversarial loss must be one of {get_args(GanKind)}, found {kind!r}")


def _number(at: int, count: int) -> str:
    return f"_{at}" if count > 1 else ""
