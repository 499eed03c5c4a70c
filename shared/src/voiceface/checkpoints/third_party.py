"""Third-party checkpoints that this project reads and does not distribute: names, file names and sources.

Nothing is downloaded automatically. `third_party/manifest.toml` lists the same files with their licences.
"""

from pathlib import Path
from typing import NamedTuple

__all__ = ["THIRD_PARTY_FILES", "ThirdPartyFile", "candidate_paths", "locate_third_party_file"]


class ThirdPartyFile(NamedTuple):
    """A third-party file.

    Attributes:
        title: short description.
        path: path below the folder of third-party files, as in the manifest.
        homepage: page of its authors.
        aliases: other names of the same file.
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
    "torchvision-alexnet": ThirdPartyFile(
        "AlexNet of torchvision", "alexnet-owt-7be5be79.pth", TORCHVISION_HOMEPAGE
    ),
    "torchvision-vgg16": ThirdPartyFile("VGG-16 of torchvision", "vgg16-397923af.pth", TORCHVISION_HOMEPAGE),
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
    """Paths of a file in a folder: its path in the manifest, or directly, under any of its names."""
    file = THIRD_PARTY_FILES[name]
    return [Path(folder) / path for path in (file.path, Path(file.path).name, *file.aliases)]


def locate_third_party_file(name: str, file_or_dir: str | Path | None) -> Path:
    """Find a third-party file.

    Args:
        name: its name in the manifest, a key of `THIRD_PARTY_FILES`.
        file_or_dir: the file itself, whatever its name, or a folder of third-party files.

    Raises:
        FileNotFoundError: not given or missing; the message states its source and where to put it.
        ValueError: an unknown name.
    """
    if name not in THIRD_PARTY_FILES:
        raise ValueError(f"unknown third-party file {name!r}; expected one of {', '.join(THIRD_PARTY_FILES)}")
    if file_or_dir is not None:
        for path in (Path(file_or_dir), *candidate_paths(name, file_or_dir)):
            if path.is_file():
                return path
    file, folder = THIRD_PARTY_FILES[name], "DIR" if file_or_dir is None else str(file_or_dir)
    problem = "no file was given" if file_or_dir is None else f"{file_or_dir} has no {file.path}"
    raise FileNotFoundError(
        f"{file.title}: {problem}. This project does not distribute it: get it from its authors "
        f"({file.homepage}) and give its path or folder, or run `python third_party/fetch.py fetch {name} "
        f"--to {folder}` first; third_party/NOTICE.md states its terms"
    )
