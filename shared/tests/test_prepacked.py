"""Convolutions with packed weights: the same as the stock layer, whatever happens to the weight."""

import copy
import pickle

import pytest
import torch
from torch import nn
from voiceface.models.conv_prepacked import PackedConv2d, is_supported, replace_with_prepacked


def layer(stride=1, bias=True, inside=16, outside=24):
    torch.manual_seed(0)
    return nn.Conv2d(inside, outside, 3, stride, 1, bias=bias).requires_grad_(False)


def random_images(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def both(module, x):
    """Output and gradient of a weighted sum."""
    x = x.clone().requires_grad_()
    out = module(x)
    (gradient,) = torch.autograd.grad((out * random_images(*out.shape, seed=2).to(out)).sum(), x)
    return out.detach(), gradient


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_it_is_the_stock_layer_with_its_gradient_for_any_size(stride, bias, memory_format):
    stock = layer(stride, bias)
    packed = PackedConv2d(stock)
    for shape in ((1, 16, 7, 9), (3, 16, 14, 14), (2, 16, 1, 2)):
        x = random_images(*shape).contiguous(memory_format=memory_format)
        assert is_supported(x, packed.weight, packed.bias)
        for actual, reference in zip(both(packed, x), both(stock, x), strict=True):
            torch.testing.assert_close(actual, reference, rtol=1e-4, atol=1e-4)


def test_a_changed_weight_is_packed_anew():
    stock = layer()
    packed, x = PackedConv2d(stock), random_images(1, 16, 7, 7)
    before = packed(x)
    with torch.no_grad():
        packed.weight.mul_(2)
    torch.testing.assert_close(packed(x), stock(x), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(packed(x), before)
    packed.load_state_dict(layer(inside=16).state_dict())
    torch.testing.assert_close(packed(x), before, rtol=1e-4, atol=1e-4)


def test_copies_and_other_precisions_work():
    packed, x = PackedConv2d(layer()), random_images(1, 16, 7, 7)
    out = packed(x)
    copied = copy.deepcopy(packed)
    assert torch.equal(copied(x), out) and copied.weight is not packed.weight
    assert torch.equal(pickle.loads(pickle.dumps(packed))(x), out)
    double = copied.double()
    torch.testing.assert_close(double(x.double()).float(), out, rtol=1e-4, atol=1e-4)
    assert torch.equal(packed.to(torch.float32)(x), out)


def test_a_learning_weight_gets_its_gradient():
    packed, stock = PackedConv2d(layer()), layer()
    for module in (packed, stock):
        module.requires_grad_(True)
        module(random_images(2, 16, 5, 5)).square().sum().backward()
    assert not is_supported(random_images(1, 16, 5, 5), packed.weight)
    torch.testing.assert_close(packed.weight.grad, stock.weight.grad, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(packed.bias.grad, stock.bias.grad, rtol=1e-4, atol=1e-3)


def test_layers_that_fit_are_exchanged_and_keys_stay():
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1),
        nn.Sequential(layer(outside=16), nn.ReLU(), layer(2)),
        nn.Conv2d(24, 24, 3, 1, 1, groups=2),
        nn.Conv2d(24, 20, 1),
        nn.Conv2d(20, 20, 3, 1, 0),
    ).requires_grad_(False)
    plain, x = copy.deepcopy(network), random_images(2, 3, 20, 20)
    assert replace_with_prepacked(network) is network
    changed = [name for name, module in network.named_modules() if isinstance(module, PackedConv2d)]
    assert changed == ["1.0", "1.2"] and list(network.state_dict()) == list(plain.state_dict())
    for actual, reference in zip(both(network, x), both(plain, x), strict=True):
        torch.testing.assert_close(actual, reference, rtol=1e-4, atol=1e-4)
