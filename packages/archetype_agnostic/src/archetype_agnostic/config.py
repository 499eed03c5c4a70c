"""Everything a run of this system can be told, checked and typed.

A configuration says *what* is trained; paths, devices and resuming are flags of the commands.
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator
from voiceface.association.config import AssociationConfig, DataConfig, EvaluationConfig, TrainingConfig
from voiceface.runtime.config import Config
from voiceface.training.settings import NonNegative, OptimiserConfig, ScheduleConfig

from archetype_agnostic.model_config import ModelConfig


class LossConfig(Config):
    """AaSM: contrast inside the batch over three pairings.

    `negatives`: with several processes, those of `all` of them or each process's `own`.
    """

    temperature: float = Field(0.5, gt=0)
    cross_constant: float = Field(5.4, ge=1)
    intra_constant: float = Field(6.0, ge=1)
    negatives: Literal["all", "local"] = "all"


class RegaugingConfig(Config):
    """Bilateral connection re-gauging.

    `differentiable`, `weighting` and `unweighted_mean` default to what the method means; false,
    `outer_product` and `all` are what the published code computes.
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
    """Identity weights of the re-gauging terms from hit rates.

    `hit_counting: never` is the published code, which never called its counting.
    """

    enabled: bool = True
    update_interval: int | None = Field(920, gt=0)
    warm_up: NonNegative = 6440
    hit_counting: Literal["always", "last_window", "never"] = "always"
    normalise: Literal["none", "mean_one"] = "none"


class PairDataConfig(DataConfig):
    """Two files of each kind a person.

    `second_sample`: `distinct` from the first where possible, or `with_replacement` (as published).
    `pair_augmentation`: the second image shares the random steps of the first (as published), or has
    `independent` ones.
    """

    resize_mode: Literal["letterbox", "stretch"] = "stretch"
    second_sample: Literal["distinct", "with_replacement"] = "distinct"
    pair_augmentation: Literal["shared", "independent"] = "shared"


class StoppingConfig(Config):
    """When a run ends: after `max_steps`, or, as published, by patience.

    `patience`: no end before the validations after `max_steps` find that the last `patience` accuracies never
    rose from one to the next and the oldest is the best; the epoch is then finished.
    """

    rule: Literal["max_steps", "patience"] = "max_steps"
    patience: int = Field(5, ge=2)


class ArchetypeAgnosticConfig(AssociationConfig):
    """One experiment."""

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
                "training.freeze [face, voice] leaves nothing to learn: freeze one branch at most"
            )
        return self

    @model_validator(mode="after")
    def _patience_needs_validation(self) -> Self:
        if self.stopping.rule == "patience" and self.training.validation_interval is None:
            raise ValueError(
                "stopping.rule patience ends a run by its validations, and training.validation_interval "
                "is null: set it, or stopping.rule=max_steps"
            )
        return self


def sample_options(data: PairDataConfig) -> dict[str, Any]:
    """What a draw of training files holds beyond one picture and one clip, for `training_dataset`."""
    return {"num_views": 2, "second_sample": data.second_sample, "pair_augmentation": data.pair_augmentation}
