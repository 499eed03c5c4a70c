"""Typed configuration that all association systems share, importable without PyTorch.

A system extends `AssociationConfig` by its model and its further sections.
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from voiceface.association.encoder_config import EncodersConfig
from voiceface.datasets.augmentation_config import AugmentationConfig
from voiceface.runtime.config import Config
from voiceface.training.settings import NonNegative, OptimiserConfig, Positive, ScheduleConfig

__all__ = [
    "TEST_LISTS",
    "AssociationConfig",
    "DataConfig",
    "EvaluationConfig",
    "RecordingOptions",
    "TrainingConfig",
]

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
    """Preprocessing of utterances and images. Lengths in samples at 16 kHz.

    `resize_mode`: images that are not square are padded with grey (`letterbox`) or change their proportions
    (`stretch`). `channels`: colour order of the input of the face network. `sample_scale`: all samples in the
    16-bit range (`int16`), or as stored in the file (`native`). `colour_jitter`: strength of random contrast
    and colour cast of training images; 0 as published. `corrupt_audio`: utterances that cannot be decoded
    completely are an error (`error`), or the decoded part is used and a warning is logged (`salvage`). Files
    without any decodable audio are always an error. `own_channel`: of people's own recordings, see
    `voiceface.audio.channels.mix_channels`; of data folders the first channel is used, as published.
    """

    clip_samples: Positive = 160_000
    crop_samples: tuple[int, int] = (40_000, 80_000)
    rotation: Literal["expand_centred", "published"] = "expand_centred"
    resize_mode: Literal["letterbox", "stretch"] = "letterbox"
    channels: Literal["bgr", "rgb"] = "bgr"
    colour_jitter: float = Field(0.0, ge=0, le=1)
    augmentation: AugmentationConfig | None = Field(
        None, description="further random augmentation; null: none"
    )
    in_memory: bool = False
    sample_scale: Literal["int16", "native"] = "int16"
    resample: bool = False
    corrupt_audio: Literal["error", "salvage"] = "error"
    own_channel: Literal["auto", "first", "mean"] = "auto"

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
        shortest, longest = self.crop_samples
        if not 0 < shortest < longest <= self.clip_samples:
            raise ValueError(
                f"data.crop_samples [{shortest}, {longest}]: expected 0 < shortest < longest (excluded) <= "
                f"clip_samples {self.clip_samples}"
            )
        return self


class TrainingConfig(Config):
    """Length of a run, batches, and intervals in steps."""

    seed: NonNegative = 1
    max_steps: Positive = 10_000
    batch_size: int = Field(64, ge=2)
    accumulation_steps: Positive = 1
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    num_workers: NonNegative = 4
    shuffle_buffer: int | None = Field(None, gt=0)
    freeze: tuple[Literal["face", "voice"], ...] = ()
    checkpoint_interval: Positive = 2_000
    validation_interval: int | None = Field(2_000, gt=0)
    validation_start: NonNegative = 2_000
    log_interval: Positive = 100


class EvaluationConfig(Config):
    """Trial lists of `test` and of the validation, in the list folder of the corpus."""

    validation_list: str = "match_v2f_2_val"
    lists: tuple[str, ...] = TEST_LISTS
    tie_breaking: Literal["expected", "first"] = "expected"
    voice_batch_size: Positive = 32
    face_batch_size: Positive = 64


class RecordingOptions(Config):
    """Mix-in of configurations whose section `data` has options for reading recordings."""

    def with_input_options(
        self, *, resample: bool | None = None, on_corrupt: Literal["error", "salvage"] | None = None
    ) -> Self:
        """Copy the configuration with options for reading recordings; None keeps a value."""
        given = {"resample": resample, "corrupt_audio": on_corrupt}
        update = self.data_update({key: value for key, value in given.items() if value is not None})
        return self.model_copy(update={"data": self.data.model_copy(update=update)})  # type: ignore[attr-defined]

    def data_update(self, options: dict[str, Any]) -> dict[str, Any]:
        """Values of `data` for options by the names `resample` and `corrupt_audio`."""
        return options


class AssociationConfig(RecordingOptions):
    """Sections that the configurations of all systems share."""

    name: str
    model: EncodersConfig
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def frontend_signature(self) -> str:
        """Describe the preprocessing, on which embeddings depend; values that are the default are omitted."""
        data = self.data
        parts = [f"{data.clip_samples} {self.model.face.image_size} {data.resample}"]
        parts += ["salvage"] if data.corrupt_audio == "salvage" else []
        for key in ("resize_mode", "channels", "sample_scale", "own_channel"):
            value = getattr(data, key)
            parts += [f"{key}={value}"] if value != DataConfig.model_fields[key].default else []
        return " ".join(parts)

    @model_validator(mode="after")
    def _warm_up_fits(self) -> Self:
        schedule, steps = self.schedule, self.training.max_steps
        if schedule.kind == "cosine" and schedule.warm_up >= steps:
            raise ValueError(
                f"schedule.warm_up {schedule.warm_up} does not fit into training.max_steps {steps}: expected "
                f"0..{steps - 1}"
            )
        return self
