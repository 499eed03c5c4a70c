"""Directions of the code space that change pictures most, in closed form (specification, section 12.5).

The right singular vectors of all modulation weights, stacked: a code moved along the first ones moves the
styles of the layers furthest. As published, the layers of `to_rgbs` are left out, that of `to_rgb1` is not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from voiceface.checkpoints.native import load_model, save_model
from voiceface.checkpoints.published import CheckpointError, read_published, save_torch

from voicestyle.stylegan2.generator import Generator

SYSTEM, KIND = "voicestyle", "directions"


class Directions(NamedTuple):
    """Directions by falling strength.

    Attributes:
        directions: (D, D), unit columns; their signs mean nothing.
        strengths: (D,), how far the styles move per unit of the code.
    """

    directions: Tensor
    strengths: Tensor


def factorise(source: Mapping[str, Tensor] | Generator) -> Directions:
    """Directions of a generator, or of its state dict; D is the length of a code.

    Raises:
        ValueError: no modulation weights in it.
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
    # the eigenvectors of W^T W are the right singular vectors of W, which has many more rows than columns
    squares, vectors = torch.linalg.eigh(stacked.T @ stacked)
    return Directions(vectors.flip(1).float(), squares.flip(0).clamp_min(0).sqrt().float())


@torch.no_grad()
def apply_direction(
    generator: Generator, latents: Tensor, direction: Tensor, degree: float, *, truncation: float = 1.0
) -> Tensor:
    """Pictures of codes moved along a direction: plus, as they are, minus.

    Args:
        generator: draws with its stored noise, so that only the code differs.
        latents: w (N, D).
        direction: (D,).
        degree: length of the step.
        truncation: psi; below 1 the generator's `latent_avg` is the centre.

    Returns:
        (3, N, 3, S, S).
    """
    steps = torch.stack([latents + degree * direction, latents, latents - degree * direction])
    pictures, _ = generator(
        steps.flatten(0, 1), input_is_latent=True, randomize_noise=False, truncation=truncation
    )
    return pictures.unflatten(0, steps.shape[:2])


def save_directions(path: str | Path, directions: Directions, checkpoint: str = "") -> None:
    """Write directions, atomically.

    Args:
        path: a name that ends in .safetensors for our file, else the published form `{ckpt, eigvec}`, which
            has no strengths.
        directions: what is written.
        checkpoint: name of the generator's file.
    """
    if Path(path).suffix == ".safetensors":
        extra = {"checkpoint": checkpoint}
        save_model(path, directions._asdict(), system=SYSTEM, kind=KIND, config={}, extra=extra)
    else:
        save_torch(path, {"ckpt": checkpoint, "eigvec": directions.directions.contiguous()})


def load_directions(path: str | Path) -> tuple[Tensor, str]:
    """Directions (D, D) as columns, and the checkpoint's name, of our file or a published `factor.pt`.

    Raises:
        CheckpointError: damaged, unsafe or without directions.
        FileNotFoundError: no such file.
    """
    if Path(path).suffix == ".safetensors":
        loaded = load_model(path, system=SYSTEM, kind=KIND)
        return loaded.state["directions"], str(loaded.extra.get("checkpoint", ""))
    content = read_published(path)
    vectors = content.get("eigvec")
    if not isinstance(vectors, Tensor) or vectors.ndim != 2:
        raise CheckpointError(f"{path}: expected a matrix under eigvec, found keys {', '.join(content)}")
    return vectors.float(), str(content.get("ckpt", ""))
