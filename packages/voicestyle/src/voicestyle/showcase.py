"""What this system shows in `voiceface demo` and `voiceface report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.suite.plugins import PictureSystem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from voicestyle.maker import FaceMaker

LEAST = 3
"""Pictures that a bank of one's own needs; of fewer, invented people are the bank."""


@dataclass(frozen=True)
class Made:
    """A maker of faces; see `voiceface.suite.plugins.PictureMaker`."""

    maker: "FaceMaker"
    source: str

    @property
    def notice(self) -> str:
        """What must be said beside its pictures."""
        return self.maker.notice

    @property
    def names(self) -> Sequence[str]:
        """People that its common space was trained on."""
        return self.maker.tools.embedder.names or ()

    def picture(self, voices: Sequence[Path]) -> "NDArray[np.uint8]":
        """One picture (S, S, 3) from these recordings of one person."""
        return self.maker.generate_together(list(voices)).picture


def load(weights: Path | None = None, *, device: str = "cpu", bank: Sequence[Path] = ()) -> Made:
    """The bundled networks or those of a run folder; `bank`: pictures that a face starts from."""
    from voicestyle.maker import load as load_maker

    maker = load_maker(weights, bank=list(bank) if len(bank) >= LEAST else None, device=device)
    place = "bundled" if weights is None else weights.name
    return Made(maker, f"{place}, starting from {maker.bank.name}")


SHOWCASE = PictureSystem(
    "voicestyle", "StyleGAN2 face, guided by the voice from the faces it leads to", load, False
)
