"""Metrics of generated faces by pretrained networks: FaceNet embeddings, VGGFace Score, Inception Score, FID.

Images are uint8, (N, 3, H, W), RGB, as `sf2f.image_transforms.to_uint8` returns them, unless stated
otherwise. Networks are third-party files (`sf2f.third_party_networks`).
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
from sf2f.image_transforms import Box, crop_face
from sf2f.network_config import FACE_BOX

__all__ = [
    "MEAN_RGB",
    "VGGFACE_SIZE",
    "ChannelOrder",
    "FaceEmbedder",
    "InceptionScores",
    "ResizeMethod",
    "inception_features",
    "inception_score",
    "inception_scores",
    "preprocess_for_vggface",
    "vggface_logits",
    "vggface_score",
]

ChannelOrder = Literal["rgb", "bgr"]
ResizeMethod = Literal["tensorflow", "pytorch"]
MEAN_RGB = (131.0912, 103.8827, 91.4953)
VGGFACE_SIZE = 224


@dataclass(frozen=True)
class InceptionScores:
    """Inception Score of generated images, and their FID to real ones."""

    score: SplitScore
    fid: float


@dataclass(frozen=True)
class FaceEmbedder:
    """FaceNet applied to many images in 0...1, without gradient.

    Attributes:
        network: in evaluation mode.
        face_box: crop; None keeps the whole image.
        return_pooling: L2-normalised pooled features (1792) instead of embeddings (512).
        batch_size: images per batch.
    """

    network: InceptionResNet
    face_box: Box | None = FACE_BOX
    return_pooling: bool = False
    batch_size: int = 64

    def embed_images(self, images: Tensor) -> Tensor:
        """L2-normalised embeddings (N, D) of images (N, 3, H, W), 0...1, on the device of the network."""
        _check_images(images)
        device = self.network.last_linear.weight.device

        def embed(batch: Tensor) -> Tensor:
            return self.network(
                preprocess_for_facenet(batch.to(device), None, self.face_box), pooled=self.return_pooling
            )

        return _apply_in_batches(embed, images, self.batch_size)

    def embed_identities(self, images: Sequence[Tensor]) -> Tensor:
        """Mean embeddings (P, D) of identities over all images (n, 3, H, W) of each, not normalised.

        Images of one size are batched together across identities.

        Raises:
            ValueError: no identities, or one without images.
        """
        if not images or any(not len(each) for each in images):
            raise ValueError("at least one identity, and at least one image of each, is required")
        counts = [len(each) for each in images]
        if len({each.shape[1:] for each in images}) == 1:
            embeddings = self.embed_images(torch.cat(list(images)))
        else:
            embeddings = torch.cat([self.embed_images(each) for each in images])
        return torch.stack([each.mean(0) for each in embeddings.split(counts)])


def preprocess_for_vggface(
    images: Tensor,
    channel_order: ChannelOrder = "rgb",
    face_box: Box | None = None,
    mean: Sequence[float] = MEAN_RGB,
    size: int = VGGFACE_SIZE,
) -> Tensor:
    """Preprocess images for the face classifier: subtract the mean, resize to 224 x 224 (aligned corners).

    Args:
        images: uint8 or float in 0...255, (B, 3, H, W), RGB.
        channel_order: of the network input. The published score uses "rgb"; the weights were trained on
            "bgr".
        face_box: crop; None keeps the whole image, as the published test does. The published evaluation at
            the end of training crops faces.
        mean: to subtract, RGB.
        size: pixels of the result.

    Returns:
        (B, 3, size, size), float32.
    """
    if channel_order not in get_args(ChannelOrder):
        raise ValueError(f"channel_order must be one of {get_args(ChannelOrder)}, found {channel_order!r}")
    _check_images(images)
    cropped = images if face_box is None else crop_face(images, face_box)
    values = cropped.float() - torch.tensor(tuple(mean), device=cropped.device)[:, None, None]
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
    """Logits (N, 8631) of the face classifier, `batch_size` images at a time."""
    _check_images(images)
    return _apply_in_batches(
        lambda batch: network(preprocess_for_vggface(batch, channel_order, face_box)), images, batch_size
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
    """VGGFace Score: the Inception Score of a face classifier (confidence and diversity of identities).

    Args:
        network: in evaluation mode; faster with fused batch norms (`fuse_batchnorm`).
        images: (N, 3, H, W), N >= splits.
        channel_order, face_box: see `preprocess_for_vggface`.
        splits: number of splits.
        generator: shuffles the images first (unseeded in the published code); None keeps their order.
        batch_size: images per batch.
    """
    logits = vggface_logits(network, images, channel_order, face_box, batch_size)
    return inception_score_from_log_probs(logits.double().log_softmax(1), splits, generator=generator)


def inception_features(
    network: Inception, images: Tensor, resize: ResizeMethod = "tensorflow", batch_size: int = 16
) -> Tensor:
    """Pooled features (N, 2048) of images of any size in the 2015 graph."""
    _check_images(images)
    return _apply_in_batches(
        lambda batch: network.forward_features(preprocess_images(batch, resize)).pooled, images, batch_size
    )


def inception_score(network: Inception, features: Tensor, splits: int = 3, bias: bool = False) -> SplitScore:
    """Inception Score of the published test, from `inception_features`, without shuffling.

    Args:
        network: the 2015 graph.
        features: (N, 2048).
        splits: number of splits.
        bias: use the bias of the last layer; the published score does not.
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
    """Inception Score of generated images and FID to real ones; each image is encoded once.

    Args:
        network: the 2015 graph.
        generated: (N, 3, H, W) uint8.
        real: (M, 3, H, W) uint8; one random face of each identity in the published test.
        splits: number of splits of the score.
        resize: see `preprocess_images`.
        batch_size: images per batch.
    """
    generated_features = inception_features(network, generated, resize, batch_size)
    real_features = inception_features(network, real, resize, batch_size)
    return InceptionScores(
        inception_score(network, generated_features, splits),
        frechet_distance(real_features, generated_features),
    )


def _apply_in_batches(function: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> Tensor:
    """Apply a function to images in batches, without gradient, and concatenate the results."""
    if not len(images):
        raise ValueError("no images were passed")
    with torch.no_grad():
        return torch.cat([function(batch) for batch in images.split(batch_size)])


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (N, 3, H, W), found {tuple(images.shape)}")
