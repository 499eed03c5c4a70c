"""Resampling and activation against reference implementations."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from voicestyle.stylegan2.operators import (
    fir_kernel,
    fused_leaky_relu,
    noise_bias_leaky_relu,
    separable_factors,
    upfirdn2d,
)


def upfirdn2d_reference(x, kernel, up, down, pad):
    """Zeros inserted, padded, every output a sum of products."""
    (ux, uy), (dx, dy), (x0, x1, y0, y1) = up, down, pad
    n, c, height, width = x.shape
    wide = x.new_zeros(n, c, height * uy, width * ux)
    wide[:, :, ::uy, ::ux] = x
    wide = F.pad(wide, (x0, x1, y0, y1))
    full = F.conv2d(wide.reshape(n * c, 1, *wide.shape[2:]), kernel.flip(0, 1)[None, None])
    return full.reshape(n, c, *full.shape[2:])[:, :, ::dy, ::dx]


@settings(max_examples=150, deadline=None)
@given(
    size=st.tuples(st.integers(3, 6), st.integers(3, 6)),
    taps=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    up=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    down=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pad=st.tuples(*[st.integers(-2, 5)] * 4),
    separable=st.booleans(),
    double=st.booleans(),
)
def test_every_factor_padding_and_kernel_agrees_with_the_definition(
    size, taps, up, down, pad, separable, double
):
    height = size[0] * up[1] + pad[2] + pad[3] - taps[0] + 1
    width = size[1] * up[0] + pad[0] + pad[1] - taps[1] + 1
    dtype = torch.float64 if double else torch.float32
    rng = torch.Generator().manual_seed(hash((size, taps, up, down, pad)) % 2**31)
    x = torch.randn(2, 3, *size, generator=rng, dtype=dtype)
    kernel = torch.randn(*taps, generator=rng, dtype=dtype)
    if separable:
        kernel = torch.outer(kernel[:, 0], kernel[0])
    if height < 1 or width < 1:
        with pytest.raises(ValueError, match="does not fit"):
            upfirdn2d(x, kernel, up, down, pad)
        return
    tolerance = 1e-12 if double else 1e-4
    torch.testing.assert_close(
        upfirdn2d(x, kernel, up, down, pad),
        upfirdn2d_reference(x, kernel, up, down, pad),
        atol=tolerance,
        rtol=tolerance,
    )


def test_upsampling_by_hand():
    x = torch.tensor([[[[1.0, 2.0]]]])
    kernel = torch.tensor([[1.0, 10.0]])
    assert upfirdn2d(x, kernel, (2, 1), 1, (1, 0, 0, 0)).tolist() == [[[[1.0, 10.0, 2.0, 20.0]]]]
    assert upfirdn2d(x, kernel, 1, 1, (0, 0)).tolist() == [[[[12.0]]]]


def test_upsampling_then_downsampling_keeps_a_constant():
    x = torch.full((1, 2, 8, 8), 3.0)
    large = upfirdn2d(x, fir_kernel(gain=4.0), up=2, pad=(2, 1))
    assert large.shape == (1, 2, 16, 16)
    torch.testing.assert_close(large[:, :, 2:-2, 2:-2], torch.full((1, 2, 12, 12), 3.0))
    small = upfirdn2d(large, fir_kernel(), down=2, pad=(1, 1))
    torch.testing.assert_close(small[:, :, 2:-2, 2:-2], torch.full((1, 2, 4, 4), 3.0))


def test_first_and_second_gradients():
    x = torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(3, 2, dtype=torch.float64)

    def call(x):
        return upfirdn2d(x, kernel, 2, 1, (1, 2, 0, 3)).sin()

    assert torch.autograd.gradcheck(call, x)
    assert torch.autograd.gradgradcheck(call, x)


def test_separable_factors():
    kernel = fir_kernel()
    column, row = separable_factors(kernel)
    torch.testing.assert_close(torch.outer(column, row), kernel)
    assert separable_factors(torch.eye(3)) is None
    assert separable_factors(torch.zeros(2, 2)) is None


def test_invalid_arguments_raise():
    x = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="2 or 4 numbers of padding"):
        upfirdn2d(x, torch.ones(2, 2), pad=(1, 2, 3))
    with pytest.raises(ValueError, match="up: expected a factor"):
        upfirdn2d(x, torch.ones(2, 2), up=0)


def test_activation_honours_slope_and_scale():
    x, bias = torch.tensor([[-3.0, 1.0]]), torch.tensor([1.0, 2.0])
    assert fused_leaky_relu(x, bias, 0.1, 1.0).tolist() == [[pytest.approx(-0.2), 3.0]]
    published = math.sqrt(2) * F.leaky_relu(x + bias, 0.2)
    torch.testing.assert_close(fused_leaky_relu(x, bias), published)


def test_fused_activation_equals_separate_operations():
    x, factor = torch.randn(2, 3, 4, 5), torch.rand(2, 3, 1, 1) + 0.1
    noise, bias = torch.randn(2, 1, 4, 5), torch.randn(3)
    for given_factor, times in ((factor, factor), (None, 1.0)):
        ours = noise_bias_leaky_relu(x, given_factor, noise, bias)
        torch.testing.assert_close(ours, fused_leaky_relu(x * times + noise, bias))
