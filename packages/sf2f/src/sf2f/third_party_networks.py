"""Networks that read faces in the published training and evaluation, from outside files.

None of them comes with this project, and none is downloaded on the way: where a file is absent the message
says what it is, where it is from and where to put it.

Every reader takes the file itself or the folder that holds outside files. It raises FileNotFoundError where
the file is not given or absent, and CheckpointError (or ArrayFileError, of a pickle) where it is damaged,
unsafe, or another network's. Networks come in evaluation.
"""

from pathlib import Path

from voiceface.checkpoints.third_party import locate_third_party_file
from voiceface.models.facenet import InceptionResNet, load_inception_resnet
from voiceface.models.fuse_batchnorm import fuse_batchnorm
from voiceface.models.inception import Inception, load_inception
from voiceface.models.lpips import LPIPS, load_lpips
from voiceface.models.vggface2_resnet import CaffeResNet, load_caffe_resnet

OptionalPath = str | Path | None


def load_facenet_vggface2(path: OptionalPath) -> InceptionResNet:
    """FaceNet of VGGFace2, `20180402-114759-vggface2.pt`."""
    return load_inception_resnet(locate_third_party_file("facenet-vggface2", path))


def load_vggface2_resnet50(path: OptionalPath) -> CaffeResNet:
    """Face classifier of the VGGFace Score, `resnet50_ft_weight.pkl` (or `..._identity_weight_histograms.pkl`), folded."""
    return fuse_batchnorm(load_caffe_resnet(locate_third_party_file("vggface2-resnet50", path)))


def load_inception_2015(path: OptionalPath) -> Inception:
    """Graph of the test's Inception Score and of FID, `pt_inception-2015-12-05-*.pth`, folded."""
    return fuse_batchnorm(load_inception(locate_third_party_file("inception-2015-fid", path), "2015"))


def load_lpips_alex(folder: OptionalPath) -> LPIPS:
    """Distance behind the diversity: `alexnet-owt-*.pth` and `v0.1/alex.pth` in a folder."""
    layers, heads = (
        locate_third_party_file("torchvision-alexnet", folder),
        locate_third_party_file("lpips-v0.1-alex", folder),
    )
    return load_lpips(layers, heads, "alex")
