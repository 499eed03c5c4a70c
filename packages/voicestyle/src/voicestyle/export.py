"""`voicestyle export`: mapping and synthesis of StyleGAN2 as two ONNX graphs of standard operators.

Guidance is not exported: it computes gradients of losses through these networks, which ONNX does not hold.
The encoders of voices and faces are those of cmpc2: `cmpc2 export`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.export.arguments import add_source_arguments, take_source

from voicestyle.arguments import GENERATOR_WEIGHTS_HELP

if TYPE_CHECKING:
    import numpy as np
    from torch import nn
    from voiceface.export.graph import Graph
    from voiceface.export.writing import ExportResult

    from voicestyle.stylegan2.bundled import LoadedGenerator
    from voicestyle.stylegan2.generator import Generator

__all__ = ["build_graphs", "export_onnx", "main"]

FRONT_END = {
    "mapping": "Latents of all layers are the same: mix those of several images by yourself.",
    "synthesis": "The noise maps that are stored with the weights are in the graph.",
}


def export_onnx(model: "LoadedGenerator", out: str | Path) -> "list[ExportResult]":
    """Export a generator as FILE_mapping.onnx and FILE_synthesis.onnx, for FILE.onnx.

    Args:
        model: from `voicestyle.stylegan2.bundled.open_generator`, on the CPU.
        out: a name that ends in .onnx.

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
    return [export_graph(graph, graph_path(out, kind)) for kind, graph in build_graphs(model).items()]


def build_graphs(model: "LoadedGenerator") -> "dict[str, Graph]":
    """Graphs of a generator by name: "mapping" and "synthesis"."""
    import numpy as np
    import torch
    from voiceface.checkpoints.native import fingerprint
    from voiceface.export.graph import NUM_EXAMPLES, Graph, Port
    from voiceface.runtime.config import to_dict

    from voicestyle.stylegan2.bundled import ensure_latent_avg

    generator = model.generator
    ensure_latent_avg(generator)
    config = generator.config
    facts: dict[str, Any] = {
        "system": "voicestyle",
        "name": model.name,
        "notice": model.disclaimer,
        "licence": "as the makers of the weights state",
        "weights_sha256": fingerprint(generator.state_dict()),
        "config": to_dict(config),
    }
    latents = Port("latents", ("N", config.n_latent, config.style_dim), "one latent w per layer")
    image = Port("image", ("N", 3, config.size, config.size), "RGB images, nominally -1...1, not clamped")
    rng = np.random.default_rng(0)
    counts = [2, *([1] * (NUM_EXAMPLES - 3)), 3, 4]
    normal = [rng.standard_normal((count, config.style_dim)).astype(np.float32) for count in counts]
    given = [[z, np.array([psi], np.float32)] for z, psi in zip(normal, np.linspace(0.3, 1, NUM_EXAMPLES))]

    def map_to_latents(z: "np.ndarray", truncation: "np.ndarray") -> "list[np.ndarray]":
        with torch.inference_mode():
            found = generator.expand_latents(torch.from_numpy(z), truncation=float(truncation[0]))
        return [found.numpy()]

    def synthesise(values: "np.ndarray") -> "list[np.ndarray]":
        with torch.inference_mode():
            return [generator.synthesise(torch.from_numpy(values), generator.stored_noise()).numpy()]

    mapping, synthesis = _build_modules(generator)
    return {
        "mapping": Graph(
            "mapping",
            mapping,
            (
                Port("z", ("N", config.style_dim), "normal numbers"),
                Port("truncation", (1,), "psi, 0...1; 1 leaves latents as they are"),
            ),
            (latents,),
            given,
            map_to_latents,
            facts | {"front_end": FRONT_END["mapping"]},
        ),
        "synthesis": Graph(
            "synthesis",
            synthesis,
            (latents,),
            (image,),
            [[np.ascontiguousarray(map_to_latents(*each)[0])] for each in given],
            synthesise,
            facts | {"front_end": FRONT_END["synthesis"]},
        ),
    }


def _build_modules(generator: "Generator") -> "tuple[nn.Module, nn.Module]":
    """Modules of both graphs, of plain operators."""
    import copy

    import torch
    from torch import Tensor, nn
    from torch.nn import functional

    from voicestyle.stylegan2.layers import FIRFilter, ModulatedConv2d, ToRGB

    class PlainConvolution(nn.Module):
        """The 3 x 3 convolution that `WinogradConv3x3` computes."""

        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            return functional.conv2d(x, weight, padding=1)

    class OneInput(nn.Module):
        """The learned input once: the first convolution spreads it over the images."""

        def __init__(self, values: nn.Parameter) -> None:
            super().__init__()
            self.input = values

        def forward(self, batch_size: int) -> Tensor:
            return self.input

    class PlainFilter(nn.Module):
        """A FIR filter of a known number of channels as one convolution, transposed if it upsamples."""

        def __init__(self, fir: FIRFilter, channels: int) -> None:
            super().__init__()
            self.up, self.pad, self.channels = fir.up, fir.pad, channels
            self.register_buffer("kernel", fir.kernel.expand(channels, 1, -1, -1).clone(), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            kernel = self.get_buffer("kernel")  # symmetric
            if self.up == 2:
                return functional.conv_transpose2d(x, kernel, stride=2, padding=1, groups=self.channels)
            padded = functional.pad(x, self.pad * 2)
            return functional.conv2d(padded, kernel, groups=self.channels)

    class Mapping(nn.Module):
        """(z, psi) to latents (N, L, D)."""

        def __init__(self) -> None:
            super().__init__()
            self.generator = generator

        def forward(self, z: Tensor, truncation: Tensor) -> Tensor:
            centre = generator.latent_avg
            assert centre is not None
            w = centre + truncation * (generator.mapping(z) - centre)
            return w[:, None].repeat(1, generator.config.n_latent, 1)

    class Synthesis(nn.Module):
        """Latents (N, L, D) to images."""

        def __init__(self) -> None:
            super().__init__()
            self.generator = copy.deepcopy(generator)
            self.generator.input = OneInput(generator.input.input)  # type: ignore[assignment]
            for module in self.generator.modules():
                if isinstance(module, ModulatedConv2d):
                    module._frozen = PlainConvolution()  # type: ignore[assignment]
                    if module.blur is not None:
                        module.blur = PlainFilter(module.blur, module.weight.shape[1])  # type: ignore[assignment]
                elif isinstance(module, ToRGB) and module.upsample is not None:
                    module.upsample = PlainFilter(module.upsample, 3)  # type: ignore[assignment]

        def forward(self, latents: Tensor) -> Tensor:
            image: Tensor = self.generator.synthesise(latents, self.generator.stored_noise())
            return torch.reshape(image, (-1, 3, generator.config.size, generator.config.size))

    return Mapping().eval(), Synthesis().eval()


def main(argv: Sequence[str] | None = None) -> int:
    """Run `voicestyle export`."""
    parser = argparse.ArgumentParser(
        prog="voicestyle export",
        description="Export StyleGAN2 as two ONNX graphs, FILE_mapping.onnx from normal numbers to latents "
        "and FILE_synthesis.onnx from latents to images, once they give what PyTorch gives. Needs: pip "
        "install 'voiceface-shared[onnx]'.",
    )
    add_source_arguments(parser, GENERATOR_WEIGHTS_HELP, out="FILE.onnx, from which both names are made")
    args = parser.parse_args(argv)
    source = take_source(parser, args)
    from voiceface.commandline.messages import print_disclaimers

    from voicestyle.stylegan2.bundled import open_generator

    model = open_generator(source)
    print_disclaimers(model.disclaimer)
    for result in export_onnx(model, args.out):
        print(result)
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.export", None))
