"""The two decoders behind `voiceface.audio.loading`: libsndfile for whole files, PyAV packet by packet.

`voiceface.audio.probing` chooses between them by the content of a file, never by its name. Both are given the
open file, never its name, and return samples of shape (channels, T) in the requested scale.
"""

import os
from dataclasses import dataclass, field
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
    rescale,
)

__all__ = [
    "SNDFILE_LENGTHS_ESTIMATED",
    "AudioError",
    "decode_with_pyav",
    "decode_with_soundfile",
    "get_audio_stream",
    "open_with_pyav",
    "open_with_soundfile",
]

SNDFILE_LENGTHS_ESTIMATED = ("MP3", "OGG", "FLAC", "VOC")
"""Formats whose length libsndfile estimates or takes from a header that may be wrong."""
DURATION_TOLERANCE = 0.1  # seconds by which a container's duration may exceed its sound (encoder padding)
LAST_PACKET_SECONDS = 0.13  # a packet of AAC at 8 kHz
SAMPLE_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
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
    sound = soundfile.SoundFile(source, closefd=False)
    try:
        check_format(path, sound.samplerate, sound.channels)
        if sound.format in SNDFILE_LENGTHS_ESTIMATED and part.kind == "other":
            raise soundfile.LibsndfileError(0, "the length is estimated: ")
    except BaseException:
        sound.close()
        raise
    return sound


def decode_with_soundfile(
    path: str | os.PathLike[str],
    file: BinaryIO,
    part: AudioPart,
    scale: SampleScale,
    on_corrupt: OnCorrupt,
    max_samples: int | None,
) -> DecodedAudio:
    """Decode a part of a file with libsndfile.

    Args:
        path: for messages.
        file: open for reading.
        part: from `voiceface.audio.probing`.
        scale: of the samples.
        on_corrupt: "error" or "salvage", see `voiceface.audio.loading.decode_audio`.
        max_samples: per channel; None reads all.

    Raises:
        AudioError: fewer frames than the header states, or more than can be.
        soundfile.LibsndfileError: libsndfile cannot open this file.
    """
    import soundfile

    with open_with_soundfile(path, file, part) as sound:
        subtype = sound.subtype
        integers = subtype == "PCM_16"
        stated = sound.frames if max_samples is None else min(max_samples, sound.frames)
        check_budget(path, stated, sound.channels)
        rate, floats = sound.samplerate, subtype in ("FLOAT", "DOUBLE")
        try:
            data = np.empty((stated, sound.channels), np.int16 if integers else np.float32)
            data = data[: sound.buffer_read_into(data, dtype=data.dtype.name) if stated else 0]
        except soundfile.LibsndfileError as error:
            reason = str(error.error_string).strip().rstrip(".")
            raise AudioError(f"{path}: damaged or truncated: {reason or 'no sound'}; {CAUSE}") from None
    if len(data) < stated:
        raise AudioError(
            f"{path}: damaged or truncated: {len(data)} of {stated} samples could be decoded; {CAUSE}"
        )
    samples = np.ascontiguousarray(data.T, dtype=np.float32)
    bad = 0
    if floats:
        samples, bad = check_floats(path, samples, on_corrupt, allow_any_peak=scale == "native")
    if integers and scale == "unit":
        samples /= np.float32(INT16_FULL_SCALE)
    elif not integers:
        rescale(samples, scale, subtype)
    return DecodedAudio(samples, rate, 0, bad / rate)


def open_with_pyav(file: BinaryIO, part: AudioPart) -> Any:
    """Open a part of a file with PyAV; FFmpeg sees neither its name nor, through it, any other file.

    Raises:
        av.FFmpegError: it is no sound.
    """
    import av

    view: Any = FileView(raw_file(file), part.start, part.end, part.patches)
    # a play list may name other files and addresses: no protocol is allowed
    return av.open(view, "r", metadata_errors="replace", options={"protocol_whitelist": "none"})


@dataclass
class _Packets:
    """State while the packets of a stream are decoded."""

    pieces: list[NDArray[Any]] = field(default_factory=list)
    kind: tuple[int, int] | None = None  # rate, channels
    subtype: str = ""
    seen: int = 0
    total: int = 0
    lost: int = 0
    lost_seconds: float = 0.0
    problem: str = ""  # the first one under "error", forgiven at the very end
    end: float = 0.0  # seconds at which the last packet ends

    @property
    def held_seconds(self) -> float:
        return self.total / self.kind[0] if self.kind else 0.0


def decode_with_pyav(
    path: str | os.PathLike[str],
    file: BinaryIO,
    part: AudioPart,
    scale: SampleScale,
    on_corrupt: OnCorrupt,
    max_samples: int | None,
) -> DecodedAudio:
    """Decode with PyAV packet by packet, so that a corrupt packet loses only itself and is counted.

    A packet at the very end that cannot be decoded is forgiven if it has at most `LAST_PACKET_SECONDS`.

    Args:
        path: for messages.
        file: open for reading.
        part: from `voiceface.audio.probing`.
        scale: of the samples.
        on_corrupt: "error" or "salvage", see `voiceface.audio.loading.decode_audio`.
        max_samples: per channel; None reads all.

    Raises:
        AudioError: no audio in it, or, under "error", anything lost.
        av.FFmpegError: PyAV does not read this file.
    """
    with open_with_pyav(file, part) as container:
        stream = get_audio_stream(path, container)
        state = _Packets()
        is_whole = _read_packets(path, container, stream, state, on_corrupt, max_samples)
        if is_whole:
            _count_losses(path, container, stream, part, state, on_corrupt)
    if not state.pieces or state.kind is None:
        raise AudioError(f"{path}: no samples, expected at least one; remove the file or replace it")
    notes = (state.problem,) if state.problem else ()
    samples = np.concatenate(state.pieces, axis=1)[:, :max_samples]
    state.pieces.clear()
    any_peak = scale == "native" and state.subtype == "FLOAT"
    floats, bad = check_floats(path, samples, on_corrupt, allow_any_peak=any_peak)
    rescale(floats, scale, state.subtype)
    rate = state.kind[0]
    return DecodedAudio(floats, rate, state.lost, state.lost_seconds + bad / rate, notes)


def _read_packets(
    path: str | os.PathLike[str],
    container: Any,
    stream: Any,
    state: _Packets,
    on_corrupt: OnCorrupt,
    max_samples: int | None,
) -> bool:
    """Decode packets to the end of the stream (True), or until there are `max_samples` (False)."""
    import av

    tick = float(stream.time_base or 0)
    usual = float(stream.duration or 0) * tick / stream.frames if stream.frames else 0.0
    packets = container.demux(stream)
    while max_samples is None or state.total < max_samples:
        packet, problem, frames = None, "", []
        try:
            packet = next(packets, None)
            if packet is None:
                return True
            state.seen += packet.size > 0
            frames = packet.decode()
            if packet.size and packet.is_corrupt:
                problem = "packet marked as corrupt"
        except EOFError:
            return True
        except av.FFmpegError as error:
            problem = error.strerror or str(error)
        if packet is not None and packet.pts is not None:
            held = sum(frame.samples / max(1, frame.sample_rate) for frame in frames)
            state.end = float(packet.pts) * tick + max(held, float(packet.duration or 0) * tick)
        for frame in frames:
            samples = _frame_samples(path, frame)
            found = (frame.sample_rate, len(samples))
            state.kind = state.kind or found
            state.subtype = state.subtype or _subtype(stream.codec_context.name, frame.format.name)
            if found != state.kind:
                problem = f"(rate, channels) change from {state.kind} to {found} within the file"
                continue
            if state.problem:  # it was not the end
                raise AudioError(f"{path}: {state.problem}; {CAUSE}")
            state.pieces.append(samples)
            state.total += samples.shape[1]
            check_budget(path, state.total, len(samples))
        if not problem:
            continue
        seconds = float(packet.duration) * tick if packet is not None and packet.duration else usual
        if on_corrupt == "error":
            message = f"packet {state.seen} could not be decoded ({problem}), expected an undamaged file"
            if state.problem or packet is None or not 0 < seconds <= LAST_PACKET_SECONDS:
                raise AudioError(f"{path}: {state.problem or message}; {CAUSE}")
            state.problem = message
            continue
        state.lost += 1
        state.lost_seconds += seconds
        if packet is None:
            return True
    return False


def _count_losses(
    path: str | os.PathLike[str],
    container: Any,
    stream: Any,
    part: AudioPart,
    state: _Packets,
    on_corrupt: OnCorrupt,
) -> None:
    """Compare what was decoded with what is stated, where that is evidence of missing bytes.

    Packets that a container counts and an edit list leaves out are no loss, nor are gaps between packets.
    """
    gap = 0.0
    if part.num_samples and state.kind and part.kind in ("flac", "mp3"):
        gap = part.num_samples / state.kind[0] - state.held_seconds
    elif container.format.name in ("matroska,webm", "ogg") and len(container.streams) == 1:
        if container.duration:
            begin = max(0, container.start_time or 0) / 1e6
            reached = state.end if part.kind == "matroska" else begin + state.held_seconds
            gap = container.duration / 1e6 - reached
    elif (part.cut or state.lost) and stream.duration:
        gap = max(0.0, float(stream.duration * stream.time_base) - state.held_seconds)
        state.lost += max(0, (stream.frames or 0) - state.seen) if not _counts_samples(stream) else 1
        state.lost_seconds = max(state.lost_seconds, gap)
        gap = 0.0 if on_corrupt == "salvage" else gap
    if gap <= DURATION_TOLERANCE:
        return
    state.lost_seconds = max(state.lost_seconds, gap)
    if on_corrupt == "error":
        raise AudioError(f"{path}: truncated: {gap:.3f} s are missing; {CAUSE}")


def _counts_samples(stream: Any) -> bool:
    """Whether the number of frames of a stream is one of samples (uncompressed sound in MOV)."""
    return bool(stream.frames) and stream.codec_context.name.startswith("pcm_")


def _frame_samples(path: str | os.PathLike[str], frame: Any) -> NDArray[Any]:
    """Samples of one PyAV frame in -1...1, shape (channels, T).

    `AudioFrame.to_ndarray` is not used: it reads behind the planes of frames with eight or more channels.
    """
    channels, count = frame.layout.nb_channels, frame.samples
    check_format(path, frame.sample_rate, channels)
    name = frame.format.name
    form = np.dtype(SAMPLE_TYPES[name.removesuffix("p")])
    planes = frame.planes[: channels if frame.format.is_planar else 1]
    values = count if frame.format.is_planar else count * channels
    rows = [np.frombuffer(plane, form, min(values, plane.buffer_size // form.itemsize)) for plane in planes]
    if len(rows) == 1:
        samples = rows[0][None] if channels == 1 else rows[0].reshape(-1, channels).T
    else:
        samples = np.stack(rows)
    if form.kind == "u":
        return (samples.astype(np.float32) - 128) / np.float32(128)
    if form.kind == "i":
        return samples.astype(np.float32) / np.float32(-float(np.iinfo(form).min))
    return samples.copy() if len(rows) == 1 else samples


def _subtype(codec: str, sample_format: str) -> str:
    """Key of `NATIVE_FACTOR_OFFSET` for the frames of a PyAV codec."""
    sample_format = sample_format.removesuffix("p")  # planar or packed
    if sample_format == "u8":
        return "PCM_S8" if codec == "pcm_s8" else "PCM_U8"
    if sample_format in ("flt", "dbl") and codec.startswith("pcm_"):
        return "FLOAT"
    return "PCM_32" if sample_format == "s32" else "PCM_16"


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
