"""The published files of perceptionist with random weights: `pretrained_models`, and features (`fbank`)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from perceptionist.generator import Generator
from perceptionist.image_to_3d import ImageTo3D
from perceptionist.network_config import (
    PUBLISHED_STAGES,
    GeneratorConfig,
    ImageTo3DConfig,
    SupervisedHeadConfig,
    VoiceNetworkConfig,
)
from perceptionist.published import FILES, ExpertArchive
from perceptionist.supervised_head import SupervisedHead
from perceptionist.voice_network import VoiceNetwork
from published_files import save_expert, save_network, save_student

SMALL_EMBEDDING = 16
SMALL_VOICE = VoiceNetworkConfig(channels=(8, 8), embedding_dim=SMALL_EMBEDDING)
SMALL_STAGES = tuple(
    stage.model_copy(update={"channels": 4 + number, "expansion": 1 if number == 0 else 2})
    for number, stage in enumerate(PUBLISHED_STAGES)
)


def write_pretrained_models(folder: Path, face_model: Path, *, full_size: bool = False) -> Path:
    """Write every file of `pretrained_models`.

    Args:
        folder: to write.
        face_model: `train.configs`; the expert's archive repeats its arrays.
        full_size: published widths instead of small ones.
    """
    torch.manual_seed(0)
    parts: dict[str, Any] = {}
    if not full_size:
        parts["voice"] = SMALL_VOICE
        parts["generator"] = GeneratorConfig(embedding_dim=SMALL_EMBEDDING, channels=(8, 8, 8, 8, 8))
        parts["head"] = SupervisedHeadConfig(embedding_dim=SMALL_EMBEDDING)
        parts["student"] = ImageTo3DConfig(stem=4, stages=SMALL_STAGES, num_features=16, texture=40)
        parts["expert"] = ImageTo3DConfig(stem=4, stages=SMALL_STAGES, num_features=16, texture=40)
    place = {name: folder / path for name, path in FILES.items()}
    place["supervised head"].parent.mkdir(parents=True)
    voice = VoiceNetwork(*_config(parts, "voice"))
    save_network(place["voice network"], voice)
    save_network(place["supervised head"].with_name("voice_embedding.pth"), voice)
    save_network(place["generator"], Generator(*_config(parts, "generator")))
    save_network(place["supervised head"], SupervisedHead(*_config(parts, "head")))
    save_student(place["student"], ImageTo3D(*_config(parts, "student")), copies=True)
    archive = ExpertArchive(ImageTo3D(*_config(parts, "expert")), read_arrays(face_model), None, None)
    save_expert(place["expert"], archive, copies=True)
    return folder


def _config(parts: dict[str, Any], name: str) -> tuple[Any, ...]:
    return (parts[name],) if name in parts else ()


def read_arrays(face_model: Path) -> dict[str, np.ndarray]:
    """Arrays of a face model as the expert's archive repeats them."""
    from perceptionist.face_models.io import resolve_face_model

    model = resolve_face_model(face_model)
    return {
        "w_shp": np.load(face_model / "w_shp_sim.npy"),
        "w_exp": np.load(face_model / "w_exp_sim.npy"),
        "u": np.load(face_model / "u_shp.npy") + np.load(face_model / "u_exp.npy"),
        "param_mean": np.asarray(model.parameter_mean),
        "param_std": np.asarray(model.parameter_std),
    }


def write_fbank(population: Path, out: Path) -> Path:
    """Write the features of all recordings, `<voice id>/<video>/<utterance>.npy`."""
    from perceptionist.speech import extract_file_features

    for clip in sorted((population / "wav").rglob("*.wav")):
        path = (out / clip.relative_to(population / "wav")).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, extract_file_features(clip))
    return out
