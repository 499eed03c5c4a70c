"""`sf2f export`: export a trained generator as one ONNX graph, from the samples of a voice to its image.

The graph contains front end, normalisation, windows at a fixed stride, encoder, fuser or mean, decoder and
mapping to 0...1. It does not contain file reading, resampling and silence removal (the detector has a state
that tensor operations cannot express); remove silence before running it. Needs `pip install 'sf2f[export]'`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.export.arguments import add_source_arguments, take_source

from sf2f.arguments import CHECKPOINT_HELP

if TYPE_CHECKING:
    import numpy as np
    from torch import nn
    from voiceface.export.graph import Graph
    from voiceface.export.writing import ExportResult

    from sf2f.models import Sf2fModel

__all__ = [
    "HOP_SAMPLES",
    "INPUT_NAME",
    "OUTPUT_NAME",
    "SAMPLE_RATE",
    "TOLERANCE",
    "WINDOW_SAMPLES",
    "build_export_module",
    "build_graph",
    "count_samples",
    "export_onnx",
    "generate_reference_image",
    "main",
]

INPUT_NAME, OUTPUT_NAME = "samples", "image"
SAMPLE_RATE, WINDOW_SAMPLES, HOP_SAMPLES = 16000, 400, 160
TOLERANCE = 1e-3
EXTRA_FRAMES = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55)
"""Quarter strides by which the voices of the check are longer than one window."""


def export_onnx(model: "Sf2fModel", out: str | Path, *, stride: int | None = None) -> "ExportResult":
    """Export a model as an ONNX file, and compare its output with PyTorch on ten voices of different lengths.

    Input `samples` (1, T): float32 in the 16-bit range (-32768...32767), 16 kHz, one channel, silence
    removed. Output `image` (1, 3, H, W): float32, 0...1, RGB. The metadata of the file hold name, disclaimer,
    configuration, window and stride ([export](docs/export.md)).

    Args:
        model: from `sf2f.load`, on the CPU.
        out: a path that ends in .onnx; written atomically, and only if the comparison succeeds.
        stride: frames from one window to the next; None: half a window.

    Raises:
        ModuleNotFoundError: a package of the extra `export` is missing.
        ValueError: a model that cannot be exported, another suffix, or images that differ by more than 1e-3.
        OSError: the file cannot be written.
    """
    from voiceface.export.packages import require_packages
    from voiceface.export.writing import export_graph, require_onnx_name

    require_packages()
    require_onnx_name(out)
    return export_graph(build_graph(model, stride), out)


def build_graph(model: "Sf2fModel", stride: int | None = None) -> "Graph":
    """Build the graph of a generator; `stride` as of `export_onnx`.

    Raises:
        ValueError: the decoder attends to sequences.
    """
    import numpy as np
    from voiceface.checkpoints.native import fingerprint
    from voiceface.export.graph import Graph, Port, example_voices
    from voiceface.runtime.config import to_dict

    from sf2f.windows import default_stride

    width = model.data.windows.width
    stride = stride or default_stride(width)
    module = build_export_module(model, stride)
    # The longest but one traces the module: its sizes are those of no other.
    extra = (EXTRA_FRAMES[-2], *EXTRA_FRAMES[:-2], EXTRA_FRAMES[-1])
    lengths = [count_samples(width + each * stride // 4) + 37 * number for number, each in enumerate(extra)]
    voices = example_voices(lengths)

    def generate(samples: "np.ndarray") -> "list[np.ndarray]":
        return [generate_reference_image(model, samples[0].astype(np.int16), stride)]

    shape = generate(voices[1])[0].shape
    facts = {
        "system": "sf2f",
        "name": model.name,
        "notice": model.disclaimer,
        "licence": "as the makers of the weights state",
        "weights_sha256": fingerprint(model.generator.state_dict()),
        "sample_rate": str(SAMPLE_RATE),
        "window_pooling": "fuser" if model.has_fuser else "mean",
        "window_frames": str(width),
        "stride_frames": str(stride),
        "min_samples": str(count_samples(width)),
        "silence": _silence(model),
        "front_end": "Not in the graph: decoding, resampling, and the removal of silence: give speech alone.",
        "generator": to_dict(model.generator.config),
        "data": to_dict(model.data),
    }
    return Graph(
        "generator",
        module,
        (Port(INPUT_NAME, (1, "T"), "speech of one channel at 16 kHz, -32768...32767"),),
        (Port(OUTPUT_NAME, tuple(shape), "RGB image, 0...1"),),
        [[voice] for voice in voices],
        generate,
        facts,
        TOLERANCE,
        (
            Port("log_mel", (1, "M", "frames"), "log-mel bands, before normalisation"),
            Port("windows", ("S", "M", "W"), "normalised windows"),
            Port("window_embeddings", ("S", "D"), "embeddings of windows"),
            Port("embedding", (1, "D"), "of all windows"),
        ),
    )


def _silence(model: "Sf2fModel") -> "dict[str, object]":
    """How silence is removed before the graph, see `voiceface.export.graph.silence_facts`; {}: not at all."""
    from voiceface.export.graph import silence_facts

    return silence_facts(model.data.speech, every_frame_once=True) if model.data.speech.remove_silence else {}


def build_export_module(model: "Sf2fModel", stride: int) -> "nn.Module":
    """Build the module to export: samples (1, T) to an image (1, 3, H, W) and to what lies between.

    Raises:
        ValueError: the decoder attends to sequences.
    """
    import torch
    from torch import nn
    from voiceface.audio.frontends import ExportableLogMel

    if model.generator.config.decoder.kind == "attn_v2f":
        raise ValueError("a model with the attn_v2f decoder takes a single window and cannot be exported")
    width, normalisation = model.data.windows.width, model.data.mel

    class VoiceGraph(nn.Module):
        """Everything after the removal of silence, by the functions that `sf2f infer` runs."""

        def __init__(self) -> None:
            super().__init__()
            self.front = ExportableLogMel(model.data.speech.n_mels)
            self.generator = model.generator

        def forward(self, samples: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
            bands = self.front(samples)
            mel = (bands[0] - normalisation.mean) / normalisation.std
            num_windows = (mel.shape[1] - width) // stride + 1
            frames = torch.arange(num_windows)[:, None] * stride + torch.arange(width)
            windows = mel.transpose(0, 1)[frames].transpose(1, 2)
            embeddings = model.embed(windows)
            pooled = model.pool_embeddings(embeddings)
            return model.decode_images(pooled), bands, windows, embeddings, pooled

    return VoiceGraph().eval()


def count_samples(num_frames: int) -> int:
    """Minimum number of samples that give this many frames."""
    return WINDOW_SAMPLES if num_frames < 2 else WINDOW_SAMPLES + (num_frames - 2) * HOP_SAMPLES + 1


def generate_reference_image(model: "Sf2fModel", wave: "np.ndarray", stride: int) -> "np.ndarray":
    """Image (1, 3, H, W) of PyTorch for samples (T,) int16 without silence, as `sf2f infer` computes it."""
    import torch

    from sf2f.inference import embed_windows
    from sf2f.speech import compute_log_mel, normalise_mel

    config = model.data.speech.model_copy(update={"remove_silence": False, "sample_rates": "resample"})
    mel = normalise_mel(compute_log_mel(wave, SAMPLE_RATE, config), model.data.mel)
    with torch.inference_mode():
        return (
            model.decode_images(model.pool_embeddings(embed_windows(model, model.split_windows(mel, stride))))
            .cpu()
            .numpy()
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sf2f export`."""
    parser = argparse.ArgumentParser(
        prog="sf2f export",
        description="Export a trained model as one ONNX graph: samples (1, T), float32 in the 16-bit range "
        "at 16 kHz, silence removed, to an image (1, 3, H, W) in 0...1. The output is compared with PyTorch "
        "before the file is kept. Needs: pip install 'sf2f[export]'.",
    )
    add_source_arguments(parser, CHECKPOINT_HELP, out="output file, *.onnx")
    parser.add_argument(
        "--stride", type=int, help="stride of windows in frames of 10 ms (default: half a window, 63 of 125)"
    )
    args = parser.parse_args(argv)
    if args.stride is not None and args.stride < 1:
        parser.error("--stride must be at least 1 frame")
    source = take_source(parser, args)
    from sf2f.models import load

    print(export_onnx(load(source), args.out, stride=args.stride))
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.export", None))
