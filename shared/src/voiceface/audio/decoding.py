"""Decoding of whole audio files: every part by the library that its content asks for."""

import os
from dataclasses import replace
from typing import BinaryIO, get_args

import numpy as np

from voiceface.audio.byte_ranges import raw_file
from voiceface.audio.decoders import decode_with_pyav, decode_with_soundfile
from voiceface.audio.parts import AudioPart
from voiceface.audio.probing import open_audio_file, probe_open_file
from voiceface.audio.samples import (
    AudioError,
    DecodedAudio,
    OnCorrupt,
    SampleScale,
    check_budget,
    check_format,
)
from voiceface.io.file_kinds import printable

__all__ = ["decode_audio"]


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
    """Join the parts of a file; one channel beside parts of several is repeated.

    Raises:
        AudioError: their rates differ, or their channels otherwise.
    """
    if len(parts) == 1:
        return parts[0]
    num_channels = max(len(part.samples) for part in parts)
    check_budget(path, num_channels * sum(part.samples.shape[1] for part in parts))
    parts = [
        replace(part, samples=np.repeat(part.samples, num_channels, axis=0))
        if len(part.samples) == 1
        else part
        for part in parts
    ]
    kinds = list(dict.fromkeys((part.sample_rate, len(part.samples)) for part in parts))
    if len(kinds) > 1:
        raise AudioError(
            f"{path}: recordings joined in one file have different (rate, channels): {kinds[0]} and "
            f"{kinds[1]}; separate them"
        )
    return DecodedAudio(
        np.concatenate([part.samples for part in parts], axis=1),
        parts[0].sample_rate,
        sum(part.lost_packets for part in parts),
        sum(part.lost_seconds for part in parts),
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )
