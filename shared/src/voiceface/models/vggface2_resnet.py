"""ResNet with bottlenecks in the arrangement of Caffe: the face classifier of VGGFace2.

The layers are torchvision's, with two differences: the first 1x1 convolution of a stage has the stride, and
the max-pooling has no padding and rounds sizes up (Cao et al., "VGGFace2", FG 2018; He et al., "Deep residual
learning for image recognition", CVPR 2016).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import CheckpointError, extract_state_dict, read_published
from voiceface.io.safe_pickle import read_pickle

__all__ = ["CaffeResNet", "ClassifierOutput", "build_caffe_resnet", "check_image_batch", "load_caffe_resnet"]

BLOCKS = (3, 4, 6, 3)


class ClassifierOutput(NamedTuple):
    """Logits (B, K) and the spatial mean of the last feature map (B, D)."""

    logits: Tensor
    pooled: Tensor


class CaffeResNet(ResNet):
    """Face images to logits. Its memory format is channels-last, which is faster.

    Args:
        num_classes: K.
        blocks: bottlenecks in the four stages; (3, 4, 6, 3) is ResNet-50.
        width_per_group: inner width of the first stage's bottlenecks, doubled by every stage; 64 is
            ResNet-50. Stem and outputs of the stages keep their widths.
    """

    def __init__(
        self, num_classes: int = 8631, blocks: Sequence[int] = BLOCKS, width_per_group: int = 64
    ) -> None:
        super().__init__(Bottleneck, list(blocks), num_classes, width_per_group=width_per_group)
        self.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
        for stage in (self.layer2, self.layer3, self.layer4):
            stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
        self.to(memory_format=torch.channels_last)

    def forward_features(self, images: Tensor) -> ClassifierOutput:
        """Logits and pooled features of images (B, 3, H, W), published for 224 x 224.

        Raises:
            ValueError: another shape.
        """
        check_image_batch(images)
        x = images.contiguous(memory_format=torch.channels_last)
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        pooled = x.mean((2, 3))
        return ClassifierOutput(self.fc(pooled), pooled)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, K)."""
        return self.forward_features(images).logits


def check_image_batch(images: Tensor) -> None:
    """Raise ValueError unless the shape is (B, 3, H, W)."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (B, 3, H, W), found {tuple(images.shape)}")


def build_caffe_resnet(state: Mapping[str, Tensor]) -> CaffeResNet:
    """Build a network of the size that a state dict has; its parameters are not copied.

    Raises:
        CheckpointError: the state dict is not that of a ResNet with bottlenecks in four stages.
    """
    units = {match[1]: match[2] for key in state if (match := re.match(r"(layer(\d)\.\d+)\.conv3\.", key))}
    counts = [list(units.values()).count(stage) for stage in "1234"]
    required = ("layer1.0.conv1.weight", "fc.weight")
    if not all(counts) or any(key not in state for key in required):
        raise CheckpointError(
            f"no ResNet with bottlenecks: expected {required} and layerN.M.conv3 for N of 1 to 4, found "
            + (", ".join(list(state)[:5]) or "no keys")
        )
    return CaffeResNet(len(state["fc.weight"]), counts, len(state["layer1.0.conv1.weight"]))


def load_caffe_resnet(path: str | Path) -> CaffeResNet:
    """Load the face classifier of a published file, in evaluation mode.

    Args:
        path: `resnet50_ft_weight.pkl`, a pickle of numpy arrays with torchvision's names, read without
            running code in it; or a torch file (`.pt`, `.pth`) of the same keys.

    Raises:
        ArrayFileError, CheckpointError: corrupt, unsafe, or another network's.
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
    """Convert a pickled dict of arrays to tensors by key; Python 2 may have written keys as bytes."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a dict of arrays")
    state = {}
    for key, value in content.items():
        name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
        if not isinstance(value, np.ndarray | np.generic | int):
            raise CheckpointError(f"{path}: {name} is a {type(value).__name__}, expected an array")
        state[name] = torch.as_tensor(value)
    return state
