"""Weights that others made and that this project does not bring: what each is called, and where to get it.

Nothing is ever downloaded on the way. `third_party/manifest.toml` lists the same files with their licences.
"""

from pathlib import Path
from typing import NamedTuple

__all__ = ["THIRD_PARTY_FILES", "ThirdPartyFile", "candidate_paths", "locate_third_party_file"]


class ThirdPartyFile(NamedTuple):
    """One outside file.

    Attributes:
        title: what it is.
        path: path below the folder of outside files, as in the manifest.
        homepage: page of its makers.
        aliases: other names under which the same file goes.
    """

    title: str
    path: str
    homepage: str
    aliases: tuple[str, ...] = ()


TORCHVISION_HOMEPAGE = "https://github.com/pytorch/vision"
LPIPS_HOMEPAGE = "https://github.com/richzhang/PerceptualSimilarity"
THIRD_PARTY_FILES: dict[str, ThirdPartyFile] = {
    "facenet-vggface2": ThirdPartyFile(
        "FaceNet (Inception-ResNet v1) of VGGFace2",
        "20180402-114759-vggface2.pt",
        "https://github.com/timesler/facenet-pytorch",
    ),
    "vggface2-resnet50": ThirdPartyFile(
        "ResNet-50 classifier of VGGFace2",
        "scripts/weights/resnet50_ft_weight.pkl",
        "https://github.com/ox-vgg/vgg_face2",
        ("resnet50_ft_weights.pkl",),
    ),
    "inception-2015-fid": ThirdPartyFile(
        "Inception graph of 2015",
        "pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/mseitzer/pytorch-fid",
    ),
    "torchvision-inception_v3": ThirdPartyFile(
        "Inception v3 of torchvision", "inception_v3_google-0cc3c7bd.pth", TORCHVISION_HOMEPAGE
    ),
    "torchvision-alexnet": ThirdPartyFile(
        "AlexNet of torchvision", "alexnet-owt-7be5be79.pth", TORCHVISION_HOMEPAGE
    ),
    "torchvision-vgg16": ThirdPartyFile("VGG-16 of torchvision", "vgg16-397923af.pth", TORCHVISION_HOMEPAGE),
    "torchvision-vgg19": ThirdPartyFile("VGG-19 of torchvision", "vgg19-dcbb9e9d.pth", TORCHVISION_HOMEPAGE),
    "torchvision-squeezenet1_1": ThirdPartyFile(
        "SqueezeNet 1.1 of torchvision", "squeezenet1_1-b8a52dc0.pth", TORCHVISION_HOMEPAGE
    ),
    "lpips-v0.1-alex": ThirdPartyFile("linear weights of LPIPS for alex", "v0.1/alex.pth", LPIPS_HOMEPAGE),
    "lpips-v0.1-vgg": ThirdPartyFile("linear weights of LPIPS for vgg", "v0.1/vgg.pth", LPIPS_HOMEPAGE),
    "lpips-v0.1-squeeze": ThirdPartyFile(
        "linear weights of LPIPS for squeeze", "v0.1/squeeze.pth", LPIPS_HOMEPAGE
    ),
}


def candidate_paths(name: str, folder: str | Path) -> list[Path]:
    """Where a file may lie in a folder: under its path in the manifest, or directly, by any of its names."""
    file = THIRD_PARTY_FILES[name]
    last = Path(file.path).name
    return [Path(folder) / place for place in (file.path, last, *file.aliases)]


def locate_third_party_file(name: str, file_or_dir: str | Path | None) -> Path:
    """Path of an outside file.

    Args:
        name: its name in the manifest, a key of `FILES`.
        file_or_dir: the file itself, whatever it is called, or a folder that holds outside files.

    Raises:
        FileNotFoundError: not given or not there; the message says where it is from and where to put it.
        ValueError: no such name.
    """
    if name not in THIRD_PARTY_FILES:
        raise ValueError(f"no outside file is called {name!r}; known: {', '.join(THIRD_PARTY_FILES)}")
    if file_or_dir is not None:
        for path in (Path(file_or_dir), *candidate_paths(name, file_or_dir)):
            if path.is_file():
                return path
    file, folder = THIRD_PARTY_FILES[name], "DIR" if file_or_dir is None else str(file_or_dir)
    found = "no file was given" if file_or_dir is None else f"{file_or_dir} has no {file.path}"
    raise FileNotFoundError(
        f"{file.title}: {found}. It is not part of this project and never downloaded by itself: get it from "
        f"its makers ({file.homepage}) and give its path or folder, or run `python third_party/fetch.py "
        "fetch "
        f"{name} --to {folder}` first; third_party/NOTICE.md states its terms"
    )
