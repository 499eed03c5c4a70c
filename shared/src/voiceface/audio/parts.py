"""What the bytes of a sound file say about its length, and what of it is believed."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = [
    "SHORTFALL_SECONDS",
    "AudioPart",
    "LengthVerdict",
    "PlainSamples",
    "is_placeholder",
    "judge_length",
]

SHORTFALL_SECONDS = 0.05
"""Sound that may be missing at the end of a file without making it a damaged one."""


class PlainSamples(NamedTuple):
    """Where the 16-bit samples of an ordinary WAV file lie.

    Attributes:
        place: byte of the first one.
        channels: interleaved.
        length: samples per channel.
    """

    place: int
    channels: int
    length: int


@dataclass(frozen=True)
class AudioPart:
    """One stream of a file; files joined one behind another have several.

    Attributes:
        kind: container, such as "wav" or "mp3".
        start: first byte.
        end: byte behind the part.
        decoder: library that reads it first; what libsndfile refuses is read by PyAV.
        patches: corrections of the header, (place in the file, bytes).
        cut: evidence that bytes are missing at the end, for messages; "" if there is none.
        missing_seconds: sound that is missing, as far as it is stated.
        num_samples: per channel, as counted or stated without doubt; 0 if unknown.
        sample_rate: as stated in the header; 0 if it was not examined.
        notes: peculiarities by which nothing is lost.
        missing_bytes: at the end of the encoded sound, as stated; too few to tell a cut by them alone.
        plain: place of its samples, where no library is needed to read them.
    """

    kind: str
    start: int
    end: int
    decoder: Literal["soundfile", "pyav"] = "soundfile"
    patches: tuple[tuple[int, bytes], ...] = ()
    cut: str = ""
    missing_seconds: float = 0.0
    num_samples: int = 0
    sample_rate: int = 0
    notes: tuple[str, ...] = ()
    missing_bytes: int = 0
    plain: PlainSamples | None = None


@dataclass(frozen=True)
class LengthVerdict:
    """Bytes of samples to read; what is missing of them; a note where the header is not right."""

    used_bytes: int
    cut: str = ""
    missing_seconds: float = 0.0
    notes: tuple[str, ...] = ()


def is_placeholder(stated: int, width: int = 4) -> bool:
    """Whether a stated size is one that recorders and pipes write before the length is known.

    Args:
        stated: size in bytes, or number of samples, unsigned.
        width: bytes of its field: 4 or 8.
    """
    if width == 8:
        return stated == 0 or stated >= 2**62 or stated in (0xFFFFFFFF, 0x7FFFFFFF)
    return stated == 0 or 0x7F000000 <= stated <= 0x80010000 or stated >= 0xFFFF0000


def judge_length(
    stated: int, present: int, byte_rate: float, *, width: int = 4, container_fits: bool = False
) -> LengthVerdict:
    """Decide how many bytes of samples a file has.

    Args:
        stated: bytes, by the header of the samples.
        present: bytes from the first sample to the end of the file.
        byte_rate: bytes per second; 0 if unknown.
        width: bytes of the size field.
        container_fits: the size in the header of the whole container is that of the file.

    Returns:
        The stated size, if the file holds it. A placeholder is read to the end of the file, with a note, and
        so are a size in a container that is whole, and a shortfall of at most `SHORTFALL_SECONDS`. Otherwise
        the file is cut.
    """
    if is_placeholder(stated, width) and (stated > present or (not stated and present)):
        note = f"the header does not state its length (size {stated:#x}); read to the end of the file"
        return LengthVerdict(present, notes=(note,))
    if stated <= present:
        return LengthVerdict(stated)
    missing = stated - present
    seconds = missing / byte_rate if byte_rate else 0.0
    counts = f"the header states {stated} bytes of samples, found {present}"
    if container_fits:
        note = f"{counts}, though its own size is right; read to the end of the file"
        return LengthVerdict(present, notes=(note,))
    if byte_rate and seconds <= SHORTFALL_SECONDS and 10 * missing <= stated:
        return LengthVerdict(present, notes=(f"{counts} ({1000 * seconds:.1f} ms fewer)",))
    shown = f" ({seconds:.3f} s missing)" if byte_rate else ""
    return LengthVerdict(present, counts + shown, seconds)
