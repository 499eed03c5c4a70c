"""Probing all files of a corpus in parallel, with a journal to resume an interrupted check."""

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from voiceface.io.foreign_files import open_regular_file
from voiceface.io.packed_folders import stamp_of
from voiceface.runtime.process_pool import map_unordered
from voiceface.runtime.progress import progress_bar

__all__ = [
    "CHUNK_SIZE",
    "JOURNAL_FILE",
    "JOURNAL_VERSION",
    "MIN_FILES_FOR_PROCESSES",
    "PROBES",
    "FileRecord",
    "probe_face_file",
    "probe_file",
    "probe_files",
    "probe_voice_file",
    "size_and_digest",
]

log = logging.getLogger(__name__)

JOURNAL_FILE = "check.jsonl"
JOURNAL_VERSION = 2
CHUNK_SIZE = 64
MIN_FILES_FOR_PROCESSES = 1000


@dataclass(frozen=True)
class FileRecord:
    """Properties of one file.

    Attributes:
        error: why it cannot be read; "" if it can.
        size: bytes.
        digest: of a sample of the bytes, or of all bytes with decoding; equal files have equal digests.
        format: WAV PCM_16, JPEG RGB and the like.
        sample_rate: Hz; 0 for images and feature files.
        num_channels: of audio or image.
        duration: of audio, seconds; 0 if not stated.
        width: pixels.
        height: pixels.
        peak: largest absolute sample, 0...1; -1 without decoding.
        pixel_std: standard deviation of the pixels, 0...128; -1 without decoding.
        is_grey: whether an image has no colour.
        num_rows: frames of stored features, points of a cloud or mesh; 0 for others.
    """

    error: str = ""
    size: int = 0
    digest: str = ""
    format: str = ""
    sample_rate: int = 0
    num_channels: int = 0
    duration: float = 0.0
    width: int = 0
    height: int = 0
    peak: float = -1.0
    pixel_std: float = -1.0
    is_grey: bool = False
    num_rows: int = 0


def probe_voice_file(path: Path, decode: bool) -> FileRecord:
    """Read a clip's header, or decode it.

    Raises:
        ValueError, OSError: it cannot be read.
    """
    import numpy as np

    from voiceface.audio.feature_files import load_npy
    from voiceface.audio.loading import decode_audio, read_audio_info
    from voiceface.audio.probing import probe_audio_file

    size, digest = size_and_digest(path, decode)
    if path.suffix.lower() == ".npy":
        features = load_npy(path)
        return FileRecord("", size, digest, f"NPY {features.dtype} features")
    if cut := probe_audio_file(path).cut:
        raise ValueError(f"truncated: {cut}")
    header = read_audio_info(path)
    form = f"{path.suffix[1:].upper()} {header.subtype}"
    seconds, peak = header.duration, -1.0
    if decode:
        samples = decode_audio(path, scale="unit").samples
        seconds, peak = samples.shape[1] / header.sample_rate, round(float(np.abs(samples).max()), 6)
    if seconds == 0 and path.suffix.lower() in (".wav", ".flac"):
        raise ValueError("no samples")
    return FileRecord(
        "", size, digest, form, header.sample_rate, header.num_channels, round(seconds, 4), peak=peak
    )


def probe_face_file(path: Path, decode: bool) -> FileRecord:
    """Read an image's header, or decode it.

    Raises:
        ValueError, OSError: it cannot be read.
    """
    from PIL import Image

    from voiceface.images.loading import load_image

    size, digest = size_and_digest(path, decode)
    with open_regular_file(path, ValueError, "an image") as file, Image.open(file) as header:
        width, height = header.size
        form, channels = f"{header.format} {header.mode}", len(header.getbands())
        is_grey = header.mode in ("1", "L", "LA", "I", "I;16", "F")
    pixel_std = -1.0
    if decode:
        image = load_image(path, strict=True)
        pixel_std = round(float(image.std()), 4)
        is_grey = is_grey or bool((image[..., :1] == image[..., 1:]).all())
    elif form.startswith("JPEG") and not _has_jpeg_end_marker(path):
        raise ValueError("truncated: no end marker")
    return FileRecord(
        "", size, digest, form, 0, channels, width=width, height=height, pixel_std=pixel_std, is_grey=is_grey
    )


PROBES: Mapping[str, Callable[[Path, bool], FileRecord]] = {
    "voice": probe_voice_file,
    "face": probe_face_file,
}


def probe_file(
    job: tuple[str, str, bool], probes: Mapping[str, Callable[[Path, bool], FileRecord]] = PROBES
) -> FileRecord:
    """Probe one file (modality, path, decode) by its modality's probe; errors are stored in the record."""
    modality, name, decode = job
    path = Path(name)
    try:
        return probes[modality](path, decode)
    except FileNotFoundError:
        return FileRecord(error="no such file")
    except Exception as error:  # decoders raise any kind of exception
        text = " ".join(str(error).replace(f"{name}: ", "").replace(name, "the file").split())
        return FileRecord(error=text[:300] or type(error).__name__)


def probe_files(
    jobs: Sequence[tuple[str, str]],
    *,
    decode: bool,
    cache_dir: Path,
    workers: int | None = None,
    progress: bool = True,
    probes: Mapping[str, Callable[[Path, bool], FileRecord]] = PROBES,
) -> list[FileRecord]:
    """Probe many files; records of unchanged files come from the journal in `cache_dir`.

    Args:
        jobs: (modality, path) of each file; the modality is a key of `probes`.
        decode: decode everything instead of reading headers.
        cache_dir: folder of the journal; created if missing.
        workers: processes; None for all cores, or one for few files.
        progress: show a bar on standard error.
        probes: modality -> function of a module, from (path, decode) to a record.

    Returns:
        One record per job, in the order of the jobs.
    """
    stamps = [_journal_key(modality, path, decode) for modality, path in jobs]
    journal = cache_dir / JOURNAL_FILE
    cache_dir.mkdir(parents=True, exist_ok=True)
    known = _read_journal(journal)
    todo = [i for i, stamp in enumerate(stamps) if stamp not in known]
    if workers is None and len(todo) < MIN_FILES_FOR_PROCESSES:
        workers = 1
    chunks = [tuple(todo[i : i + CHUNK_SIZE]) for i in range(0, len(todo), CHUNK_SIZE)]
    work = [tuple((*jobs[i], decode) for i in chunk) for chunk in chunks]
    places = dict(zip(work, chunks))
    with (
        journal.open("ab") as file,
        progress_bar(
            total=len(jobs), initial=len(jobs) - len(todo), description="files", enabled=progress
        ) as bar,
    ):
        if file.tell() and not _ends_with_newline(journal):
            file.write(b"\n")  # ends a line that a kill cut short; it is skipped on reading
        for chunk, records in map_unordered(
            partial(_probe_chunk, probes=probes), work, workers, progress=False
        ):
            lines = []
            for i, record in zip(places[chunk], records):
                known[stamps[i]] = record
                lines.append(json.dumps([JOURNAL_VERSION, stamps[i], _non_default_fields(record)]) + "\n")
            file.write("".join(lines).encode())
            file.flush()
            bar.update(len(chunk))
    return [known[stamp] for stamp in stamps]


def _probe_chunk(
    chunk: Iterable[tuple[str, str, bool]], probes: Mapping[str, Callable[[Path, bool], FileRecord]] = PROBES
) -> list[FileRecord]:
    """Probe a chunk of files."""
    library = logging.getLogger("voiceface")
    peak = library.level
    library.setLevel(logging.ERROR)  # warnings are in the records
    try:
        return [probe_file(job, probes) for job in chunk]
    finally:
        library.setLevel(peak)


def _journal_key(modality: str, path: str, decode: bool) -> str:
    """Journal key of a file, which changes with the file."""
    try:
        size, state = stamp_of(path)
    except (OSError, ValueError):
        return f"{modality}|{decode:d}|absent|{path}"
    place = os.path.abspath(path)  # noqa: PTH100 - text is faster, and files are many
    return f"{modality}|{decode:d}|{size}|{state}|{place}"


def _non_default_fields(record: FileRecord) -> dict[str, Any]:
    """Fields without their default value."""
    default = asdict(FileRecord())
    return {key: value for key, value in asdict(record).items() if value != default[key]}


def _read_journal(journal: Path) -> dict[str, FileRecord]:
    """Read the records of earlier checks.

    Truncated lines, lines of other versions, and files that could not be read are skipped.
    """
    known: dict[str, FileRecord] = {}
    if not journal.is_file():
        return known
    with journal.open("rb") as file:
        for line in file:
            try:
                version, stamp, record = json.loads(line)
                if version == JOURNAL_VERSION:
                    known[stamp] = FileRecord(**record)
            except (ValueError, TypeError):
                log.debug("%s: skipped a line", journal)
    return {stamp: record for stamp, record in known.items() if not record.error}


def _ends_with_newline(journal: Path) -> bool:
    """Return whether the last line of the journal is complete."""
    with journal.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def size_and_digest(path: Path, all_bytes: bool) -> tuple[int, str]:
    """Size and digest of a file: of all bytes, or of the first, middle and last 4 KiB.

    Raises:
        ValueError: the file is empty, or a pipe or device.
    """
    import hashlib

    with open_regular_file(path, ValueError, "a recording or an image") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise ValueError("empty file (0 bytes)")
        if all_bytes:
            return size, hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(size.to_bytes(8, "little"))
        for place in sorted({0, max(0, size // 2 - 2048), max(0, size - 4096)}):
            file.seek(place)
            digest.update(file.read(4096))
    return size, digest.hexdigest()


def _has_jpeg_end_marker(path: Path) -> bool:
    """Return whether the last bytes contain the JPEG end marker, which padding may follow."""
    with open_regular_file(path, ValueError, "an image") as file:
        file.seek(-min(4096, os.fstat(file.fileno()).st_size), os.SEEK_END)
        return b"\xff\xd9" in file.read()
