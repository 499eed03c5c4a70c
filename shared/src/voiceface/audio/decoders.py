"""Sound files opened by libsndfile or PyAV, and decoded by libsndfile (`voiceface.audio.packets`: by PyAV).

`voiceface.audio.probing` chooses between them by the content of a file, never by its name. Both are given the
open file, never its name, and yield blocks of samples of shape (channels, T) in the requested scale.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.byte_ranges import FileView, raw_file
from voiceface.audio.parts import AudioPart
from voiceface.audio.samples import (
    INT16_FULL_SCALE,
    AudioError,
    DecodedAudio,
    OnCorrupt,
    SampleScale,
    check_budget,
    check_floats,
    check_format,
    limit_block,
    rescale,
)

__all__ = [
    "CAUSE",
    "SNDFILE_LENGTHS_ESTIMATED",
    "AudioError",
    "decode_with_soundfile",
    "get_audio_stream",
    "open_with_pyav",
    "open_with_soundfile",
]

SNDFILE_LENGTHS_ESTIMATED = ("MP3", "OGG", "FLAC", "VOC")
"""Formats whose length libsndfile estimates or takes from a header that may be wrong."""
CAUSE = 'copy the file again or use on_corrupt="salvage"'


def open_with_soundfile(path: str | os.PathLike[str], file: BinaryIO, part: AudioPart) -> Any:
    """Open a part of a file with libsndfile, and check rate and channels.

    Raises:
        AudioError: see `voiceface.audio.samples.check_format`.
        soundfile.LibsndfileError: libsndfile does not know the format, or only estimates its length.
    """
    import soundfile

    whole = not part.patches and not part.start and part.end == os.fstat(file.fileno()).st_size
    if whole and os.name == "posix":
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        source: Any = file.fileno()
    else:
        source = FileView(raw_file(file), part.start, part.end, part.patches)
    sound = _sequential_reader()(source, closefd=False)
    try:
        check_format(path, sound.samplerate, sound.channels)
        if sound.format in SNDFILE_LENGTHS_ESTIMATED and part.kind == "other":
            raise soundfile.LibsndfileError(0, "the length is estimated: ")
    except BaseException:
        sound.close()
        raise
    return sound


@lru_cache(maxsize=1)
def _sequential_reader() -> Any:
    """`SoundFile` that does not seek to where it is after every read: in an mp3 that changes what follows."""
    import soundfile

    class SequentialSoundFile(soundfile.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            return False

    return SequentialSoundFile


def decode_with_soundfile(
    path: str | os.PathLike[str],
    file: BinaryIO,
    part: AudioPart,
    scale: SampleScale,
    on_corrupt: OnCorrupt,
    max_samples: int | None,
    block_seconds: float | None = None,
) -> Iterator[DecodedAudio]:
    """Decode a part of a file with libsndfile.

    Args:
        path: for messages.
        file: open for reading.
        part: from `voiceface.audio.probing`.
        scale: of the samples.
        on_corrupt: "error" or "salvage", see `voiceface.audio.loading.decode_audio`.
        max_samples: per channel; None reads all.
        block_seconds: of a block; None: one block for everything.

    Yields:
        Blocks; one without samples if the part has none.

    Raises:
        AudioError: fewer frames than the header states, or more than can be.
        soundfile.LibsndfileError: libsndfile cannot open this file.
    """
    with open_with_soundfile(path, file, part) as sound:
        subtype, rate, channels = sound.subtype, sound.samplerate, sound.channels
        stated = sound.frames if max_samples is None else min(max_samples, sound.frames)
        length = stated if block_seconds is None else limit_block(block_seconds, rate, channels)
        if block_seconds is None:
            check_budget(path, stated, channels)
        for start in range(0, max(stated, 1), max(length, 1)):
            count = min(length, stated - start)
            data = _read_frames(path, sound, count)
            if len(data) < count:
                raise AudioError(
                    f"{path}: damaged or truncated: {start + len(data)} of {stated} samples could be "
                    f"decoded; {CAUSE}"
                )
            samples = np.ascontiguousarray(data.T, dtype=np.float32)
            del data  # or it is held while the block is used
            bad = 0
            if subtype in ("FLOAT", "DOUBLE"):
                samples, bad = check_floats(path, samples, on_corrupt, allow_any_peak=scale == "native")
            if subtype == "PCM_16" and scale == "unit":
                samples /= np.float32(INT16_FULL_SCALE)
            elif subtype != "PCM_16":
                rescale(samples, scale, subtype)
            yield DecodedAudio(samples, rate, 0, bad / rate, (), subtype)


def _read_frames(path: str | os.PathLike[str], sound: Any, count: int) -> NDArray[Any]:
    """Read up to `count` frames, (T, channels): int16 of a 16-bit file, else float32.

    Raises:
        AudioError: libsndfile gives up.
    """
    import soundfile

    kind = np.int16 if sound.subtype == "PCM_16" else np.float32
    data: NDArray[Any] = np.empty((count, sound.channels), kind)
    try:
        return data[: sound.buffer_read_into(data, dtype=data.dtype.name) if count else 0]
    except soundfile.LibsndfileError as error:
        reason = str(error.error_string).strip().rstrip(".")
        raise AudioError(f"{path}: damaged or truncated: {reason or 'no sound'}; {CAUSE}") from None


def open_with_pyav(file: BinaryIO, part: AudioPart) -> Any:
    """Open a part of a file with PyAV; FFmpeg sees neither its name nor, through it, any other file.

    Raises:
        av.FFmpegError: it is no sound.
    """
    import av

    view: Any = FileView(raw_file(file), part.start, part.end, part.patches)
    # a play list may name other files and addresses: no protocol is allowed
    return av.open(view, "r", metadata_errors="replace", options={"protocol_whitelist": "none"})


def get_audio_stream(path: str | os.PathLike[str], container: Any) -> Any:
    """Return the first audio stream that can be decoded.

    Raises:
        AudioError: there is none, or its rate and channels are not those of a recording.
    """
    streams = container.streams.audio
    if not streams:
        raise AudioError(f"{path}: holds no audio stream, expected one; remove the file or replace it")
    for stream in streams:
        context = stream.codec_context
        if context is not None and context.name:
            if context.sample_rate:
                check_format(path, context.sample_rate, max(1, context.channels))
            return stream
    raise AudioError(
        f"{path}: its sound has a format that is not known here, expected one that FFmpeg decodes; "
        "convert the file"
    )
