"""Architecture of the two branches: its configuration, read from tensors, and ImageNet weights for both."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import CheckpointError, extract_state_dict, read_published

from cmpc2.model_config import Arch, BranchConfig, FaceConfig, ModelConfig, Stages
from cmpc2.resnet import RESNET_SPECS

BRANCHES = ("voice_subnet", "face_subnet")


def infer_model_config(state: Mapping[str, Tensor], image_size: int = 224) -> ModelConfig:
    """The architecture that the tensors of both branches fit.

    Args:
        state: tensors by key; published models pool 512 channels to 512, and other lengths cannot be told
            from the tensors.
        side: picture side in pixels, which no tensor tells.

    Raises:
        CheckpointError: a branch is absent or is none of the known networks.
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
    """Network, widths and blocks per stage of the tensors below a prefix.

    Raises:
        CheckpointError: none of the known networks.
    """
    places = [re.match(rf"{re.escape(prefix)}layer(\d)\.(\d+)\.", key) for key in state]
    found = [(int(place[1]), int(place[2])) for place in places if place]
    blocks = tuple(1 + max((b for stage, b in found if stage == n), default=-1) for n in range(1, 5))
    first = {n: state.get(f"{prefix}layer{n}.0.conv1.weight") for n in range(1, 5)}
    if not all(blocks) or any(value is None for value in first.values()):
        raise CheckpointError(f"{prefix or 'the file'}: no residual network of four stages in these tensors")
    bottleneck = f"{prefix}layer1.0.conv3.weight" in state
    squeeze = f"{prefix}layer1.0.se.fc.0.weight" in state
    widths = tuple(len(value) for value in first.values() if value is not None)
    arch = next(
        (
            name
            for name, plan in RESNET_SPECS.items()
            if (plan.bottleneck, plan.squeeze_excitation) == (bottleneck, squeeze) and plan.blocks == blocks
        ),
        None,
    )
    kinds = (
        name
        for name, plan in RESNET_SPECS.items()
        if (plan.bottleneck, plan.squeeze_excitation) == (bottleneck, squeeze)
    )
    name = arch or next(kinds, None)
    if name is None:
        raise CheckpointError(
            f"{prefix or 'the file'}: squeeze-excitation without bottlenecks is no known network"
        )
    return name, widths, blocks  # type: ignore[return-value]


def _output_channels(state: Mapping[str, Tensor], prefix: str) -> int:
    """Channels that the last stage gives."""
    last = "conv3" if f"{prefix}layer4.0.conv3.weight" in state else "conv2"
    return len(state[f"{prefix}layer4.0.{last}.weight"])


def load_imagenet_weights(model: nn.Module, path: str | Path) -> None:
    """Copy ImageNet weights of the same network into both branches, but for the voice's first convolution.

    As published, both first convolutions and the last layer are replaced afterwards: they start afresh.

    Raises:
        CheckpointError: the file fits neither branch.
    """
    state = extract_state_dict(read_published(path), "state_dict", source=str(path))
    for name in BRANCHES:
        branch = model.get_submodule(name)
        load_into(branch, state, ignore=["conv1.weight", "fc.*", "*num_batches_tracked"], source=str(path))
