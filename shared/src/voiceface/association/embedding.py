"""Embeddings in bulk: recordings and images to one table, by any system."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.datasets.layouts import AUDIO_SUFFIXES, IMAGE_SUFFIXES

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder
    from voiceface.embeddings.table import EmbeddingTable

__all__ = [
    "FACE_SUFFIXES",
    "VOICE_SUFFIXES",
    "embed",
    "find_files",
]

VOICE_SUFFIXES = frozenset(AUDIO_SUFFIXES) - {".npy"}
FACE_SUFFIXES = frozenset(IMAGE_SUFFIXES)


def find_files(paths: Iterable[str | Path]) -> tuple[list[Path], list[Path]]:
    """Recordings and images among files and, to any depth, folders.

    Args:
        paths: files, which must have a known ending, and folders, in which others are passed over.

    Returns:
        (recordings, images), each in the order given, files of a folder sorted; nothing twice.

    Raises:
        FileNotFoundError: a path is not there, or nothing was found.
        ValueError: a file of an unknown ending.
    """
    voices: dict[Path, None] = {}
    faces: dict[Path, None] = {}
    for given in map(Path, paths):
        if not given.exists():
            raise FileNotFoundError(f"no file or folder at {given}")
        for path in (
            [given] if given.is_file() else sorted(item for item in given.rglob("*") if item.is_file())
        ):
            kind = path.suffix.lower()
            if kind in VOICE_SUFFIXES:
                voices[path] = None
            elif kind in FACE_SUFFIXES:
                faces[path] = None
            elif path == given:
                raise ValueError(
                    f"{path}: ending {kind or 'none'}, expected a recording "
                    f"({', '.join(sorted(VOICE_SUFFIXES))}) "
                    f"or an image ({', '.join(sorted(FACE_SUFFIXES))})"
                )
    if not voices and not faces:
        raise FileNotFoundError(f"no recordings or images in {', '.join(map(str, paths))}")
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
    """Embeddings of all files in one table; files that cannot be read are skipped and listed in `failed`.

    Args:
        model: encoder.
        voices: recordings.
        faces: images.
        relative_to: items are named relative to this folder; None keeps the paths as they are.
        cache: folder that keeps what is done, so that a stopped run goes on.
        workers: loading threads.
        progress: show bars.

    Raises:
        ValueError: a file does not lie below `relative_to`; nothing at all could be read.
    """
    import numpy as np

    from voiceface.embeddings.encoding import encode_files
    from voiceface.embeddings.table import EmbeddingError, EmbeddingTable

    tables: list[EmbeddingTable] = []
    failed: dict[str, str] = {}
    refused = EmbeddingError("no files to embed")
    for paths, load, encode, batch, label in (
        (voices, model.load_voice, model.encode_voices, model.voice_batch_size, "voices"),
        (faces, model.load_face, model.encode_faces, model.face_batch_size, "faces"),
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
                cache_dir=cache,
                batch_size=batch,
                workers=workers,
                on_error="skip",
                label=label,
                progress=progress,
            )
        except EmbeddingError as error:
            if set(error.failures) != set(names):
                raise
            refused = error  # nothing of this kind could be read; the other kind may do
            failed.update(error.failures)
        else:
            tables.append(table)
            failed.update(table.failed)
    if not tables:
        raise refused
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
            f"{path} does not lie below {relative_to} (--relative-to): give both from the same folder "
            "on, or leave "
            "--relative-to out"
        )
    return (path if relative_to is None else path.relative_to(relative_to)).as_posix()
