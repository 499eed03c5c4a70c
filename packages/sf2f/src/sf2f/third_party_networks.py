"""Networks that read faces in the published training and evaluation, from outside files.

None of them comes with this project, and none is downloaded on the way: where a file is absent the message
says what it is, where it is from and where to put it.

Every reader takes the file itself or the folder that holds outside files. It raises FileNotFoundError where
the file is not given or absent, and CheckpointError (or ArrayFileError, of a pickle) where it is damaged,
unsafe, or another network's. Networks come in evaluation.
"""

from pathlib import Path

from voiceface.checkpoints.third_party import find_outside
from voiceface.models.facenet import InceptionResNet, load_inception_resnet
from voiceface.models.fuse_batchnorm import folded
from voiceface.models.inception import Inception, load_inception
from voiceface.models.lpips import LPIPS, load_lpips, load_trunk, trunk
from voiceface.models.vggface2_resnet import CaffeResNet, load_caffe_resnet

from sf2f.facenet_loss import VGG_STAGES, VGG_WEIGHTS, VGGLoss
from sf2f.image_transforms import Statistics

Place = str | Path | None


def read_facenet(place: Place) -> InceptionResNet:
    """FaceNet of VGGFace2, `20180402-114759-vggface2.pt`."""
    return load_inception_resnet(find_outside("facenet-vggface2", place))


def read_vggface(place: Place) -> CaffeResNet:
    """Face classifier of the VGGFace Score, `resnet50_ft_weight.pkl` (or `..._weights.pkl`), folded."""
    return folded(load_caffe_resnet(find_outside("vggface2-resnet50", place)))


def read_inception_2015(place: Place) -> Inception:
    """Graph of the test's Inception Score and of FID, `pt_inception-2015-12-05-*.pth`, folded."""
    return folded(load_inception(find_outside("inception-2015-fid", place), "2015"))


def read_inception_v3(place: Place) -> Inception:
    """Network of the validation's Inception Score, `inception_v3_google-*.pth`, folded."""
    return folded(load_inception(find_outside("torchvision-inception_v3", place), "torchvision"))


def read_lpips(folder: Place) -> LPIPS:
    """Distance behind the diversity: `alexnet-owt-*.pth` and `v0.1/alex.pth` in a folder."""
    layers, heads = find_outside("torchvision-alexnet", folder), find_outside("lpips-v0.1-alex", folder)
    return load_lpips(layers, heads, "alex")


def read_vgg_loss(place: Place, statistics: Statistics = "imagenet") -> VGGLoss:
    """The unused perceptual loss, `vgg19-*.pth`; `statistics` are those of the pictures."""
    layers = load_trunk(trunk("vgg19")[: VGG_STAGES[-1]], find_outside("torchvision-vgg19", place))
    return VGGLoss(layers, VGG_WEIGHTS, statistics)
