"""Pictures by a perfect listener: one who hears the true voice factors and the sex, and knows nothing else.

They show how far an honest maker of faces from voices can come in agreement.py: what the voice tells is
there, as far as the coupling carries it; hair, skin, eyes and the rest of the shape are a stranger's.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from voiceface.synthetic.face.render import prepare_face, render_picture
from voiceface.synthetic.identities import draw_people
from voiceface.synthetic.layout import Settings

_STRANGER = 50_000_000  # how far on the stranger stands whose hair, skin and eyes are taken


def listener_pictures(
    settings: Settings, ids: Sequence[int], *, side: int | None = None, nuisance: float = 0.0
) -> Tensor:
    """Draw one face for the voice of each identity.

    Args:
        settings: of the population.
        ids: identity numbers, (N,).
        side: of the pictures; default: that of the settings.
        nuisance: how far pose, light and expression vary; 0 is a passport picture.

    Returns:
        (N, 3, S, S) uint8, red, green, blue.
    """
    numbers = np.asarray(ids, np.int64)
    heard = draw_people(numbers, seed=settings.seed, rho=settings.rho, share_sex=settings.share_sex)
    strangers = draw_people(numbers + _STRANGER, seed=settings.seed, rho=0.0)
    sex = heard.sex if settings.share_sex else strangers.sex
    # What is expected of the face given the voice: c v; the unheard part of the shape at its mean.
    drawn = replace(strangers, sex=sex, face_sex=sex, g=heard.c * heard.v, q=np.zeros_like(strangers.q))
    side = side or settings.picture_side
    made = np.empty((len(numbers), side, side, 3), np.uint8)
    for i in range(len(numbers)):
        face = prepare_face(drawn, i, face_gain=settings.face_gain)
        made[i] = render_picture(
            drawn, i, 0, side=side, nuisance=nuisance, face=face, face_gain=settings.face_gain
        ).image
    return torch.from_numpy(made).permute(0, 3, 1, 2).contiguous()
