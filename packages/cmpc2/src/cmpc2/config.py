"""Typed configuration of CMPC.

A configuration says *what* is trained; paths, devices and resuming are flags of the commands. Published slips
that change numbers are options; the defaults are what the paper means (docs/cmpc2.md).
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator
from voiceface.association.config import EvaluationConfig
from voiceface.datasets.augmentation_config import AugmentationConfig
from voiceface.runtime.config import Config
from voiceface.training.settings import NonNegative, Positive, Share

from cmpc2.model_config import (
    Agreement,
    Backend,
    CentreInit,
    ContrastForm,
    EmptyClusters,
    FinalAssignment,
    ModelConfig,
    VoiceFrontendConfig,
    WeightRule,
)


class RecalibrationConfig(Config):
    """Weights of pairs by how well voice and face fit."""

    enabled: bool = True
    rule: WeightRule = Field(
        "cumulative", description="cumulative: published sum over ranks; cdf: normal distribution function"
    )
    delta: float = Field(-1.0, description="shift of the mean, standard deviations of the batch")
    kappa: float = Field(0.1, gt=0, description="share of the batch's variance")
    centroids: Literal["raw", "unit"] = Field("raw", description="of the agreement; raw: published")
    over: Literal["sum", "mean"] = Field("sum", description="clusterings; sum: published")
    agreement: Agreement = Field("subtracted", description="of the prototypes; subtracted: published")

    def options(self) -> dict[str, Any]:
        """As `cmpc_terms` takes them."""
        found = self.model_dump()
        return {"recalibrate": found.pop("enabled"), **found}


class LossConfig(Config):
    """Instance contrast, prototype contrast, recalibration.

    `prototype_negatives`: the prototypes of all clusters compete, each at its own temperature (`all`), or,
    as published, those of the batch with the wrong axis divided (`published`).
    """

    temperature: float = Field(0.03, gt=0)
    prototypes: bool = True
    prototype_negatives: ContrastForm = "all"
    prototype_temperature: float = Field(0.2, gt=0, description="mean concentration of the clusters")
    recalibration: RecalibrationConfig = RecalibrationConfig()


class ClusteringConfig(Config):
    """When and how the banks are clustered.

    `lifetime`: the latest clusterings serve until the next ones (`until_next`), or, as published, in that
    iteration alone that made them (`one_step`).
    """

    start_step: NonNegative = Field(2344, description="no clustering before this iteration")
    interval: Positive = Field(282, description="iterations, counted from 0")
    lifetime: Literal["until_next", "one_step"] = "until_next"
    num_clusters: tuple[Positive, ...] = (500, 1000, 1500)
    num_iterations: Positive = 20
    init: CentreInit = "random"
    empty_clusters: EmptyClusters = "reseed"
    final_assignment: FinalAssignment = "consistent"
    backend: Backend = "torch"

    @model_validator(mode="after")
    def _require_distinct_counts(self) -> Self:
        if len(set(self.num_clusters)) != len(self.num_clusters) or not self.num_clusters:
            raise ValueError(
                f"clustering.num_clusters {list(self.num_clusters)}: expected different numbers, one at least"
            )
        return self

    def is_due(self, step: int) -> bool:
        """Whether the banks are clustered before iteration `step`."""
        return step >= max(1, self.start_step) and step % self.interval == 0

    def kmeans_options(self) -> dict[str, Any]:
        """As `cmpc2.prototypes.cluster` takes them."""
        return {
            "num_iterations": self.num_iterations,
            "init": self.init,
            "empty_clusters": self.empty_clusters,
            "final_assignment": self.final_assignment,
            "backend": self.backend,
        }


class MemoryConfig(Config):
    """The banks; `momentum` is the share of the old row, one number or (face, voice)."""

    momentum: Share | tuple[Share, Share] = 0.5


class OptimiserConfig(Config):
    """One optimiser over both branches and its learning rate.

    The rate rises from `min_lr` to `max_lr` over `warm_up` iterations and falls along half a cosine until
    `cycle` (null: the run's length); then the next cycle begins.
    """

    method: Literal["adam", "adamw", "sgd"] = "adam"
    max_lr: float = Field(5e-3, gt=0)
    min_lr: float = Field(1e-4, ge=0)
    warm_up: NonNegative = 2500
    cycle: Positive | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-5, ge=0)
    clip_gradient: float | None = Field(None, gt=0)


class DataConfig(Config):
    """How recordings and pictures reach the networks.

    `face_transform`: training images as they are (`none`, as published), or flipped, turned and cut at random
    (`views`). `mismatched_fraction`: fraction of the training videos whose images are exchanged among each
    other: an experiment on wrong pairs, never a way to train.
    """

    voice: VoiceFrontendConfig = VoiceFrontendConfig()
    face_transform: Literal["none", "views"] = "none"
    colour_jitter: float = Field(0.0, ge=0, le=1)
    gain_jitter: float = Field(0.0, ge=0, description="random gain of a training clip, deviation in decibels")
    augmentation: AugmentationConfig | None = Field(None, description="further random changes; null: none")
    in_memory: bool = False
    mismatched_fraction: Share = 0.0


class TrainingConfig(Config):
    """Length, batches and what happens when.

    `sampling`: every video once an epoch (`epochs`), or, as published, with replacement (`replacement`).
    `best`: `checkpoints/best` by a validation list, or, as published, by the lowest loss of a single batch.
    """

    seed: NonNegative = 0
    max_steps: Positive = 25_000
    batch_size: int = Field(128, ge=2)
    sampling: Literal["epochs", "replacement"] = "epochs"
    negatives: Literal["all", "local"] = "all"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    num_workers: NonNegative = 6
    checkpoint_interval: Positive = 1_000
    best_checkpoint: Literal["validation", "lowest_loss", "none"] = "none"
    validation_interval: int | None = Field(None, gt=0)
    validation_start: NonNegative = 0
    log_interval: Positive = 10


class ListEvaluationConfig(EvaluationConfig):
    """What `test` measures; published matching, verification and retrieval lists are found by themselves.

    `voice_clips`, `mirror_images`: random clips of a recording and mirrored pictures in verification, whose
    embeddings are averaged. `error_rate`: interpolated, or the published corner of the ROC.
    """

    seed: NonNegative = 0
    voice_clips: Positive = 5
    mirror_images: bool = True
    eer_method: Literal["interpolated", "corner"] = "interpolated"


class Cmpc2Config(Config):
    """One experiment."""

    name: str
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    memory: MemoryConfig = MemoryConfig()
    clustering: ClusteringConfig = ClusteringConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: ListEvaluationConfig = ListEvaluationConfig()

    def with_input_options(
        self, *, resample: bool | None = None, on_corrupt: Literal["error", "salvage"] | None = None
    ) -> Self:
        """Copy the configuration with options for reading utterances; None keeps a value."""
        chosen: dict[str, str] = {}
        if resample is not None:
            chosen["sample_rates"] = "resample" if resample else "error"
        if on_corrupt is not None:
            chosen["corrupt_audio"] = on_corrupt
        voice = self.data.voice.model_copy(update=chosen)
        return self.model_copy(update={"data": self.data.model_copy(update={"voice": voice})})

    def frontend_signature(self) -> str:
        """Describe what decides an embedding besides the weights."""
        return f"{self.data.voice.model_dump_json()} {self.model.face.image_size}"

    @model_validator(mode="after")
    def _check_warm_up(self) -> Self:
        cycle = self.optimiser.cycle or self.training.max_steps
        if self.optimiser.warm_up >= cycle:
            raise ValueError(
                f"optimiser.warm_up {self.optimiser.warm_up} does not fit into a cycle of {cycle} iterations "
                "(optimiser.cycle, or training.max_steps)"
            )
        return self

    @model_validator(mode="after")
    def _check_validation_enabled(self) -> Self:
        if self.training.best_checkpoint == "validation" and self.training.validation_interval is None:
            raise ValueError(
                "training.best_checkpoint validation needs validations: set training.validation_interval, "
                "or training.best_checkpoint=none"
            )
        return self
