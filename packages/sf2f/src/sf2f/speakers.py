"""Speakers: what is known of people by voice and face.

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

Array = NDArray[Any]
ArrayOrPath = Array | str
"""An array that is at hand, or the path of a file."""
StoredDtype = Literal["float16", "float32"]


class DataError(ValueError):
    """Files and tables that do not fit together."""


@dataclass(frozen=True)
class Speakers:
    """Some people; the place of a person is the class number.

    Attributes:
        names: of the people, sorted within their corpora.
        corpora: "vox1" or "vox2" of each; "" elsewhere.
        utterances: of each person, features (M, T) not normalised, or files of them, sorted by name.
        faces: of each person, pictures (h, w, 3) uint8 R G B, or files, sorted by name.
        genders: "m", "f", or "" where not known.
        n_mels: M.
        preview_audio: one recording of each, a file or int16 samples of 16 kHz, to be heard in reports; or empty.
        ground_truth: of invented people, row by row; None elsewhere.
        disclaimer: what readers of results must be told, or empty.
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
        """Number of people."""
        return len(self.names)

    @property
    def identity_names(self) -> tuple[str, ...]:
        """Names that no two people share (`vox2/NAME`): what a checkpoint keeps of the class numbers."""
        return tuple(f"{corpus}/{name}" if corpus else name for corpus, name in zip(self.corpora, self.names))

    def load_mel(self, identity: int, utterance: int) -> speech.Mel:
        """Features of one utterance, (M, T) float32, not normalised.

        Raises:
            SpeechError, FileNotFoundError: the file cannot be used.
        """
        item = self.utterances[identity][utterance]
        return speech.read_mel(item, self.n_mels) if isinstance(item, str) else np.asarray(item, np.float32)

    def load_face(self, identity: int, index: int) -> NDArray[np.uint8]:
        """One picture, (h, w, 3) uint8, R G B.

        Raises:
            voiceface.images.loading.ImageError, FileNotFoundError: the file cannot be used.
        """
        from voiceface.images.loading import decode

        item = self.faces[identity][index]
        return decode(item) if isinstance(item, str) else item

    def load_into_memory(
        self,
        size: tuple[int, int] | None = None,
        dtype: StoredDtype = "float16",
        *,
        voices: bool = True,
        faces: bool = True,
        progress: bool = False,
    ) -> "Speakers":
        """The same people with every file read once.

        The faces of HQ-VoxCeleb take 0.1 GB at 64 x 64, its features about 40 GB.

        Args:
            size: rows and columns that pictures are kept in (`sf2f.image_transforms.resized`); None keeps
                their own.
            dtype: type that features are kept in; float16 halves the memory at an error of up to 0.008.
            voices: read features; else they stay where they are.
            faces: the same of pictures.
            progress: show a bar on standard error.
        """
        from tqdm import tqdm

        from sf2f.image_transforms import resize_image

        heard: list[tuple[ArrayOrPath, ...]] = []
        seen: list[tuple[ArrayOrPath, ...]] = []
        for person in tqdm(range(len(self)), "reading", unit="person", disable=not progress):
            if voices:
                own = range(len(self.utterances[person]))
                heard.append(tuple(self.load_mel(person, i).astype(dtype) for i in own))
            if faces:
                pictures = [self.load_face(person, i) for i in range(len(self.faces[person]))]
                seen.append(tuple(resize_image(each, size) if size else each for each in pictures))
        return replace(
            self,
            utterances=tuple(heard) if voices else self.utterances,
            faces=tuple(seen) if faces else self.faces,
        )

    def subset(self, indices: Sequence[int]) -> "Speakers":
        """Some of the people, in the given order; class numbers are new."""

        def of(items: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(items[i] for i in indices)

        return replace(
            self,
            names=of(self.names),
            corpora=of(self.corpora),
            utterances=of(self.utterances),
            faces=of(self.faces),
            genders=of(self.genders),
            ground_truth=self.ground_truth.select(of(self.names)) if self.ground_truth else None,
            preview_audio=of(self.preview_audio) if self.preview_audio else (),
        )
