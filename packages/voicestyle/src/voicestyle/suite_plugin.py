"""Plug-in of `voiceface demo` and `voiceface report`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS, LongRecordings
from voiceface.suite.plugins import GenerationStep, ImageSystem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from voiceface.faces import PictureReader

    from voicestyle.face_generator import FaceGenerator

__all__ = ["PLUGIN", "LoadedSystem", "load"]

MIN_BANK_IMAGES = 3
"""Smallest number of images that form a bank; with fewer, synthetic identities are the bank."""


@dataclass(frozen=True)
class LoadedSystem:
    """A loaded face generator; implements `voiceface.suite.plugins.ImageGenerator`."""

    generator: "FaceGenerator"
    source: str

    @property
    def disclaimer(self) -> str:
        """Text to show with every image."""
        return self.generator.disclaimer

    @property
    def identity_names(self) -> Sequence[str]:
        """Training identities of CMPC."""
        return self.generator.models.embedder.identity_names or ()

    def generate_image(self, utterances: Sequence[Path]) -> "NDArray[np.uint8]":
        """Generate one image (S, S, 3) from these utterances of one speaker."""
        return self.generator.generate_from_utterances(list(utterances)).image

    def generate_in_steps(
        self, utterances: Sequence[Path], on_step: Callable[[GenerationStep], None]
    ) -> "NDArray[np.uint8]":
        """Generate the same image, and show the way there (`voiceface.suite.plugins.GenerationStep`)."""
        return self.generator.generate_from_utterances(list(utterances), on_step=on_step).image


def load(
    weights: Path | None = None,
    *,
    device: str = "cpu",
    bank: Sequence[Path] = (),
    pictures: "PictureReader | None" = None,
    long: LongRecordings = DEFAULT_LONG_RECORDINGS,
) -> LoadedSystem:
    """Load the bundled networks or those of a run directory.

    Args:
        weights: run directory of `voicestyle train`; None for the bundled weights.
        device: "cpu", "cuda" or "auto".
        bank: image files of the face bank.
        pictures: finds the faces of these images; None: with the networks that are installed.
        long: what is used of long recordings.
    """
    from voicestyle import face_generator

    images = list(bank) if len(bank) >= MIN_BANK_IMAGES else None
    generator = face_generator.load(weights, bank=images, device=device, pictures=pictures)
    generator.models.embedder.long_recordings = long
    source = "bundled" if weights is None else weights.name
    return LoadedSystem(generator, f"{source}, bank: {generator.bank.name}")


PLUGIN = ImageSystem(
    "voicestyle", "StyleGAN2 face, guided by the voice from the bank images it retrieves", load, False
)
