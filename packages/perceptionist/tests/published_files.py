"""Writers of files in the published layouts, for tests of their readers."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from perceptionist.image_to_3d import ImageTo3D
from perceptionist.published import ExpertArchive
from torch import Tensor, nn

NUM_FIRST_BLOCKS = 9


def save_network(path: Path, network: nn.Module) -> None:
    """Write a plain state dict: voice network, generator, face network or any head."""
    torch.save(network.state_dict(), path)


def save_student(path: Path, network: ImageTo3D, *, copies: bool = False) -> None:
    """Write `image3D_48000.pth`; `copies` repeats the features under their duplicate names."""
    torch.save({f"backbone.{key}": value for key, value in _state(network, copies).items()}, path)


def save_expert(path: Path, expert: ExpertArchive, *, copies: bool = False) -> None:
    """Write an expert archive; see `save_student`."""
    content = {key: torch.as_tensor(value) for key, value in expert.arrays.items()}
    content |= {f"IGM.backbone.{key}": value for key, value in _state(expert.network, copies).items()}
    for name, part in (("forward", expert.forward_direction), ("reverse", expert.reverse_direction)):
        if part is not None:
            content |= {f"{name}Direction.{key}": value for key, value in part.state_dict().items()}
    torch.save({"state_dict": {f"module.{key}": value for key, value in content.items()}}, path)


def _state(network: ImageTo3D, copies: bool) -> Mapping[str, Tensor]:
    """State dict, with the duplicate names that the published code writes and strictly requires."""
    state = dict(network.state_dict())
    for key, value in list(state.items()) if copies else ():
        if found := re.match(r"features\.(\d+)\.", key):
            part = "first" if int(found[1]) < NUM_FIRST_BLOCKS else "second"
            state[key.replace("features.", f"features_{part}.", 1)] = value
    return state
