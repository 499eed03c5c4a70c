"""Winograd's 3x3 convolution against the direct one."""

import pytest
import torch
import torch.nn.functional as F
from voiceface.models import conv_winograd


def layer(outputs: int, inputs: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(outputs, inputs, 3, 3, generator=draw) / (9 * inputs) ** 0.5


def image(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", [(1, 8, 16, 16), (2, 5, 7, 10), (1, 3, 1, 2), (3, 4, 6, 33)])
def test_any_size_gives_what_a_direct_convolution_gives(shape):
    x, weight = image(*shape), layer(7, shape[1])
    actual = conv_winograd.winograd_conv2d(x, conv_winograd.transform_weight(weight))
    direct = F.conv2d(x.double(), weight.double(), padding=1)
    assert actual.shape == direct.shape
    torch.testing.assert_close(actual.double(), direct, atol=2e-5, rtol=0)


def test_memory_order_of_the_input_does_not_matter():
    x, kernel = image(2, 6, 9, 8), conv_winograd.transform_weight(layer(4, 6))
    turned = x.to(memory_format=torch.channels_last)
    assert torch.equal(
        conv_winograd.winograd_conv2d(x, kernel), conv_winograd.winograd_conv2d(turned, kernel)
    )


def test_blocks_do_not_show(monkeypatch):
    x, kernel = image(1, 4, 32, 12), conv_winograd.transform_weight(layer(4, 4))
    whole = conv_winograd.winograd_conv2d(x, kernel)
    monkeypatch.setattr(conv_winograd, "BLOCK_VALUES", 1)
    torch.testing.assert_close(conv_winograd.winograd_conv2d(x, kernel), whole, atol=1e-6, rtol=1e-6)


def test_gradients_once_and_twice_are_those_of_a_direct_convolution():
    x, weight, outer = image(1, 4, 6, 7), layer(3, 4), image(1, 3, 6, 7)
    kernel = conv_winograd.transform_weight(weight)

    def gradients(convolve):
        at = x.clone().requires_grad_()
        (first,) = torch.autograd.grad((convolve(at).tanh() * outer).sum(), at, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), at)
        return first.detach(), second

    actual = gradients(lambda at: conv_winograd.winograd_conv2d(at, kernel))
    direct = gradients(lambda at: F.conv2d(at, weight, padding=1))
    for a, b in zip(actual, direct):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_only_frozen_wide_large_single_precision_layers_are_transformed():
    x, weight = torch.zeros(1, 96, 32, 32), torch.zeros(96, 96, 3, 3)
    assert conv_winograd.is_supported(x, weight)
    assert not conv_winograd.is_supported(x, weight.clone().requires_grad_())
    assert not conv_winograd.is_supported(x.double(), weight.double())
    assert not conv_winograd.is_supported(x[:, :, :28, :28], weight)
    assert not conv_winograd.is_supported(x[:, :95], weight[:, :95])
    assert not conv_winograd.is_supported(x, torch.zeros(96, 96, 1, 1))


def test_a_changed_weight_is_transformed_anew():
    x, weight, convolution = image(1, 96, 32, 32), layer(96, 96), conv_winograd.WinogradConv3x3()
    before = convolution(x, weight)
    assert torch.equal(convolution(x, weight), before)
    with torch.no_grad():
        weight.mul_(2)
    torch.testing.assert_close(convolution(x, weight), 2 * before, atol=1e-5, rtol=1e-5)
    trained = weight.clone().requires_grad_()
    torch.testing.assert_close(convolution(x, trained), 2 * before, atol=1e-4, rtol=1e-4)


def test_layers_of_a_network_are_exchanged_without_a_trace_in_its_state():
    torch.manual_seed(0)
    layers = [(96, {"padding": 1}), (100, {"padding": 1, "bias": False}), (96, {"padding": 1, "stride": 2})]
    output, before = [], 96
    for width, options in layers:
        output.append(torch.nn.Conv2d(before, width, 3, **options))
        before = width
    network = torch.nn.Sequential(torch.nn.Sequential(*output)).requires_grad_(False)
    x, keys = image(1, 96, 32, 32), list(network.state_dict())
    expected = network(x)
    assert conv_winograd.replace_with_winograd(network) is network
    kinds = [type(layer).__name__ for layer in network[0]]
    assert kinds == ["WinogradConv2d", "WinogradConv2d", "Conv2d"] and list(network.state_dict()) == keys
    torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=1e-4)
