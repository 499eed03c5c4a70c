"""A person's own recordings, with what the networks of real people say about them."""

import os

from voiceface.audio.channels import ChannelChoice
from voiceface.audio.recordings import Recording, read_recording
from voiceface.audio.samples import OnCorrupt, SampleScale
from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS, LongRecordings

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
    """Read a person's own recording; arguments, result and errors are those of `read_recording`."""
    return read_recording(
        path,
        scale=scale,
        resample=resample,
        on_corrupt=on_corrupt,
        channel=channel,
        long=long,
        best_seconds=best_seconds,
    )
