"""Plug-in of this system for `voiceface demo` and `voiceface report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS, LongRecordings
from voiceface.suite.plugins import ImageSystem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from voiceface.faces import PictureReader

    from sf2f.models import Sf2fModel

__all__ = [
    "PLUGIN",
    "LoadedSystem",
    "load",
]


@dataclass(frozen=True)
class LoadedSystem:
    """A trained generator; see `voiceface.suite.plugins.ImageGenerator`."""

    model: "Sf2fModel"
    source: str
    long: LongRecordings = DEFAULT_LONG_RECORDINGS

    @property
    def disclaimer(self) -> str:
        """Disclaimer to show with its images."""
        return self.model.disclaimer

    @property
    def identity_names(self) -> Sequence[str]:
        """Training identities."""
        return self.model.identity_names

    def generate_image(self, utterances: Sequence[Path]) -> "NDArray[np.uint8]":
        """Generate one image (H, W, 3) from all windows of these recordings of one identity."""
        from sf2f.inference import generate_from_features, load_voice_features

        voices = [
            load_voice_features(self.model, path, on_corrupt="salvage", long=self.long) for path in utterances
        ]
        return generate_from_features(self.model, voices).image


def load(
    weights: Path | None = None,
    *,
    device: str = "cpu",
    bank: Sequence[Path] = (),
    pictures: "PictureReader | None" = None,
    long: LongRecordings = DEFAULT_LONG_RECORDINGS,
) -> LoadedSystem:
    """Load the bundled generator, or that of a checkpoint or run folder; `bank` and `pictures` are unused."""
    from sf2f.models import load as load_generator

    return LoadedSystem(
        load_generator(weights, device=device), "bundled" if weights is None else weights.name, long
    )


PLUGIN = ImageSystem("sf2f", "face image from a voice, windows fused by attention", load)
