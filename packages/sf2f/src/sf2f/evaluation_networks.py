"""Networks of the published metrics: their files are checked and read before anything is generated."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.checkpoints.third_party import locate_third_party_file

if TYPE_CHECKING:
    from voiceface.models.facenet import InceptionResNet
    from voiceface.models.inception import Inception
    from voiceface.models.lpips import LPIPS
    from voiceface.models.vggface2_resnet import CaffeResNet

__all__ = ["EvaluationNetworks", "NetworkFiles", "load_networks", "require_network_files"]

FILES_BY_FLAG = {
    "facenet": ("facenet-vggface2",),
    "vggface": ("vggface2-resnet50",),
    "inception": ("inception-2015-fid",),
    "lpips": ("torchvision-alexnet", "lpips-v0.1-alex"),
}


@dataclass(frozen=True)
class NetworkFiles:
    """Files of the evaluation networks; metrics of a network that is None are skipped.

    Attributes:
        facenet: FaceNet, for feature distances and retrieval.
        vggface: face classifier of the VGGFace Score.
        inception: 2015 graph, for Inception Score and FID.
        lpips: folder of AlexNet and the LPIPS heads, for the diversity.
    """

    facenet: Path | None = None
    vggface: Path | None = None
    inception: Path | None = None
    lpips: Path | None = None


@dataclass(frozen=True)
class EvaluationNetworks:
    """The networks of `NetworkFiles`, in evaluation mode; None where no file was given."""

    facenet: "InceptionResNet | None" = None
    vggface: "CaffeResNet | None" = None
    inception: "Inception | None" = None
    lpips: "LPIPS | None" = None


def require_network_files(files: NetworkFiles) -> None:
    """Check that every file of every network that was asked for exists; takes no time.

    Raises:
        FileNotFoundError: files are absent, or a folder lacks them; the message names all of them, each with
            its flag, its source and where to put it.
    """
    problems = []
    for flag, names in FILES_BY_FLAG.items():
        path = getattr(files, flag)
        for name in names if path is not None else ():
            try:
                locate_third_party_file(name, path)
            except FileNotFoundError as error:
                problems.append(f"--{flag}: {error}")
    if problems:
        raise FileNotFoundError("; ".join(problems))


def load_networks(files: NetworkFiles) -> EvaluationNetworks:
    """Read every network that was asked for.

    Raises:
        FileNotFoundError: files are absent, see `require_network_files`.
        CheckpointError: files are corrupt, or of another network; the message names all of them with their
            flags.
    """
    require_network_files(files)
    from voiceface.checkpoints.published import CheckpointError

    from sf2f import third_party_networks

    loaders: dict[str, Callable[[Path], Any]] = {
        "facenet": third_party_networks.load_facenet_vggface2,
        "vggface": third_party_networks.load_vggface2_resnet50,
        "inception": third_party_networks.load_inception_2015,
        "lpips": third_party_networks.load_lpips_alex,
    }
    networks, problems = {}, []
    for flag, load in loaders.items():
        path = getattr(files, flag)
        if path is None:
            continue
        try:
            networks[flag] = load(path)
        except (ValueError, OSError) as error:
            problems.append(f"--{flag} {path}: {error}")
    if problems:
        raise CheckpointError("; ".join(problems))
    return EvaluationNetworks(**networks)
