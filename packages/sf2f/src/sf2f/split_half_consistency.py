"""Split-half test of speaker consistency: halves of one voice against halves of different voices.

Letters: M mel bands, T frames, N halves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sf2f.inference import VoiceFeatures, decode_images, embed_windows
from sf2f.speech import FRAMES_PER_SECOND

if TYPE_CHECKING:
    from torch import Tensor

    from sf2f.inference import Model

__all__ = [
    "SplitHalfDistances",
    "half_recording",
    "split_half_distances",
]


@dataclass(frozen=True)
class SplitHalfDistances:
    """Mean distances over pairs of halves.

    Attributes:
        l2: of embeddings.
        cosine: 1 - cosine of embeddings.
        pixel: mean absolute difference of images, in bytes.
        num_pairs: number of pairs.
    """

    l2: float
    cosine: float
    pixel: float
    num_pairs: int


def split_half_distances(
    model: "Model",
    recordings: Sequence[Sequence[VoiceFeatures]],
    identities: Sequence[Any],
    *,
    stride: int | None = None,
) -> tuple[SplitHalfDistances | None, SplitHalfDistances | None]:
    """Distances of the two halves of a voice, and of halves of different speakers.

    A model that encodes the speaker keeps the first smaller. All recordings of a voice are split in half;
    each half has at least half a second and is encoded like a recording, so both distances compare speech of
    equal length.

    Args:
        model: from `load`, or voice2face.
        recordings: recordings of each voice.
        identities: identity of each voice; pairs of different voices of one identity are ignored.
        stride: see `sf2f.inference.Model.split_windows`.

    Returns:
        (halves of the same voice, halves of different speakers); None where there are no such pairs.
    """
    import torch

    pooled, owners = [], []
    with torch.inference_mode():
        for voices, identity in zip(recordings, identities, strict=True):
            long_enough = [voice for voice in voices if voice.speech_seconds >= 1]
            if not long_enough:
                continue
            for half in range(2):
                halves = [half_recording(voice, half) for voice in long_enough]
                windows = [embed_windows(model, model.split_windows(part, stride)) for part in halves]
                pooled.append(model.pool_embeddings(torch.cat(windows)))
            owners.append(identity)
        if not owners:
            return None, None
        embeddings = torch.cat(pooled)
        images = decode_images(model, embeddings).reshape(len(embeddings), -1)
    points = embeddings.double().cpu()
    unit = torch.nn.functional.normalize(points, dim=1)
    tables = (
        torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist"),
        1 - unit @ unit.T,
        torch.cdist(torch.from_numpy(images).double(), torch.from_numpy(images).double(), p=1)
        / images.shape[1],
    )
    voice = np.repeat(np.arange(len(owners)), 2)
    codes = np.unique([str(owner) for owner in owners], return_inverse=True)[1]
    owner = np.repeat(codes, 2)
    upper = np.triu(np.ones((len(voice), len(voice)), bool), 1)
    same, other = (
        torch.from_numpy(upper & chosen) for chosen in (voice[:, None] == voice, owner[:, None] != owner)
    )
    return _mean_distances(tables, same), _mean_distances(tables, other)


def _mean_distances(tables: "Sequence[Tensor]", pairs: "Tensor") -> SplitHalfDistances | None:
    """Means of tables (N, N) of L2, cosine and pixel distances over the selected pairs (N, N)."""
    if not pairs.any():
        return None
    l2, cosine, pixel = (float(table[pairs].mean()) for table in tables)
    return SplitHalfDistances(l2, cosine, pixel, int(pairs.sum()))


def half_recording(voice: VoiceFeatures, half: int) -> NDArray[np.float32]:
    """First (0) or second (1) half of a recording, (M, about T / 2); repeated frames are ignored."""
    frames = min(voice.mel.shape[1], max(2, round(voice.speech_seconds * FRAMES_PER_SECOND)))
    middle = frames // 2
    return voice.mel[:, :middle] if half == 0 else voice.mel[:, middle:frames]
