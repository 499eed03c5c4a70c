"""Files in the form of the published implementations, with random weights: configuration, checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

SMALL = {"widths": (4, 8, 8, 16), "blocks": (1, 1, 1, 1)}
NUM_CLUSTERS = (500, 1000, 1500)


def published_file() -> dict[str, Any]:
    """Published keys and values (docs/cmpc2.md), with paths of a user."""
    dataset = {"name": "VoxCeleb1", "train_split": [1, 2], "test_split": [4], "load_spec": True}
    dataset |= {"batch_size": 128, "num_workers": 6, "sampling_rate": 16000, "audio_duration": [5, 5]}
    dataset |= {"fbank_nframes": 500, "frame_width": 100, "frame_shift": 10, "n_mels": 64}
    dataset |= {"face_size": [224, 224], "num_frames": 1, "face_dir": "unzippedFaces", "wav_dir": "wav"}
    dataset |= {"train": {"drop_last": True, "clips_per_video": 10}}
    rates = {"name": "cosine", "max_lr": 0.005, "min_lr": 0.0001}
    return {
        "root_path": "data",
        "resume": False,
        "seed": 0,
        "dataset": dataset,
        "optimizer": {"name": "adam", "weight_decay": 1e-5, "iterations": 3_200_000, "lr": rates},
        "model": {"arch": "FV_Wrapper", "args": {"last_dim": 512, "proj": True, "pretrain": False}},
        "clustering": {
            **{"warmup_iter": 300_000, "clustering_iter_freq": 36_114},
            **{"num_cluster": [500, 1000, 1500], "Niter": 20},
        },
        "loss": {
            "name": "IR_CMPC",
            "args": {"temperature": 0.03, "delta": -1, "ka": 0.1, "R": 3},
            "memory_momentum": 0.5,
        },
        "matching": {"v2f_files": ["matching_1_2.csv"], "batch_size": 256},
        "verification": {"test_files": ["veriflist.csv"], "voice_aug_times": 5},
    }


def write_published(path: Path, prefix: str = "", *, full_size: bool = False) -> Mapping[str, Tensor]:
    """Write a checkpoint in the published form; returns the tensors of the model.

    Args:
        path: file to write.
        prefix: of all keys, such as that of data-parallel training.
        full_size: networks of the published size instead of small ones with 16 outputs.
    """
    import torch
    from cmpc2.model import FV_Wrapper
    from cmpc2.model_config import ModelConfig

    small = {"voice": SMALL, "face": SMALL, "embedding_dim": 16}
    config = ModelConfig.model_validate({} if full_size else small)
    torch.manual_seed(0)
    state = FV_Wrapper(config=config).state_dict()
    model = {prefix + key: value for key, value in state.items()}
    torch.save({"epoch": 128, "model": model, "optimizer": {}, "train_criterion": {}}, path)
    return state


def write_prototype_memory(
    path: Path, num_videos: int, *, embedding_dim: int = 16, num_clusters: Sequence[int] = NUM_CLUSTERS
) -> Path:
    """Write a memory of random face prototypes in the published form (`frame_memory_best_256.pth.tar`)."""
    import torch

    generator = torch.Generator().manual_seed(0)
    centroids = [torch.randn(count, embedding_dim, generator=generator) for count in num_clusters]
    assignment = [torch.randint(count, (num_videos,), generator=generator) for count in num_clusters]
    torch.save({"centroids": centroids, "inst2cluster": assignment}, path)
    return path
