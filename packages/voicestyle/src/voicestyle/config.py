"""Typed configuration of the pipeline from a voice to a face."""

from typing import Literal

from pydantic import Field
from voiceface.runtime.config import Config

__all__ = [
    "GuidanceConfig",
    "InversionConfig",
    "LatentOptimisationConfig",
    "RetrievalConfig",
    "SelectionConfig",
    "TrainingConfig",
    "VoiceStyleConfig",
]

LatentSpace = Literal["w", "w_plus"]
VideoOrder = Literal["round_robin", "nearest", "table"]
SelectionMethod = Literal["embedding", "clip", "first"]
AggregationMethod = Literal["mean", "median", "medoid", "similarity", "nearest"]


class RetrievalConfig(Config):
    """Steps 1 and 2: bank videos that the voice retrieves."""

    num_clusters: int | None = Field(
        None,
        ge=1,
        description="clustering of a given memory (published: 1000), or number of prototypes of a bank; "
        "null: the memory's middle one, or one per 17 videos as published, at least 2 K",
    )
    num_prototypes: int = Field(3, ge=1, description="K, number of nearest face prototypes")
    max_images: int = Field(8, ge=1, description="largest number of images per voice")
    order: VideoOrder = Field(
        "round_robin",
        description="round_robin: one video of each prototype in turn, nearest first; nearest: prototype by "
        "prototype; table: published, in the order of the table",
    )


class SelectionConfig(Config):
    """Step 3: image that represents a video."""

    method: SelectionMethod = Field(
        "embedding", description="image features: CMPC's embedding; clip: published; first: no comparison"
    )
    reference: Literal["mean", "first"] = Field(
        "mean", description="features of the video: mean of its frames, or the first frame (published)"
    )
    similarity: Literal["cosine", "dot"] = Field("cosine", description="dot: unnormalised product, published")


class LatentOptimisationConfig(Config):
    """Optimisation of latents and noise maps: schedule, noise, early stopping."""

    num_steps: int = Field(ge=1, description="S, number of steps")
    lr: float = Field(gt=0, description="maximum learning rate of Adam")
    lr_ramp_up: float = Field(
        0.05, gt=0, le=1, description="fraction of the steps in which the learning rate rises"
    )
    lr_ramp_down: float = Field(0.25, gt=0, le=1, description="fraction of the steps in which it falls")
    latent_noise: float = Field(0.05, ge=0, description="initial noise on latents, standard deviations of w")
    latent_noise_ramp: float = Field(
        0.75, gt=0, description="fraction of the steps after which that noise is 0"
    )
    noise_regularisation: float = Field(1e5, ge=0, description="weight of the noise map regulariser")
    space: LatentSpace = Field("w", description="w: one latent for all layers; w_plus: one per layer")
    patience: int = Field(
        0, ge=0, description="steps without improvement after which an image stops; 0: never"
    )
    min_improvement: float = Field(1e-3, ge=0, description="smallest relative improvement of the loss")
    snapshot_interval: int = Field(
        20, ge=1, description="steps between snapshots, the frames of the animation"
    )
    batch_size: int = Field(8, ge=1, description="images (voices) per batch")


class InversionConfig(LatentOptimisationConfig):
    """Step 4: latents whose images reproduce given ones."""

    num_steps: int = Field(300, ge=1, description="S, number of steps (published: 300)")
    lr: float = Field(0.1, gt=0, description="maximum learning rate of Adam")
    perceptual_weight: float = Field(1.0, ge=0, description="weight of the perceptual distance")
    mse_weight: float = Field(0.0, ge=0, description="weight of the mean squared error")
    identity_weight: float = Field(1.0, ge=0, description="weight of the identity loss")
    batching: Literal["independent", "coupled"] = Field(
        "independent",
        description="coupled: published, regularisers and identity loss over the whole batch",
    )
    latent_mean_samples: int = Field(
        10_000, ge=2, description="samples of z for the mean and standard deviation of w"
    )


class GuidanceConfig(LatentOptimisationConfig):
    """Step 6: latents whose images match a voice."""

    num_steps: int = Field(100, ge=1, description="S, number of steps (published: 100)")
    lr: float = Field(0.01, gt=0, description="maximum learning rate of Adam")
    start_weight: float = Field(
        0.0, ge=0, description="weight of the squared distance to the initial latent, in deviations of w"
    )
    prior_weight: float = Field(
        0.0, ge=0, description="weight of the squared distance to the mean of w, in deviations of w"
    )
    published_regularisation: float = Field(
        0.0, ge=0, description="published: weight of the added noise, whose gradient is 0"
    )
    num_augmented_views: int = Field(
        1, ge=1, description="views per image: itself, then mirrored, shifted and scaled ones"
    )
    num_restarts: int = Field(1, ge=1, description="runs with different noise; the most similar one is kept")
    resize: Literal["model", "none"] = Field(
        "model", description="resize images to the side of the face network, or do not resize"
    )


class TrainingConfig(Config):
    """Configurations of the two parts that `voicestyle train` trains."""

    cmpc2: str = Field("main", description="configuration of cmpc2: bundled name or file")
    cmpc2_overrides: tuple[str, ...] = Field((), description="overrides, section.key=value")
    stylegan2: str = Field("stylegan2_256", description="configuration of StyleGAN2: bundled name or file")
    stylegan2_overrides: tuple[str, ...] = Field((), description="overrides, section.key=value")


class VoiceStyleConfig(Config):
    """All settings of the pipeline."""

    name: str = "voicestyle"
    seed: int = Field(0, ge=0)
    retrieval: RetrievalConfig = RetrievalConfig()
    selection: SelectionConfig = SelectionConfig()
    inversion: InversionConfig = InversionConfig()
    aggregation: AggregationMethod = Field(
        "mean",
        description="mean: published; median; medoid: the latent nearest to all others; similarity: mean "
        "weighted by voice similarity; nearest: the image most similar to the voice",
    )
    guidance: GuidanceConfig = GuidanceConfig()
    training: TrainingConfig = TrainingConfig()
