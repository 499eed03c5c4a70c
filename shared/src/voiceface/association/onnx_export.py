"""Both encoders of an association system as ONNX files, front ends inside."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voiceface.association.encoders import TwoBranchModel, VoiceBackbone
from voiceface.association.system import SystemSpec
from voiceface.audio.exportable_frontends import SeekingShapeGraph, repeat_samples
from voiceface.checkpoints.native import fingerprint
from voiceface.embeddings.encoder_info import Modality
from voiceface.export.graph import (
    SAMPLE_RATE,
    Graph,
    Port,
    example_lengths,
    example_pictures,
    example_voices,
    fixed_lengths,
    graph_path,
)
from voiceface.export.writing import ExportResult, export_graph, require_onnx_name
from voiceface.runtime.config import to_dict

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

__all__ = [
    "build_graphs",
    "embedder_facts",
    "embedding_port",
    "export_encoders",
    "option_key",
    "voice_ports",
]

POLICIES = ("error", "salvage")
SILENCE = (
    "Not in the graph: decoding, resampling to 16 kHz, mixing of channels, and the choice of the parts of a "
    "recording that hold speech."
)
PICTURES = (
    "Not in the graph: decoding, and cutting out the face ({crop}). A picture is then resized to {side} "
    "pixels, {resize}. In the graph: order of the channels and normalisation."
)
RESIZE_MODES = {
    "letterbox": "bilinearly by its longer side, and padded around with grey 127 to a square",
    "stretch": "bilinearly, first by its shorter side, then to a square",
}


def export_encoders(
    spec: SystemSpec,
    embedder: "Embedder",
    out: str | Path,
    *,
    modalities: Sequence[Modality] = get_args(Modality),
    seconds: Sequence[float] = (),
) -> list[ExportResult]:
    """Export the encoders of a trained model, one file each: see `graph_path`.

    Args:
        spec: the system.
        embedder: trained model, on the CPU.
        out: a name that ends in .onnx, from which the names of the files are made.
        modalities: which encoders.
        seconds: lengths for which the voice encoder is exported once more, with that length fixed.

    Raises:
        ModuleNotFoundError: onnx or onnxruntime is missing.
        ValueError: another suffix, a model that cannot be exported, or a graph that differs from PyTorch.
        OSError: a file cannot be written.
    """
    require_onnx_name(out)
    graphs: dict[str, Graph] = spec.resolve("graphs")(spec, embedder, modalities=modalities, seconds=seconds)
    return [export_graph(graph, graph_path(out, name)) for name, graph in graphs.items()]


def build_graphs(
    spec: SystemSpec,
    embedder: "Embedder",
    *,
    modalities: Sequence[Modality] = get_args(Modality),
    seconds: Sequence[float] = (),
) -> dict[str, Graph]:
    """Graphs of a model with two branches, by name: "voice", "voice_5s" and so on, "face".

    The voice graph repeats or cuts a waveform of any length to what the network hears, so that its sizes
    behind that are fixed.

    Args:
        spec: the system.
        embedder: trained model.
        modalities: which encoders.
        seconds: further graphs of the voice encoder, of these fixed lengths.

    Raises:
        ValueError: a length without a sample, or a model of another kind.
    """
    if not isinstance(embedder.model, TwoBranchModel):
        raise ValueError(f"{spec.name}: {type(embedder.model).__name__} cannot be exported to ONNX")
    found, facts = {}, embedder_facts(spec, embedder)
    dimension = embedder.embedding_dim
    if "voice" in modalities:
        voice_module = _VoiceModule(embedder.model, embedder.config.data.clip_samples)
        scale = embedder.config.data.sample_scale
        for name, num_samples in fixed_lengths(seconds).items():
            ports = voice_ports(dimension, num_samples, scale)
            usual = embedder.config.data.clip_samples
            lengths = [num_samples] * 10 if num_samples else example_lengths(usual)

            def embed_waveforms(samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
                rows = [embedder.prepare_recording(row) for row in samples]
                return [embedder.encode_voices(torch.from_numpy(np.stack(rows))).numpy()]

            voices = [[voice / (32768 if scale == "unit" else 1)] for voice in example_voices(lengths)]
            heard = f"Whole recordings are repeated or cut to {usual / SAMPLE_RATE:g} s."
            found[name] = Graph(
                "voice",
                voice_module,
                *ports,
                [[voice.astype(np.float32)] for (voice,) in voices],
                embed_waveforms,
                facts | {"sample_rate": str(SAMPLE_RATE), "front_end": f"{heard} {SILENCE}"},
            )
    if "face" in modalities:
        side = embedder.config.model.face.image_size
        found["face"] = face_graph(embedder, side, facts)
    return found


def voice_ports(
    dimension: int, num_samples: int | None, scale: str
) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Input and output of a voice graph.

    Args:
        dimension: length D of an embedding.
        num_samples: T, if it is fixed.
        scale: "int16" or "unit".
    """
    span = "-32768...32767" if scale == "int16" else "-1...1"
    meaning = f"waveforms of one channel at 16 kHz, {span}"
    return (Port("samples", ("N", num_samples or "T"), meaning),), (embedding_port(dimension),)


def embedding_port(dimension: int) -> Port:
    """Output of an encoder."""
    return Port("embedding", ("N", dimension), "embeddings, not of unit length; compared by cosine")


def face_graph(embedder: "Embedder", side: int, facts: dict[str, Any]) -> Graph:
    """Graph of a face encoder on RGB pictures of one size."""
    data = embedder.config.data
    is_bgr = data.channels == "bgr"

    def embed_pictures(pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        faces = np.stack(
            [
                embedder.prepare_picture(np.ascontiguousarray(each.transpose(1, 2, 0).astype(np.uint8)))
                for each in pictures
            ]
        )
        return [embedder.encode_faces(torch.from_numpy(faces)).numpy()]

    text = PICTURES.format(crop=embedder.face_crop, side=side, resize=RESIZE_MODES[data.resize_mode])
    return Graph(
        "face",
        _FaceModule(embedder.model, swap=is_bgr),
        (Port("image", ("N", 3, side, side), "RGB pictures of faces, 0...255"),),
        (embedding_port(embedder.embedding_dim),),
        [[picture] for picture in example_pictures(side)],
        embed_pictures,
        facts | {"resize": data.resize_mode, "front_end": text},
    )


def embedder_facts(spec: SystemSpec, embedder: "Embedder") -> dict[str, Any]:
    """What is known about a trained model, for the metadata of its graphs."""
    twin, prints = copy.copy(embedder), {}
    for resample in (False, True):
        for policy in POLICIES:
            twin.config = embedder.config.with_input_options(resample=resample, on_corrupt=policy)
            twin.__dict__.pop("fingerprint", None)
            prints[option_key(resample, policy)] = twin.fingerprint
    return {
        "system": spec.name,
        "name": embedder.source,
        "bundled": embedder.is_bundled,
        "notice": embedder.disclaimer,
        "licence": "MIT, as the project" if embedder.is_bundled else "as the makers of the weights state",
        "weights_sha256": fingerprint(embedder.model.state_dict()),
        "fingerprints": prints,
        "embedding_dim": embedder.embedding_dim,
        "face_crop": embedder.face_crop,
        "identities": list(embedder.identity_names or ()),
        "config": to_dict(embedder.config),
    }


def option_key(resample: bool, on_corrupt: str) -> str:
    """Key of a fingerprint under options of the front end."""
    return f"resample={resample} on_corrupt={on_corrupt}"


class _VoiceModule(nn.Module):
    """Waveforms (N, T) to embeddings (N, D)."""

    def __init__(self, model: TwoBranchModel, num_samples: int) -> None:
        super().__init__()
        self.num_samples = num_samples
        self.branch = copy.deepcopy(model.get_submodule(model.branches["voice"])).float().eval()
        for module in list(self.branch.modules()):
            if isinstance(module, VoiceBackbone):
                module.torchfb = SeekingShapeGraph(module.torchfb, num_samples)  # type: ignore[assignment]

    def forward(self, samples: Tensor) -> Tensor:
        embeddings: Tensor = self.branch(repeat_samples(samples, self.num_samples))
        return embeddings


class _FaceModule(nn.Module):
    """RGB pictures (N, 3, S, S) to embeddings (N, D)."""

    def __init__(self, model: TwoBranchModel, *, swap: bool) -> None:
        super().__init__()
        self.swap = swap
        self.normalize = copy.deepcopy(model.normalize).eval()
        self.branch = copy.deepcopy(model.get_submodule(model.branches["face"])).float().eval()

    def forward(self, image: Tensor) -> Tensor:
        embeddings: Tensor = self.branch(self.normalize(image.flip(1) if self.swap else image))
        return embeddings
