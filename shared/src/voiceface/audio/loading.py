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

from voiceface.audio.channels import ChannelChoice, mix_channels
from voiceface.audio.decoders import get_audio_stream, open_with_pyav, open_with_soundfile
from voiceface.audio.decoding import decode_audio
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
from voiceface.io.decoding_worker import runs_in_worker
from voiceface.io.file_kinds import printable

log = logging.getLogger(__name__)

__all__ = [
    "AudioError",
    "AudioInfo",
    "DecodedAudio",
    "LoadedAudio",
    "OnCorrupt",
    "SampleScale",
    "Waveform",
    "decode_audio",
    "format_wav",
    "load_audio",
    "load_audio_with_notes",
    "read_audio_info",
    "repeat_to_length",
    "require_rate",
    "to_one_channel",
    "write_wav",
]


@dataclass(frozen=True)
class AudioInfo:
    """Header of a file: rate in Hz, channels, seconds (0: not stated), subtype such as PCM_16 or aac."""

    sample_rate: int
    num_channels: int
    duration: float
    subtype: str


@lru_cache(maxsize=1024)
def _warn_once(message: str) -> None:
    """Log a note about a file once, however often it is read."""
    log.warning("%s", message)


@dataclass(frozen=True, eq=False)
class LoadedAudio:
    """One channel of a file at one rate.

    Attributes:
        waveform: shape (T,), float32.
        loss: what of the file is lost, for messages; "" if nothing is.
        notes: see `DecodedAudio`.
    """

    waveform: Waveform
    loss: str = ""
    notes: tuple[str, ...] = ()


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
    loaded = load_audio_with_notes(
        path,
        scale=scale,
        sample_rate=sample_rate,
        resample=resample,
        channel=channel,
        on_corrupt=on_corrupt,
        max_samples=max_samples,
    )
    path = printable(path)
    if loaded.loss:
        log.warning("%s: %s", path, loaded.loss)
    for note in loaded.notes:
        _warn_once(f"{path}: {note}")
    return loaded.waveform


@runs_in_worker(AudioError, LoadedAudio)
def load_audio_with_notes(
    path: str | os.PathLike[str],
    *,
    scale: SampleScale,
    sample_rate: int = 16000,
    resample: bool = False,
    channel: ChannelChoice = "first",
    on_corrupt: OnCorrupt = "error",
    max_samples: int | None = None,
) -> LoadedAudio:
    """Load one channel at one rate as `load_audio` does, with what there is to say about the file.

    Nothing is logged. Arguments and errors are those of `load_audio`.
    """
    if channel not in get_args(ChannelChoice):
        raise ValueError(f'channel must be "first", "mean" or "auto", found {channel!r}')
    found = decode_audio(
        path, scale=scale, on_corrupt=on_corrupt, max_samples=None if resample else max_samples
    )
    loaded = to_one_channel(path, found, sample_rate=sample_rate, resample=resample, channel=channel)
    return loaded if max_samples is None else replace(loaded, waveform=loaded.waveform[:max_samples])


def to_one_channel(
    path: str | os.PathLike[str],
    decoded: DecodedAudio,
    *,
    sample_rate: int,
    resample: bool,
    channel: ChannelChoice,
) -> LoadedAudio:
    """Make one channel at one rate of decoded sound; arguments and errors are those of `load_audio`."""
    path = printable(path)
    require_rate(path, decoded.sample_rate, sample_rate, resample)
    wave = mix_channels(decoded.samples, channel)
    if decoded.sample_rate != sample_rate:
        import soxr

        check_budget(path, len(wave) * sample_rate // decoded.sample_rate)
        wave = soxr.resample(wave, decoded.sample_rate, sample_rate, quality="HQ")
        if not len(wave):
            raise AudioError(
                f"{path}: {decoded.samples.shape[1]} samples at {decoded.sample_rate} Hz leave none at "
                f"{sample_rate} Hz; remove it"
            )
    return LoadedAudio(wave, decoded.loss, decoded.notes)


def require_rate(path: str | os.PathLike[str], found: int, expected: int, resample: bool) -> None:
    """Refuse another sampling rate, unless it may be converted.

    Raises:
        AudioError: the rates differ and `resample` is not set.
    """
    if found != expected and not resample:
        raise AudioError(
            f"{path}: sample rate {found} Hz, expected {expected} Hz; convert the file or pass resample=True"
        )


@runs_in_worker(AudioError, AudioInfo)
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
    if part.plain:
        check_format(path, part.sample_rate, part.plain.channels)
        seconds = part.plain.length / part.sample_rate
        return AudioInfo(part.sample_rate, part.plain.channels, seconds, "PCM_16")
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
    try:
        data = format_wav(samples, sample_rate)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    write_bytes(path, data)


def format_wav(samples: NDArray[np.int16], sample_rate: int = 16000) -> bytes:
    """Bytes of a mono 16-bit WAV file; arguments as `write_wav`."""
    samples = np.asarray(samples)
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise ValueError(
            f"expected int16 samples of shape (T,), found {samples.dtype} of shape {samples.shape}; "
            "round and clip to -32768...32767 first"
        )
    data = samples.astype("<i2").tobytes()
    header = b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += (
        b"\x01\x00\x01\x00" + sample_rate.to_bytes(4, "little") + (2 * sample_rate).to_bytes(4, "little")
    )
    header += b"\x02\x00\x10\x00" + b"data" + len(data).to_bytes(4, "little")
    return header + data
