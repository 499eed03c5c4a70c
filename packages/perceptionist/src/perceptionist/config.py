"""Everything a run of this system can be told, checked and typed.

One class holds an experiment of any kind; sections that the kind has no use for stay away. A configuration
says *what* is trained; paths, devices and resuming are flags of the commands.
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator
from voiceface.runtime.config import Config, to_dict
from voiceface.training.settings import NonNegative, OptimiserConfig, Positive, Share

from perceptionist.expert_losses import ExpertLossConfig
from perceptionist.face_network import FaceNetworkConfig
from perceptionist.generator import GeneratorConfig
from perceptionist.image_to_3d import ImageTo3DConfig
from perceptionist.losses import DistillationConfig, GeneratorLossConfig, TripletConfig
from perceptionist.refiners import RefinerConfig
from perceptionist.speech import SpeechConfig
from perceptionist.supervised_head import SupervisedHeadConfig
from perceptionist.voice_network import VoiceNetworkConfig

Kind = Literal["unsupervised", "supervised", "expert", "speaker"]
# Sections of `networks` and `losses` that a kind needs, and those that it may do without.
SECTIONS: dict[str, dict[str, tuple[set[str], set[str]]]] = {
    "unsupervised": {
        "networks": ({"voice", "generator", "face", "student"}, set()),
        "losses": ({"distillation"}, {"triplet", "pictures"}),
    },
    "supervised": {"networks": ({"voice", "head"}, set()), "losses": ({"supervised"}, set())},
    "expert": {"networks": ({"expert"}, {"refiners"}), "losses": ({"expert"}, set())},
    "speaker": {"networks": ({"voice"}, set()), "losses": ({"speaker"}, set())},
}


class NetworksConfig(Config):
    """Sizes of the networks of one kind; the expert of the cascade brings its own."""

    voice: VoiceNetworkConfig | None = None
    generator: GeneratorConfig | None = None
    face: FaceNetworkConfig | None = None
    student: ImageTo3DConfig | None = None
    head: SupervisedHeadConfig | None = None
    expert: ImageTo3DConfig | None = None
    refiners: RefinerConfig | None = Field(None, description="absent: the expert learns without them")


class SupervisedLossConfig(Config):
    """Our reading of the "supervised loss", whose code was never released.

    `target_space`: squared error of the whitened numbers (`parameters`), or of the vertices in pixels (`vertices`).
    """

    target_space: Literal["parameters", "vertices"] = "parameters"
    scale: float = Field(1.0, ge=0, description="weight of the scale's error")
    shape: float = Field(1.0, ge=0, description="of the shape's; with `vertices` of all three together")
    expression: float = Field(1.0, ge=0, description="of the expression's")


class SpeakerLossConfig(Config):
    """Whose voice is it: cross entropy over the people of the training.

    The published voice network was trained so; the training was not released.
    """

    logit_scale: float | None = Field(
        None,
        gt=0,
        description="of the cosines between unit embeddings and the people's directions; null: a linear "
        "layer on embeddings of any length",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the labels that is spread over all people"
    )


class LossesConfig(Config):
    """Objectives of one kind."""

    distillation: DistillationConfig | None = None
    triplet: TripletConfig | None = Field(None, description="absent: anchors alone")
    generator: GeneratorLossConfig | None = Field(
        None, description="absent: the published terms, weight 1 each"
    )
    supervised: SupervisedLossConfig | None = None
    expert: ExpertLossConfig | None = None
    speaker: SpeakerLossConfig | None = None


class FramesConfig(Config):
    """What a batch holds of each recording, in frames of 10 ms."""

    clip: Positive = Field(800, description="random crop of every recording")
    min_crop: Positive = Field(300, description="random crop of that, shared by the batch: shortest")
    max_crop: Positive = Field(800, description="longest, included")

    @model_validator(mode="after")
    def _crops_fit(self) -> Self:
        if not self.min_crop <= self.max_crop <= self.clip:
            raise ValueError(
                f"expected shortest <= longest <= file, found {self.min_crop}, {self.max_crop}, {self.clip}"
            )
        return self


class DataConfig(Config):
    """How recordings and pictures reach the networks.

    `triplet_sampling`: `identity` (positives of the same person, negatives of another one), or `published` (next file
    of the list, any file).
    `face_sampling`: real pictures of a cascade's batch are drawn for themselves (`any`, as published), or show the
    people who are heard (`same`).
    `expert_input`: what an expert in training sees: as the cascade shows it (`cascade`: RGB, -1...1), or as
    published (BGR, minus 127.5 by 128), which the cascade does not keep to.
    """

    speech: SpeechConfig = SpeechConfig()
    frames: FramesConfig = FramesConfig()
    triplet_sampling: Literal["identity", "published"] = "identity"
    face_sampling: Literal["any", "same"] = "any"
    flip_probability: Share = Field(0.5, description="share of the cascade's face pictures that are mirrored")
    expert_input: Literal["cascade", "published"] = "cascade"
    expert_image_size: Positive = Field(
        64, description="expert's pictures are first brought to this side, pixels"
    )
    colour_jitter: float = Field(0.0, ge=0, le=1, description="of the expert's pictures")
    max_blur_sigma: float = Field(
        0.0, ge=0, description="of the expert's pictures: greatest deviation, pixels, uniform from 0"
    )
    in_memory: bool = Field(False, description="keep decoded pictures and stored features")


class ScheduleConfig(Config):
    """Learning rate: constant, `step` (times `factor` after each milestone's step), or `cosine` to zero."""

    kind: Literal["constant", "step", "cosine"] = "constant"
    milestones: tuple[int, ...] = ()
    factor: float = Field(0.1, gt=0, le=1)
    warm_up: NonNegative = Field(0, description="steps at `warm_up_share` of the rate")
    warm_up_factor: float = Field(1.0, gt=0, le=1)


class TrainingConfig(Config):
    """Length, batches and what happens when.

    `voice_network`: `fixed` (given, never optimised, evaluation mode), `batch_statistics` (as published: from
    the first validation on it normalises by the batch; nothing of it is stored), or `trained` (supervised
    only: it learns along, from its file or from scratch).
    `student_init`: begins from its own random numbers (`random`, as published), or as a copy of the expert
    (`expert`), which then has to have its sizes.
    """

    seed: NonNegative = 1
    max_steps: Positive = 50_000
    batch_size: int = Field(64, ge=2)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    num_workers: NonNegative = 4
    voice_network: Literal["fixed", "batch_statistics", "trained"] = "fixed"
    student_init: Literal["random", "expert"] = "random"
    face_pretraining_steps: NonNegative = Field(
        0, description="cascade: first steps, in which classifier and face network alone learn"
    )
    student_start_step: NonNegative = Field(0, description="cascade: steps after which the student joins")
    discriminator_lr_factor: float = Field(
        1.0, gt=0, le=1, description="cascade: share of the rate for the discriminator's side after that"
    )
    embedding_noise_std: float = Field(
        0.05, ge=0, description="deviation of what is added to embeddings (cascade)"
    )
    checkpoint_interval: Positive = 2_000
    validation_interval: int | None = Field(
        2_000, gt=0, description="steps, step 0 included; null: never"
    )
    log_interval: Positive = 100


class EvaluationConfig(Config):
    """On-line validation.

    `mean_over`: `people` (mean over a person's recordings first), or `utterances_per_identity`, as published.
    """

    mean_over: Literal["people", "files"] = "people"
    utterances_per_identity: Positive = Field(3, description="recordings of each person")


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
        for name, (needed, optional) in SECTIONS[self.kind].items():
            given = {key for key, value in getattr(self, name) if value is not None}
            if absent := sorted(needed - given):
                raise ValueError(f"kind {self.kind} needs {', '.join(f'{name}.{word}' for word in absent)}")
            if other := sorted(given - needed - optional):
                raise ValueError(
                    f"{', '.join(f'{name}.{word}' for word in other)}: of no use for kind {self.kind}; "
                    "take the section out"
                )
        pixels = self.losses.generator.pixel_weight if self.losses.generator else 0
        if pixels and self.data.face_sampling != "same":
            raise ValueError(
                "losses.generator.pixel_weight needs pictures of the people heard: data.face_sampling=same_identity"
            )
        if self.kind == "unsupervised" and self.training.face_pretraining_steps >= self.training.max_steps:
            raise ValueError(
                f"training.face_pretraining_steps ({self.training.face_pretraining_steps}) leaves nothing of training.max_steps "
                f"({self.training.max_steps})"
            )
        if self.training.voice_network == "trained" and self.kind != "supervised":
            raise ValueError(
                f"training.voice_network=trained is for kind supervised only, found kind {self.kind}"
            )
        if self.training.voice_network == "batch_statistics" and self.kind != "unsupervised":
            raise ValueError(
                f"training.voice_network=batch_statistics is for kind unsupervised, found kind {self.kind}"
            )
        return self


def config_to_dict(config: PerceptionistConfig) -> dict[str, Any]:
    """The configuration as plain values, without the sections that are not there."""
    plain = to_dict(config)
    for name in ("networks", "losses"):
        plain[name] = {key: value for key, value in plain[name].items() if value is not None}
    return plain
