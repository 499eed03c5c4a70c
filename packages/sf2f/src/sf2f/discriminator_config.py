"""Configuration of the discriminators, and their backbone spec strings; importable without torch."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator
from voiceface.runtime.config import Config

from sf2f.network_config import Normalisation

__all__ = [
    "ACTIVATION_PATTERN",
    "LARGE_ARCH",
    "SMALL_ARCH",
    "TOKEN_PATTERN",
    "BackboneConfig",
    "DiscriminatorsConfig",
    "LayerSpec",
    "Padding",
    "compute_output_size",
    "parse_layers",
]

ACTIVATION_PATTERN = re.compile(r"relu|none|leakyrelu-(\d+(?:\.\d*)?|\.\d+)")
Padding = Literal["valid", "same", "explicit"]


class BackboneConfig(Config):
    """Layers of a discriminator.

    `arch` is a list of tokens: `CK-O[-S[-P]]` convolution, K x K, to O channels, stride S (default 1),
    padding P (default by `padding`); `IX` number of input channels, first token only (default 3); `R[K]`
    residual block of two K x K convolutions (default 3, odd); `UX` nearest-neighbour upsampling by X; `PX`
    max pooling of X x X; `FC-I-O` linear layer on all I numbers. Norm and activation precede every
    convolution but the first.
    """

    arch: str = Field(description="comma-separated tokens")
    normalisation: Normalisation = Field(default="batch", description="before each convolution")
    activation: str = Field(default="leakyrelu-0.1", description="relu, leakyrelu-SLOPE or none")
    padding: Padding = Field(
        default="valid", description="valid: 0; same: (K - 1) / 2, odd K; explicit: every token states it"
    )

    @model_validator(mode="after")
    def _check_arch(self) -> Self:
        if not ACTIVATION_PATTERN.fullmatch(self.activation):
            raise ValueError(f"activation must be relu, leakyrelu-SLOPE or none, found {self.activation!r}")
        parse_layers(self)
        return self


class LayerSpec(NamedTuple):
    """One parsed token.

    Attributes:
        kind: convolution, residual, up, pool or linear.
        size: kernel size, factor, or number of inputs.
        out: channels or numbers after the layer.
        stride: of a convolution.
        padding: of a convolution.
    """

    kind: Literal["convolution", "residual", "up", "pool", "linear"]
    size: int
    out: int
    stride: int = 1
    padding: int = 0


TOKEN_PATTERN = re.compile(
    r"I(?P<input>\d+)"
    r"|C(?P<kernel>\d+)-(?P<width>\d+)(?:-(?P<stride>\d+)(?:-(?P<padding>\d+))?)?"
    r"|R(?P<residual>\d*)|U(?P<up>\d+)|P(?P<pool>\d+)|FC-(?P<features>\d+)-(?P<out>\d+)"
)


def parse_layers(config: BackboneConfig) -> tuple[int, list[LayerSpec]]:
    """Parse `config.arch` to the number of input channels and the layers.

    Raises:
        ValueError: a token is invalid or misplaced; the message names it.
    """
    input_channels = channels = 3
    flat, layers = False, []
    for position, token in enumerate(config.arch.split(",")):
        match = TOKEN_PATTERN.fullmatch(token.strip())
        location = f"token {position + 1}, {token.strip()!r}, of {config.arch!r}"
        if match is None:
            raise ValueError(f"{location} is invalid; expected IX, CK-O[-S[-P]], R, UX, PX or FC-I-O")
        parts = {name: int(text) for name, text in match.groupdict().items() if text}
        if 0 in [value for name, value in parts.items() if name != "padding"]:
            raise ValueError(f"{location} has a size of 0")
        if flat and "features" not in parts:
            raise ValueError(f"{location} comes after FC, which leaves no feature map")
        if "input" in parts:
            if position:
                raise ValueError(f"{location} must be the first")
            input_channels = channels = parts["input"]
        elif "kernel" in parts:
            stride, padding = parts.get("stride", 1), _resolve_padding(parts, config.padding, location)
            channels = parts["width"]
            layers.append(LayerSpec("convolution", parts["kernel"], channels, stride, padding))
        elif "features" in parts:
            flat, channels = True, parts["out"]
            layers.append(LayerSpec("linear", parts["features"], channels))
        elif match["residual"] is not None:
            kernel = parts.get("residual", 3)
            if not kernel % 2:
                raise ValueError(f"{location} needs an odd kernel size")
            layers.append(LayerSpec("residual", kernel, channels, 1, kernel // 2))
        else:
            kind, size = ("up", parts["up"]) if "up" in parts else ("pool", parts["pool"])
            layers.append(LayerSpec(kind, size, channels))  # type: ignore[arg-type]
    if not any(layer.kind == "convolution" for layer in layers):
        raise ValueError(f"{config.arch!r} has no convolution")
    return input_channels, layers


def _resolve_padding(parts: dict[str, int], mode: Padding, location: str) -> int:
    """Padding of a convolution."""
    if "padding" in parts:
        return parts["padding"]
    if mode == "explicit":
        raise ValueError(f"{location} must state its padding, CK-O-S-P")
    if mode == "same" and not parts["kernel"] % 2:
        raise ValueError(f"{location}: padding same needs an odd kernel size, found {parts['kernel']}")
    return (parts["kernel"] - 1) // 2 if mode == "same" else 0


SMALL_ARCH, LARGE_ARCH = "C4-64-2,C4-128-2,C4-256-2", "C4-64-2,C4-128-2,C4-256-2,C4-512-2"


class DiscriminatorsConfig(Config):
    """Discriminators, one per image size, smallest first; an empty list means none."""

    image: tuple[BackboneConfig, ...] = Field(
        default=(BackboneConfig(arch=SMALL_ARCH),), description="real or generated, per patch"
    )
    identity: tuple[BackboneConfig, ...] = Field(
        default=(BackboneConfig(arch=SMALL_ARCH),), description="real or generated, and identity"
    )
    condition: tuple[BackboneConfig, ...] = Field(
        default=(), description="whether image and voice match; no released model uses it"
    )
    hidden_dim: int = Field(
        default=1024, ge=1, description="features before the heads of the identity discriminators"
    )

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        counts = {len(each) for each in (self.image, self.identity, self.condition) if each}
        if len(counts) > 1:
            raise ValueError(f"every kind needs the same number of discriminators, found {sorted(counts)}")
        return self

    def require_image_sizes(self, image_sizes: Sequence[int]) -> None:
        """Check that every backbone accepts its images.

        Args:
            image_sizes: in pixels, smallest first.

        Raises:
            ValueError: the numbers of backbones and sizes differ, or images are too small for a backbone.
        """
        for name in ("image", "identity", "condition"):
            backbones = getattr(self, name)
            if backbones and len(backbones) != len(image_sizes):
                raise ValueError(
                    f"one {name} discriminator per image size is required: {len(image_sizes)} sizes "
                    f"({', '.join(map(str, image_sizes))} pixels), {len(backbones)} discriminators"
                )
            for backbone, image_size in zip(backbones, image_sizes):
                compute_output_size(backbone, image_size)


def compute_output_size(config: BackboneConfig, image_size: int) -> int:
    """Side of the feature maps after a backbone, 1 after a linear layer.

    Args:
        config: its layers.
        image_size: in pixels.

    Raises:
        ValueError: the images are too small, or a linear layer expects another number of inputs.
    """
    size, channels = image_size, parse_layers(config)[0]
    for layer in parse_layers(config)[1]:
        previous = size
        if layer.kind == "convolution":
            size = (size + 2 * layer.padding - layer.size) // layer.stride + 1
        elif layer.kind == "up":
            size *= layer.size
        elif layer.kind == "pool":
            size = (size - layer.size) // layer.size + 1
        elif layer.kind == "linear":
            if channels * size * size != layer.size:
                raise ValueError(
                    f"{config.arch!r}: FC takes {layer.size} numbers, but images of {image_size} pixels "
                    f"leave {channels * size * size}"
                )
            size = 1
        if size < 1:
            raise ValueError(
                f"images of {image_size} pixels are too small for the discriminator {config.arch!r}: a layer "
                f"of {layer.size} x {layer.size} meets a map of {previous} pixels"
            )
        channels = layer.out
    return size
