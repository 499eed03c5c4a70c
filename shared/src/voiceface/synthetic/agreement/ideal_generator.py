"""Faces of an ideal generator that knows the true voice factors and the sex, and nothing else.

They bound the agreement that a generator can reach: sex and factors are as well determined as the coupling
permits; hair, skin, eyes and the rest of the shape are independent of the identity.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from voiceface.synthetic.head.render import render_image
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.layout import PopulationSettings

__all__ = ["render_ideal_faces"]

_STRANGER_OFFSET = 50_000_000  # distance of the identity whose hair, skin and eyes are used


def render_ideal_faces(
    settings: PopulationSettings, ids: Sequence[int], *, image_size: int | None = None, nuisance: float = 0.0
) -> Tensor:
    """Render one face for the voice of each identity.

    Args:
        settings: of the population.
        ids: identity numbers, (N,).
        image_size: width and height; default: that of the settings.
        nuisance: variation of pose, light and expression; 0 is a frontal image.

    Returns:
        (N, 3, S, S) uint8, RGB.
    """
    numbers = np.asarray(ids, np.int64)
    speakers = sample_identities(numbers, seed=settings.seed, rho=settings.rho, share_sex=settings.share_sex)
    strangers = sample_identities(numbers + _STRANGER_OFFSET, seed=settings.seed, rho=0.0)
    sex = speakers.sex if settings.share_sex else strangers.sex
    # The expectation of face factors given the voice is c v; the rest of the shape is at its mean.
    faces = replace(
        strangers,
        sex=sex,
        face_sex=sex,
        face_factors=speakers.coupling * speakers.voice_factors,
        shape_nuisance=np.zeros_like(strangers.shape_nuisance),
    )
    image_size = image_size or settings.render_size
    images = np.empty((len(numbers), image_size, image_size, 3), np.uint8)
    for i in range(len(numbers)):
        rendered = render_image(
            faces, i, 0, image_size=image_size, nuisance=nuisance, face_gain=settings.face_gain
        )
        images[i] = rendered.image
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
