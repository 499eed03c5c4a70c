"""Sound files as float32 waves: decoding, one scale, resampling, fixed lengths.

The caller always states the scale. "int16" gives values in -32768...32767 (a 16-bit file gives exactly its
integers), "unit" the same divided by 32768; every sample format is brought to the scale that is asked for.
"stored" gives the values as they stand in the file, as published for archetype_agnostic (specification,
section 3.1) and as SciPy reads WAV files: 8 bit as 0...255 (signed formats: -128...127), 16 bit as it is,
24 bit times 256, 32 bit and floats as they are. FLAC and ALAC follow the same rule; lossy formats hold no
samples of their own, theirs have the 16-bit scale.
"""

import logging
import os
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.decoders import (
    AudioError,
    Decoded,
    Policy,
    Scale,
    Wave,
    audio_stream,
    not_sound,
    probe_file,
    read_packets,
    read_soundfile,
)
from voiceface.io.atomic import write_bytes

log = logging.getLogger(__name__)

__all__ = [
    "AudioError",
    "AudioInfo",
    "Decoded",
    "Policy",
    "Scale",
    "Wave",
    "decode",
    "info",
    "load",
    "repeat_to_length",
    "write_wav",
]


@dataclass(frozen=True)
class AudioInfo:
    """What the header says: rate in Hz, channels, seconds (0: not stated), subtype such as PCM_16 or aac."""

    rate: int
    channels: int
    seconds: float
    subtype: str


def decode(
    path: str | os.PathLike[str], *, scale: Scale, policy: Policy = "strict", limit: int | None = None
) -> Decoded:
    """Decode one sound file, all channels, at its own rate.

    An mp3 file has no checksums: damage inside it that leaves the number of frames alone cannot be noticed.

    Args:
        path: wav, flac, mp3, ogg (libsndfile) or m4a, mp4, aac, webm (PyAV).
        scale: "int16" for -32768...32767, "unit" for -1...1, "stored" for the file's own values.
        policy: "strict" refuses a file of which anything is lost; "tolerant" keeps what can be decoded, sets
            samples that are not finite to 0 and reports the loss.
        limit: stop after so many samples per channel; None reads all. What lies beyond is not examined,
            except that the size in a WAV header is always checked.

    Returns:
        Samples of shape (channels, T), T at least 1.

    Raises:
        FileNotFoundError: no such file.
        AudioError: not a sound file, no samples, or (strict) truncated, a lost packet, samples not finite.
    """
    if scale not in get_args(Scale):
        raise ValueError(f'scale must be "int16", "unit" or "stored", found {scale!r}')
    if policy not in ("strict", "tolerant"):
        raise ValueError(f'policy must be "strict" or "tolerant", found {policy!r}')
    probe = probe_file(path)
    if policy == "strict" and probe.missing_seconds:
        raise AudioError(
            f"{path}: truncated: the header promises {probe.stated_bytes} bytes of samples, found "
            f"{probe.present_bytes} ({probe.missing_seconds:.3f} s missing); copy the file again "
            'or use policy="tolerant"'
        )
    if policy == "strict" and probe.unfinished:
        raise AudioError(
            f"{path}: truncated: the last Ogg page is cut or not marked as the last; copy the file again "
            'or use policy="tolerant"'
        )
    read = read_packets if probe.packets else read_soundfile
    try:
        found = read(path, scale, policy, limit)
    except AudioError as error:
        if policy == "strict" or probe.packets:
            raise
        try:  # libsndfile gives up on a damaged flac or ogg, or stops at the damage of an mp3
            found = read_packets(path, scale, policy, limit)
        except AudioError:
            raise error from None
        found = replace(found, lost_packets=max(1, found.lost_packets))
    if found.samples.shape[1] == 0:
        raise AudioError(f"{path}: no samples, expected at least one; remove the file or replace it")
    if probe.missing_seconds:
        found = replace(found, lost_seconds=probe.missing_seconds)
    if probe.unfinished:  # an Ogg file does not say how much there was
        found = replace(found, lost_packets=max(1, found.lost_packets))
    return found


def load(
    path: str | os.PathLike[str],
    *,
    scale: Scale,
    rate: int = 16000,
    resample: bool = False,
    channel: Literal["first", "mean"] = "first",
    policy: Policy = "strict",
    limit: int | None = None,
) -> Wave:
    """Load one channel at one rate.

    Args:
        path: any file that `decode` reads.
        scale: "int16" for -32768...32767, "unit" for -1...1, "stored" for the file's own values.
        rate: the rate that is needed, in Hz.
        resample: convert other rates (soxr, high quality) instead of refusing them.
        channel: of several channels keep the first (as published) or take their mean.
        policy: see `decode`.
        limit: no more than so many samples of the result are needed; saves decoding the rest of a long file.

    Returns:
        Shape (T,), float32; integers where the file is 16-bit, the scale "int16" and nothing was resampled.

    Raises:
        FileNotFoundError: no such file.
        AudioError: as in `decode`, or another rate without `resample`.
    """
    if channel not in ("first", "mean"):
        raise ValueError(f'channel must be "first" or "mean", found {channel!r}')
    found = decode(path, scale=scale, policy=policy, limit=None if resample else limit)
    if found.lost_packets or found.lost_seconds:
        log.warning("%s: %d packets, %.3f s of sound are lost", path, found.lost_packets, found.lost_seconds)
    if found.rate != rate and not resample:
        raise AudioError(
            f"{path}: sample rate {found.rate} Hz, expected {rate} Hz; convert the file or pass resample=True"
        )
    samples = found.samples
    wave = samples[0] if channel == "first" or len(samples) == 1 else samples.mean(axis=0, dtype=np.float32)
    if found.rate != rate:
        import soxr

        wave = soxr.resample(wave, found.rate, rate, quality="HQ")
        if not len(wave):
            raise AudioError(
                f"{path}: {samples.shape[1]} samples at {found.rate} Hz leave none at {rate} Hz; remove it"
            )
    return wave[:limit]


def info(path: str | os.PathLike[str]) -> AudioInfo:
    """Read the header only; the samples are not examined.

    Raises:
        FileNotFoundError: no such file.
        AudioError: not a sound file.
    """
    if probe_file(path).packets:
        import av

        try:
            with av.open(os.fspath(path), metadata_errors="replace") as container:
                stream = audio_stream(path, container)
                length = (
                    stream.duration * stream.time_base if stream.duration else (container.duration or 0) / 1e6
                )
                context = stream.codec_context
                return AudioInfo(context.sample_rate, context.channels, float(length), context.name)
        except av.FFmpegError as error:
            raise not_sound(path, error) from None
    import soundfile

    try:
        header = soundfile.info(os.fspath(path))
    except soundfile.LibsndfileError as error:
        raise not_sound(path, error) from None
    return AudioInfo(header.samplerate, header.channels, header.frames / header.samplerate, header.subtype)


def repeat_to_length(wave: NDArray[Any], length: int) -> NDArray[Any]:
    """Repeat the whole wave until it has `length` samples, then cut (as published for seeking_shape).

    Args:
        wave: shape (T,), any type.
        length: samples wanted.

    Returns:
        Shape (length,), same type; a view of `wave` when it is long enough, else a new array.

    Raises:
        AudioError: the wave is empty.
    """
    if wave.ndim != 1:
        raise ValueError(f"expected a wave of shape (T,), found {wave.shape}")
    if length < 1:
        raise ValueError(f"length must be at least 1, found {length}")
    if not len(wave):
        raise AudioError("cannot repeat a wave without samples; remove the empty clip")
    return wave[:length] if len(wave) >= length else np.resize(wave, length)


def write_wav(path: str | os.PathLike[str], samples: NDArray[np.int16], rate: int = 16000) -> None:
    """Write a mono 16-bit WAV file atomically; equal samples give equal bytes.

    Args:
        path: the file; parent folders are made.
        samples: shape (T,), int16.
        rate: samples per second.
    """
    samples = np.asarray(samples)
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise ValueError(
            f"{path}: expected int16 samples of shape (T,), found {samples.dtype} of shape {samples.shape}; "
            "round and clip to -32768...32767 first"
        )
    data = samples.astype("<i2").tobytes()
    header = b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += b"\x01\x00\x01\x00" + rate.to_bytes(4, "little") + (2 * rate).to_bytes(4, "little")
    header += b"\x02\x00\x10\x00" + b"data" + len(data).to_bytes(4, "little")
    write_bytes(path, header + data)
