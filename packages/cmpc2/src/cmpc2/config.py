"""Typed configuration of CMPC.

The configuration states *what* is trained; paths, devices and resuming are command-line flags. Errors of the
published code that affect results are options; the defaults follow the paper (docs/cmpc2.md).
"""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from voiceface.association.config import EvaluationConfig, RecordingOptions
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

__all__ = [
    "ClusteringConfig",
    "Cmpc2Config",
    "DataConfig",
    "ListEvaluationConfig",
    "LossConfig",
    "MemoryConfig",
    "OptimiserConfig",
    "RecalibrationConfig",
    "TrainingConfig",
]


class RecalibrationConfig(Config):
    """Recalibration: weights of pairs by their credibility."""

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
        """Build the keyword arguments of `cmpc2.losses.cmpc_terms`."""
        options = self.model_dump()
        return {"recalibrate": options.pop("enabled"), **options}


class LossConfig(Config):
    """Instance contrast, prototype contrast, recalibration.

    `prototype_negatives`: the prototypes of all clusters, each at its own temperature (`all`), or, as
    published, those of the batch, with temperatures along the wrong axis (`published`).
    """

    temperature: float = Field(0.03, gt=0)
    prototypes: bool = True
    prototype_negatives: ContrastForm = "all"
    prototype_temperature: float = Field(0.2, gt=0, description="mean concentration of the clusters")
    recalibration: RecalibrationConfig = RecalibrationConfig()


class ClusteringConfig(Config):
    """Clustering of the memory banks.

    `lifetime`: clusterings are used until the next ones (`until_next`), or, as published, only in the
    iteration in which they are computed (`one_step`).
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
            raise ValueError(f"clustering.num_clusters {list(self.num_clusters)}: expected different numbers")
        return self

    def is_due(self, step: int) -> bool:
        """Whether the banks are clustered before iteration `step`."""
        return step >= max(1, self.start_step) and step % self.interval == 0

    def kmeans_options(self) -> dict[str, Any]:
        """Build the keyword arguments of `cmpc2.prototypes.cluster`."""
        return {
            "num_iterations": self.num_iterations,
            "init": self.init,
            "empty_clusters": self.empty_clusters,
            "final_assignment": self.final_assignment,
            "backend": self.backend,
        }


class MemoryConfig(Config):
    """Memory banks; `momentum` is the share of the previous row, one number or (face, voice)."""

    momentum: Share | tuple[Share, Share] = 0.5


class OptimiserConfig(Config):
    """Optimiser of both branches and its learning rate.

    The learning rate rises from `min_lr` to `max_lr` over `warm_up` iterations and decays along half a cosine
    until `cycle` (null: the length of the run); then the next cycle starts.
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
    """Preprocessing of utterances and images.

    `face_transform`: training images unchanged (`none`, as published), or randomly flipped, rotated and
    cropped (`views`). `mismatched_fraction`: fraction of the training videos whose images are exchanged among
    each other, for experiments on mismatched pairs.
    """

    voice: VoiceFrontendConfig = VoiceFrontendConfig()
    face_transform: Literal["none", "views"] = "none"
    colour_jitter: float = Field(0.0, ge=0, le=1)
    gain_jitter: float = Field(
        0.0, ge=0, description="random gain of a training clip, standard deviation in dB"
    )
    augmentation: AugmentationConfig | None = Field(
        None, description="further random augmentation; null: none"
    )
    in_memory: bool = False
    mismatched_fraction: Share = 0.0


class TrainingConfig(Config):
    """Length of a run, batches, and intervals in steps.

    `sampling`: every video once per epoch (`epochs`), or, as published, with replacement (`replacement`).
    `best_checkpoint`: `checkpoints/best` is selected by a validation list, or, as published, by the lowest
    loss of a single batch.
    """

    seed: NonNegative = 0
    max_steps: Positive = 25_000
    batch_size: int = Field(128, ge=2)
    accumulation_steps: Positive = 1
    sampling: Literal["epochs", "replacement"] = "epochs"
    negatives: Literal["all", "local"] = "all"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    num_workers: NonNegative = 6
    shuffle_buffer: int | None = Field(None, gt=0)
    checkpoint_interval: Positive = 1_000
    best_checkpoint: Literal["validation", "lowest_loss", "none"] = "none"
    validation_interval: int | None = Field(None, gt=0)
    validation_start: NonNegative = 0
    log_interval: Positive = 10


class ListEvaluationConfig(EvaluationConfig):
    """Evaluation; `test` finds published matching, verification and retrieval lists automatically.

    `voice_clips`, `mirror_images`: random clips of an utterance and mirrored images whose embeddings are
    averaged for verification. `eer_method`: interpolated, or at the nearest corner of the ROC, as published.
    """

    seed: NonNegative = 0
    voice_clips: Positive = 5
    mirror_images: bool = True
    eer_method: Literal["interpolated", "corner"] = "interpolated"


class Cmpc2Config(RecordingOptions):
    """Complete configuration of one experiment."""

    published_format: ClassVar[str | None] = "cmpc2.published_config:recognise"

    name: str
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    memory: MemoryConfig = MemoryConfig()
    clustering: ClusteringConfig = ClusteringConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: ListEvaluationConfig = ListEvaluationConfig()

    def data_update(self, options: dict[str, Any]) -> dict[str, Any]:
        """Values of `data` for options of `RecordingOptions`; here they are in the section `voice`."""
        update = dict(options)
        if "resample" in update:
            update["sample_rates"] = "resample" if update.pop("resample") else "error"
        return {"voice": self.data.voice.model_copy(update=update)}

    def frontend_signature(self) -> str:
        """Describe the preprocessing, on which embeddings depend besides the weights."""
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
                "training.best_checkpoint=validation needs validations: set training.validation_interval, or "
                "training.best_checkpoint=none"
            )
        return self
