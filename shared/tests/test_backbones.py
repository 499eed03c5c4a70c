"""Laws of the network bodies."""

import pytest
import torch
from torch import nn
from voiceface.models.iresnet import BLOCKS, IR, PReLU, ResidualUnit
from voiceface.models.thin_resnet import ResidualBlock, ThinResNet
from voiceface.runtime.process import keep_freed_memory


def small_face(**options: object) -> IR:
    return IR((1, 2, 1, 1), (4, 4, 6, 8), 32, 10, **options)  # type: ignore[arg-type]


def test_published_numbers_of_parameters() -> None:
    face = IR()
    assert sum(p.numel() for p in face.parameters()) == 43_759_808 - 512 * 128 - 2 * 512 - 924 * 128
    voice = ThinResNet()
    assert sum(p.numel() for p in voice.parameters()) == 1_503_638 - 512 * 128 - 2 * 512
    assert {name: sum(blocks) for name, blocks in BLOCKS.items()} == {"ir50": 24, "ir101": 49, "ir152": 50}


def test_the_subsampled_shortcut_is_a_pooling_of_window_one() -> None:
    unit, x = ResidualUnit(4, 4, 2).eval(), torch.randn(2, 4, 7, 7)
    assert torch.allclose(unit(x), unit.res_layer(x) + nn.functional.max_pool2d(x, 1, 2))


def test_names_and_their_order_are_those_of_the_checkpoints() -> None:
    names = [name for name, _ in small_face().named_parameters()]
    assert names[:3] == ["input_layer.0.weight", "input_layer.1.weight", "input_layer.1.bias"]
    assert names.index("output_layer.4.bias") < names.index("body.0.res_layer.0.weight")
    assert names.index("body.3.shortcut_layer.0.weight") < names.index("body.3.res_layer.0.weight")
    assert "body.1.shortcut_layer.0.weight" not in names  # the second stage is as wide as the first here
    assert "body.0.res_layer.5.fc1.weight" in [
        n for n, _ in small_face(squeeze_excitation=True).named_parameters()
    ]
    voice = [name for name, _ in ThinResNet().named_parameters()]
    assert voice[:2] == ["attention", "conv1.weight"] and voice[-2:] == ["fc.weight", "fc.bias"]
    assert voice.index("layer2.0.se.fc.0.weight") < voice.index("layer2.0.downsample.0.weight")


@pytest.mark.parametrize("side", [32, 33, 48])
def test_any_side_works_and_another_one_is_refused(side: int) -> None:
    network = IR((1, 1, 1, 1), (4, 4, 4, 4), side, 6).eval()
    assert network(torch.randn(2, 3, side, side)).shape == (2, 6)
    with pytest.raises(ValueError, match=rf"3, {side}, {side}"):
        network(torch.randn(2, 3, side + 1, side))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_prelu_has_the_gradients_of_the_stock_layer(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 6, 7, dtype=torch.float64).contiguous(memory_format=memory_format)
    x[0, 0, 0, 0] = 0
    actual, stock = PReLU(5).double(), nn.PReLU(5).double()
    with torch.no_grad():
        actual.weight.copy_(torch.randn(5))
    stock.load_state_dict(actual.state_dict())
    gradient = torch.randn_like(x)
    found = []
    for layer in (actual, stock):
        into = x.clone().requires_grad_()
        out = layer(into)
        found.append((out, *torch.autograd.grad(out, (into, layer.weight), gradient)))
    for a, b in zip(*found):
        assert torch.allclose(a, b, atol=1e-12)


def test_a_frozen_prelu_gives_the_same_gradient_and_none_to_its_weight() -> None:
    torch.manual_seed(0)
    layer, x = PReLU(5), torch.randn(2, 5, 4, 3, requires_grad=True)
    (learning,) = torch.autograd.grad(layer(x).square().sum(), x)
    (frozen,) = torch.autograd.grad(layer.requires_grad_(False)(x).square().sum(), x)
    assert torch.equal(learning, frozen) and layer.weight.grad is None


def test_memory_format_of_the_input_does_not_matter() -> None:
    network, x = small_face().eval(), torch.randn(2, 3, 32, 32)
    assert torch.equal(network(x), network(x.contiguous(memory_format=torch.channels_last)))


def test_squeeze_excitation_with_open_gates_changes_nothing() -> None:
    unit, gated = ResidualUnit(16, 16, 1).eval(), ResidualUnit(16, 16, 1, squeeze_excitation=True).eval()
    gated.load_state_dict(unit.state_dict(), strict=False)
    with torch.no_grad():
        gated.res_layer[5].fc2.weight.zero_()
    x = torch.randn(1, 16, 5, 5)
    assert torch.allclose(gated.res_layer(x), 0.5 * unit.res_layer(x), atol=1e-6)


def slow_block(block: ResidualBlock, x: torch.Tensor) -> torch.Tensor:
    """The voice block in the published order: conv, ReLU, BN, conv, BN, gate, sum, ReLU."""
    y = block.bn2(block.conv2(block.bn1(block.conv1(x).relu())))
    y = y * block.se.fc(y.mean((2, 3)))[:, :, None, None]
    return (y + (x if block.downsample is None else block.downsample(x))).relu()


@pytest.mark.parametrize(("outside", "stride"), [(8, (1, 1)), (12, (2, 2))])
def test_the_voice_block_follows_its_order(outside: int, stride: tuple[int, int]) -> None:
    block, x = ResidualBlock(8, outside, stride, outside != 8).eval(), torch.randn(2, 8, 6, 10)
    with torch.no_grad():
        block.bn1.running_mean.normal_()
    assert torch.allclose(block(x), slow_block(block, x), atol=1e-6)


def test_attention_sums_to_one_and_pools_by_hand() -> None:
    torch.manual_seed(0)
    sap, asp = (ThinResNet((4, 4, 6, 8), (1, 1, 1, 1), pooling=p, features=5) for p in ("sap", "asp"))
    asp.load_state_dict({k: v for k, v in sap.state_dict().items() if not k.startswith("fc")}, strict=False)
    frames = torch.randn(2, 9, 8)
    weight = sap.attention_weights(frames)
    assert torch.allclose(weight.sum(1), torch.ones(2))
    mean = sum(weight[:, t, None] * frames[:, t] for t in range(9))
    assert torch.allclose(sap.pool(frames), mean, atol=1e-6)
    spread = sum(weight[:, t, None] * (frames[:, t] - mean) ** 2 for t in range(9))
    assert torch.allclose(asp.pool(frames), torch.cat([mean, torch.sqrt(spread)], 1), atol=1e-4)


def test_constant_frames_have_the_least_spread() -> None:
    asp = ThinResNet((4, 4, 4, 4), (1, 1, 1, 1), pooling="asp", features=5)
    pooled = asp.pool(torch.ones(1, 6, 4))
    assert torch.allclose(pooled[0, 4:], torch.full((4,), 1e-5**0.5), rtol=1e-2)


def test_any_number_of_bands_and_frames() -> None:
    network = ThinResNet((4, 6, 8, 10), (1, 1, 1, 1), features=7).eval()
    for bands, frames in ((40, 101), (16, 33), (24, 250)):
        assert network(torch.randn(2, bands, frames)).shape == (2, 7)
    with pytest.raises(ValueError, match="'sap' or 'asp'"):
        ThinResNet(pooling="max")  # type: ignore[arg-type]


def test_keeping_memory_changes_no_result() -> None:
    x = torch.randn(300, 300)
    before = (x @ x).sum()
    keep_freed_memory()
    assert torch.equal(before, (x @ x).sum())
