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
class Made:
    """A trained model; see `voiceface.suite.plugins.MeshMaker`."""

    model: "VoiceToMesh"
    source: str

    @property
    def notice(self) -> str:
        """What must be said beside its meshes."""
        return self.model.notice or self.model.face_model.notice

    @property
    def names(self) -> Sequence[str]:
        """People that it was trained on."""
        return self.model.names

    @property
    def triangles(self) -> "NDArray[np.integer[Any]]":
        """Vertex numbers (T, 3) of every mesh, wound outwards."""
        return self.model.face_model.outward_triangles

    @property
    def landmarks(self) -> "NDArray[np.integer[Any]] | None":
        """Vertex numbers (68,) of the landmarks."""
        return self.model.face_model.landmarks

    def vertices(self, voice: Path) -> "NDArray[np.float32]":
        """Frontal mesh (V, 3) of the speaker, pixels of a picture of 120, y up."""
        from perceptionist.inference import face

        return face(self.model, voice).vertices


def load(weights: Path | None = None, *, device: str = "cpu") -> Made:
    """The bundled model, or that of a file or run folder."""
    from perceptionist.inference import load as load_model

    return Made(load_model(weights, device=device), "bundled" if weights is None else weights.name)


SHOWCASE = MeshSystem("perceptionist", "3-D head, judged by its proportions", load)
