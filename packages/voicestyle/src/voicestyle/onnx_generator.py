"""StyleGAN2 as `voicestyle export` wrote it, run by onnxruntime.

Letters: N images, S side of the image, D length of a latent, L layers.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from voiceface.export.running import OnnxGraph, find_graph_files, open_graphs
from voiceface.runtime.config import validate_config

from voicestyle.arguments import GRAPHS
from voicestyle.stylegan2.checkpoints import SYSTEM
from voicestyle.stylegan2.generator import GeneratorConfig

__all__ = ["OnnxGenerator", "load_onnx_generator"]

BATCH_SIZE = 8
"""Images at a time: their maps stay in the cache of a core."""


class OnnxGenerator:
    """Mapping and synthesis as graphs, with the stored noise: `voicestyle.stylegan2.factorise.Renderer`.

    Args:
        mapping: z and psi to latents.
        synthesis: latents to images.

    Attributes:
        config: sizes.
        latent_avg: (1, D), mean of w.
        like: a number of the device and type of all values.
        name, disclaimer: of the weights.
    """

    def __init__(self, mapping: OnnxGraph, synthesis: OnnxGraph) -> None:
        self._mapping, self._synthesis = mapping, synthesis
        self.config = validate_config(
            mapping.values("config"), GeneratorConfig, f"configuration in {mapping.name}"
        )
        self.like = torch.zeros(())
        self.latent_avg: Tensor | None = self._map(torch.zeros(1, self.config.style_dim), 0.0)
        self.name, self.disclaimer = mapping.facts.get("name", ""), mapping.facts.get("notice", "")

    def mapping(self, z: Tensor) -> Tensor:
        """Map normal z (N, D) to w (N, D)."""
        return self._map(z, 1.0)

    def render(self, latents: Tensor, truncation: float = 1.0) -> Tensor:
        """Generate images (N, 3, S, S) of w (N, D), nominally in -1...1, with the stored noise."""
        assert self.latent_avg is not None
        w = latents if truncation >= 1 else self.latent_avg + truncation * (latents - self.latent_avg)
        layers = w[:, None].repeat(1, self.config.n_latent, 1)
        parts = [self._synthesis(rows.numpy())[0] for rows in layers.split(BATCH_SIZE)]
        return torch.from_numpy(np.concatenate(parts))

    def _map(self, z: Tensor, truncation: float) -> Tensor:
        (latents,) = self._mapping(z.numpy(), np.array([truncation], np.float32))
        return torch.from_numpy(latents[:, 0])


def load_onnx_generator(files: Sequence[str | Path]) -> OnnxGenerator:
    """Load what `voicestyle export` wrote.

    Args:
        files: both graphs, or FILE.onnx for FILE_mapping.onnx and FILE_synthesis.onnx.

    Raises:
        FileNotFoundError: no such file.
        GraphError: damaged, of another system, of different weights, or one is missing.
        ModuleNotFoundError: onnx or onnxruntime is missing.
    """
    paths = find_graph_files(files, GRAPHS)
    graphs = open_graphs(paths, system=SYSTEM, kinds=GRAPHS, together_make="image")
    return OnnxGenerator(graphs["mapping"], graphs["synthesis"])
