"""Networks of the published evaluations with random weights, in files of the published names and layouts."""

import pickle
from pathlib import Path

import torch
from torch import nn
from voiceface.checkpoints.third_party import THIRD_PARTY_FILES


def write_facenet(folder: Path, *, full_size: bool = False) -> Path:
    """Write `20180402-114759-vggface2.pt`."""
    from voiceface.models.facenet import InceptionResNet

    sizes = {} if full_size else {"num_classes": 7, "repeats": (1, 1, 1), "width_divisor": 16}
    return save(folder, "facenet-vggface2", InceptionResNet(**sizes))  # type: ignore[arg-type]


def write_vggface(folder: Path, *, full_size: bool = False) -> Path:
    """Write `resnet50_ft_weight.pkl`, a pickle of arrays."""
    from voiceface.models.vggface2_resnet import CaffeResNet

    network = CaffeResNet() if full_size else CaffeResNet(blocks=(1, 1, 1, 1), width_per_group=4)
    path = place(folder, "vggface2-resnet50")
    arrays = {key: value.numpy() for key, value in randomise(network).state_dict().items()}
    path.write_bytes(pickle.dumps(arrays, protocol=2))
    return path


def write_inception(folder: Path, *, full_size: bool = False) -> Path:
    """Write `pt_inception-2015-12-05-6726825d.pth`."""
    from voiceface.models.inception import Inception

    return save(folder, "inception-2015-fid", Inception() if full_size else Inception(16, width_divisor=16))


def write_lpips(folder: Path, net: str, *, full_size: bool = False) -> Path:
    """Write a backbone of torchvision and the linear weights of LPIPS.

    Args:
        folder: of third-party files.
        net: "alex" or "vgg".
        full_size: whether the classifier of the backbone has its published size.
    """
    from torchvision import models
    from voiceface.models.lpips import LPIPS

    network = LPIPS(net)  # type: ignore[arg-type]
    heads = {key: value.abs() for key, value in network.state_dict().items() if key.startswith("lin")}
    torch.save(heads, place(folder, f"lpips-v0.1-{net}"))
    classifier = nn.Sequential(*(nn.Identity() for _ in range(6)), nn.Linear(3, 2))
    backbone: nn.Module = nn.ModuleDict({"features": network.features, "classifier": classifier})
    if full_size:
        backbone = models.alexnet(weights=None) if net == "alex" else models.vgg16(weights=None)
    save(folder, "torchvision-alexnet" if net == "alex" else "torchvision-vgg16", backbone)
    return folder


def save(folder: Path, name: str, network: nn.Module) -> Path:
    path = place(folder, name)
    torch.save(randomise(network).state_dict(), path)
    return path


def place(folder: Path, name: str) -> Path:
    """Path of a third-party file in a folder, as its authors name it."""
    path = folder / Path(THIRD_PARTY_FILES[name].path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def randomise(network: nn.Module) -> nn.Module:
    """Scale weights so that outputs depend on the images."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5, generator=generator)
    return network.eval()
