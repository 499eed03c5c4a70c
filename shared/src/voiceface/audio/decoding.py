"""Decoding of audio files, whole or block by block: every part by the library that its content asks for."""

import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO, get_args

import numpy as np

from voiceface.audio.byte_ranges import raw_file
from voiceface.audio.decoders import decode_with_soundfile
from voiceface.audio.packets import decode_with_pyav
from voiceface.audio.parts import AudioPart
from voiceface.audio.plain_samples import decode_plain_samples
from voiceface.audio.probing import open_audio_file, probe_open_file
from voiceface.audio.samples import (
    AudioError,
    DecodedAudio,
    OnCorrupt,
    SampleScale,
    check_budget,
    check_format,
)
from voiceface.io.decoding_worker import runs_in_worker
from voiceface.io.file_kinds import printable

__all__ = ["decode_audio", "decode_blocks", "join_blocks"]


@runs_in_worker(AudioError, DecodedAudio)
def decode_audio(
    path: str | os.PathLike[str],
    *,
    scale: SampleScale,
    on_corrupt: OnCorrupt = "error",
    max_samples: int | None = None,
) -> DecodedAudio:
    """Decode one audio file, all channels, at its own rate.

    The content decides about the format, not the name. WAV files of 16 bit with a right header are read
    without a library, other uncompressed files (WAV, RF64, W64, AIFF, AU, CAF), FLAC, Ogg Vorbis and Opus,
    and mp3 files that state their length by libsndfile, everything else that FFmpeg knows by PyAV: the sound
    of videos, m4a, aac, amr, wma, ac3 and others. Headers that state no length, or a wrong one, are read to
    the end of what is there, with a note (docs/own_files.md). Corruption of an mp3 file that leaves the
    number of its frames unchanged cannot be detected: it has no checksums.

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
    blocks = list(decode_blocks(path, scale=scale, on_corrupt=on_corrupt, max_samples=max_samples))
    return join_blocks(printable(path), blocks)


@runs_in_worker(AudioError, DecodedAudio)
def decode_blocks(
    path: str | os.PathLike[str],
    *,
    scale: SampleScale,
    on_corrupt: OnCorrupt = "error",
    max_samples: int | None = None,
    block_seconds: float | None = None,
) -> Generator[DecodedAudio, None, None]:
    """Decode one audio file block by block, in bounded memory; otherwise as `decode_audio`.

    The blocks, one behind another, are what `decode_audio` returns. An error of a damaged file may come after
    some blocks. Close the generator (`contextlib.closing`) if it is not read to its end.

    Args:
        path, scale, on_corrupt, max_samples: see `decode_audio`.
        block_seconds: of a block, as far as a limit on its samples allows; None: few large blocks.

    Yields:
        Blocks (channels, T), T at least 1, each with what was lost in it; at last one of no samples with
        what is lost and noted of the whole file.

    Raises:
        FileNotFoundError, AudioError: as `decode_audio`.
    """
    place, path = path, printable(path)
    with open_audio_file(place) as file:
        probe = probe_open_file(path, file, search=False)
        if on_corrupt == "error" and probe.cut:
            raise AudioError(
                f'{path}: truncated: {probe.cut}; copy the file again or use on_corrupt="salvage"'
            )
        held, known, known_seconds = 0, 0, 0.0  # losses of the blocks that were given out
        lost, lost_seconds = 0, 0.0  # and of those without samples
        kind: tuple[int, int] | None = None  # rate, channels
        notes: list[str] = []
        parts = list(probe.parts)
        for part in parts:
            if max_samples is not None and held >= max_samples:
                break
            limit = None if max_samples is None else max_samples - held
            for block in _decode_part(path, file, part, scale, on_corrupt, limit, block_seconds):
                if kind is not None:
                    _check_kind(path, kind, block)
                if kind is None or kind[1] == 1:
                    kind, subtype = (block.sample_rate, len(block.samples)), block.subtype
                held += block.samples.shape[1]
                notes += block.notes
                if block.samples.shape[1]:
                    known, known_seconds = known + block.lost_packets, known_seconds + block.lost_seconds
                    yield replace(block, notes=()) if block.notes else block
                else:
                    lost, lost_seconds = lost + block.lost_packets, lost_seconds + block.lost_seconds
            if part.kind == "flac" and raw_file(file).tell() < part.end:  # something lies behind
                probe = probe_open_file(path, file)
                parts += probe.parts[len(parts) :]
    if not held or kind is None:
        raise AudioError(f"{path}: no samples, expected at least one; remove the file or replace it")
    if probe.missing_seconds:
        lost_seconds = max(probe.missing_seconds - known_seconds, lost_seconds)
    elif probe.cut and not known + lost:  # how much is missing is not stated
        lost = 1
    rate, channels = kind
    nothing = np.zeros((channels, 0), np.float32)
    yield DecodedAudio(nothing, rate, lost, lost_seconds, (*probe.notes, *dict.fromkeys(notes)), subtype)


def join_blocks(path: str | os.PathLike[str], blocks: Sequence[DecodedAudio]) -> DecodedAudio:
    """Join blocks of `decode_blocks` to one recording; one channel beside parts of several is repeated.

    Args:
        path: for messages.
        blocks: at least one with samples.

    Raises:
        AudioError: more samples than may be held at once.
    """
    pieces = [block.samples for block in blocks if block.samples.shape[1]]
    num_channels = max(len(piece) for piece in pieces)
    if len(pieces) > 1:
        check_budget(path, sum(piece.shape[1] for piece in pieces), num_channels)
    pieces = [
        np.repeat(piece, num_channels, axis=0) if len(piece) < num_channels else piece for piece in pieces
    ]
    return DecodedAudio(
        pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1),
        blocks[0].sample_rate,
        sum(block.lost_packets for block in blocks),
        sum(block.lost_seconds for block in blocks),
        tuple(dict.fromkeys(note for block in blocks for note in block.notes)),
        blocks[0].subtype,
    )


def _check_kind(path: str | os.PathLike[str], former: tuple[int, int], block: DecodedAudio) -> None:
    """Compare (rate, channels) of a block with those of former ones of its file.

    Raises:
        AudioError: their rates differ, or their channels do, and neither has one alone.
    """
    kind = (block.sample_rate, len(block.samples))
    if kind[0] != former[0] or (kind[1] != former[1] and 1 not in (kind[1], former[1])):
        raise AudioError(
            f"{path}: recordings joined in one file have different (rate, channels): {former} and "
            f"{kind}; separate them"
        )


def _decode_part(
    path: str | os.PathLike[str],
    file: BinaryIO,
    part: AudioPart,
    scale: SampleScale,
    on_corrupt: OnCorrupt,
    max_samples: int | None,
    block_seconds: float | None,
) -> Iterator[DecodedAudio]:
    """Decode one part by the library that its header asks for; what libsndfile declines goes to PyAV."""
    if part.sample_rate:
        check_format(path, part.sample_rate, 1)
    if part.plain:
        yield from decode_plain_samples(path, file, part, scale, max_samples, block_seconds)
        return
    arguments = (path, file, part, scale, on_corrupt, max_samples, block_seconds)
    if part.decoder == "pyav":
        yield from decode_with_pyav(*arguments)
        return
    import soundfile

    held = 0
    try:
        for block in decode_with_soundfile(*arguments):
            held += block.samples.shape[1]
            yield block
        return
    except soundfile.LibsndfileError as error:
        refusal: Exception = error
    except AudioError as error:
        if on_corrupt == "error":
            raise
        refusal = error
    lost = 0 if isinstance(refusal, AudioError) else 1
    try:  # in salvage also where libsndfile gives up on a damaged flac or ogg, or stops within an mp3
        for block in decode_with_pyav(*arguments):
            again, held = block.samples[:, :held], max(0, held - block.samples.shape[1])
            lost += block.lost_packets
            missed = 0 if lost or block.samples.shape[1] else 1  # libsndfile found a loss
            yield replace(
                block, samples=block.samples[:, again.shape[1] :], lost_packets=block.lost_packets + missed
            )
    except Exception:
        raise refusal from None
