"""Random numbers and noise maps of the optimisation.

Letters: N images, r side of a noise map.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "NoiseSource",
    "PerSampleNoise",
    "noise_regularisation_loss",
    "normalise_noise_maps",
]


MIN_NOISE_SIDE = 8  # smallest noise map that is not pooled further


class NoiseSource(Protocol):
    """Source of normal random numbers."""

    def normal(self, role: str, shape: Sequence[int], rows: Sequence[int]) -> Tensor:
        """Return (len(rows), *shape) for these rows; `role` names the use: "map K", "latent" or "views"."""
        ...


class PerSampleNoise:
    """One random generator per image, so that its numbers do not depend on the rest of the batch.

    Args:
        seeds: one per image.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]

    def normal(self, role: str, shape: Sequence[int], rows: Sequence[int]) -> Tensor:
        """See `NoiseSource.normal`; the role is ignored."""
        return torch.stack([torch.randn(*shape, generator=self.generators[row]) for row in rows])

    def state_dict(self) -> list[Tensor]:
        """Return the states of the generators."""
        return [generator.get_state() for generator in self.generators]

    def load_state_dict(self, states: Sequence[Tensor]) -> None:
        """Restore `state_dict`."""
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state)


def noise_regularisation_loss(maps: Sequence[Tensor], coupled: bool = False) -> Tensor:
    """Compute the squared autocorrelation of noise maps at every scale down to 8 pixels.

    Args:
        maps: (N, 1, r, r) each.
        coupled: average over the whole batch (published) instead of per image.

    Returns:
        (N,), or a scalar if coupled. White noise gives about 0.
    """
    axes = (0, 1, 2, 3) if coupled else (1, 2, 3)
    total: Tensor | float = 0.0
    for noise in maps:
        while True:
            for axis in (3, 2):
                total = total + (noise * noise.roll(1, axis)).mean(axes).square()
            if noise.shape[2] <= MIN_NOISE_SIDE:
                break
            noise = F.avg_pool2d(noise, 2)
    return torch.as_tensor(total)


@torch.no_grad()
def normalise_noise_maps(maps: Sequence[Tensor], coupled: bool = False) -> None:
    """Normalise noise maps (N, 1, r, r) to mean 0 and standard deviation 1 in place; coupled: jointly."""
    for noise in maps:
        axes = (0, 1, 2, 3) if coupled else (1, 2, 3)
        std, mean = torch.std_mean(noise, axes, keepdim=True)
        noise.sub_(mean).div_(std)
