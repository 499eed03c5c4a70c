"""The two decoders behind `voiceface.audio.loading`: libsndfile for whole files, PyAV packet by packet.

The format is recognised by the first bytes, not by the name: MP4, WebM and AAC are decoded by PyAV,
everything else by libsndfile. Both return samples of shape (channels, T) in the requested scale.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "INT16_FACTOR_OFFSET",
    "INT16_FULL_SCALE",
    "MAX_FLOAT_PEAK",
    "AudioError",
    "AudioProbe",
    "DecodedAudio",
    "OnCorrupt",
    "SampleScale",
    "Waveform",
    "decode_with_pyav",
    "decode_with_soundfile",
    "get_audio_stream",
    "probe_audio_file",
    "undecodable_error",
]

SampleScale = Literal["int16", "unit", "native"]
OnCorrupt = Literal["error", "salvage"]
Waveform = NDArray[np.float32]

INT16_FULL_SCALE = 32768.0
INT32_FULL_SCALE = 2.0**31
INT16_FACTOR_OFFSET = (INT16_FULL_SCALE, 0.0)
# the stored value of a sample x in -1...1 is factor * x + offset; all other formats as 16 bit
NATIVE_FACTOR_OFFSET = {
    "PCM_S8": (128.0, 0.0),
    "PCM_U8": (128.0, 128.0),
    "PCM_24": (INT32_FULL_SCALE, 0.0),  # in the upper bytes of 32 bit
    "PCM_32": (INT32_FULL_SCALE, 0.0),
    "ALAC_20": (INT32_FULL_SCALE, 0.0),
    "ALAC_24": (INT32_FULL_SCALE, 0.0),
    "ALAC_32": (INT32_FULL_SCALE, 0.0),
    "FLOAT": (1.0, 0.0),
    "DOUBLE": (1.0, 0.0),
}
MAX_FLOAT_PEAK = 16.0  # float files stay near 1; far above, they hold integers that were not scaled
DURATION_TOLERANCE = 0.1  # seconds by which a container's duration may exceed its sound (encoder padding)
MAX_OGG_PAGE_BYTES = 65307
UNKNOWN_WAV_LENGTHS = {0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFF000}  # of WAV data written to a pipe


class AudioError(ValueError):
    """A sound file that cannot be used as it is; the message names file, finding, expectation and remedy."""


@dataclass(frozen=True)
class DecodedAudio:
    """Decoded samples of a file, and what was lost.

    Attributes:
        samples: shape (channels, T), float32, in the requested scale.
        sample_rate: samples per second.
        lost_packets: compressed packets that could not be decoded or were missing (0 under "error").
        lost_seconds: sound that is missing, as far as the file states its length (0 under "error").
    """

    samples: Waveform
    sample_rate: int
    lost_packets: int = 0
    lost_seconds: float = 0.0


@dataclass(frozen=True)
class AudioProbe:
    """First bytes of a file: which decoder it needs, what a WAV file lacks, whether an Ogg file is cut."""

    needs_pyav: bool
    is_ogg_truncated: bool = False
    missing_seconds: float = 0.0
    stated_bytes: int = 0
    present_bytes: int = 0


def probe_audio_file(path: str | os.PathLike[str]) -> AudioProbe:
    """Read the first bytes: which decoder is needed, and whether a WAV file is as long as its header says.

    Raises:
        FileNotFoundError: no such file.
        AudioError: a folder, or an empty file.
    """
    try:
        with Path(path).open("rb") as file:
            return _probe_open_file(path, file, os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such audio file; check the data folder") from None
    except IsADirectoryError:
        raise AudioError(f"{path}: is a folder, expected an audio file") from None


def _probe_open_file(path: str | os.PathLike[str], file: BinaryIO, size: int) -> AudioProbe:
    """Probe an open file of `size` bytes."""
    head = file.read(12)
    if not head:
        raise AudioError(f"{path}: empty file (0 bytes), expected audio; remove it or download it again")
    adts = len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    if head[4:8] == b"ftyp" or head[:4] == b"\x1a\x45\xdf\xa3" or adts:
        return AudioProbe(needs_pyav=True)
    if head[:4] == b"OggS":
        return AudioProbe(needs_pyav=False, is_ogg_truncated=not _ogg_is_complete(file, size))
    if head[:4] != b"RIFF":
        return AudioProbe(needs_pyav=False)
    byte_rate = 0
    while len(chunk := file.read(8)) == 8:
        length = int.from_bytes(chunk[4:], "little")
        start = file.tell()
        if chunk[:4] == b"data":
            present = size - start
            if length in UNKNOWN_WAV_LENGTHS or present >= length or not byte_rate:
                break
            return AudioProbe(False, False, (length - present) / byte_rate, length, present)
        if chunk[:4] == b"fmt ":
            byte_rate = int.from_bytes(file.read(12)[8:], "little")
        file.seek(start + length + length % 2)
    return AudioProbe(needs_pyav=False)


def _ogg_is_complete(file: BinaryIO, size: int) -> bool:
    """Whether the last Ogg page is complete and marked as the last one."""
    file.seek(max(0, size - 2 * MAX_OGG_PAGE_BYTES))
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    return (
        len(page) >= 27 and bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
    )


def decode_with_soundfile(
    path: str | os.PathLike[str], scale: SampleScale, on_corrupt: OnCorrupt, max_samples: int | None
) -> DecodedAudio:
    """Decode with libsndfile.

    Raises:
        AudioError: not an audio file, or fewer frames than the header states.
    """
    import soundfile

    try:
        with soundfile.SoundFile(os.fspath(path)) as file:
            subtype = file.subtype
            integers = subtype == "PCM_16"
            stated = file.frames if max_samples is None else min(max_samples, file.frames)
            data = file.read(stated, dtype="int16" if integers else "float32", always_2d=True)
            rate, floats = file.samplerate, subtype in ("FLOAT", "DOUBLE")
    except soundfile.LibsndfileError as error:
        raise undecodable_error(path, error) from None
    except (MemoryError, ValueError):
        raise AudioError(
            f"{path}: damaged header: it states {stated} samples, more than memory can hold; "
            "copy the file again or remove it"
        ) from None
    if len(data) < stated:
        raise AudioError(
            f"{path}: damaged or truncated: {len(data)} of {stated} samples could be decoded; "
            'copy the file again or use on_corrupt="salvage"'
        )
    samples = np.ascontiguousarray(data.T, dtype=np.float32)
    bad = 0
    if floats:
        samples, bad = _check_floats(path, samples, on_corrupt, allow_any_peak=scale == "native")
    if integers and scale == "unit":
        samples /= np.float32(INT16_FULL_SCALE)
    elif not integers:
        _rescale(samples, scale, subtype)
    return DecodedAudio(samples, rate, 0, bad / rate)


def decode_with_pyav(
    path: str | os.PathLike[str], scale: SampleScale, on_corrupt: OnCorrupt, max_samples: int | None
) -> DecodedAudio:
    """Decode with PyAV packet by packet, so that a corrupt packet loses only itself and is counted.

    Raises:
        AudioError: no audio in it, or, under "error", anything lost.
    """
    import av

    pieces: list[NDArray[Any]] = []
    kind: tuple[int, int] | None = None
    subtype = ""
    lost, lost_seconds, seen, total = 0, 0.0, 0, 0
    try:
        with av.open(os.fspath(path), metadata_errors="replace") as container:
            stream = get_audio_stream(path, container)
            tick = float(stream.time_base)
            usual = float(stream.duration or 0) * tick / stream.frames if stream.frames else 0.0
            packets = container.demux(stream)
            while not (cut := max_samples is not None and total >= max_samples):
                packet, problem = None, ""
                try:
                    packet = next(packets, None)
                    if packet is None:
                        break
                    seen += packet.size > 0
                    frames = packet.decode()
                    if packet.size and packet.is_corrupt:
                        problem = "packet marked as corrupt"
                except EOFError:
                    break
                except av.FFmpegError as error:
                    frames, problem = [], error.strerror or str(error)
                for frame in frames:
                    samples = _frame_samples(frame)
                    found = (frame.sample_rate, len(samples))
                    kind = kind or found
                    subtype = subtype or _subtype(stream.codec_context.name, frame.format.name)
                    if found != kind:
                        problem = f"(rate, channels) change from {kind} to {found} within the file"
                        continue
                    pieces.append(samples)
                    total += samples.shape[1]
                if problem:
                    if on_corrupt == "error":
                        raise AudioError(
                            f"{path}: packet {seen} could not be decoded ({problem}), expected an undamaged "
                            'file; copy the file again or use on_corrupt="salvage"'
                        )
                    lost += 1
                    lost_seconds += float(packet.duration) * tick if packet and packet.duration else usual
                    if packet is None:
                        break
            if not cut:  # read to its end: is that where the file says it is?
                held = total / kind[0] if kind else 0.0
                lost, lost_seconds = _count_lost_packets(container, stream, seen, held, lost, lost_seconds)
    except av.FFmpegError as error:
        raise undecodable_error(path, error) from None
    if on_corrupt == "error" and lost_seconds:
        raise AudioError(
            f"{path}: truncated: {lost_seconds:.3f} s are missing at the end ({lost} packets); "
            'copy the file again or use on_corrupt="salvage"'
        )
    if not pieces or kind is None:
        raise AudioError(f"{path}: no samples, expected at least one; remove the file or replace it")
    samples = np.ascontiguousarray(np.concatenate(pieces, axis=1)[:, :max_samples], dtype=np.float32)
    samples, bad = _check_floats(
        path, samples, on_corrupt, allow_any_peak=scale == "native" and subtype == "FLOAT"
    )
    _rescale(samples, scale, subtype)
    return DecodedAudio(samples, kind[0], lost, lost_seconds + bad / kind[0])


def _count_lost_packets(
    container: Any, stream: Any, seen: int, decoded_seconds: float, lost: int, lost_seconds: float
) -> tuple[int, float]:
    """Add what a container states and does not hold: by packet count (MP4), else by its duration."""
    if stream.frames and stream.codec_context.name.startswith("pcm_"):  # MOV counts samples as packets
        gap = stream.frames / stream.rate - decoded_seconds
        return (lost + 1, max(lost_seconds, gap)) if gap > 0 else (lost, lost_seconds)
    if stream.frames:
        missing = max(0, stream.frames - seen)
        usual = float((stream.duration or 0) * stream.time_base) / stream.frames
        return lost + missing, lost_seconds + missing * usual
    trusted = {"matroska,webm", "flac", "ogg", "mp3"} & {container.format.name}
    if trusted and len(container.streams) == 1 and container.duration:
        gap = (container.duration - max(0, container.start_time or 0)) / 1e6 - decoded_seconds
        if gap > DURATION_TOLERANCE:
            return lost, max(lost_seconds, gap)
    return lost, lost_seconds


def _frame_samples(frame: Any) -> NDArray[Any]:
    """Samples of one PyAV frame in -1...1, shape (channels, T)."""
    samples = frame.to_ndarray()  # planar: (channels, T); packed: (1, T * channels)
    if len(samples) == 1 and samples.shape[1] != frame.samples:
        samples = samples.reshape(frame.samples, -1).T
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / np.float32(128)
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))
    return samples


def _subtype(codec: str, sample_format: str) -> str:
    """Key of `NATIVE_FACTOR_OFFSET` for the frames of a PyAV codec."""
    sample_format = sample_format.removesuffix("p")  # planar or packed
    if sample_format == "u8":
        return "PCM_S8" if codec == "pcm_s8" else "PCM_U8"
    if sample_format in ("flt", "dbl") and codec.startswith("pcm_"):
        return "FLOAT"
    return "PCM_32" if sample_format == "s32" else "PCM_16"


def _rescale(samples: Waveform, scale: SampleScale, subtype: str) -> None:
    """Scale samples in -1...1, in place; every factor is a power of two, so that nothing is rounded."""
    if scale == "unit":
        return
    factor, offset = (
        NATIVE_FACTOR_OFFSET.get(subtype, INT16_FACTOR_OFFSET) if scale == "native" else INT16_FACTOR_OFFSET
    )
    samples *= np.float32(factor)
    if offset:
        samples += np.float32(offset)


def _check_floats(
    path: str | os.PathLike[str], samples: Waveform, on_corrupt: OnCorrupt, *, allow_any_peak: bool = False
) -> tuple[Waveform, int]:
    """Refuse ("error") or set to 0 ("salvage") samples that are not finite; the second value counts them.

    "error" also refuses floats that were not scaled to -1...1, unless `allow_any_peak`.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        peak = np.abs(samples).max(initial=0.0)
    bad = 0
    if not np.isfinite(peak):
        finite = np.isfinite(samples)
        bad = int((~finite).any(axis=0).sum())
        if on_corrupt == "error":
            raise AudioError(
                f"{path}: {bad} of {samples.shape[1]} samples are not finite numbers; "
                'write the file again or use on_corrupt="salvage", which sets them to 0'
            )
        samples = np.where(finite, samples, np.float32(0))
    elif peak > MAX_FLOAT_PEAK and on_corrupt == "error" and not allow_any_peak:
        raise AudioError(
            f"{path}: float samples reach {peak:g}, expected about -1...1; divide them by their full scale "
            '(32768 for 16-bit values) or use on_corrupt="salvage" to keep them'
        )
    return samples, bad


def get_audio_stream(path: str | os.PathLike[str], container: Any) -> Any:
    """Return the first audio stream, or raise AudioError."""
    if not container.streams.audio:
        raise AudioError(f"{path}: holds no audio stream, expected one; remove the file or replace it")
    return container.streams.audio[0]


def undecodable_error(path: str | os.PathLike[str], error: Exception) -> AudioError:
    """Build the error for a file that a library refuses, with the library's reason."""
    reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return AudioError(
        f"{path}: cannot be decoded ({str(reason).strip().rstrip('.') or 'damaged data'}), expected an "
        "undamaged wav, flac, mp3, ogg, m4a, aac or webm file; copy it again or remove it"
    )
