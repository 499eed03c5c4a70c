"""The fast convolutions are the convolution, and their backward pass is its adjoint."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as nnf
from voiceface.backbones import winograd
from voiceface.backbones.winograd import Conv3x3, gather, results, scatter, spread, tile_size


@pytest.mark.parametrize("size", [2, 4])
@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 11), width=st.integers(1, 11), seed=st.integers(0, 999))
def test_values_and_gradients_are_those_of_the_direct_sum(
    size: int, height: int, width: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, height, width, generator=generator).requires_grad_()
    weight = (torch.randn(5, 3, 3, 3, generator=generator) / 5).requires_grad_()
    gradient = torch.randn(2, 5, height, width, generator=generator)
    ours = winograd._Convolution.apply(x, weight, size)
    exact_x, exact_weight = (v.detach().double().requires_grad_() for v in (x, weight))
    exact = nnf.conv2d(exact_x, exact_weight, padding=1)
    assert torch.allclose(ours.double(), exact, atol=1e-4)
    found = torch.autograd.grad(ours, (x, weight), gradient)
    expected = torch.autograd.grad(exact, (exact_x, exact_weight), gradient.double())
    for a, b in zip(found, expected):
        assert torch.allclose(a.double(), b, atol=5e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [2, 4])
def test_transforms_and_their_adjoints(size: int) -> None:
    x = torch.randn(2, 7, 9, 3, dtype=torch.float64)
    tiles = gather(x, size)
    other = torch.randn_like(tiles)
    assert torch.allclose((tiles * other).sum(), (x * scatter(other, 7, 9)).sum())
    whole = results(other, 7, 9)
    gradient = torch.randn_like(whole)
    assert torch.allclose((whole * gradient).sum(), (other * spread(gradient, size)).sum())


def test_by_hand_one_pixel_spreads_the_flipped_weights() -> None:
    x, weight = torch.zeros(1, 1, 5, 5), torch.arange(9.0).view(1, 1, 3, 3)
    x[0, 0, 2, 2] = 1
    for size in (2, 4):
        ours = winograd._Convolution.apply(x, weight, size)
        assert torch.allclose(ours[0, 0, 1:4, 1:4], weight[0, 0].flip(0, 1), atol=1e-4)
        assert ours[0, 0, 0].abs().max() < 1e-4


def test_the_layer_is_fast_only_where_it_may() -> None:
    layer = Conv3x3(64, 128)
    assert isinstance(layer, nn.Conv2d) and list(layer.state_dict()) == ["weight"]
    x = torch.randn(4, 64, 24, 24)
    assert tile_size(*(4, 24, 24, 64, 128)) == 4
    direct = nnf.conv2d(x, layer.weight, padding=1)
    assert torch.allclose(layer(x), direct, atol=1e-3) and not torch.equal(layer(x), direct)
    with torch.no_grad():
        assert torch.equal(layer(x), direct)
    assert torch.equal(layer.eval()(x), direct)
    assert layer.train().double()(x.double()).dtype == torch.float64
    strided = Conv3x3(64, 128, 2)
    assert torch.equal(strided(x), nnf.conv2d(x, strided.weight, stride=2, padding=1))


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((8, 14, 14, 256, 256), 2),
        ((64, 14, 14, 256, 256), 4),
        ((8, 28, 28, 128, 128), 4),
        ((8, 7, 7, 512, 512), 0),
        ((8, 112, 112, 64, 64), 0),
        ((8, 28, 28, 16, 128), 0),
    ],
)
def test_few_channels_or_few_tiles_are_summed_directly(shape: tuple[int, ...], size: int) -> None:
    assert tile_size(*shape) == size


def test_a_second_derivative_is_refused_and_not_wrong() -> None:
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    y = winograd._Convolution.apply(x, torch.randn(2, 2, 3, 3), 2)
    (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        gradient.sum().backward()
