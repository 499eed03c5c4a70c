"""Configuration of one experiment of any kind, validated and typed.

Sections that a kind does not use are absent. A configuration says *what* is trained; paths, devices and
resuming are command-line flags.
"""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from voiceface.datasets.augmentation_config import AugmentationConfig, require_spec_augment_only
from voiceface.runtime.config import Config, to_dict
from voiceface.training.settings import NonNegative, OptimiserConfig, Positive, Share

from perceptionist.network_config import (
    DistillationConfig,
    ExpertLossConfig,
    FaceNetworkConfig,
    GeneratorConfig,
    GeneratorLossConfig,
    ImageTo3DConfig,
    RefinerConfig,
    SpeechConfig,
    SupervisedHeadConfig,
    TripletConfig,
    VoiceNetworkConfig,
)

__all__ = [
    "SECTIONS",
    "DataConfig",
    "EvaluationConfig",
    "FramesConfig",
    "Kind",
    "LossesConfig",
    "NetworksConfig",
    "PerceptionistConfig",
    "ScheduleConfig",
    "SpeakerLossConfig",
    "SupervisedLossConfig",
    "TrainingConfig",
    "config_to_dict",
]


Kind = Literal["unsupervised", "supervised", "expert", "speaker"]
# Sections of `networks` and `losses`: required and optional ones of each kind.
SECTIONS: dict[str, dict[str, tuple[set[str], set[str]]]] = {
    "unsupervised": {
        "networks": ({"voice", "generator", "face", "student"}, set()),
        "losses": ({"distillation"}, {"triplet", "generator"}),
    },
    "supervised": {"networks": ({"voice", "head"}, set()), "losses": ({"supervised"}, set())},
    "expert": {"networks": ({"expert"}, {"refiners"}), "losses": ({"expert"}, set())},
    "speaker": {"networks": ({"voice"}, set()), "losses": ({"speaker"}, set())},
}


class NetworksConfig(Config):
    """Sizes of the networks of one kind; the sizes of the cascade's expert are read from its checkpoint."""

    voice: VoiceNetworkConfig | None = None
    generator: GeneratorConfig | None = None
    face: FaceNetworkConfig | None = None
    student: ImageTo3DConfig | None = None
    head: SupervisedHeadConfig | None = None
    expert: ImageTo3DConfig | None = None
    refiners: RefinerConfig | None = Field(None, description="refiners of the expert; null: none")


class SupervisedLossConfig(Config):
    """Loss of the supervised head: a reading of the paper's "supervised loss", whose code was never released.

    `target_space`: squared error of the whitened coefficients (`parameters`), or of the vertices in pixels
    (`vertices`).
    """

    target_space: Literal["parameters", "vertices"] = "parameters"
    scale: float = Field(1.0, ge=0, description="weight of the scale error")
    shape: float = Field(
        1.0, ge=0, description="weight of the shape error; with `vertices` of the whole error"
    )
    expression: float = Field(1.0, ge=0, description="weight of the expression error")


class SpeakerLossConfig(Config):
    """Speaker classification: cross entropy over the training identities.

    The published voice network was trained in this way; the training was not released.
    """

    logit_scale: float | None = Field(
        None,
        gt=0,
        description="scale of the cosines between unit embeddings and unit class weights; null: a linear "
        "layer on unnormalized embeddings",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing over all identities")


class LossesConfig(Config):
    """Objectives of one kind."""

    distillation: DistillationConfig | None = None
    triplet: TripletConfig | None = Field(None, description="null: anchors only, no triplet loss")
    generator: GeneratorLossConfig | None = Field(
        None, description="null: the published terms, weight 1 each"
    )
    supervised: SupervisedLossConfig | None = None
    expert: ExpertLossConfig | None = None
    speaker: SpeakerLossConfig | None = None


class FramesConfig(Config):
    """Crops of an utterance, in frames of 10 ms."""

    clip: Positive = Field(800, description="length of the random clip of every utterance")
    min_crop: Positive = Field(300, description="shortest random crop of the clips, shared by the batch")
    max_crop: Positive = Field(800, description="longest random crop, included")

    @model_validator(mode="after")
    def _crops_fit(self) -> Self:
        if not self.min_crop <= self.max_crop <= self.clip:
            raise ValueError(
                "expected data.frames.min_crop <= max_crop <= clip, found "
                f"{self.min_crop}, {self.max_crop}, {self.clip}"
            )
        return self


class DataConfig(Config):
    """Preparation and sampling of utterances and images.

    `triplet_sampling`: `identity` (positives of the same identity, negatives of another), or `published` (the
    next file of the list as positive, any file as negative).
    `face_sampling`: real images of a cascade batch are sampled independently of the utterances
    (`independent`, as published), or show the same identities (`same_identity`).
    `expert_input`: image range of an expert in training: as the cascade presents images (`cascade`: RGB,
    -1...1), or `published` (BGR, (x - 127.5) / 128), which the published cascade does not use.
    """

    speech: SpeechConfig = SpeechConfig()
    frames: FramesConfig = FramesConfig()
    triplet_sampling: Literal["identity", "published"] = "identity"
    face_sampling: Literal["independent", "same_identity"] = "independent"
    flip_probability: Share = Field(0.5, description="probability of mirroring a real face image (cascade)")
    expert_input: Literal["cascade", "published"] = "cascade"
    expert_image_size: Positive = Field(
        64, description="side that the expert's images are first resized to, pixels"
    )
    colour_jitter: float = Field(0.0, ge=0, le=1, description="colour jitter of the expert's images")
    max_blur_sigma: float = Field(
        0.0,
        ge=0,
        description="largest standard deviation of the random blur of the expert's images, pixels",
    )
    max_shift: float = Field(
        0.0, ge=0, le=0.5, description="largest random shift of the expert's images, fraction of their side"
    )
    max_zoom: float = Field(
        0.0,
        ge=0,
        le=1,
        description="largest random enlargement or reduction of the expert's images, fraction",
    )
    in_memory: bool = Field(False, description="keep decoded images and stored features in memory")
    augmentation: AugmentationConfig | None = Field(
        None, description="masks of the features in training (voice.spec_augment); null: none"
    )

    _spec_augment_only = field_validator("augmentation")(require_spec_augment_only)


class ScheduleConfig(Config):
    """Learning rate: constant, `step` (times `factor` after each milestone's step), or `cosine` to zero."""

    kind: Literal["constant", "step", "cosine"] = "constant"
    milestones: tuple[int, ...] = ()
    factor: float = Field(0.1, gt=0, le=1)
    warm_up: NonNegative = Field(0, description="steps at `warm_up_factor` of the learning rate")
    warm_up_factor: float = Field(1.0, gt=0, le=1)


class TrainingConfig(Config):
    """Length of the training, batches, initialisation and intervals.

    `voice_network`: `frozen` (given, never optimised, evaluation mode), `batch_statistics` (as published:
    from the first validation on, batch norms use batch statistics; nothing of it is stored), or `trained`
    (supervised only: trained jointly, from its file or from scratch).
    `student_init`: `random` as published, or `expert`: a copy of the expert, which must have the same sizes.
    """

    seed: NonNegative = 1
    max_steps: Positive = 50_000
    batch_size: int = Field(64, ge=2)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    num_workers: NonNegative = 4
    voice_network: Literal["frozen", "batch_statistics", "trained"] = "frozen"
    student_init: Literal["random", "expert"] = "random"
    face_pretraining_steps: NonNegative = Field(
        0, description="cascade: first steps, in which only classifier and face network are trained"
    )
    student_start_step: NonNegative = Field(0, description="cascade: step from which the student is trained")
    discriminator_lr_factor: float = Field(
        1.0,
        gt=0,
        le=1,
        description="cascade: factor on the learning rate of the discriminator's side after face pretraining",
    )
    embedding_noise_std: float = Field(
        0.05, ge=0, description="cascade: standard deviation of the noise added to embeddings"
    )
    checkpoint_interval: Positive = 2_000
    validation_interval: int | None = Field(2_000, gt=0, description="steps, step 0 included; null: never")
    log_interval: Positive = 100


class EvaluationConfig(Config):
    """On-line validation.

    `mean_over`: `identities` (mean over the utterances of an identity first), or `utterances`, as published.
    """

    mean_over: Literal["identities", "utterances"] = "identities"
    utterances_per_identity: Positive = Field(3, description="utterances of each identity")


class PerceptionistConfig(Config):
    """One experiment."""

    name: str
    kind: Kind
    networks: NetworksConfig
    losses: LossesConfig
    data: DataConfig = DataConfig()
    optimiser: OptimiserConfig = OptimiserConfig(method="adam", lr=2e-4, betas=(0.5, 0.999), weight_decay=0.0)
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _sections_fit_the_kind(self) -> Self:
        for name, (required, optional) in SECTIONS[self.kind].items():
            given = {key for key, value in getattr(self, name) if value is not None}
            if missing := sorted(required - given):
                sections = ", ".join(f"{name}.{word}" for word in missing)
                raise ValueError(f"kind {self.kind} requires the sections {sections}")
            if unused := sorted(given - required - optional):
                sections = ", ".join(f"{name}.{word}" for word in unused)
                raise ValueError(f"kind {self.kind} does not use the sections {sections}; remove them")
        pixel_weight = self.losses.generator.pixel_weight if self.losses.generator else 0
        if pixel_weight and self.data.face_sampling != "same_identity":
            raise ValueError(
                "losses.generator.pixel_weight compares with images of the same identity: set "
                "data.face_sampling=same_identity"
            )
        return self

    @model_validator(mode="after")
    def _training_fits_the_kind(self) -> Self:
        training = self.training
        if self.kind == "unsupervised" and training.face_pretraining_steps >= training.max_steps:
            raise ValueError(
                f"training.face_pretraining_steps ({training.face_pretraining_steps}) must be less than "
                f"training.max_steps ({training.max_steps})"
            )
        if training.voice_network == "trained" and self.kind != "supervised":
            raise ValueError(
                f"training.voice_network=trained is for kind supervised only, found kind {self.kind}"
            )
        if training.voice_network == "batch_statistics" and self.kind != "unsupervised":
            raise ValueError(
                "training.voice_network=batch_statistics is for kind unsupervised only, found kind "
                f"{self.kind}"
            )
        return self


def config_to_dict(config: PerceptionistConfig) -> dict[str, Any]:
    """The configuration as plain values, without absent sections."""
    values = to_dict(config)
    for name in ("networks", "losses"):
        values[name] = {key: value for key, value in values[name].items() if value is not None}
    return values
