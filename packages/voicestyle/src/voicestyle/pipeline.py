"""The seven steps from a voice to a face, one function each.

    voices = embed_voices(paths, models)
    nearest = find_nearest_prototypes(voices[0], bank, config)                       # 1
    rows = select_videos(nearest, bank, config)                                      # 2
    selected = select_bank_images(rows, bank, models, config)                        # 3
    latents = invert_images(selected, models, config).latents                        # 4
    initial = compute_initial_latent(latents, voices[0], models, config)             # 5
    trajectory = guide_by_voice(initial, voices[:1], models, config)                 # 6
    image = synthesise_images(trajectory, models)                                    # 7

Letters: V voices, P images, D length of a latent, E length of an embedding. These functions write no files;
`voicestyle.pipeline_runner` runs them for several voices and, in a run directory, keeps every step.
See docs/voicestyle.md.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from cmpc2 import prototype_retrieval as prototypes
from cmpc2.prototype_retrieval import Prototype
from numpy.typing import NDArray
from torch import Tensor

from voicestyle import aggregation, guidance, inversion, selection
from voicestyle.config import VoiceStyleConfig
from voicestyle.face_bank import FaceBank, FaceBankError
from voicestyle.latent_optimisation import LatentOptimiser, LatentTrajectory
from voicestyle.models import PipelineModels
from voicestyle.noise import PerSampleNoise
from voicestyle.stylegan2.images import to_uint8
from voicestyle.voice_embedding import embed_voices

__all__ = [
    "build_face_encoder",
    "compute_initial_latent",
    "compute_similarities",
    "derive_seed",
    "embed_voices",
    "find_nearest_prototypes",
    "guide_by_voice",
    "invert_images",
    "invert_targets",
    "prepare_targets",
    "select_bank_images",
    "select_rows",
    "select_videos",
    "synthesise_images",
    "with_initial_latents",
]


def find_nearest_prototypes(
    voice_embedding: Tensor, bank: FaceBank, config: VoiceStyleConfig
) -> list[Prototype]:
    """Step 1: find the K face prototypes nearest to a voice, nearest first.

    Args:
        voice_embedding: (E,) or (1, E).
        bank: face bank that holds the prototypes.
        config: `retrieval.num_clusters` and `retrieval.num_prototypes` (K).

    Raises:
        FaceBankError: K is larger than the number of prototypes, or the clustering does not exist.
    """
    num_prototypes = config.retrieval.num_prototypes
    centroids = bank.memory.centroids[get_clustering_index(bank, config)]
    if num_prototypes > len(centroids):
        raise FaceBankError(
            f"retrieval.num_prototypes: K = {num_prototypes} of {len(centroids)} prototypes of {bank.name}: "
            "expected K <= prototypes; choose a smaller K, or give a larger bank"
        )
    return prototypes.nearest_prototypes(voice_embedding, centroids, num_prototypes)


def select_videos(
    nearest: Sequence[Prototype], bank: FaceBank, config: VoiceStyleConfig, exclude: Collection[str] = ()
) -> list[int]:
    """Step 2: rows of the videos assigned to these prototypes, in the order of `retrieval.order`.

    Args:
        nearest: prototypes from step 1.
        bank: face bank.
        config: order of the videos.
        exclude: names or voice ids whose videos are skipped, such as the speaker's own: both example voices
            of the published program belong to its bank.

    Raises:
        FaceBankError: no video remains.
    """
    assignment = bank.memory.assignment[get_clustering_index(bank, config)]
    members = prototypes.cluster_members(nearest, assignment, bank.videos, exclude)
    if not any(members):
        raise FaceBankError(
            f"the {len(nearest)} nearest prototypes have no video in {bank.name} once {len(set(exclude))} "
            "names are excluded: choose more prototypes (retrieval.num_prototypes)"
        )
    return prototypes.order_members(members, config.retrieval.order)


def select_bank_images(
    video_rows: Sequence[int], bank: FaceBank, models: PipelineModels, config: VoiceStyleConfig
) -> list[selection.SelectedImage]:
    """Step 3: select one image for each of the first `retrieval.max_images` videos.

    Raises:
        FaceBankError: none of the videos has a readable image.
        ValueError: the configuration selects by CLIP and no CLIP weights are given.
    """
    if config.selection.method == "clip" and models.feature_extractor is None:
        raise ValueError(
            "selection.method is clip and no CLIP is given: name its weights, or choose embedding"
        )
    features = models.feature_extractor or (lambda images: models.embedder.embed_faces(list(images)))
    return selection.select_images(video_rows, bank, config.selection, features, config.retrieval.max_images)


def prepare_targets(images: Sequence[NDArray[np.uint8]], models: PipelineModels) -> Tensor:
    """Convert images (H, W, 3) of any size to inversion targets, (P, 3, s, s) in -1...1."""
    side = min(inversion.MAX_TARGET_SIDE, models.generator.config.size)
    return torch.stack([inversion.prepare_target(image, side) for image in images]).to(models.device)


def invert_images(
    selected: Sequence[selection.SelectedImage],
    models: PipelineModels,
    config: VoiceStyleConfig,
    **options: Any,
) -> LatentTrajectory:
    """Step 4: invert the selected images; see `invert_targets`."""
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
) -> LatentTrajectory:
    """Find latents whose images match the targets.

    Args:
        targets: (P, 3, s, s), from `prepare_targets`.
        keys: one per image; an image's random numbers depend on its key and the seed only.
        models: networks.
        config: settings.
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
    """Wrap CMPC's face branch for guidance."""
    side = models.embedder.config.model.face.image_size if config.guidance.resize == "model" else None
    return guidance.FaceEncoder(models.embedder.model.face_subnet, side)


def compute_initial_latent(
    latents: Tensor, voice_embedding: Tensor, models: PipelineModels, config: VoiceStyleConfig
) -> Tensor:
    """Step 5: aggregate the latents of the images to one, (1, D) or (1, L, D)."""
    weights = None
    if config.aggregation in ("similarity", "nearest"):
        noise_maps = [each.to(latents) for each in models.generator.stored_noise()]
        voices = voice_embedding.reshape(1, -1).expand(len(latents), -1).to(latents)
        weights = guidance.synthesise_and_score(
            latents, noise_maps, voices, build_face_encoder(models, config), models.generator
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
) -> LatentTrajectory:
    """Step 6: optimise latents until their images match the voices; keep the best restart of each voice.

    Args:
        initial_latents: (V, D) or (V, L, D).
        voice_embeddings: (V, E).
        models: networks.
        config: settings.
        keys: one per voice; a voice's random numbers depend on its key and the seed only.
        resume_state, callback, stop_at: see `voicestyle.guidance.guide`.
    """
    restarts = config.guidance.num_restarts
    keys = list(keys) or [str(row) for row in range(len(initial_latents))]
    noise_source = PerSampleNoise(
        [derive_seed(config.seed, f"guidance {r}", key) for key in keys for r in range(restarts)]
    )
    repeated_voices = voice_embeddings.to(models.device).repeat_interleave(restarts, 0)
    face_encoder = build_face_encoder(models, config)
    trajectory = guidance.guide(
        initial_latents.repeat_interleave(restarts, 0),
        repeated_voices,
        face_encoder,
        models.generator,
        models.latent_statistics,
        config.guidance,
        noise_source,
        resume_state=resume_state,
        callback=callback,
        stop_at=stop_at,
    )
    if restarts == 1:
        return trajectory
    _, similarities = guidance.synthesise_and_score(
        trajectory.latents, trajectory.noise_maps, repeated_voices, face_encoder, models.generator
    )
    first_rows = torch.arange(len(initial_latents), device=similarities.device) * restarts
    best = similarities.view(-1, restarts).argmax(1) + first_rows
    return select_rows(trajectory, best.tolist())


def select_rows(trajectory: LatentTrajectory, rows: Sequence[int]) -> LatentTrajectory:
    """Return the given rows of a trajectory."""
    index = list(rows)
    return replace(
        trajectory,
        latents=trajectory.latents[index],
        noise_maps=[each[index] for each in trajectory.noise_maps],
        snapshots=trajectory.snapshots[:, index],
        history={name: values[:, index] for name, values in trajectory.history.items()},
        num_steps=trajectory.num_steps[index],
    )


def with_initial_latents(trajectory: LatentTrajectory, initial_latents: Tensor) -> LatentTrajectory:
    """Return a trajectory at its initial latents, (V, D) or (V, L, D), with its final noise maps."""
    if initial_latents.ndim < trajectory.latents.ndim:
        initial_latents = initial_latents[:, None].expand(-1, trajectory.latents.shape[1], -1)
    return replace(trajectory, latents=initial_latents)


@torch.no_grad()
def synthesise_images(
    trajectory: LatentTrajectory, models: PipelineModels, latents: Tensor | None = None
) -> NDArray[np.uint8]:
    """Step 7: images (V, S, S, 3) uint8 of the final latents, or of others, with the final noise maps."""
    latents = trajectory.latents if latents is None else latents
    per_layer = models.generator.broadcast_latents(latents)
    return to_uint8(models.generator.synthesise(per_layer, trajectory.noise_maps))


@torch.no_grad()
def compute_similarities(
    trajectory: LatentTrajectory, voice_embeddings: Tensor, models: PipelineModels, config: VoiceStyleConfig
) -> Tensor:
    """Cosine similarities (V,) of the final images and their voices in CMPC's space."""
    face_encoder = build_face_encoder(models, config)
    voices = voice_embeddings.to(models.device)
    return guidance.synthesise_and_score(
        trajectory.latents, trajectory.noise_maps, voices, face_encoder, models.generator
    )[1].cpu()


def get_clustering_index(bank: FaceBank, config: VoiceStyleConfig) -> int:
    """Index of the clustering of the bank's memory that the configuration names."""
    num_clusters = config.retrieval.num_clusters
    if num_clusters is None:
        return (len(bank.memory.centroids) - 1) // 2
    return prototypes.find_clustering(bank.memory, num_clusters)


def derive_seed(seed: int, *words: str) -> int:
    """Derive an independent seed for one use of random numbers; the same on every machine."""
    digest = hashlib.sha256(" ".join([str(seed), *words]).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
