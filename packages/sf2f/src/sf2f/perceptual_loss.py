"""Perceptual loss selected by the configuration: FaceNet, or the bundled reader of synthetic faces."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sf2f.config import Sf2fConfig
from sf2f.facenet_loss import FaceNetLoss
from sf2f.image_transforms import denormalise
from sf2f.network_config import Statistics

if TYPE_CHECKING:
    from voiceface.synthetic.readers.attribute_reader import AttributeReader

__all__ = [
    "SyntheticFaceLoss",
    "build_perceptual_loss",
]


class SyntheticFaceLoss(nn.Module):
    """Distance between features of the bundled attribute reader `perceptual`, which stays frozen.

    Args:
        network: the attribute reader.
        statistics: normalisation of the images.
    """

    def __init__(self, network: "AttributeReader", statistics: Statistics = "imagenet") -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.statistics: Statistics = statistics

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        """Mean distance of normalised images (B, 3, S, S); gradients reach `generated` only."""
        from voiceface.synthetic.readers.attribute_reader import perceptual_distance

        first, second = (denormalise(each, self.statistics) for each in (generated, real))
        return perceptual_distance(self.network, first, second).mean()


def build_perceptual_loss(
    config: Sf2fConfig, facenet: str | Path | None, device: torch.device | str = "cpu"
) -> FaceNetLoss | SyntheticFaceLoss | None:
    """Build the perceptual loss of a run; None if its weight is 0.

    Args:
        config: the experiment.
        facenet: FaceNet checkpoint, needed with `perceptual.network: facenet`.
        device: device of the network.

    Raises:
        FileNotFoundError: the FaceNet checkpoint is not given or missing.
        CheckpointError: it is another file.
    """
    settings, statistics = config.perceptual, config.data.images.statistics
    if not config.losses.perceptual:
        return None
    if settings.network == "population":
        from voiceface.synthetic.readers.attribute_reader import load_reader

        return SyntheticFaceLoss(load_reader("perceptual"), statistics).to(device)
    from voiceface.models.fuse_batchnorm import fuse_batchnorm

    from sf2f.third_party_networks import load_facenet_vggface2

    network = fuse_batchnorm(load_facenet_vggface2(facenet))
    return FaceNetLoss(
        network, settings.layer_weights, config.losses.cosine, statistics, settings.face_box
    ).to(device)
