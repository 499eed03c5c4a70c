"""FaceNet perceptual loss: preprocessing of its input, and the loss (docs/sf2f.md)."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from voiceface.models.facenet import FaceFeatures, InceptionResNet

from sf2f.image_transforms import Box, crop_face, denormalise
from sf2f.network_config import FACE_BOX, LAYER_WEIGHTS, Statistics

__all__ = [
    "FaceNetLoss",
    "preprocess_for_facenet",
]


def preprocess_for_facenet(
    images: Tensor, statistics: Statistics | None = "imagenet", face_box: Box | None = FACE_BOX
) -> Tensor:
    """Preprocess images (B, 3, H, W) for FaceNet, before its own resize.

    Pixels are clamped to 0...255 (the gradient is zero outside) and mapped to (v - 127.5) / 128; then the
    face is cropped.

    Args:
        images: normalised, or in 0...1.
        statistics: of the normalisation; None for images in 0...1.
        face_box: crop; None keeps the whole image.
    """
    cropped = images if face_box is None else crop_face(images, face_box)
    values = cropped if statistics is None else denormalise(cropped, statistics)
    return (values.mul(255).clamp(0, 255) - 127.5) / 128


class FaceNetLoss(nn.Module):
    """FaceNet perceptual loss: distance of two sets of images by a frozen face network.

    The loss at one image size is the sum over four hidden states (three groups of blocks, and the embedding)
    of weight x mean absolute difference, plus `cosine_weight` x mean (1 - cosine of the embeddings). The
    network always stays in evaluation mode. Features of the real images are computed without gradient;
    gradients reach the generated images only.

    Args:
        network: trained FaceNet; its parameters are frozen.
        layer_weights: of the four states.
        cosine_weight: of the cosine term; 0 disables it.
        statistics: normalisation of the images.
        face_box: crop; None keeps the whole image.
        return_pooling: use the L2-normalised pooled vector as the fourth state instead of the embedding.

    Raises:
        ValueError: not four weights.
    """

    def __init__(
        self,
        network: InceptionResNet,
        layer_weights: Sequence[float] = LAYER_WEIGHTS,
        cosine_weight: float = 0.0,
        statistics: Statistics = "imagenet",
        face_box: Box | None = FACE_BOX,
        return_pooling: bool = False,
    ) -> None:
        super().__init__()
        if len(layer_weights) != len(LAYER_WEIGHTS):
            raise ValueError(f"four hidden states need four weights, found {len(layer_weights)}")
        self.network = network.eval().requires_grad_(False)
        self.layer_weights, self.cosine_weight = tuple(layer_weights), cosine_weight
        self.statistics: Statistics = statistics
        self.face_box, self.return_pooling = face_box, return_pooling

    def train(self, mode: bool = True) -> Self:
        """Keep the network in evaluation mode."""
        return super().train(False)

    def hidden_states(self, images: Tensor) -> tuple[Tensor, ...]:
        """Hidden states of normalised images (B, 3, H, W); the last one is the vector (B, D)."""
        return self.hidden_states_from_input(preprocess_for_facenet(images, self.statistics, self.face_box))

    def hidden_states_from_input(self, prepared: Tensor) -> tuple[Tensor, ...]:
        """Hidden states of images preprocessed by `preprocess_for_facenet`."""
        features: FaceFeatures = self.network.forward_features(prepared)
        last = functional.normalize(features.pooled) if self.return_pooling else features.embedding
        return (*features.maps, last)

    def layer_distances(self, generated: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
        """Mean absolute differences of the hidden states of two sets of images, (4,), unweighted."""
        return torch.stack([functional.l1_loss(a, b) for a, b in zip(generated, real, strict=True)])

    def loss_from_states(self, generated: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
        """The loss from hidden states."""
        terms = self.layer_distances(generated, real)
        loss = (terms * terms.new_tensor(self.layer_weights)).sum()
        if self.cosine_weight:
            cosine = functional.cosine_similarity(generated[-1], real[-1])
            loss = loss + self.cosine_weight * (1 - cosine).mean()
        return loss

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        """The loss at one image size, a scalar.

        Args:
            generated: normalised images (B, 3, H, W), with gradient.
            real: the same number of images, of any size, without gradient.
        """
        with torch.no_grad():
            real_states = self.hidden_states(real)
        return self.loss_from_states(self.hidden_states(generated), real_states)
