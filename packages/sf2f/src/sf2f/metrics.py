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
from voiceface.metrics.inception_score import SplitScore, inception_score_from_log_probs
from voiceface.models.facenet import InceptionResNet
from voiceface.models.inception import Inception, preprocess_images
from voiceface.models.vggface2_resnet import CaffeResNet

from sf2f.facenet_loss import preprocess_for_facenet
from sf2f.image_transforms import FACE_BOX, Box, crop_face

ChannelOrder = Literal["rgb", "bgr"]
ResizeMethod = Literal["tensorflow", "pytorch"]
MEAN_RGB = (131.0912, 103.8827, 91.4953)
VGGFACE_SIZE = 224


@dataclass(frozen=True)
class InceptionScores:
    """Inception Score of generated pictures, and their FID to real ones."""

    score: SplitScore
    fid: float


@dataclass(frozen=True)
class FaceEmbedder:
    """FaceNet over many pictures of 0...1, without gradient.

    Attributes:
        network: in evaluation.
        face_box: of the face; None takes the whole picture.
        return_pooling: unit pooled features (1792) instead of embeddings (512).
        batch_size: pictures at once.
    """

    network: InceptionResNet
    face_box: Box | None = FACE_BOX
    return_pooling: bool = False
    batch_size: int = 64

    def embed_images(self, images: Tensor) -> Tensor:
        """Unit embeddings (N, D) of pictures (N, 3, H, W), 0...1, on the device of the network."""
        _check_images(images)
        device = self.network.last_linear.weight.device

        def read(part: Tensor) -> Tensor:
            return self.network(
                preprocess_for_facenet(part.to(device), None, self.face_box), pooled=self.return_pooling
            )

        return _apply_in_batches(read, images, self.batch_size)

    def embed_identities(self, images: Sequence[Tensor]) -> Tensor:
        """Mean embeddings (P, D) of people by all pictures (n, 3, H, W) of each, not brought to unit length.

        All pictures of one size go through the network together, whoever they belong to.

        Raises:
            ValueError: there are no people, or one has no pictures.
        """
        if not images or any(not len(each) for each in images):
            raise ValueError("every person needs at least one picture, and there must be a person")
        counts = [len(each) for each in images]
        if len({each.shape[1:] for each in images}) == 1:
            found = self.embed_images(torch.cat(list(images)))
        else:
            found = torch.cat([self.embed_images(each) for each in images])
        return torch.stack([each.mean(0) for each in found.split(counts)])


def preprocess_for_vggface(
    images: Tensor,
    channel_order: ChannelOrder = "rgb",
    face_box: Box | None = None,
    mean: Sequence[float] = MEAN_RGB,
    size: int = VGGFACE_SIZE,
) -> Tensor:
    """What the face classifier is given: mean taken off, 224 x 224, bilinear with corners aligned.

    Args:
        images: uint8 or float of 0...255, (B, 3, H, W), R G B.
        channel_order: of the channels at the network. "rgb" is what the published score does; the weights were
            trained on "bgr".
        face_box: of the face; None takes the whole picture, as the published test does. The published evaluation
            at the end of training cuts faces out.
        mean: that is taken off, R G B.
        size: pixels of the result.

    Returns:
        (B, 3, side, side), float32.
    """
    if channel_order not in get_args(ChannelOrder):
        raise ValueError(f"order must be one of {get_args(ChannelOrder)}, found {channel_order!r}")
    _check_images(images)
    kept = images if face_box is None else crop_face(images, face_box)
    values = kept.float() - torch.tensor(tuple(mean), device=kept.device)[:, None, None]
    if channel_order == "bgr":
        values = values.flip(1)
    return functional.interpolate(values, size=(size, size), mode="bilinear", align_corners=True)


def vggface_logits(
    network: CaffeResNet,
    images: Tensor,
    channel_order: ChannelOrder = "rgb",
    face_box: Box | None = None,
    batch_size: int = 16,
) -> Tensor:
    """Answers (N, 8631) of the face classifier to pictures, `batch_size` at once."""
    _check_images(images)
    return _apply_in_batches(
        lambda part: network(preprocess_for_vggface(part, channel_order, face_box)), images, batch_size
    )


def vggface_score(
    network: CaffeResNet,
    images: Tensor,
    *,
    channel_order: ChannelOrder = "rgb",
    face_box: Box | None = None,
    splits: int = 5,
    generator: torch.Generator | None = None,
    batch_size: int = 16,
) -> SplitScore:
    """VGGFace Score: how clear and how varied the identities are that a face classifier sees.

    Args:
        network: in evaluation, folded or not (`voiceface.models.fuse_batchnorm.folded`: faster).
        images: (N, 3, H, W), N >= splits.
        channel_order, face_box: see `preprocess_for_vggface`.
        splits: parts.
        generator: that shuffles the pictures first (published: unseeded); None leaves them in order.
        batch_size: pictures at once.
    """
    logits = vggface_logits(network, images, channel_order, face_box, batch_size)
    return inception_score_from_log_probs(logits.double().log_softmax(1), splits, generator=generator)


def inception_features(
    network: Inception, images: Tensor, resize: ResizeMethod = "tensorflow", batch_size: int = 16
) -> Tensor:
    """Pooled features (N, 2048) of pictures of any size in the graph of 2015, for both figures below."""
    _check_images(images)
    return _apply_in_batches(
        lambda part: network.forward_features(preprocess_images(part, resize)).pooled, images, batch_size
    )


def inception_score(network: Inception, features: Tensor, splits: int = 3, bias: bool = False) -> SplitScore:
    """Inception Score of the published test, from `inception_features`, without shuffling.

    Args:
        network: the graph of 2015.
        features: (N, 2048).
        splits: parts.
        bias: of the last layer; the published score leaves it out.
    """
    logits = network.logits(features.to(network.fc.weight.dtype), bias)
    return inception_score_from_log_probs(logits.detach().double().log_softmax(1), splits)


def inception_scores(
    network: Inception,
    generated: Tensor,
    real: Tensor,
    *,
    splits: int = 3,
    resize: ResizeMethod = "tensorflow",
    batch_size: int = 16,
) -> InceptionScores:
    """Inception Score of generated pictures and FID to real ones, each picture read once.

    Args:
        network: the graph of 2015.
        generated: (N, 3, H, W) uint8.
        real: (M, 3, H, W) uint8, one random face of each identity in the published test.
        splits: parts of the score.
        resize: see `preprocess_images`.
        batch_size: pictures at once.
    """
    ours = inception_features(network, generated, resize, batch_size)
    theirs = inception_features(network, real, resize, batch_size)
    return InceptionScores(inception_score(network, ours, splits), frechet_distance(theirs, ours))


def _apply_in_batches(function: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> Tensor:
    """Rows of what a function makes of pictures, part by part, without gradient."""
    if not len(images):
        raise ValueError("no pictures were given")
    with torch.no_grad():
        return torch.cat([function(part) for part in images.split(batch_size)])


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"pictures must be (N, 3, H, W), found {tuple(images.shape)}")
