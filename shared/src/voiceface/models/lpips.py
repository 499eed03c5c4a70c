"""LPIPS: how different two pictures look, learned from judgements of people; and the trunks that it reads.

Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018, version
0.1. Names of the parameters are those of torchvision's classification files (`features.N...`) and of the
published files of linear weights (`linK.model.1.weight`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self, get_args

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

NetName = Literal["alex", "vgg", "squeeze"]
BackboneName = Literal["alex", "vgg", "squeeze", "vgg19"]
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPS = 1e-10
VGG16_WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
VGG19_WIDTHS = (64, 64, 0, 128, 128, 0, *4 * (256,), 0, *4 * (512,), 0, *4 * (512,))
FIRE_WIDTHS = (16, 16, 0, 32, 32, 0, 48, 48, 64, 64)  # channels between; 0 pools


class FeatureTaps(NamedTuple):
    """Where a trunk is read: layers up to each end, and the channels there."""

    layer_ends: tuple[int, ...]
    channels: tuple[int, ...]


FEATURE_TAPS: dict[NetName, FeatureTaps] = {
    "alex": FeatureTaps((2, 5, 8, 10, 12), (64, 192, 384, 256, 256)),
    "vgg": FeatureTaps((4, 9, 16, 23, 30), (64, 128, 256, 512, 512)),
    "squeeze": FeatureTaps((2, 5, 8, 10, 11, 12, 13), (64, 128, 256, 384, 384, 512, 512)),
}


class Fire(nn.Module):
    """Squeeze to few channels, then 1x1 and 3x3 convolutions side by side."""

    def __init__(self, in_channels: int, squeeze_channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze_channels, 1)
        self.expand1x1 = nn.Conv2d(squeeze_channels, 4 * squeeze_channels, 1)
        self.expand3x3 = nn.Conv2d(squeeze_channels, 4 * squeeze_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.squeeze(x), inplace=True)
        return functional.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1), inplace=True)


def build_backbone(name: BackboneName) -> nn.Sequential:
    """The convolutions of a network of torchvision, up to the last layer that is read, with its numbering.

    Args:
        name: "alex" (AlexNet), "vgg" (VGG-16), "squeeze" (SqueezeNet 1.1) or "vgg19".

    Returns:
        Layers with random weights; pictures (B, 3, H, W) to maps.
    """
    if name == "alex":
        return _alexnet()
    if name == "squeeze":
        return _squeezenet()
    if name not in get_args(BackboneName):
        raise ValueError(f"the trunk must be one of {get_args(BackboneName)}, found {name!r}")
    return _vgg(VGG16_WIDTHS if name == "vgg" else VGG19_WIDTHS)


class LPIPS(nn.Module):
    """Distance of pictures. The network stays in evaluation and its weights never learn; pictures may.

    Args:
        net: trunk that is read.
        scaled: pictures are brought to the statistics of the trunk first; version 0.0 left that out.
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
        """Nothing changes: the network stays in evaluation."""
        return super().train(False)

    def extract_features(self, images: Tensor) -> list[Tensor]:
        """Maps of unit length along the channels, one per tap; those of a target may be kept.

        Args:
            images: (B, 3, H, W), R G B, -1...1, of any size that the trunk's poolings leave something of.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"pictures must be (B, 3, H, W), found {tuple(images.shape)}")
        x = images
        if self.scaled:
            x = (x - self.scaling_layer.get_buffer("shift")) / self.scaling_layer.get_buffer("scale")
        found, begin = [], 0
        for end in self.taps.layer_ends:
            x = self.features[begin:end](x)
            found.append(normalize_channels(x))
            begin = end
        return found

    def layer_difference_maps(
        self, features_a: Sequence[Tensor], features_b: Sequence[Tensor]
    ) -> list[Tensor]:
        """Differences of maps, one (B, 1, h, w) per tap, not averaged."""
        return [
            functional.conv2d((a - b).square(), self.linear_weights(number))
            for number, (a, b) in enumerate(zip(features_a, features_b, strict=True))
        ]

    def linear_weights(self, index: int) -> Tensor:
        """Linear weights (1, C, 1, 1) of one tap."""
        return self.get_parameter(f"lin{index}.model.1.weight")

    def layer_distances(self, a: Tensor, b: Tensor) -> Tensor:
        """Each tap's own distance, (L, B); their sum is the distance."""
        return torch.stack(
            [
                layer.mean((1, 2, 3))
                for layer in self.layer_difference_maps(self.extract_features(a), self.extract_features(b))
            ]
        )

    def spatial_distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Where pictures (B, 3, H, W) differ, (B, 1, H, W): every tap's map, resized bilinearly, summed."""
        size = a.shape[2:]
        layers = self.layer_difference_maps(self.extract_features(a), self.extract_features(b))
        parts = [functional.interpolate(layer, size=size, mode="bilinear") for layer in layers]
        return torch.stack(parts).sum(0)

    def distance_from_features(self, features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
        """Distances (B, 1, 1, 1) from maps; one target may serve many pictures."""
        layers = self.layer_difference_maps(features_a, features_b)
        return torch.stack([layer.mean((2, 3), keepdim=True) for layer in layers]).sum(0)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances (B, 1, 1, 1) of pictures (B, 3, H, W), R G B, -1...1, picture by picture."""
        return self.distance_from_features(self.extract_features(a), self.extract_features(b))


def normalize_channels(maps: Tensor) -> Tensor:
    """Maps (B, C, H, W) divided by their norm along the channels + 1e-10.

    Where all channels are zero the gradient is zero, too (that of a plain root would be infinite).
    """
    squares = maps.square().sum(1, keepdim=True)
    empty = squares == 0
    norm = torch.where(empty, torch.ones_like(squares), squares).sqrt()
    return maps / (torch.where(empty, torch.zeros_like(norm), norm) + EPS)


def load_lpips(
    backbone_path: str | Path, linear_path: str | Path, net: NetName = "alex", scaled: bool = True
) -> LPIPS:
    """LPIPS from published files.

    Args:
        backbone_path: ImageNet weights of torchvision (`alexnet-*.pth`, `vgg16-*.pth`, `squeezenet1_1-*.pth`).
        linear_path: linear weights (`v0.1/alex.pth`, `vgg.pth`, `squeeze.pth`; the `lpips` package has them).
        net: which of them.
        scaled: False for version 0.0.

    Raises:
        CheckpointError: damaged, unsafe, or another network's.
        FileNotFoundError: no such file.
    """
    network = LPIPS(net, scaled)
    load_backbone(network.features, backbone_path)
    heads = extract_state_dict(read_published(linear_path), source=str(linear_path))
    load_into(network, heads, ignore=["features.*", "scaling_layer.*"], source=str(linear_path))
    for number in range(len(network.taps.layer_ends)):
        if (network.linear_weights(number) < 0).any():
            raise CheckpointError(f"{linear_path}: weights of tap {number} are negative; no LPIPS")
    return network


def load_backbone(layers: nn.Sequential, path: str | Path) -> nn.Sequential:
    """Fill a trunk from a classification file of torchvision; its classifier is left aside.

    Raises:
        CheckpointError: damaged, unsafe, or another network's.
        FileNotFoundError: no such file.
    """
    state = extract_state_dict(read_published(path), source=str(path))
    own = apply_key_table(state, [(r"^(?!features\.)", None), (r"^features\.", "")])
    last = len(layers) - 1
    kept = {key: value for key, value in own.items() if int(key.partition(".")[0]) <= last}
    load_into(layers, kept, source=str(path))
    return layers


def _alexnet() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(inplace=True)),
    )


def _vgg(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 3
    for width in widths:
        if not width:
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers += [nn.Conv2d(before, width, 3, 1, 1), nn.ReLU(inplace=True)]
        before = width
    return nn.Sequential(*layers)


def _squeezenet() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(inplace=True)]
    layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
    before = 64
    for between in FIRE_WIDTHS:
        if not between:
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            continue
        layers.append(Fire(before, between))
        before = 8 * between
    return nn.Sequential(*layers)
