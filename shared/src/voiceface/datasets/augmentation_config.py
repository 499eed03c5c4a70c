"""Configuration of random changes of training data: section `data.augmentation` (docs/augmentation.md).

Every item is absent (null) unless it is configured; an item that is named without values has the defaults
below.
"""

from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from voiceface.runtime.config import Config

__all__ = [
    "MP3_KBPS",
    "AugmentationConfig",
    "BlurConfig",
    "CodecConfig",
    "ColourConfig",
    "ErasingConfig",
    "FaceAugmentationConfig",
    "JpegConfig",
    "NoiseConfig",
    "ReverberationConfig",
    "SpecAugmentConfig",
    "SpeedConfig",
    "VoiceAugmentationConfig",
    "require_spec_augment_only",
]

MP3_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
"""Bit rates of MPEG-2 layer III, which covers a sample rate of 16 kHz, in kbit/s."""
Codec = Literal["telephone", "mp3"]
Probability = Annotated[float, Field(ge=0, le=1)]


def _within(low: float, high: float) -> AfterValidator:
    """Validator of a range: low <= smallest <= largest <= high."""

    def check(values: tuple[float, float]) -> tuple[float, float]:
        if not low <= values[0] <= values[1] <= high:
            raise ValueError(f"expected [smallest, largest] within {low:g}...{high:g}")
        return values

    return AfterValidator(check)


Range = tuple[float, float]


class SpeedConfig(Config):
    """Playback speed; pitch changes with it. Needs torchaudio."""

    probability: Probability = 0.5
    factor: Annotated[Range, _within(0.5, 2)] = Field((0.9, 1.1), description="in steps of 0.01")


class ReverberationConfig(Config):
    """Impulse responses: of a folder of recordings, or synthetic ones. Needs torchaudio."""

    probability: Probability = 0.5
    folder: str | None = Field(None, description="sound files, searched recursively; null: synthetic")
    decay_seconds: Annotated[Range, _within(0.02, 10)] = Field((0.1, 0.6), description="synthetic: RT60")
    direct_to_reverberant_db: Annotated[Range, _within(-20, 60)] = Field((0.0, 15.0), description="synthetic")


class NoiseConfig(Config):
    """Additive noise: of a folder of recordings, or generated."""

    probability: Probability = 0.5
    folder: str | None = Field(None, description="sound files, searched recursively; null: generated")
    snr_db: Annotated[Range, _within(-30, 80)] = (5.0, 25.0)
    exponent: Annotated[Range, _within(-2, 4)] = Field(
        (0.0, 2.0), description="generated: power falls as 1 / f^exponent; 0 white, 1 pink, 2 brown"
    )


class CodecConfig(Config):
    """One codec of `kinds`: telephone band with mu-law (needs torchaudio), or mp3."""

    probability: Probability = 0.5
    kinds: tuple[Codec, ...] = get_args(Codec)
    mp3_kbps: tuple[int, ...] = Field((16, 24, 32, 64), description="bit rates, one is sampled")

    @model_validator(mode="after")
    def _check_choices(self) -> Self:
        if not self.kinds or len(set(self.kinds)) != len(self.kinds):
            raise ValueError(f"expected different kinds, one at least, found {list(self.kinds)}")
        if not self.mp3_kbps or not set(self.mp3_kbps) <= set(MP3_KBPS):
            raise ValueError(f"mp3_kbps: expected some of {list(MP3_KBPS)}, found {list(self.mp3_kbps)}")
        return self


class SpecAugmentConfig(Config):
    """Masked bands and frames of the spectrogram; widths are fractions of the bands and of the frames."""

    probability: Probability = 0.5
    frequency_masks: int = Field(1, ge=0, le=10)
    frequency_width: Annotated[Range, _within(0, 1)] = (0.0, 0.2)
    time_masks: int = Field(1, ge=0, le=10)
    time_width: Annotated[Range, _within(0, 1)] = (0.0, 0.2)


class VoiceAugmentationConfig(Config):
    """Changes of voices, in the order in which they are applied."""

    speed: SpeedConfig | None = None
    reverberation: ReverberationConfig | None = None
    noise: NoiseConfig | None = None
    codec: CodecConfig | None = None
    spec_augment: SpecAugmentConfig | None = None

    @property
    def waveform_items(self) -> tuple[str, ...]:
        """Names of the configured items that change waveforms rather than spectrograms."""
        names = ("speed", "reverberation", "noise", "codec")
        return tuple(name for name in names if getattr(self, name) is not None)


class ColourConfig(Config):
    """Brightness, contrast and saturation as factors; hue as a shift in turns of the colour circle."""

    probability: Probability = 0.5
    brightness: Annotated[Range, _within(0, 4)] = (0.7, 1.3)
    contrast: Annotated[Range, _within(0, 4)] = (0.7, 1.3)
    saturation: Annotated[Range, _within(0, 4)] = (0.7, 1.3)
    hue: Annotated[Range, _within(-0.5, 0.5)] = (-0.02, 0.02)


class BlurConfig(Config):
    """Gaussian blur; `sigma` in pixels of the network's input."""

    probability: Probability = 0.5
    sigma: Annotated[Range, _within(0.05, 50)] = (0.2, 1.5)


class JpegConfig(Config):
    """JPEG compression of the network's input."""

    probability: Probability = 0.5
    quality: Annotated[tuple[int, int], _within(1, 100)] = (30, 95)


class ErasingConfig(Config):
    """One rectangle filled with grey; `area` as a fraction of the image, `aspect_ratio` height over width."""

    probability: Probability = 0.5
    area: Annotated[Range, _within(0, 1)] = (0.02, 0.2)
    aspect_ratio: Annotated[Range, _within(0.05, 20)] = (0.3, 3.3)


class FaceAugmentationConfig(Config):
    """Changes of face images, in the order in which they are applied."""

    colour: ColourConfig | None = None
    blur: BlurConfig | None = None
    jpeg: JpegConfig | None = None
    erasing: ErasingConfig | None = None


class AugmentationConfig(Config):
    """Random changes of training data; validation and evaluation never use them."""

    voice: VoiceAugmentationConfig | None = None
    face: FaceAugmentationConfig | None = None


def require_spec_augment_only(config: AugmentationConfig | None) -> AugmentationConfig | None:
    """Validator for systems that train from stored features: only `voice.spec_augment` may be configured.

    Raises:
        ValueError: another item is; the message names its key.
    """
    sections = {"voice": config.voice, "face": config.face} if config else {}
    items = [f"{key}.{name}" for key, section in sections.items() for name, value in section or () if value]
    if others := [item for item in items if item != "voice.spec_augment"]:
        key = f"data.augmentation.{others[0]}"
        raise ValueError(
            f"{key}: this system trains from features that are computed beforehand and from unchanged faces; "
            f"only voice.spec_augment applies; set {key}=null"
        )
    return config
