"""Configuration of optimisers and learning-rate schedules, bounded number types, settings of a run."""

from typing import Annotated, Literal, Protocol

from pydantic import Field

from voiceface.runtime.config import Config

__all__ = ["NonNegative", "OptimiserConfig", "Positive", "ScheduleConfig", "Share", "TrainingSettings"]

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]


class OptimiserConfig(Config):
    """One optimiser for all parameters."""

    method: Literal["sgd", "adam", "adamw", "adagrad"] = "sgd"
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(1e-4, ge=0)
    clip_gradient: float | None = Field(None, gt=0)


class ScheduleConfig(Config):
    """Learning-rate schedule: `step` (times `factor` after each milestone), or `cosine` down to zero."""

    kind: Literal["step", "cosine"] = "step"
    milestones: tuple[int, ...] = ()
    factor: float = Field(0.1, gt=0, le=1)
    warm_up: NonNegative = 0


class TrainingSettings(Protocol):
    """Settings that the `training` section of every system has."""

    @property
    def seed(self) -> int: ...

    @property
    def precision(self) -> str: ...

    @property
    def log_interval(self) -> int: ...
