"""Validation of a dataset before training: tables, files, trial lists."""

import hashlib
import os
import tempfile
from collections.abc import Collection
from pathlib import Path

from voiceface.datasets.corpus import open_corpus
from voiceface.datasets.layouts import PUBLISHED_AUDIO_SUFFIXES, PUBLISHED_IMAGE_SUFFIXES, read_identities
from voiceface.datasets.validation.report import (
    DatasetReport,
    assess,
    check_trial_lists,
    compare_with_tables,
    count_files,
    count_identities,
    find_duplicates,
)

__all__ = [
    "CACHE_FOLDER",
    "LIST_FOLDERS",
    "check_corpus",
    "find_cache_directory",
]

LIST_FOLDERS = ("list_wav", "matching", "veriflist", "retrieval")

CACHE_FOLDER = ".voiceface"


def check_corpus(
    root: str | Path,
    *,
    decode: bool = False,
    acoustics: bool = False,
    cache_dir: str | Path | None = None,
    workers: int | None = None,
    voice_root: str | Path | None = None,
    face_root: str | Path | None = None,
    voice_folder: str = "voxceleb1_id",
    audio_suffixes: Collection[str] = PUBLISHED_AUDIO_SUFFIXES,
    image_suffixes: Collection[str] = PUBLISHED_IMAGE_SUFFIXES,
    progress: bool = True,
) -> DatasetReport:
    """Check a data folder: tables, folders, all files, all trial lists.

    An interrupted check resumes when started again with the same cache, with the same report.

    Args:
        root: data folder of any layout of `open_corpus`.
        decode: decode every file instead of reading its header (finds silence, constant and corrupt files).
        acoustics: also analyse pitch, bandwidth, level and clipping of all recordings (needs librosa).
        cache_dir: folder of the journal; None for ROOT/.voiceface or, if not writable, a temporary folder.
        workers: processes; None for all cores.
        voice_root: see `open_corpus`.
        face_root: see `open_corpus`.
        voice_folder: see `open_corpus`.
        audio_suffixes: see `open_corpus`.
        image_suffixes: see `open_corpus`.
        progress: show a bar on standard error.

    Returns:
        The report; `trainable` states whether training can start.

    Raises:
        FileNotFoundError, ValueError: no identity table or root, or an invalid table.
    """
    from voiceface.datasets.validation.file_probe import probe_files

    root = Path(root)
    corpus = open_corpus(
        root,
        None,
        voice_root=voice_root,
        face_root=face_root,
        on_missing="skip",
        voice_folder=voice_folder,
        audio_suffixes=audio_suffixes,
        image_suffixes=image_suffixes,
    )
    jobs = [("voice", item) for item in corpus.voices] + [("face", item) for item in corpus.faces]
    paths = [
        (what, str(corpus.voice_path(item) if what == "voice" else corpus.face_path(item)))
        for what, item in jobs
    ]
    folder = Path(cache_dir) if cache_dir is not None else find_cache_directory(root)
    records = dict(
        zip(jobs, probe_files(paths, decode=decode, cache_dir=folder, workers=workers, progress=progress))
    )
    report = DatasetReport(decoded=decode)
    report.missing_folders = [_relative_to_root(root, place) for place in corpus.missing_folders]
    by_table = not (root / "manifest.csv").is_file()
    table_names = (
        {
            name
            for row in read_identities(root, None, include_unused=True)
            for name in (row.voice_id, row.face_id)
        }
        if by_table
        else set()
    )
    count_identities(report, corpus, records)
    count_files(report, records)
    find_duplicates(report, corpus, records)
    if acoustics:
        from voiceface.datasets.validation.acoustics import add_acoustics, analyse_recordings

        sounds = {
            str(corpus.voice_path(item)): item
            for (modality, item), record in records.items()
            if modality == "voice" and record.sample_rate and not record.error
        }
        results = analyse_recordings(list(sounds), workers=workers, progress=progress)
        add_acoustics(report, {sounds[path]: result for path, result in results.items()})
    compare_with_tables(report, corpus, table_names, by_table)
    check_trial_lists(report, corpus, _find_trial_lists(root), root / "unzippedFaces")
    assess(report, corpus, records)
    return report


def find_cache_directory(root: Path) -> Path:
    """Return ROOT/.voiceface, or a temporary folder of this user and this root.

    Raises:
        OSError: neither is writable.
    """
    own = root / CACHE_FOLDER
    try:
        own.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=own):
            return own
    except OSError:
        user = str(os.getuid()) if hasattr(os, "getuid") else "user"
        place = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
        other = Path(tempfile.gettempdir()) / f"voiceface-{user}" / place
        other.mkdir(parents=True, exist_ok=True, mode=0o700)
        return other


def _find_trial_lists(root: Path) -> list[Path]:
    """Paths of all trial lists of a data folder."""
    report = [root / "identity_splits.txt"]
    for name in LIST_FOLDERS:
        for ending in ("*.txt", "*.txt.gz", "*.csv", "*.csv.gz"):
            report += (root / name).glob(ending)
    return sorted(path for path in report if not path.name.startswith(("vox1_", "identity_", ".")))


def _relative_to_root(root: Path, location: str) -> str:
    """Make a path in the data folder relative to it."""
    path = Path(location)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else location
