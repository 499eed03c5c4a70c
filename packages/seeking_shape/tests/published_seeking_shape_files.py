"""Files in the form of the published implementation, with random weights: configurations, checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from voiceface.association.config import TEST_LISTS

MAIN: dict[str, Any] = {  # configuration file of step 3
    "models": {
        "model_warpper": "Voice2Face",
        "conponents": {
            "F": {
                "model": "SEResNet50IR",
                "freeze": False,
                "output_channel": 128,
                "num_classes": 924,
                "bn": "BatchNorm",
                "act": "ReLU",
                "vote": True,
            },
            "V": {"model": "ThinResNet34", "freeze": False, "output_channel": 128, "num_classes": 924},
            "center": {"model": "center", "output_channel": 128, "num_classes": 924},
        },
        "normal_layer": True,
        "with_cross": True,
        "weight": True,
        "normal_mean": [127.5] * 3,
        "normal_std": [127.5] * 3,
    },
    "dataset": {
        "modal": "both",
        "pair": False,
        "triple": False,
        "resize": [112, 112],
        "dataset_train": "vox1_train",
        "dataset_val": "vox1_val",
        "dataset_test": "vox1_test",
        "eval_triplet_val": "match_v2f_2_val",
        "eval_triplet_test": "match_v2f_2_test",
        "image_data_dir": "./data/VGG_ALL_FRONTAL",
        "audio_data_dir": "./data/wav",
        "list_dir": "./data/list_wav",
        "input_size": [112, 112],
    },
    "training": {
        "save_dir": "./save",
        "experiment_id": "main",
        "ft": True,
        "optimizer": {
            "match": {
                "train_params": ["F", "V", "center"],
                "loss_weight": [1, 1, 1],
                "optim_method": "sgd",
                "lr": 0.01,
                "momentum": 0.9,
                "weight_decay": 1e-4,
                "lr_decay_iter": [2000, 3000],
                "lr_decay": 0.1,
            }
        },
        "weight_update_iter": -1,
        "start_eval_it": 2000,
        "val_iter": 2000,
        "save_iter": 2000,
        "max_iter": 10000,
        "num_workers": 8,
        "batchsize": 64,
        "no_cuda": False,
        "resume_train": "./save/vox1_train/Voice2Face/re-weighting/id_weight.pth",
    },
    "evaluation": {
        "dataset": {
            "dataset_test": "vox1_test",
            "eval_triplet_test_all": list(TEST_LISTS),
            "image_data_dir": "./data/VGG_ALL_FRONTAL",
            "audio_data_dir": "./data/wav",
            "list_dir": "./data/list_wav",
        },
        "save_feat": "./save/feat.pth",
        "save_result": "./save/result.txt",
        "resume_eval": "save/vox1_train/Voice2Face/main/best.pth.tar",
    },
}


def reweighting_file() -> dict[str, Any]:
    """Configuration file of step 1: other lists, other lengths, no validation, no initial weights."""
    dataset = {**MAIN["dataset"], "eval_triplet_val": "match_g_v2f_2_val"}
    dataset["eval_triplet_test"] = "match_g_v2f_2_test"
    optimiser = {**MAIN["training"]["optimizer"]["match"], "lr_decay_iter": [1000, 2000]}
    training = {**MAIN["training"], "experiment_id": "re-weighting", "optimizer": {"match": optimiser}}
    training |= {"weight_update_iter": 100, "save_iter": 10000, "max_iter": 2400, "resume_train": "none"}
    for key in ("start_eval_it", "val_iter"):
        del training[key]
    return {**MAIN, "dataset": dataset, "training": training}


def write_published(path: Path, overrides: Sequence[str] = (), num_classes: int = 3) -> Mapping[str, Tensor]:
    """Write a checkpoint in the published form; returns the tensors of the model.

    Args:
        path: file to write.
        overrides: settings of smaller networks; empty: those of the published size.
        num_classes: number of training identities.
    """
    from seeking_shape.published import save_checkpoint

    model = _build_model(overrides, num_classes)
    save_checkpoint(path, model, 1)
    return model.state_dict()


def write_backbones(folder: Path, overrides: Sequence[str] = ()) -> tuple[Path, Path]:
    """Write the pretrained face and voice networks; returns both files."""
    from seeking_shape.published import save_face_backbone, save_voice_backbone

    model = _build_model(overrides, 3)
    face, voice = folder / "backbone_ir50_ms1m_epoch120.pth", folder / "baseline_lite_ap.model"
    save_face_backbone(face, model)
    save_voice_backbone(voice, model)
    return face, voice


def _build_model(overrides: Sequence[str], num_classes: int) -> Any:
    """Build a model with random weights."""
    import torch
    from seeking_shape.config import SeekingShapeConfig
    from seeking_shape.model import Voice2Face
    from voiceface.runtime.config import load_config

    torch.manual_seed(0)
    config = load_config("published_main", SeekingShapeConfig, "seeking_shape", overrides)
    return Voice2Face(config.model, num_classes)
