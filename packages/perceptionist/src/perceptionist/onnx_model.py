"""A model that `perceptionist export` wrote, run by onnxruntime.

Letters: B batch, D embedding length, M mel bands, T frames, V vertices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from voiceface.export.inspection import GraphError
from voiceface.export.running import OnnxGraph, find_graph_files, open_graphs, open_parts

from perceptionist.arguments import GRAPHS
from perceptionist.face_models.io import resolve_face_model
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.face_models.synthetic_head import find_head
from perceptionist.voice_to_mesh import FaceCoefficients, FacePrediction, VoiceToMesh

__all__ = ["OnnxVoiceToMesh", "load_onnx_model"]

SYSTEM = "perceptionist"
COEFFICIENTS = ("scale", "shape", "expression")


@dataclass(frozen=True)
class OnnxVoiceToMesh(VoiceToMesh):
    """Exported graphs: what `VoiceToMesh` computes, without expert and PyTorch's networks; `voice` is None.

    Attributes:
        graphs: "front_end" and "networks", the parts of the voice graph, and "mesh".
    """

    graphs: dict[str, OnnxGraph] = field(default_factory=dict)

    @property
    def n_mels(self) -> int:
        """Mel bands of the features."""
        sizes = {port["name"]: port["shape"] for port in self.graphs["networks"].values("inner")}
        return int(sizes["features"][1])

    @property
    def front_end(self) -> Callable[[Tensor], Tensor]:
        """Waveforms (1, S) to bands (1, M, T), by the graph."""
        return lambda samples: torch.from_numpy(self.graphs["front_end"](samples.numpy())[0])

    def predict(self, features: Tensor) -> FacePrediction:
        """Predict embeddings, coefficients and images from features (B, M, T)."""
        found = [torch.from_numpy(value) for value in self.graphs["networks"](features.numpy())]
        images = found[4] if len(found) > 4 else None
        return FacePrediction(found[0], FaceCoefficients(*found[1:4]), images)

    def vertices_from_coefficients(self, coefficients: FaceCoefficients) -> Tensor:
        """Frontal meshes (B, 3, V), pixels of a 120-pixel image, y up."""
        (vertices,) = self.graphs["mesh"](*(value.numpy() for value in coefficients))
        return torch.from_numpy(vertices).transpose(1, 2)


def load_onnx_model(
    files: Sequence[str | Path],
    face_model: str | Path | None = None,
    *,
    references: str | Path | None = None,
) -> OnnxVoiceToMesh:
    """Load a model that `perceptionist export` wrote.

    Args:
        files: the voice graph and the mesh graph, or FILE.onnx for FILE_voice.onnx and FILE_mesh.onnx.
        face_model: the face model of the export, whose triangles are drawn; None: an embedded head.
        references: folder of reference shapes in place of the face model's own.

    Raises:
        FileNotFoundError: no such file.
        GraphError: damaged, of another system, of an earlier release, of different weights; one is missing,
            or the face model is another one.
        FaceModelError: the face model cannot be used.
        ModuleNotFoundError: onnx or onnxruntime is missing.
    """
    paths = find_graph_files(files, GRAPHS)
    graphs = open_graphs(paths, system=SYSTEM, kinds=GRAPHS, together_make="face")
    voice, mesh = (graphs[kind] for kind in GRAPHS)
    outputs = ("embedding", *COEFFICIENTS, *(["image"] if "image" in voice.outputs else []))
    parts = {"front_end": (("samples",), ("features",)), "networks": (("features",), outputs)}
    cut = open_parts(dict(zip(graphs, paths))["voice"], parts, system=SYSTEM, kinds=("voice",))
    no_network: Any = None
    return OnnxVoiceToMesh(
        kind=voice.facts.get("method", "supervised"),
        voice=no_network,
        face_model=_find_face_model(mesh, face_model, references),
        disclaimer=voice.facts.get("notice", ""),
        graphs={**cut, "mesh": mesh},
    )


def _find_face_model(
    mesh: OnnxGraph, source: str | Path | None, references: str | Path | None
) -> LinearFaceModel:
    """The face model behind a mesh graph."""
    name = mesh.facts.get("face_model", "")
    if source is None and find_head(name) is not None:
        source = name
    model = resolve_face_model(source, references)
    expected = (name, mesh.facts.get("num_vertices"))
    found = (model.name, str(model.num_vertices))
    if found != expected:
        raise GraphError(
            f"{mesh.name} computes meshes of the face model {expected[0]} ({expected[1]} vertices), found "
            f"{found[0]} ({found[1]} vertices): name that of the export by --face-model"
        )
    return model
