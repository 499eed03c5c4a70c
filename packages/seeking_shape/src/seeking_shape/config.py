"""Everything a run of this system can be told, checked and typed.

A configuration says *what* is trained; paths, devices and resuming are flags of the commands.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from voiceface.config import Config

from seeking_shape.model import ModelConfig

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]

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


class LossConfig(Config):
    """The three terms of the objective.

    `identity_loss_weighting`: `per_sample` is what the method means (an identity's weight multiplies its own
    classification loss); `batch_mean` is what the published code computes (only the mean weight acts).
    """

    explicit: bool = True
    explicit_constant: float = Field(5.4, ge=1)
    identity_loss_weighting: Literal["per_sample", "batch_mean"] = "per_sample"
    loss_weight: tuple[float, float, float] = (1.0, 1.0, 1.0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)


class WeightConfig(Config):
    """Adaptive identity weights.

    `update_every: -1` keeps the weights that the run starts with. `initial_loss: blind` is that of a blind
    classifier over both modalities, 2 ln C; 14 is published for C = 924.
    """

    enabled: bool = True
    update_every: int = Field(100, ge=-1)
    warm_up: NonNegative = 500
    initial_share: Share = 0.5
    added_share: Share = 0.024
    stop_share: Share = 0.9
    decay: float = Field(0.99, gt=0, le=1)
    momentum: float = Field(0.9, ge=0, lt=1)
    initial_loss: float | Literal["blind"] = 14.0


class OptimiserConfig(Config):
    """One optimiser over both branches."""

    method: Literal["sgd", "adam", "adamw", "adagrad"] = "sgd"
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(1e-4, ge=0)
    clip_gradient: float | None = Field(None, gt=0)


class ScheduleConfig(Config):
    """Learning rate: `step` (times `factor` after each milestone's step), or `cosine` to zero."""

    kind: Literal["step", "cosine"] = "step"
    milestones: tuple[int, ...] = ()
    factor: float = Field(0.1, gt=0, le=1)
    warm_up: NonNegative = 0


class DataConfig(Config):
    """How recordings and pictures reach the networks. Lengths in samples of 16 kHz.

    `colour_jitter`: strength of a random contrast and colour cast of training pictures; none as published.
    `damaged`: recordings of which something is lost are an error (`strict`), or are used as far as they go
    and reported (`tolerant`). Those without any sound are always an error.
    """

    clip_samples: Positive = 160_000
    crop_samples: tuple[int, int] = (40_000, 80_000)
    rotation: Literal["centred", "published"] = "centred"
    colour_jitter: float = Field(0.0, ge=0, le=1)
    in_memory: bool = False
    resample: bool = False
    damaged: Literal["strict", "tolerant"] = "strict"

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
    max_iter: Positive = 10_000
    batch_size: int = Field(64, ge=2)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    workers: NonNegative = 4
    freeze: tuple[Literal["face", "voice"], ...] = ()
    save_every: Positive = 2_000
    validate_every: int = Field(2_000, ge=-1)
    validate_from: NonNegative = 2_000
    log_every: Positive = 100


class EvaluationConfig(Config):
    """What `test` measures, on lists of the corpus's list folder."""

    validation_list: str = "match_v2f_2_val"
    lists: tuple[str, ...] = TEST_LISTS
    ties: Literal["fair", "published"] = "fair"
    voice_batch: Positive = 32
    face_batch: Positive = 64


class SeekingShapeConfig(Config):
    """One experiment."""

    name: str
    model: ModelConfig
    loss: LossConfig = LossConfig()
    weights: WeightConfig = WeightConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
