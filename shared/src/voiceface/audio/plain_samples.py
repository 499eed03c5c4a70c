"""Samples of ordinary WAV files of 16 bit, whose header is read already, without a library.

It takes half the time of libsndfile for a recording of 10 s (docs/own_files.md).
"""

import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from voiceface.audio.parts import AudioPart
from voiceface.audio.samples import (
    INT16_FULL_SCALE,
    AudioError,
    DecodedAudio,
    SampleScale,
    check_budget,
    check_format,
    limit_block,
)

__all__ = ["decode_plain_samples"]


def decode_plain_samples(
    path: str | os.PathLike[str],
    file: BinaryIO,
    part: AudioPart,
    scale: SampleScale,
    max_samples: int | None,
    block_seconds: float | None = None,
) -> Iterator[DecodedAudio]:
    """Read a part with `AudioPart.plain`; arguments as of `decode_with_soundfile`.

    Yields:
        Blocks; one without samples if the part has none.

    Raises:
        AudioError: fewer samples than when the header was read, or more than can be.
    """
    assert part.plain is not None
    place, channels, stated = part.plain
    rate = part.sample_rate
    check_format(path, rate, channels)
    count = stated if max_samples is None else min(max_samples, stated)
    if block_seconds is None:
        check_budget(path, count, channels)
        length = max(count, 1)
    else:
        length = limit_block(block_seconds, rate, channels)
    for start in range(0, max(count, 1), length):
        data = np.empty((min(length, count - start), channels), "<i2")
        file.seek(place + 2 * channels * start)
        held = file.readinto(data.data.cast("B")) if data.size else 0  # type: ignore[attr-defined]
        if held < data.nbytes:
            raise AudioError(
                f"{path}: shortened while it was read: {start + held // (2 * channels)} of {count} samples "
                "are left; copy it again"
            )
        samples = np.ascontiguousarray(data.T, dtype=np.float32)
        del data  # or it is held while the block is used
        if scale == "unit":
            samples /= np.float32(INT16_FULL_SCALE)
        yield DecodedAudio(samples, rate, subtype="PCM_16")
