"""Losses of generator and discriminators: adversarial, identity, pixel and perceptual terms (docs/sf2f.md).

Terms keep the names of the published log; all are means over the batch. Letters: N images, K identities, R
image sizes, smallest first.
"""

from collections.abc import Mapping, Sequence
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional

from sf2f.discriminators import IdentityLogits
from sf2f.image_transforms import downsample_by_halving
from sf2f.network_config import GanKind, LossConfig

__all__ = [
    "condition_discriminator_terms",
    "discriminator_loss",
    "generator_loss",
    "generator_terms",
    "identity_discriminator_terms",
    "image_discriminator_terms",
    "match_image_sizes",
    "sum_terms",
]


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
    """Weighted terms of the generator loss; their sum is minimised.

    Args:
        images: generated images of each size, (N, 3, side, side).
        real_images: images of the same identities at the same sizes.
        labels: identities, (N,).
        image_logits: image discriminators on generated images, one per size, or empty.
        identity_logits: identity discriminators on generated images, one per size, or empty.
        condition_logits: conditional discriminators on generated images, one per size, or empty.
        perceptual: perceptual distances, one per size, or empty.
        config: weights.

    Returns:
        `L1_pixel_loss`, `g_gan_img_loss_0`, `ac_loss_0`, `g_gan_ac_loss_0`, `g_gan_cond_loss_0` and
        `img_perceptual_loss`, as far as they apply. With several sizes all of them are numbered.
    """
    config = config or LossConfig()
    terms = {
        f"L1_pixel_loss{_size_suffix(index, len(images))}": config.pixel * (generated - real).abs().mean()
        for index, (generated, real) in enumerate(zip(images, real_images, strict=True))
    }
    for index, logits in enumerate(image_logits):
        loss = generator_loss(logits, config.gan_type)
        terms[f"g_gan_img_loss_{index}"] = config.adversarial * config.image * loss
    for index, heads in enumerate(identity_logits):
        weight = config.adversarial * config.identity
        terms[f"ac_loss_{index}"] = weight * functional.cross_entropy(heads.identity, labels)
        terms[f"g_gan_ac_loss_{index}"] = weight * generator_loss(heads.real, config.gan_type)
    for index, logits in enumerate(condition_logits):
        loss = generator_loss(logits, config.gan_type)
        terms[f"g_gan_cond_loss_{index}"] = config.adversarial * config.condition * loss
    for index, distance in enumerate(perceptual):
        terms[f"img_perceptual_loss{_size_suffix(index, len(images))}"] = config.perceptual * distance
    return terms


def image_discriminator_terms(
    real: Sequence[Tensor], generated: Sequence[Tensor], gan_type: GanKind = "gan"
) -> dict[str, Tensor]:
    """Terms `d_img_gan_loss_0`, `d_img_gan_loss_1`, ...

    Args:
        real: logits of real images, one per size.
        generated: logits of generated images.
        gan_type: kind of adversarial loss.
    """
    return {
        f"d_img_gan_loss_{index}": discriminator_loss(*pair, gan_type)
        for index, pair in enumerate(zip(real, generated, strict=True))
    }


def identity_discriminator_terms(
    real: Sequence[IdentityLogits],
    generated: Sequence[IdentityLogits],
    labels: Tensor,
    gan_type: GanKind = "gan",
) -> dict[str, Tensor]:
    """Terms `d_ac_gan_loss_0`, `d_ac_loss_real_0`, ...; identities are learnt from real images only.

    Args:
        real: logits of real images, one per size.
        generated: logits of generated images.
        labels: identities of the real images, (N,).
        gan_type: kind of adversarial loss.
    """
    terms: dict[str, Tensor] = {}
    for index, (real_logits, generated_logits) in enumerate(zip(real, generated, strict=True)):
        terms[f"d_ac_gan_loss_{index}"] = discriminator_loss(
            real_logits.real, generated_logits.real, gan_type
        )
        terms[f"d_ac_loss_real_{index}"] = functional.cross_entropy(real_logits.identity, labels)
    return terms


def condition_discriminator_terms(
    real: Sequence[Tensor], generated: Sequence[Tensor], gan_type: GanKind = "gan"
) -> dict[str, Tensor]:
    """Terms `d_cond_gan_loss_0`, ..., as `image_discriminator_terms`."""
    return {
        f"d_cond_gan_loss_{index}": discriminator_loss(*pair, gan_type)
        for index, pair in enumerate(zip(real, generated, strict=True))
    }


def generator_loss(generated: Tensor, gan_type: GanKind = "gan") -> Tensor:
    """Adversarial loss of the generator for logits of its images, of any shape."""
    _require_gan_type(gan_type)
    return -generated.mean() if gan_type == "wgan" else _loss_for_label(generated, 1.0, gan_type)


def discriminator_loss(real: Tensor, generated: Tensor, gan_type: GanKind = "gan") -> Tensor:
    """Adversarial loss of a discriminator for its logits of real and generated images, of any shape."""
    _require_gan_type(gan_type)
    if gan_type == "wgan":
        return generated.mean() - real.mean()
    return _loss_for_label(real, 1.0, gan_type) + _loss_for_label(generated, 0.0, gan_type)


def match_image_sizes(real: Tensor | Sequence[Tensor], generated: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Real images at the size of each generated one: those given, or the largest, halved.

    Args:
        real: (N, 3, H, W), or a tuple with one tensor per size, smallest first.
        generated: generated images, smallest first.

    Raises:
        ValueError: no halving gives the size, or the tuple has other sizes.
    """
    if isinstance(real, Tensor):
        return tuple(downsample_by_halving(real, (each.shape[-2], each.shape[-1])) for each in generated)
    found, expected = [[tuple(each.shape[-2:]) for each in group] for group in (real, generated)]
    if found != expected:
        raise ValueError(f"real images have sizes {found}, generated ones {expected}")
    return tuple(real)


def sum_terms(terms: Mapping[str, Tensor]) -> Tensor:
    """Sum of all terms."""
    return torch.stack(list(terms.values())).sum()


def _loss_for_label(logits: Tensor, label: float, gan_type: GanKind) -> Tensor:
    """Logistic loss of the logits for one label, or squared error of their sigmoids."""
    if gan_type == "lsgan":
        return (logits.sigmoid() - label).square().mean()
    return functional.softplus(-logits if label else logits).mean()


def _require_gan_type(gan_type: str) -> None:
    if gan_type not in get_args(GanKind):
        raise ValueError(f"gan_type must be one of {get_args(GanKind)}, found {gan_type!r}")


def _size_suffix(index: int, count: int) -> str:
    return f"_{index}" if count > 1 else ""
