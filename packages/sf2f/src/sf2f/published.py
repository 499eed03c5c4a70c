"""Published checkpoints: generator and discriminators.

Modules keep the published parameter names. Reading a file never runs code in it. Sizes are inferred from
shapes; what shapes do not show (noise, normalisation, strides) is read from the options that the file stores.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from voiceface.checkpoints.native import LoadReport, load_into
from voiceface.checkpoints.published import (
    CheckpointError,
    apply_key_table,
    extract_state_dict,
    read_published,
)

from sf2f.discriminator_config import LARGE_ARCH, SMALL_ARCH, BackboneConfig, DiscriminatorsConfig
from sf2f.discriminator_layers import build_backbone
from sf2f.discriminators import Discriminators
from sf2f.generator import EncoderDecoder
from sf2f.network_config import FuserConfig, GeneratorConfig
from sf2f.published_options import discriminators_config_from_options, generator_config_from_options
from sf2f.published_shapes import State, generator_config_from_shapes

__all__ = [
    "DISCRIMINATOR_STATE_KEYS",
    "FUSER_KEYS",
    "KEY_TABLE",
    "RELEASED_BACKBONES",
    "V2F_BACKBONE",
    "PublishedCheckpoint",
    "build_discriminators",
    "infer_generator_config",
    "load_discriminators",
    "load_generator",
    "load_pretrained",
    "read_checkpoint",
]

FUSER_KEYS = "encoder.attn_fuser.*"
KEY_TABLE = [(r"((?:mid|high)_ef_block)\.(?!projection\.)\w+(?:\.0)?\.(\w+)$", r"\1.norm.0.\2")]
"""Published parameter names that differ, and the names used here."""
V2F_BACKBONE = BackboneConfig(
    arch="C1-32-1-0,C4-64-2-1,C4-128-2-1,C4-256-2-1,C4-512-1-0",
    normalisation="none",
    activation="leakyrelu-0.2",
    padding="explicit",
)
RELEASED_BACKBONES = (BackboneConfig(arch=SMALL_ARCH), BackboneConfig(arch=LARGE_ARCH), V2F_BACKBONE)
"""Backbones of the released option files."""
DISCRIMINATOR_STATE_KEYS = {"image": "d_img_state", "identity": "d_ac_state", "condition": "cond_d_state"}


@dataclass(frozen=True)
class PublishedCheckpoint:
    """Content of a published checkpoint.

    Attributes:
        generator: its state dict.
        discriminators: state dicts by kind (`image`, `identity`, `condition`), smallest images first.
        options: the option tree; empty if the file has none.
        source: the file, for messages.
    """

    generator: dict[str, Tensor]
    discriminators: dict[str, list[dict[str, Tensor]]]
    options: dict[str, Any] = field(default_factory=dict)
    source: str = "the checkpoint"


def read_checkpoint(path: str | Path) -> PublishedCheckpoint:
    """Read a file of the published trainer, or a plain state dict of the generator.

    Raises:
        CheckpointError: corrupt, unsafe, or without a generator.
        FileNotFoundError: no such file.
    """
    content, source = read_published(path), str(path)
    state = apply_key_table(extract_state_dict(content, "model_state", source=source), KEY_TABLE)
    if not any(key.startswith("encoder.model.") for key in state):
        first = ", ".join(list(state)[:3])
        raise CheckpointError(
            f"{source} is not a checkpoint of sf2f: expected keys encoder.model..., found {first}"
        )
    lists = {}
    for kind, word in DISCRIMINATOR_STATE_KEYS.items():
        numbers = sorted(int(m[1]) for key in content if (m := re.fullmatch(rf"{word}_(\d+)", str(key))))
        lists[kind] = [extract_state_dict(content, f"{word}_{number}", source=source) for number in numbers]
    options = content.get("options")
    return PublishedCheckpoint(state, lists, dict(options) if isinstance(options, Mapping) else {}, source)


def load_generator(path: str | Path, fuser: FuserConfig | None = None) -> EncoderDecoder:
    """Load the generator of a published checkpoint, in evaluation mode.

    Args:
        path: the file.
        fuser: add a new fuser with random weights to a stage-1 generator.

    Raises:
        CheckpointError: as `read_checkpoint`, or a key is missing, unknown or of another shape.
        ConfigError: the options of the file cannot be translated.
        FileNotFoundError: no such file.
    """
    checkpoint = read_checkpoint(path)
    config = infer_generator_config(checkpoint)
    if fuser is not None and config.fuser is None:
        config = config.model_copy(update={"fuser": fuser})
    generator = EncoderDecoder(config)
    _fill_generator(generator, checkpoint)
    return generator.eval()


def load_discriminators(path: str | Path, config: DiscriminatorsConfig | None = None) -> Discriminators:
    """Load all discriminators of a published checkpoint, in training mode.

    Args:
        path: the file.
        config: their backbones, if the file has no options and they are not those of a released option file.

    Raises:
        CheckpointError: as `load_generator`, or strides and paddings are unknown.
        ConfigError: the options of the file cannot be translated.
        FileNotFoundError: no such file.
    """
    return build_discriminators(read_checkpoint(path), config)


def load_pretrained(
    path: str | Path, generator: EncoderDecoder, discriminators: Discriminators | None = None
) -> LoadReport:
    """Copy a stage-1 checkpoint into existing networks, to start stage 2.

    Args:
        path: the file.
        generator: receives all parameters by name; its fuser keeps its weights if the file has none.
        discriminators: receive theirs; the file must have been trained on as many identities.

    Returns:
        The report of the generator.

    Raises:
        CheckpointError, FileNotFoundError: as `load_generator`.
    """
    checkpoint = read_checkpoint(path)
    report = _fill_generator(generator, checkpoint)
    if discriminators is not None:
        _fill_discriminators(discriminators, checkpoint)
    return report


def infer_generator_config(checkpoint: PublishedCheckpoint) -> GeneratorConfig:
    """Configuration of the generator, from the options if the file has them, else from its shapes.

    From shapes alone, embeddings are assumed normalised and without noise, and a fuser without tanh, as in
    the released option files of SF2F.

    Raises:
        CheckpointError: not a generator of this package.
        ConfigError: the options cannot be translated.
    """
    if "generator" in checkpoint.options:
        return generator_config_from_options(checkpoint.options, f"{checkpoint.source}: options")
    try:
        return generator_config_from_shapes(checkpoint.generator)
    except (LookupError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{checkpoint.source}: its shapes match no generator of sf2f ({reason})"
        ) from None


def build_discriminators(
    checkpoint: PublishedCheckpoint, config: DiscriminatorsConfig | None = None
) -> Discriminators:
    """As `load_discriminators`, from a checkpoint in memory."""
    if config is None and "discriminator" in checkpoint.options:
        config = discriminators_config_from_options(checkpoint.options, f"{checkpoint.source}: options")
    if config is None:
        backbones = {
            kind: [
                _match_backbone(state, f"{checkpoint.source}: {DISCRIMINATOR_STATE_KEYS[kind]}_{index}")
                for index, state in enumerate(states)
            ]
            for kind, states in checkpoint.discriminators.items()
        }
        config = DiscriminatorsConfig.model_validate(backbones)
    identity, condition = (checkpoint.discriminators[kind] for kind in ("identity", "condition"))
    if identity and "cnn.2.weight" in identity[0]:
        config = config.model_copy(update={"hidden_dim": len(identity[0]["cnn.2.weight"])})
    num_identities = len(identity[0].get("id_classifier.bias", ())) if identity else 0
    if config.identity and not num_identities:
        raise CheckpointError(
            f"{checkpoint.source} has no identity discriminator with the key id_classifier.bias"
        )
    embedding_dim = 512
    if condition and "joint_conv.0.weight" in condition[0]:
        joint = condition[0]["joint_conv.0.weight"]
        embedding_dim = joint.shape[1] - joint.shape[0]
    discriminators = Discriminators(config, num_identities, embedding_dim)
    _fill_discriminators(discriminators, checkpoint)
    return discriminators


def _fill_generator(generator: EncoderDecoder, checkpoint: PublishedCheckpoint) -> LoadReport:
    """Copy the generator of a checkpoint; a missing fuser is ignored."""
    fuser = any(key.startswith("encoder.attn_fuser.") for key in checkpoint.generator)
    ignored = () if fuser else (FUSER_KEYS,)
    return load_into(generator, checkpoint.generator, ignore=ignored, source=checkpoint.source)


def _fill_discriminators(discriminators: Discriminators, checkpoint: PublishedCheckpoint) -> None:
    """Copy the discriminators of a checkpoint."""
    for kind, states in checkpoint.discriminators.items():
        networks = getattr(discriminators, kind)
        if len(networks) != len(states):
            raise CheckpointError(
                f"{checkpoint.source} has {len(states)} {kind} discriminators, expected {len(networks)}"
            )
        for index, (network, state) in enumerate(zip(networks, states)):
            load_into(network, state, source=f"{checkpoint.source}: {DISCRIMINATOR_STATE_KEYS[kind]}_{index}")


def _match_backbone(state: State, source: str) -> BackboneConfig:
    """Released backbone whose layers have these shapes."""
    prefix = "cnn.0." if "cnn.2.weight" in state and "real_classifier.weight" in state else "cnn."
    shapes = {key.removeprefix(prefix): v.shape for key, v in state.items() if key.startswith(prefix)}
    for backbone in RELEASED_BACKBONES:
        layers: nn.Sequential = build_backbone(backbone)[0]
        if {key: value.shape for key, value in layers.state_dict().items()} == shapes:
            return backbone
    raise CheckpointError(
        f"{source}: the file does not store strides and paddings, and these layers are not those of a "
        "released option file; pass `config`"
    )
