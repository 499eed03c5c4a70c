"""`perceptionist export`: voice to coefficients, coefficients to mesh, and expert as ONNX graphs.

What draws meshes is not exported: a rasteriser decides by the depth of every covered pixel which of many
triangles it keeps, for which ONNX has no operator. Viewers draw meshes by themselves.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.export.arguments import add_source_arguments, take_source

from perceptionist.arguments import (
    CHECKPOINT_HELP,
    EXPERT_GRAPH,
    EXPERT_HELP,
    add_face_model_argument,
)

if TYPE_CHECKING:
    import numpy as np
    from torch import nn
    from voiceface.export.graph import Graph
    from voiceface.export.writing import ExportResult

    from perceptionist.image_expert_model import ImageExpert
    from perceptionist.voice_to_mesh import VoiceToMesh

__all__ = ["build_graphs", "export_expert", "export_onnx", "main"]

SHORTEST = 400
USUAL = 160_000
FRONT_END = (
    "Speech of any length; what is shorter than 10 s is repeated. Not in the graph: decoding, resampling to "
    "16 kHz, mixing of channels, and the removal of silence: give speech alone."
)
MESH = "Not in the graph: triangles, which the face model has, and drawing."


def export_onnx(
    model: "VoiceToMesh",
    out: str | Path,
    *,
    expert: "ImageExpert | None" = None,
    seconds: Sequence[float] = (),
    name: str = "",
) -> "list[ExportResult]":
    """Export a model as FILE_voice.onnx, FILE_mesh.onnx and FILE_expert.onnx, for FILE.onnx.

    Args:
        model: from `perceptionist.load`, on the CPU.
        out: a name that ends in .onnx.
        expert: for the pose of faces in pictures, on the CPU; None: that of the weights, else the bundled one
            if it fits (`perceptionist.export_expert.find_expert`). Without any there is no FILE_expert.onnx.
        seconds: lengths for which the voice graph is exported once more, with that length fixed.
        name: of the weights, for the metadata.

    Raises:
        ModuleNotFoundError: onnx or onnxruntime is missing; names the extra.
        ValueError: another suffix, or a graph that differs from PyTorch.
        OSError: a file cannot be written.
    """
    from voiceface.export.graph import graph_path
    from voiceface.export.packages import require_packages
    from voiceface.export.writing import export_graph, require_onnx_name

    require_packages()
    require_onnx_name(out)
    graphs = build_graphs(model, expert=expert, seconds=seconds, name=name)
    return [export_graph(graph, graph_path(out, kind)) for kind, graph in graphs.items()]


def export_expert(expert: "ImageExpert", out: str | Path, *, name: str = "") -> "ExportResult":
    """Export an expert alone as FILE_expert.onnx, for FILE.onnx.

    Args:
        expert: from `perceptionist.image_expert.load_image_expert`, on the CPU.
        out, name: as of `export_onnx`.

    Raises:
        ModuleNotFoundError, ValueError, OSError: as of `export_onnx`.
    """
    from voiceface.export.graph import graph_path
    from voiceface.export.packages import require_packages
    from voiceface.export.writing import export_graph, require_onnx_name

    from perceptionist.export_expert import build_expert_graph

    require_packages()
    require_onnx_name(out)
    return export_graph(build_expert_graph(expert, name), graph_path(out, EXPERT_GRAPH))


def build_graphs(
    model: "VoiceToMesh",
    *,
    expert: "ImageExpert | None" = None,
    seconds: Sequence[float] = (),
    name: str = "",
) -> "dict[str, Graph]":
    """Graphs of a model by name: "voice", those of fixed lengths, "mesh" and, if there is one, "expert".

    Args:
        model, expert, seconds, name: as of `export_onnx`.
    """
    import numpy as np
    import torch
    from voiceface.export.graph import (
        SAMPLE_RATE,
        Graph,
        Port,
        example_lengths,
        example_voices,
        fixed_lengths,
        silence_facts,
    )

    from perceptionist.export_expert import build_expert_graph, find_expert
    from perceptionist.features import MIN_SPEECH_SECONDS
    from perceptionist.network_config import DEFAULT_CONFIG
    from perceptionist.speech import get_frontend
    from perceptionist.voice_to_mesh import FaceCoefficients

    facts = _facts(model, name)
    faces = model.face_model
    coefficients = (
        Port("scale", ("N",), "pixels of a 120-pixel image per unit of the face model"),
        Port("shape", ("N", faces.num_shape), "un-whitened shape coefficients"),
        Port("expression", ("N", faces.num_expression), "un-whitened expression coefficients"),
    )
    voice, mesh = _build_modules(model)

    def predict(samples: "np.ndarray") -> "list[np.ndarray]":
        found = model.predict(get_frontend()(torch.from_numpy(samples.astype(np.float64))))
        values = [*found.coefficients] + ([] if found.images is None else [found.images])
        return [value.numpy() for value in values]

    def reconstruct(*values: "np.ndarray") -> "list[np.ndarray]":
        given = FaceCoefficients(*(torch.from_numpy(value) for value in values))
        return [model.vertices_from_coefficients(given).transpose(1, 2).numpy()]

    outputs: tuple[Port, ...] = coefficients
    if model.generator is not None:
        side = predict(np.zeros((1, SHORTEST), np.float32))[3].shape[-1]
        outputs += (Port("image", ("N", 3, side, side), "generated RGB images, nominally -1...1"),)
    found: dict[str, Graph] = {}
    predicted: list[list[np.ndarray]] = []
    for kind, num_samples in fixed_lengths(seconds).items():
        lengths = [num_samples] * 10 if num_samples else example_lengths(USUAL, SHORTEST)
        voices = example_voices(lengths)
        predicted = predicted or [predict(samples)[:3] for samples in voices]
        found[kind] = Graph(
            "voice",
            voice(num_samples),
            (Port("samples", ("N", num_samples or "T"), "speech at 16 kHz, -32768...32767"),),
            outputs,
            [[samples] for samples in voices],
            predict,
            facts
            | {
                "sample_rate": str(SAMPLE_RATE),
                "min_samples": str(round(MIN_SPEECH_SECONDS * SAMPLE_RATE)),
                "silence": silence_facts(DEFAULT_CONFIG, every_frame_once=False),
                "front_end": FRONT_END,
            },
            inner=(
                Port("features", ("N", model.n_mels, "frames"), "standardised log-mel bands"),
                Port("embedding", ("N", "D"), "unit voice embeddings"),
            ),
        )
    found["mesh"] = Graph(
        "mesh",
        mesh,
        coefficients,
        (Port("vertices", ("N", faces.num_vertices, 3), "frontal, pixels of a 120-pixel image, y up"),),
        [[np.ascontiguousarray(value) for value in values] for values in predicted],
        reconstruct,
        facts | {"front_end": MESH},
    )
    expert = expert or find_expert(model)
    if expert is not None:
        is_own = model.expert is not None and expert.network is model.expert
        found[EXPERT_GRAPH] = build_expert_graph(expert, name if is_own else "")
    return found


def _facts(model: "VoiceToMesh", name: str) -> dict[str, Any]:
    from voiceface.checkpoints.native import fingerprint
    from voiceface.runtime.config import to_dict

    parts = {"voice": model.voice, "head": model.head, "generator": model.generator, "student": model.student}
    state = {
        f"{part}.{key}": value
        for part, module in parts.items()
        if module is not None
        for key, value in module.state_dict().items()
    }
    notices = dict.fromkeys(each for each in (model.disclaimer, model.face_model.disclaimer) if each)
    return {
        "system": "perceptionist",
        "name": name,
        "notice": " ".join(notices),
        "licence": "as the makers of the weights and of the face model state",
        "weights_sha256": fingerprint(state),
        "method": model.kind,
        "face_model": model.face_model.name,
        "num_vertices": str(model.face_model.num_vertices),
        "config": {} if model.config is None else to_dict(model.config),
    }


def _build_modules(model: "VoiceToMesh") -> "tuple[Any, nn.Module]":
    """What builds the module of a voice graph for a number of samples, and the module of the mesh."""
    import torch
    from torch import Tensor, nn
    from voiceface.audio.exportable_frontends import PerceptionistGraph

    from perceptionist.speech import get_frontend
    from perceptionist.voice_to_mesh import FaceCoefficients

    parts = [part for part in (model.voice, model.head, model.generator, model.student) if part is not None]

    class VoiceGraph(nn.Module):
        """Waveforms (N, T) to coefficients, to images where the method has them, and the inner values."""

        def __init__(self, num_samples: int | None) -> None:
            super().__init__()
            self.front = PerceptionistGraph(get_frontend(), num_samples)
            self.parts = nn.ModuleList([*parts, model.face_model])

        def forward(self, samples: Tensor) -> tuple[Tensor, ...]:
            features = self.front(samples)
            found = model.predict(features)
            images = () if found.images is None else (found.images,)
            return (*found.coefficients, *images, features, found.embeddings)

    class MeshGraph(nn.Module):
        """Coefficients to vertices (N, V, 3)."""

        def __init__(self) -> None:
            super().__init__()
            self.face_model = model.face_model

        def forward(self, scale: Tensor, shape: Tensor, expression: Tensor) -> Tensor:
            given = FaceCoefficients(scale, shape, expression)
            return torch.transpose(model.vertices_from_coefficients(given), 1, 2)

    return lambda num_samples: VoiceGraph(num_samples).eval(), MeshGraph().eval()


def main(argv: Sequence[str] | None = None) -> int:
    """Run `perceptionist export`."""
    parser = argparse.ArgumentParser(
        prog="perceptionist export",
        description="Export a trained model as ONNX graphs, once they give what PyTorch gives: "
        "FILE_voice.onnx from speech to coefficients (and the generated image), FILE_mesh.onnx from "
        "coefficients to vertices, FILE_expert.onnx from the picture of a face to its pose, shape and "
        "expression; of an expert the last alone. Needs: pip install 'voiceface-shared[onnx]'.",
    )
    add_source_arguments(
        parser, f"{CHECKPOINT_HELP}; or an expert", out="FILE.onnx, from which the names are made"
    )
    add_face_model_argument(parser)
    parser.add_argument(
        "--expert",
        type=Path,
        help=f"{EXPERT_HELP}, exported beside the model (default: that of the weights, else the bundled one)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        action="append",
        default=[],
        help="export the voice graph once more for voices of exactly this length, repeatable",
    )
    args = parser.parse_args(argv)
    source = take_source(parser, args)
    from voiceface.commandline.messages import print_disclaimers

    from perceptionist.image_expert import is_expert, load_image_expert
    from perceptionist.inference import load

    if source is not None and is_expert(source):
        if args.expert is not None or args.seconds:
            flag = "--seconds" if args.expert is None else "--expert"
            raise ValueError(f"{source} is an expert, which takes no voice, exported alone: omit {flag}")
        alone = load_image_expert(source, args.face_model)
        print_disclaimers(alone.disclaimer)
        print(export_expert(alone, args.out, name=source.name))
        return 0
    model = load(source, args.face_model)
    expert = None if args.expert is None else load_image_expert(args.expert, model.face_model)
    print_disclaimers(model.disclaimer)
    name = "the bundled checkpoint" if source is None else source.name
    results = export_onnx(model, args.out, expert=expert, seconds=args.seconds, name=name)
    for result in results:
        print(result)
    if all(result.kind != EXPERT_GRAPH for result in results):
        print(f"no {EXPERT_GRAPH} graph: the weights contain no expert (--expert names one)")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("perceptionist.export", None))
