"""The perceptual distance that a configuration asks for: FaceNet's, or that of a reader of invented faces."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sf2f.config import Sf2fConfig
from sf2f.facenet_loss import FaceNetLoss
from sf2f.image_transforms import Statistics, denormalise

if TYPE_CHECKING:
    from voiceface.synthetic.readers.attribute_reader import AttributeReader


class SyntheticFaceLoss(nn.Module):
    """Distance between features of the bundled network `perceptual`, which is never trained here.

    The network is read by `voiceface.synthetic.readers.attribute_reader`.

    Args:
        network: the frozen network.
        statistics: that the pictures were normalised with.
    """

    def __init__(self, network: "AttributeReader", statistics: Statistics = "imagenet") -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.statistics: Statistics = statistics

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        """Mean distance of normalised pictures (B, 3, S, S), scalar; gradients reach the made ones only."""
        from voiceface.synthetic.readers.attribute_reader import perceptual_distance

        ours, theirs = (denormalise(each, self.statistics) for each in (generated, real))
        return perceptual_distance(self.network, ours, theirs).mean()


def build_perceptual_loss(
    config: Sf2fConfig, facenet: str | Path | None, device: torch.device | str = "cpu"
) -> FaceNetLoss | SyntheticFaceLoss | None:
    """The perceptual distance of a run; None with weight 0.

    Args:
        config: the experiment.
        facenet: file of FaceNet's weights, needed where the configuration looks with it.
        device: where it computes.

    Raises:
        FileNotFoundError: FaceNet's file is not given, or absent.
        CheckpointError: it is another file.
    """
    plan, statistics = config.perceptual, config.data.images.statistics
    if not config.losses.perceptual:
        return None
    if plan.network == "population":
        from voiceface.synthetic.readers.attribute_reader import load_reader

        return SyntheticFaceLoss(load_reader("perceptual"), statistics).to(device)
    from voiceface.models.fuse_batchnorm import fuse_batchnorm

    from sf2f.third_party_networks import load_facenet_vggface2

    network = fuse_batchnorm(load_facenet_vggface2(facenet))
    return FaceNetLoss(network, plan.layer_weights, config.losses.cosine, statistics, plan.face_box).to(
        device
    )
