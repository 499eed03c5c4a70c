"""LPIPS, the learned perceptual distance of two images, and the backbones that it reads.

Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018, version
0.1. Names of the parameters are those of torchvision's classification files (`features.N...`) and of the
published files of linear weights (`linK.model.1.weight`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import (
    CheckpointError,
    apply_key_table,
    extract_state_dict,
    read_published,
)

__all__ = [
    "FEATURE_TAPS",
    "LPIPS",
    "FeatureTaps",
    "NetName",
    "build_backbone",
    "load_backbone",
    "load_lpips",
    "normalize_channels",
]

NetName = Literal["alex", "vgg", "squeeze"]
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPS = 1e-10
# Function of torchvision.models, and the number of its `features` up to the last one that is read.
TORCHVISION_FEATURES: dict[str, tuple[str, int]] = {
    "alex": ("alexnet", 12),
    "vgg": ("vgg16", 30),
    "squeeze": ("squeezenet1_1", 13),
}


class FeatureTaps(NamedTuple):
    """Layers of a backbone that LPIPS reads: the index after each, and its channels."""

    layer_ends: tuple[int, ...]
    channels: tuple[int, ...]


FEATURE_TAPS: dict[NetName, FeatureTaps] = {
    "alex": FeatureTaps((2, 5, 8, 10, 12), (64, 192, 384, 256, 256)),
    "vgg": FeatureTaps((4, 9, 16, 23, 30), (64, 128, 256, 512, 512)),
    "squeeze": FeatureTaps((2, 5, 8, 10, 11, 12, 13), (64, 128, 256, 384, 384, 512, 512)),
}


def build_backbone(name: NetName) -> nn.Sequential:
    """Build the convolutional layers of a torchvision network up to the last one that LPIPS reads.

    Args:
        name: "alex" (AlexNet), "vgg" (VGG-16) or "squeeze" (SqueezeNet 1.1).

    Returns:
        Layers with torchvision's indices and random weights; images (B, 3, H, W) to feature maps.
    """
    from torchvision import models

    if name not in TORCHVISION_FEATURES:
        raise ValueError(f"the backbone must be one of {list(TORCHVISION_FEATURES)}, found {name!r}")
    function, length = TORCHVISION_FEATURES[name]
    with torch.device("meta"):  # the classifiers, up to 120 million weights, are never allocated
        layers = getattr(models, function)(weights=None).features[:length]
    layers = layers.to_empty(device=torch.get_default_device())
    for module in layers.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    return layers


class LPIPS(nn.Module):
    """Distance of images. The network stays frozen in evaluation mode; gradients reach the images.

    Args:
        net: backbone.
        scaled: normalise images to the statistics of the backbone; version 0.0 does not.
    """

    def __init__(self, net: NetName = "alex", scaled: bool = True) -> None:
        super().__init__()
        if net not in FEATURE_TAPS:
            raise ValueError(f"net must be one of {list(FEATURE_TAPS)}, found {net!r}")
        self.net, self.taps, self.scaled = net, FEATURE_TAPS[net], scaled
        self.scaling_layer = nn.Module()
        for word, values in (("shift", SHIFT), ("scale", SCALE)):
            self.scaling_layer.register_buffer(word, torch.tensor(values)[None, :, None, None])
        self.features = build_backbone(net)
        for number, channels in enumerate(self.taps.channels):
            head = nn.Module()  # the published module holds a dropout and the convolution
            head.model = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))
            self.add_module(f"lin{number}", head)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    def extract_features(self, images: Tensor) -> list[Tensor]:
        """Feature maps with unit length along the channels, one per tap; those of a target can be reused.

        Args:
            images: (B, 3, H, W), RGB in [-1, 1], large enough for the poolings of the backbone.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), found {tuple(images.shape)}")
        x = images
        if self.scaled:
            x = (x - self.scaling_layer.get_buffer("shift")) / self.scaling_layer.get_buffer("scale")
        maps, begin = [], 0
        for end in self.taps.layer_ends:
            x = self.features[begin:end](x)
            maps.append(normalize_channels(x))
            begin = end
        return maps

    def layer_difference_maps(
        self, features_a: Sequence[Tensor], features_b: Sequence[Tensor]
    ) -> list[Tensor]:
        """Weighted squared differences of feature maps, one (B, 1, h, w) per tap."""
        return [
            functional.conv2d((a - b).square(), self.linear_weights(number))
            for number, (a, b) in enumerate(zip(features_a, features_b, strict=True))
        ]

    def linear_weights(self, index: int) -> Tensor:
        """Linear weights (1, C, 1, 1) of one tap."""
        return self.get_parameter(f"lin{index}.model.1.weight")

    def layer_distances(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance per tap, (L, B); their sum is the distance."""
        return torch.stack(
            [
                layer.mean((1, 2, 3))
                for layer in self.layer_difference_maps(self.extract_features(a), self.extract_features(b))
            ]
        )

    def spatial_distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance maps (B, 1, H, W) of images (B, 3, H, W): the taps' maps, resized bilinearly, summed."""
        size = a.shape[2:]
        layers = self.layer_difference_maps(self.extract_features(a), self.extract_features(b))
        parts = [functional.interpolate(layer, size=size, mode="bilinear") for layer in layers]
        return torch.stack(parts).sum(0)

    def distance_from_features(self, features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
        """Distances (B, 1, 1, 1) from feature maps; one target can serve many images."""
        layers = self.layer_difference_maps(features_a, features_b)
        return torch.stack([layer.mean((2, 3), keepdim=True) for layer in layers]).sum(0)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances (B, 1, 1, 1) between images (B, 3, H, W), RGB in [-1, 1]."""
        return self.distance_from_features(self.extract_features(a), self.extract_features(b))


def normalize_channels(maps: Tensor) -> Tensor:
    """Divide feature maps (B, C, H, W) by their norm along the channels + 1e-10.

    Where all channels are zero the gradient is zero as well (that of a plain root would be infinite).
    """
    squares = maps.square().sum(1, keepdim=True)
    empty = squares == 0
    norm = torch.where(empty, torch.ones_like(squares), squares).sqrt()
    return maps / (torch.where(empty, torch.zeros_like(norm), norm) + EPS)


def load_lpips(
    backbone_path: str | Path, linear_path: str | Path, net: NetName = "alex", scaled: bool = True
) -> LPIPS:
    """Load LPIPS from published files.

    Args:
        backbone_path: torchvision's ImageNet weights (`alexnet-*.pth`, `vgg16-*.pth`, `squeezenet1_1-*.pth`).
        linear_path: linear weights (`v0.1/alex.pth`, `vgg.pth`, `squeeze.pth`; the `lpips` package has them).
        net: which of them.
        scaled: False for version 0.0.

    Raises:
        CheckpointError: corrupt, unsafe, or another network's.
        FileNotFoundError: no such file.
    """
    network = LPIPS(net, scaled)
    load_backbone(network.features, backbone_path)
    heads = extract_state_dict(read_published(linear_path), source=str(linear_path))
    load_into(network, heads, ignore=["features.*", "scaling_layer.*"], source=str(linear_path))
    for number in range(len(network.taps.layer_ends)):
        if (network.linear_weights(number) < 0).any():
            raise CheckpointError(f"{linear_path}: weights of tap {number} are negative; not a file of LPIPS")
    return network


def load_backbone(layers: nn.Sequential, path: str | Path) -> nn.Sequential:
    """Load a backbone from a classification file of torchvision, whose classifier is skipped.

    Raises:
        CheckpointError: corrupt, unsafe, or another network's.
        FileNotFoundError: no such file.
    """
    state = extract_state_dict(read_published(path), source=str(path))
    own = apply_key_table(state, [(r"^(?!features\.)", None), (r"^features\.", "")])
    last = len(layers) - 1
    kept = {key: value for key, value in own.items() if int(key.partition(".")[0]) <= last}
    load_into(layers, kept, source=str(path))
    return layers
