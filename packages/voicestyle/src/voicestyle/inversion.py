"""Step 4, inversion: codes whose pictures look like given ones. Specification, section 11."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voicestyle.config import InversionConfig
from voicestyle.descent import Descent, Draws, LatentStatistics, Path, Terms
from voicestyle.perception import Identity, Perceptual
from voicestyle.stylegan2.generator import Generator

LARGEST = 256  # side at which pictures are compared at most


def target_picture(picture: NDArray[np.uint8], side: int) -> Tensor:
    """A picture as a target: shorter side to `side` (bilinear with smoothing, rounded to bytes), middle cut.

    Args:
        picture: (H, W, 3) uint8, R G B.
        side: of the target.

    Returns:
        (3, side, side) in -1...1.
    """
    from PIL import Image

    image = Image.fromarray(picture)
    width, height = image.size
    short = min(width, height)
    size = (max(side, int(side * width / short)), max(side, int(side * height / short)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    found = np.asarray(image.crop((left, top, left + side, top + side)), np.float32)
    return torch.from_numpy(found).permute(2, 0, 1) / 127.5 - 1


def begin_inversion(
    generator: Generator,
    statistics: LatentStatistics,
    count: int,
    config: InversionConfig,
    draws: Draws,
) -> Descent:
    """A descent of `count` pictures from the mean code."""
    return Descent.begin(
        generator,
        config,
        draws,
        statistics.deviation,
        statistics.mean.expand(count, -1),
        coupled=config.batching == "coupled",
    )


def invert(
    targets: Tensor,
    generator: Generator,
    statistics: LatentStatistics,
    config: InversionConfig,
    draws: Draws,
    perceptual: Perceptual,
    identity: Identity | None = None,
    *,
    state: dict[str, Any] | None = None,
    after: Callable[[Descent], None] = lambda _: None,
    stop_at: int | None = None,
) -> Path:
    """Find codes of pictures, each for itself unless the configuration couples them.

    What the networks see in the targets is computed once.

    Args:
        targets: (N, 3, s, s) in -1...1, s = the generator's side, 256 at most.
        generator: frozen.
        statistics: of w.
        config: weights and schedule.
        draws: see `voicestyle.descent`.
        perceptual: how differently pictures look.
        identity: whom they show; None where its weight is 0.
        state: of an earlier, stopped descent.
        after: called after every step.
        stop_at: see `Descent.run`.

    Raises:
        ValueError: targets of another size, or a weight for the identity and no network for it.
    """
    side = min(LARGEST, generator.config.size)
    if targets.ndim != 4 or targets.shape[1:] != (3, side, side):
        raise ValueError(f"expected pictures (N, 3, {side}, {side}), found {tuple(targets.shape)}")
    if config.identity and identity is None:
        raise ValueError("inversion.identity is above 0 and there is no network for it: give one, or set 0")
    coupled = config.batching == "coupled"
    with torch.no_grad():
        maps = [each.detach() for each in perceptual.maps(targets)] if config.perceptual else []
        faces = identity.features(targets) if config.identity and identity is not None else None

    def objective(pictures: Tensor, codes: Tensor, shaken: Tensor, at: Tensor) -> Terms:
        here = at.to(targets.device)
        terms: Terms = {}
        if config.perceptual:
            theirs = maps if len(at) == len(targets) else [each[here] for each in maps]
            distance = perceptual.of_maps(perceptual.maps(pictures), theirs)
            terms["perceptual"] = (
                config.perceptual * distance.flatten(1).sum(1)
                if distance.ndim > 1
                else (config.perceptual * distance)
            )
        if config.mse:
            error = (pictures - targets[here]).square().mean((1, 2, 3))
            terms["mse"] = config.mse * (error.mean() if coupled else error)
        if config.identity and identity is not None and faces is not None:
            apart = 1 - (identity.features(pictures) * faces[here]).sum(1)
            terms["identity"] = config.identity * (apart.mean() if coupled else apart)
        return terms

    descent = begin_inversion(generator, statistics, len(targets), config, draws)
    if state is not None:
        descent.load_state_dict(state)
    return descent.run(objective, after, stop_at)
