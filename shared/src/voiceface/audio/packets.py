"""Sound decoded by PyAV packet by packet, in blocks: whatever libsndfile does not read, or only estimates."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.decoders import CAUSE, get_audio_stream, open_with_pyav
from voiceface.audio.parts import AudioPart
from voiceface.audio.samples import (
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

__all__ = ["decode_with_pyav", "frame_samples"]

DURATION_TOLERANCE = 0.1  # seconds by which a container's duration may exceed its sound (encoder padding)
LAST_PACKET_SECONDS = 0.13  # a packet of AAC at 8 kHz
SAMPLE_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}


@dataclass
class _Packets:
    """State while the packets of a stream are decoded."""

    kind: tuple[int, int] | None = None  # rate, channels
    subtype: str = ""
    seen: int = 0
    total: int = 0
    lost: int = 0
    lost_seconds: float = 0.0
    problem: str = ""  # the first one under "error", forgiven at the very end
    end: float = 0.0  # seconds at which the last packet ends
    is_whole: bool = True  # read to the end

    @property
    def rate(self) -> int:
        return self.kind[0] if self.kind else 0

    @property
    def held_seconds(self) -> float:
        return self.total / self.rate if self.rate else 0.0


def decode_with_pyav(
    path: str | os.PathLike[str],
    file: BinaryIO,
    part: AudioPart,
    scale: SampleScale,
    on_corrupt: OnCorrupt,
    max_samples: int | None,
    block_seconds: float | None = None,
) -> Iterator[DecodedAudio]:
    """Decode with PyAV packet by packet, so that a corrupt packet loses only itself and is counted.

    A packet at the very end that cannot be decoded is forgiven if it has at most `LAST_PACKET_SECONDS`.

    Args:
        path: for messages.
        file: open for reading.
        part: from `voiceface.audio.probing`.
        scale: of the samples.
        on_corrupt: "error" or "salvage", see `voiceface.audio.loading.decode_audio`.
        max_samples: per channel; None reads all.
        block_seconds: of a block; None: one block for everything.

    Yields:
        Blocks of at least one sample, then one without, with what was lost.

    Raises:
        AudioError: no audio in it, or, under "error", anything lost.
        av.FFmpegError: PyAV does not read this file.
    """
    with open_with_pyav(file, part) as container:
        stream = get_audio_stream(path, container)
        state = _Packets()
        pieces: list[NDArray[Any]] = []
        held = given = 0  # samples in the pieces, and in the blocks so far

        def finish_block() -> DecodedAudio:
            nonlocal held, given
            left = None if max_samples is None else max_samples - given
            samples = np.concatenate(pieces, axis=1)[:, :left]
            pieces.clear()
            held, given = 0, given + samples.shape[1]
            any_peak = scale == "native" and state.subtype == "FLOAT"
            floats, bad = check_floats(path, samples, on_corrupt, allow_any_peak=any_peak)
            rescale(floats, scale, state.subtype)
            return DecodedAudio(floats, state.rate, 0, bad / state.rate, (), state.subtype)

        for piece in _read_packets(path, container, stream, state, on_corrupt, max_samples):
            if not pieces and block_seconds is not None:
                length = limit_block(block_seconds, state.rate, len(piece))
            pieces.append(piece)
            held += piece.shape[1]
            if block_seconds is None:
                check_budget(path, held, len(piece))
            elif held >= length:
                yield finish_block()
        if state.is_whole:
            _count_losses(path, container, stream, part, state, on_corrupt)
    if state.kind is None:
        raise AudioError(f"{path}: no samples, expected at least one; remove the file or replace it")
    if pieces:
        yield finish_block()
    rate, channels = state.kind
    notes = (state.problem,) if state.problem else ()
    nothing = np.zeros((channels, 0), np.float32)
    yield DecodedAudio(nothing, rate, state.lost, state.lost_seconds, notes, state.subtype)


def _read_packets(
    path: str | os.PathLike[str],
    container: Any,
    stream: Any,
    state: _Packets,
    on_corrupt: OnCorrupt,
    max_samples: int | None,
) -> Iterator[NDArray[Any]]:
    """Yield the samples of the packets up to the end of the stream, or until there are `max_samples`."""
    import av

    tick = float(stream.time_base or 0)
    usual = float(stream.duration or 0) * tick / stream.frames if stream.frames else 0.0
    packets = container.demux(stream)
    while max_samples is None or state.total < max_samples:
        packet, problem, frames = None, "", []
        try:
            packet = next(packets, None)
            if packet is None:
                return
            state.seen += packet.size > 0
            frames = packet.decode()
            if packet.size and packet.is_corrupt:
                problem = "packet marked as corrupt"
        except EOFError:
            return
        except av.FFmpegError as error:
            problem = error.strerror or str(error)
        if packet is not None and packet.pts is not None:
            held = sum(frame.samples / max(1, frame.sample_rate) for frame in frames)
            state.end = float(packet.pts) * tick + max(held, float(packet.duration or 0) * tick)
        for frame in frames:
            samples = frame_samples(path, frame)
            found = (frame.sample_rate, len(samples))
            state.kind = state.kind or found
            state.subtype = state.subtype or _subtype(stream.codec_context.name, frame.format.name)
            if found != state.kind:
                problem = f"(rate, channels) change from {state.kind} to {found} within the file"
                continue
            if state.problem:  # it was not the end
                raise AudioError(f"{path}: {state.problem}; {CAUSE}")
            state.total += samples.shape[1]
            if samples.shape[1]:
                yield samples
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
            return
    state.is_whole = False


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
    Bytes that are missing at the end of a file weigh as much as those that are there.
    """
    gap = part.missing_bytes * state.held_seconds / max(1, part.end - part.start)
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


def frame_samples(path: str | os.PathLike[str], frame: Any) -> NDArray[Any]:
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
