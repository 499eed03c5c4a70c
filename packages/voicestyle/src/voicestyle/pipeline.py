"""The seven steps from a voice to a face, in order. Specification, section 11.

    voices = embed_voices(paths, tools)                         # what the network hears
    near = nearest_prototypes(voices[0], bank, config)          # 1
    rows = videos_of(near, bank, config)                        # 2
    chosen = select_faces(rows, bank, tools, config)            # 3
    codes = invert_faces(chosen, tools, config).codes           # 4
    start = starting_code(codes, voices[0], tools, config)      # 5
    path = guide_by_voice(start, voices[:1], tools, config)     # 6
    picture = draw(path, tools)                                 # 7

Letters: V voices, P pictures, D length of a code, E length of an embedding. Nothing here writes a file;
`voicestyle.pipeline_runner` keeps every step in a folder.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from cmpc2 import lookup as prototypes
from cmpc2.lookup import Prototype
from numpy.typing import NDArray
from torch import Tensor

from voicestyle import aggregation, guidance, inversion, selection
from voicestyle.config import VoiceStyleConfig
from voicestyle.face_bank import FaceBank, FaceBankError
from voicestyle.image_losses import (
    BundledIdentityEncoder,
    BundledPerceptualDistance,
    IdentityEncoder,
    PerceptualDistance,
)
from voicestyle.latent_optimisation import (
    LatentOptimiser,
    LatentStatistics,
    PerSampleNoise,
    compute_latent_statistics,
    sample_z,
)
from voicestyle.latent_optimisation import LatentTrajectory as Found
from voicestyle.stylegan2.generator import Generator
from voicestyle.stylegan2.images import to_uint8

if TYPE_CHECKING:
    from cmpc2.embedder import Embedder


@dataclass(frozen=True)
class PipelineModels:
    """The networks of the way, all frozen.

    Attributes:
        embedder: CMPC, voices and faces to one space.
        generator: StyleGAN2.
        latent_statistics: of its w.
        perceptual_distance: how differently pictures look.
        identity_encoder: whom they show; None to go without.
        feature_extractor: what selects faces; None for the embedder.
        disclaimer: what must be said beside everything made with them, or empty.
        fingerprint: hash of all weights.
    """

    embedder: "Embedder"
    generator: Generator
    latent_statistics: LatentStatistics
    perceptual_distance: PerceptualDistance
    identity_encoder: IdentityEncoder | None = None
    feature_extractor: selection.FeatureExtractor | None = None
    disclaimer: str = ""
    fingerprint: str = ""

    @property
    def device(self) -> torch.device:
        """Where the generator is."""
        return self.generator.input.input.device


def build_models(
    embedder: "Embedder",
    generator: Generator,
    config: VoiceStyleConfig,
    *,
    perceptual_distance: PerceptualDistance | None = None,
    identity_encoder: IdentityEncoder | None = None,
    feature_extractor: selection.FeatureExtractor | None = None,
    disclaimer: str = "",
) -> PipelineModels:
    """Networks with the statistics of w; without others the bundled ones for invented faces compare.

    All networks must be on one device.
    """
    from voiceface.checkpoints.native import fingerprint

    z = sample_z(generator, config.inversion.latent_mean_samples, config.seed)
    digest = hashlib.sha256(fingerprint(generator.state_dict()).encode())
    for part in (embedder.fingerprint, perceptual_distance, identity_encoder, feature_extractor):
        digest.update(_describe_weights(part).encode())
    embedder.model.requires_grad_(False)
    return PipelineModels(
        embedder,
        generator.eval().requires_grad_(False),
        compute_latent_statistics(generator, z),
        perceptual_distance or BundledPerceptualDistance(),
        identity_encoder or (BundledIdentityEncoder() if config.inversion.identity_weight else None),
        feature_extractor,
        disclaimer,
        digest.hexdigest(),
    )


def embed_voices(voices: Sequence[Path | str | NDArray[Any]], models: PipelineModels) -> Tensor:
    """Embeddings of recordings (or int16 samples of 16 kHz), (V, E).

    Raises:
        AudioError, SpeechError, FileNotFoundError: one cannot be used, or nobody speaks in it.
    """
    for voice in voices:
        _require_not_silent(voice)
    return models.embedder.embed_voices(list(voices)).float()


def find_nearest_prototypes(
    voice_embedding: Tensor, bank: FaceBank, config: VoiceStyleConfig
) -> list[Prototype]:
    """Step 1: the K face prototypes nearest to a voice, nearest first.

    Args:
        voice_embedding: embedding, (E,) or (1, E).

    Raises:
        BankError: K is larger than the number of prototypes, or there is no such clustering.
    """
    lookup = config.retrieval
    centroids = bank.memory.centroids[get_clustering_index(bank, config)]
    if lookup.num_prototypes > len(centroids):
        raise FaceBankError(
            f"retrieval.num_prototypes: K = {lookup.num_prototypes} of {len(centroids)} prototypes of {bank.name}: "
            "expected K <= prototypes; ask for fewer, or give a larger bank"
        )
    return prototypes.nearest_prototypes(voice_embedding, centroids, lookup.num_prototypes)


def select_videos(
    nearest: Sequence[Prototype], bank: FaceBank, config: VoiceStyleConfig, exclude: Collection[str] = ()
) -> list[int]:
    """Step 2: rows of the videos of these prototypes, in the order of `retrieval.order`.

    Args:
        nearest: from step 1.
        bank: whose.
        config: order.
        exclude: names or voice ids whose videos are left out, such as the speaker's own (quirk Q23).

    Raises:
        BankError: nothing is left.
    """
    assignment = bank.memory.assignment[get_clustering_index(bank, config)]
    members = prototypes.members_of(nearest, assignment, bank.videos, exclude)
    if not any(members):
        raise FaceBankError(
            f"the {len(nearest)} nearest prototypes have no video in {bank.name} once {len(set(exclude))} names "
            "are left out: ask for more prototypes (retrieval.num_prototypes)"
        )
    return prototypes.in_order(members, config.retrieval.order)


def select_bank_images(
    video_rows: Sequence[int], bank: FaceBank, models: PipelineModels, config: VoiceStyleConfig
) -> list[selection.SelectedImage]:
    """Step 3: one picture for each of the first `retrieval.max_images` videos.

    Raises:
        BankError: none of the videos has a readable picture.
        ValueError: selection by CLIP without its network.
    """
    if config.selection.method == "clip" and models.feature_extractor is None:
        raise ValueError(
            "selection.method is clip and no CLIP is given: name its weights, or choose embedding"
        )
    features = models.feature_extractor or (lambda pictures: models.embedder.embed_faces(list(pictures)))
    return selection.select_images(video_rows, bank, config.selection, features, config.retrieval.max_images)


def prepare_targets(images: Sequence[NDArray[np.uint8]], models: PipelineModels) -> Tensor:
    """Pictures (H, W, 3) of any size as targets of an inversion, (P, 3, s, s) in -1...1."""
    side = min(inversion.MAX_TARGET_SIDE, models.generator.config.size)
    return torch.stack([inversion.prepare_target(each, side) for each in images]).to(models.device)


def invert_images(
    selected: Sequence[selection.SelectedImage],
    models: PipelineModels,
    config: VoiceStyleConfig,
    **options: Any,
) -> Found:
    """Step 4: codes of the chosen pictures; see `invert_targets`."""
    targets = prepare_targets([each.image.read() for each in selected], models)
    return invert_targets(targets, [each.image.label for each in selected], models, config, **options)


def invert_targets(
    targets: Tensor,
    keys: Sequence[str],
    models: PipelineModels,
    config: VoiceStyleConfig,
    *,
    resume_state: dict[str, Any] | None = None,
    callback: Callable[[LatentOptimiser], None] = lambda _: None,
    stop_at: int | None = None,
) -> Found:
    """Codes of pictures.

    Args:
        targets: (P, 3, s, s), from `prepare_targets`.
        keys: of the pictures; the random numbers of each follow from its key and the seed alone.
        models, config: as everywhere.
        resume_state, callback, stop_at: see `voicestyle.inversion.invert`.
    """
    return inversion.invert(
        targets,
        models.generator,
        models.latent_statistics,
        config.inversion,
        PerSampleNoise([derive_seed(config.seed, "inversion", key) for key in keys]),
        models.perceptual_distance,
        models.identity_encoder,
        resume_state=resume_state,
        callback=callback,
        stop_at=stop_at,
    )


def build_face_encoder(models: PipelineModels, config: VoiceStyleConfig) -> guidance.FaceEncoder:
    """The face branch as guidance asks it."""
    side = models.embedder.config.model.face.side if config.guidance.resize == "model" else None
    return guidance.FaceEncoder(models.embedder.model.face_subnet, side)


def compute_initial_latent(
    latents: Tensor, voice_embedding: Tensor, models: PipelineModels, config: VoiceStyleConfig
) -> Tensor:
    """Step 5: one code of those of the pictures, (1, D) or (1, L, D)."""
    weights = None
    if config.aggregation in ("similarity", "nearest"):
        noise = [each.to(latents) for each in models.generator.stored_noise()]
        aim = voice_embedding.reshape(1, -1).expand(len(latents), -1).to(latents)
        weights = guidance.synthesise_and_score(
            latents, noise, aim, build_face_encoder(models, config), models.generator
        )[1]
    return aggregation.aggregate_latents(latents, config.aggregation, weights)


def guide_by_voice(
    initial_latents: Tensor,
    voice_embeddings: Tensor,
    models: PipelineModels,
    config: VoiceStyleConfig,
    keys: Sequence[str] = (),
    *,
    resume_state: dict[str, Any] | None = None,
    callback: Callable[[LatentOptimiser], None] = lambda _: None,
    stop_at: int | None = None,
) -> Found:
    """Step 6: codes whose pictures fit the voices; of several restarts the best of each voice.

    Args:
        initial_latents: codes of the voices, (V, D) or (V, L, D).
        voice_embeddings: embeddings (V, E).
        models, config: as everywhere.
        keys: of the voices; the random numbers of each follow from its key and the seed alone.
        resume_state, callback, stop_at: see `voicestyle.guidance.guide`.
    """
    restarts = config.guidance.num_restarts
    keys = list(keys) or [str(number) for number in range(len(initial_latents))]
    draws = PerSampleNoise(
        [derive_seed(config.seed, f"guidance {r}", key) for key in keys for r in range(restarts)]
    )
    voice_embeddings = voice_embeddings.to(models.device)
    many = voice_embeddings.repeat_interleave(restarts, 0)
    faces = build_face_encoder(models, config)
    found = guidance.guide(
        initial_latents.repeat_interleave(restarts, 0),
        many,
        faces,
        models.generator,
        models.latent_statistics,
        config.guidance,
        draws,
        resume_state=resume_state,
        callback=callback,
        stop_at=stop_at,
    )
    if restarts == 1:
        return found
    _, fits = guidance.synthesise_and_score(found.latents, found.noise_maps, many, faces, models.generator)
    best = (
        fits.view(-1, restarts).argmax(1) + torch.arange(len(initial_latents), device=fits.device) * restarts
    )
    return select_rows(found, best.tolist())


def select_rows(trajectory: Found, rows: Sequence[int]) -> Found:
    """Some rows of what a descent found."""
    at = list(rows)
    return replace(
        trajectory,
        latents=trajectory.latents[at],
        noise_maps=[each[at] for each in trajectory.noise_maps],
        snapshots=trajectory.snapshots[:, at],
        history={name: values[:, at] for name, values in trajectory.history.items()},
        num_steps=trajectory.num_steps[at],
    )


def with_initial_latents(trajectory: Found, initial_latents: Tensor) -> Found:
    """A path with the codes it began with, (V, D) or (V, L, D), and the noise maps of its end."""
    if initial_latents.ndim < trajectory.latents.ndim:
        initial_latents = initial_latents[:, None].expand(-1, trajectory.latents.shape[1], -1)
    return replace(trajectory, latents=initial_latents)


@torch.no_grad()
def synthesise_images(
    trajectory: Found, models: PipelineModels, latents: Tensor | None = None
) -> NDArray[np.uint8]:
    """Step 7: pictures (V, S, S, 3) uint8 of the last codes (or of others of theirs) with the found noise."""
    latents = trajectory.latents if latents is None else latents
    layers = (
        latents if latents.ndim == 3 else latents[:, None].expand(-1, models.generator.config.n_latent, -1)
    )
    return to_uint8(models.generator.synthesise(layers, trajectory.noise_maps))


@torch.no_grad()
def compute_similarities(
    trajectory: Found, voice_embeddings: Tensor, models: PipelineModels, config: VoiceStyleConfig
) -> Tensor:
    """How well the last pictures fit their voices, cosines (V,)."""
    faces = build_face_encoder(models, config)
    return guidance.synthesise_and_score(
        trajectory.latents, trajectory.noise_maps, voice_embeddings.to(models.device), faces, models.generator
    )[1].cpu()


def get_clustering_index(bank: FaceBank, config: VoiceStyleConfig) -> int:
    """Which clustering of the bank's memory is meant."""
    count = config.retrieval.num_clusters
    if count is None:
        return (len(bank.memory.centroids) - 1) // 2
    return prototypes.clustering_index(bank.memory, count)


def derive_seed(seed: int, *words: str) -> int:
    """A seed of its own for each thing that draws, the same on every machine."""
    digest = hashlib.sha256(" ".join([str(seed), *words]).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _require_not_silent(voice: Path | str | NDArray[Any]) -> None:
    """Refuse what never changes, such as digital silence: not every front end looks for speech.

    Raises:
        AudioError, SpeechError, FileNotFoundError: a recording cannot be used, or holds no sound.
    """
    from voiceface.audio.loading import load
    from voiceface.audio.vad import SpeechError
    from voiceface.io.input_files import AUDIO_FILE_SUFFIXES

    source: Path | str = "the recording"
    if isinstance(voice, str | Path):
        source = voice
        if Path(voice).suffix.lower() not in AUDIO_FILE_SUFFIXES:
            return  # features
        voice = load(voice, scale="unit", resample=True, on_corrupt="tolerant")
    if np.size(voice) and np.ptp(voice) == 0:
        raise SpeechError(f"{source}: there is silence from beginning to end; expected speech")


def _describe_weights(part: object) -> str:
    """What a network is, for the fingerprint: its weights where it has any, else its type."""
    from voiceface.checkpoints.native import fingerprint

    if isinstance(part, str) or part is None:
        return str(part)
    network = part if isinstance(part, torch.nn.Module) else getattr(part, "network", None)
    return fingerprint(network.state_dict()) if isinstance(network, torch.nn.Module) else type(part).__name__
