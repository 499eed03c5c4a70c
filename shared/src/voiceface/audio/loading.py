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
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.decoders import (
    AudioError,
    DecodedAudio,
    OnCorrupt,
    SampleScale,
    Waveform,
    decode_with_pyav,
    decode_with_soundfile,
    get_audio_stream,
    probe_audio_file,
    undecodable_error,
)
from voiceface.io.atomic import write_bytes

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

    An mp3 file has no checksums: corruption that leaves the number of frames unchanged cannot be detected.

    Args:
        path: wav, flac, mp3, ogg (libsndfile) or m4a, mp4, aac, webm (PyAV).
        scale: "int16" for -32768...32767, "unit" for -1...1, "native" for the file's own values.
        on_corrupt: "error" refuses a file of which anything is lost; "salvage" keeps what can be decoded,
            sets samples that are not finite to 0 and reports the loss.
        max_samples: stop after this number of samples per channel; None reads all. The rest is not examined,
            except that the size in a WAV header is always checked.

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
    probe = probe_audio_file(path)
    if on_corrupt == "error" and probe.missing_seconds:
        raise AudioError(
            f"{path}: truncated: the header states {probe.stated_bytes} bytes of samples, found "
            f"{probe.present_bytes} ({probe.missing_seconds:.3f} s missing); copy the file again "
            'or use on_corrupt="salvage"'
        )
    if on_corrupt == "error" and probe.is_ogg_truncated:
        raise AudioError(
            f"{path}: truncated: the last Ogg page is cut or not marked as the last; copy the file again "
            'or use on_corrupt="salvage"'
        )
    read = decode_with_pyav if probe.needs_pyav else decode_with_soundfile
    try:
        found = read(path, scale, on_corrupt, max_samples)
    except AudioError as error:
        if on_corrupt == "error" or probe.needs_pyav:
            raise
        try:  # libsndfile gives up on a damaged flac or ogg, or stops at the damage of an mp3
            found = decode_with_pyav(path, scale, on_corrupt, max_samples)
        except AudioError:
            raise error from None
        found = replace(found, lost_packets=max(1, found.lost_packets))
    if found.samples.shape[1] == 0:
        raise AudioError(f"{path}: no samples, expected at least one; remove the file or replace it")
    if probe.missing_seconds:
        found = replace(found, lost_seconds=probe.missing_seconds)
    if probe.is_ogg_truncated:  # an Ogg file does not say how much there was
        found = replace(found, lost_packets=max(1, found.lost_packets))
    return found


def load_audio(
    path: str | os.PathLike[str],
    *,
    scale: SampleScale,
    sample_rate: int = 16000,
    resample: bool = False,
    channel: Literal["first", "mean"] = "first",
    on_corrupt: OnCorrupt = "error",
    max_samples: int | None = None,
) -> Waveform:
    """Load one channel at one rate.

    Args:
        path: any file that `decode_audio` reads.
        scale: "int16" for -32768...32767, "unit" for -1...1, "native" for the file's own values.
        sample_rate: required rate in Hz.
        resample: convert other rates (soxr, high quality) instead of refusing them.
        channel: of several channels the first (as published) or their mean.
        on_corrupt: see `decode_audio`.
        max_samples: maximum length of the result; saves decoding the rest of a long file.

    Returns:
        Shape (T,), float32; integers where the file is 16-bit, the scale "int16" and nothing was resampled.

    Raises:
        FileNotFoundError: no such file.
        AudioError: as in `decode_audio`, or another rate without `resample`.
    """
    if channel not in ("first", "mean"):
        raise ValueError(f'channel must be "first" or "mean", found {channel!r}')
    found = decode_audio(
        path, scale=scale, on_corrupt=on_corrupt, max_samples=None if resample else max_samples
    )
    if found.lost_packets or found.lost_seconds:
        log.warning("%s: %d packets, %.3f s of audio are lost", path, found.lost_packets, found.lost_seconds)
    if found.sample_rate != sample_rate and not resample:
        raise AudioError(
            f"{path}: sample rate {found.sample_rate} Hz, expected {sample_rate} Hz; convert the file or "
            "pass resample=True"
        )
    samples = found.samples
    wave = samples[0] if channel == "first" or len(samples) == 1 else samples.mean(axis=0, dtype=np.float32)
    if found.sample_rate != sample_rate:
        import soxr

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
    if probe_audio_file(path).needs_pyav:
        import av

        try:
            with av.open(os.fspath(path), metadata_errors="replace") as container:
                stream = get_audio_stream(path, container)
                length = (
                    stream.duration * stream.time_base if stream.duration else (container.duration or 0) / 1e6
                )
                context = stream.codec_context
                return AudioInfo(context.sample_rate, context.channels, float(length), context.name)
        except av.FFmpegError as error:
            raise undecodable_error(path, error) from None
    import soundfile

    try:
        header = soundfile.info(os.fspath(path))
    except soundfile.LibsndfileError as error:
        raise undecodable_error(path, error) from None
    return AudioInfo(header.samplerate, header.channels, header.frames / header.samplerate, header.subtype)


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
