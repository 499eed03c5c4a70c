"""Encode people's own recordings, pictures and videos into one table, resumable."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from voiceface.association.embedding import embed
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
from voiceface.encoders.interface import Encoder, EncoderError
from voiceface.encoders.records import format_encoders

if TYPE_CHECKING:
    from torch import Tensor

    from voiceface.association.embedder import Embedder
    from voiceface.faces.own_face import OwnFace
    from voiceface.faces.own_pictures import PictureReader
    from voiceface.io.file_facts import FileFacts
    from voiceface.io.long_recordings import LongRecordings

__all__ = ["encode_own_files", "require_one_length"]

Array = NDArray[np.float32]


def encode_own_files(
    voices: Sequence[Path],
    faces: Sequence[Path],
    voice_encoder: Encoder | None,
    face_encoder: Encoder | None,
    *,
    relative_to: Path | None = None,
    cache: Path | None = None,
    workers: int = 2,
    progress: bool = True,
) -> EmbeddingTable:
    """Encode people's own files; those that cannot be used are listed in the table's `failed`.

    Args:
        voices: recordings.
        faces: pictures, and videos in which people are looked for.
        voice_encoder: encodes `voices`; None: there are none.
        face_encoder: encodes `faces`; None: there are none.
        relative_to: files are named relative to this folder; None: by their paths.
        cache: folder of finished features, from which a stopped run is resumed; None: no cache.
        workers: threads that load files, each with a decoding process.
        progress: show progress bars.

    Returns:
        Features, their encoders, and what is known about the files.

    Raises:
        EncoderError: the two encoders have features of different lengths.
        EmbeddingError: no file can be used.
        ValueError: a file is not below `relative_to`.
    """
    used = [
        encoder for encoder, files in ((voice_encoder, voices), (face_encoder, faces)) if encoder and files
    ]
    require_one_length(used)
    tables: list[EmbeddingTable] = []
    failed: dict[str, str] = {}
    for encoder in used:
        files = (voices, ()) if encoder.is_voice else ((), faces)
        options: dict[str, Any] = {"relative_to": relative_to, "workers": workers, "progress": progress}
        try:
            table = embed(cast("Embedder", _OneEncoder(encoder)), *files, cache=cache, **options)
        except EmbeddingError as error:
            if not error.failures:
                raise
            failed |= error.failures  # of this modality; files of the other one may be readable
        else:
            tables.append(table)
            failed |= table.failed
    if not tables:
        raise EmbeddingError(f"no file can be encoded: {'; '.join(failed.values())}", failed)
    marks = [table.fingerprint for table in tables]
    return EmbeddingTable(
        [item for table in tables for item in table.items],
        np.concatenate([table.vectors for table in tables]),
        marks[0] if len(set(marks)) == 1 else hashlib.sha256(" ".join(marks).encode()).hexdigest(),
        failed,
        {item: each for table in tables for item, each in table.facts.items()},
        format_encoders(encoder.info for encoder in used),
    )


def require_one_length(encoders: Sequence[Encoder]) -> None:
    """Check that the features of encoders fit into one table.

    Raises:
        EncoderError: they have different lengths.
    """
    if len({encoder.dimension for encoder in encoders}) > 1:
        lengths = " and ".join(f"{each.dimension} numbers for {each.info.modality}s" for each in encoders)
        raise EncoderError(
            f"{encoders[0].info.name} gives {lengths}, which are no one table: encode voices and faces one "
            "after the other"
        )


class _OneEncoder:
    """An encoder as `voiceface.association.embedding.embed` calls an `Embedder`."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.fingerprint = encoder.fingerprint
        self.voice_batch_size = self.face_batch_size = encoder.batch_size

    @property
    def long_recordings(self) -> "LongRecordings":
        return self.encoder.long_recordings

    @property
    def pictures(self) -> "PictureReader":
        return self.encoder.pictures

    def read_recording(self, path: Path) -> "tuple[Array, FileFacts | None]":
        return self.encoder.load_own(path)

    def embed_recording(self, path: Path) -> "tuple[Array, FileFacts | None]":
        return self.encoder.encode_own(path)

    def load_photograph(self, path: Path) -> Array:
        return self.encoder.load_own(path)[0]

    def prepare_face(self, image: NDArray[np.uint8], face: "OwnFace") -> Array:
        return self.encoder.prepare_face(image, face)

    def encode_voices(self, inputs: "Tensor") -> "Tensor":
        return self.encoder.encode_batch(inputs)

    def encode_faces(self, inputs: "Tensor") -> "Tensor":
        return self.encoder.encode_batch(inputs)
