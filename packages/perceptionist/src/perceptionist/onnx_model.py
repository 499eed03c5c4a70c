"""A model that `perceptionist export` wrote, run by onnxruntime.

Letters: B batch, D embedding length, M mel bands, S image side or samples, T frames, V vertices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from voiceface.export.inspection import GraphError
from voiceface.export.running import OnnxGraph, find_graph_files, open_graphs, open_parts

from perceptionist.arguments import EXPERT_GRAPH, GRAPHS
from perceptionist.onnx_expert import OnnxImageExpert, find_face_model, load_onnx_expert
from perceptionist.voice_to_mesh import FaceCoefficients, FacePrediction, VoiceToMesh

__all__ = ["OnnxVoiceToMesh", "load_onnx_model"]

SYSTEM = "perceptionist"
COEFFICIENTS = ("scale", "shape", "expression")


@dataclass(frozen=True)
class OnnxVoiceToMesh(VoiceToMesh):
    """Exported graphs: what `VoiceToMesh` computes, without PyTorch's networks; `voice` is None.

    Attributes:
        graphs: "front_end" and "networks", the parts of the voice graph, and "mesh".
        expert_graph: finds the pose of the face in a picture; None: it was not given.
    """

    graphs: dict[str, OnnxGraph] = field(default_factory=dict)
    expert_graph: OnnxImageExpert | None = None

    @property
    def n_mels(self) -> int:
        """Mel bands of the features."""
        sizes = {port["name"]: port["shape"] for port in self.graphs["networks"].values("inner")}
        return int(sizes["features"][1])

    @property
    def image_expert(self) -> OnnxImageExpert | None:
        """The exported expert, for pictures of faces; None: it was not given."""
        return self.expert_graph

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

    def predict_expert_parameters(self, images: Tensor) -> Tensor:
        """Whitened parameters (B, 62 or 102) that the expert predicts from generated images (B, 3, S, S).

        Raises:
            ValueError: there is no expert.
        """
        if self.expert_graph is None:
            raise ValueError(f"No {EXPERT_GRAPH} graph was given, so no pose can be predicted from an image.")
        return self.expert_graph.regress_generated(images)


def load_onnx_model(
    files: Sequence[str | Path],
    face_model: str | Path | None = None,
    *,
    references: str | Path | None = None,
) -> OnnxVoiceToMesh:
    """Load a model that `perceptionist export` wrote.

    Args:
        files: the voice graph, the mesh graph and, for the pose of faces in pictures, the expert; or
            FILE.onnx for those of FILE_voice.onnx, FILE_mesh.onnx and FILE_expert.onnx that there are.
        face_model: the face model of the export, whose triangles are drawn; None: an embedded head.
        references: folder of reference shapes in place of the face model's own.

    Raises:
        FileNotFoundError: no such file.
        GraphError: damaged, of another system, of an earlier release, of different weights; one is missing,
            or the face model is another one. The expert may be of other weights, not of another face model.
        FaceModelError: the face model cannot be used.
        ModuleNotFoundError: onnx or onnxruntime is missing.
    """
    paths = find_graph_files(files, GRAPHS)
    graphs = open_graphs(paths, system=SYSTEM, kinds=GRAPHS, optional=[EXPERT_GRAPH], together_make="face")
    places = dict(zip(graphs, paths, strict=True))
    voice, mesh = graphs["voice"], graphs["mesh"]
    outputs = ("embedding", *COEFFICIENTS, *(["image"] if "image" in voice.outputs else []))
    parts = {"front_end": (("samples",), ("features",)), "networks": (("features",), outputs)}
    cut = open_parts(places["voice"], parts, system=SYSTEM, kinds=("voice",))
    faces = find_face_model(mesh, face_model, references)
    expert = None
    if EXPERT_GRAPH in graphs:
        _require_one_face_model(graphs[EXPERT_GRAPH], mesh)
        expert = load_onnx_expert(places[EXPERT_GRAPH], faces)
    no_network: Any = None
    return OnnxVoiceToMesh(
        kind=voice.facts.get("method", "supervised"),
        voice=no_network,
        face_model=faces,
        disclaimer=voice.facts.get("notice", ""),
        graphs={**cut, "mesh": mesh},
        expert_graph=expert,
    )


def _require_one_face_model(expert: OnnxGraph, mesh: OnnxGraph) -> None:
    """Refuse an expert whose coefficients are of another face model than the meshes."""
    names = [
        f"{graph.facts.get('face_model')} ({graph.facts.get('num_vertices')} vertices)"
        for graph in (expert, mesh)
    ]
    if names[0] != names[1]:
        raise GraphError(
            f"{expert.name} is of the face model {names[0]}, {mesh.name} of {names[1]}: give an expert of "
            "the latter, or none"
        )
