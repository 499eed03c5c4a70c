"""Embed many utterances and images into one table."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.datasets.layouts import AUDIO_SUFFIXES, IMAGE_SUFFIXES

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder
    from voiceface.embeddings.table import EmbeddingTable

__all__ = ["FACE_SUFFIXES", "VOICE_SUFFIXES", "embed", "find_files"]

VOICE_SUFFIXES = frozenset(AUDIO_SUFFIXES) - {".npy"}
FACE_SUFFIXES = frozenset(IMAGE_SUFFIXES)


def find_files(paths: Iterable[str | Path]) -> tuple[list[Path], list[Path]]:
    """Find utterances and images among files and, recursively, in folders.

    Args:
        paths: files, which must have a known suffix, and folders, in which other files are ignored.

    Returns:
        (utterances, images), each in the order given, files of a folder sorted, without duplicates.

    Raises:
        FileNotFoundError: a path does not exist, or there are no utterances and images.
        ValueError: a file with an unknown suffix.
    """
    voices: dict[Path, None] = {}
    faces: dict[Path, None] = {}
    for root in map(Path, paths):
        if not root.exists():
            raise FileNotFoundError(f"no file or folder at {root}")
        files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        for path in files:
            suffix = path.suffix.lower()
            if suffix in VOICE_SUFFIXES:
                voices[path] = None
            elif suffix in FACE_SUFFIXES:
                faces[path] = None
            elif path == root:
                raise ValueError(
                    f"{path}: suffix {suffix or 'none'}, expected an utterance "
                    f"({', '.join(sorted(VOICE_SUFFIXES))}) or an image ({', '.join(sorted(FACE_SUFFIXES))})"
                )
    if not voices and not faces:
        raise FileNotFoundError(f"no utterances or images in {', '.join(map(str, paths))}")
    return list(voices), list(faces)


def embed(
    model: "Embedder",
    voices: Sequence[Path],
    faces: Sequence[Path],
    *,
    relative_to: Path | None = None,
    cache: Path | None = None,
    workers: int = 2,
    progress: bool = True,
) -> "EmbeddingTable":
    """Embed all files into one table; unreadable files are skipped and listed in its `failed`.

    Args:
        model: trained model.
        voices: utterances.
        faces: images.
        relative_to: items are named relative to this folder; None: by their paths.
        cache: folder for finished embeddings, from which a stopped run is resumed; None: no cache.
        workers: loading threads.
        progress: show progress bars.

    Raises:
        ValueError: a file is not below `relative_to`, or no file can be read.
    """
    import numpy as np

    from voiceface.embeddings.encoding import encode_files
    from voiceface.embeddings.table import EmbeddingError, EmbeddingTable

    tables: list[EmbeddingTable] = []
    failed: dict[str, str] = {}
    last_error = EmbeddingError("no files to embed")
    for paths, load, encode, batch, label in (
        (voices, model.load_voice, model.encode_voices, model.voice_batch_size, "voices"),
        (faces, model.load_photograph, model.encode_faces, model.face_batch_size, "faces"),
    ):
        if not paths:
            continue
        names = {_item_name(path, relative_to): path for path in paths}
        try:
            table = encode_files(
                list(names),
                names.__getitem__,
                load,
                encode,
                fingerprint=model.fingerprint,
                # `test` caches images read by another rule: their embeddings must not meet.
                cache_dir=cache and cache / "own_files",
                batch_size=batch,
                workers=workers,
                on_error="skip",
                label=label,
                progress=progress,
            )
        except EmbeddingError as error:
            if set(error.failures) != set(names):
                raise
            last_error = error  # no file of this modality can be read; those of the other may be readable
            failed.update(error.failures)
        else:
            tables.append(table)
            failed.update(table.failed)
    if not tables:
        raise last_error
    return EmbeddingTable(
        [item for table in tables for item in table.items],
        np.concatenate([table.vectors for table in tables]),
        model.fingerprint,
        failed,
    )


def _item_name(path: Path, relative_to: Path | None) -> str:
    """Name of a file in the table."""
    if relative_to is not None and not path.is_relative_to(relative_to):
        raise ValueError(
            f"{path} is not below {relative_to} (--relative-to): give both relative to the same folder, or "
            "omit --relative-to"
        )
    return (path if relative_to is None else path.relative_to(relative_to)).as_posix()
