"""Audio files as float32 waveforms: decoding, one scale, resampling, fixed lengths.

The caller always states the scale. "int16" gives values in -32768...32767 (of a 16-bit file exactly its
integers), "unit" the same divided by 32768; every sample format is converted to the requested scale. "native"
gives the values as they are stored in the file, as published for archetype_agnostic
(docs/archetype_agnostic.md) and as SciPy reads WAV files: 8 bit as 0...255 (signed formats: -128...127), 16
bit unchanged, 24 bit times 256, 32 bit and floats unchanged. FLAC and ALAC follow the same rule; samples of
lossy formats have the 16-bit scale.
"""

import logging
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, BinaryIO, get_args

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.byte_ranges import raw_file
from voiceface.audio.channels import ChannelChoice, mix_channels
from voiceface.audio.decoders import (
    decode_with_pyav,
    decode_with_soundfile,
    get_audio_stream,
    open_with_pyav,
    open_with_soundfile,
)
from voiceface.audio.parts import AudioPart
from voiceface.audio.probing import open_audio_file, probe_open_file
from voiceface.audio.samples import (
    AudioError,
    DecodedAudio,
    OnCorrupt,
    SampleScale,
    Waveform,
    check_budget,
    check_format,
)
from voiceface.io.atomic import write_bytes
from voiceface.io.file_kinds import printable

log = logging.getLogger(__name__)

__all__ = [
    "AudioError",
    "AudioInfo",
    "DecodedAudio",
    "OnCorrupt",
    "SampleScale",
    "Waveform",
    "decode_audio",
    "load_audio",
    "read_audio_info",
    "repeat_to_length",
    "write_wav",
]


@dataclass(frozen=True)
class AudioInfo:
    """Header of a file: rate in Hz, channels, seconds (0: not stated), subtype such as PCM_16 or aac."""

    sample_rate: int
    num_channels: int
    duration: float
    subtype: str


def decode_audio(
    path: str | os.PathLike[str],
    *,
    scale: SampleScale,
    on_corrupt: OnCorrupt = "error",
    max_samples: int | None = None,
) -> DecodedAudio:
    """Decode one audio file, all channels, at its own rate.

    The content decides about the format, not the name. Uncompressed files (WAV, RF64, W64, AIFF, AU, CAF),
    FLAC, Ogg Vorbis and Opus, and mp3 files that state their length are read by libsndfile, everything else
    that FFmpeg knows by PyAV: the sound of videos, m4a, aac, amr, wma, ac3 and others. Headers that state no
    length, or a wrong one, are read to the end of what is there, with a note (docs/own_files.md). Corruption
    of an mp3 file that leaves the number of its frames unchanged cannot be detected: it has no checksums.

    Args:
        path: a regular file.
        scale: "int16" for -32768...32767, "unit" for -1...1, "native" for the file's own values.
        on_corrupt: "error" refuses a file of which anything is lost; "salvage" keeps what can be decoded,
            sets samples that are not finite to 0 and reports the loss.
        max_samples: stop after this number of samples per channel; None reads all. The rest is not examined,
            except that stated sizes are always compared with the file.

    Returns:
        Samples of shape (channels, T), T at least 1.

    Raises:
        FileNotFoundError: no such file.
        AudioError: not an audio file, no samples, or ("error") truncated, a lost packet, samples not finite.
    """
    if scale not in get_args(SampleScale):
        raise ValueError(f'scale must be "int16", "unit" or "native", found {scale!r}')
    if on_corrupt not in ("error", "salvage"):
        raise ValueError(f'on_corrupt must be "error" or "salvage", found {on_corrupt!r}')
    place, path = path, printable(path)
    with open_audio_file(place) as file:
        probe = probe_open_file(path, file, search=False)
        if on_corrupt == "error" and probe.cut:
            raise AudioError(
                f'{path}: truncated: {probe.cut}; copy the file again or use on_corrupt="salvage"'
            )
        found: list[DecodedAudio] = []
        parts = list(probe.parts)
        for part in parts:
            held = sum(each.samples.shape[1] for each in found)
            if max_samples is not None and held >= max_samples:
                break
            limit = None if max_samples is None else max_samples - held
            found.append(_decode_part(path, file, part, scale, on_corrupt, limit))
            if part.kind == "flac" and raw_file(file).tell() < part.end:  # something lies behind
                probe = probe_open_file(path, file)
                parts += probe.parts[len(parts) :]
    joined = _join(path, found)
    if joined.samples.shape[1] == 0:
        raise AudioError(f"{path}: no samples, expected at least one; remove the file or replace it")
    if not probe.cut and not probe.notes:
        return joined
    if probe.missing_seconds:
        joined = replace(joined, lost_seconds=max(probe.missing_seconds, joined.lost_seconds))
    elif probe.cut:  # how much is missing is not stated
        joined = replace(joined, lost_packets=max(1, joined.lost_packets))
    return replace(joined, notes=(*probe.notes, *joined.notes))


def _decode_part(
    path: str | os.PathLike[str],
    file: BinaryIO,
    part: AudioPart,
    scale: SampleScale,
    on_corrupt: OnCorrupt,
    max_samples: int | None,
) -> DecodedAudio:
    """Decode one part by the library that its header asks for; what libsndfile declines goes to PyAV."""
    if part.sample_rate:
        check_format(path, part.sample_rate, 1)
    arguments = (path, file, part, scale, on_corrupt, max_samples)
    if part.decoder == "pyav":
        return decode_with_pyav(*arguments)
    import soundfile

    try:
        return decode_with_soundfile(*arguments)
    except soundfile.LibsndfileError as error:
        refusal: Exception = error
    except AudioError as error:
        if on_corrupt == "error":
            raise
        refusal = error
    try:  # in salvage also where libsndfile gives up on a damaged flac or ogg, or stops within an mp3
        found = decode_with_pyav(*arguments)
    except Exception:
        raise refusal from None
    return (
        replace(found, lost_packets=max(1, found.lost_packets)) if isinstance(refusal, AudioError) else found
    )


def _join(path: str | os.PathLike[str], parts: list[DecodedAudio]) -> DecodedAudio:
    """Join the parts of a file.

    Raises:
        AudioError: their rates or channels differ.
    """
    if len(parts) == 1:
        return parts[0]
    kinds = list(dict.fromkeys((part.sample_rate, len(part.samples)) for part in parts))
    if len(kinds) > 1:
        raise AudioError(
            f"{path}: recordings joined in one file have different (rate, channels): {kinds[0]} and "
            f"{kinds[1]}; separate them"
        )
    check_budget(path, sum(part.samples.size for part in parts))
    return DecodedAudio(
        np.concatenate([part.samples for part in parts], axis=1),
        parts[0].sample_rate,
        sum(part.lost_packets for part in parts),
        sum(part.lost_seconds for part in parts),
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


@lru_cache(maxsize=1024)
def _warn_once(message: str) -> None:
    """Log a note about a file once, however often it is read."""
    log.warning("%s", message)


def load_audio(
    path: str | os.PathLike[str],
    *,
    scale: SampleScale,
    sample_rate: int = 16000,
    resample: bool = False,
    channel: ChannelChoice = "first",
    on_corrupt: OnCorrupt = "error",
    max_samples: int | None = None,
) -> Waveform:
    """Load one channel at one rate.

    Args:
        path: any file that `decode_audio` reads.
        scale: "int16" for -32768...32767, "unit" for -1...1, "native" for the file's own values.
        sample_rate: required rate in Hz.
        resample: convert other rates (soxr, high quality) instead of refusing them.
        channel: of several channels the "first" (as published), their "mean", or "auto"; see
            `voiceface.audio.channels.mix_channels`.
        on_corrupt: see `decode_audio`.
        max_samples: maximum length of the result; saves decoding the rest of a long file.

    Returns:
        Shape (T,), float32; integers where the file is 16-bit, the scale "int16" and nothing was resampled.

    Raises:
        FileNotFoundError: no such file.
        AudioError: as in `decode_audio`, or another rate without `resample`.
    """
    if channel not in get_args(ChannelChoice):
        raise ValueError(f'channel must be "first", "mean" or "auto", found {channel!r}')
    found = decode_audio(
        path, scale=scale, on_corrupt=on_corrupt, max_samples=None if resample else max_samples
    )
    path = printable(path)
    if found.lost_packets or found.lost_seconds:
        log.warning("%s: %d packets, %.3f s of audio are lost", path, found.lost_packets, found.lost_seconds)
    for note in found.notes:
        _warn_once(f"{path}: {note}")
    if found.sample_rate != sample_rate and not resample:
        raise AudioError(
            f"{path}: sample rate {found.sample_rate} Hz, expected {sample_rate} Hz; convert the file or "
            "pass resample=True"
        )
    samples = found.samples
    wave = mix_channels(samples, channel)
    if found.sample_rate != sample_rate:
        import soxr

        check_budget(path, len(wave) * sample_rate // found.sample_rate)
        wave = soxr.resample(wave, found.sample_rate, sample_rate, quality="HQ")
        if not len(wave):
            raise AudioError(
                f"{path}: {samples.shape[1]} samples at {found.sample_rate} Hz leave none at "
                f"{sample_rate} Hz; remove it"
            )
    return wave[:max_samples]


def read_audio_info(path: str | os.PathLike[str]) -> AudioInfo:
    """Read the header only; the samples are not examined.

    Raises:
        FileNotFoundError: no such file.
        AudioError: not an audio file.
    """
    place, path = path, printable(path)
    with open_audio_file(place) as file:
        infos = [_read_part_info(path, file, part) for part in probe_open_file(path, file).parts]
    return replace(infos[0], duration=sum(info.duration for info in infos))


def _read_part_info(path: str | os.PathLike[str], file: BinaryIO, part: AudioPart) -> AudioInfo:
    """Read the header of one part; a counted length is preferred to a stated one."""
    if part.sample_rate:
        check_format(path, part.sample_rate, 1)
    if part.decoder == "soundfile":
        import soundfile

        try:
            with open_with_soundfile(path, file, part) as sound:
                return AudioInfo(
                    sound.samplerate, sound.channels, sound.frames / sound.samplerate, sound.subtype
                )
        except soundfile.LibsndfileError as error:
            refusal = error
    try:
        with open_with_pyav(file, part) as container:
            stream = get_audio_stream(path, container)
            context = stream.codec_context
            rate = context.sample_rate or part.sample_rate
            check_format(path, rate, context.channels)
            if part.num_samples or part.kind in ("mp3", "flac"):
                length = part.num_samples / rate
            elif stream.duration and stream.time_base:
                length = float(stream.duration * stream.time_base)
            else:
                length = (container.duration or 0) / 1e6
            return AudioInfo(rate, context.channels, max(0.0, length), context.name)
    except AudioError:
        raise
    except Exception:
        if part.decoder == "soundfile":
            raise refusal from None
        raise


def repeat_to_length(waveform: NDArray[Any], length: int) -> NDArray[Any]:
    """Repeat a waveform until it has `length` samples, then cut (as published for seeking_shape).

    Args:
        waveform: shape (T,), any dtype.
        length: number of samples.

    Returns:
        Shape (length,), same dtype; a view of `waveform` if it is long enough, else a new array.

    Raises:
        AudioError: the waveform is empty.
    """
    if waveform.ndim != 1:
        raise ValueError(f"expected a waveform of shape (T,), found {waveform.shape}")
    if length < 1:
        raise ValueError(f"length must be at least 1, found {length}")
    if not len(waveform):
        raise AudioError("cannot repeat a waveform without samples; remove the empty clip")
    return waveform[:length] if len(waveform) >= length else np.resize(waveform, length)


def write_wav(path: str | os.PathLike[str], samples: NDArray[np.int16], sample_rate: int = 16000) -> None:
    """Write a mono 16-bit WAV file atomically; equal samples give equal bytes.

    Args:
        path: the file; parent folders are made.
        samples: shape (T,), int16.
        sample_rate: samples per second.
    """
    samples = np.asarray(samples)
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise ValueError(
            f"{path}: expected int16 samples of shape (T,), found {samples.dtype} of shape {samples.shape}; "
            "round and clip to -32768...32767 first"
        )
    data = samples.astype("<i2").tobytes()
    header = b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += (
        b"\x01\x00\x01\x00" + sample_rate.to_bytes(4, "little") + (2 * sample_rate).to_bytes(4, "little")
    )
    header += b"\x02\x00\x10\x00" + b"data" + len(data).to_bytes(4, "little")
    write_bytes(path, header + data)
