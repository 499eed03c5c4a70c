"""Losses: values by hand, invariants, and which weight scales which term."""

import math

import pytest
import torch
from sf2f.discriminators import IdentityLogits
from sf2f.losses import (
    discriminator_loss,
    generator_loss,
    generator_terms,
    identity_discriminator_terms,
    image_discriminator_terms,
    match_image_sizes,
    sum_terms,
)
from sf2f.network_config import LossConfig
from torch import Tensor
from torch.nn import functional


def test_logistic_losses_are_cross_entropies_and_stay_finite() -> None:
    torch.manual_seed(0)
    real, generated = torch.randn(4, 1, 3, 3), torch.randn(4, 1, 3, 3)
    entropy = functional.binary_cross_entropy_with_logits
    torch.testing.assert_close(generator_loss(generated), entropy(generated, torch.ones_like(generated)))
    expected = entropy(real, torch.ones_like(real)) + entropy(generated, torch.zeros_like(generated))
    torch.testing.assert_close(discriminator_loss(real, generated), expected)
    assert generator_loss(torch.tensor([-1e4, 1e4])).item() == pytest.approx(5e3)
    assert generator_loss(torch.zeros(3)).item() == pytest.approx(math.log(2))


def test_other_losses_by_hand() -> None:
    real, generated = torch.tensor([1.0, 3.0]), torch.tensor([0.0, -4.0])
    assert generator_loss(generated, "wgan").item() == 2
    assert discriminator_loss(real, generated, "wgan").item() == -4
    assert generator_loss(torch.zeros(2), "lsgan").item() == 0.25
    assert discriminator_loss(torch.zeros(2), torch.full((2,), 100.0), "lsgan").item() == 1.25
    with pytest.raises(ValueError, match="hinge"):
        generator_loss(generated, "hinge")  # type: ignore[arg-type]


def compute_terms(config: LossConfig, sizes: int = 2) -> dict[str, Tensor]:
    torch.manual_seed(0)
    images = [torch.rand(3, 3, 4 * 2**at, 4 * 2**at) for at in range(sizes)]
    real = [torch.rand_like(each) for each in images]
    logits = [torch.randn(3, 1, 2, 2) for _ in images]
    verdicts = [IdentityLogits(torch.randn(3, 1), torch.randn(3, 5)) for _ in images]
    labels = torch.tensor([0, 4, 2])
    return generator_terms(
        images, real, labels, logits, verdicts, logits, [torch.tensor(2.0)] * sizes, config
    )


def test_every_weight_scales_its_own_terms_only() -> None:
    base = compute_terms(LossConfig())
    reach = {
        "pixel": "L1_",
        "image": "g_gan_img_",
        "identity": "ac_loss_|g_gan_ac_",
        "condition": "g_gan_cond_",
        "perceptual": "img_perceptual_",
        "adversarial": "g_gan_|ac_loss_",
    }
    for weight, prefixes in reach.items():
        doubled = compute_terms(LossConfig(**{weight: 2 * getattr(LossConfig(), weight)}))
        felt = {name for name in base if not torch.equal(doubled[name], base[name])}
        starts = tuple(prefixes.split("|"))
        assert felt == {name for name in base if name.startswith(starts)}, weight
        for name in felt:
            torch.testing.assert_close(doubled[name], 2 * base[name])


def test_terms_are_numbered_as_published() -> None:
    one = {
        "L1_pixel_loss",
        "g_gan_img_loss_0",
        "ac_loss_0",
        "g_gan_ac_loss_0",
        "g_gan_cond_loss_0",
        "img_perceptual_loss",
    }
    assert set(compute_terms(LossConfig(), 1)) == one
    two = {name.removesuffix("_0") + f"_{at}" for name in one for at in range(2)}
    assert set(compute_terms(LossConfig())) == two


def test_pixel_term_halves_the_target_by_taking_every_second_pixel() -> None:
    real = torch.arange(64.0).reshape(1, 1, 8, 8).expand(1, 3, 8, 8)
    images = [real[..., ::4, ::4].clone(), real[..., ::2, ::2] + 1, real - 2]
    found = generator_terms(
        images, match_image_sizes(real, images), torch.zeros(0), config=LossConfig(pixel=1)
    )
    assert [round(value.item(), 5) for value in found.values()] == [0, 1, 2]
    assert sum_terms(found).item() == pytest.approx(3)
    nearest = functional.interpolate(real, scale_factor=0.5)
    assert torch.equal(match_image_sizes(real, images)[1], nearest)
    with pytest.raises(ValueError, match="halved"):
        match_image_sizes(torch.rand(1, 3, 6, 6), images)
    with pytest.raises(ValueError, match="sizes"):
        match_image_sizes((real,), images)


def test_identity_is_learnt_from_real_images_only() -> None:
    torch.manual_seed(0)
    real, generated = (
        IdentityLogits(torch.randn(3, 1), torch.randn(3, 5).requires_grad_()) for _ in range(2)
    )
    labels = torch.tensor([1, 2, 3])
    found = identity_discriminator_terms([real], [generated], labels)
    assert set(found) == {"d_ac_gan_loss_0", "d_ac_loss_real_0"}
    sum_terms(found).backward()
    assert real.identity.grad is not None and generated.identity.grad is None
    expected = functional.cross_entropy(real.identity, labels)
    torch.testing.assert_close(found["d_ac_loss_real_0"], expected)
    both = image_discriminator_terms([real.real] * 2, [generated.real] * 2)
    torch.testing.assert_close(both["d_img_gan_loss_1"], discriminator_loss(real.real, generated.real))
