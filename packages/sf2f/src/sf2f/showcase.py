"""What this system shows in `voiceface demo` and `voiceface report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.suite.plugins import PictureSystem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sf2f.models import VoiceToFace


@dataclass(frozen=True)
class Made:
    """A trained generator; see `voiceface.suite.plugins.PictureMaker`."""

    model: "VoiceToFace"
    source: str

    @property
    def notice(self) -> str:
        """What must be said beside its pictures."""
        return self.model.notice

    @property
    def names(self) -> Sequence[str]:
        """People that it was trained on."""
        return self.model.names

    def picture(self, voices: Sequence[Path]) -> "NDArray[np.uint8]":
        """One picture (H, W, 3) from all windows of these recordings of one person."""
        from sf2f.inference import face

        return face(self.model, list(voices)).picture


def load(weights: Path | None = None, *, device: str = "cpu", bank: Sequence[Path] = ()) -> Made:
    """The bundled generator, or that of a file or run folder; it needs no pictures of others."""
    from sf2f.inference import load as load_generator

    return Made(load_generator(weights, device=device), "bundled" if weights is None else weights.name)


SHOWCASE = PictureSystem("sf2f", "picture of a face, windows of speech joined by attention", load)
