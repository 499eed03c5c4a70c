"""Embedders whose encoders are ONNX files that `export` wrote, run by onnxruntime."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from voiceface.association.encoders import Encoders
from voiceface.association.onnx_export import option_key
from voiceface.association.system import SystemSpec
from voiceface.embeddings.encoder_info import Modality
from voiceface.export.inspection import GraphError
from voiceface.export.running import OnnxGraph, open_graphs
from voiceface.runtime.config import validate_config

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

__all__ = ["OnnxEncoders", "load_onnx_embedder"]

BATCH_SIZES = {"voice": 1, "face": 8}
"""Inputs at a time: their maps stay in the cache of a core."""


class OnnxEncoders(Encoders):
    """Both encoders, or one of them, as graphs.

    Args:
        voice: graph of the voice encoder; None: there is none.
        face: graph of the face encoder; None: there is none.
        swap: whether pictures come as BGR, and are turned to RGB for the graph.
    """

    def __init__(self, voice: OnnxGraph | None, face: OnnxGraph | None, *, swap: bool = False) -> None:
        super().__init__()
        self.voice, self.face, self.swap = voice, face, swap

    def encode_voices(self, voices: Tensor) -> Tensor:
        """Encode inputs of the voice graph, (B, ...), as embeddings (B, D).

        Raises:
            GraphError: there is no such graph, or it cannot be computed.
        """
        return _run(self.voice, voices, "voice")

    def encode_faces(self, faces: Tensor) -> Tensor:
        """Encode pictures (B, 3, S, S) in the order of the configuration, as embeddings (B, D).

        Raises:
            GraphError: there is no such graph, or it cannot be computed.
        """
        return _run(self.face, faces.flip(1) if self.swap else faces, "face")

    def require(self, modality: Modality) -> None:
        """Raise GraphError, with the remedy, if there is no graph for a modality."""
        graph, other = (self.voice, self.face) if modality == "voice" else (self.face, self.voice)
        if graph is None:
            raise GraphError(
                f"{other.name if other else '--onnx'} encodes no {modality}s: give the file of the "
                f"{modality} encoder, too (`export` names it *_{modality}.onnx), or leave {modality}s out"
            )


def _run(graph: OnnxGraph | None, inputs: Tensor, kind: str) -> Tensor:
    if graph is None:
        raise GraphError(f"no graph encodes {kind}s: give the file that `export` named *_{kind}.onnx")
    array = inputs.cpu().numpy()
    step = BATCH_SIZES[kind]
    parts = [torch.from_numpy(graph(array[at : at + step])[0]) for at in range(0, len(array), step)]
    return torch.cat(parts)


def load_onnx_embedder(
    spec: SystemSpec,
    files: Sequence[str | Path],
    *,
    resample: bool = True,
    on_corrupt: Literal["error", "salvage"] | None = None,
) -> "Embedder":
    """Load an embedder from exported graphs; reading files and pictures is that of the system.

    Embeddings have the fingerprint of the weights: they compare with those that PyTorch computes.

    Args:
        spec: the system.
        files: one or two, from `voiceface.export.running.find_graph_files`.
        resample: convert recordings of other rates to 16 kHz; if false, they are an error.
        on_corrupt: "error" or "salvage"; None: as in training.

    Raises:
        FileNotFoundError: no such file.
        GraphError: damaged, of another system, two of one modality, or of different weights.
        ModuleNotFoundError: onnx or onnxruntime is missing.
    """
    graphs = open_graphs(files, system=spec.name, kinds=("voice", "face"))
    return _build(spec, next(iter(graphs.values())), graphs, resample, on_corrupt)


def _build(
    spec: SystemSpec, first: OnnxGraph, graphs: dict[str, OnnxGraph], resample: bool, on_corrupt: Any
) -> "Embedder":
    config = validate_config(
        first.values("config"), spec.resolve("config"), f"configuration in {first.name}"
    ).with_input_options(resample=resample, on_corrupt=on_corrupt)
    data = config.data
    policy = on_corrupt or getattr(data, "corrupt_audio", None) or data.voice.corrupt_audio
    prints = first.values("fingerprints")
    key = option_key(resample, policy)
    if not isinstance(prints, dict) or key not in prints:
        raise GraphError(f"{first.name} states no fingerprint for {key}; export it again")
    model = OnnxEncoders(
        graphs.get("voice"), graphs.get("face"), swap=getattr(data, "channels", "rgb") == "bgr"
    )
    embedder: Embedder = spec.resolve("onnx_embedder" if spec.onnx_embedder else "embedder")(
        model,
        config,
        identity_names=first.values("identities") or None,
        source=first.name,
        disclaimer=first.facts.get("notice", ""),
        face_crop=first.facts.get("face_crop", spec.face_crop),
    )
    embedder.fingerprint = str(prints[key])
    embedder.metadata = first.values("metadata") if "metadata" in first.facts else {}
    embedder.is_bundled = first.facts.get("bundled") == "true"
    return embedder
