"""What generator and discriminators are trained with: adversarial, identity, pixel and perceptual terms.

Terms keep the names of the published log; all are means over the batch. Letters: N pictures, K identities, R
sizes of picture, smallest first (specification, section 7.3).
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from voiceface.runtime.config import Config

from sf2f.discriminators import IdentityLogits
from sf2f.image_transforms import downsample_by_halving

GanKind = Literal["gan", "wgan", "lsgan"]


class LossConfig(Config):
    """Weights of the generator's terms; the defaults are those of `sf2f_1st_stage`.

    Discriminators are never weighted in their own objective. One is left out by leaving it out of
    `DiscriminatorsConfig`, for which the published files have negative weights.
    """

    gan_type: GanKind = Field(default="gan", description="gan: logistic; wgan: plain means; lsgan: squares")
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
    images: Sequence[Tensor],
    real_images: Sequence[Tensor],
    labels: Tensor,
    image_logits: Sequence[Tensor] = (),
    identity_logits: Sequence[IdentityLogits] = (),
    condition_logits: Sequence[Tensor] = (),
    perceptual: Sequence[Tensor] = (),
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Weighted terms of the generator; their sum is what it minimises.

    Args:
        images: made ones of each size, (N, 3, side, side).
        real: pictures of the same people, the same sizes.
        labels: identities, (N,).
        image_logits: of the made ones, one for each size, or none.
        identity_logits: the same of the identity discriminators.
        condition_logits: the same of the conditional ones.
        perceptual: distances, one for each size, or none.
        config: weights.

    Returns:
        `L1_pixel_loss`, `g_gan_img_loss_0`, `ac_loss_0`, `g_gan_ac_loss_0`, `g_gan_cond_loss_0` and
        `img_perceptual_loss` as far as there are any. With several sizes all of them are numbered.
    """
    config = config or LossConfig()
    terms = {
        f"L1_pixel_loss{_size_suffix(at, len(images))}": config.pixel * (made - true).abs().mean()
        for at, (made, true) in enumerate(zip(images, real_images, strict=True))
    }
    for at, logits in enumerate(image_logits):
        fooled = generator_loss(logits, config.gan_type)
        terms[f"g_gan_img_loss_{at}"] = config.adversarial * config.image * fooled
    for at, verdict in enumerate(identity_logits):
        weight = config.adversarial * config.identity
        terms[f"ac_loss_{at}"] = weight * functional.cross_entropy(verdict.identity, labels)
        terms[f"g_gan_ac_loss_{at}"] = weight * generator_loss(verdict.real, config.gan_type)
    for at, logits in enumerate(condition_logits):
        fooled = generator_loss(logits, config.gan_type)
        terms[f"g_gan_cond_loss_{at}"] = config.adversarial * config.condition * fooled
    for at, distance in enumerate(perceptual):
        terms[f"img_perceptual_loss{_size_suffix(at, len(images))}"] = config.perceptual * distance
    return terms


def image_discriminator_terms(
    real: Sequence[Tensor], generated: Sequence[Tensor], gan_type: GanKind = "gan"
) -> dict[str, Tensor]:
    """Terms `d_img_gan_loss_0` and so on.

    Args:
        real: logits of real pictures, one for each size.
        generated: of made ones.
        gan_type: kind of objective.
    """
    return {
        f"d_img_gan_loss_{at}": discriminator_loss(*pair, gan_type)
        for at, pair in enumerate(zip(real, generated, strict=True))
    }


def identity_discriminator_terms(
    real: Sequence[IdentityLogits],
    generated: Sequence[IdentityLogits],
    labels: Tensor,
    gan_type: GanKind = "gan",
) -> dict[str, Tensor]:
    """Terms `d_ac_gan_loss_0`, `d_ac_loss_real_0` and so on; whose face is learnt from real pictures only.

    Args:
        real: logits of real pictures, one for each size.
        generated: of made ones.
        labels: identities of the real ones, (N,).
        gan_type: kind of objective.
    """
    terms: dict[str, Tensor] = {}
    for at, (true, false) in enumerate(zip(real, generated, strict=True)):
        terms[f"d_ac_gan_loss_{at}"] = discriminator_loss(true.real, false.real, gan_type)
        terms[f"d_ac_loss_real_{at}"] = functional.cross_entropy(true.identity, labels)
    return terms


def condition_discriminator_terms(
    real: Sequence[Tensor], generated: Sequence[Tensor], gan_type: GanKind = "gan"
) -> dict[str, Tensor]:
    """Terms `d_cond_gan_loss_0` and so on, as `image_discriminator_terms`."""
    return {
        f"d_cond_gan_loss_{at}": discriminator_loss(*pair, gan_type)
        for at, pair in enumerate(zip(real, generated, strict=True))
    }


def generator_loss(generated: Tensor, gan_type: GanKind = "gan") -> Tensor:
    """What a generator pays for logits of its pictures, of any shape."""
    _require_gan_type(gan_type)
    return -generated.mean() if gan_type == "wgan" else _loss_for_label(generated, 1.0, gan_type)


def discriminator_loss(real: Tensor, generated: Tensor, gan_type: GanKind = "gan") -> Tensor:
    """What a discriminator pays for its logits of real and made pictures, of any shape."""
    _require_gan_type(gan_type)
    if gan_type == "wgan":
        return generated.mean() - real.mean()
    return _loss_for_label(real, 1.0, gan_type) + _loss_for_label(generated, 0.0, gan_type)


def match_image_sizes(real: Tensor | Sequence[Tensor], generated: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Real pictures at the size of each made one: those given, or the largest, halved.

    Args:
        real: (N, 3, H, W), or a tuple with one tensor for each size, smallest first.
        generated: made ones, smallest first.

    Raises:
        ValueError: no halving leads to the size, or the tuple has other sizes.
    """
    if isinstance(real, Tensor):
        return tuple(downsample_by_halving(real, (made.shape[-2], made.shape[-1])) for made in generated)
    found, wanted = [[tuple(each.shape[-2:]) for each in group] for group in (real, generated)]
    if found != wanted:
        raise ValueError(f"real pictures have sizes {found}, those made have {wanted}")
    return tuple(real)


def sum_terms(terms: Mapping[str, Tensor]) -> Tensor:
    """Sum of all terms."""
    return torch.stack(list(terms.values())).sum()


def _loss_for_label(logits: Tensor, label: float, gan_type: GanKind) -> Tensor:
    """Logistic loss of the logits against one label, or squared error of their sigmoids."""
    if gan_type == "lsgan":
        return (logits.sigmoid() - label).square().mean()
    return functional.softplus(-logits if label else logits).mean()


def _require_gan_type(gan_type: str) -> None:
    if gan_type not in get_args(GanKind):
        raise ValueError(f"the adversarial loss must be one of {get_args(GanKind)}, found {gan_type!r}")


def _size_suffix(index: int, count: int) -> str:
    return f"_{index}" if count > 1 else ""
