"""Everything a run of this system can be told, checked and typed.

One class holds an experiment of either stage. A configuration says *what* is trained; paths, devices and
resuming are flags of the commands.
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator
from voiceface.runtime.config import Config, to_dict

from sf2f.discriminators import DiscriminatorsConfig
from sf2f.facenet_loss import LAYER_WEIGHTS
from sf2f.generator import FrozenNorms, GeneratorConfig
from sf2f.image_transforms import FACE_BOX, Statistics
from sf2f.losses import LossConfig
from sf2f.speech import MelNormalisation, SpeechConfig
from sf2f.windows import WindowsConfig

NUM_FACENET_LAYERS = len(LAYER_WEIGHTS)


class PerceptualConfig(Config):
    """What the perceptual term looks with.

    `facenet`: Inception-ResNet-v1 trained on VGGFace2, whose file is given with `--facenet` (published).
    `population`: the bundled network that reads invented faces; no file is needed.
    """

    network: Literal["facenet", "population"] = "facenet"
    layer_weights: tuple[float, ...] = Field(
        default=LAYER_WEIGHTS,
        min_length=NUM_FACENET_LAYERS,
        max_length=NUM_FACENET_LAYERS,
        description="facenet: of its four hidden states",
    )
    face_box: tuple[float, float, float, float] | None = Field(
        default=FACE_BOX, description="facenet: left, top, right, bottom of the face; null: the whole picture"
    )


class FramesConfig(Config):
    """Length of a stage-1 window, one draw for every batch: shortest...longest frames, both included."""

    min_crop: int = Field(default=100, ge=1)
    max_crop: int = Field(default=150, ge=1)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.min_crop > self.max_crop:
            raise ValueError(f"shortest <= longest needed, found {self.min_crop} and {self.max_crop}")
        return self


class ImagesConfig(Config):
    """How real pictures reach the networks; their size is the decoder's largest.

    `face_variant`: folder of the HQ-VoxCeleb layout, `masked` (background painted white) or `origin`.
    """

    statistics: Statistics = "imagenet"
    face_variant: Literal["masked", "origin"] = "masked"
    flip_probability: float = Field(
        default=0.0, ge=0, le=1, description="share of mirrored pictures in training"
    )
    mirror_average: bool = Field(default=False, description="mean of a picture and its mirror image")


class DataConfig(Config):
    """From recordings and pictures to batches."""

    speech: SpeechConfig = SpeechConfig()
    mel: MelNormalisation = MelNormalisation()
    frames: FramesConfig = FramesConfig()
    windows: WindowsConfig = WindowsConfig()
    images: ImagesConfig = ImagesConfig()
    in_memory: bool = Field(default=False, description="keep decoded features and pictures")


class OptimiserConfig(Config):
    """Adam, one for the generator and one for each discriminator."""

    lr: float = Field(default=5e-4, gt=0)
    discriminator_lr: float | None = Field(default=None, gt=0, description="null: as the generator's")
    beta1: float = Field(default=0.9, ge=0, lt=1)


class ScheduleConfig(Config):
    """Learning rates fall in a straight line after `decay_after` steps, to `final_lr_fraction` at the end."""

    decay_after: int | None = Field(default=None, ge=0, description="null: constant")
    final_lr_fraction: float = Field(default=0.001, gt=0, le=1)
    identity_discriminator_lr: Literal["decay", "constant"] = Field(
        default="decay", description="constant: identity discriminators keep their rate, as published"
    )


class TrainingConfig(Config):
    """The course of a run, in steps."""

    seed: int = Field(default=1, ge=0)
    max_steps: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    num_workers: int = Field(default=0, ge=0)
    train_decoder: bool = Field(default=False, description="stage 2: the decoder learns, too")
    frozen_norms: FrozenNorms = Field(
        default="fixed",
        description="stage 2: fixed, or batch_statistics as published after the first preview",
    )
    eval_mode_from_step: int | None = Field(
        default=None,
        ge=0,
        description="from this step on the generator is in evaluation mode, with new moments",
    )
    pixel_loss_until_step: int | None = Field(
        default=None, ge=0, description="from this step on no pixel term"
    )
    ema_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay of a moving average of the generator, which is what is saved; 0: none",
    )
    checkpoint_interval: int = Field(gt=0)
    validation_interval: int | None = Field(default=None, gt=0, description="steps; null: never")
    preview_interval: int | None = Field(
        default=None, gt=0, description="steps between images in the log; null: never"
    )
    log_interval: int = Field(default=10, gt=0)


class Sf2fConfig(Config):
    """One experiment; see `configs/`."""

    name: str
    stage: Literal[1, 2] = Field(description="1: encoder and decoder; 2: the fuser of a stage-1 model")
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
        fuser, sides = self.generator.fuser is not None, self.generator.image_sizes
        if (self.stage == 2) != fuser:
            raise ValueError(
                f"stage 2 trains a fuser, stage 1 has none; found stage {self.stage} and "
                f"{'a' if fuser else 'no'} generator.fuser"
            )
        self.discriminators.require_image_sizes(sides)
        if self.data.speech.n_mels != self.generator.encoder.n_mels:
            raise ValueError(
                f"data.speech.n_mels is {self.data.speech.n_mels}, generator.encoder.n_mels "
                f"{self.generator.encoder.n_mels}; they must agree"
            )
        plan = self.training
        if self.stage == 1 and (plan.train_decoder or plan.frozen_norms != "fixed"):
            raise ValueError("training.train_decoder and training.frozen_norms belong to stage 2")
        return self


def config_to_dict(config: Sf2fConfig) -> dict[str, Any]:
    """The configuration as plain values, as run folders and weights files hold it."""
    return to_dict(config)
