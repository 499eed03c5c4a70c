"""A person's own recordings, with what the networks of real people say about them."""

import os
from dataclasses import replace

import numpy as np

from voiceface.audio.channels import ChannelChoice
from voiceface.audio.recordings import Recording, read_recording
from voiceface.audio.samples import OnCorrupt, SampleScale
from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS, LongRecordings
from voiceface.real.speakers import note_speakers

__all__ = ["read_own_recording"]


def read_own_recording(
    path: str | os.PathLike[str],
    *,
    scale: SampleScale,
    resample: bool = True,
    on_corrupt: OnCorrupt = "error",
    channel: ChannelChoice = "auto",
    long: LongRecordings = DEFAULT_LONG_RECORDINGS,
    best_seconds: float | None = None,
) -> Recording:
    """Read a person's own recording as `read_recording` does, and look for several speakers.

    Arguments and errors are those of `read_recording`. Where the voice encoder is installed
    (`voiceface models get real`), the part that is used gets a note if it holds two speakers or more.
    """
    found = read_recording(
        path,
        scale=scale,
        resample=resample,
        on_corrupt=on_corrupt,
        channel=channel,
        long=long,
        best_seconds=best_seconds,
    )
    # the peak is known in units of full scale, whatever the scale of the values
    wave = found.waveform - np.mean(found.waveform, dtype=np.float64).astype(np.float32)
    peak = float(np.abs(wave).max(initial=0.0))
    notes = note_speakers(wave * np.float32(found.quality.peak / peak)) if peak else ()
    return replace(found, notes=(*found.notes, *notes)) if notes else found
