"""What this system shows in `voiceface demo` and `voiceface report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.suite.plugins import MeshSystem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from perceptionist.models import VoiceToMesh


@dataclass(frozen=True)
class LoadedSystem:
    """A trained model; see `voiceface.suite.plugins.MeshGenerator`."""

    model: "VoiceToMesh"
    source: str

    @property
    def disclaimer(self) -> str:
        """What must be said beside its meshes."""
        return self.model.disclaimer or self.model.face_model.disclaimer

    @property
    def identity_names(self) -> Sequence[str]:
        """People that it was trained on."""
        return self.model.identity_names

    @property
    def triangles(self) -> "NDArray[np.integer[Any]]":
        """Vertex numbers (T, 3) of every mesh, wound outwards."""
        return self.model.face_model.outward_triangles

    @property
    def landmarks(self) -> "NDArray[np.integer[Any]] | None":
        """Vertex numbers (68,) of the landmarks."""
        return self.model.face_model.landmarks

    def generate_vertices(self, utterance: Path) -> "NDArray[np.float32]":
        """Frontal mesh (V, 3) of the speaker, pixels of a picture of 120, y up."""
        from perceptionist.inference import generate

        return generate(self.model, utterance).vertices


def load(weights: Path | None = None, *, device: str = "cpu") -> LoadedSystem:
    """The bundled model, or that of a file or run folder."""
    from perceptionist.inference import load as load_model

    return LoadedSystem(load_model(weights, device=device), "bundled" if weights is None else weights.name)


SHOWCASE = MeshSystem("perceptionist", "3-D head, judged by its proportions", load)
