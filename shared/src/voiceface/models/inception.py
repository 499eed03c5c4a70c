"""Inception v3: the graph of 2015 that FID and the Inception Score are defined by, and torchvision's network.

Source: Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016. Names of the
parameters are torchvision's, which the PyTorch conversion of the 2015 graph (pytorch-fid) keeps. The two
differ in the poolings inside the blocks: the graph of 2015 averages only what lies inside the map, and takes
the maximum in the last block.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import CheckpointError, extract_state_dict, read_published
from voiceface.models.facenet import ConvBlock
from voiceface.models.vggface2_resnet import ClassifierOutput

Graph = Literal["2015", "torchvision"]
IMAGE_SIZE = 299
Part = tuple[str, int, int | tuple[int, int], int]  # name, channels, kernel, stride
Step = Part | tuple[Part, ...] | None  # one unit, units side by side, or the pooling
Chain = Sequence[Step]


class Mixed(nn.Module):
    """Chains of units side by side, joined along the channels.

    Args:
        inside: channels in.
        chains: each from the input on. A stride of 1 keeps the size, 2 has no padding; None pools.
        pool: what None does.
    """

    def __init__(self, in_channels: int, chains: Sequence[Chain], pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.pool = pool
        self.chains: list[list[list[str]]] = []
        self.out_channels = 0
        for chain in chains:
            before, names = in_channels, []
            for step in chain:
                parts = _step_convs(step)
                for name, width, kernel, stride in parts:
                    self.add_module(name, ConvBlock(before, width, kernel, stride, _padding(kernel, stride)))
                names.append([name for name, *_ in parts])
                before = sum(width for _, width, *_ in parts) or before
            self.chains.append(names)
            self.out_channels += before

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for chain in self.chains:
            y = x
            for names in chain:
                if not names:
                    y = self.pool(y)
                else:
                    found = [self.get_submodule(name)(y) for name in names]
                    y = found[0] if len(found) == 1 else torch.cat(found, 1)
            outputs.append(y)
        return torch.cat(outputs, 1)


class Inception(nn.Module):
    """Pictures at 299 x 299, about -1...1, to logits. Its memory format is channels-last.

    Args:
        classes: 1008 in the graph of 2015, 1000 in torchvision's network.
        graph: which poolings it has.
        width_divisor: all inner channels are divided by this (1, 2, 4, 8 or 16); 1 is the published network.

    Raises:
        ValueError: `width_divisor` is none of these, or an unknown graph.
    """

    def __init__(self, num_classes: int = 1008, graph: Graph = "2015", width_divisor: int = 1) -> None:
        super().__init__()
        if width_divisor not in (1, 2, 4, 8, 16) or graph not in get_args(Graph):
            raise ValueError(
                f"narrow must be 1, 2, 4, 8 or 16, graph known; found {width_divisor}, {graph!r}"
            )
        self.graph, self.width_divisor = graph, width_divisor

        def n(width: int) -> int:
            return width // width_divisor

        average, last = (_inner_average, _maximum) if graph == "2015" else (_average, _average)
        self.Conv2d_1a_3x3 = ConvBlock(3, n(32), 3, 2)
        self.Conv2d_2a_3x3 = ConvBlock(n(32), n(32), 3)
        self.Conv2d_2b_3x3 = ConvBlock(n(32), n(64), 3, 1, 1)
        self.Conv2d_3b_1x1 = ConvBlock(n(64), n(80), 1)
        self.Conv2d_4a_3x3 = ConvBlock(n(80), n(192), 3)
        blocks: list[tuple[str, list[Chain], Callable[[Tensor], Tensor]]] = [
            *((f"Mixed_5{letter}", _a(n, pooled), average) for letter, pooled in zip("bcd", (32, 64, 64))),
            ("Mixed_6a", _b(n), _strided_maximum),
            *((f"Mixed_6{letter}", _c(n, w), average) for letter, w in zip("bcde", (128, 160, 160, 192))),
            ("Mixed_7a", _d(n), _strided_maximum),
            ("Mixed_7b", _e(n), average),
            ("Mixed_7c", _e(n), last),
        ]
        channels = n(192)
        for name, chains, pool in blocks:
            block = Mixed(channels, chains, pool)
            self.add_module(name, block)
            channels = block.out_channels
        self.blocks = [name for name, *_ in blocks]
        self.fc = nn.Linear(channels, num_classes)
        self.to(memory_format=torch.channels_last)

    def forward_features(self, images: Tensor) -> ClassifierOutput:
        """Logits (B, K) and the pooled features (B, 2048) of pictures as `preprocess_images` gives them."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"pictures must be (B, 3, H, W), found {tuple(images.shape)}")
        x = images.contiguous(memory_format=torch.channels_last)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(x, 3, 2)))
        x = functional.max_pool2d(x, 3, 2)
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        pooled = x.mean((2, 3))
        return ClassifierOutput(self.fc(pooled), pooled)

    def logits(self, pooled: Tensor, bias: bool = True) -> Tensor:
        """Pooled features (B, 2048) to logits (B, K); the published Inception Score leaves the bias out."""
        return functional.linear(pooled, self.fc.weight, self.fc.bias if bias else None)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, 299, 299) to logits (B, K)."""
        return self.forward_features(pictures).logits


def build_inception(state: Mapping[str, Tensor], graph: Graph) -> Inception:
    """An empty network of the size that weights have.

    Raises:
        CheckpointError: the weights are not those of such a network.
    """
    try:
        first, last = state["Conv2d_1a_3x3.conv.weight"], state["fc.weight"]
    except KeyError as error:
        found = ", ".join(list(state)[:5]) or "no keys"
        raise CheckpointError(f"no Inception v3: the key {error} is missing; found {found}") from None
    return Inception(len(last), graph, width_divisor=max(1, 32 // max(1, len(first))))


def load_inception(path: str | Path, graph: Graph) -> Inception:
    """The network of a published file, in evaluation.

    Args:
        path: `pt_inception-2015-12-05-*.pth` or torchvision's `inception_v3_google-*.pth`; its auxiliary
            classifier is left aside.
        graph: "2015" or "torchvision", which the file does not tell.

    Raises:
        CheckpointError: damaged, unsafe, or another network's.
        FileNotFoundError: no such file.
    """
    state = extract_state_dict(read_published(path), source=str(path))
    network = build_inception(state, graph)
    load_into(network, state, ignore=["AuxLogits.*", "*.num_batches_tracked"], source=str(path))
    return network.eval()


def preprocess_images(images: Tensor, resize: Literal["tensorflow", "pytorch"] = "tensorflow") -> Tensor:
    """Pictures (B, 3, H, W), uint8 or float of 0...255, R G B, as the graph of 2015 takes them.

    Args:
        images: of any size.
        resize: "tensorflow" is what the graph itself does: bilinear from source = index x H / 299, then
            (v - 128) / 128. "pytorch" is what pytorch-fid does: bilinear with half-pixel centres, then
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
    """Bilinear resize of (..., H, W) as TensorFlow 1 did it: the top left corner stays, no antialias.

    Row i of the result is taken at i x H / rows between the two nearest rows; the last one goes on beyond.
    """
    high, wide = (
        _interpolation_matrix(inside, outside, images) for inside, outside in zip(images.shape[-2:], size)
    )
    return high @ images @ wide.T


def _interpolation_matrix(in_size: int, out_size: int, like: Tensor) -> Tensor:
    """Matrix (outside, inside) of one direction of `tensorflow_resize`."""
    place = torch.arange(out_size, dtype=like.dtype, device=like.device) * (in_size / out_size)
    below = place.floor().long().clamp_max(in_size - 1)
    share = place - below
    matrix = torch.zeros(out_size, in_size, dtype=like.dtype, device=like.device)
    rows = torch.arange(out_size, device=like.device)
    matrix[rows, below] = 1 - share
    matrix[rows, (below + 1).clamp_max(in_size - 1)] += share
    return matrix


def _a(n: Callable[[int], int], pooled: int) -> list[Chain]:
    return [
        [("branch1x1", n(64), 1, 1)],
        [("branch5x5_1", n(48), 1, 1), ("branch5x5_2", n(64), 5, 1)],
        [
            ("branch3x3dbl_1", n(64), 1, 1),
            ("branch3x3dbl_2", n(96), 3, 1),
            ("branch3x3dbl_3", n(96), 3, 1),
        ],
        [None, ("branch_pool", n(pooled), 1, 1)],
    ]


def _b(n: Callable[[int], int]) -> list[Chain]:
    return [
        [("branch3x3", n(384), 3, 2)],
        [
            ("branch3x3dbl_1", n(64), 1, 1),
            ("branch3x3dbl_2", n(96), 3, 1),
            ("branch3x3dbl_3", n(96), 3, 2),
        ],
        [None],
    ]


def _c(n: Callable[[int], int], inner: int) -> list[Chain]:
    row, column = (1, 7), (7, 1)
    double = [
        (f"branch7x7dbl_{number + 2}", n(width), kernel, 1)
        for number, (width, kernel) in enumerate([(inner, column), (inner, row), (inner, column), (192, row)])
    ]
    return [
        [("branch1x1", n(192), 1, 1)],
        [
            ("branch7x7_1", n(inner), 1, 1),
            ("branch7x7_2", n(inner), row, 1),
            ("branch7x7_3", n(192), column, 1),
        ],
        [("branch7x7dbl_1", n(inner), 1, 1), *double],
        [None, ("branch_pool", n(192), 1, 1)],
    ]


def _d(n: Callable[[int], int]) -> list[Chain]:
    return [
        [("branch3x3_1", n(192), 1, 1), ("branch3x3_2", n(320), 3, 2)],
        [
            ("branch7x7x3_1", n(192), 1, 1),
            ("branch7x7x3_2", n(192), (1, 7), 1),
            ("branch7x7x3_3", n(192), (7, 1), 1),
            ("branch7x7x3_4", n(192), 3, 2),
        ],
        [None],
    ]


def _e(n: Callable[[int], int]) -> list[Chain]:
    def fork(name: str) -> tuple[Part, ...]:
        return (f"{name}a", n(384), (1, 3), 1), (f"{name}b", n(384), (3, 1), 1)

    return [
        [("branch1x1", n(320), 1, 1)],
        [("branch3x3_1", n(384), 1, 1), fork("branch3x3_2")],
        [("branch3x3dbl_1", n(448), 1, 1), ("branch3x3dbl_2", n(384), 3, 1), fork("branch3x3dbl_3")],
        [None, ("branch_pool", n(192), 1, 1)],
    ]


def _step_convs(step: Step) -> tuple[Part, ...]:
    """The units of a step; none for the pooling."""
    if step is None:
        return ()
    return (step,) if isinstance(step[0], str) else step  # type: ignore[return-value]  # told by the name


def _padding(kernel: int | tuple[int, int], stride: int) -> int | tuple[int, int]:
    if stride > 1:
        return 0
    return kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)


def _average(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, 1, 1)


def _inner_average(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 3, 1, 1)


def _strided_maximum(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 3, 2)
