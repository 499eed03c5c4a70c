"""Scores of generated faces by networks: FaceNet's embeddings, VGGFace Score, Inception Score, FID.

Source: specification, sections 8.5 and 9.1 to 9.4. Pictures are uint8, (N, 3, H, W), R G B, as
`sf2f.image_transforms.to_bytes` makes them, where nothing else is said. Networks are read from outside files
(`sf2f.third_party_networks`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional
from voiceface.metrics.frechet import frechet_distance
from voiceface.metrics.inception_score import ClassScore, class_score
from voiceface.models.facenet import InceptionResNet
from voiceface.models.inception import SIDE, Inception, inception_input
from voiceface.models.vggface2_resnet import CaffeResNet

from sf2f.facenet_loss import facenet_input
from sf2f.image_transforms import FACE_BOX, Box, Statistics, crop_face, denormalise

Order = Literal["rgb", "bgr"]
Resize = Literal["tensorflow", "pytorch"]
MEAN_RGB = (131.0912, 103.8827, 91.4953)
VGGFACE_SIDE = 224


@dataclass(frozen=True)
class InceptionScores:
    """Inception Score of generated pictures, and their FID to real ones."""

    score: ClassScore
    fid: float


@dataclass(frozen=True)
class FaceReader:
    """FaceNet over many pictures of 0...1, without gradient.

    Attributes:
        network: in evaluation.
        box: of the face; None takes the whole picture.
        return_pooling: unit pooled features (1792) instead of embeddings (512).
        batch: pictures at once.
    """

    network: InceptionResNet
    box: Box | None = FACE_BOX
    return_pooling: bool = False
    batch: int = 64

    def of_pictures(self, pictures: Tensor) -> Tensor:
        """Unit embeddings (N, D) of pictures (N, 3, H, W), 0...1, on the device of the network."""
        _check(pictures)
        device = self.network.last_linear.weight.device

        def read(part: Tensor) -> Tensor:
            return self.network(facenet_input(part.to(device), None, self.box), pooled=self.return_pooling)

        return _batched(read, pictures, self.batch)

    def of_people(self, pictures: Sequence[Tensor]) -> Tensor:
        """Mean embeddings (P, D) of people by all pictures (n, 3, H, W) of each, not brought to unit length.

        All pictures of one size go through the network together, whoever they belong to.

        Raises:
            ValueError: there are no people, or one has no pictures.
        """
        if not pictures or any(not len(each) for each in pictures):
            raise ValueError("every person needs at least one picture, and there must be a person")
        counts = [len(each) for each in pictures]
        if len({each.shape[1:] for each in pictures}) == 1:
            found = self.of_pictures(torch.cat(list(pictures)))
        else:
            found = torch.cat([self.of_pictures(each) for each in pictures])
        return torch.stack([each.mean(0) for each in found.split(counts)])


def vggface_input(
    pictures: Tensor,
    order: Order = "rgb",
    box: Box | None = None,
    mean: Sequence[float] = MEAN_RGB,
    side: int = VGGFACE_SIDE,
) -> Tensor:
    """What the face classifier is given: mean taken off, 224 x 224, bilinear with corners aligned.

    Args:
        pictures: uint8 or float of 0...255, (B, 3, H, W), R G B.
        order: of the channels at the network. "rgb" is what the published score does; the weights were
            trained on "bgr".
        box: of the face; None takes the whole picture, as the published test does. The published evaluation
            at the end of training cuts faces out.
        mean: that is taken off, R G B.
        side: pixels of the result.

    Returns:
        (B, 3, side, side), float32.
    """
    if order not in get_args(Order):
        raise ValueError(f"order must be one of {get_args(Order)}, found {order!r}")
    _check(pictures)
    kept = pictures if box is None else crop_face(pictures, box)
    values = kept.float() - torch.tensor(tuple(mean), device=kept.device)[:, None, None]
    if order == "bgr":
        values = values.flip(1)
    return functional.interpolate(values, size=(side, side), mode="bilinear", align_corners=True)


def vggface_logits(
    network: CaffeResNet, pictures: Tensor, order: Order = "rgb", box: Box | None = None, batch: int = 16
) -> Tensor:
    """Answers (N, 8631) of the face classifier to pictures, `batch` at once."""
    _check(pictures)
    return _batched(lambda part: network(vggface_input(part, order, box)), pictures, batch)


def vggface_score(
    network: CaffeResNet,
    pictures: Tensor,
    *,
    order: Order = "rgb",
    box: Box | None = None,
    splits: int = 5,
    generator: torch.Generator | None = None,
    batch: int = 16,
) -> ClassScore:
    """VGGFace Score: how clear and how varied the identities are that a face classifier sees.

    Args:
        network: in evaluation, folded or not (`voiceface.models.fuse_batchnorm.folded`: faster).
        pictures: (N, 3, H, W), N >= splits.
        order, box: see `vggface_input`.
        splits: parts.
        generator: that shuffles the pictures first (published: unseeded); None leaves them in order.
        batch: pictures at once.
    """
    logits = vggface_logits(network, pictures, order, box, batch)
    return class_score(logits.double().log_softmax(1), splits, generator=generator)


def inception_features(
    network: Inception, pictures: Tensor, resize: Resize = "tensorflow", batch: int = 16
) -> Tensor:
    """Pooled features (N, 2048) of pictures of any size in the graph of 2015, for both figures below."""
    _check(pictures)
    return _batched(lambda part: network.found(inception_input(part, resize)).pooled, pictures, batch)


def inception_score(network: Inception, features: Tensor, splits: int = 3, bias: bool = False) -> ClassScore:
    """Inception Score of the published test, from `inception_features`, without shuffling.

    Args:
        network: the graph of 2015.
        features: (N, 2048).
        splits: parts.
        bias: of the last layer; the published score leaves it out.
    """
    logits = network.logits(features.to(network.fc.weight.dtype), bias)
    return class_score(logits.detach().double().log_softmax(1), splits)


def inception_scores(
    network: Inception,
    made: Tensor,
    real: Tensor,
    *,
    splits: int = 3,
    resize: Resize = "tensorflow",
    batch: int = 16,
) -> InceptionScores:
    """Inception Score of generated pictures and FID to real ones, each picture read once.

    Args:
        network: the graph of 2015.
        made: (N, 3, H, W) uint8.
        real: (M, 3, H, W) uint8, one random face of each identity in the published test.
        splits: parts of the score.
        resize: see `inception_input`.
        batch: pictures at once.
    """
    ours = inception_features(network, made, resize, batch)
    theirs = inception_features(network, real, resize, batch)
    return InceptionScores(inception_score(network, ours, splits), frechet_distance(theirs, ours))


def validation_inception_score(
    network: Inception,
    pictures: Tensor,
    statistics: Statistics = "imagenet",
    *,
    published: bool = False,
    splits: int = 5,
    batch: int = 16,
) -> ClassScore:
    """Inception Score of the validation during training: torchvision's network, five parts, no remainder.

    Args:
        network: of the graph "torchvision".
        pictures: normalised, float (N, 3, H, W).
        statistics: that they were normalised with.
        published: the network is given the normalised pictures as they are; else -1...1, as it was trained.
        splits: parts.
        batch: pictures at once.
    """
    _check(pictures)

    def answers(part: Tensor) -> Tensor:
        values = part if published else denormalise(part, statistics).mul(2).sub(1)
        return network(functional.interpolate(values, size=(SIDE, SIDE), mode="bilinear"))

    logits = _batched(answers, pictures, batch)
    return class_score(logits.double().log_softmax(1), splits, remainder="drop")


def face_frechet_distance(network: CaffeResNet, made: Tensor, real: Tensor, batch: int = 16) -> float:
    """Frechet distance of the face classifier's probabilities; the published code has it switched off.

    Args:
        network: in evaluation.
        made: (N, 3, H, W) uint8.
        real: (M, 3, H, W) uint8.
        batch: pictures at once.
    """
    ours, theirs = (vggface_logits(network, part, batch=batch).double().softmax(1) for part in (made, real))
    return frechet_distance(theirs, ours)


def _batched(function: Callable[[Tensor], Tensor], pictures: Tensor, batch: int) -> Tensor:
    """Rows of what a function makes of pictures, part by part, without gradient."""
    if not len(pictures):
        raise ValueError("no pictures were given")
    with torch.no_grad():
        return torch.cat([function(part) for part in pictures.split(batch)])


def _check(pictures: Tensor) -> None:
    if pictures.ndim != 4 or pictures.shape[1] != 3:
        raise ValueError(f"pictures must be (N, 3, H, W), found {tuple(pictures.shape)}")
