"""Silence around and within recordings: what networks hear of them may not depend on it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["require_silence_is_not_heard", "synthesise_voices"]

RATE = 16000
QUIET_SECONDS = 12
GATED_SECONDS = (0.1, 0.3, 0.8, 0.2)  # of the pauses of a noise gate


def synthesise_voices(count: int = 2, seconds: float = 4.0) -> list[NDArray[np.int16]]:
    """Utterances (T,) of `count` synthetic identities, 16 kHz."""
    from voiceface.synthetic.identities import sample_identities
    from voiceface.synthetic.voice.speech_synthesis import synthesise_clip

    people = sample_identities(np.arange(20, 20 + count))
    return [synthesise_clip(people, index, 0, seconds=seconds).samples for index in range(count)]


def require_silence_is_not_heard(
    embed: Callable[[list[Path]], "Tensor"],
    folder: Path,
    voices: Sequence[NDArray[Any]],
    *,
    min_similarity: float = 0.9,
) -> None:
    """Check that 12 s of silence before, after or within a recording change its embedding little.

    Quiet noise and digital silence are tried, and pauses of digital silence, 0.1 to 0.8 s, as noise gates and
    conference programs write them.

    Args:
        embed: own recordings -> embeddings (N, D).
        folder: for the recordings.
        voices: speech (T,) in the 16-bit range of several people, 16 kHz.
        min_similarity: least cosine of the embeddings with and without silence.

    Raises:
        AssertionError: an embedding differs by more, or people become alike.
    """
    import torch

    from voiceface.audio.loading import write_wav

    def embed_with(name: str, quiet: Sequence[NDArray[Any]], where: Sequence[float]) -> "Tensor":
        paths = [folder / f"{name} {number}.wav" for number in range(len(voices))]
        for path, voice in zip(paths, voices, strict=True):
            parts = np.split(voice.astype(np.int16), [round(place * len(voice)) for place in where])
            pairs = zip(parts, (*quiet, quiet[0][:0]), strict=True)
            write_wav(path, np.concatenate([each.astype(np.int16) for pair in pairs for each in pair]))
        return torch.nn.functional.normalize(embed(paths).float(), dim=1)

    def compare(name: str, quiet: Sequence[NDArray[Any]], where: Sequence[float]) -> None:
        found = embed_with(name, quiet, where)
        same = (found * plain).sum(dim=1)
        assert (same > min_similarity).all(), f"{name}: cosine {same.min():.3f}"
        alike, before = ((x @ x.T).fill_diagonal_(-1).max() for x in (found, plain))
        assert alike < before + (1 - min_similarity), f"{name}: two people, cosine {alike:.3f}"

    plain = embed_with("plain", [np.zeros(0)], [0])
    length = QUIET_SECONDS * RATE
    noise = np.random.default_rng(0).integers(-30, 31, length)
    for kind, quiet in (("noise", noise), ("zeros", np.zeros(length, np.int64))):
        for place, where in (("before", 0.0), ("after", 1.0), ("within", 0.5)):
            compare(f"{kind} {place}", [quiet], [where])
    gated = [np.zeros(round(seconds * RATE)) for seconds in GATED_SECONDS]
    compare("noise gate", gated, np.linspace(0, 1, len(gated) + 2)[1:-1].tolist())
