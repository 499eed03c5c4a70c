"""Images by a perfect listener: one who hears the true voice factors and the sex, and knows nothing else.

They show how far an honest maker of faces from voices can come in agreement.py: what the voice tells is
there, as far as the coupling carries it; hair, skin, eyes and the rest of the shape are a stranger's.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from voiceface.synthetic.face.render import prepare_face, render_image
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.layout import PopulationSettings

_STRANGER_OFFSET = 50_000_000  # how far on the stranger stands whose hair, skin and eyes are taken


def render_listener_faces(
    settings: PopulationSettings, ids: Sequence[int], *, image_size: int | None = None, nuisance: float = 0.0
) -> Tensor:
    """Draw one face for the voice of each identity.

    Args:
        settings: of the population.
        ids: identity numbers, (N,).
        image_size: of the images; default: that of the settings.
        nuisance: how far pose, light and expression vary; 0 is a passport image.

    Returns:
        (N, 3, S, S) uint8, red, green, blue.
    """
    numbers = np.asarray(ids, np.int64)
    heard = sample_identities(numbers, seed=settings.seed, rho=settings.rho, share_sex=settings.share_sex)
    strangers = sample_identities(numbers + _STRANGER_OFFSET, seed=settings.seed, rho=0.0)
    sex = heard.sex if settings.share_sex else strangers.sex
    # What is expected of the face given the voice: c v; the unheard part of the shape at its mean.
    drawn = replace(
        strangers,
        sex=sex,
        face_sex=sex,
        face_factors=heard.coupling * heard.voice_factors,
        shape_nuisance=np.zeros_like(strangers.shape_nuisance),
    )
    image_size = image_size or settings.render_size
    made = np.empty((len(numbers), image_size, image_size, 3), np.uint8)
    for i in range(len(numbers)):
        face = prepare_face(drawn, i, face_gain=settings.face_gain)
        made[i] = render_image(
            drawn, i, 0, image_size=image_size, nuisance=nuisance, face=face, face_gain=settings.face_gain
        ).image
    return torch.from_numpy(made).permute(0, 3, 1, 2).contiguous()
