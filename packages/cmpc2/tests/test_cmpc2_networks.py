"""Networks: agreement with torchvision's, channel pooling, sizes of inputs, architectures from tensors."""

from typing import Any

import pytest
import torch
import torchvision
from cmpc2.architecture import infer_branch, infer_model_config
from cmpc2.model import FV_Wrapper
from cmpc2.model_config import ModelConfig
from cmpc2.resnet import RESNET_SPECS, ResNet, SEBottleneck, SqueezeExcitation, pool_channels
from voiceface.checkpoints.published import CheckpointError

SMALL: dict[str, Any] = {"widths": (4, 8, 8, 16), "blocks": (1, 2, 1, 1)}


@pytest.mark.parametrize("arch", ["resnet18", "resnet34", "resnet50"])
def test_networks_equal_those_of_torchvision(arch: str) -> None:
    reference = getattr(torchvision.models, arch)()
    computed = ResNet(arch, 3, reference.fc.in_features)
    reference.fc = torch.nn.Identity()
    for key, value in reference.state_dict().items():
        if "running" in key or "bn" in key:
            value.copy_(value + torch.rand(value.shape) / 2)
    computed.load_state_dict(reference.state_dict())
    images = torch.randn(2, 3, 40, 33)
    with torch.no_grad():
        result, wanted = computed.eval()(images), reference.eval()(images)
    assert torch.allclose(result, wanted, rtol=1e-4) and float(wanted.std()) > 0


def test_published_model_has_the_stated_size() -> None:
    model = FV_Wrapper()
    assert len(model.state_dict()) == 432
    assert sum(item.numel() for item in model.parameters()) == 42_563_072
    assert not [key for key in model.state_dict() if "fc" in key]


def test_squeeze_excitation_scales_channels_by_their_means() -> None:
    layer, maps = SqueezeExcitation(32), torch.randn(2, 32, 5, 3)
    first, last = layer.fc[0].weight, layer.fc[2].weight
    assert first.shape == (2, 32) and layer.fc[0].bias is None and layer.fc[2].bias is None
    for row in range(2):
        mean = maps[row].mean((1, 2))
        gain = 1 / (1 + (-(last @ (first @ mean).clamp_min(0))).exp())
        assert torch.allclose(layer(maps)[row], maps[row] * gain[:, None, None], atol=1e-6)


def test_se_bottlenecks_have_the_published_keys() -> None:
    keys = ResNet("se_resnet50", 1, 64, **SMALL).state_dict()
    assert keys["layer1.0.se.fc.0.weight"].shape == (1, 16) and "layer2.1.se.fc.2.weight" in keys
    assert keys["layer2.0.conv2.weight"].shape[2:] == (3, 3)


def test_squeeze_excitation_scales_the_residual_and_not_the_shortcut() -> None:
    block, plain = SEBottleneck(16, 4).eval(), torchvision.models.resnet.Bottleneck(16, 4).eval()
    torch.nn.init.zeros_(block.se.fc[2].weight)  # every gain is sigmoid(0)
    plain.load_state_dict(block.state_dict(), strict=False)
    maps = torch.randn(2, 16, 5, 3)
    with torch.no_grad():
        plain.bn3.weight.mul_(0.5)
        plain.bn3.bias.mul_(0.5)
        assert torch.allclose(block(maps), plain(maps), atol=1e-6)


def test_stride_of_a_bottleneck_sits_on_its_3x3_convolution() -> None:
    layer = ResNet("resnet50", 3, 64, **SMALL).layer2[0]
    assert (layer.conv1.stride, layer.conv2.stride, layer.conv3.stride) == ((1, 1), (2, 2), (1, 1))


@pytest.mark.parametrize(("channels", "bins"), [(512, 100), (16, 7), (2048, 128), (6, 6), (4, 9)])
def test_channel_bins_overlap_where_they_do_not_divide(channels: int, bins: int) -> None:
    features = torch.randn(3, channels)
    result = pool_channels(features, bins)
    for i in range(bins):
        first, end = i * channels // bins, -(-(i + 1) * channels // bins)
        assert torch.allclose(result[:, i], features[:, first:end].mean(1), atol=1e-6)


@pytest.mark.parametrize("arch", RESNET_SPECS)
@pytest.mark.parametrize("size", [(1, 1), (64, 1), (7, 130)])
def test_any_size_of_input_works_and_embeddings_are_not_negative(arch: str, size: tuple[int, int]) -> None:
    network = ResNet(arch, 1, 10, **SMALL).eval()
    result = network(torch.randn(2, 1, *size))
    assert result.shape == (2, 10) and bool((result >= 0).all()) and bool(result.isfinite().all())


def test_convolutions_but_the_first_are_initialised_he_normal() -> None:
    torch.manual_seed(0)
    network = ResNet("resnet34", 1, 512)
    wide = network.layer4[1].conv1.weight
    assert wide.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.02)
    bound = (1 / 49) ** 0.5  # PyTorch's uniform start for 49 inputs
    assert 0.9 * bound < network.conv1.weight.abs().max().item() <= bound


def test_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="resnet18, resnet34"):
        ResNet("resnet20")


@pytest.mark.parametrize("arch", RESNET_SPECS)
def test_architecture_is_inferred_from_the_tensors(arch: str) -> None:
    config = ModelConfig.model_validate(
        {"voice": {"arch": arch, **SMALL}, "face": {"arch": "resnet18", "image_size": 96}}
    )
    state = FV_Wrapper(config=config).state_dict()
    result = infer_model_config(state, 96)
    assert (result.voice.widths, result.voice.blocks) == (SMALL["widths"], SMALL["blocks"])
    plan = RESNET_SPECS[result.voice.arch]
    assert (plan.bottleneck, plan.squeeze_excitation) == (
        RESNET_SPECS[arch].bottleneck,
        RESNET_SPECS[arch].squeeze_excitation,
    )
    assert (result.face.arch, result.face.blocks, result.face.image_size) == ("resnet18", (2, 2, 2, 2), 96)
    FV_Wrapper(config=result).load_state_dict(state)


def test_tensors_of_other_networks_are_refused() -> None:
    with pytest.raises(CheckpointError, match="no residual network of four stages"):
        infer_branch({"layer1.0.conv1.weight": torch.zeros(4, 4, 3, 3)})
