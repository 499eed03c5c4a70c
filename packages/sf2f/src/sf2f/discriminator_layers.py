"""Backbones of discriminators, built from a spec string such as `C4-64-2,C4-128-2`."""

from torch import Tensor, nn

from sf2f.decoders import build_norm
from sf2f.discriminator_config import BackboneConfig, parse_layers

__all__ = [
    "ResidualBlock",
    "build_activation",
    "build_backbone",
    "build_norm_activation",
]


def build_backbone(config: BackboneConfig) -> tuple[nn.Sequential, int]:
    """Build the layers of a backbone; returns them and the number of output channels."""
    channels, layers = parse_layers(config)
    modules: list[nn.Module] = []
    started = False
    for layer in layers:
        if layer.kind in ("convolution", "residual") and started:
            modules += build_norm_activation(config, channels)
        if layer.kind == "convolution":
            modules.append(nn.Conv2d(channels, layer.out, layer.size, layer.stride, layer.padding))
        elif layer.kind == "residual":
            modules.append(ResidualBlock(config, channels, layer.size))
        elif layer.kind == "up":
            modules.append(nn.Upsample(scale_factor=layer.size, mode="nearest"))
        elif layer.kind == "pool":
            modules.append(nn.MaxPool2d(layer.size, layer.size))
        else:
            modules += [nn.Flatten(), nn.Linear(layer.size, layer.out)]
        started = started or layer.kind in ("convolution", "residual")
        channels = layer.out
    return nn.Sequential(*modules), channels


def build_norm_activation(config: BackboneConfig, channels: int) -> list[nn.Module]:
    """Build norm and activation before a convolution."""
    return [*build_norm(config.normalisation, channels), *build_activation(config.activation)]


def build_activation(name: str) -> list[nn.Module]:
    """Build the named activation; empty for "none"."""
    if name == "none":
        return []
    if name == "relu":
        return [nn.ReLU(inplace=True)]
    return [nn.LeakyReLU(float(name.removeprefix("leakyrelu-")), inplace=True)]


class ResidualBlock(nn.Module):
    """x + convolution(norm, activation, convolution(x)); keeps the size."""

    def __init__(self, config: BackboneConfig, channels: int, kernel: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, kernel, 1, kernel // 2) for _ in range(2))
        self.net = nn.Sequential(first, *build_norm_activation(config, channels), second)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return x + self.net(x)
