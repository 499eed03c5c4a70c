"""Embed many utterances and images into one table."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.io.own_files import LeftOut, find_own_files, log_left_out

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder
    from voiceface.embeddings.table import EmbeddingTable

__all__ = ["embed", "find_files"]


def find_files(
    paths: Iterable[str | Path], left_out: list[LeftOut] | None = None
) -> tuple[list[Path], list[Path]]:
    """Find utterances and images among files and, recursively, in folders, by their content.

    Args:
        paths: files and folders. Other files of a folder are left out, hidden ones skipped; see
            `voiceface.io.own_files`.
        left_out: receives the files that are left out; None: they are logged.

    Returns:
        (utterances, images), each in the order given, files of a folder sorted, without duplicates.

    Raises:
        FileNotFoundError: a path does not exist, or there are no utterances and images.
        ValueError: a given file is neither a recording nor a picture.
    """
    found = find_own_files(paths)
    if left_out is None:
        log_left_out(found.left_out)
    else:
        left_out += found.left_out
    if not found.sounds and not found.pictures:
        raise FileNotFoundError(f"no utterances or images in {', '.join(map(str, paths))}")
    return found.sounds, found.pictures


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
        (voices, model.load_recording, model.encode_voices, model.voice_batch_size, "voices"),
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
                log_failures=False,
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
