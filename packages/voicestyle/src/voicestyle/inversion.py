"""Step 4, inversion: codes whose pictures look like given ones. Specification, section 11."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voicestyle.config import InversionConfig
from voicestyle.image_losses import IdentityEncoder, PerceptualDistance
from voicestyle.latent_optimisation import (
    LatentOptimiser,
    LatentStatistics,
    LatentTrajectory,
    LossTerms,
    NoiseSource,
)
from voicestyle.stylegan2.generator import Generator

MAX_TARGET_SIDE = 256  # side at which pictures are compared at most


def prepare_target(pixels: NDArray[np.uint8], side: int) -> Tensor:
    """A picture as a target: shorter side to `side` (bilinear with smoothing, rounded to bytes), middle cut.

    Args:
        pixels: (H, W, 3) uint8, R G B.
        side: of the target.

    Returns:
        (3, side, side) in -1...1.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    width, height = image.size
    short = min(width, height)
    size = (max(side, int(side * width / short)), max(side, int(side * height / short)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    found = np.asarray(image.crop((left, top, left + side, top + side)), np.float32)
    return torch.from_numpy(found).permute(2, 0, 1) / 127.5 - 1


def initialise_inversion(
    generator: Generator,
    statistics: LatentStatistics,
    num_images: int,
    config: InversionConfig,
    noise_source: NoiseSource,
) -> LatentOptimiser:
    """A descent of `num_images` pictures from the mean code."""
    return LatentOptimiser.initialise(
        generator,
        config,
        noise_source,
        statistics.std,
        statistics.mean.expand(num_images, -1),
        coupled=config.batching == "coupled",
    )


def invert(
    targets: Tensor,
    generator: Generator,
    statistics: LatentStatistics,
    config: InversionConfig,
    noise_source: NoiseSource,
    perceptual_distance: PerceptualDistance,
    identity_encoder: IdentityEncoder | None = None,
    *,
    resume_state: dict[str, Any] | None = None,
    callback: Callable[[LatentOptimiser], None] = lambda _: None,
    stop_at: int | None = None,
) -> LatentTrajectory:
    """Find codes of pictures, each for itself unless the configuration couples them.

    What the networks see in the targets is computed once.

    Args:
        targets: (N, 3, s, s) in -1...1, s = the generator's side, 256 at most.
        generator: frozen.
        statistics: of w.
        config: weights and schedule.
        noise_source: see `voicestyle.latent_optimisation`.
        perceptual_distance: how differently pictures look.
        identity_encoder: whom they show; None where its weight is 0.
        resume_state: of an earlier, stopped descent.
        callback: called after every step.
        stop_at: see `LatentOptimiser.run`.

    Raises:
        ValueError: targets of another size, or a weight for the identity and no network for it.
    """
    side = min(MAX_TARGET_SIDE, generator.config.size)
    if targets.ndim != 4 or targets.shape[1:] != (3, side, side):
        raise ValueError(f"expected pictures (N, 3, {side}, {side}), found {tuple(targets.shape)}")
    if config.identity_weight and identity_encoder is None:
        raise ValueError(
            "inversion.identity_weight is above 0 and there is no network for it: give one, or set 0"
        )
    coupled = config.batching == "coupled"
    with torch.no_grad():
        maps = (
            [each.detach() for each in perceptual_distance.extract_features(targets)]
            if config.perceptual_weight
            else []
        )
        faces = (
            identity_encoder.features(targets)
            if config.identity_weight and identity_encoder is not None
            else None
        )

    def objective(images: Tensor, latents: Tensor, noisy_latents: Tensor, rows: Tensor) -> LossTerms:
        here = rows.to(targets.device)
        terms: LossTerms = {}
        if config.perceptual_weight:
            theirs = maps if len(rows) == len(targets) else [each[here] for each in maps]
            distance = perceptual_distance.distance_from_features(
                perceptual_distance.extract_features(images), theirs
            )
            terms["perceptual"] = (
                config.perceptual_weight * distance.flatten(1).sum(1)
                if distance.ndim > 1
                else (config.perceptual_weight * distance)
            )
        if config.mse_weight:
            error = (images - targets[here]).square().mean((1, 2, 3))
            terms["mse"] = config.mse_weight * (error.mean() if coupled else error)
        if config.identity_weight and identity_encoder is not None and faces is not None:
            apart = 1 - (identity_encoder.features(images) * faces[here]).sum(1)
            terms["identity"] = config.identity_weight * (apart.mean() if coupled else apart)
        return terms

    descent = initialise_inversion(generator, statistics, len(targets), config, noise_source)
    if resume_state is not None:
        descent.load_state_dict(resume_state)
    return descent.run(objective, callback, stop_at)
