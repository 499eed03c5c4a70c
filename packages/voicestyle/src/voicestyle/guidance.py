"""Step 6, guidance: optimise latents until their images match a voice. See docs/voicestyle.md."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voicestyle.config import GuidanceConfig
from voicestyle.image_losses import resize_images
from voicestyle.latent_optimisation import (
    LatentOptimiser,
    LatentStatistics,
    LatentTrajectory,
    LossTerms,
    downsample_to_side,
)
from voicestyle.noise import NoiseSource
from voicestyle.stylegan2.generator import Generator

__all__ = [
    "FaceEncoder",
    "augment_view",
    "guide",
    "squared_latent_distance",
    "synthesise_and_score",
]

VIEW_SHIFT, VIEW_SCALE = 0.06, 0.06  # standard deviations of a view, as fractions of the side


class FaceEncoder:
    """Face branch of a voice-face model, as guidance uses it.

    Args:
        network: images (N, 3, s, s) in -1...1 to embeddings (N, D); frozen.
        side: s; images are resized to it. None: not resized.
    """

    def __init__(self, network: nn.Module, side: int | None = None) -> None:
        self.network, self.side = network, side

    def __call__(self, images: Tensor) -> Tensor:
        """Return unit embeddings (N, D) of images, clamped to -1...1: saturated pixels have no gradient."""
        images = downsample_to_side(images).clamp(-1, 1)
        return F.normalize(self.network(resize_images(images, self.side) if self.side else images), dim=1)


def augment_view(images: Tensor, normals: Tensor) -> Tensor:
    """Mirror, shift and scale each image a little; edges are repeated.

    Args:
        images: (N, 3, S, S).
        normals: normal random numbers (N, 4): mirror if the first is positive, shift in x and y, scale.
    """
    scale = torch.exp(VIEW_SCALE * normals[:, 3])
    theta = images.new_zeros(len(images), 2, 3)
    theta[:, 0, 0] = scale * torch.where(normals[:, 0] > 0, -1.0, 1.0)
    theta[:, 1, 1] = scale
    theta[:, :, 2] = 2 * VIEW_SHIFT * normals[:, 1:3]
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def guide(
    initial_latents: Tensor,
    voice_embeddings: Tensor,
    face_encoder: FaceEncoder,
    generator: Generator,
    statistics: LatentStatistics,
    config: GuidanceConfig,
    noise_source: NoiseSource,
    *,
    resume_state: dict[str, Any] | None = None,
    callback: Callable[[LatentOptimiser], None] = lambda _: None,
    stop_at: int | None = None,
) -> LatentTrajectory:
    """Optimise latents until their images match the voices, each row independently.

    Args:
        initial_latents: (N, D), or (N, L, D) in the space w_plus.
        voice_embeddings: (N, E); their network gets no gradient.
        face_encoder: face branch of the same model.
        generator: frozen.
        statistics: of w.
        config: schedule, regularisers, views.
        noise_source: see `voicestyle.latent_optimisation`.
        resume_state: state of a stopped optimisation.
        callback: called after every step.
        stop_at: see `LatentOptimiser.run`.

    Returns:
        The trajectory; `similarity` in its history is 1 - cosine.

    Raises:
        ValueError: the shapes do not match.
    """
    if voice_embeddings.ndim != 2 or len(voice_embeddings) != len(initial_latents):
        raise ValueError(
            f"expected one voice per initial latent, found {tuple(voice_embeddings.shape)} voices and "
            f"{tuple(initial_latents.shape)} latents"
        )
    voices = F.normalize(voice_embeddings.detach(), dim=1)
    scale = 1 / max(statistics.std, 1e-12) ** 2
    optimiser = LatentOptimiser.initialise(generator, config, noise_source, statistics.std, initial_latents)
    initial = optimiser.latents.clone()

    def objective(images: Tensor, latents: Tensor, noisy_latents: Tensor, rows: Tensor) -> LossTerms:
        index = rows.to(voices.device)
        cosine = (face_encoder(images) * voices[index]).sum(1)
        if config.num_augmented_views > 1:
            normals = noise_source.normal("views", (config.num_augmented_views - 1, 4), rows.tolist()).to(
                images
            )
            for view in normals.unbind(1):
                cosine = cosine + (face_encoder(augment_view(images, view)) * voices[index]).sum(1)
            cosine = cosine / config.num_augmented_views
        terms = {"similarity": 1 - cosine}
        for name, weight, centre in (
            ("start", config.start_weight, initial[index]),
            ("prior", config.prior_weight, statistics.mean),
        ):
            if weight:
                difference = latents - (centre if centre.ndim == latents.ndim else centre[:, None])
                terms[name] = weight * scale * squared_latent_distance(difference)
        if config.published_regularisation:
            added = (
                latents - noisy_latents
            ).detach()  # its gradient is 0; autograd would leave rounding errors
            terms["published"] = config.published_regularisation * added.square().flatten(1).sum(1)
        return terms

    if resume_state is not None:
        optimiser.load_state_dict(resume_state)
    return optimiser.run(objective, callback, stop_at)


def squared_latent_distance(difference: Tensor) -> Tensor:
    """Squared length of differences (N, D), (N,); of (N, L, D) the mean over layers."""
    return difference.square().sum(-1) if difference.ndim == 2 else difference.square().sum(-1).mean(1)


@torch.no_grad()
def synthesise_and_score(
    latents: Tensor,
    noise_maps: list[Tensor],
    voice_embeddings: Tensor,
    face_encoder: FaceEncoder,
    generator: Generator,
) -> tuple[Tensor, Tensor]:
    """Return images (N, 3, S, S) of latents and their cosine similarities with the voices (N,)."""
    images = generator.synthesise(generator.broadcast_latents(latents), noise_maps)
    return images, (face_encoder(images) * F.normalize(voice_embeddings, dim=1)).sum(1)
