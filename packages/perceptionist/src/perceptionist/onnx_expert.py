"""The image-to-3D expert that `perceptionist export` wrote, run by onnxruntime.

Letters: B images, K parameters, S image side.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from voiceface.export.inspection import GraphError
from voiceface.export.running import OnnxGraph, find_graph_files, open_parts

from perceptionist.arguments import EXPERT_GRAPH
from perceptionist.face_models.io import resolve_face_model
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.face_models.synthetic_head import find_head
from perceptionist.generator import resize_bilinear
from perceptionist.image_expert_model import ImageExpert

__all__ = ["OnnxImageExpert", "find_face_model", "load_onnx_expert"]

SYSTEM = "perceptionist"
PARTS = {"pictures": (("image",), ("parameters",)), "network": (("planes",), ("parameters",))}


@dataclass(frozen=True)
class OnnxImageExpert(ImageExpert):
    """An exported expert: what `ImageExpert` computes, without PyTorch's network; `network` is None.

    Attributes:
        graphs: "pictures", from RGB planes in 0...255, and "network", from planes in its own range and size,
            to whitened parameters.
    """

    graphs: Mapping[str, OnnxGraph] = field(default_factory=dict)

    def regress(self, planes: Tensor) -> Tensor:
        """Whitened parameters (B, K) of RGB planes (B, 3, S, S), 0...255, S the input size."""
        return torch.from_numpy(self.graphs["pictures"](planes.numpy())[0])

    def regress_generated(self, images: Tensor) -> Tensor:
        """Whitened parameters (B, K) of generated images (B, 3, S, S): RGB, nominally -1...1."""
        sizes = {port["name"]: port["shape"] for port in self.graphs["network"].values("inner")}
        planes = resize_bilinear(images, int(sizes["planes"][-1]))
        return torch.from_numpy(self.graphs["network"](planes.numpy())[0])


def load_onnx_expert(
    file: str | Path, face_model: "LinearFaceModel | str | Path | None" = None
) -> OnnxImageExpert:
    """Load an expert that `perceptionist export` wrote.

    Args:
        file: the graph, or FILE.onnx for FILE_expert.onnx.
        face_model: that of the export, as a model, folder or file; None: an embedded head.

    Raises:
        FileNotFoundError: no such file.
        GraphError: damaged, of another kind or system, or the face model is another one.
        FaceModelError: the face model cannot be used.
        ModuleNotFoundError: onnx or onnxruntime is missing.
    """
    (path,) = find_graph_files([file], [EXPERT_GRAPH])
    graphs = open_parts(path, PARTS, system=SYSTEM, kinds=[EXPERT_GRAPH])
    graph = graphs["pictures"]
    faces = find_face_model(graph, face_model)
    no_network: Any = None
    return OnnxImageExpert(
        no_network,
        faces,
        int(graph.input_shapes[0][-1]),
        disclaimer=graph.facts.get("notice", "").removesuffix(faces.disclaimer).strip() or faces.disclaimer,
        source=graph.name,
        face_crop=graph.facts.get("face_crop", "vggface_frontal"),
        graphs=graphs,
    )


def find_face_model(
    graph: OnnxGraph,
    source: "LinearFaceModel | str | Path | None",
    references: str | Path | None = None,
) -> LinearFaceModel:
    """The face model of a mesh graph or of an expert.

    Args:
        graph: whose metadata name the face model.
        source: a model, folder or file; None: the embedded head that the graph names.
        references: folder of reference shapes in place of the face model's own.

    Raises:
        GraphError: the graph is of another face model.
        FileNotFoundError, FaceModelError: as of `perceptionist.face_models.io.resolve_face_model`.
    """
    name = graph.facts.get("face_model", "")
    if source is None and find_head(name) is not None:
        source = name
    model = source if isinstance(source, LinearFaceModel) else resolve_face_model(source, references)
    expected = (name, graph.facts.get("num_vertices"))
    found = (model.name, str(model.num_vertices))
    if found != expected:
        raise GraphError(
            f"{graph.name} is of the face model {expected[0]} ({expected[1]} vertices), found {found[0]} "
            f"({found[1]} vertices): name that of the export by --face-model"
        )
    return model
