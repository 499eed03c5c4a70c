"""The perceptual term of a training run: FaceNet in a form that is only good for looking, but faster."""

import copy

import torch
from torch.nn import Identity
from torch.nn.utils.fusion import fuse_conv_bn_eval
from voiceface.backbones.inception_resnet import InceptionResNet, Unit

from sf2f.facenet import FaceNetLoss
from sf2f.losses import LossConfig
from sf2f.pictures import Statistics


def perceptual_of(
    network: InceptionResNet, config: LossConfig | None = None, statistics: Statistics = "imagenet"
) -> FaceNetLoss | None:
    """The distance of made and real pictures that `iteration.Objective` takes; None with weight 0.

    Args:
        network: FaceNet with its weights; it stays as it is.
        config: weights of the objective.
        statistics: that pictures are normalised with.
    """
    config = config or LossConfig()
    if not config.perceptual:
        return None
    return FaceNetLoss(folded(network), cosine_weight=config.cosine, statistics=statistics)


def folded(network: InceptionResNet) -> InceptionResNet:
    """A copy whose batch norms of maps have become part of the convolutions before them.

    In evaluation it finds the same to rounding; it must not be trained.
    """
    other = copy.deepcopy(network).eval()
    for unit in other.modules():
        if isinstance(unit, Unit):
            assert not isinstance(unit.bn, Identity), "this network has been folded before"
            unit.conv = fuse_conv_bn_eval(unit.conv, unit.bn)
            unit.bn = Identity()
    return other.requires_grad_(False).to(memory_format=torch.channels_last)
