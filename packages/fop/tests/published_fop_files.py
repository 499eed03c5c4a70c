"""A checkpoint as the published programs write it."""

from collections.abc import Mapping
from pathlib import Path

import torch
from fop.config import ModelConfig
from fop.model import FopModel
from torch import Tensor

__all__ = ["write_published"]


def write_published(path: Path) -> Mapping[str, Tensor]:
    """Write a checkpoint of the FAME baseline with random weights; returns its tensors by key."""
    torch.manual_seed(4)
    state = FopModel(ModelConfig(voice_dim=512, face_dim=4096), 64).state_dict()
    torch.save({"epoch": 7, "state_dict": state}, path)
    return state
