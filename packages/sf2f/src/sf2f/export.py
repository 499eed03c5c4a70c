"""`sf2f export`: export a trained generator as one ONNX graph, from the samples of a voice to its image.

The graph contains front end, normalisation, windows at a fixed stride, encoder, fuser or mean, decoder and
mapping to 0...1. It does not contain file reading, resampling and silence removal (the detector has a state
that tensor operations cannot express); remove silence before running it. Needs `pip install 'sf2f[export]'`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from voiceface.commandline import arguments

from sf2f.arguments import CHECKPOINT_HELP

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from sf2f.models import Sf2fModel

__all__ = [
    "HOP_SAMPLES",
    "INPUT_NAME",
    "MAX_SAMPLES",
    "OUTPUT_NAME",
    "REQUIRED_PACKAGES",
    "SAMPLE_RATE",
    "TOLERANCE",
    "WINDOW_SAMPLES",
    "ExportResult",
    "build_export_module",
    "count_samples",
    "export_onnx",
    "generate_reference_image",
    "main",
    "max_output_difference",
    "require_packages",
    "synthesise_voice",
]

INPUT_NAME, OUTPUT_NAME = "samples", "image"
SAMPLE_RATE, WINDOW_SAMPLES, HOP_SAMPLES = 16000, 400, 160
TOLERANCE = 1e-3
MAX_SAMPLES = 10_000_000
"""Upper bound given to the exporter, 10 minutes; the graph does not depend on it."""
REQUIRED_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


class ExportResult(NamedTuple):
    """Result of an export.

    Attributes:
        path: the file.
        max_difference: largest difference to PyTorch's images, 0...1, over voices of several lengths.
        min_samples: minimum number of input samples.
        size_bytes: size of the file.
    """

    path: Path
    max_difference: float
    min_samples: int
    size_bytes: int


def export_onnx(model: "Sf2fModel", out: str | Path, *, stride: int | None = None) -> ExportResult:
    """Export a model as an ONNX file, and compare its output with PyTorch.

    Input `samples` (1, T): float32 in the 16-bit range (-32768...32767), 16 kHz, one channel, silence
    removed. Output `image` (1, 3, H, W): float32, 0...1, RGB. The metadata of the file hold name, disclaimer,
    configuration, window and stride.

    Args:
        model: from `sf2f.load`, on the CPU.
        out: a path that ends in .onnx; written atomically, and only if the comparison succeeds.
        stride: frames from one window to the next; None: half a window.

    Raises:
        ImportError: the packages of the extra `export` are missing.
        ValueError: a model that cannot be exported, another suffix, or images that differ by more than 1e-3.
        OSError: the file cannot be written.
    """
    require_packages()
    import onnx
    import torch
    from voiceface.io.atomic import atomic_path
    from voiceface.runtime.config import to_dict

    from sf2f.windows import default_stride

    path = Path(out)
    if path.suffix != ".onnx":
        raise ValueError(f"the output must be named *.onnx, found {path}")
    width = model.data.windows.width
    stride = stride or default_stride(width)
    module = build_export_module(model, stride)
    min_samples = count_samples(width)
    # The exporter proves shapes for at least two windows; the graph takes one, see `max_output_difference`.
    length = torch.export.Dim(INPUT_NAME, min=count_samples(width + stride), max=MAX_SAMPLES)
    example = torch.zeros(1, count_samples(width + 3 * stride) + 7)
    metadata = {
        "system": "sf2f",
        "name": model.name,
        "disclaimer": model.disclaimer,
        "window_pooling": "fuser" if model.has_fuser else "mean",
        "window_frames": str(width),
        "stride_frames": str(stride),
        "sample_rate": str(SAMPLE_RATE),
        "min_samples": str(min_samples),
        "silence": "not removed by the graph: remove it before",
        "generator": json.dumps(to_dict(model.generator.config)),
        "data": json.dumps(to_dict(model.data)),
    }
    with atomic_path(path) as temporary:
        program = torch.onnx.export(
            module,
            (example,),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes={INPUT_NAME: {1: length}},
            dynamo=True,
            verbose=False,
            external_data=False,
        )
        assert program is not None
        program.save(str(temporary), external_data=False)
        onnx_model = onnx.load(str(temporary))
        onnx.helper.set_model_props(onnx_model, metadata)
        onnx.checker.check_model(onnx_model)
        onnx.save(onnx_model, str(temporary))
        difference = max_output_difference(model, temporary, stride)
        if not difference <= TOLERANCE:
            raise ValueError(
                f"images of the graph differ from PyTorch's by {difference:.2g}, tolerance {TOLERANCE}; "
                f"{path} was not written"
            )
    return ExportResult(path, difference, min_samples, path.stat().st_size)


def build_export_module(model: "Sf2fModel", stride: int) -> "nn.Module":
    """Build the module to export: samples (1, T) to an image (1, 3, H, W).

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

        def forward(self, samples: "torch.Tensor") -> "torch.Tensor":
            mel = (self.front(samples)[0] - normalisation.mean) / normalisation.std
            num_windows = (mel.shape[1] - width) // stride + 1
            frames = torch.arange(num_windows)[:, None] * stride + torch.arange(width)
            windows = mel[:, frames].transpose(0, 1)
            return model.decode_images(model.pool_embeddings(model.embed(windows)))

    return VoiceGraph().eval()


def count_samples(num_frames: int) -> int:
    """Minimum number of samples that give this many frames."""
    return WINDOW_SAMPLES if num_frames < 2 else WINDOW_SAMPLES + (num_frames - 2) * HOP_SAMPLES + 1


def max_output_difference(model: "Sf2fModel", path: str | Path, stride: int) -> float:
    """Largest difference between images of a file and of PyTorch, for synthetic voices of four lengths."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    width = model.data.windows.width
    difference = 0.0
    for index, extra in enumerate((0, stride - 1, stride, 3 * stride + 1)):
        samples = synthesise_voice(count_samples(width + extra) + 37 * index, index)
        (image,) = session.run([OUTPUT_NAME], {INPUT_NAME: samples[None].astype(np.float32)})
        expected = generate_reference_image(model, samples, stride)
        if image.shape != expected.shape:
            raise ValueError(f"the graph outputs images {image.shape}, expected {expected.shape}")
        difference = max(difference, float(np.abs(image - expected).max()))
    return difference


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


def synthesise_voice(num_samples: int, seed: int) -> "np.ndarray":
    """Synthesise a buzz with noise, int16, (num_samples,)."""
    import numpy as np

    time = np.arange(num_samples) / SAMPLE_RATE
    buzz = np.sin(2 * np.pi * np.outer(np.arange(1, 20) * (100 + 20 * seed), time)).sum(0)
    noise = np.random.default_rng(seed).normal(0, 300, num_samples)
    return np.clip(600 * buzz + noise, -32768, 32767).astype(np.int16)


def require_packages() -> None:
    """Raise ImportError, with the remedy, if a package of the extra `export` is missing."""
    from importlib.util import find_spec

    missing = [name for name in REQUIRED_PACKAGES if find_spec(name) is None]
    if missing:
        raise ImportError(f"export needs {', '.join(missing)}: pip install 'sf2f[export]'")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sf2f export`."""
    parser = argparse.ArgumentParser(
        prog="sf2f export",
        description="Export a trained model as one ONNX graph: samples (1, T), float32 in the 16-bit range "
        "at 16 kHz, silence removed, to an image (1, 3, H, W) in 0...1. The output is compared with PyTorch "
        "before the file is kept. Needs: pip install 'sf2f[export]'.",
    )
    add = parser.add_argument
    arguments.add_weights_argument(parser, CHECKPOINT_HELP)
    add("--out", type=Path, required=True, help="output file, *.onnx")
    add("--stride", type=int, help="stride of windows in frames of 10 ms (default: half a window, 63 of 125)")
    args = parser.parse_args(argv)
    if args.stride is not None and args.stride < 1:
        parser.error("--stride must be at least 1 frame")
    try:
        require_packages()
    except ImportError as error:
        raise ValueError(str(error)) from None

    import logging

    from sf2f.models import load

    for name in ("onnxscript", "onnx_ir"):  # they log every folded constant
        logging.getLogger(name).setLevel(logging.WARNING)
    result = export_onnx(load(args.weights), args.out, stride=args.stride)
    print(
        f"{result.path}: {result.size_bytes / 1e6:.1f} MB, input of at least "
        f"{result.min_samples / SAMPLE_RATE:.2f} s; largest difference from PyTorch "
        f"{result.max_difference:.1e} (of 0...1)"
    )
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.export", None))
