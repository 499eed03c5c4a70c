"""What this system shows in `voiceface demo` and `voiceface report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.suite.plugins import ImageSystem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from voicestyle.face_generator import FaceGenerator

MIN_BANK_IMAGES = 3
"""Pictures that a bank of one's own needs; of fewer, invented people are the bank."""


@dataclass(frozen=True)
class LoadedSystem:
    """A maker of faces; see `voiceface.suite.plugins.ImageGenerator`."""

    generator: "FaceGenerator"
    source: str

    @property
    def disclaimer(self) -> str:
        """What must be said beside its pictures."""
        return self.generator.disclaimer

    @property
    def identity_names(self) -> Sequence[str]:
        """People that its common space was trained on."""
        return self.generator.models.embedder.identity_names or ()

    def generate_image(self, utterances: Sequence[Path]) -> "NDArray[np.uint8]":
        """One picture (S, S, 3) from these recordings of one person."""
        return self.generator.generate_from_utterances(list(utterances)).image


def load(weights: Path | None = None, *, device: str = "cpu", bank: Sequence[Path] = ()) -> LoadedSystem:
    """The bundled networks or those of a run folder; `bank`: pictures that a face starts from."""
    from voicestyle.face_generator import load as load_maker

    maker = load_maker(weights, bank=list(bank) if len(bank) >= MIN_BANK_IMAGES else None, device=device)
    place = "bundled" if weights is None else weights.name
    return LoadedSystem(maker, f"{place}, starting from {maker.bank.name}")


SHOWCASE = ImageSystem(
    "voicestyle", "StyleGAN2 face, guided by the voice from the faces it leads to", load, False
)
