"""Does a model hear who speaks: what it makes of two halves of one voice against halves of different voices.

Letters: M mel bands, T frames, N halves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sf2f.inference import FRAMES_PER_SECOND, VoiceFeatures, decode_images, embed_windows, split_into_windows

if TYPE_CHECKING:
    from torch import Tensor

    from sf2f.inference import Model


@dataclass(frozen=True)
class SplitHalfDistances:
    """How far apart what is made of two halves of speech lies, in the mean over pairs.

    Attributes:
        l2: of embeddings.
        cosine: 1 - cosine of embeddings.
        pixel: mean absolute difference of pictures, bytes.
        num_pairs: how many.
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
    """Halves of one voice against each other, and halves of different speakers: a model that hears who speaks
    keeps the first closer.

    All recordings of a voice are cut in the middle; each half has at least half a second and is heard like a
    recording, so that both figures compare equally long speech.

    Args:
        model: from `load`, or Wen's.
        recordings: recordings of each voice.
        identities: who each voice belongs to; pairs of voices of one speaker count for neither figure.
        stride: see `split_into_windows`.

    Returns:
        (same voice's halves, different speakers' halves); None where there are no such pairs.
    """
    import torch

    joined, owners = [], []
    with torch.inference_mode():
        for voices, speaker in zip(recordings, identities, strict=True):
            long = [voice for voice in voices if voice.speech_seconds >= 1]
            if not long:
                continue
            for half in range(2):
                parts = [half_recording(voice, half) for voice in long]
                cut = [embed_windows(model, split_into_windows(model, part, stride)) for part in parts]
                joined.append(model.pool_embeddings(torch.cat(cut)))
            owners.append(speaker)
        if not owners:
            return None, None
        embeddings = torch.cat(joined)
        pictures = decode_images(model, embeddings).reshape(len(embeddings), -1)
    points = embeddings.double().cpu()
    unit = torch.nn.functional.normalize(points, dim=1)
    tables = (
        torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist"),
        1 - unit @ unit.T,
        torch.cdist(torch.from_numpy(pictures).double(), torch.from_numpy(pictures).double(), p=1)
        / pictures.shape[1],
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
    """Means of tables (N, N) of L2, cosine and pixel distances over the pairs (N, N) that count."""
    if not pairs.any():
        return None
    l2, cosine, pixel = (float(table[pairs].mean()) for table in tables)
    return SplitHalfDistances(l2, cosine, pixel, int(pairs.sum()))


def half_recording(voice: VoiceFeatures, half: int) -> NDArray[np.float32]:
    """The first (0) or second (1) half of a recording, (M, about T / 2); repeated frames do not count."""
    frames = min(voice.mel.shape[1], max(2, round(voice.speech_seconds * FRAMES_PER_SECOND)))
    middle = frames // 2
    return voice.mel[:, :middle] if half == 0 else voice.mel[:, middle:frames]
