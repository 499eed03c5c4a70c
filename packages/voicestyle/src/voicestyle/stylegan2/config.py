"""Everything that a training run of StyleGAN2 can be told, checked and typed."""

from typing import Literal, Self

from pydantic import Field, model_validator
from voiceface.runtime.config import Config

from voicestyle.stylegan2.discriminator import DiscriminatorConfig
from voicestyle.stylegan2.generator import GeneratorConfig


class LossConfig(Config):
    """Weights of the regularisers; each is added every so many iterations, that many times as strong."""

    r1_gamma: float = Field(10.0, ge=0, description="gamma: half of it times the squared gradient norm")
    r1_interval: int = Field(16, ge=1, description="iterations between R1 steps")
    path_weight: float = Field(2.0, ge=0, description="weight of the path length penalty; 0 leaves it out")
    path_interval: int = Field(4, ge=1, description="iterations between path length steps")
    path_batch_shrink: int = Field(2, ge=1, description="the path length batch is so many times smaller")
    path_decay: float = Field(0.01, gt=0, le=1, description="share of the new mean length")
    mixing_prob: float = Field(0.9, ge=0, le=1, description="share of batches of two mixed styles")


class OptimiserConfig(Config):
    """Adam of both networks; rate and betas are adapted to the lazy regularisers, as published."""

    lr: float = Field(0.002, gt=0)
    betas: tuple[float, float] = (0.0, 0.99)


class EMAConfig(Config):
    """Running mean of the generator's parameters, the network that is kept."""

    half_life: float = Field(312.5, gt=0, description="iterations; published: decay 0.5^(32 / 10,000)")
    ramp_up: float | None = Field(
        None, gt=0, description="early on, the half-life is at most this share of the iterations so far"
    )


class AugmentConfig(Config):
    """Augmentation of what the discriminator sees."""

    enabled: bool = False
    p: float = Field(0.0, ge=0, le=1, description="fixed probability; 0: adapted")
    target: float = Field(0.6, ge=-1, le=1, description="mean sign of the scores of real pictures")
    quarter_turns: Literal["all", "published"] = Field(
        "all", description="quarter turns 0 to 3, or 0 and 3 alone"
    )
    adaptation_length: int = Field(
        500_000, ge=1, description="pictures in which the probability can rise from 0 to 1"
    )
    adaptation_interval: int = Field(8, ge=1, description="discriminator steps between adaptations")


class ImagesConfig(Config):
    """What is learned from: how pictures of a folder are prepared, and which people are invented.

    The invented ones are training identities only.
    """

    flip: bool = Field(True, description="mirror pictures at random")
    num_identities: int = Field(942, ge=1, description="invented: identities of the training split")
    images_per_identity: int = Field(4, ge=1, description="invented: pictures of each")
    nuisance: float = Field(1.0, ge=0, description="invented: factor on what differs between them")


class TrainingConfig(Config):
    """Length, batches and what happens when."""

    seed: int = Field(1, ge=0)
    max_steps: int = Field(800_000, ge=1)
    batch_size: int = Field(16, ge=1)
    precision: str = Field("float32", pattern="^(float32|bfloat16|float16)$")
    num_workers: int = Field(0, ge=0, description="loader processes")
    preview_images: int = Field(64, ge=1, description="pictures of a preview")
    preview_interval: int = Field(100, ge=1, description="iterations between previews")
    checkpoint_interval: int = Field(
        10_000, ge=0, description="iterations between checkpoints; 0: first and last"
    )
    log_interval: int = Field(10, ge=1, description="iterations between lines of the log")
    latent_avg_samples: int = Field(10_000, ge=1, description="z whose mean w is stored as the centre")


class StyleGAN2Config(Config):
    """One training run. `generator.size` is the side of the pictures; both networks have it."""

    name: str = "stylegan2"
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    ema: EMAConfig = EMAConfig()
    augment: AugmentConfig = AugmentConfig()
    data: ImagesConfig = ImagesConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.generator.size != self.discriminator.size:
            raise ValueError(
                f"generator.size is {self.generator.size}, discriminator.size {self.discriminator.size}: "
                "expected the same"
            )
        batch, group = (
            self.training.batch_size,
            min(self.training.batch_size, self.discriminator.stddev_group),
        )
        if batch % group:
            raise ValueError(
                f"training.batch_size {batch} does not divide into groups of {group} "
                "(discriminator.stddev_group)"
            )
        return self
