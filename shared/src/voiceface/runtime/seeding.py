"""Seed, save and restore all random states of a process."""

import random
from typing import Any

import numpy as np
import torch

__all__ = ["get_rng_states", "restore_rng_states", "seed_everything"]


def seed_everything(seed: int) -> torch.Generator:
    """Seed torch (all devices), numpy's and python's global generators.

    Args:
        seed: not negative; numpy uses its lowest 32 bits.

    Returns:
        A new CPU generator with the same seed.
    """
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    return torch.Generator().manual_seed(seed)


def get_rng_states(generator: torch.Generator, device: torch.device) -> dict[str, Any]:
    """Save the random states in types that `voiceface.checkpoints.resume_state.save_state` stores.

    Args:
        generator: the run's own CPU generator.
        device: device of the run.
    """
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    return {
        "generator": generator.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": (kind, keys, position, has_gauss, gauss),
        "python": random.getstate(),
    }


def restore_rng_states(states: dict[str, Any], generator: torch.Generator, device: torch.device) -> None:
    """Restore the states of `get_rng_states`; a CUDA state is skipped if the run has moved to a CPU."""
    generator.set_state(states["generator"])
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
    np.random.set_state(states["numpy"])  # noqa: NPY002
    random.setstate(states["python"])
