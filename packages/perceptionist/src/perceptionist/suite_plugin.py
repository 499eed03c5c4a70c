"""Plug-in of this package for `voiceface demo` and `voiceface report` (entry point `voiceface.systems`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS, LongRecordings
from voiceface.suite.mesh_rules import MeshRules
from voiceface.suite.plugins import DescribedMesh, MeshSystem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from perceptionist.voice_to_mesh import VoiceToMesh

__all__ = ["PLUGIN", "LoadedSystem", "load"]


@dataclass(frozen=True)
class LoadedSystem:
    """A trained model; see `voiceface.suite.plugins.MeshGenerator`.

    Attributes:
        model: voice to mesh.
        source: where its weights come from, for reports.
    """

    model: "VoiceToMesh"
    source: str
    long: LongRecordings = DEFAULT_LONG_RECORDINGS

    @property
    def disclaimer(self) -> str:
        """Disclaimer to show with its meshes."""
        return self.model.disclaimer or self.model.face_model.disclaimer

    @property
    def identity_names(self) -> Sequence[str]:
        """Training identities; empty if unknown."""
        return self.model.identity_names

    @property
    def triangles(self) -> "NDArray[np.integer[Any]]":
        """Vertex indices (T, 3) of every mesh, wound outwards."""
        return self.model.face_model.outward_triangles

    @property
    def landmarks(self) -> "NDArray[np.integer[Any]] | None":
        """Vertex indices (68,) of the landmarks."""
        return self.model.face_model.landmarks

    def generate_vertices(self, utterance: Path) -> "NDArray[np.float32]":
        """Generate the frontal mesh (V, 3) of the speaker, pixels of a 120-pixel image, y up."""
        return self.model.generate(utterance, on_corrupt="salvage", long=self.long).vertices

    def describe_utterance(self, utterance: Path) -> DescribedMesh:
        """Generate the mesh and compare it with the mean heads, as `perceptionist demo_mic` does."""
        from perceptionist.face_models.synthetic_head import classify_gender, find_head
        from perceptionist.proportions import GENDERS, describe_face

        face = self.model.generate(utterance, on_corrupt="salvage", long=self.long)
        face_model = self.model.face_model
        head = find_head(face_model.name)
        gender = None if head is None else classify_gender(face.shape, head)
        found = describe_face(face.vertices, face_model.references, face_model.pairs, gender)
        return DescribedMesh(
            face.vertices,
            face_model.references[found.gender],
            found.gender,
            found.face_type,
            {name: found.errors[name] for name in GENDERS},
            found.differences,
        )

    def description_rules(self) -> MeshRules:
        """What `describe_utterance` compares a mesh with."""
        from perceptionist.face_models.synthetic_head import find_head, gender_direction
        from perceptionist.proportions import FACE_TYPES, GENDERS, MEASURES

        face_model = self.model.face_model
        head = find_head(face_model.name)
        return MeshRules(
            {name: face_model.references[name] for name in (*GENDERS, *FACE_TYPES)},
            GENDERS,
            {name: tuple(face_model.pairs[name]) for name in MEASURES},
            None if head is None else gender_direction(head),
        )


def load(
    weights: Path | None = None, *, device: str = "cpu", long: LongRecordings = DEFAULT_LONG_RECORDINGS
) -> LoadedSystem:
    """Load the bundled model, or that of a checkpoint or run folder."""
    from perceptionist.inference import load as load_model

    source = "bundled" if weights is None else weights.name
    return LoadedSystem(load_model(weights, device=device), source, long)


PLUGIN = MeshSystem("perceptionist", "3-D head, evaluated by its proportions", load)
"""Record of this system for the suite."""
