"""StyleGAN2 losses and augmentation."""

import math

import pytest
import torch
from voicestyle.stylegan2 import losses
from voicestyle.stylegan2.augment import (
    AdaptiveAugment,
    apply_colours,
    augment,
    hue_rotation,
    sample_colours,
    sample_geometry,
    warp,
)


def test_losses_of_zero_scores_are_log_2():
    zero = torch.zeros(3, 1)
    assert losses.discriminator_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert losses.generator_loss(zero).item() == pytest.approx(math.log(2))
    assert losses.discriminator_loss(zero + 50, zero - 50).item() == pytest.approx(0, abs=1e-9)


def test_r1_of_a_linear_score_is_the_squared_length_of_its_weight():
    weight = torch.randn(3, 4, 4)
    x = torch.randn(5, 3, 4, 4, requires_grad=True)
    penalty = losses.r1_penalty((x * weight).sum((1, 2, 3)), x)
    assert penalty.item() == pytest.approx(weight.square().sum().item(), rel=1e-5)


def test_path_length_of_a_linear_generator():
    matrix = torch.randn(2 * 2 * 3, 5)
    latents = torch.randn(2, 4, 5, requires_grad=True)
    images = (latents.sum(1) @ matrix.T).reshape(2, 3, 2, 2)
    noise = torch.randn(2, 3, 2, 2)
    lengths = losses.path_lengths(images, latents, noise)
    each = (noise.reshape(2, -1) / 2) @ matrix  # the same for all four layers
    torch.testing.assert_close(lengths, each.norm(dim=1))
    penalty, mean = losses.path_length_penalty(lengths, torch.tensor(1.0), 0.25)
    assert mean.item() == pytest.approx(0.75 + 0.25 * lengths.mean().item())
    assert penalty.item() == pytest.approx((lengths - mean).square().mean().item())


def test_identity_map_returns_the_image():
    image = torch.rand(2, 3, 24, 20)
    moved = warp(image, torch.eye(3).repeat(2, 1, 1))
    torch.testing.assert_close(moved, image, atol=2e-3, rtol=0)


def test_integer_shifts_and_mirrors_move_pixels():
    image = torch.rand(1, 3, 16, 16)
    shift = torch.eye(3)[None].clone()
    shift[0, 0, 2], shift[0, 1, 2] = 3, -2  # output x reads x + 3, y reads y - 2
    moved = warp(image, shift)
    torch.testing.assert_close(moved[..., 6:-6, 4:-8], image[..., 4:-8, 7:-5], atol=5e-3, rtol=0)
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))[None]
    # the axis lies a quarter pixel off the centre, so mirroring twice is what gives the place back
    twice = warp(warp(image, mirror), mirror)
    smooth = torch.nn.functional.avg_pool2d(image, 5, 1)[..., 4:-4, 4:-4]
    again = torch.nn.functional.avg_pool2d(twice, 5, 1)[..., 4:-4, 4:-4]
    assert (smooth - again).abs().max() < 0.1


def test_warp_is_twice_differentiable():
    inverse = torch.linalg.inv(sample_geometry(1, 1.0, 8, 8, torch.Generator().manual_seed(0))).double()
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: warp(x, inverse).sin(), x, nondet_tol=1e-9)
    assert torch.autograd.gradgradcheck(lambda x: warp(x, inverse).sin(), x, nondet_tol=1e-9)


def test_probability_zero_changes_nothing_and_uses_no_random_numbers():
    image, before = torch.rand(2, 3, 8, 8), torch.get_rng_state()
    assert augment(image, 0.0) is image
    assert torch.equal(torch.get_rng_state(), before)


def test_every_transformation_has_its_probability():
    rng = torch.Generator().manual_seed(3)
    assert torch.equal(sample_geometry(50, 0.0, 8, 8, rng), torch.eye(3).repeat(50, 1, 1))
    moved = (sample_geometry(4000, 0.5, 8, 8, rng) != torch.eye(3)).flatten(1).any(1).double().mean()
    # mirror, turn by quarters and shift may draw "nothing"; the others never do
    still = 0.75 * (1 - 0.5 * 0.75) * 0.5 * (0.5 * 0.5) * 0.5 * 0.5
    assert 1 - moved.item() < still
    coloured = (sample_colours(4000, 0.5, rng) != torch.eye(4)).flatten(1).any(1).double().mean()
    assert coloured.item() == pytest.approx(1 - 0.5**4 * 0.75, abs=0.02)


def test_published_quarter_turns_are_none_or_three():
    rng = torch.Generator().manual_seed(1)
    seen = set()
    for turns in ("all", "published"):
        many = sample_geometry(3000, 0.15, 8, 8, rng, quarter_turns=turns)
        quarter = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
        for matrix in (quarter, -torch.eye(2), -quarter):
            if ((many[:, :2, :2] - matrix).abs().amax((1, 2)) < 1e-6).any():
                seen.add((turns, tuple(matrix.flatten().tolist())))
    assert {turns for turns, _ in seen} == {"all", "published"}
    assert sum(turns == "all" for turns, _ in seen) == 3
    assert ("published", (0.0, -1.0, 1.0, 0.0)) in seen


def test_hue_keeps_grey_and_length():
    turn = hue_rotation(torch.tensor([0.7, -2.0]))
    grey = torch.tensor([0.4, 0.4, 0.4, 1.0])
    torch.testing.assert_close(turn @ grey, grey.expand(2, 4))
    torch.testing.assert_close(turn @ turn.transpose(1, 2), torch.eye(4).expand(2, 4, 4), atol=1e-6, rtol=0)
    third = hue_rotation(torch.tensor([2 * math.pi / 3]))
    torch.testing.assert_close(
        third[0] @ torch.tensor([1.0, 0, 0, 1]), torch.tensor([0.0, 1, 0, 1]), atol=1e-6, rtol=0
    )


def test_colours_act_on_each_pixel():
    image, colours = torch.rand(2, 3, 4, 5), torch.randn(2, 4, 4)
    moved = apply_colours(image, colours)
    pixel = torch.cat([image[1, :, 2, 3], torch.ones(1)])
    torch.testing.assert_close(moved[1, :, 2, 3], (colours[1] @ pixel)[:3])


def test_adaptation_by_hand():
    ada = AdaptiveAugment(target=0.5, adaptation_length=100, adaptation_interval=2)
    assert ada.tune(torch.tensor([1.0, 2.0])) == 0
    assert ada.tune(torch.tensor([3.0, -1.0])) == 0 and ada.r_t == 0.5  # not above the target
    state = ada.state_dict()
    ada.tune(torch.ones(10))
    assert ada.tune(torch.ones(10)) == pytest.approx(0.2) and ada.r_t == 1
    again = AdaptiveAugment(target=0.5, adaptation_length=100, adaptation_interval=2)
    again.load_state_dict(state)
    again.tune(torch.ones(10))
    assert again.tune(torch.ones(10)) == ada.p
    for _ in range(20):
        ada.tune(torch.ones(10))
    assert ada.p == 1.0
