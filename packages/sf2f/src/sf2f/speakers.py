"""Identities with their utterances, face images and metadata.

Letters: M mel bands, T frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sf2f import speech

if TYPE_CHECKING:
    from voiceface.synthetic.ground_truth import GroundTruth

__all__ = [
    "Array",
    "ArrayOrPath",
    "DataError",
    "Speakers",
    "StoredDtype",
]

Array = NDArray[Any]
ArrayOrPath = Array | str
"""An array in memory, or the path of a file."""
StoredDtype = Literal["float16", "float32"]


class DataError(ValueError):
    """Data files or tables that are missing or inconsistent."""


@dataclass(frozen=True)
class Speakers:
    """Identities of a split; the index of an identity is its class number.

    Attributes:
        names: identity names, sorted within each corpus.
        corpora: "vox1" or "vox2" of each identity; "" elsewhere.
        utterances: for each identity, features (M, T), not normalised, or their files, sorted by name.
        faces: for each identity, images (h, w, 3) uint8 RGB, or their files, sorted by name.
        genders: "m", "f", or "" where unknown.
        n_mels: M.
        preview_audio: one recording of each identity for reports, a file or int16 samples at 16 kHz; or
            empty.
        ground_truth: of synthetic identities, in the same order; else None.
        disclaimer: to show with every result; may be empty.
    """

    names: tuple[str, ...]
    corpora: tuple[str, ...]
    utterances: tuple[tuple[ArrayOrPath, ...], ...]
    faces: tuple[tuple[ArrayOrPath, ...], ...]
    genders: tuple[str, ...]
    n_mels: int = speech.N_MELS
    ground_truth: "GroundTruth | None" = None
    disclaimer: str = ""
    preview_audio: tuple[ArrayOrPath, ...] = ()

    def __len__(self) -> int:
        """Number of identities."""
        return len(self.names)

    @property
    def identity_names(self) -> tuple[str, ...]:
        """Unique names (`vox2/NAME`), which checkpoints store in class order."""
        return tuple(f"{corpus}/{name}" if corpus else name for corpus, name in zip(self.corpora, self.names))

    def load_mel(self, identity: int, utterance: int) -> speech.Mel:
        """Load the features of one utterance, (M, T) float32, not normalised.

        Raises:
            SpeechError, FileNotFoundError: the file is corrupt or missing.
        """
        item = self.utterances[identity][utterance]
        return speech.read_mel(item, self.n_mels) if isinstance(item, str) else np.asarray(item, np.float32)

    def load_face(self, identity: int, index: int) -> NDArray[np.uint8]:
        """Load one image, (h, w, 3) uint8 RGB.

        Raises:
            voiceface.images.loading.ImageError, FileNotFoundError: the file is corrupt or missing.
        """
        from voiceface.images.loading import load_image

        item = self.faces[identity][index]
        return load_image(item) if isinstance(item, str) else item

    def load_into_memory(
        self,
        size: tuple[int, int] | None = None,
        dtype: StoredDtype = "float16",
        *,
        voices: bool = True,
        faces: bool = True,
        progress: bool = False,
    ) -> "Speakers":
        """Read every file once and return the same identities with arrays in place of paths.

        The faces of HQ-VoxCeleb take 0.1 GB at 64 x 64, its features about 40 GB.

        Args:
            size: rows and columns to resize images to (`sf2f.image_transforms.resize_image`); None: no
                resizing.
            dtype: dtype of features in memory; float16 halves the memory at an error of up to 0.008.
            voices: read features; else they stay as they are.
            faces: read images; else they stay as they are.
            progress: show a progress bar on standard error.
        """
        from voiceface.runtime.progress import progress_bar

        from sf2f.image_transforms import resize_image

        mels: list[tuple[ArrayOrPath, ...]] = []
        faces_read: list[tuple[ArrayOrPath, ...]] = []
        for identity in progress_bar(range(len(self)), "reading", "identity", enabled=progress):
            if voices:
                count = len(self.utterances[identity])
                mels.append(tuple(self.load_mel(identity, i).astype(dtype) for i in range(count)))
            if faces:
                images = [self.load_face(identity, i) for i in range(len(self.faces[identity]))]
                faces_read.append(tuple(resize_image(each, size) if size else each for each in images))
        return replace(
            self,
            utterances=tuple(mels) if voices else self.utterances,
            faces=tuple(faces_read) if faces else self.faces,
        )

    def subset(self, indices: Sequence[int]) -> "Speakers":
        """Select identities by index, in the given order; class numbers are assigned anew."""

        def select(items: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(items[i] for i in indices)

        return replace(
            self,
            names=select(self.names),
            corpora=select(self.corpora),
            utterances=select(self.utterances),
            faces=select(self.faces),
            genders=select(self.genders),
            ground_truth=self.ground_truth.select(select(self.names)) if self.ground_truth else None,
            preview_audio=select(self.preview_audio) if self.preview_audio else (),
        )
