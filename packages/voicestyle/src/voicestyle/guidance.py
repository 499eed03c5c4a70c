"""Step 6, guidance: codes whose pictures fit a voice. Specification, section 11."""

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
    NoiseSource,
    downsample_to_side,
)
from voicestyle.stylegan2.generator import Generator

VIEW_SHIFT, VIEW_SCALE = 0.06, 0.06  # of a view: shares of the side, standard deviations


class FaceEncoder:
    """The face branch of a voice-face model, as guidance asks it.

    Args:
        network: pictures (N, 3, s, s) in -1...1 to embeddings (N, D); frozen.
        side: s; pictures are brought to it, or shown as they are where None.
    """

    def __init__(self, network: nn.Module, side: int | None = None) -> None:
        self.network, self.side = network, side

    def __call__(self, images: Tensor) -> Tensor:
        """Unit embeddings (N, D) of pictures, cut to -1...1: no gradient comes from what is beyond."""
        images = downsample_to_side(images).clamp(-1, 1)
        return F.normalize(self.network(resize_images(images, self.side) if self.side else images), dim=1)


def augment_view(images: Tensor, normals: Tensor) -> Tensor:
    """Each picture mirrored, moved and scaled a little, edges repeated.

    Args:
        images: (N, 3, S, S).
        normals: normal numbers (N, 4): mirrored where the first is above 0, shift in x and y, scale.
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
    """Move codes until their pictures fit the voices; each row for itself.

    Args:
        initial_latents: codes (N, D), or (N, L, D) with the space w_plus.
        voice_embeddings: embeddings of the voices (N, E); computed once, no gradient reaches their network.
        face_encoder: face branch that belongs to them.
        generator: frozen.
        statistics: of w.
        config: schedule, regularisers, views.
        noise_source: see `voicestyle.latent_optimisation`.
        resume_state: of an earlier, stopped descent.
        callback: called after every step.
        stop_at: see `LatentOptimiser.run`.

    Returns:
        The path; its history has `similarity` = 1 - cosine.

    Raises:
        ValueError: shapes do not fit.
    """
    if voice_embeddings.ndim != 2 or len(voice_embeddings) != len(initial_latents):
        raise ValueError(
            f"one voice for each start: {tuple(voice_embeddings.shape)} and {tuple(initial_latents.shape)}"
        )
    aim = F.normalize(voice_embeddings.detach(), dim=1)
    unit = 1 / max(statistics.std, 1e-12) ** 2
    descent = LatentOptimiser.initialise(generator, config, noise_source, statistics.std, initial_latents)
    begin = descent.latents.clone()

    def objective(images: Tensor, latents: Tensor, noisy_latents: Tensor, rows: Tensor) -> LossTerms:
        here = rows.to(aim.device)
        cosine = (face_encoder(images) * aim[here]).sum(1)
        if config.num_augmented_views > 1:
            normals = noise_source.normal("views", (config.num_augmented_views - 1, 4), rows.tolist()).to(
                images
            )
            for view in normals.unbind(1):
                cosine = cosine + (face_encoder(augment_view(images, view)) * aim[here]).sum(1)
            cosine = cosine / config.num_augmented_views
        terms = {"similarity": 1 - cosine}
        for name, weight, centre in (
            ("start", config.start_weight, begin[here]),
            ("prior", config.prior_weight, statistics.mean),
        ):
            if weight:
                away = latents - (centre if centre.ndim == latents.ndim else centre[:, None])
                terms[name] = weight * unit * squared_latent_distance(away)
        if config.published_regularisation:
            added = (
                latents - noisy_latents
            ).detach()  # its gradient is 0; through autograd it would leave rounding
            terms["published"] = config.published_regularisation * added.square().flatten(1).sum(1)
        return terms

    if resume_state is not None:
        descent.load_state_dict(resume_state)
    return descent.run(objective, callback, stop_at)


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
    """Pictures (N, 3, S, S) of codes and how well they fit their voices, cosines (N,)."""
    layers = latents if latents.ndim == 3 else latents[:, None].expand(-1, generator.config.n_latent, -1)
    pictures = generator.synthesise(layers, noise_maps)
    return pictures, (face_encoder(pictures) * F.normalize(voice_embeddings, dim=1)).sum(1)
