"""Attribute readers: small networks that predict attributes of synthetic faces from images.

An attribute reader predicts sex, the eight face factors, the shape of the head and the skin colour, and an
identity embedding. It was trained on synthetic identities of no preset, so that generated images can be
compared with the ground truth of a population (voiceface.synthetic.agreement). Two independent ones are
bundled:

    evaluation  for evaluation only
    perceptual  for losses in training (its feature maps and its embedding)

They differ in seed and share no training identity, so no generator is trained with the network that evaluates
it. They have no layer that differs between training and evaluation, and are loaded frozen.
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
from voiceface.synthetic.head.shape_space import SHAPE_NAMES
from voiceface.synthetic.identities import FACTORS

__all__ = [
    "BUNDLED_READERS",
    "IMAGE_SIZE",
    "MIN_IMAGE_SIZE",
    "MIN_READABLE_R2",
    "READER_DISCLAIMER",
    "SYSTEM",
    "AttributePrediction",
    "AttributeReader",
    "AttributeReaderConfig",
    "load_reader",
    "perceptual_distance",
    "predict_batched",
    "save_reader",
    "to_float32",
]

SYSTEM = "population"
BUNDLED_READERS = ("evaluation", "perceptual")
IMAGE_SIZE = 64
MIN_IMAGE_SIZE = 32
MIN_READABLE_R2 = 0.25  # minimum R² on unseen identities of a shape coefficient that counts as readable
READER_DISCLAIMER = (
    "Trained on a synthetic population, not on real people: attributes that it predicts say nothing about "
    "real people."
)
_NUM_FACTORS, _NUM_SHAPE = len(FACTORS), len(SHAPE_NAMES)


class AttributeReaderConfig(Config):
    """Size of an attribute reader; defaults are those of the bundled ones."""

    widths: tuple[int, int, int, int] = Field(
        (24, 40, 64, 96), description="channels of the feature maps of 32, 16, 8 and 4 pixels"
    )
    bottleneck_channels: int = Field(
        24, ge=1, description="channels of the last feature map before it is flattened"
    )
    hidden_dim: int = Field(128, ge=1, description="width of the layer that all predictions share")
    embedding_dim: int = Field(64, ge=2, description="length of the embedding")


@dataclass(frozen=True)
class AttributePrediction:
    """Predictions of an attribute reader for B images.

    Attributes:
        embedding: (B, D), unit rows; the cosine is the similarity of identities.
        sex_logit: (B,), positive = male.
        factors: (B, 8) face factors.
        shape: (B, 40) shape coefficients; `AttributeReader.readable_shape` marks the predictable ones.
        skin: (B, 3) unlit skin colour, RGB, about 0 ... 1.
        features: feature maps of 32, 16, 8 and 4 pixels, (B, C, S, S) each; empty after `predict_batched`.
    """

    embedding: Tensor
    sex_logit: Tensor
    factors: Tensor
    shape: Tensor
    skin: Tensor
    features: tuple[Tensor, ...] = ()


class AttributeReader(nn.Module):
    """Attribute reader: four stages of strided convolutions, then linear layers.

    Attributes:
        config: size of the network.
        factor_r2: (8,) R² of the factors on unseen identities, one image each; 0 before training.
        shape_r2: (40,) R² of the shape coefficients, within a sex.
        metadata: metadata of the file: disclaimer, digest, training configuration.
    """

    factor_r2: Tensor
    shape_r2: Tensor

    def __init__(self, config: AttributeReaderConfig | None = None, *, batch_norm: bool = False) -> None:
        """Initialise an untrained attribute reader.

        Args:
            config: size of the network.
            batch_norm: batch normalisation after each convolution, for training; `fuse_batchnorm` removes it.
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
        """(40,) bool: shape coefficients with an R² of at least MIN_READABLE_R2."""
        return self.shape_r2 >= MIN_READABLE_R2

    def forward(self, images: Tensor) -> AttributePrediction:
        """Predict attributes of images; differentiable.

        Args:
            images: (B, 3, S, S) RGB in [0, 1], S at least 32; resized to 64 pixels.

        Raises:
            ValueError: another shape or type.
        """
        shape = tuple(images.shape)
        if images.ndim != 4 or shape[1] != 3 or shape[2] != shape[3] or shape[2] < MIN_IMAGE_SIZE:
            raise ValueError(
                f"expected images (B, 3, S, S) with S >= {MIN_IMAGE_SIZE}, got {shape}; crop to squares and "
                "enlarge small images"
            )
        if not images.is_floating_point():
            raise ValueError(f"expected floating images in [0, 1], got {images.dtype}; divide by 255")
        if shape[2] != IMAGE_SIZE:
            images = F.interpolate(
                images, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False, antialias=True
            )
        value = (images - 0.5) * 4.0
        features = []
        for stage in self.stages:
            value = stage(value)
            features.append(value)
        shared = F.leaky_relu(self.row(self.squeeze(value).flatten(1)), 0.1)
        sex, factors, alpha, skin = self.traits(shared).split([1, _NUM_FACTORS, _NUM_SHAPE, 3], dim=1)
        embedding = F.normalize(self.embed(shared), dim=1)
        return AttributePrediction(embedding, sex[:, 0], factors, alpha, skin, tuple(features))

    def fuse_batchnorm(self) -> "AttributeReader":
        """Return a frozen copy with batch normalisation fused into the convolutions."""
        fused = AttributeReader(self.config).eval().requires_grad_(False)
        state = {key: value for key, value in self.state_dict().items() if ".num_batches_tracked" not in key}
        for key in [key for key in state if key.endswith(".running_var")]:
            unit = key.removesuffix(".1.running_var")
            norm = {name: state.pop(f"{unit}.1.{name}") for name in ("weight", "bias", "running_mean")}
            scale = norm["weight"] * torch.rsqrt(state.pop(key) + nn.BatchNorm2d(1).eps)
            state[f"{unit}.0.weight"] = state[f"{unit}.0.weight"] * scale[:, None, None, None]
            state[f"{unit}.0.bias"] = norm["bias"] - norm["running_mean"] * scale
        load_into(fused, state, source="the trained attribute reader")
        return fused


class _ResidualBlock(nn.Module):
    """Residual block of two units."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, value: Tensor) -> Tensor:
        """Map (B, C, S, S) to the same shape."""
        return value + self.second(self.first(value))


def load_reader(name: str | Path = "evaluation", device: str | torch.device = "cpu") -> AttributeReader:
    """Load a trained attribute reader, frozen and in evaluation mode.

    Args:
        name: "evaluation", "perceptual" (for losses), or a file of `voiceface.synthetic.readers.training`.
        device: device of the network.

    Raises:
        CheckpointError: the file is corrupt or no attribute reader.
        FileNotFoundError: no such file.
    """
    bundled = str(name) in BUNDLED_READERS
    folder = resources.files("voiceface.synthetic") / "weights"
    with resources.as_file(folder / f"{name}.safetensors" if bundled else Path(name)) as path:
        loaded = load_model(path, system=SYSTEM, kind="attribute_reader")
        config = validate_config(loaded.config.get("network", {}), AttributeReaderConfig, f"{path} (network)")
        reader = AttributeReader(config)
        load_into(reader, loaded.state, source=str(path))
    reader.metadata = {**loaded.extra, "sha256": loaded.sha256, "training": loaded.config.get("training", {})}
    return reader.to(device).eval().requires_grad_(False)


def save_reader(
    reader: AttributeReader, path: str | Path, *, training_config: dict[str, Any], metadata: dict[str, Any]
) -> None:
    """Save a fused attribute reader in half precision.

    Args:
        reader: result of `AttributeReader.fuse_batchnorm`.
        path: file name that ends in .safetensors.
        training_config: configuration of the training, JSON values.
        metadata: further JSON values, such as metrics; READER_DISCLAIMER is added.

    Raises:
        CheckpointError: another suffix.
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
    """Predict attributes of any number of images in batches, without gradients and features.

    Args:
        reader: a trained attribute reader.
        images: (N, 3, S, S), floating point in [0, 1] or uint8, on any device.
        batch_size: images per batch.

    Returns:
        Predictions of N rows, float32 on the CPU.

    Raises:
        ValueError: no images, or images of another shape.
    """
    if not len(images):
        raise ValueError("images is empty; expected at least one image")
    predictions = [to_float32(reader(batch)) for batch in _iter_batches(reader, images, batch_size)]
    return _build_prediction(lambda name: torch.cat([getattr(each, name).cpu() for each in predictions]))


def to_float32(prediction: AttributePrediction) -> AttributePrediction:
    """Convert predictions to float32, without features."""
    return _build_prediction(lambda name: getattr(prediction, name).float())


def perceptual_distance(reader: AttributeReader, generated: Tensor, target: Tensor) -> Tensor:
    """Compute the perceptual distance of images from the feature maps and the embedding of a reader.

    Feature vectors are normalised per position, so that dark and bright regions have equal weight. Each of
    the four feature maps and the embedding contributes 0 (equal) to 4 (opposite).

    Args:
        reader: `load_reader("perceptual")`.
        generated: (B, 3, S, S) in [0, 1]; differentiable.
        target: (B, 3, S', S') in [0, 1]; without gradient.

    Returns:
        Distances, shape (B,), 0 ... 20.
    """
    with torch.no_grad():
        expected = reader(target)
    actual = reader(generated)
    total = (actual.embedding - expected.embedding).square().sum(1)
    for features, target_features in zip(actual.features, expected.features):
        difference = _l2_normalize_channels(features) - _l2_normalize_channels(target_features)
        total = total + difference.square().sum(1).mean((1, 2))
    return total


def _l2_normalize_channels(features: Tensor) -> Tensor:
    """Normalise the channel vectors of a feature map (B, C, S, S); 0 stays 0."""
    return features * torch.rsqrt(features.square().sum(1, keepdim=True) + 1e-4)


def _build_prediction(get_field: Callable[[str], Tensor]) -> AttributePrediction:
    """Build a prediction without features from a function of the field's name."""
    return AttributePrediction(
        get_field("embedding"),
        get_field("sex_logit"),
        get_field("factors"),
        get_field("shape"),
        get_field("skin"),
    )


def _iter_batches(reader: AttributeReader, images: Tensor, batch_size: int) -> Iterator[Tensor]:
    device = reader.factor_r2.device
    for batch in images.split(batch_size):
        batch = batch.to(device)
        yield batch.float() if batch.is_floating_point() else batch.float() / 255.0
