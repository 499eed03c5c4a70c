"""Typed options of the objectives besides FOP's own (docs/fop.md), one section each of `loss`."""

from typing import Literal

from pydantic import Field
from voiceface.runtime.config import Config
from voiceface.training.settings import NonNegative, Positive

__all__ = [
    "AngularMarginLossConfig",
    "ArchetypeAgnosticLossConfig",
    "Cmpc2LossConfig",
    "IdentitySpaceLossConfig",
    "InfoNceLossConfig",
    "SeekingShapeLossConfig",
    "XmAlignLossConfig",
]


class AngularMarginLossConfig(Config):
    """Additive angular margin to class vectors that voices and faces share.

    `margin`: radians. `margin_rule`: the same for every sample (`fixed`), or times (1 + cosine with the own
    class) / 2, so that samples that are not recognised yet get a small one (`adaptive`). `scale`: factor on
    the cosines.
    """

    margin: float = Field(0.2, ge=0, lt=1.57)
    margin_rule: Literal["adaptive", "fixed"] = "adaptive"
    scale: float = Field(16.0, gt=0)


class XmAlignLossConfig(Config):
    """Shared classifier and alignment: weight of the mean squared distance of the two unit embeddings."""

    alignment_weight: float = Field(10.0, ge=0)


class InfoNceLossConfig(Config):
    """Symmetric contrast within the batch; `temperature` at the start, learnt unless it is `fixed`."""

    temperature: float = Field(0.1, gt=0)
    temperature_rule: Literal["learnt", "fixed"] = "learnt"


class IdentitySpaceLossConfig(Config):
    """Voice into the space of the face encoder.

    `regression_weight`: of the squared distance to the face features, in units of their variance.
    `contrast_weight`: of the contrast within the batch, on cosines of the centred features.
    """

    regression_weight: float = Field(1.0, ge=0)
    contrast_weight: float = Field(1.0, ge=0)
    temperature: float = Field(0.1, gt=0, description="of the contrast")


class SeekingShapeLossConfig(Config):
    """Implicit and explicit alignment, and identity re-weighting, of `seeking_shape`.

    `logit_scale`: factor on the unit embeddings, whose length the published loss learns. Intervals in steps.
    """

    explicit: bool = True
    explicit_constant: float = Field(5.4, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    logit_scale: float = Field(16.0, gt=0)
    reweighting: bool = True
    update_interval: Positive = 50
    warm_up: NonNegative = 200


class ArchetypeAgnosticLossConfig(Config):
    """Subspace merging, re-gauging and instance equilibrium of `archetype_agnostic`; intervals in steps.

    `anchor_scale`: factor on the unit embeddings, whose length the published loss learns as sharpness.
    """

    temperature: float = Field(0.5, gt=0)
    cross_constant: float = Field(5.4, ge=1)
    intra_constant: float = Field(6.0, ge=1)
    anchor_scale: float = Field(8.0, gt=0)
    regauging: bool = True
    regauging_start: NonNegative = 400
    equilibrium: bool = True
    update_interval: Positive = 100
    warm_up: NonNegative = 300


class Cmpc2LossConfig(Config):
    """Instance and prototype contrast with recalibration of `cmpc2`; intervals in steps.

    `num_clusters`: of each clustering of the memory banks, which have one row for each voice of the training
    set; no more than those.
    """

    temperature: float = Field(0.1, gt=0)
    prototypes: bool = True
    prototype_temperature: float = Field(0.2, gt=0)
    recalibrate: bool = True
    agreement: Literal["subtracted", "added", "ignored"] = "subtracted"
    momentum: float = Field(0.5, ge=0, le=1)
    start_step: NonNegative = 200
    interval: Positive = 50
    num_clusters: tuple[Positive, ...] = (32, 64, 96)
