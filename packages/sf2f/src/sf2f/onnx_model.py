"""A generator that `sf2f export` wrote, run by onnxruntime.

Letters: M mel bands, T frames, W frames of a window, S windows, N images, D embedding size.
"""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from voiceface.export.inspection import GraphError
from voiceface.export.running import OnnxGraph, open_parts
from voiceface.runtime.config import validate_config

from sf2f.config import DataConfig
from sf2f.models import SYSTEM, RecordingReader

__all__ = ["OnnxModel", "load_onnx_model"]

PARTS = {
    "front_end": (("samples",), ("log_mel",)),
    "encoder": (("windows",), ("window_embeddings",)),
    "pooling": (("window_embeddings",), ("embedding",)),
    "decoder": (("embedding",), ("image",)),
}
"""What the graph is cut into: windows of several recordings are pooled, and images made of one."""


class OnnxModel(RecordingReader):
    """The parts of an exported generator: what `sf2f.models.Sf2fModel` computes, without PyTorch's networks.

    Args:
        parts: graphs by the names of `PARTS`.
        data: preprocessing of recordings.
    """

    def __init__(self, parts: dict[str, OnnxGraph], data: DataConfig) -> None:
        self.data, self._parts = data, parts
        facts = parts["decoder"].facts
        self._name, self._disclaimer = facts.get("name", ""), facts.get("notice", "")
        self._has_fuser = facts.get("window_pooling") == "fuser"
        self.front_end: Callable[[Tensor], Tensor] = lambda samples: self._run("front_end", samples)

    @property
    def name(self) -> str:
        """Of the experiment."""
        return self._name

    @property
    def disclaimer(self) -> str:
        """To show with every image."""
        return self._disclaimer

    @property
    def has_fuser(self) -> bool:
        """Whether windows are fused by attention; else their embeddings are averaged."""
        return self._has_fuser

    def embed(self, windows: Tensor) -> Tensor:
        """Encode normalised windows (N, M, W) to embeddings (N, D)."""
        return self._run("encoder", windows)

    def pool_embeddings(self, embeddings: Tensor) -> Tensor:
        """Pool window embeddings (S, D) of one identity to one vector (1, D)."""
        return self._run("pooling", embeddings)

    def decode_images(self, embeddings: Tensor) -> Tensor:
        """Decode embeddings (N, D), one at a time as the graph does, to images (N, 3, side, side), 0...1."""
        return torch.cat([self._run("decoder", row) for row in embeddings.split(1)])

    def _run(self, part: str, values: Tensor) -> Tensor:
        return torch.from_numpy(self._parts[part](values.numpy())[0])


def load_onnx_model(path: str | os.PathLike[str]) -> OnnxModel:
    """Load a generator that `sf2f export` wrote.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: no such file.
        GraphError: damaged, of another system, or of an earlier release.
        ModuleNotFoundError: onnx or onnxruntime is missing.
    """
    parts = open_parts(path, PARTS, system=SYSTEM, kinds=("generator",))
    first: Any = parts["decoder"]
    stored = first.values("data")
    if not isinstance(stored, dict):
        raise GraphError(f"{first.name} states no configuration of its data; export it again")
    return OnnxModel(parts, validate_config(stored, DataConfig, f"configuration in {first.name}"))
