"""Typed configuration of an experiment of either stage.

A configuration states *what* is trained. Paths, devices and resuming are command-line flags.
"""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator
from voiceface.datasets.augmentation_config import AugmentationConfig, require_spec_augment_only
from voiceface.runtime.config import Config, to_dict

from sf2f.discriminator_config import DiscriminatorsConfig
from sf2f.network_config import (
    FACE_BOX,
    LAYER_WEIGHTS,
    FrozenNorms,
    GeneratorConfig,
    LossConfig,
    MelNormalisation,
    SpeechConfig,
    Statistics,
    WindowsConfig,
)

__all__ = [
    "NUM_FACENET_LAYERS",
    "DataConfig",
    "FramesConfig",
    "ImagesConfig",
    "OptimiserConfig",
    "PerceptualConfig",
    "ScheduleConfig",
    "Sf2fConfig",
    "TrainingConfig",
    "config_to_dict",
]

NUM_FACENET_LAYERS = len(LAYER_WEIGHTS)


class PerceptualConfig(Config):
    """Network of the perceptual term.

    `facenet`: Inception-ResNet-v1 trained on VGGFace2; its file is given with `--facenet` (published).
    `population`: the bundled attribute reader of synthetic faces; needs no file.
    """

    network: Literal["facenet", "population"] = "facenet"
    layer_weights: tuple[float, ...] = Field(
        default=LAYER_WEIGHTS,
        min_length=NUM_FACENET_LAYERS,
        max_length=NUM_FACENET_LAYERS,
        description="facenet: weights of its four hidden states",
    )
    face_box: tuple[float, float, float, float] | None = Field(
        default=FACE_BOX, description="facenet: crop to left, top, right, bottom; null: whole image"
    )


class FramesConfig(Config):
    """Length of a stage-1 clip in frames, sampled once per batch from min_crop...max_crop (inclusive)."""

    min_crop: int = Field(default=100, ge=1)
    max_crop: int = Field(default=150, ge=1)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.min_crop > self.max_crop:
            raise ValueError(f"min_crop must be <= max_crop, found {self.min_crop} and {self.max_crop}")
        return self


class ImagesConfig(Config):
    """Preprocessing of real images; their size is the largest size of the decoder.

    `face_variant`: folder of the HQ-VoxCeleb layout, `masked` (background painted white) or `origin`.
    """

    statistics: Statistics = "imagenet"
    face_variant: Literal["masked", "origin"] = "masked"
    flip_probability: float = Field(
        default=0.0, ge=0, le=1, description="probability of mirroring an image in training"
    )
    mirror_average: bool = Field(default=False, description="average each image with its mirror image")


class DataConfig(Config):
    """Preprocessing of recordings and images, and sampling of batches."""

    speech: SpeechConfig = SpeechConfig()
    mel: MelNormalisation = MelNormalisation()
    frames: FramesConfig = FramesConfig()
    windows: WindowsConfig = WindowsConfig()
    images: ImagesConfig = ImagesConfig()
    in_memory: bool = Field(default=False, description="keep decoded features and images in memory")
    augmentation: AugmentationConfig | None = Field(
        None, description="masks of the features in training (voice.spec_augment); null: none"
    )

    _spec_augment_only = field_validator("augmentation")(require_spec_augment_only)


class OptimiserConfig(Config):
    """Adam: one optimiser for the generator and one for each discriminator."""

    lr: float = Field(default=5e-4, gt=0)
    discriminator_lr: float | None = Field(default=None, gt=0, description="null: same as the generator")
    beta1: float = Field(default=0.9, ge=0, lt=1)


class ScheduleConfig(Config):
    """Linear learning-rate decay, from step `decay_after` down to `final_lr_fraction` at the last step."""

    decay_after: int | None = Field(default=None, ge=0, description="null: constant")
    final_lr_fraction: float = Field(default=0.001, gt=0, le=1)
    identity_discriminator_lr: Literal["decay", "constant"] = Field(
        default="decay", description="constant: no decay for identity discriminators, as published"
    )


class TrainingConfig(Config):
    """Course of a run, in steps."""

    seed: int = Field(default=1, ge=0)
    max_steps: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    num_workers: int = Field(default=0, ge=0)
    train_decoder: bool = Field(default=False, description="stage 2: also train the decoder")
    frozen_norms: FrozenNorms = Field(
        default="fixed",
        description="stage 2: fixed, or batch_statistics as published after the first preview",
    )
    eval_mode_from_step: int | None = Field(
        default=None,
        ge=0,
        description="step from which the generator runs in evaluation mode; Adam moments restart there",
    )
    pixel_loss_until_step: int | None = Field(
        default=None, ge=0, description="step from which the pixel term is dropped"
    )
    ema_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay of the exponential moving average of the generator that is saved; 0: none",
    )
    checkpoint_interval: int = Field(gt=0)
    validation_interval: int | None = Field(default=None, gt=0, description="steps; null: never")
    preview_interval: int | None = Field(
        default=None, gt=0, description="steps between images in the log; null: never"
    )
    log_interval: int = Field(default=10, gt=0)


class Sf2fConfig(Config):
    """One experiment; the bundled ones are in `configs/`."""

    published_format: ClassVar[str | None] = "sf2f.published_config:recognise"

    name: str
    stage: Literal[1, 2] = Field(description="1: encoder and decoder; 2: fuser on top of a stage-1 model")
    generator: GeneratorConfig
    discriminators: DiscriminatorsConfig
    losses: LossConfig
    perceptual: PerceptualConfig = PerceptualConfig()
    data: DataConfig = DataConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        has_fuser = self.generator.fuser is not None
        if (self.stage == 2) != has_fuser:
            raise ValueError(
                f"stage 2 needs generator.fuser, stage 1 must not have one; found stage {self.stage} and "
                f"{'a' if has_fuser else 'no'} generator.fuser"
            )
        self.discriminators.require_image_sizes(self.generator.image_sizes)
        if self.data.speech.n_mels != self.generator.encoder.n_mels:
            raise ValueError(
                f"data.speech.n_mels is {self.data.speech.n_mels}, generator.encoder.n_mels "
                f"{self.generator.encoder.n_mels}; they must agree"
            )
        training = self.training
        if self.stage == 1 and (training.train_decoder or training.frozen_norms != "fixed"):
            raise ValueError("training.train_decoder and training.frozen_norms apply to stage 2 only")
        return self


def config_to_dict(config: Sf2fConfig) -> dict[str, Any]:
    """Convert a configuration to plain values, as run folders and checkpoints store it."""
    return to_dict(config)
