"""Typed configuration of seeking_shape (docs/seeking_shape.md).

The configuration states *what* is trained; paths, devices and resuming are command-line flags.
"""

from typing import ClassVar, Literal

from pydantic import Field
from voiceface.association.config import AssociationConfig
from voiceface.runtime.config import Config
from voiceface.training.settings import NonNegative, Share

from seeking_shape.model_config import ModelConfig

__all__ = ["IdentityWeightConfig", "LossConfig", "SeekingShapeConfig"]


class LossConfig(Config):
    """Three terms of the objective.

    `identity_loss_weighting`: `per_sample` follows the method (an identity's weight multiplies its own
    classification loss); `batch_mean` reproduces the published code (only the mean weight of a batch acts).
    """

    explicit: bool = True
    explicit_constant: float = Field(5.4, ge=1)
    identity_loss_weighting: Literal["per_sample", "batch_mean"] = "per_sample"
    loss_weight: tuple[float, float, float] = (1.0, 1.0, 1.0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)


class IdentityWeightConfig(Config):
    """Adaptive identity re-weighting.

    `update_interval: null` keeps the weights that the run starts with. `initial_loss: chance` is the loss of
    a classifier at chance level, both modalities added: 2 ln C. 14 is published for C = 924.
    """

    enabled: bool = True
    update_interval: int | None = Field(100, gt=0)
    warm_up: NonNegative = 500
    initial_fraction: Share = 0.5
    fraction_step: Share = 0.024
    final_fraction: Share = 0.9
    decay: float = Field(0.99, gt=0, le=1)
    momentum: float = Field(0.9, ge=0, lt=1)
    initial_loss: float | Literal["chance"] = 14.0


class SeekingShapeConfig(AssociationConfig):
    """Complete configuration of one experiment."""

    published_format: ClassVar[str | None] = "seeking_shape.published_config:recognise"

    model: ModelConfig
    loss: LossConfig = LossConfig()
    weights: IdentityWeightConfig = IdentityWeightConfig()
