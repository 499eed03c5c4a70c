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
from voiceface.checkpoints.published import CheckpointError, apply_key_table, read_published, state_dict_of

Net = Literal["alex", "vgg", "squeeze"]
TrunkName = Literal["alex", "vgg", "squeeze", "vgg19"]
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPSILON = 1e-10
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
VGG19 = (64, 64, 0, 128, 128, 0, *4 * (256,), 0, *4 * (512,), 0, *4 * (512,))
FIRES = (16, 16, 0, 32, 32, 0, 48, 48, 64, 64)  # channels between; 0 pools


class Taps(NamedTuple):
    """Where a trunk is read: layers up to each end, and the channels there."""

    ends: tuple[int, ...]
    channels: tuple[int, ...]


TAPS: dict[Net, Taps] = {
    "alex": Taps((2, 5, 8, 10, 12), (64, 192, 384, 256, 256)),
    "vgg": Taps((4, 9, 16, 23, 30), (64, 128, 256, 512, 512)),
    "squeeze": Taps((2, 5, 8, 10, 11, 12, 13), (64, 128, 256, 384, 384, 512, 512)),
}


class Fire(nn.Module):
    """Squeeze to few channels, then 1x1 and 3x3 convolutions side by side."""

    def __init__(self, inside: int, between: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inside, between, 1)
        self.expand1x1 = nn.Conv2d(between, 4 * between, 1)
        self.expand3x3 = nn.Conv2d(between, 4 * between, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.squeeze(x), inplace=True)
        return functional.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1), inplace=True)


def trunk(name: TrunkName) -> nn.Sequential:
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
    if name not in get_args(TrunkName):
        raise ValueError(f"the trunk must be one of {get_args(TrunkName)}, found {name!r}")
    return _vgg(VGG16 if name == "vgg" else VGG19)


class LPIPS(nn.Module):
    """Distance of pictures. The network stays in evaluation and its weights never learn; pictures may.

    Args:
        net: trunk that is read.
        scaled: pictures are brought to the statistics of the trunk first; version 0.0 left that out.
    """

    def __init__(self, net: Net = "alex", scaled: bool = True) -> None:
        super().__init__()
        if net not in TAPS:
            raise ValueError(f"net must be one of {list(TAPS)}, found {net!r}")
        self.net, self.taps, self.scaled = net, TAPS[net], scaled
        self.scaling_layer = nn.Module()
        for word, values in (("shift", SHIFT), ("scale", SCALE)):
            self.scaling_layer.register_buffer(word, torch.tensor(values)[None, :, None, None])
        self.features = trunk(net)
        for number, channels in enumerate(self.taps.channels):
            head = nn.Module()  # the published module holds a dropout and the convolution
            head.model = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))
            self.add_module(f"lin{number}", head)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Nothing changes: the network stays in evaluation."""
        return super().train(False)

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """Maps of unit length along the channels, one per tap; those of a target may be kept.

        Args:
            pictures: (B, 3, H, W), R G B, -1...1, of any size that the trunk's poolings leave something of.
        """
        if pictures.ndim != 4 or pictures.shape[1] != 3:
            raise ValueError(f"pictures must be (B, 3, H, W), found {tuple(pictures.shape)}")
        x = pictures
        if self.scaled:
            x = (x - self.scaling_layer.get_buffer("shift")) / self.scaling_layer.get_buffer("scale")
        found, begin = [], 0
        for end in self.taps.ends:
            x = self.features[begin:end](x)
            found.append(unit_channels(x))
            begin = end
        return found

    def layers(self, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[Tensor]:
        """Differences of maps, one (B, 1, h, w) per tap, not averaged."""
        return [
            functional.conv2d((a - b).square(), self.head(number))
            for number, (a, b) in enumerate(zip(ours, theirs, strict=True))
        ]

    def head(self, number: int) -> Tensor:
        """Linear weights (1, C, 1, 1) of one tap."""
        return self.get_parameter(f"lin{number}.model.1.weight")

    def per_layer(self, a: Tensor, b: Tensor) -> Tensor:
        """Each tap's own distance, (L, B); their sum is the distance."""
        return torch.stack([layer.mean((1, 2, 3)) for layer in self.layers(self.maps(a), self.maps(b))])

    def spatial(self, a: Tensor, b: Tensor) -> Tensor:
        """Where pictures (B, 3, H, W) differ, (B, 1, H, W): every tap's map, resized bilinearly, summed."""
        size = a.shape[2:]
        layers = self.layers(self.maps(a), self.maps(b))
        parts = [functional.interpolate(layer, size=size, mode="bilinear") for layer in layers]
        return torch.stack(parts).sum(0)

    def of_maps(self, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
        """Distances (B, 1, 1, 1) from maps; one target may serve many pictures."""
        layers = self.layers(ours, theirs)
        return torch.stack([layer.mean((2, 3), keepdim=True) for layer in layers]).sum(0)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances (B, 1, 1, 1) of pictures (B, 3, H, W), R G B, -1...1, picture by picture."""
        return self.of_maps(self.maps(a), self.maps(b))


def unit_channels(maps: Tensor) -> Tensor:
    """Maps (B, C, H, W) divided by their norm along the channels + 1e-10.

    Where all channels are zero the gradient is zero, too (that of a plain root would be infinite).
    """
    squares = maps.square().sum(1, keepdim=True)
    empty = squares == 0
    norm = torch.where(empty, torch.ones_like(squares), squares).sqrt()
    return maps / (torch.where(empty, torch.zeros_like(norm), norm) + EPSILON)


def load_lpips(
    trunk_file: str | Path, heads_file: str | Path, net: Net = "alex", scaled: bool = True
) -> LPIPS:
    """LPIPS from published files.

    Args:
        trunk_file: ImageNet weights of torchvision (`alexnet-*.pth`, `vgg16-*.pth`, `squeezenet1_1-*.pth`).
        heads_file: linear weights (`v0.1/alex.pth`, `vgg.pth`, `squeeze.pth`; the `lpips` package has them).
        net: which of them.
        scaled: False for version 0.0.

    Raises:
        CheckpointError: damaged, unsafe, or another network's.
        FileNotFoundError: no such file.
    """
    network = LPIPS(net, scaled)
    load_trunk(network.features, trunk_file)
    heads = state_dict_of(read_published(heads_file), source=str(heads_file))
    load_into(network, heads, ignore=["features.*", "scaling_layer.*"], source=str(heads_file))
    for number in range(len(network.taps.ends)):
        if (network.head(number) < 0).any():
            raise CheckpointError(f"{heads_file}: weights of tap {number} are negative; no LPIPS")
    return network


def load_trunk(layers: nn.Sequential, path: str | Path) -> nn.Sequential:
    """Fill a trunk from a classification file of torchvision; its classifier is left aside.

    Raises:
        CheckpointError: damaged, unsafe, or another network's.
        FileNotFoundError: no such file.
    """
    state = state_dict_of(read_published(path), source=str(path))
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
    for between in FIRES:
        if not between:
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            continue
        layers.append(Fire(before, between))
        before = 8 * between
    return nn.Sequential(*layers)
