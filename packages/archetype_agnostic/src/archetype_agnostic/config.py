"""Typed configuration of archetype_agnostic (docs/archetype_agnostic.md).

The configuration states *what* is trained; paths, devices and resuming are command-line flags.
"""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from voiceface.association.config import AssociationConfig, DataConfig, EvaluationConfig, TrainingConfig
from voiceface.runtime.config import Config
from voiceface.training.settings import NonNegative, OptimiserConfig, ScheduleConfig

from archetype_agnostic.model_config import ModelConfig

__all__ = [
    "ArchetypeAgnosticConfig",
    "EquilibriumConfig",
    "LossConfig",
    "PairDataConfig",
    "RegaugingConfig",
    "StoppingConfig",
    "sample_options",
]


class LossConfig(Config):
    """AaSM: contrast within the batch over three pairings.

    `negatives`: with several processes, those of `all` of them or only of the same process (`local`).
    """

    temperature: float = Field(0.5, gt=0)
    cross_constant: float = Field(5.4, ge=1)
    intra_constant: float = Field(6.0, ge=1)
    negatives: Literal["all", "local"] = "all"


class RegaugingConfig(Config):
    """Bilateral connection re-gauging.

    The defaults of `differentiable`, `weighting` and `unweighted_mean` follow the method; false,
    `outer_product` and `all` reproduce the published code.
    """

    enabled: bool = True
    start_step: NonNegative = 6888
    form: Literal["hinge", "circle"] = "hinge"
    trust_threshold: float = 0.15
    margin: float = Field(0.2, ge=0)
    inner_margin: float = Field(0.15, ge=0)
    scale: float = Field(10.0, gt=0)
    differentiable: bool = True
    weighting: Literal["per_row", "outer_product"] = "per_row"
    unweighted_mean: Literal["loose", "all"] = "loose"


class EquilibriumConfig(Config):
    """Instance equilibrium: identity weights of the re-gauging terms from hit rates.

    `hit_counting: never` reproduces the published code, which never calls its counting.
    """

    enabled: bool = True
    update_interval: int | None = Field(920, gt=0)
    warm_up: NonNegative = 6440
    hit_counting: Literal["always", "last_window", "never"] = "always"
    normalise: Literal["none", "mean_one"] = "none"


class PairDataConfig(DataConfig):
    """Two images and two clips per identity.

    `second_sample`: `distinct` from the first where possible, or sampled `with_replacement` (as published).
    `pair_augmentation`: the second image shares the random parameters of the first (as published), or has
    `independent` ones.
    """

    resize_mode: Literal["letterbox", "stretch"] = "stretch"
    second_sample: Literal["distinct", "with_replacement"] = "distinct"
    pair_augmentation: Literal["shared", "independent"] = "shared"


class StoppingConfig(Config):
    """End of a run: after `max_steps`, or, as published, by early stopping.

    `patience`: after `max_steps`, the run ends once none of the last `patience` validation accuracies exceeds
    its predecessor; the current epoch is completed.
    """

    rule: Literal["max_steps", "patience"] = "max_steps"
    patience: int = Field(5, ge=2)


class ArchetypeAgnosticConfig(AssociationConfig):
    """Complete configuration of one experiment."""

    published_format: ClassVar[str | None] = "archetype_agnostic.published_config:recognise"

    model: ModelConfig
    loss: LossConfig = LossConfig()
    regauging: RegaugingConfig = RegaugingConfig()
    equilibrium: EquilibriumConfig = EquilibriumConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    data: PairDataConfig = PairDataConfig()
    training: TrainingConfig = TrainingConfig()
    stopping: StoppingConfig = StoppingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _check_trainable(self) -> Self:
        if set(self.training.freeze) == {"face", "voice"}:
            raise ValueError(
                "training.freeze [face, voice] freezes every parameter: freeze one branch at most"
            )
        return self

    @model_validator(mode="after")
    def _patience_needs_validation(self) -> Self:
        if self.stopping.rule == "patience" and self.training.validation_interval is None:
            raise ValueError(
                "stopping.rule=patience needs validations, found training.validation_interval=null: set an "
                "interval, or stopping.rule=max_steps"
            )
        return self


def sample_options(data: PairDataConfig) -> dict[str, Any]:
    """Build the options of `training_dataset`: two images and two clips per training sample."""
    return {"num_views": 2, "second_sample": data.second_sample, "pair_augmentation": data.pair_augmentation}
