"""ResNet with bottlenecks in the arrangement of Caffe: the face classifier of VGGFace2.

Names of the parameters are torchvision's. Against torchvision's network, the stride stands in the first 1x1
convolution of a stage (and of its shortcut), and the max-pooling has no padding and rounds sizes up (Cao et
al., "VGGFace2", FG 2018; He et al., "Deep residual learning", CVPR 2016).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import CheckpointError, extract_state_dict, read_published
from voiceface.io.safe_pickle import read_pickle

BLOCKS = (3, 4, 6, 3)
EXPANSION = 4


class ClassifierOutput(NamedTuple):
    """Logits (B, K) and the averaged last map (B, D)."""

    logits: Tensor
    pooled: Tensor


class Bottleneck(nn.Module):
    """1x1 (strided), 3x3 and 1x1 convolution beside a shortcut, ReLU after the sum."""

    def __init__(self, in_channels: int, width: int, stride: int, project: bool) -> None:
        super().__init__()
        outside = EXPANSION * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2: nn.Module = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outside, 1, bias=False)
        self.bn3: nn.Module = nn.BatchNorm2d(outside)
        self.downsample: nn.Sequential | None = None
        if project:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        return functional.relu(self.bn3(self.conv3(y)).add_(shortcut), inplace=True)


class CaffeResNet(nn.Module):
    """Face pictures to logits. Its memory format is channels-last, which is the faster one.

    Args:
        classes: K.
        blocks: bottlenecks in the four stages; (3, 4, 6, 3) is ResNet-50.
        width: of the stem and of the first stage's bottlenecks; every stage doubles it.
    """

    def __init__(self, num_classes: int = 8631, blocks: Sequence[int] = BLOCKS, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(width)
        before = width
        for stage, count in enumerate(blocks):
            inner, units = width << stage, []
            for number in range(count):
                stride = 2 if stage and not number else 1
                units.append(Bottleneck(before, inner, stride, project=not number))
                before = EXPANSION * inner
            self.add_module(f"layer{stage + 1}", nn.Sequential(*units))
        self.num_stages = len(blocks)
        self.fc = nn.Linear(before, num_classes)
        self.to(memory_format=torch.channels_last)

    def forward_features(self, images: Tensor) -> ClassifierOutput:
        """Logits and pooled features of pictures (B, 3, H, W), published for 224 x 224.

        Raises:
            ValueError: another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"pictures must be (B, 3, H, W), found {tuple(images.shape)}")
        x = images.contiguous(memory_format=torch.channels_last)
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        for stage in range(self.num_stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        pooled = x.mean((2, 3))
        return ClassifierOutput(self.fc(pooled), pooled)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) to logits (B, K)."""
        return self.forward_features(images).logits


def build_caffe_resnet(state: Mapping[str, Tensor]) -> CaffeResNet:
    """An empty network of the size that weights have.

    Raises:
        CheckpointError: the weights are not those of such a network.
    """
    counts: dict[int, int] = {}
    for key in state:
        if match := re.match(r"layer(\d+)\.(\d+)\.conv3\.", key):
            stage = int(match[1])
            counts[stage] = max(counts.get(stage, 0), int(match[2]) + 1)
    wanted = ("conv1.weight", "fc.weight")
    missing = [key for key in wanted if key not in state]
    if missing or sorted(counts) != list(range(1, len(counts) + 1)) or not counts:
        raise CheckpointError(
            f"no ResNet with bottlenecks: expected {wanted} and layerN.M.conv3, found "
            + (", ".join(list(state)[:5]) or "no keys")
        )
    blocks = [counts[stage] for stage in sorted(counts)]
    return CaffeResNet(len(state["fc.weight"]), blocks, len(state["conv1.weight"]))


def load_caffe_resnet(path: str | Path) -> CaffeResNet:
    """The face classifier of a published file, in evaluation.

    Args:
        path: `resnet50_ft_weight.pkl`, a pickle of numpy arrays by torchvision's names, read without running
            anything in it; or a torch file (`.pt`, `.pth`) of the same keys.

    Raises:
        ArrayFileError, CheckpointError: damaged, unsafe, or another network's.
        FileNotFoundError: no such file.
    """
    if Path(path).suffix in (".pt", ".pth"):
        state = extract_state_dict(read_published(path), source=str(path))
    else:
        state = _to_tensors(read_pickle(path), path)
    network = build_caffe_resnet(state)
    load_into(network, state, ignore=["*.num_batches_tracked"], source=str(path))
    return network.eval()


def _to_tensors(content: object, path: str | Path) -> dict[str, Tensor]:
    """A pickled dict of arrays as tensors by key; Python 2 may have written keys as bytes."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a dict of arrays")
    state = {}
    for key, value in content.items():
        name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
        if not isinstance(value, np.ndarray | np.generic | int):
            raise CheckpointError(f"{path}: {name} is a {type(value).__name__}, expected an array")
        state[name] = torch.as_tensor(value)
    return state
