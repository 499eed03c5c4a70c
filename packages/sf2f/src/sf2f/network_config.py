"""Configuration of generator, losses and preprocessing; importable without torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from voiceface.runtime.config import Config

__all__ = [
    "DEFAULT_CONFIG",
    "FACE_BOX",
    "KERNEL_PADDING",
    "LAYER_WEIGHTS",
    "N_MELS",
    "AnyDecoderConfig",
    "AttentionKind",
    "AttnV2FDecoderConfig",
    "DecoderConfig",
    "EncoderConfig",
    "FaceGanDecoderConfig",
    "FaceGanV2DecoderConfig",
    "FrozenNorms",
    "FuserConfig",
    "FuserKind",
    "GanKind",
    "GeneratorConfig",
    "LossConfig",
    "MRDecoderConfig",
    "MelNormalisation",
    "Normalisation",
    "SpeechConfig",
    "Statistics",
    "V2FDecoderConfig",
    "WindowsConfig",
]
Normalisation = Literal["none", "batch", "instance"]


class V2FDecoderConfig(Config):
    """Transposed convolutions, after voice2face."""

    kind: Literal["v2f"] = "v2f"
    channels: tuple[PositiveInt, ...] = Field(
        default=(1024, 512, 256, 128, 64),
        min_length=1,
        description="channels at 4 x 4 pixels and after each upsampling layer",
    )
    normalisation: Normalisation = Field(default="none", description="after the ReLU of each layer")
    image_channels: int = Field(default=3, ge=1, description="channels of the image")

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Image sides in pixels, smallest first."""
        return (4 * 2 ** (len(self.channels) - 1),)


class FaceGanDecoderConfig(Config):
    """SF2F decoder for one image size: GLU upsampling blocks; 64 pixels with the default channels."""

    kind: Literal["facegan"] = "facegan"
    channels: tuple[PositiveInt, ...] = Field(
        default=(512, 256, 128, 64, 32),
        min_length=1,
        description="channels at 4 x 4 pixels and after each upsampling layer",
    )
    image_channels: int = Field(default=3, ge=1, description="channels of the image")

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Image sides in pixels, smallest first."""
        return (4 * 2 ** (len(self.channels) - 1),)


class FaceGanV2DecoderConfig(Config):
    """SF2F decoder for two image sizes, the second twice the first."""

    kind: Literal["facegan_v2"] = "facegan_v2"
    channels: tuple[PositiveInt, ...] = Field(
        default=(512, 256, 128, 64, 32), min_length=1, description="as facegan, up to the smaller image"
    )
    mid_channels: int = Field(default=16, ge=1, description="channels at the size of the larger image")
    image_channels: int = Field(default=3, ge=1, description="channels of the images")

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Image sides in pixels, smallest first."""
        low = 4 * 2 ** (len(self.channels) - 1)
        return low, 2 * low


class MRDecoderConfig(Config):
    """Images of two or three sizes, each twice the previous one."""

    kind: Literal["mr"] = "mr"
    channels: tuple[PositiveInt, ...] = Field(
        default=(1024, 512, 256, 128, 64), min_length=1, description="up to the smallest image, as v2f"
    )
    mid_channels: int = Field(default=32, ge=1, description="channels at twice its size")
    high_channels: int | None = Field(
        default=None, ge=1, description="channels at four times its size; null: no such image"
    )
    normalisation: Normalisation = Field(default="none", description="after the ReLU of each layer")
    use_up_blocks: bool = Field(
        default=False, description="nearest-neighbour upsampling and GLU above the base"
    )
    extra_feature_map: bool = Field(
        default=False, description="concatenate the embedding as a feature map before each of these"
    )
    image_channels: int = Field(default=3, ge=1, description="channels of the images")

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Image sides in pixels, smallest first."""
        low = 4 * 2 ** (len(self.channels) - 1)
        return (low, 2 * low) if self.high_channels is None else (low, 2 * low, 4 * low)


class AttnV2FDecoderConfig(Config):
    """The v2f decoder whose levels can attend to the encoder's sequence."""

    kind: Literal["attn_v2f"] = "attn_v2f"
    channels: tuple[PositiveInt, ...] = Field(
        default=(1024, 512, 256, 128, 64), min_length=1, description="as v2f"
    )
    attention_channels: tuple[NonNegativeInt, ...] = Field(
        default=(0, 0, 64, 0, 0), description="channels that attention adds at each level; 0: none"
    )
    normalisation: Normalisation = Field(default="none", description="after the ReLU of each layer")
    image_channels: int = Field(default=3, ge=1, description="channels of the image")

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if len(self.attention_channels) != len(self.channels):
            raise ValueError(
                f"attention_channels needs one number per level: found "
                f"{len(self.attention_channels)} numbers for {len(self.channels)} levels"
            )
        return self

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Image sides in pixels, smallest first."""
        return (4 * 2 ** (len(self.channels) - 1),)


AttentionKind = Literal["general", "dot"]
FuserKind = Literal["v1", "v2", "v3"]


class FuserConfig(Config):
    """How windows are fused; the defaults are the published ones."""

    kind: FuserKind = Field(
        default="v1",
        description="v1: one layer (as in the paper); v2: two; v3: two, the second sees both inputs",
    )
    attention: AttentionKind = Field(
        default="general", description="general: queries are projected first; dot: they are not"
    )
    ignore_tanh: bool = Field(
        default=True, description="v1: no tanh after the layer; v2 and v3 fix this themselves"
    )
    linear_out: bool = Field(
        default=True, description="project the concatenated mixture and query to one vector"
    )
    normalise: bool = Field(default=True, description="L2-normalise the fused vector")


KERNEL_PADDING = {2: 1, 3: 1, 5: 2, 7: 3}
"""Padding by kernel size in an inception block, in the order of concatenation."""


class EncoderConfig(Config):
    """Sizes of the voice encoder; the defaults are those of the released SF2F models."""

    n_mels: int = Field(default=40, ge=1, description="mel bands M")
    channels: tuple[int, ...] = Field(
        default=(256, 384, 576, 864),
        min_length=1,
        description="channels of the blocks; each block halves the time axis",
    )
    embedding_dim: int = Field(default=512, ge=1, description="embedding size D")
    inception: bool = Field(default=True, description="parallel kernels of 2, 3, 5 and 7 frames; else 3 only")
    normalise: bool = Field(default=True, description="L2-normalise embeddings")
    noise_std: float = Field(
        default=0.0, ge=0, description="standard deviation of Gaussian noise on the embedding; 0.05 in v2f"
    )
    noise_in_evaluation: bool = Field(
        default=False, description="also add noise in evaluation, as published: every image then differs"
    )

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        invalid = [
            width for width in self.channels if width < 1 or (self.inception and width % len(KERNEL_PADDING))
        ]
        if invalid:
            raise ValueError(f"channels must be positive, and multiples of 4 with inception; found {invalid}")
        return self


class WindowsConfig(Config):
    """Windows of an identity that are fused to one embedding."""

    width: int = Field(default=125, ge=1, description="frames of a window (10 ms each)")
    stride: int = Field(default=125, ge=1, description="frames from one window to the next")
    max_windows: int = Field(default=20, ge=1, description="maximum number of windows of an identity")
    random_start: bool = Field(
        default=True, description="in training, drop a random number of frames at the start of each utterance"
    )
    shuffle: bool = Field(
        default=True, description="in training, shuffle the utterances; otherwise they are sorted by name"
    )
    missing: Literal["mask", "error"] = Field(
        default="mask",
        description="identities with fewer than `max_windows` windows: mask pads and masks the missing ones "
        "(an identity without one whole window gets a padded one); error, as published, raises",
    )


GanKind = Literal["gan", "wgan", "lsgan"]


class LossConfig(Config):
    """Weights of the generator's terms; the defaults are those of `sf2f_1st_stage`.

    Discriminators are not weighted in their own loss. To disable one, remove it from `DiscriminatorsConfig`;
    the published option files use negative weights for that.
    """

    gan_type: GanKind = Field(
        default="gan", description="gan: logistic; wgan: plain means; lsgan: squared errors"
    )
    pixel: float = Field(default=10.0, ge=0, description="mean absolute difference, per image size")
    adversarial: float = Field(default=1.0, ge=0, description="factor of all discriminator terms")
    image: float = Field(default=1.0, ge=0, description="image discriminators")
    identity: float = Field(default=0.05, ge=0, description="identity discriminators, both heads")
    condition: float = Field(default=1.0, ge=0, description="conditional discriminators")
    perceptual: float = Field(default=100.0, ge=0, description="hidden features of FaceNet; 0: not computed")
    cosine: float = Field(
        default=0.0, ge=0, description="1 - cosine of FaceNet embeddings, inside the perceptual term"
    )


AnyDecoderConfig = (
    V2FDecoderConfig | FaceGanDecoderConfig | FaceGanV2DecoderConfig | MRDecoderConfig | AttnV2FDecoderConfig
)
DecoderConfig = Annotated[AnyDecoderConfig, Field(discriminator="kind")]


class GeneratorConfig(Config):
    """Sizes of all parts; the defaults are those of `sf2f_1st_stage`."""

    encoder: EncoderConfig = EncoderConfig()
    fuser: FuserConfig | None = Field(default=None, description="null: single windows only (stage 1)")
    decoder: DecoderConfig = FaceGanDecoderConfig()

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if self.fuser and self.decoder.kind == "attn_v2f":
            raise ValueError("the attn_v2f decoder attends to the sequence of one window; remove the fuser")
        return self

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Image sides in pixels, smallest first."""
        return self.decoder.image_sizes


FrozenNorms = Literal["fixed", "batch_statistics"]
LAYER_WEIGHTS = (1 / 16, 1 / 8, 1 / 4, 1.0)
FACE_BOX = (0.235, 0.195, 0.765, 0.915)
"""Left, top, right, bottom of the face in images of HQ-VoxCeleb, as fractions of width and height."""
Statistics = Literal["imagenet", "standard"]
"""Mean and standard deviation per channel: of ImageNet, or 0.5 and 0.5."""


N_MELS = 40  # bands of the published features


class SpeechConfig(Config):
    """How features are computed from recordings; the defaults are the published values."""

    sample_rates: Literal["resample", "published"] = Field(
        default="resample",
        description="resample: every recording to 16 kHz; published: 8, 16, 32 and 48 kHz only, taken as "
        "they are (bands then reach half that rate, and frames are truncated to 512 samples)",
    )
    channel: Literal["mean", "first"] = Field(
        default="mean",
        description="how several channels are mixed; the published code reads them as one wave",
    )
    remove_silence: bool = Field(default=True, description="remove silence by voice activity detection")
    detector: Literal["webrtc", "silero"] = Field(
        default="webrtc",
        description="voice activity detector: webrtc, as published, or silero (`voiceface-shared[silero]`)",
    )
    aggressiveness: int = Field(default=1, ge=0, le=3, description="aggressiveness of webrtc; 3 removes most")
    frame_ms: Literal[10, 20, 30] = Field(default=30, description="frame length of the detector, ms")
    padding_ms: int = Field(default=300, ge=10, description="length of the ring buffer, ms")
    voiced_fraction: float = Field(
        default=0.9, gt=0, lt=1, description="fraction of the ring buffer that starts or ends a segment"
    )
    n_mels: int = Field(default=N_MELS, ge=1, description="mel bands")

    @property
    def ring_size(self) -> int:
        """Frames of the ring buffer."""
        return max(1, self.padding_ms // self.frame_ms)


DEFAULT_CONFIG = SpeechConfig()


class MelNormalisation(Config):
    """`(x - mean) / std`, one pair of numbers for all bands; the default is the published `vox_mel`.

    `python -m sf2f.mel_statistics` measures both for other recordings.
    """

    mean: float = Field(default=10.9915, description="mean of log-mel values")
    std: float = Field(default=3.1661, gt=0, description="standard deviation of log-mel values")

    @property
    def fill_value(self) -> float:
        """Padding value of short recordings: the normalised value of a log-mel of 0."""
        return (0.0 - self.mean) / self.std
