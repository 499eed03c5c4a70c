"""Architecture of both branches: its configuration, inferred from tensors, and ImageNet weights."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import CheckpointError, extract_state_dict, read_published

from cmpc2.model_config import Arch, BranchConfig, FaceConfig, ModelConfig, Stages
from cmpc2.resnet import RESNET_SPECS

__all__ = ["BRANCHES", "infer_branch", "infer_model_config", "load_imagenet_weights"]

BRANCHES = ("voice_subnet", "face_subnet")


def infer_model_config(state: Mapping[str, Tensor], image_size: int = 224) -> ModelConfig:
    """Infer the architecture of both branches from the shapes of a state dict.

    Args:
        state: tensors by key. The embedding dimension cannot be inferred: it is 512, as published, or the
            number of channels of the last stage if that is smaller.
        image_size: image side in pixels; cannot be inferred either.

    Raises:
        CheckpointError: a branch is missing or is none of the known networks.
    """
    voice, face = (
        {"arch": arch, "widths": widths, "blocks": blocks}
        for arch, widths, blocks in (infer_branch(state, f"{name}.") for name in BRANCHES)
    )
    channels = [_output_channels(state, f"{name}.") for name in BRANCHES]
    return ModelConfig(
        voice=BranchConfig.model_validate(voice),
        face=FaceConfig.model_validate({**face, "image_size": image_size}),
        embedding_dim=min(512, *channels),
    )


def infer_branch(state: Mapping[str, Tensor], prefix: str = "") -> "tuple[Arch, Stages, Stages]":
    """Infer network, widths and blocks per stage from the tensors below a prefix.

    Raises:
        CheckpointError: none of the known networks.
    """
    matches = [re.match(rf"{re.escape(prefix)}layer(\d)\.(\d+)\.", key) for key in state]
    indices = [(int(match[1]), int(match[2])) for match in matches if match]
    blocks = tuple(1 + max((b for stage, b in indices if stage == n), default=-1) for n in range(1, 5))
    first = {n: state.get(f"{prefix}layer{n}.0.conv1.weight") for n in range(1, 5)}
    if not all(blocks) or any(value is None for value in first.values()):
        raise CheckpointError(f"{prefix or 'the file'}: no residual network of four stages in the tensors")
    block = f"{prefix}layer1.0.conv3.weight" in state, f"{prefix}layer1.0.se.fc.0.weight" in state
    widths = tuple(len(value) for value in first.values() if value is not None)
    archs = [
        name for name, spec in RESNET_SPECS.items() if (spec.bottleneck, spec.squeeze_excitation) == block
    ]
    if not archs:
        raise CheckpointError(
            f"{prefix or 'the file'}: squeeze-excitation without bottlenecks is no known network"
        )
    arch = next((name for name in archs if RESNET_SPECS[name].blocks == blocks), archs[0])
    return arch, widths, blocks  # type: ignore[return-value]


def _output_channels(state: Mapping[str, Tensor], prefix: str) -> int:
    """Look up the number of output channels of the last stage."""
    last = "conv3" if f"{prefix}layer4.0.conv3.weight" in state else "conv2"
    return len(state[f"{prefix}layer4.0.{last}.weight"])


def load_imagenet_weights(model: nn.Module, path: str | Path) -> None:
    """Copy ImageNet weights of the same network into both branches, except for their first convolutions.

    As published, the first convolutions and the last layer are initialised randomly.

    Raises:
        CheckpointError: the file fits neither branch.
    """
    state = extract_state_dict(read_published(path), "state_dict", source=str(path))
    for name in BRANCHES:
        branch = model.get_submodule(name)
        load_into(branch, state, ignore=["conv1.weight", "fc.*", "*num_batches_tracked"], source=str(path))
