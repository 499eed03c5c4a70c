"""Attribute readers: small trained networks that read the image of a synthetic face.

An attribute reader tells sex, the eight face factors, the shape of the head and the colour of the skin, and
gives an embedding of the identity. It was trained on synthetic identities who occur in no preset, so that
images made from voices can be held against the truth of a population (agreement.py). Two independent ones are
bundled:

    evaluation  for evaluation only
    perceptual  for losses in training (its maps and its embedding)

They differ in seed and share no training identity, so no generator is trained on the network that evaluates
it. Nothing in them behaves otherwise in training than in evaluation, and they are loaded frozen.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from voiceface.checkpoints.native import load_into, load_model, save_model
from voiceface.runtime.config import Config, to_dict, validate_config
from voiceface.synthetic.face.head_bases import SHAPE_NAMES
from voiceface.synthetic.identities import FACTORS

SYSTEM = "population"
BUNDLED_READERS = ("evaluation", "perceptual")
IMAGE_SIZE = 64
MIN_IMAGE_SIZE = 32
MIN_READABLE_R2 = 0.25  # least R squared on unseen identities of a shape coefficient that counts as readable
READER_DISCLAIMER = (
    "Trained on a synthetic population, not on real people: attributes that it predicts say nothing about "
    "real people."
)
_NUM_FACTORS, _NUM_SHAPE = len(FACTORS), len(SHAPE_NAMES)


class AttributeReaderConfig(Config):
    """Size of an attribute reader; the defaults are those of the bundled ones."""

    widths: tuple[int, int, int, int] = Field(
        (24, 40, 64, 96), description="channels of the maps of 32, 16, 8 and 4 pixels"
    )
    bottleneck_channels: int = Field(
        24, ge=1, description="channels of the last map before it is laid out as one row"
    )
    hidden_dim: int = Field(128, ge=1, description="width of the layer that all readings share")
    embedding_dim: int = Field(64, ge=2, description="length of the embedding")


@dataclass(frozen=True)
class AttributePrediction:
    """Predictions of an attribute reader for B images.

    Attributes:
        embedding: (B, D), rows of length 1; the cosine tells whether two images show one identity.
        sex_logit: (B,), above 0 = man.
        factors: (B, 8) estimates of g0 ... g7.
        shape: (B, 40) estimates of the shape coefficients; see `Judge.readable` for those that can be seen.
        skin: (B, 3) unlit colour of the skin, red, green, blue; about 0 ... 1.
        features: maps of 32, 16, 8 and 4 pixels, (B, C, S, S) each; skipped by `read`.
    """

    embedding: Tensor
    sex_logit: Tensor
    factors: Tensor
    shape: Tensor
    skin: Tensor
    features: tuple[Tensor, ...] = ()


class AttributeReader(nn.Module):
    """Four stages of strided convolutions, one row, two linear layers.

    Attributes:
        config: its size.
        factor_r2: (8,) R squared of the factors on unseen identities, one image each; 0 before training.
        shape_r2: (40,) of the shape coefficients, within sex.
        metadata: values of its file: disclaimer, digest, training.
    """

    factor_r2: Tensor
    shape_r2: Tensor

    def __init__(self, config: AttributeReaderConfig | None = None, *, batch_norm: bool = False) -> None:
        """Make an untrained attribute reader.

        Args:
            config: its size.
            batch_norm: put batch normalisation after each convolution, for training; `fused` removes it.
        """
        super().__init__()
        self.config = config or AttributeReaderConfig()
        self.metadata: dict[str, Any] = {}
        one, two, three, four = self.config.widths

        def unit(before: int, after: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
            convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=not batch_norm)
            norm = nn.BatchNorm2d(after) if batch_norm else nn.Identity()
            return nn.Sequential(convolution, norm, nn.LeakyReLU(0.1))

        self.stages = nn.ModuleList(
            [
                unit(3, one, 2),
                nn.Sequential(unit(one, two, 2), _ResidualBlock(unit(two, two), unit(two, two))),
                nn.Sequential(unit(two, three, 2), _ResidualBlock(unit(three, three), unit(three, three))),
                unit(three, four, 2),
            ]
        )
        self.squeeze = unit(four, self.config.bottleneck_channels, kernel=1)
        self.row = nn.Linear(
            self.config.bottleneck_channels * (IMAGE_SIZE // 16) ** 2, self.config.hidden_dim
        )
        self.embed = nn.Linear(self.config.hidden_dim, self.config.embedding_dim)
        self.traits = nn.Linear(self.config.hidden_dim, 1 + _NUM_FACTORS + _NUM_SHAPE + 3)
        self.register_buffer("factor_r2", torch.zeros(_NUM_FACTORS))
        self.register_buffer("shape_r2", torch.zeros(_NUM_SHAPE))

    @property
    def readable_shape(self) -> Tensor:
        """(40,) bool: shape coefficients that it reads well enough to be judged by."""
        return self.shape_r2 >= MIN_READABLE_R2

    def forward(self, images: Tensor) -> AttributePrediction:
        """Read images; gradients reach the images.

        Args:
            images: (B, 3, S, S), red, green, blue in [0, 1], S at least 32; brought to 64 pixels inside.

        Raises:
            ValueError: another shape or type.
        """
        shape = tuple(images.shape)
        if images.ndim != 4 or shape[1] != 3 or shape[2] != shape[3] or shape[2] < MIN_IMAGE_SIZE:
            raise ValueError(
                f"expected images (B, 3, S, S) with S >= {MIN_IMAGE_SIZE}, got {shape}; crop them square, "
                "enlarge smaller ones"
            )
        if not images.is_floating_point():
            raise ValueError(f"expected floating images in [0, 1], got {images.dtype}; divide by 255")
        if shape[2] != IMAGE_SIZE:
            images = F.interpolate(
                images, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False, antialias=True
            )
        value = (images - 0.5) * 4.0
        maps = []
        for stage in self.stages:
            value = stage(value)
            maps.append(value)
        shared = F.leaky_relu(self.row(self.squeeze(value).flatten(1)), 0.1)
        sex, factors, alpha, skin = self.traits(shared).split([1, _NUM_FACTORS, _NUM_SHAPE, 3], dim=1)
        embedding = F.normalize(self.embed(shared), dim=1)
        return AttributePrediction(embedding, sex[:, 0], factors, alpha, skin, tuple(maps))

    def fuse_batchnorm(self) -> "AttributeReader":
        """The same attribute reader with batch normalisation worked into the convolutions, without
        gradients.
        """
        plain = AttributeReader(self.config).eval().requires_grad_(False)
        state = {key: value for key, value in self.state_dict().items() if ".num_batches_tracked" not in key}
        for key in [key for key in state if key.endswith(".running_var")]:
            at = key.removesuffix(".1.running_var")
            norm = {word: state.pop(f"{at}.1.{word}") for word in ("weight", "bias", "running_mean")}
            scale = norm["weight"] * torch.rsqrt(state.pop(key) + nn.BatchNorm2d(1).eps)
            state[f"{at}.0.weight"] = state[f"{at}.0.weight"] * scale[:, None, None, None]
            state[f"{at}.0.bias"] = norm["bias"] - norm["running_mean"] * scale
        load_into(plain, state, source="the trained judge")
        return plain


class _ResidualBlock(nn.Module):
    """Adds what two units make of a map to it."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, value: Tensor) -> Tensor:
        """(B, C, S, S) to the same."""
        return value + self.second(self.first(value))


def load_reader(name: str | Path = "evaluation", device: str | torch.device = "cpu") -> AttributeReader:
    """A trained attribute reader, frozen and in evaluation mode.

    Args:
        name: "evaluation" (evaluation), "perceptual" (losses), or a file that judge_training wrote.
        device: where it computes.

    Raises:
        CheckpointError: corrupt, or no attribute reader.
        FileNotFoundError: no such file.
    """
    bundled = str(name) in BUNDLED_READERS
    folder = resources.files("voiceface.synthetic") / "weights"
    with resources.as_file(folder / f"{name}.safetensors" if bundled else Path(name)) as path:
        found = load_model(path, system=SYSTEM, kind="attribute_reader")
        judge = AttributeReader(
            validate_config(found.config.get("network", {}), AttributeReaderConfig, f"{path} (network)")
        )
        load_into(judge, found.state, source=str(path))
    judge.metadata = {**found.extra, "sha256": found.sha256, "training": found.config.get("training", {})}
    return judge.to(device).eval().requires_grad_(False)


def save_reader(
    reader: AttributeReader, path: str | Path, *, training_config: dict[str, Any], metadata: dict[str, Any]
) -> None:
    """Write a fused attribute reader in half precision.

    Args:
        reader: what `Judge.fused` gave.
        path: a name that ends in .safetensors.
        training_config: how it was made, JSON values.
        metadata: further JSON values, such as its metrics; the disclaimer is added.
    """
    save_model(
        path,
        reader.state_dict(),
        system=SYSTEM,
        kind="attribute_reader",
        config={"network": to_dict(reader.config), "training": training_config},
        extra={"disclaimer": READER_DISCLAIMER, **metadata},
        dtype=torch.float16,
    )


@torch.no_grad()
def predict_batched(reader: AttributeReader, images: Tensor, batch_size: int = 128) -> AttributePrediction:
    """Read any number of images in batches, without gradients and maps.

    Args:
        reader: a trained attribute reader.
        images: (N, 3, S, S), floating in [0, 1] or uint8, on any device.
        batch_size: images at a time.

    Returns:
        Reading of N rows, float32 on the CPU.

    Raises:
        ValueError: no image, or not such images.
    """
    if not len(images):
        raise ValueError("there is no image to read")
    parts = [to_float32(reader(part)) for part in _iter_batches(reader, images, batch_size)]

    return _build_prediction(lambda name: torch.cat([getattr(part, name).cpu() for part in parts]))


def to_float32(prediction: AttributePrediction) -> AttributePrediction:
    """The same in float32, without the maps."""
    return _build_prediction(lambda name: getattr(prediction, name).float())


def perceptual_distance(reader: AttributeReader, generated: Tensor, target: Tensor) -> Tensor:
    """Perceptual distance of two images: differences of the feature maps and of the embedding.

    The vectors at each place of a map are brought to length 1 first, so that dark and bright places count the
    same; each of the four maps and the embedding gives a number from 0 (equal) to 4 (opposite).

    Args:
        reader: `load("perceptual")`.
        generated: (B, 3, S, S) in [0, 1]; gradients reach it.
        target: (B, 3, S', S'), the aim; no gradient reaches it.

    Returns:
        (B,) sum of the five numbers.
    """
    with torch.no_grad():
        aim = reader(target)
    found = reader(generated)
    total = (found.embedding - aim.embedding).square().sum(1)
    for here, there in zip(found.features, aim.features):
        total = total + (_l2_normalize_channels(here) - _l2_normalize_channels(there)).square().sum(1).mean(
            (1, 2)
        )
    return total


def _l2_normalize_channels(features: Tensor) -> Tensor:
    """Vectors of length 1 at every place of a map (B, C, S, S); 0 stays 0."""
    return features * torch.rsqrt(features.square().sum(1, keepdim=True) + 1e-4)


def _build_prediction(get_field: Callable[[str], Tensor]) -> AttributePrediction:
    """A reading without maps from a function of the field's name."""
    return AttributePrediction(
        get_field("embedding"),
        get_field("sex_logit"),
        get_field("factors"),
        get_field("shape"),
        get_field("skin"),
    )


def _iter_batches(reader: AttributeReader, images: Tensor, batch_size: int) -> Iterator[Tensor]:
    device = reader.factor_r2.device
    for part in images.split(batch_size):
        part = part.to(device)
        yield part.float() if part.is_floating_point() else part.float() / 255.0
