"""Step 4, inversion: find latents whose images reproduce given images. See docs/voicestyle.md."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voicestyle.config import InversionConfig
from voicestyle.identity_loss import identity_distance
from voicestyle.image_losses import IdentityEncoder, PerceptualDistance
from voicestyle.latent_optimisation import LatentOptimiser, LatentStatistics, LatentTrajectory, LossTerms
from voicestyle.noise import NoiseSource
from voicestyle.stylegan2.generator import Generator

__all__ = [
    "initialise_inversion",
    "invert",
    "prepare_target",
]

MAX_TARGET_SIDE = 256  # largest side at which images are compared


def prepare_target(pixels: NDArray[np.uint8], side: int) -> Tensor:
    """Convert an image to a target: resize the shorter side (bilinear, antialiased, to bytes), centre crop.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        side: side of the target.

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
    cropped = np.asarray(image.crop((left, top, left + side, top + side)), np.float32)
    return torch.from_numpy(cropped).permute(2, 0, 1) / 127.5 - 1


def initialise_inversion(
    generator: Generator,
    statistics: LatentStatistics,
    num_images: int,
    config: InversionConfig,
    noise_source: NoiseSource,
) -> LatentOptimiser:
    """Start the optimisation of `num_images` images at the mean latent."""
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
    """Find the latents of images, each independently unless the configuration couples them.

    Features of the targets are computed once.

    Args:
        targets: (N, 3, s, s) in -1...1; s = the generator's side, at most 256.
        generator: frozen.
        statistics: of w.
        config: weights and schedule.
        noise_source: see `voicestyle.latent_optimisation`.
        perceptual_distance: perceptual loss.
        identity_encoder: network of the identity loss; None if its weight is 0.
        resume_state: state of a stopped optimisation.
        callback: called after every step.
        stop_at: see `LatentOptimiser.run`.

    Raises:
        ValueError: the targets have another size, or the identity loss has no network.
    """
    side = min(MAX_TARGET_SIDE, generator.config.size)
    if targets.ndim != 4 or targets.shape[1:] != (3, side, side):
        raise ValueError(f"expected images (N, 3, {side}, {side}), found {tuple(targets.shape)}")
    if config.identity_weight and identity_encoder is None:
        raise ValueError(
            "inversion.identity_weight is above 0, but no identity encoder is given: "
            "give one, or set the weight to 0"
        )
    coupled = config.batching == "coupled"
    with torch.no_grad():
        target_features = (
            [each.detach() for each in perceptual_distance.extract_features(targets)]
            if config.perceptual_weight
            else []
        )
        target_identities = (
            identity_encoder.features(targets)
            if config.identity_weight and identity_encoder is not None
            else None
        )

    def objective(images: Tensor, latents: Tensor, noisy_latents: Tensor, rows: Tensor) -> LossTerms:
        index = rows.to(targets.device)
        terms: LossTerms = {}
        if config.perceptual_weight:
            selected = (
                target_features if len(rows) == len(targets) else [each[index] for each in target_features]
            )
            distance = perceptual_distance.distance_from_features(
                perceptual_distance.extract_features(images), selected
            )
            terms["perceptual"] = (
                config.perceptual_weight * distance.flatten(1).sum(1)
                if distance.ndim > 1
                else (config.perceptual_weight * distance)
            )
        if config.mse_weight:
            error = (images - targets[index]).square().mean((1, 2, 3))
            terms["mse"] = config.mse_weight * (error.mean() if coupled else error)
        if config.identity_weight and identity_encoder is not None and target_identities is not None:
            distance = identity_distance(identity_encoder.features(images), target_identities[index])
            terms["identity"] = config.identity_weight * (distance.mean() if coupled else distance)
        return terms

    optimiser = initialise_inversion(generator, statistics, len(targets), config, noise_source)
    if resume_state is not None:
        optimiser.load_state_dict(resume_state)
    return optimiser.run(objective, callback, stop_at)
