"""Everything a run of this system can be told, checked and typed.

One class holds an experiment of either stage. A configuration says *what* is trained; paths, devices and
resuming are flags of the commands.
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator
from voiceface.runtime.config import Config, to_dict

from sf2f.discriminators import DiscriminatorsConfig
from sf2f.facenet_loss import WEIGHTS
from sf2f.generator import FrozenNorms, GeneratorConfig
from sf2f.image_transforms import FACE_BOX, Statistics
from sf2f.losses import LossConfig
from sf2f.speech import MelNormalisation, SpeechConfig
from sf2f.windows import WindowsConfig

FOUR = len(WEIGHTS)


class PerceptualConfig(Config):
    """What the perceptual term looks with.

    `facenet`: Inception-ResNet-v1 trained on VGGFace2, whose file is given with `--facenet` (published).
    `population`: the bundled network that reads invented faces; no file is needed.
    """

    network: Literal["facenet", "population"] = "facenet"
    weights: tuple[float, ...] = Field(
        default=WEIGHTS, min_length=FOUR, max_length=FOUR, description="facenet: of its four hidden states"
    )
    box: tuple[float, float, float, float] | None = Field(
        default=FACE_BOX, description="facenet: left, top, right, bottom of the face; null: the whole picture"
    )


class FramesConfig(Config):
    """Length of a stage-1 window, one draw for every batch: shortest...longest frames, both included."""

    shortest: int = Field(default=100, ge=1)
    longest: int = Field(default=150, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.shortest > self.longest:
            raise ValueError(f"shortest <= longest needed, found {self.shortest} and {self.longest}")
        return self


class PicturesConfig(Config):
    """How real pictures reach the networks; their size is the decoder's largest.

    `faces`: folder of the HQ-VoxCeleb layout, `masked` (background painted white) or `origin`.
    """

    statistics: Statistics = "imagenet"
    faces: Literal["masked", "origin"] = "masked"
    flip: float = Field(default=0.0, ge=0, le=1, description="share of mirrored pictures in training")
    mirror_average: bool = Field(default=False, description="mean of a picture and its mirror image")


class DataConfig(Config):
    """From recordings and pictures to batches."""

    speech: SpeechConfig = SpeechConfig()
    mel: MelNormalisation = MelNormalisation()
    frames: FramesConfig = FramesConfig()
    windows: WindowsConfig = WindowsConfig()
    pictures: PicturesConfig = PicturesConfig()
    in_memory: bool = Field(default=False, description="keep decoded features and pictures")


class OptimiserConfig(Config):
    """Adam, one for the generator and one for each discriminator."""

    lr: float = Field(default=5e-4, gt=0)
    discriminator_lr: float | None = Field(default=None, gt=0, description="null: as the generator's")
    beta1: float = Field(default=0.9, ge=0, lt=1)


class ScheduleConfig(Config):
    """Learning rates fall in a straight line after `decay_after` steps, to `final_share` at the end."""

    decay_after: int | None = Field(default=None, ge=0, description="null: constant")
    final_share: float = Field(default=0.001, gt=0, le=1)
    identity: Literal["decays", "constant"] = Field(
        default="decays", description="constant: identity discriminators keep their rate, as published"
    )


class TrainingConfig(Config):
    """The course of a run, in steps."""

    seed: int = Field(default=1, ge=0)
    max_iter: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    workers: int = Field(default=0, ge=0)
    train_decoder: bool = Field(default=False, description="stage 2: the decoder learns, too")
    frozen_norms: FrozenNorms = Field(
        default="fixed",
        description="stage 2: fixed, or batch_statistics as published after the first preview",
    )
    evaluation_mode_after: int | None = Field(
        default=None,
        ge=0,
        description="from this step on the generator is in evaluation mode, with new moments",
    )
    no_pixel_after: int | None = Field(default=None, ge=0, description="from this step on no pixel term")
    average: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay of a moving average of the generator, which is what is saved; 0: none",
    )
    save_every: int = Field(gt=0)
    validate_every: int = Field(default=-1, ge=-1, description="steps; -1: never")
    preview_every: int = Field(default=-1, ge=-1, description="steps between pictures in the log; -1: never")
    log_every: int = Field(default=10, gt=0)


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
    def _fits(self) -> Self:
        fuser, sides = self.generator.fuser is not None, self.generator.sides
        if (self.stage == 2) != fuser:
            raise ValueError(
                f"stage 2 trains a fuser, stage 1 has none; found stage {self.stage} and "
                f"{'a' if fuser else 'no'} generator.fuser"
            )
        self.discriminators.require_sides(sides)
        if self.data.speech.bands != self.generator.encoder.bands:
            raise ValueError(
                f"data.speech.bands is {self.data.speech.bands}, generator.encoder.bands "
                f"{self.generator.encoder.bands}; they must agree"
            )
        plan = self.training
        if self.stage == 1 and (plan.train_decoder or plan.frozen_norms != "fixed"):
            raise ValueError("training.train_decoder and training.frozen_norms belong to stage 2")
        return self


def stored(config: Sf2fConfig) -> dict[str, Any]:
    """The configuration as plain values, as run folders and weights files hold it."""
    return to_dict(config)
