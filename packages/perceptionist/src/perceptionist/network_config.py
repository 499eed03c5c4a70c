"""Configuration of all networks, losses and the speech front end, importable without torch."""

from typing import Literal, Self

from pydantic import Field, model_validator
from voiceface.runtime.config import Config

__all__ = [
    "DEFAULT_CONFIG",
    "PUBLISHED_STAGES",
    "Columns",
    "DistillationConfig",
    "ExpertLossConfig",
    "FaceNetworkConfig",
    "GeneratorConfig",
    "GeneratorLossConfig",
    "ImageTo3DConfig",
    "PktOrder",
    "RefinerConfig",
    "SpeechConfig",
    "StageConfig",
    "SupervisedHeadConfig",
    "TripletConfig",
    "TripletDistance",
    "VoiceNetworkConfig",
]
Columns = Literal["matching", "first"]


class ExpertLossConfig(Config):
    """Weights of the five terms, and the outputs of the reverse network that they compare."""

    landmarks: float = Field(default=0.05, ge=0, description="wing loss of the landmarks")
    parameters: float = Field(default=0.02, ge=0, description="error of the parameters")
    refined: float = Field(default=0.05, ge=0, description="wing loss of the refined landmarks")
    residual_scale: float = Field(
        default=0.05, ge=0, description="scale of the residual that refines the landmarks"
    )
    reverse: float = Field(default=0.02, ge=0, description="reverse network against the ground truth")
    consistency: float = Field(default=0.001, ge=0, description="reverse network against the expert")
    columns: Columns = Field(
        default="matching",
        description="matching: shape and expression with shape and expression; first: the reverse network's "
        "first 50 outputs with them, pose included, as published",
    )


class FaceNetworkConfig(Config):
    """Sizes of the face embedding network; the defaults are the published ones, for 64 x 64 pixels."""

    image_channels: int = Field(default=3, ge=1, description="channels of the image")
    channels: tuple[int, ...] = Field(
        default=(32, 64, 128, 256, 512),
        min_length=1,
        description="after the first layer and after each layer that halves the side, down to 4 x 4 pixels",
    )
    embedding_dim: int = Field(default=64, ge=1, description="length D of the embedding")

    @property
    def image_size(self) -> int:
        """Image side S in pixels."""
        return 4 * 2 ** (len(self.channels) - 1)


class GeneratorConfig(Config):
    """Sizes of the generator; the defaults are the published ones, 64 x 64 pixels."""

    embedding_dim: int = Field(default=64, ge=1, description="length D of the embedding")
    channels: tuple[int, ...] = Field(
        default=(1024, 512, 256, 128, 64),
        min_length=1,
        description="after the first layer (4 x 4 pixels) and after each layer that doubles the side",
    )
    image_channels: int = Field(default=3, ge=1, description="channels of the image")

    @property
    def image_size(self) -> int:
        """Image side S in pixels."""
        return 4 * 2 ** (len(self.channels) - 1)


class StageConfig(Config):
    """A stage of inverted residual blocks of one width; the first has the stride."""

    expansion: float = Field(ge=1, description="hidden channels over input channels; 1: no expanding layer")
    channels: int = Field(ge=1)
    blocks: int = Field(ge=1)
    stride: int = Field(ge=1, le=2)


PUBLISHED_STAGES = tuple(
    StageConfig(expansion=t, channels=c, blocks=n, stride=s)
    for t, c, n, s in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
)


class ImageTo3DConfig(Config):
    """Sizes of the network; the defaults are the published ones, 102 parameters from 120 x 120 pixels."""

    image_size: int = Field(default=120, ge=8, description="image side S, pixels")
    stem: int = Field(default=32, ge=1, description="channels of the first layer, which halves the side")
    stages: tuple[StageConfig, ...] = Field(default=PUBLISHED_STAGES, min_length=1)
    num_features: int = Field(default=1280, ge=1, description="channels P of the last layer, before pooling")
    inter_block: int = Field(
        default=8, ge=0, description="index of the block whose output is returned as `inter`"
    )
    pose: int = Field(default=12, ge=0, description="pose parameters: rows of [P | t]")
    shape: int = Field(default=40, ge=1, description="shape coefficients")
    expression: int = Field(default=10, ge=0, description="expression coefficients")
    texture: int = Field(default=40, ge=0, description="texture coefficients, unused; 0: no head")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="dropout before each head")

    @property
    def num_parameters(self) -> int:
        """Number of outputs."""
        return self.pose + self.shape + self.expression + self.texture

    @property
    def num_blocks(self) -> int:
        """Index of the last block: the 1 x 1 convolution after the stages."""
        return 1 + sum(stage.blocks for stage in self.stages)

    @model_validator(mode="after")
    def _inter_is_a_block(self) -> Self:
        if self.inter_block > self.num_blocks:
            raise ValueError(
                f"inter_block must be one of the blocks 0...{self.num_blocks}, found {self.inter_block}"
            )
        return self


PktOrder = Literal["student_first", "teacher_first"]


class DistillationConfig(Config):
    """Distillation from the expert (teacher) into the student."""

    vertex_weight: float = Field(default=0.5, ge=0, description="weight of the squared vertex distance")
    pkt_weight: float = Field(
        default=10000.0, ge=0, description="weight of the probabilistic knowledge transfer (PKT) of features"
    )
    update_generator: bool = Field(
        default=True,
        description="whether the gradient reaches the generator, as published; the loss is smallest where "
        "all images are alike",
    )
    pkt_order: PktOrder = Field(
        default="student_first",
        description="order of the arguments of PKT, which is asymmetric: student_first as its authors define "
        "it; teacher_first as the published code calls it",
    )


class GeneratorLossConfig(Config):
    """Weights of the generator's adversarial, identity and pixel terms.

    The two published terms reach the generator through networks that overfit on few images; with hundreds of
    identities instead of a thousand, and minutes instead of days, the generator learns little from them.
    `pixel_weight` is not published and requires `data.face_sampling: same_identity`.
    """

    adversarial_weight: float = Field(default=1.0, ge=0, description="weight of the discriminator's term")
    identity_weight: float = Field(default=1.0, ge=0, description="weight of the classifier's term")
    pixel_weight: float = Field(
        default=0.0,
        ge=0,
        description="weight of the mean absolute difference from an image of the same identity, in units of "
        "half the range; 0: as published",
    )


TripletDistance = Literal["vertex", "axis"]


class TripletConfig(Config):
    """Triplet loss on meshes: those of one identity are to be nearer than those of two."""

    weight: float = Field(default=1.5, ge=0)
    margin: float = Field(default=1.0, ge=0, description="pixels")
    distance: TripletDistance = Field(
        default="vertex",
        description="vertex: mean distance of the vertices; axis: norm over all vertices, for x, y and z "
        "separately, as published",
    )


class RefinerConfig(Config):
    """Sizes of both networks; the defaults are the published ones."""

    point_channels: tuple[int, int] = Field(default=(64, 64), description="channels of the point features")
    global_channels: tuple[int, int, int] = Field(
        default=(64, 128, 1024), description="channels from the point features to the global feature"
    )
    refine_channels: tuple[int, int, int] = Field(
        default=(512, 256, 128), description="hidden channels of the refinement"
    )
    num_features: int = Field(default=1280, ge=1, description="pooled features of the image-to-3D network")
    pose: int = Field(default=12, ge=1)
    shape: int = Field(default=40, ge=1)
    expression: int = Field(default=10, ge=1)


class SpeechConfig(Config):
    """From recordings to features; the defaults are the published values."""

    sample_rates: Literal["resample", "published"] = Field(
        default="resample",
        description="resample: every recording to 16 kHz; published: 8, 16 and 32 kHz only, unchanged, "
        "although the mel bands are those of 16 kHz",
    )
    remove_silence: bool = Field(
        default=True, description="keep only the segments of the voice activity detector"
    )
    detector: Literal["webrtc", "silero"] = Field(
        default="webrtc",
        description="voice activity detector: webrtc, as published, or silero (`voiceface-shared[silero]`)",
    )
    aggressiveness: int = Field(default=2, ge=0, le=3, description="of webrtc; 3 removes most")
    frame_ms: Literal[10, 20, 30] = Field(default=20, description="frame of the detector, ms")
    padding_ms: int = Field(default=50, ge=10, description="length of the collector's ring, ms")
    voiced_fraction: float = Field(
        default=0.9, gt=0, lt=1, description="fraction of the ring that switches the collector on or off"
    )

    @property
    def ring_size(self) -> int:
        """Number of frames in the collector's ring."""
        return max(1, self.padding_ms // self.frame_ms)


DEFAULT_CONFIG = SpeechConfig()


class SupervisedHeadConfig(Config):
    """Sizes of the head; the defaults are the published ones, 51 outputs in total."""

    embedding_dim: int = Field(default=64, ge=1, description="length D of the voice embedding")
    shape: int = Field(default=40, ge=1, description="shape coefficients")
    expression: int = Field(default=10, ge=1, description="expression coefficients")
    dropout: float = Field(default=0.2, ge=0, lt=1)

    @property
    def num_parameters(self) -> int:
        """Number of outputs."""
        return 1 + self.shape + self.expression


class VoiceNetworkConfig(Config):
    """Sizes of the voice network; the defaults are the published ones."""

    n_mels: int = Field(default=64, ge=1, description="mel bands M of the features")
    channels: tuple[int, ...] = Field(
        default=(256, 384, 576, 864),
        min_length=1,
        description="output channels of all convolutions but the last",
    )
    embedding_dim: int = Field(default=64, ge=1, description="length D of the embedding")
