"""Networks from published state dicts, with sizes read off the shapes; names of duplicated keys.

Published modules keep their parameter names.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import (
    CheckpointError,
)

from perceptionist.face_network import Classifier, Discriminator, FaceNetwork
from perceptionist.generator import Generator
from perceptionist.image_to_3d import ImageTo3D
from perceptionist.network_config import (
    PUBLISHED_STAGES,
    FaceNetworkConfig,
    GeneratorConfig,
    ImageTo3DConfig,
    RefinerConfig,
    StageConfig,
    SupervisedHeadConfig,
    VoiceNetworkConfig,
)
from perceptionist.refiners import ForwardDirection, ReverseDirection
from perceptionist.supervised_head import SupervisedHead
from perceptionist.voice_network import VoiceNetwork

__all__ = [
    "KIND_PATTERNS",
    "build_classifier",
    "build_discriminator",
    "build_face_network",
    "build_forward_direction",
    "build_generator",
    "build_image_to_3d",
    "build_reverse_direction",
    "build_supervised_head",
    "build_voice_network",
    "drop_duplicate_keys",
    "infer_image_to_3d_config",
    "wrong_kind_error",
]


State = Mapping[str, Tensor]
M = TypeVar("M", bound=nn.Module)


def build_voice_network(state: State, source: str = "the state dict") -> VoiceNetwork:
    """Build the network of a published state dict, sizes read off the shapes, in evaluation mode.

    Raises:
        CheckpointError: of another network, or a key is missing, unknown or of another shape.
    """
    convolutions = _layer_weights(state, 3)
    if not convolutions:
        raise wrong_kind_error(state, source, "voice network", "model.0.weight of three axes")
    *inner, last = convolutions
    config = VoiceNetworkConfig(
        n_mels=convolutions[0].shape[1], channels=_channel_counts(inner, 0), embedding_dim=last.shape[0]
    )
    return _with_weights(VoiceNetwork(config), state, source)


def build_generator(state: State, source: str = "the state dict") -> Generator:
    """As `build_voice_network`, for the generator."""
    layers = _layer_weights(state, 4)
    if len(layers) < 2 or layers[0].shape[2:] != (4, 4):
        raise wrong_kind_error(state, source, "generator", "model.0.weight of shape (64, 1024, 4, 4)")
    *inner, last = layers
    config = GeneratorConfig(
        embedding_dim=layers[0].shape[0], channels=_channel_counts(inner, 1), image_channels=last.shape[1]
    )
    return _with_weights(Generator(config), state, source)


def build_face_network(state: State, source: str = "the state dict") -> FaceNetwork:
    """As `build_voice_network`, for the face embedding."""
    layers = _layer_weights(state, 4)
    if len(layers) < 2 or layers[0].shape[2:] != (1, 1):
        raise wrong_kind_error(state, source, "face network", "model.0.weight of shape (32, 3, 1, 1)")
    *inner, last = layers
    config = FaceNetworkConfig(
        image_channels=layers[0].shape[1], channels=_channel_counts(inner, 0), embedding_dim=last.shape[0]
    )
    return _with_weights(FaceNetwork(config), state, source)


def build_discriminator(state: State, source: str = "the state dict") -> Discriminator:
    """As `build_voice_network`, for the discriminator's head."""
    weight = state.get("model.weight")
    if weight is None or weight.ndim != 2 or len(weight) != 1:
        raise wrong_kind_error(state, source, "discriminator", "model.weight of shape (1, 64)")
    return _with_weights(Discriminator(weight.shape[1]), state, source)


def build_classifier(state: State, source: str = "the state dict") -> Classifier:
    """As `build_voice_network`, for the identity classifier's head."""
    weight = state.get("model.weight")
    if weight is None or weight.ndim != 2:
        raise wrong_kind_error(state, source, "classifier", "model.weight of shape (identities, 64)")
    return _with_weights(Classifier(weight.shape[1], weight.shape[0]), state, source)


def build_supervised_head(state: State, source: str = "the state dict") -> SupervisedHead:
    """As `build_voice_network`, for the supervised head."""
    if "classifier_scale.1.weight" not in state:
        raise wrong_kind_error(state, source, "supervised head", "classifier_scale.1.weight")
    shape, expression = (_num_rows(state, f"classifier_{name}.1.weight", source) for name in ("shape", "exp"))
    embedding = state["classifier_scale.1.weight"].shape[-1]
    config = SupervisedHeadConfig(embedding_dim=embedding, shape=shape, expression=expression)
    return _with_weights(SupervisedHead(config), state, source)


def build_image_to_3d(state: State, source: str = "the state dict") -> ImageTo3D:
    """As `build_voice_network`, for expert and student; `backbone.` and longer prefixes are removed.

    Duplicates of the features are optional. Strides and image size cannot be read off the shapes: they are
    the published ones.
    """
    bare = {re.sub(r"^((module\.)?(\w+\.)?backbone\.)?", "", key): value for key, value in state.items()}
    bare = drop_duplicate_keys(bare, source)
    if "features.0.0.weight" not in bare:
        raise wrong_kind_error(state, source, "image-to-3D network", "backbone.features.0.0.weight")
    return _with_weights(ImageTo3D(infer_image_to_3d_config(bare, source)), bare, source)


def infer_image_to_3d_config(state: State, source: str = "the state dict") -> ImageTo3DConfig:
    """Read the sizes off the shapes of canonical keys.

    Raises:
        CheckpointError: another number of blocks than the published one, or a layer is missing.
    """
    blocks = 1 + max(int(m[1]) for key in state if (m := re.match(r"features\.(\d+)\.", key)))
    published = sum(stage.blocks for stage in PUBLISHED_STAGES)
    if blocks != published + 2:
        raise CheckpointError(f"{source}: expected {published + 2} feature blocks, found {blocks}")
    stem = before = _num_rows(state, "features.0.0.weight", source)
    stages, number = [], 1
    for stage in PUBLISHED_STAGES:
        expands = f"features.{number}.conv.2.weight" in state and f"features.{number}.conv.3.weight" in state
        hidden = _num_rows(state, f"features.{number}.conv.0.0.weight", source)
        channels = _num_rows(state, f"features.{number}.conv.{2 if expands else 1}.weight", source)
        size = {"expansion": hidden / before if expands else 1, "channels": channels}
        stages.append(StageConfig(**size, blocks=stage.blocks, stride=stage.stride))
        number, before = number + stage.blocks, channels
    heads = {"pose": "ori", "shape": "shape", "expression": "exp", "texture": "texture"}
    keys = {word: f"classifier_{name}.1.weight" for word, name in heads.items()}
    outputs = {word: len(state[key]) if key in state else 0 for word, key in keys.items()}
    if not outputs["shape"]:
        raise CheckpointError(f"{source}: the key {keys['shape']} is missing")
    last = _num_rows(state, f"features.{blocks - 1}.0.weight", source)
    return ImageTo3DConfig(stem=stem, stages=tuple(stages), num_features=last, **outputs)


def build_forward_direction(state: State, source: str = "the state dict") -> ForwardDirection:
    """As `build_voice_network`, for the landmark refinement network (keys `conv1.weight` and so on)."""
    widths = _point_widths(state, source, "forward")
    codes = RefinerConfig()
    inside = state["conv6.weight"].shape[1] if "conv6.weight" in state else 0
    features = inside - widths[1] - widths[4] - codes.shape - codes.expression
    if features < 1:
        raise wrong_kind_error(
            state, source, "landmark refinement network", "conv6.weight of shape (512, 2418, 1)"
        )
    refine = tuple(_num_rows(state, f"conv{n}.weight", source) for n in (6, 7, 8))
    config = RefinerConfig(
        point_channels=widths[:2], global_channels=widths[2:], refine_channels=refine, num_features=features
    )
    return _with_weights(ForwardDirection(config), state, source)


def build_reverse_direction(state: State, source: str = "the state dict") -> ReverseDirection:
    """As `build_voice_network`, for the network from landmarks to parameters."""
    widths = _point_widths(state, source, "reverse")
    pose, shape, expression = (_num_rows(state, f"conv6_{n}.weight", source) for n in (1, 2, 3))
    config = RefinerConfig(
        point_channels=widths[:2], global_channels=widths[2:], pose=pose, shape=shape, expression=expression
    )
    return _with_weights(ReverseDirection(config), state, source)


def drop_duplicate_keys(state: State, source: str = "the state dict") -> dict[str, Tensor]:
    """Keep canonical names only: `features_first.N` and `features_second.N` are `features.N`.

    Raises:
        CheckpointError: a duplicate differs from the original.
    """
    kept: dict[str, Tensor] = {}
    for key, value in state.items():
        name = re.sub(r"^features_(first|second)\.", "features.", key)
        if name in kept and not torch.equal(kept[name], value):
            raise CheckpointError(f"{source}: {key} duplicates {name} with other values; the file is corrupt")
        kept.setdefault(name, value)
    return kept


def _with_weights(network: M, state: State, source: str) -> M:
    load_into(network, state, source=source)
    return network.eval()


def _layer_weights(state: State, ndim: int) -> list[Tensor]:
    """Weights `model.N.weight` with `ndim` axes, ordered by N."""
    found = {
        int(m[1]): value
        for key, value in state.items()
        if (m := re.fullmatch(r"model\.(\d+)\.weight", key)) and value.ndim == ndim
    }
    return [found[number] for number in sorted(found)]


def _channel_counts(layers: list[Tensor], axis: int) -> tuple[int, ...]:
    return tuple(layer.shape[axis] for layer in layers)


def _num_rows(state: State, key: str, source: str) -> int:
    if key not in state or not state[key].ndim:
        raise CheckpointError(f"{source}: the key {key} is missing")
    return len(state[key])


def _point_widths(state: State, source: str, name: str) -> tuple[int, int, int, int, int]:
    if "conv1.weight" not in state:
        raise wrong_kind_error(state, source, f"{name}Direction network", "conv1.weight")
    a, b, c, d, e = (_num_rows(state, f"conv{n}.weight", source) for n in range(1, 6))
    return a, b, c, d, e


KIND_PATTERNS = {
    "a supervised head": r"classifier_scale\.",
    "an expert archive": r"(module\.)?\w+\.backbone\.",
    "an image-to-3D network": r"(backbone\.)?features\.0\.",
    "a generator, voice network or face network": r"model\.\d+\.",
    "a discriminator or classifier": r"model\.weight$",
}


def wrong_kind_error(state: State, source: str, wanted: str, key: str) -> CheckpointError:
    """Build the error for a file of another kind."""
    first = ", ".join(f"{k} {tuple(v.shape)}" for k, v in list(state.items())[:2])
    kinds = [kind for kind, keys in KIND_PATTERNS.items() if any(re.match(keys, each) for each in state)]
    like = f"; it looks like {kinds[0]}" if kinds else ""
    article = "an" if wanted[0] in "aeiou" else "a"
    return CheckpointError(f"{source} is not {article} {wanted}: expected {key}, found {first}{like}")
