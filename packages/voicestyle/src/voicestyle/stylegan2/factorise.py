"""Closed-form factorisation of latent semantics (SeFa, Shen and Zhou, CVPR 2021).

The directions are the right singular vectors of all stacked modulation weights: latents moved along the first
ones change the styles of the layers most. As published, `to_rgbs` are excluded and `to_rgb1` is not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from voiceface.checkpoints.native import load_model, save_model
from voiceface.checkpoints.published import CheckpointError, read_published, save_torch

from voicestyle.stylegan2.generator import Generator, GeneratorConfig

__all__ = [
    "Directions",
    "Renderer",
    "apply_direction",
    "factorise",
    "load_directions",
    "save_directions",
]

SYSTEM, KIND = "voicestyle", "directions"


class Renderer(Protocol):
    """A generator of images by latents alone: `Generator`, or `voicestyle.onnx_generator.OnnxGenerator`."""

    latent_avg: Tensor | None

    @property
    def config(self) -> GeneratorConfig: ...
    @property
    def like(self) -> Tensor: ...
    def mapping(self, z: Tensor) -> Tensor: ...
    def render(self, latents: Tensor, truncation: float = 1.0) -> Tensor: ...


class Directions(NamedTuple):
    """Directions in descending order of strength.

    Attributes:
        directions: (D, D), unit columns with arbitrary signs.
        strengths: (D,), change of the styles per unit of the latent.
    """

    directions: Tensor
    strengths: Tensor


def factorise(source: Mapping[str, Tensor] | Generator) -> Directions:
    """Compute the directions of a generator or of its state dict; D is the length of a latent.

    Raises:
        ValueError: there are no modulation weights.
    """
    weights = source.state_dict() if isinstance(source, Generator) else source
    rows = [
        weight.detach()
        for key, weight in weights.items()
        if "modulation" in key and "to_rgbs" not in key and key.endswith("weight")
    ]
    if not rows:
        raise ValueError(f"no modulation weights among {', '.join(list(weights)[:4]) or 'no keys'}")
    stacked = torch.cat(rows).double()
    # The eigenvectors of W^T W are the right singular vectors of W, which has many more rows than columns.
    squares, vectors = torch.linalg.eigh(stacked.T @ stacked)
    return Directions(vectors.flip(1).float(), squares.flip(0).clamp_min(0).sqrt().float())


@torch.no_grad()
def apply_direction(
    generator: "Renderer", latents: Tensor, direction: Tensor, degree: float, *, truncation: float = 1.0
) -> Tensor:
    """Synthesise images of latents moved along a direction: plus, unchanged, minus.

    Args:
        generator: its stored noise is used, so that only the latent differs.
        latents: w (N, D).
        direction: (D,).
        degree: length of the move.
        truncation: psi; below 1 the generator's `latent_avg` is the centre.

    Returns:
        (3, N, 3, S, S).
    """
    moved = torch.stack([latents + degree * direction, latents, latents - degree * direction])
    return generator.render(moved.flatten(0, 1), truncation).unflatten(0, moved.shape[:2])


def save_directions(path: str | Path, directions: Directions, checkpoint: str = "") -> None:
    """Write directions, atomically.

    Args:
        path: name ending in .safetensors for the native format, else the published form `{ckpt, eigvec}`,
            which has no strengths.
        directions: directions to write.
        checkpoint: name of the generator's file.
    """
    if Path(path).suffix == ".safetensors":
        extra = {"checkpoint": checkpoint}
        save_model(path, directions._asdict(), system=SYSTEM, kind=KIND, config={}, extra=extra)
    else:
        save_torch(path, {"ckpt": checkpoint, "eigvec": directions.directions.contiguous()})


def load_directions(path: str | Path) -> tuple[Tensor, str]:
    """Read directions (D, D), one per column, and the checkpoint's name, from a native file or a `factor.pt`.

    Raises:
        CheckpointError: the file is corrupt, unsafe, or has no directions.
        FileNotFoundError: the file is missing.
    """
    if Path(path).suffix == ".safetensors":
        loaded = load_model(path, system=SYSTEM, kind=KIND)
        return loaded.state["directions"], str(loaded.extra.get("checkpoint", ""))
    content = read_published(path)
    vectors = content.get("eigvec")
    if not isinstance(vectors, Tensor) or vectors.ndim != 2:
        raise CheckpointError(f"{path}: expected a matrix under eigvec, found keys {', '.join(content)}")
    return vectors.float(), str(content.get("ckpt", ""))
