"""The perceptual distance that a configuration asks for: FaceNet's, or that of a reader of invented faces."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sf2f.config import Sf2fConfig
from sf2f.facenet_loss import FaceNetLoss
from sf2f.image_transforms import Statistics, denormalise

if TYPE_CHECKING:
    from voiceface.synthetic.readers.attribute_reader import Judge


class PopulationLoss(nn.Module):
    """Distance between features of the bundled network `perceptual`, which is never trained here.

    The network is read by `voiceface.synthetic.readers.attribute_reader`.

    Args:
        network: the frozen network.
        statistics: that the pictures were normalised with.
    """

    def __init__(self, network: "Judge", statistics: Statistics = "imagenet") -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.statistics: Statistics = statistics

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Mean distance of normalised pictures (B, 3, S, S), scalar; gradients reach the made ones only."""
        from voiceface.synthetic.readers.attribute_reader import perceptual_distance

        ours, theirs = (denormalise(each, self.statistics) for each in (made, real))
        return perceptual_distance(self.network, ours, theirs).mean()


def chosen_distance(
    config: Sf2fConfig, facenet: str | Path | None, device: torch.device | str = "cpu"
) -> FaceNetLoss | PopulationLoss | None:
    """The perceptual distance of a run; None with weight 0.

    Args:
        config: the experiment.
        facenet: file of FaceNet's weights, needed where the configuration looks with it.
        device: where it computes.

    Raises:
        FileNotFoundError: FaceNet's file is not given, or absent.
        CheckpointError: it is another file.
    """
    plan, statistics = config.perceptual, config.data.pictures.statistics
    if not config.losses.perceptual:
        return None
    if plan.network == "population":
        from voiceface.synthetic.readers.attribute_reader import load

        return PopulationLoss(load("perceptual"), statistics).to(device)
    from voiceface.models.fuse_batchnorm import folded

    from sf2f.third_party_networks import read_facenet

    network = folded(read_facenet(facenet))
    return FaceNetLoss(network, plan.weights, config.losses.cosine, statistics, plan.box).to(device)
