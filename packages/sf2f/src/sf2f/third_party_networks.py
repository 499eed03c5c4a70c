"""Third-party face networks of the published training and evaluation.

None of them is distributed with this project, and none is downloaded automatically: where a file is missing,
the error message names it, its source and where to put it.

Every loader takes the file itself or the folder that holds third-party files. It raises FileNotFoundError
where the file is not given or missing, and CheckpointError (or ArrayFileError, for a pickle) where it is
corrupt, unsafe or of another network. Networks are returned in evaluation mode.
"""

from pathlib import Path

from voiceface.checkpoints.third_party import locate_third_party_file
from voiceface.models.facenet import InceptionResNet, load_inception_resnet
from voiceface.models.fuse_batchnorm import fuse_batchnorm
from voiceface.models.inception import Inception, load_inception
from voiceface.models.lpips import LPIPS, load_lpips
from voiceface.models.vggface2_resnet import CaffeResNet, load_caffe_resnet

__all__ = [
    "OptionalPath",
    "load_facenet_vggface2",
    "load_inception_2015",
    "load_lpips_alex",
    "load_vggface2_resnet50",
]

OptionalPath = str | Path | None


def load_facenet_vggface2(path: OptionalPath) -> InceptionResNet:
    """Load FaceNet trained on VGGFace2, `20180402-114759-vggface2.pt`."""
    return load_inception_resnet(locate_third_party_file("facenet-vggface2", path))


def load_vggface2_resnet50(path: OptionalPath) -> CaffeResNet:
    """Load the face classifier of the VGGFace Score, `resnet50_ft_weight.pkl` (or `..._weights.pkl`)."""
    return fuse_batchnorm(load_caffe_resnet(locate_third_party_file("vggface2-resnet50", path)))


def load_inception_2015(path: OptionalPath) -> Inception:
    """Load the graph of Inception Score and FID, `pt_inception-2015-12-05-*.pth`, with fused batch norms."""
    return fuse_batchnorm(load_inception(locate_third_party_file("inception-2015-fid", path)))


def load_lpips_alex(folder: OptionalPath) -> LPIPS:
    """Load LPIPS for the diversity: `alexnet-owt-*.pth` and `v0.1/alex.pth` in a folder."""
    layers, heads = (
        locate_third_party_file("torchvision-alexnet", folder),
        locate_third_party_file("lpips-v0.1-alex", folder),
    )
    return load_lpips(layers, heads, "alex")
