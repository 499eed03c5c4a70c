"""The four networks as PyTorch modules: face detector, face mesh, face encoder, voice encoder.

Each takes raw input (pixels 0...255, mel bands) and returns raw output; decoding, cropping and front ends are
in the modules of the tasks (`face_detector`, `face_mesh`, `face_encoder`, `voice_encoder`). Widths are
arguments, so that tests can build small ones; the defaults are those of the published files.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from voiceface.real.mobile_blocks import ConvBlock, DepthwiseBlock

__all__ = [
    "CHIP_SIDE",
    "DETECTOR_SIDE",
    "MESH_POINTS",
    "MESH_SIDE",
    "NUM_MELS",
    "PARTIAL_FRAMES",
    "BlazeFace",
    "ChipResNet",
    "FaceMeshNetwork",
    "ResidualBlock",
    "SpeakerLstm",
    "build_network",
]

DETECTOR_SIDE = 256
MESH_SIDE = 192
MESH_POINTS = 468
CHIP_SIDE = 150
NUM_MELS = 40
PARTIAL_FRAMES = 160
ANCHORS_PER_CELL = (2, 6)  # at 1/16 and 1/32 of the image
CHANNEL_MEANS = (122.782, 117.001, 104.298)  # of dlib's input layer, red, green, blue


class BlazeFace(nn.Module):
    """Face detector, RGB images (N, 3, 256, 256), 0...255, to raw boxes (N, 896, 16) and scores (N, 896).

    A box has offsets of its centre, width and height, and six points (x, y), in pixels of the input relative
    to its anchor; scores are logits. Source: Bazarevsky et al. 2019; sizes of MediaPipe's back-camera model.

    Args:
        widths: channels of the four stages.
        blocks: blocks of a stage after its first.
    """

    def __init__(self, widths: Sequence[int] = (24, 24, 48, 96), blocks: int = 7) -> None:
        super().__init__()
        self.stem = ConvBlock(3, widths[0], 5, 2, prelu=False)
        stages: list[nn.Module] = []
        for before, width in zip((0, *widths), widths):
            stages += [DepthwiseBlock(before, width, 2, prelu=False)] if before else []
            stages += [DepthwiseBlock(width, width, prelu=False) for _ in range(blocks)]
        self.blocks = nn.Sequential(*stages)
        last = widths[-1]
        self.coarse = DepthwiseBlock(last, last, 2, prelu=False, shortcut=False)
        self.score_fine, self.score_coarse = (nn.Conv2d(last, n, 1) for n in ANCHORS_PER_CELL)
        self.box_fine, self.box_coarse = (nn.Conv2d(last, 16 * n, 1) for n in ANCHORS_PER_CELL)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.blocks(self.stem(images / 127.5 - 1))
        coarse = self.coarse(fine)
        boxes = [_cells(self.box_fine(fine), 16), _cells(self.box_coarse(coarse), 16)]
        scores = [_cells(self.score_fine(fine), 1), _cells(self.score_coarse(coarse), 1)]
        return torch.cat(boxes, 1), torch.cat(scores, 1)[..., 0]


def _cells(maps: Tensor, values: int) -> Tensor:
    """Maps (N, A * values, H, W) to rows (N, H * W * A, values)."""
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, values)


class FaceMeshNetwork(nn.Module):
    """Face mesh, RGB crops (N, 3, 192, 192), 0...255, to points (N, 468, 3) and presence (N,), a logit.

    Source: Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile GPUs", 2019;
    sizes of MediaPipe's model.

    Args:
        widths: channels of the five stages of the trunk.
        head: channels of the two heads.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 128, 128), head: int = 32) -> None:
        super().__init__()
        self.stem = ConvBlock(3, widths[0], 3, 2, prelu=True)
        trunk: list[nn.Module] = []
        for before, width in zip((0, *widths), widths):
            trunk += [DepthwiseBlock(before, width, 2, prelu=True)] if before else []
            trunk += [DepthwiseBlock(width, width, prelu=True) for _ in range(2)]
        self.trunk = nn.Sequential(*trunk)
        self.mesh = self._head(widths[-1], head, 2, 3 * MESH_POINTS)
        self.presence = self._head(widths[-1], head, 0, 1)

    @staticmethod
    def _head(width: int, inner: int, blocks: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            DepthwiseBlock(width, width, 2, prelu=True),
            *(DepthwiseBlock(width, width, prelu=True) for _ in range(blocks)),
            ConvBlock(width, inner, 1, prelu=True),
            DepthwiseBlock(inner, inner, prelu=True),
            nn.Conv2d(inner, outputs, 3),
        )

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(self.stem(crops / 255))
        return self.mesh(features).reshape(len(crops), MESH_POINTS, 3), self.presence(features).reshape(-1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and the input added, as dlib does: what is smaller is padded with zeros.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        down: stride 2 without padding; the input is average-pooled.
    """

    def __init__(self, in_channels: int, out_channels: int, down: bool) -> None:
        super().__init__()
        self.down, self.new_channels = down, out_channels - in_channels
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, 2 if down else 1, 0 if down else 1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(functional.relu(self.conv1(x)))
        if self.down:
            x = functional.avg_pool2d(x, 2, 2)
            missing = x.shape[2] - y.shape[2], x.shape[3] - y.shape[3]
            if any(missing):
                y = functional.pad(y, (0, missing[1], 0, missing[0]))
            if self.new_channels:
                x = functional.pad(x, (0, 0, 0, 0, 0, self.new_channels))
        return functional.relu(y + x)


class ChipResNet(nn.Module):
    """Face encoder, aligned RGB faces (N, 3, 150, 150), 0...255, to embeddings (N, 128).

    Embeddings are compared by Euclidean distance; below 0.6 dlib takes two faces for one person. The affine
    layers of dlib's network are folded into the convolutions. Source: dlib, `dnn_face_recognition_ex`; He et
    al., "Deep residual learning for image recognition", 2016.

    Args:
        widths: channels of the stages; each stage but the first begins with a block of stride 2.
        blocks: blocks of each stage.
        features: length of the embedding.
    """

    means: Tensor

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128, 256, 256),
        blocks: Sequence[int] = (3, 4, 3, 3, 1),
        features: int = 128,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 7, 2)
        stages: list[nn.Module] = []
        for stage, (before, width, count) in enumerate(zip((widths[0], *widths), widths, blocks)):
            stages += [ResidualBlock(before, width, stage > 0)]
            stages += [ResidualBlock(width, width, False) for _ in range(count - 1)]
        self.blocks = nn.Sequential(*stages)
        self.output = nn.Linear(widths[-1], features, bias=False)
        self.register_buffer("means", torch.tensor(CHANNEL_MEANS)[:, None, None], persistent=False)

    def forward(self, chips: Tensor) -> Tensor:
        x = functional.relu(self.stem((chips - self.means) / 256))
        return self.output(self.blocks(functional.max_pool2d(x, 3, 2)).mean((2, 3)))


class SpeakerLstm(nn.Module):
    """Voice encoder, mel bands of partial utterances (N, frames, 40) to embeddings (N, 256) of unit length.

    Embeddings are not negative. Source: Wan et al., "Generalized end-to-end loss for speaker verification",
    ICASSP 2018; sizes of Resemblyzer.

    Args:
        bands: mel bands.
        width: of the LSTM layers.
        layers: LSTM layers.
        features: length of the embedding.
    """

    def __init__(self, bands: int = NUM_MELS, width: int = 256, layers: int = 3, features: int = 256) -> None:
        super().__init__()
        self.lstm = nn.LSTM(bands, width, layers, batch_first=True)
        self.linear = nn.Linear(width, features)

    def forward(self, bands: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(bands)
        return functional.normalize(functional.relu(self.linear(hidden[-1])))


def build_network(name: str) -> nn.Module:
    """Build a network of the published size, with random weights, in evaluation mode.

    Args:
        name: a key of `voiceface.real.catalogue.MODELS`.

    Raises:
        ValueError: an unknown name.
    """
    builders = {
        "face_detector": BlazeFace,
        "face_mesh": FaceMeshNetwork,
        "face_encoder": ChipResNet,
        "voice_encoder": SpeakerLstm,
    }
    if name not in builders:
        raise ValueError(f"no network {name!r}; expected one of {', '.join(builders)}")
    return builders[name]().eval()
