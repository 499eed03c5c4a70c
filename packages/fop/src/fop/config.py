"""Typed configuration of fop (docs/fop.md).

The configuration states *what* is trained; paths, devices and resuming are command-line flags. Errors of the
published programs that change results are options; the defaults are what is meant.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from voiceface.association.config import EvaluationConfig, RecordingOptions
from voiceface.runtime.config import Config
from voiceface.training.settings import NonNegative, OptimiserConfig, Positive, ScheduleConfig, Share

from fop.objective_config import (
    AngularMarginLossConfig,
    ArchetypeAgnosticLossConfig,
    Cmpc2LossConfig,
    IdentitySpaceLossConfig,
    InfoNceLossConfig,
    SeekingShapeLossConfig,
    XmAlignLossConfig,
)

__all__ = [
    "DataConfig",
    "FopConfig",
    "FopEvaluationConfig",
    "FopLossConfig",
    "LossConfig",
    "ModelConfig",
    "ObjectiveName",
    "TrainingConfig",
]

NonNegativeFloat = Annotated[float, Field(ge=0)]
ObjectiveName = Literal[
    "fop",
    "angular_margin",
    "xm_align",
    "infonce",
    "identity_space",
    "seeking_shape",
    "archetype_agnostic",
    "cmpc2",
]
"""Objectives by name; each has a module in `fop.objectives` and a section of `LossConfig`."""


class DataConfig(Config):
    """Frozen encoders, and how their features are paired.

    `voice_encoder`, `face_encoder`: names as `voiceface encoders` lists them. `pairing`: in every epoch each
    voice meets a face of the same person, drawn by the seed; the modality with fewer rows of a person repeats
    (`random`). Or, as published, row i of the voices belongs to row i of the faces (`rows`).
    `validation_share`: of the training people, held out by the seed where the features have no split `val`
    and none are given for validation.
    """

    voice_encoder: str = "real"
    face_encoder: str = "real"
    pairing: Literal["random", "rows"] = "random"
    validation_share: Share = 0.1
    resample: bool = Field(True, description="recordings of other rates than 16 kHz; false: an error")
    corrupt_audio: Literal["error", "salvage"] = Field(
        "error", description="recordings that cannot be decoded completely; salvage: the decoded part is used"
    )


class ModelConfig(Config):
    """Architecture; lengths of features `null`: those of the training features.

    `branch`: linear layer, batch norm and ReLU as published (`relu`), without the ReLU (`linear`), or with
    another linear layer behind it (`mlp`). `space`: a common one (`shared`), or that of the face encoder,
    into which the voice is mapped (`face`). In a complete configuration `fusion`, `branch` and `space` may
    be `auto`: chosen by the objective.
    """

    embedding_dim: Positive = 128
    space: Literal["auto", "shared", "face"] = "shared"
    branch: Literal["auto", "relu", "linear", "mlp"] = "relu"
    hidden_width: Positive = Field(256, description="of the branch mlp")
    fusion: Literal["auto", "gated", "linear", "none"] = "gated"
    attention_width: Positive = Field(128, description="hidden width of the gate, whatever the embedding's")
    voice_dim: Positive | None = None
    face_dim: Positive | None = None
    dropout: float = Field(0.5, ge=0, lt=1, description="of both branches")

    @model_validator(mode="after")
    def _space_fits_branch(self) -> Self:
        stated = self.model_fields_set >= {"space", "branch", "fusion"}
        if stated and "auto" not in (self.space, self.branch, self.fusion):
            self.require_fitting_branch()
        return self

    def require_fitting_branch(self) -> None:
        """Raise ValueError if space, branch and fusion do not belong together."""
        if self.space == "face" and (self.fusion != "none" or self.branch == "relu"):
            raise ValueError(
                "model.space=face needs model.fusion=none and model.branch=mlp or linear, found "
                f"{self.fusion} and {self.branch}"
            )


HEADS = {
    "fop": {"fusion": "gated", "branch": "relu", "space": "shared"},
    "identity_space": {"fusion": "none", "branch": "mlp", "space": "face"},
}
"""Head of an objective where the configuration says `auto`; see `OTHER_HEAD` for the others."""
OTHER_HEAD = {"fusion": "none", "branch": "linear", "space": "shared"}


class FopLossConfig(Config):
    """Cross-entropy + alpha * orthogonal projection loss.

    `alpha`: one number, or several, which train the same model one after another, `training.epochs` each, as
    in the published program. `alphas_used`: of several, all of them, or the first alone: the published
    function returns after it.
    """

    alpha: NonNegativeFloat | tuple[NonNegativeFloat, ...] = 1.0
    alphas_used: Literal["all", "first"] = "all"
    other_weight: float = Field(0.7, ge=0, description="of pairs of different people")

    @property
    def alphas(self) -> tuple[float, ...]:
        """Values that are trained, in order."""
        values = self.alpha if isinstance(self.alpha, tuple) else (self.alpha,)
        return values[:1] if self.alphas_used == "first" else values

    @model_validator(mode="after")
    def _has_an_alpha(self) -> Self:
        if self.alpha == ():
            raise ValueError("loss.fop.alpha: an empty list, expected one number or more")
        return self


class LossConfig(Config):
    """Objective by name, and a section of options for each."""

    objective: ObjectiveName = "fop"
    fop: FopLossConfig = FopLossConfig()
    angular_margin: AngularMarginLossConfig = AngularMarginLossConfig()
    xm_align: XmAlignLossConfig = XmAlignLossConfig()
    infonce: InfoNceLossConfig = InfoNceLossConfig()
    identity_space: IdentitySpaceLossConfig = IdentitySpaceLossConfig()
    seeking_shape: SeekingShapeLossConfig = SeekingShapeLossConfig()
    archetype_agnostic: ArchetypeAgnosticLossConfig = ArchetypeAgnosticLossConfig()
    cmpc2: Cmpc2LossConfig = Cmpc2LossConfig()


class TrainingConfig(Config):
    """Length of a run, order of the rows, choice of the model. Intervals in epochs.

    `epochs`: passes through all pairs, for each value of alpha; `max_steps` ends the run earlier.
    `row_order`: shuffled anew in every epoch, or, as published, once before the first. `last_batch`: the rest
    of an epoch that fills no batch is used if it has two rows or more (`keep`), or left out as published
    (`drop`). `best_checkpoint`: `checkpoints/best` is selected on validation people, or, as published, on
    test people, whose figures are then too good. `selected_by`: by matching accuracy, or by the equal error
    rate of all pairs, as published.
    """

    seed: NonNegative = 1
    epochs: Positive = 50
    max_steps: Positive | None = None
    batch_size: int = Field(128, ge=2)
    row_order: Literal["each_epoch", "once"] = "each_epoch"
    last_batch: Literal["keep", "drop"] = "keep"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    num_workers: NonNegative = 0
    checkpoint_interval: Positive = 10
    validation_interval: Positive | None = 1
    best_checkpoint: Literal["validation", "test", "none"] = "validation"
    selected_by: Literal["matching", "eer"] = "matching"
    log_interval: Positive = 10

    @model_validator(mode="after")
    def _selection_needs_validation(self) -> Self:
        if self.best_checkpoint != "none" and self.validation_interval is None:
            raise ValueError(
                f"training.best_checkpoint={self.best_checkpoint} needs validations: set "
                "training.validation_interval, or training.best_checkpoint=none"
            )
        return self


class FopEvaluationConfig(EvaluationConfig):
    """Trial lists, and how a face and a voice are compared.

    `score`: cosine, or, as published, the Euclidean distance, negated (of what `FopModel.encode_voices` and
    `encode_faces` return). `trial_labels`: same person or not, from the label column of a list. The published
    programs take it from the parity of the line, which is wrong in 13,076 of the 28,193 lines of the list N
    of VoxCeleb1 and in 11,139 of the 27,280 of the list GNA; it is refused.
    """

    score: Literal["cosine", "euclidean"] = "cosine"
    trial_labels: Literal["column", "parity"] = "column"

    @model_validator(mode="after")
    def _labels_come_from_the_column(self) -> Self:
        if self.trial_labels == "parity":
            raise ValueError(
                "evaluation.trial_labels=parity: even lines are not the pairs of one person in every "
                "published list; expected column"
            )
        return self


class FopConfig(RecordingOptions):
    """Complete configuration of one experiment."""

    name: str
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig(method="adam", lr=1e-3, weight_decay=0.01)
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: FopEvaluationConfig = FopEvaluationConfig()

    def frontend_signature(self) -> str:
        """Describe the encoders, on which embeddings depend besides the weights."""
        return f"{self.data.voice_encoder} {self.data.face_encoder}"

    @model_validator(mode="after")
    def _choose_head(self) -> Self:
        """Replace `auto` in the architecture, and what is not stated, by the head of the objective."""
        head, stated = HEADS.get(self.loss.objective, OTHER_HEAD), self.model.model_fields_set
        chosen = {
            key: choice
            for key, choice in head.items()
            if key not in stated or getattr(self.model, key) == "auto"
        }
        if chosen:  # a validator before the fields would lose the strict reading of JSON
            model = self.model.model_copy(update=chosen)
            object.__setattr__(self, "model", model)
            model.require_fitting_branch()
        return self

    @model_validator(mode="after")
    def _objective_fits_head(self) -> Self:
        objective, model = self.loss.objective, self.model
        if objective == "fop" and model.fusion == "none":
            raise ValueError("loss.objective=fop needs model.fusion=gated or linear, found none")
        if objective != "fop" and model.fusion != "none":
            raise ValueError(
                f"loss.objective={objective} needs model.fusion=none or auto, found {model.fusion}"
            )
        if (objective == "identity_space") != (model.space == "face"):
            raise ValueError(
                f"loss.objective={objective} and model.space={model.space}: the space of the face encoder "
                "belongs to the objective identity_space; set model.space=auto"
            )
        return self
