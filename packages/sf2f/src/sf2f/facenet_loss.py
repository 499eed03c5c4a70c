"""What a face network sees in a picture: FaceNet's input, the perceptual loss, and its unused alternative.

Sources: specification, sections 7.1 to 7.3.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from voiceface.models.facenet import FaceFeatures, InceptionResNet

from sf2f.image_transforms import FACE_BOX, Box, Statistics, crop_face, denormalise

LAYER_WEIGHTS = (1 / 16, 1 / 8, 1 / 4, 1.0)


def preprocess_for_facenet(
    images: Tensor, statistics: Statistics | None = "imagenet", face_box: Box | None = FACE_BOX
) -> Tensor:
    """Pictures (B, 3, H, W) as FaceNet is given them, before its own resize.

    Pixels are cut to 0...255 (beyond, the gradient is zero) and mapped to (v - 127.5) / 128; then the face is
    cut out.

    Args:
        images: normalised, or of 0...1.
        statistics: that they were normalised with; None where they are not, but 0...1.
        face_box: of the face; None leaves the whole picture.
    """
    kept = images if face_box is None else crop_face(images, face_box)
    shares = kept if statistics is None else denormalise(kept, statistics)
    return (shares.mul(255).clamp(0, 255) - 127.5) / 128


class FaceNetLoss(nn.Module):
    """Distance of two sets of pictures in the eyes of a face network; the network never learns.

    The loss of one resolution is the sum over four hidden states (three groups of blocks, and the embedding)
    of weight x mean absolute difference, and `cosine_weight` x mean (1 - cosine of the embeddings). Whatever
    mode the loss is put in, the network stays in evaluation. Features of the real pictures are computed
    without gradient, and gradients reach the made pictures only.

    Args:
        network: trained; its parameters are switched off.
        layer_weights: of the four states.
        cosine_weight: of the term on the embeddings; 0 leaves it out.
        statistics: that the pictures were normalised with.
        face_box: of the face; None takes the whole picture.
        return_pooling: the fourth state is the unit pooled vector instead of the embedding.

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
        """Nothing changes: the network stays in evaluation."""
        return super().train(False)

    def hidden_states(self, images: Tensor) -> tuple[Tensor, ...]:
        """Hidden states of normalised pictures (B, 3, H, W); the last one is the vector (B, D)."""
        return self.hidden_states_from_input(preprocess_for_facenet(images, self.statistics, self.face_box))

    def hidden_states_from_input(self, prepared: Tensor) -> tuple[Tensor, ...]:
        """Hidden states of pictures as `preprocess_for_facenet` gives them."""
        found: FaceFeatures = self.network.forward_features(prepared)
        last = functional.normalize(found.pooled) if self.return_pooling else found.embedding
        return (*found.maps, last)

    def layer_distances(self, generated: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
        """Mean absolute differences of the hidden states of two sets of pictures, (4,), not weighted."""
        return torch.stack(
            [functional.l1_loss(ours, theirs) for ours, theirs in zip(generated, real, strict=True)]
        )

    def loss_from_states(self, generated: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
        """The loss from hidden states."""
        terms = self.layer_distances(generated, real)
        loss = (terms * terms.new_tensor(self.layer_weights)).sum()
        if self.cosine_weight:
            cosine = functional.cosine_similarity(generated[-1], real[-1])
            loss = loss + self.cosine_weight * (1 - cosine).mean()
        return loss

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        """The loss at one resolution, a scalar.

        Args:
            generated: normalised pictures (B, 3, H, W), with gradient.
            real: the same number of pictures, of any size, without.
        """
        with torch.no_grad():
            theirs = self.hidden_states(real)
        return self.loss_from_states(self.hidden_states(generated), theirs)
