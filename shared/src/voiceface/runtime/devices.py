"""Devices and deterministic algorithms."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["choose_device", "enable_determinism", "to_device"]


def choose_device(name: str) -> torch.device:
    """Choose the device of a run.

    Args:
        name: ``auto`` selects a GPU if there is one; else a torch device name.

    Raises:
        ValueError: a GPU is requested and there is none, or an unknown device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("device cuda: torch finds no GPU; use --device cpu or auto")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r} is unknown to torch; use cpu, cuda or auto") from error


def to_device(batch: Any, device: torch.device) -> Any:
    """Move the tensors of a batch, nested in dicts, lists and tuples; other values stay."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


def enable_determinism() -> None:
    """Select deterministic algorithms; PyTorch warns where a GPU has none."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms imports a compiler: 5 s
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False  # it would write all new memory twice
