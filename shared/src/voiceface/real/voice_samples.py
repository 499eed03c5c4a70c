"""A person's own voice as 16-bit samples, from a file or an array, for front ends with their own VAD."""

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.channels import to_waveform
from voiceface.audio.recordings import require_sound
from voiceface.io.file_facts import FileFacts
from voiceface.real.recordings import read_own_recording

__all__ = ["VoiceSamples", "is_path", "read_voice_samples", "to_int16"]


class VoiceSamples(NamedTuple):
    """Samples of a voice.

    Attributes:
        samples: (T,) int16, 16 kHz.
        name: of the source, for messages.
        facts: what is known about the file; None for an array.
    """

    samples: NDArray[np.int16]
    name: str
    facts: FileFacts | None = None


def is_path(source: Any) -> bool:
    """Whether a source is the path of a file, not an array or a sequence."""
    return isinstance(source, str | os.PathLike)


def read_voice_samples(source: Any, **options: Any) -> VoiceSamples:
    """Read a person's own recording, or take an array of samples.

    Args:
        source: path; or samples at 16 kHz in the 16-bit range, any type, (T,) or (T, channels) as
            `soundfile.read` gives them.
        options: of a file: further arguments of `voiceface.real.recordings.read_own_recording`.

    Raises:
        FileNotFoundError: no such file.
        AudioError: unreadable; silence, noise or too little speech; an array that is constant, not finite or
            of another shape.
    """
    if is_path(source):
        recording = read_own_recording(source, scale="int16", **options)
        found = VoiceSamples(to_int16(recording.waveform), os.fspath(source), recording.describe(source))
    else:
        found = VoiceSamples(to_int16(to_waveform(source)), "the recording")
    require_sound(found.samples, found.name)
    return found


def to_int16(wave: NDArray[Any]) -> NDArray[np.int16]:
    """Round samples to 16 bits; what lies outside of their range is clipped."""
    return np.clip(np.rint(wave), -32768, 32767).astype(np.int16)
