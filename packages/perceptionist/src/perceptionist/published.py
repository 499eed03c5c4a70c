"""Published checkpoints: load every file into a network of its sizes, and save networks in published format.

Modules keep the published parameter names; sizes are read off the shapes. Loading never executes code from a
file; the published programs can load the saved files.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor
from voiceface.checkpoints.published import (
    CheckpointError,
    extract_state_dict,
    read_published,
)

from perceptionist.face_network import Classifier, Discriminator, FaceNetwork
from perceptionist.generator import Generator
from perceptionist.image_to_3d import ImageTo3D
from perceptionist.published_networks import (
    M,
    State,
    build_classifier,
    build_discriminator,
    build_face_network,
    build_forward_direction,
    build_generator,
    build_image_to_3d,
    build_reverse_direction,
    build_supervised_head,
    build_voice_network,
    wrong_kind_error,
)
from perceptionist.refiners import ForwardDirection, ReverseDirection
from perceptionist.supervised_head import SupervisedHead
from perceptionist.voice_network import VoiceNetwork

__all__ = [
    "FACE_MODEL_ARRAYS",
    "FILES",
    "IMAGE_NETWORK_PREFIX",
    "REFINER_PREFIX",
    "ExpertArchive",
    "find_checkpoint",
    "load_classifier",
    "load_discriminator",
    "load_expert",
    "load_face_network",
    "load_generator",
    "load_student",
    "load_supervised_head",
    "load_voice_network",
]


FILES = {
    "voice network": "voice_embedding.pth",
    "generator": "generator_48000.pth",
    "student": "image3D_48000.pth",
    "expert": "2D-to-3D-pretrained.tar",
    "supervised head": "supervised_64/generator_48000.pth",
}
"""Paths of the published files below `pretrained_models`."""
FACE_MODEL_ARRAYS = ("w_shp", "w_exp", "u", "param_mean", "param_std")
IMAGE_NETWORK_PREFIX = re.compile(r"^(?:module\.)?\w+\.backbone\.")
REFINER_PREFIX = re.compile(r"^(?:module\.)?(?=(?:forward|reverse)Direction\.)")


@dataclass(frozen=True)
class ExpertArchive:
    """Contents of the published expert archive.

    Attributes:
        network: the image-to-3D network.
        arrays: of its face model: w_shp, w_exp, u, param_mean, param_std, as far as present.
        forward_direction: landmark refinement; None if the file has none.
        reverse_direction: landmarks to parameters; None if the file has none.
    """

    network: ImageTo3D
    arrays: dict[str, np.ndarray]
    forward_direction: ForwardDirection | None
    reverse_direction: ReverseDirection | None


def find_checkpoint(folder: str | Path, network: str) -> Path:
    """Path of a published file in a `pretrained_models` folder.

    Args:
        folder: with the files under their published names.
        network: a key of `FILES`.

    Raises:
        FileNotFoundError: it is missing.
    """
    path = Path(folder) / FILES[network]
    if not path.is_file():
        raise FileNotFoundError(
            f"The published {network} {path} does not exist. Place {FILES[network]} in {folder}."
        )
    return path


def load_voice_network(path: str | Path) -> VoiceNetwork:
    """Read `voice_embedding.pth`, in evaluation mode.

    Raises:
        CheckpointError: corrupt, unsafe, of another network, or a key is missing, unknown or of another
            shape.
        FileNotFoundError: no such file.
    """
    return _load(path, build_voice_network)


def load_generator(path: str | Path) -> Generator:
    """Read `generator_48000.pth`; errors as `load_voice_network`."""
    return _load(path, build_generator)


def load_face_network(path: str | Path) -> FaceNetwork:
    """Read `face_embedding.pth`; errors as `load_voice_network`."""
    return _load(path, build_face_network)


def load_discriminator(path: str | Path) -> Discriminator:
    """Read `discriminator.pth`; errors as `load_voice_network`."""
    return _load(path, build_discriminator)


def load_classifier(path: str | Path) -> Classifier:
    """Read `classifier.pth`; errors as `load_voice_network`."""
    return _load(path, build_classifier)


def load_supervised_head(path: str | Path) -> SupervisedHead:
    """Read `supervised_64/generator_48000.pth`; errors as `load_voice_network`."""
    return _load(path, build_supervised_head)


def load_student(path: str | Path) -> ImageTo3D:
    """Read `image3D_48000.pth`, with or without the duplicates of its features.

    Raises:
        CheckpointError: as `load_voice_network`, or the duplicates differ.
        FileNotFoundError: no such file.
    """
    return _load(path, build_image_to_3d)


def load_expert(path: str | Path) -> ExpertArchive:
    """Read `2D-to-3D-pretrained.tar`: the expert, its face model's arrays, its refiners if present.

    Raises:
        CheckpointError, FileNotFoundError: as `load_student`.
    """
    source = str(path)
    state = extract_state_dict(read_published(path), "state_dict", source=source)
    network = {k: v for k, v in state.items() if IMAGE_NETWORK_PREFIX.match(k)}
    if not network:
        raise wrong_kind_error(state, source, "expert archive", "module.IGM.backbone.features.0.0.weight")
    bare = {REFINER_PREFIX.sub("", k): v for k, v in state.items() if REFINER_PREFIX.match(k)}
    parts = {name: _sub_state_dict(f"{name}Direction.", bare) for name in ("forward", "reverse")}
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    return ExpertArchive(
        _build_checked(network, source, build_image_to_3d),
        {word: plain[word].numpy() for word in FACE_MODEL_ARRAYS if word in plain},
        _build_checked(parts["forward"], source, build_forward_direction) if parts["forward"] else None,
        _build_checked(parts["reverse"], source, build_reverse_direction) if parts["reverse"] else None,
    )


def _load(path: str | Path, build: Callable[[State, str], M]) -> M:
    return _build_checked(
        extract_state_dict(read_published(path), "state_dict", source=str(path)), str(path), build
    )


def _build_checked(state: State, source: str, build: Callable[[State, str], M]) -> M:
    """Call `build` and raise CheckpointError for impossible shapes."""
    try:
        return build(state, source)
    except CheckpointError:
        raise
    except (ValueError, LookupError, TypeError, ArithmeticError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{source}: the shapes do not fit a network of this kind ({reason})") from None


def _sub_state_dict(prefix: str, state: State) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
