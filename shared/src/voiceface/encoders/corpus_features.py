"""Encode the files of a data folder, each once, resumable."""

from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.embeddings.encoding import encode_files
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
from voiceface.encoders.interface import EncoderError
from voiceface.encoders.table_encoders import TableEncoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from voiceface.encoders.interface import Encoder

__all__ = ["encode_items"]


def encode_items(
    encoder: "Encoder",
    items: "Sequence[str]",
    resolve_path: "Callable[[str], Path]",
    *,
    cache: str | Path | None = None,
    workers: int = 2,
    on_error: str = "error",
    progress: bool = True,
) -> EmbeddingTable:
    """Encode files of a data folder; rows of a table without names belong to the items in their order.

    Args:
        encoder: of their modality.
        items: distinct names.
        resolve_path: file of an item.
        cache: folder of finished features, from which a stopped run is resumed; None: no cache.
        workers: threads that load files, each with a decoding process.
        on_error: files that cannot be read: "error", or "skip" to list them in the table's `failed`.
        progress: show a progress bar.

    Raises:
        EncoderError: files failed, or numbers of rows and items differ.
    """
    if isinstance(encoder, TableEncoder):
        cache, workers = None, 0
        if encoder.items is None:
            if len(encoder.vectors) != len(items):
                raise EncoderError(
                    f"{encoder.source} has {len(encoder.vectors)} rows, the data {len(items)} "
                    f"{encoder.info.modality}s: rows without names must be those of the files, in their order"
                )
            return EmbeddingTable(list(items), encoder.vectors, encoder.fingerprint)
    try:
        return encode_files(
            items,
            resolve_path,
            encoder.load_file,
            encoder.encode_batch,
            fingerprint=encoder.fingerprint,
            cache_dir=cache,
            batch_size=encoder.batch_size,
            workers=workers,
            on_error=on_error,
            label=f"{encoder.info.modality}s",
            progress=progress,
        )
    except EmbeddingError as error:
        raise EncoderError(str(error)) from None
