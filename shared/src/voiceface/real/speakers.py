"""One speaker or several: the parts of a recording, compared by the voice encoder."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.vad import SpeechError
from voiceface.real.installation import find_installed, models_directory

if TYPE_CHECKING:
    from voiceface.real.voice_encoder import VoiceEncoder

__all__ = ["SPEAKER_SIMILARITY", "compare_parts", "note_speakers"]

SPEAKER_SIMILARITY = 0.75
"""Cosine of the two centres below which a recording holds two speakers or more (docs/own_files.md)."""
MIN_SECONDS = 4.0  # shorter recordings are not examined
EXAMINED_SECONDS = 30.0  # of a longer one: its beginning, middle and end
MIN_PARTS = 3
ITERATIONS = 10


def note_speakers(waveform: NDArray[np.floating]) -> tuple[str, ...]:
    """Note two speakers or more in a recording, where the voice encoder is installed.

    Args:
        waveform: (T,), 16 kHz, -1...1.

    Returns:
        One note, or none: one speaker, a recording below 4 s, or no voice encoder.
    """
    if len(waveform) < MIN_SECONDS * 16000 or find_installed("voice_encoder") is None:
        return ()
    try:
        parts = _load_encoder(models_directory()).embed_partials(_examined(waveform))
    except SpeechError:
        return ()
    similarity = compare_parts(parts)
    if similarity is None or similarity >= SPEAKER_SIMILARITY:
        return ()
    return (f"several speakers: its parts differ (cosine {similarity:.2f}, below {SPEAKER_SIMILARITY:g})",)


def compare_parts(partials: NDArray[np.floating]) -> float | None:
    """Compare the two kinds of parts into which a recording falls.

    The parts are means of two partial utterances that follow one another; they are divided by spherical
    k-means with two centres, which begin at the two parts that differ most.

    Args:
        partials: (P, D), embeddings of partial utterances in the order of time.

    Returns:
        Cosine of the two centres; None for fewer than three parts.
    """
    parts = _unit(partials[:-1] + partials[1:])
    if len(parts) < MIN_PARTS:
        return None
    similarity = parts @ parts.T
    centres = parts[list(np.unravel_index(int(similarity.argmin()), similarity.shape))]
    for _ in range(ITERATIONS):
        nearest = (parts @ centres.T).argmax(axis=1)
        if nearest.all() or not nearest.any():
            return 1.0
        centres = _unit(np.stack([parts[nearest == each].mean(axis=0) for each in (0, 1)]))
    return float(centres[0] @ centres[1])


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _examined(waveform: NDArray[np.floating]) -> NDArray[np.float32]:
    """A recording, or its beginning, middle and end."""
    length = round(EXAMINED_SECONDS * 16000 / 3)
    if len(waveform) > 3 * length:
        middle = (len(waveform) - length) // 2
        pieces = (waveform[:length], waveform[middle : middle + length], waveform[-length:])
        waveform = np.concatenate(pieces)
    return np.asarray(waveform, np.float32)


@lru_cache(maxsize=2)
def _load_encoder(_: Path) -> "VoiceEncoder":
    """The voice encoder in a cache folder, with the faster back end where it is installed."""
    from voiceface.real.backends import choose_backend
    from voiceface.real.voice_encoder import load_voice_encoder

    return load_voice_encoder(choose_backend())
