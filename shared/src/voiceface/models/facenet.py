"""Inception-ResNet v1: the face network of FaceNet, with the layer names of facenet-pytorch's checkpoints.

Source: Szegedy et al., "Inception-v4, Inception-ResNet and the impact of residual connections on learning",
AAAI 2017; sizes as in the VGGFace2 model of facenet-pytorch.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import CheckpointError, extract_state_dict, read_published

__all__ = [
    "ConvBlock",
    "FaceFeatures",
    "InceptionResNet",
    "ReductionBlock",
    "ResidualBlock",
    "build_inception_resnet",
    "load_inception_resnet",
]

BATCHNORM_EPS = 1e-3  # of every batch norm
IMAGE_SIZE = 140  # pixels along each edge of resized images
REPEATS = (5, 10, 5)
SCALES = (0.17, 0.10, 0.20)
Kernel = int | tuple[int, int]


class FaceFeatures(NamedTuple):
    """Features of images.

    Attributes:
        maps: after the three groups of residual blocks: (B, 256, 15, 15), (B, 896, 7, 7), (B, 1792, 3, 3) at
            full width.
        pooled: (B, 1792), the mean over the last map, not normalised.
        embedding: (B, 512), unit length.
    """

    maps: tuple[Tensor, Tensor, Tensor]
    pooled: Tensor
    embedding: Tensor


class ConvBlock(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: Kernel, stride: int = 1, padding: Kernel = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(out_channels, eps=BATCHNORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)), inplace=True)


class ResidualBlock(nn.Module):
    """Parallel branches, joined by a 1x1 convolution, scaled and added to the input.

    Args:
        channels: in and out.
        branches: modules whose outputs are concatenated.
        branch_channels: channels of all branches together.
        scale: of what is added.
        last: no ReLU after the sum.
    """

    def __init__(
        self,
        channels: int,
        branches: Sequence[nn.Module],
        branch_channels: int,
        scale: float,
        last: bool = False,
    ) -> None:
        super().__init__()
        self.count, self.scale, self.last = len(branches), scale, last
        for number, branch in enumerate(branches):
            self.add_module(f"branch{number}", branch)
        self.conv2d = nn.Conv2d(branch_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.get_submodule(f"branch{number}")(x) for number in range(self.count)]
        out = torch.add(x, self.conv2d(torch.cat(branches, 1)), alpha=self.scale)
        return out if self.last else functional.relu(out, inplace=True)


class ReductionBlock(nn.Module):
    """Strided branches and a max-pooling side by side, concatenated along the channels."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.count = len(branches)
        for number, branch in enumerate([*branches, nn.MaxPool2d(3, 2)]):
            self.add_module(f"branch{number}", branch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.get_submodule(f"branch{number}")(x) for number in range(self.count + 1)], 1)


class InceptionResNet(nn.Module):
    """Face images to embeddings. Its memory format is channels-last, which is faster.

    Args:
        features: length D of the embedding.
        num_classes: of the classifier `logits`; None omits it.
        repeats: residual blocks in the three groups.
        width_divisor: divisor of all inner widths (1, 2, 4, 8 or 16); 1 is the published network.
        image_size: side in pixels to which images are resized (bilinear, aligned corners); None disables it.
        dropout: probability of dropout on the pooled features in training.

    Raises:
        ValueError: another `width_divisor`.
    """

    def __init__(
        self,
        features: int = 512,
        num_classes: int | None = 8631,
        repeats: Sequence[int] = REPEATS,
        width_divisor: int = 1,
        image_size: int | None = IMAGE_SIZE,
        dropout: float = 0.6,
    ) -> None:
        super().__init__()
        if width_divisor not in (1, 2, 4, 8, 16):
            raise ValueError(f"width_divisor must be 1, 2, 4, 8 or 16, found {width_divisor}")
        self.features, self.image_size, self.width_divisor = features, image_size, width_divisor
        n = [width // width_divisor for width in (32, 64, 80, 192, 256, 128, 384)]
        w32, w64, w80, w192, w256, w128, w384 = n
        w896, w1792 = w384 + w256 + w256, w384 + w256 + w256 + w384 + w256 + w256
        self.conv2d_1a = ConvBlock(3, w32, 3, 2)
        self.conv2d_2a = ConvBlock(w32, w32, 3)
        self.conv2d_2b = ConvBlock(w32, w64, 3, 1, 1)
        self.maxpool_3a = nn.MaxPool2d(3, 2)
        self.conv2d_3b = ConvBlock(w64, w80, 1)
        self.conv2d_4a = ConvBlock(w80, w192, 3)
        self.conv2d_4b = ConvBlock(w192, w256, 3, 2)
        scales = SCALES
        self.repeat_1 = nn.Sequential(*(_block35(w256, w32, scales[0]) for _ in range(repeats[0])))
        self.mixed_6a = ReductionBlock(
            [
                ConvBlock(w256, w384, 3, 2),
                nn.Sequential(
                    ConvBlock(w256, w192, 1), ConvBlock(w192, w192, 3, 1, 1), ConvBlock(w192, w256, 3, 2)
                ),
            ]
        )
        self.repeat_2 = nn.Sequential(
            *(_factorised_block(w896, w128, 7, scales[1]) for _ in range(repeats[1]))
        )
        self.mixed_7a = ReductionBlock(
            [
                nn.Sequential(ConvBlock(w896, w256, 1), ConvBlock(w256, w384, 3, 2)),
                nn.Sequential(ConvBlock(w896, w256, 1), ConvBlock(w256, w256, 3, 2)),
                nn.Sequential(
                    ConvBlock(w896, w256, 1), ConvBlock(w256, w256, 3, 1, 1), ConvBlock(w256, w256, 3, 2)
                ),
            ]
        )
        self.repeat_3 = nn.Sequential(
            *(_factorised_block(w1792, w192, 3, scales[2]) for _ in range(repeats[2]))
        )
        self.block8 = _factorised_block(w1792, w192, 3, 1.0, last=True)
        self.dropout = nn.Dropout(dropout)
        self.last_linear = nn.Linear(w1792, features, bias=False)
        self.last_bn = nn.BatchNorm1d(features, eps=BATCHNORM_EPS)
        self.logits = None if num_classes is None else nn.Linear(features, num_classes)
        self.to(memory_format=torch.channels_last)

    def resize_images(self, images: Tensor) -> Tensor:
        """Resize images (B, 3, H, W) to the network's size."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), found {tuple(images.shape)}")
        if self.image_size is None or images.shape[2:] == (self.image_size, self.image_size):
            return images
        return functional.interpolate(
            images, size=(self.image_size, self.image_size), mode="bilinear", align_corners=True
        )

    def forward_features(self, images: Tensor) -> FaceFeatures:
        """All features that losses and metrics use, of RGB images (B, 3, H, W), about -1...1."""
        x = self.resize_images(images).contiguous(memory_format=torch.channels_last)
        x = self.maxpool_3a(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x))))
        one = self.repeat_1(self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(x))))
        two = self.repeat_2(self.mixed_6a(one))
        three = self.repeat_3(self.mixed_7a(two))
        pooled = self.block8(three).mean((2, 3))
        embedding = self.last_bn(self.last_linear(self.dropout(pooled)))
        return FaceFeatures((one, two, three), pooled, functional.normalize(embedding))

    def forward(self, images: Tensor, pooled: bool = False) -> Tensor:
        """Images (B, 3, H, W) to unit-length embeddings (B, D), or unit-length pooled features (B, 1792)."""
        features = self.forward_features(images)
        return functional.normalize(features.pooled) if pooled else features.embedding

    def classify(self, embedding: Tensor) -> Tensor:
        """Embeddings (B, D), not normalised in training of the classifier, to logits (B, K)."""
        if self.logits is None:
            raise ValueError("this network was built without its classifier; give num_classes")
        return self.logits(embedding)


def build_inception_resnet(state: Mapping[str, Tensor]) -> InceptionResNet:
    """Build a network of the size that a state dict has; its parameters are not copied.

    Args:
        state: tensors by key; those of the classifier may be missing.

    Raises:
        CheckpointError: the state dict is not that of an Inception-ResNet v1.
    """
    try:
        first, last = state["conv2d_1a.conv.weight"], state["last_linear.weight"]
    except KeyError as error:
        raise CheckpointError(
            f"no Inception-ResNet v1: the key {error} is missing; found "
            + (", ".join(list(state)[:5]) or "no keys")
        ) from None
    logits = state.get("logits.weight")
    return InceptionResNet(
        features=len(last),
        num_classes=None if logits is None else len(logits),
        repeats=[_count_blocks(state, f"repeat_{number}.") for number in (1, 2, 3)],
        width_divisor=max(1, 32 // max(1, len(first))),
    )


def load_inception_resnet(*paths: str | Path) -> InceptionResNet:
    """Load FaceNet from published files, in evaluation mode.

    Args:
        paths: one file (`20180402-114759-vggface2.pt`), or several whose keys are merged (formerly features
            and classifier were separate files).

    Raises:
        CheckpointError: corrupt, unsafe, or another network's.
        FileNotFoundError: no such file.
    """
    state: dict[str, Tensor] = {}
    for path in paths:
        state |= extract_state_dict(read_published(path), source=str(path))
    network = build_inception_resnet(state)
    load_into(network, state, ignore=["*.num_batches_tracked"], source=", ".join(map(str, paths)))
    return network.eval()


def _block35(channels: int, width: int, scale: float) -> ResidualBlock:
    branches = [
        ConvBlock(channels, width, 1),
        nn.Sequential(ConvBlock(channels, width, 1), ConvBlock(width, width, 3, 1, 1)),
        nn.Sequential(
            ConvBlock(channels, width, 1), ConvBlock(width, width, 3, 1, 1), ConvBlock(width, width, 3, 1, 1)
        ),
    ]
    return ResidualBlock(channels, branches, 3 * width, scale)


def _factorised_block(
    channels: int, width: int, length: int, scale: float, last: bool = False
) -> ResidualBlock:
    """A block whose square kernel is split into a row and a column: block17 (length 7) and block8 (3)."""
    half = length // 2
    branches = [
        ConvBlock(channels, width, 1),
        nn.Sequential(
            ConvBlock(channels, width, 1),
            ConvBlock(width, width, (1, length), 1, (0, half)),
            ConvBlock(width, width, (length, 1), 1, (half, 0)),
        ),
    ]
    return ResidualBlock(channels, branches, 2 * width, scale, last)


def _count_blocks(keys: Iterable[str], prefix: str) -> int:
    numbers = {key.removeprefix(prefix).partition(".")[0] for key in keys if key.startswith(prefix)}
    return len(numbers)
