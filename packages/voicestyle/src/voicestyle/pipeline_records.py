"""Records of the pipeline: queries, and the results of its steps."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cmpc2.prototype_retrieval import Prototype
from numpy.typing import NDArray
from torch import Tensor
from voiceface.io.file_facts import FileFacts

from voicestyle.latent_optimisation import LatentTrajectory
from voicestyle.selection import SelectedImage

__all__ = [
    "InversionItem",
    "InvertedImage",
    "PipelineResult",
    "RetrievalResult",
    "VoiceQuery",
]


@dataclass(frozen=True)
class VoiceQuery:
    """One voice to generate a face for.

    Attributes:
        name: unique name; relative path of the results in a run directory.
        embedding: (1, E).
        seed_key: the random numbers of the voice depend on this key and the seed only.
        voice_path: the recording, if it is one file.
        inversion_seed_prefix: precedes image labels in the seeds of coupled inversions.
        facts: what is known about a person's own recording: notes and measures.
    """

    name: str
    embedding: Tensor
    seed_key: str
    voice_path: Path | None = None
    inversion_seed_prefix: str = ""
    facts: FileFacts | None = None


class InversionItem(NamedTuple):
    """An image to invert: its key in the store, key of its seed, label, and a function that reads it."""

    key: str
    seed_key: str
    label: str
    read: Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True)
class InvertedImage:
    """An image and the latent that reproduces it.

    Attributes:
        label: of the image.
        latent: (D,) or (L, D).
        target, image: (s, s, 3) and (S, S, 3) uint8.
        losses: final values by name.
    """

    label: str
    latent: Tensor
    target: NDArray[np.uint8]
    image: NDArray[np.uint8]
    losses: dict[str, float]


@dataclass(frozen=True)
class RetrievalResult:
    """Prototypes, videos and images that a voice retrieves (steps 1 to 3).

    Attributes:
        query: the voice.
        prototypes: step 1.
        video_rows: step 2, rows of the bank.
        selected: step 3.
    """

    query: VoiceQuery
    prototypes: list[Prototype]
    video_rows: list[int]
    selected: list[SelectedImage]


@dataclass(frozen=True)
class PipelineResult:
    """The face generated from one voice, with the results of every step.

    Attributes:
        retrieval: steps 1 to 3.
        inverted: step 4, one per selected image.
        initial_image: step 5, (S, S, 3) uint8.
        initial_similarity: its cosine similarity with the voice.
        trajectory: step 6, of this voice alone.
        image: step 7, (S, S, 3) uint8.
        similarity: its cosine similarity with the voice.
        frames: images of the initial latent and of the snapshots, (K, S, S, 3) uint8.
        disclaimer: text to show with the image, or empty.
    """

    retrieval: RetrievalResult
    inverted: list[InvertedImage]
    initial_image: NDArray[np.uint8]
    initial_similarity: float
    trajectory: LatentTrajectory
    image: NDArray[np.uint8]
    similarity: float
    frames: NDArray[np.uint8]
    disclaimer: str = ""

    @property
    def name(self) -> str:
        """Name of the voice."""
        return self.retrieval.query.name

    @property
    def voice_path(self) -> Path | None:
        """The recording, if it is one file."""
        return self.retrieval.query.voice_path

    @property
    def facts(self) -> FileFacts | None:
        """What is known about the recording."""
        return self.retrieval.query.facts

    @property
    def selected(self) -> list[SelectedImage]:
        """Bank images that the voice retrieves."""
        return self.retrieval.selected

    @property
    def latent(self) -> Tensor:
        """Final latent, (D,) or (L, D), on the CPU."""
        return self.trajectory.latents[0].cpu()
