"""StyleGAN2 checkpoints in the published layout, for tests of their readers."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from voicestyle.stylegan2.discriminator import Discriminator
from voicestyle.stylegan2.generator import Generator


def state_dict_with_kernels(network: Generator | Discriminator) -> dict[str, Tensor]:
    """Return a network's state with its FIR kernels, as in published files."""
    kernels = {name: value for name, value in network.named_buffers() if name.rpartition(".")[2] == "kernel"}
    return {**network.state_dict(), **kernels}


def save_published_checkpoint(path: Path, generator: Generator) -> None:
    """Write `g_ema` and, if known, `latent_avg`."""
    content: dict[str, Any] = {"g_ema": state_dict_with_kernels(generator)}
    if generator.latent_avg is not None:
        content["latent_avg"] = generator.latent_avg.reshape(-1)
    torch.save(content, path)
