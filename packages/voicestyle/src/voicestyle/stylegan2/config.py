"""Typed configuration of a StyleGAN2 training run."""

from typing import Literal, Self

from pydantic import Field, model_validator
from voiceface.runtime.config import Config

from voicestyle.stylegan2.discriminator import DiscriminatorConfig
from voicestyle.stylegan2.generator import GeneratorConfig

__all__ = [
    "AugmentConfig",
    "EMAConfig",
    "ImagesConfig",
    "LossConfig",
    "OptimiserConfig",
    "StyleGAN2Config",
    "TrainingConfig",
]


class LossConfig(Config):
    """Weights of the regularisers; each is applied at intervals, scaled by the length of the interval."""

    r1_gamma: float = Field(10.0, ge=0, description="gamma: half of it times the squared gradient norm")
    r1_interval: int = Field(16, ge=1, description="iterations between R1 steps")
    path_weight: float = Field(2.0, ge=0, description="weight of the path length penalty; 0 disables it")
    path_interval: int = Field(4, ge=1, description="iterations between path length steps")
    path_batch_shrink: int = Field(2, ge=1, description="the path length batch is smaller by this factor")
    path_decay: float = Field(0.01, gt=0, le=1, description="weight of the new mean length")
    mixing_prob: float = Field(0.9, ge=0, le=1, description="fraction of batches of two mixed styles")


class OptimiserConfig(Config):
    """Adam of both networks; learning rate and betas are corrected for lazy regularisation, as published."""

    lr: float = Field(0.002, gt=0)
    betas: tuple[float, float] = (0.0, 0.99)


class EMAConfig(Config):
    """Moving average of the generator's parameters, which is the final model."""

    half_life: float = Field(312.5, gt=0, description="iterations; published: decay 0.5^(32 / 10,000)")
    ramp_up: float | None = Field(
        None, gt=0, description="early on, the half-life is at most this fraction of the iterations so far"
    )


class AugmentConfig(Config):
    """Augmentation of the discriminator's input."""

    enabled: bool = False
    p: float = Field(0.0, ge=0, le=1, description="fixed probability; 0: adaptive")
    target: float = Field(0.6, ge=-1, le=1, description="target of the mean sign of real scores")
    quarter_turns: Literal["all", "published"] = Field(
        "all", description="quarter turns 0 to 3, or only 0 and 3"
    )
    adaptation_length: int = Field(
        500_000, ge=1, description="images in which the probability can rise from 0 to 1"
    )
    adaptation_interval: int = Field(8, ge=1, description="discriminator steps between adaptations")


class ImagesConfig(Config):
    """Training images: preparation of image files, and synthetic identities.

    Synthetic identities are those of the training split.
    """

    flip: bool = Field(True, description="mirror images at random")
    num_identities: int = Field(942, ge=1, description="synthetic: number of training identities")
    images_per_identity: int = Field(4, ge=1, description="synthetic: images of each")
    nuisance: float = Field(1.0, ge=0, description="synthetic: strength of pose and light")
    glasses: bool = Field(True, description="synthetic: people who own glasses, too")


class TrainingConfig(Config):
    """Length, batches and intervals."""

    seed: int = Field(1, ge=0)
    max_steps: int = Field(800_000, ge=1)
    batch_size: int = Field(16, ge=1)
    precision: str = Field("float32", pattern="^(float32|bfloat16|float16)$")
    num_workers: int = Field(0, ge=0, description="loader processes")
    preview_images: int = Field(64, ge=1, description="images of a preview")
    preview_interval: int = Field(100, ge=1, description="iterations between previews")
    checkpoint_interval: int = Field(
        10_000, ge=0, description="iterations between checkpoints; 0: first and last"
    )
    log_interval: int = Field(10, ge=1, description="iterations between log lines")
    latent_avg_samples: int = Field(
        10_000, ge=1, description="samples whose mean w is stored as `latent_avg`"
    )


class StyleGAN2Config(Config):
    """One training run. Both networks have the image side `generator.size`."""

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
