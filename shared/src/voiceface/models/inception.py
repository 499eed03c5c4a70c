"""Inception v3 as the 2015 graph, which defines FID and the Inception Score.

Source: Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016. The layers are
torchvision's, and so are the names of the parameters, which the PyTorch conversion of the graph (pytorch-fid)
keeps. The 2015 graph differs in the poolings inside the blocks: it leaves the padding out of its averages and
takes the maximum in the last block.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import inception as layers

from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import CheckpointError, extract_state_dict, read_published
from voiceface.models.vggface2_resnet import ClassifierOutput, check_image_batch

__all__ = ["Inception", "build_inception", "load_inception", "preprocess_images", "tensorflow_resize"]

IMAGE_SIZE = 299
_average_pool = partial(functional.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
_max_pool = partial(functional.max_pool2d, kernel_size=3, stride=1, padding=1)


class Inception(layers.Inception3):
    """Images at 299 x 299, about -1...1, to logits. Its memory format is channels-last.

    Args:
        num_classes: 1008 in the published file.
        width_divisor: divisor of all inner widths (1, 2, 4, 8 or 16); 1 is the published network.

    Raises:
        ValueError: another `width_divisor`.
    """

    def __init__(self, num_classes: int = 1008, width_divisor: int = 1) -> None:
        if width_divisor not in (1, 2, 4, 8, 16):
            raise ValueError(f"width_divisor must be 1, 2, 4, 8 or 16, found {width_divisor}")
        conv = partial(_NarrowConv, width_divisor=width_divisor)
        kinds = _InceptionA, layers.InceptionB, _InceptionC, layers.InceptionD, _InceptionE
        blocks = [conv, *(partial(kind, conv_block=conv) for kind in kinds), layers.InceptionAux]
        super().__init__(num_classes, aux_logits=False, inception_blocks=blocks, init_weights=False)
        self.width_divisor = width_divisor
        self.Mixed_7c.pool = _max_pool
        self.fc = nn.Linear(2048 // width_divisor, num_classes)
        self.to(memory_format=torch.channels_last)

    def forward_features(self, images: Tensor) -> ClassifierOutput:
        """Logits (B, K) and pooled features (B, 2048) of images from `preprocess_images`."""
        check_image_batch(images)
        x = images.contiguous(memory_format=torch.channels_last)
        for name, layer in self.named_children():
            if name == "avgpool":
                break
            x = layer(x)
        pooled = x.mean((2, 3))
        return ClassifierOutput(self.fc(pooled), pooled)

    def logits(self, pooled: Tensor, bias: bool = True) -> Tensor:
        """Pooled features (B, 2048) to logits (B, K); the published Inception Score leaves the bias out."""
        return functional.linear(pooled, self.fc.weight, self.fc.bias if bias else None)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, 299, 299) to logits (B, K)."""
        return self.forward_features(images).logits


class _NarrowConv(layers.BasicConv2d):
    """Convolution with divided widths; the three colours of an image stay."""

    def __init__(self, in_channels: int, out_channels: int, width_divisor: int, **options: Any) -> None:
        narrow = in_channels if in_channels == 3 else in_channels // width_divisor
        super().__init__(narrow, out_channels // width_divisor, **options)


class _InceptionA(layers.InceptionA):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
            self.branch_pool(_average_pool(x)),
        ]


class _InceptionC(layers.InceptionC):
    def _forward(self, x: Tensor) -> list[Tensor]:
        branch1x1 = self.branch1x1(x)
        branch7x7 = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return [branch1x1, branch7x7, double, self.branch_pool(_average_pool(x))]


class _InceptionE(layers.InceptionE):
    pool = staticmethod(_average_pool)  # the maximum in the last block

    def _forward(self, x: Tensor) -> list[Tensor]:
        branch1x1, branch3x3 = self.branch1x1(x), self.branch3x3_1(x)
        branch3x3 = [self.branch3x3_2a(branch3x3), self.branch3x3_2b(branch3x3)]
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        double = [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return [branch1x1, *branch3x3, *double, self.branch_pool(self.pool(x))]


def build_inception(state: Mapping[str, Tensor]) -> Inception:
    """Build a network of the size that a state dict has; its parameters are not copied.

    Raises:
        CheckpointError: the state dict is not that of an Inception v3.
    """
    try:
        first, last = state["Conv2d_1a_3x3.conv.weight"], state["fc.weight"]
    except KeyError as error:
        keys = ", ".join(list(state)[:5]) or "no keys"
        raise CheckpointError(f"no Inception v3: the key {error} is missing; found {keys}") from None
    return Inception(len(last), width_divisor=max(1, 32 // max(1, len(first))))


def load_inception(path: str | Path) -> Inception:
    """Load the network of a published file, in evaluation mode.

    Args:
        path: `pt_inception-2015-12-05-*.pth` of pytorch-fid.

    Raises:
        CheckpointError: corrupt, unsafe, or another network's.
        FileNotFoundError: no such file.
    """
    state = extract_state_dict(read_published(path), source=str(path))
    network = build_inception(state)
    load_into(network, state, ignore=["*.num_batches_tracked"], source=str(path))
    return network.eval()


def preprocess_images(images: Tensor, resize: Literal["tensorflow", "pytorch"] = "tensorflow") -> Tensor:
    """Resize and scale RGB images (B, 3, H, W), uint8 or float in 0...255, as the 2015 graph takes them.

    Args:
        images: of any size.
        resize: "tensorflow", as in the graph itself: bilinear from source = index x H / 299, then
            (v - 128) / 128. "pytorch", as in pytorch-fid: bilinear with half-pixel centres, then
            v / 127.5 - 1; its FID values differ.

    Returns:
        (B, 3, 299, 299), float32 (double stays double).
    """
    values = images if images.is_floating_point() else images.float()
    if resize == "tensorflow":
        return (tensorflow_resize(values, (IMAGE_SIZE, IMAGE_SIZE)) - 128) / 128
    if resize != "pytorch":
        raise ValueError(f'resize must be "tensorflow" or "pytorch", found {resize!r}')
    return functional.interpolate(values, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear") / 127.5 - 1


def tensorflow_resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (..., H, W) bilinearly as TensorFlow 1 did: the top left corner stays, no antialiasing.

    Output row i is interpolated at i x H / rows between the two nearest rows; the last row is repeated.
    """
    vertical, horizontal = (_interpolation_matrix(*sizes, images) for sizes in zip(images.shape[-2:], size))
    return vertical @ images @ horizontal.T


def _interpolation_matrix(in_size: int, out_size: int, like: Tensor) -> Tensor:
    """Matrix (out_size, in_size) of one direction of `tensorflow_resize`."""
    position = torch.arange(out_size, dtype=like.dtype, device=like.device) * (in_size / out_size)
    below = position.floor().long().clamp_max(in_size - 1)
    fraction = position - below
    matrix = torch.zeros(out_size, in_size, dtype=like.dtype, device=like.device)
    rows = torch.arange(out_size, device=like.device)
    matrix[rows, below] = 1 - fraction
    matrix[rows, (below + 1).clamp_max(in_size - 1)] += fraction
    return matrix
