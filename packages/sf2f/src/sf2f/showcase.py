"""What this system shows in `voiceface demo` and `voiceface report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.suite.plugins import ImageSystem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sf2f.models import Sf2fModel


@dataclass(frozen=True)
class LoadedSystem:
    """A trained generator; see `voiceface.suite.plugins.ImageGenerator`."""

    model: "Sf2fModel"
    source: str

    @property
    def disclaimer(self) -> str:
        """What must be said beside its pictures."""
        return self.model.disclaimer

    @property
    def identity_names(self) -> Sequence[str]:
        """People that it was trained on."""
        return self.model.identity_names

    def generate_image(self, utterances: Sequence[Path]) -> "NDArray[np.uint8]":
        """One picture (H, W, 3) from all windows of these recordings of one person."""
        from sf2f.inference import generate

        return generate(self.model, list(utterances)).image


def load(weights: Path | None = None, *, device: str = "cpu", bank: Sequence[Path] = ()) -> LoadedSystem:
    """The bundled generator, or that of a file or run folder; it needs no pictures of others."""
    from sf2f.inference import load as load_generator

    return LoadedSystem(
        load_generator(weights, device=device), "bundled" if weights is None else weights.name
    )


SHOWCASE = ImageSystem("sf2f", "picture of a face, windows of speech joined by attention", load)
