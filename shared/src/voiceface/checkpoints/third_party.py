"""Weights that others made and that this project does not bring: what each is called, and where to get it.

Nothing is ever downloaded on the way. `third_party/manifest.toml` lists the same files with their licences.
"""

from pathlib import Path
from typing import NamedTuple


class OutsideFile(NamedTuple):
    """One outside file.

    Attributes:
        title: what it is.
        file: path below the folder of outside files, as in the manifest.
        home: page of its makers.
        aliases: other names under which the same file goes.
    """

    title: str
    file: str
    home: str
    aliases: tuple[str, ...] = ()


TORCHVISION = "https://github.com/pytorch/vision"
LPIPS_HOME = "https://github.com/richzhang/PerceptualSimilarity"
FILES: dict[str, OutsideFile] = {
    "facenet-vggface2": OutsideFile(
        "FaceNet (Inception-ResNet v1) of VGGFace2",
        "20180402-114759-vggface2.pt",
        "https://github.com/timesler/facenet-pytorch",
    ),
    "vggface2-resnet50": OutsideFile(
        "ResNet-50 classifier of VGGFace2",
        "scripts/weights/resnet50_ft_weight.pkl",
        "https://github.com/ox-vgg/vgg_face2",
        ("resnet50_ft_weights.pkl",),
    ),
    "inception-2015-fid": OutsideFile(
        "Inception graph of 2015",
        "pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/mseitzer/pytorch-fid",
    ),
    "torchvision-inception_v3": OutsideFile(
        "Inception v3 of torchvision", "inception_v3_google-0cc3c7bd.pth", TORCHVISION
    ),
    "torchvision-alexnet": OutsideFile("AlexNet of torchvision", "alexnet-owt-7be5be79.pth", TORCHVISION),
    "torchvision-vgg16": OutsideFile("VGG-16 of torchvision", "vgg16-397923af.pth", TORCHVISION),
    "torchvision-vgg19": OutsideFile("VGG-19 of torchvision", "vgg19-dcbb9e9d.pth", TORCHVISION),
    "torchvision-squeezenet1_1": OutsideFile(
        "SqueezeNet 1.1 of torchvision", "squeezenet1_1-b8a52dc0.pth", TORCHVISION
    ),
    "lpips-v0.1-alex": OutsideFile("linear weights of LPIPS for alex", "v0.1/alex.pth", LPIPS_HOME),
    "lpips-v0.1-vgg": OutsideFile("linear weights of LPIPS for vgg", "v0.1/vgg.pth", LPIPS_HOME),
    "lpips-v0.1-squeeze": OutsideFile("linear weights of LPIPS for squeeze", "v0.1/squeeze.pth", LPIPS_HOME),
}


def places_of(name: str, folder: str | Path) -> list[Path]:
    """Where a file may lie in a folder: under its path in the manifest, or directly, by any of its names."""
    file = FILES[name]
    last = Path(file.file).name
    return [Path(folder) / place for place in (file.file, last, *file.aliases)]


def find_outside(name: str, place: str | Path | None) -> Path:
    """Path of an outside file.

    Args:
        name: its name in the manifest, a key of `FILES`.
        place: the file itself, whatever it is called, or a folder that holds outside files.

    Raises:
        FileNotFoundError: not given or not there; the message says where it is from and where to put it.
        ValueError: no such name.
    """
    if name not in FILES:
        raise ValueError(f"no outside file is called {name!r}; known: {', '.join(FILES)}")
    if place is not None:
        for path in (Path(place), *places_of(name, place)):
            if path.is_file():
                return path
    file, folder = FILES[name], "DIR" if place is None else str(place)
    found = "no file was given" if place is None else f"{place} has no {file.file}"
    raise FileNotFoundError(
        f"{file.title}: {found}. It is not part of this project and never downloaded by itself: get it from "
        f"its makers ({file.home}) and give its path or folder, or run `python third_party/fetch.py fetch "
        f"{name} --to {folder}` first; third_party/NOTICE.md states its terms"
    )
