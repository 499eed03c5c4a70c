"""Typed configuration that all voice-face association systems share, importable without torch.

A system extends `AssociationConfig` by its networks and by sections of its own.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from voiceface.association.encoder_config import EncodersConfig
from voiceface.datasets.augmentation_config import AugmentationConfig
from voiceface.runtime.config import Config
from voiceface.training.settings import NonNegative, OptimiserConfig, Positive, ScheduleConfig

TEST_LISTS = (
    "match_g_v2f_2_test",
    "match_g_f2v_2_test",
    "match_v2f_2_test",
    "match_f2v_2_test",
    "verify_g_v2f_test",
    "verify_g_f2v_test",
    "verify_v2f_test",
    "verify_f2v_test",
    "reterival_v2f_test",
    "reterival_f2v_test",
)


class DataConfig(Config):
    """How recordings and pictures reach the networks. Lengths in samples of 16 kHz.

    `resize_mode`: how a picture that is not square becomes square: `letterbox` (the longer side fits, grey
    beside the shorter one) or `stretch` (both sides fit, the proportions change). `channels`: order of the
    colours that the face network is given. `sample_scale`: `int16` (any file in the 16-bit range) or `native`
    (numbers as they stand in the file, whatever its sample format). `colour_jitter`: strength of a random
    contrast and colour cast of training pictures; none as published. `corrupt_audio`: recordings of which
    something is lost are an error (`error`), or are used as far as they go and reported (`salvage`). Those
    without any sound are always an error.
    """

    clip_samples: Positive = 160_000
    crop_samples: tuple[int, int] = (40_000, 80_000)
    rotation: Literal["expand_centred", "published"] = "expand_centred"
    resize_mode: Literal["letterbox", "stretch"] = "letterbox"
    channels: Literal["bgr", "rgb"] = "bgr"
    colour_jitter: float = Field(0.0, ge=0, le=1)
    augmentation: AugmentationConfig | None = Field(None, description="further random changes; null: none")
    in_memory: bool = False
    sample_scale: Literal["int16", "native"] = "int16"
    resample: bool = False
    corrupt_audio: Literal["error", "salvage"] = "error"

    @model_validator(mode="after")
    def _augmentation_fits_scale(self) -> Self:
        voice = self.augmentation.voice if self.augmentation else None
        if voice and voice.waveform_items and self.sample_scale != "int16":
            raise ValueError(
                f"data.augmentation.voice.{voice.waveform_items[0]} needs data.sample_scale=int16, found "
                f"{self.sample_scale}: the level of other samples is unknown"
            )
        return self

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        low, high = self.crop_samples
        if not 0 < low < high <= self.clip_samples:
            raise ValueError(
                f"data.crop_samples [{low}, {high}]: expected 0 < shortest < longest (excluded) <= "
                f"clip_samples {self.clip_samples}"
            )
        return self


class TrainingConfig(Config):
    """Length, batches and what happens when."""

    seed: NonNegative = 1
    max_steps: Positive = 10_000
    batch_size: int = Field(64, ge=2)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    num_workers: NonNegative = 4
    freeze: tuple[Literal["face", "voice"], ...] = ()
    checkpoint_interval: Positive = 2_000
    validation_interval: int | None = Field(2_000, gt=0)
    validation_start: NonNegative = 2_000
    log_interval: Positive = 100


class EvaluationConfig(Config):
    """What `test` measures, on lists of the corpus's list folder."""

    validation_list: str = "match_v2f_2_val"
    lists: tuple[str, ...] = TEST_LISTS
    tie_breaking: Literal["expected", "first"] = "expected"
    voice_batch_size: Positive = 32
    face_batch_size: Positive = 64


class AssociationConfig(Config):
    """Sections of an experiment that all systems share."""

    name: str
    model: EncodersConfig
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def with_input_options(
        self, *, resample: bool | None = None, on_corrupt: Literal["error", "salvage"] | None = None
    ) -> Self:
        """Copy the configuration with options for reading utterances; None keeps a value."""
        options = {"resample": resample, "corrupt_audio": on_corrupt}
        chosen = {key: value for key, value in options.items() if value is not None}
        return self.model_copy(update={"data": self.data.model_copy(update=chosen)})

    def frontend_signature(self) -> str:
        """Describe what decides an embedding besides the weights; options only where not the default."""
        data = self.data
        words = [f"{data.clip_samples} {self.model.face.image_size} {data.resample}"]
        words += ["salvage"] if data.corrupt_audio == "salvage" else []
        for key in ("resize_mode", "channels", "sample_scale"):
            value = getattr(data, key)
            words += [f"{key}={value}"] if value != DataConfig.model_fields[key].default else []
        return " ".join(words)

    @model_validator(mode="after")
    def _warm_up_fits(self) -> Self:
        schedule, steps = self.schedule, self.training.max_steps
        if schedule.kind == "cosine" and schedule.warm_up >= steps:
            raise ValueError(
                f"schedule.warm_up {schedule.warm_up} does not fit into training.max_steps {steps}: expected "
                f"0..{steps - 1}"
            )
        return self
