"""What the way from a voice to a face can be told, checked and typed. Specification, section 11."""

from typing import Literal

from pydantic import Field
from voiceface.runtime.config import Config

LatentSpace = Literal["w", "w_plus"]
VideoOrder = Literal["round_robin", "nearest", "table"]
SelectionMethod = Literal["embedding", "clip", "first"]
AggregationMethod = Literal["mean", "median", "medoid", "similarity", "nearest"]


class RetrievalConfig(Config):
    """Steps 1 and 2: which pictures the voice leads to."""

    num_clusters: int | None = Field(
        None,
        ge=1,
        description="which clustering of a given memory (published: 1000), or how many prototypes are made "
        "of a bank; null: the memory's middle one, or one for each 17 videos as published, at least 2 K",
    )
    num_prototypes: int = Field(3, ge=1, description="K, nearest face prototypes")
    max_images: int = Field(8, ge=1, description="videos taken of them at most")
    order: VideoOrder = Field(
        "round_robin",
        description="round_robin: one video of each prototype in turn, nearest first; nearest: prototype by "
        "prototype; table: published, in the order of the table (quirk Q13)",
    )


class SelectionConfig(Config):
    """Step 3: which picture stands for a video."""

    method: SelectionMethod = Field(
        "embedding", description="embedding: CMPC's, or one that is given; clip: published; first: none"
    )
    reference: Literal["mean", "first"] = Field(
        "mean", description="features of the video: mean of its frames, or of the first (published)"
    )
    similarity: Literal["cosine", "dot"] = Field(
        "cosine", description="dot: raw product, published (quirk Q15)"
    )


class LatentOptimisationConfig(Config):
    """Gradient steps on codes and noise maps: schedule, noise, early stop."""

    num_steps: int = Field(ge=1, description="S")
    lr: float = Field(gt=0, description="highest rate of Adam")
    lr_ramp_up: float = Field(0.05, gt=0, le=1, description="share of the steps in which the rate rises")
    lr_ramp_down: float = Field(0.25, gt=0, le=1, description="share of the steps in which it falls")
    latent_noise: float = Field(0.05, ge=0, description="noise on codes at first, standard deviations of w")
    latent_noise_ramp: float = Field(
        0.75, gt=0, description="share of the steps after which that noise is gone"
    )
    noise_regularisation: float = Field(1e5, ge=0, description="weight of the regulariser of the noise maps")
    space: LatentSpace = Field("w", description="w: one code for all layers; w_plus: one for each")
    patience: int = Field(
        0, ge=0, description="steps without a better loss after which a picture stops; 0: never"
    )
    min_improvement: float = Field(1e-3, ge=0, description="what counts as better, relative")
    snapshot_interval: int = Field(20, ge=1, description="steps between codes that are kept for the film")
    batch_size: int = Field(8, ge=1, description="pictures at a time")


class InversionConfig(LatentOptimisationConfig):
    """Step 4: codes whose pictures look like given ones."""

    num_steps: int = Field(300, ge=1, description="S (published: 300)")
    lr: float = Field(0.1, gt=0, description="highest rate of Adam")
    perceptual_weight: float = Field(1.0, ge=0, description="weight of the perceptual distance")
    mse_weight: float = Field(0.0, ge=0, description="weight of the mean squared error")
    identity_weight: float = Field(1.0, ge=0, description="weight of the distance of identities")
    batching: Literal["independent", "coupled"] = Field(
        "independent",
        description="coupled: published, regularisers and identity over the whole batch (quirk Q18)",
    )
    latent_mean_samples: int = Field(
        10_000, ge=2, description="z of which mean and deviation of w are computed"
    )


class GuidanceConfig(LatentOptimisationConfig):
    """Step 6: codes whose pictures fit a voice."""

    num_steps: int = Field(100, ge=1, description="S (published: 100)")
    lr: float = Field(0.01, gt=0, description="highest rate of Adam")
    start_weight: float = Field(
        0.0, ge=0, description="weight of the squared distance to the starting code, in deviations of w"
    )
    prior_weight: float = Field(
        0.0, ge=0, description="weight of the squared distance to the mean of w, likewise"
    )
    published_regularisation: float = Field(
        0.0, ge=0, description="published: weight of the added noise, which moves nothing (quirk Q14)"
    )
    num_augmented_views: int = Field(
        1, ge=1, description="pictures the network is shown: itself, then mirrored, shifted and scaled ones"
    )
    num_restarts: int = Field(1, ge=1, description="runs from different noise; the most similar one counts")
    resize: Literal["model", "none"] = Field(
        "model", description="pictures are brought to the side of the face network, or shown as they are"
    )


class TrainingConfig(Config):
    """What `voicestyle train` trains; each has a configuration of its own."""

    cmpc2: str = Field("main", description="of cmpc2: bundled name or file")
    cmpc2_overrides: tuple[str, ...] = Field((), description="section.key=value, changes of it")
    stylegan2: str = Field("stylegan2_256", description="of StyleGAN2: bundled name or file")
    stylegan2_overrides: tuple[str, ...] = Field((), description="section.key=value, changes of it")


class VoiceStyleConfig(Config):
    """The whole way."""

    name: str = "voicestyle"
    seed: int = Field(0, ge=0)
    retrieval: RetrievalConfig = RetrievalConfig()
    selection: SelectionConfig = SelectionConfig()
    inversion: InversionConfig = InversionConfig()
    aggregation: AggregationMethod = Field(
        "mean",
        description="mean: published; median; medoid: the code nearest to all others; similarity: mean "
        "weighted by fit to the voice; nearest: the picture that fits best",
    )
    guidance: GuidanceConfig = GuidanceConfig()
    training: TrainingConfig = TrainingConfig()
