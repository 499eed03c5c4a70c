"""Checkpoints of tiny networks with random weights, for tests of the programs."""

from pathlib import Path
from typing import Any

import torch
from perceptionist.config import PerceptionistConfig, config_to_dict
from perceptionist.generator import Generator
from perceptionist.image_to_3d import ImageTo3D
from perceptionist.models import ExpertWithRefiners, SupervisedModel
from perceptionist.network_config import (
    GeneratorConfig,
    ImageTo3DConfig,
    StageConfig,
    SupervisedHeadConfig,
    VoiceNetworkConfig,
)
from perceptionist.voice_network import VoiceNetwork
from torch import nn
from voiceface.checkpoints.native import save_model

VOICE = VoiceNetworkConfig(channels=(24, 24), embedding_dim=16)
STAGES = (
    StageConfig(expansion=1, channels=8, blocks=1, stride=2),
    StageConfig(expansion=2, channels=8, blocks=2, stride=2),
)
STUDENT = ImageTo3DConfig(stem=8, stages=STAGES, num_features=32, inter_block=1, texture=0)
DISCLAIMER = "Synthetic identities only."


def write_supervised_checkpoint(path: Path, seed: int = 0, **extra: Any) -> Path:
    """Write a supervised model of the embedded head; `extra` is noted beside it."""
    torch.manual_seed(seed)
    head = SupervisedHeadConfig(embedding_dim=16)
    networks = {"voice": VOICE.model_dump(), "head": head.model_dump()}
    return _write_checkpoint(
        path, "supervised", SupervisedModel(VOICE, head), networks, {"supervised": {}}, extra
    )


def write_unsupervised_checkpoint(path: Path, seed: int = 0) -> Path:
    """Write an unsupervised model with generator, student and expert."""
    torch.manual_seed(seed)
    generator = GeneratorConfig(embedding_dim=16, channels=(16, 8, 8, 8, 8))
    student = STUDENT
    parts = nn.ModuleDict(
        {
            "e": VoiceNetwork(VOICE),
            "g": Generator(generator),
            "student": ImageTo3D(student),
            "expert": ImageTo3D(student),
        }
    )
    with torch.no_grad():
        for weight in parts["g"].parameters():
            weight.mul_(2)
    face = {"channels": (8, 8, 8, 8, 8), "embedding_dim": 16}
    networks = {"voice": VOICE, "generator": generator, "student": student}
    plain = {name: config.model_dump() for name, config in networks.items()} | {"face": face}
    extra = {"expert": student.model_dump()}
    return _write_checkpoint(path, "unsupervised", parts, plain, {"distillation": {}}, extra)


def write_expert_checkpoint(path: Path, **data: Any) -> Path:
    """Write an expert with texture, for images of 48 pixels; `data` configures its input."""
    torch.manual_seed(3)
    expert = STUDENT.model_copy(update={"image_size": 48, "texture": 40})
    networks, losses = {"expert": expert.model_dump()}, {"expert": {}}
    return _write_checkpoint(path, "expert", ExpertWithRefiners(expert), networks, losses, {}, data)


def _write_checkpoint(
    path: Path,
    kind: str,
    model: nn.Module,
    networks: dict,
    losses: dict,
    extra: dict,
    data: dict | None = None,
) -> Path:
    config = PerceptionistConfig.model_validate(
        {"name": "small", "kind": kind, "networks": networks, "losses": losses, "data": data or {}}
    )
    extra = {"names": [], "face_model": "population", "num_vertices": 4883, "disclaimer": DISCLAIMER} | extra
    save_model(
        path,
        model.state_dict(),
        system="perceptionist",
        kind=kind,
        config=config_to_dict(config),
        extra=extra,
    )
    return path
