"""Files in the form of both published repositories, with random weights: configurations, checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from voiceface.association.config import TEST_LISTS

TRAINING: dict[str, Any] = {  # of the published file
    "logging": {"level": "DEBUG", "log_dir": "log"},
    "training": {
        "no_cuda": False,
        "save_dir": "./save",
        "ckp_dir": "checkpoints",
        "batch_size": 20,
        "num_workers": 4,
        "max_iter": 27000,
        "warm_up": 6440,
        "weight_update_iter": 920,
        "save_iter": 6888,
        "weights_filename": "ckp_epoch_",
        "optimizer": {
            "optim_method": "sgd",
            "lr": 0.01,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "lr_decay_iter": [6888, 9888],
            "lr_decay": 0.1,
        },
    },
    "validation": {
        "batch_size": 256,
        "val_iter": 6888,
        "start_val_iter": 6888,
        "optimal_weights_filename": "model_best_epoch_",
    },
    "testing": {
        "batch_size": 256,
        "trained_model_path": "./save/checkpoints/model_best_epoch_xx.pth.tar",
        "extracted_features_path": "./save/ext_feat.pth",
        "result_path": "./save/results.txt",
        "test_lists": list(TEST_LISTS),
    },
    "models": {
        "model_wrapper": "Aasm",
        "Arch": {
            "vNet": {
                "model_wrapper": "vSubNet",
                "pretrained": {"model": "IR_152", "weight": "weights/ir152.pth"},
                "freeze": False,
                "output_channel": 128,
                "num_classes": 924,
            },
            "aNet": {
                "model_wrapper": "aSubNet",
                "pretrained": {"model": "ResNetSE34", "weight": "weights/baseline_lite_ap.model"},
                "freeze": False,
                "output_channel": 128,
                "num_classes": 924,
            },
            "eqm": {
                "model_wrapper": "eqm",
                "output_channel": 128,
                "num_classes": 924,
                "temp": 0.5,
                "m_u": 0.15,
                "m_l": 0.2,
                "H": True,
            },
        },
        "normal_layer": True,
        "normal_mean": [127.5] * 3,
        "normal_std": [127.5] * 3,
        "weighted_enabled": True,
        "regauge_iter": 6888,
    },
    "dataset": {
        "train_csv": "vox1_train",
        "val_csv": "vox1_val",
        "test_csv": "vox1_test",
        "v2f_triplet_val": "match_v2f_2_val",
        "v2f_triplet_test": "match_v2f_2_test",
        "image_data_dir": "data/VGG_ALL_FRONTAL",
        "audio_data_dir": "data/voxceleb1/audio",
        "list_dir": "./data/gen_list",
        "resize": [112, 112],
        "input_size": [112, 112],
    },
}
EVALUATION: dict[str, Any] = {
    "training": {"no_cuda": False},
    "models": {
        "model_wrapper": "Aasm",
        "Arch": {
            "vNet": {"model_wrapper": "vSubNet", "output_channel": 128, "num_classes": 924},
            "aNet": {"model_wrapper": "aSubNet", "output_channel": 128, "num_classes": 924},
            "eqm": {"model_wrapper": "eqm", "output_channel": 128, "num_classes": 924},
        },
        "normal_layer": True,
        "normal_mean": [127.5] * 3,
        "normal_std": [127.5] * 3,
    },
    "dataset": {
        "dataset_train": "vox1_train",
        "dataset_val": "vox1_val",
        "dataset_test": "vox1_test",
        "eval_triplet_val": "match_v2f_2_test",
        "eval_triplet_test": "match_v2f_2_test",
        "image_data_dir": "data/faces",
        "audio_data_dir": "data/voices",
    },
    "evaluation": {
        "dataset": {
            "dataset_test": "vox1_test",
            "dataset_val": "vox1_val",
            "eval_lists": ["match_v2f_2_test", "reterival_f2v_test"],
            "image_data_dir": "data/faces_test",
            "audio_data_dir": "data/voices_test",
            "list_dir": "./data/lists",
            "resize": [112, 112],
            "input_size": [112, 112],
        },
        "save_feat": "./save/features.pth",
        "save_result": "./save/scores.txt",
        "trained_model": "./save/checkpoint_best.pth.tar",
    },
}


def write_published(
    path: Path, arch: str = "ir50", overrides: Sequence[str] = (), num_classes: int = 3
) -> Mapping[str, Tensor]:
    """Write a checkpoint in the published form; returns the tensors of the model.

    Args:
        path: file to write.
        arch: face network.
        overrides: settings of smaller networks; empty: those of the published size.
        num_classes: number of training identities.
    """
    from archetype_agnostic.published import save_checkpoint

    model = _build_model(arch, overrides, num_classes)
    save_checkpoint(path, model, 1)
    return model.state_dict()


def write_backbones(folder: Path, overrides: Sequence[str] = ()) -> tuple[Path, Path]:
    """Write the pretrained face and voice networks, the latter as its trainer does; returns both files."""
    import torch
    from archetype_agnostic.published import save_face_backbone, save_voice_backbone

    model = _build_model("ir152", overrides, 3)
    face = folder / "Backbone_IR_152_Epoch_112_Batch_2547328_Time_2019-07-13-02-59_checkpoint.pth"
    voice = folder / "baseline_lite_ap.model"
    save_face_backbone(face, model)
    save_voice_backbone(voice, model)
    state = {f"__S__.{key}": value for key, value in torch.load(voice, weights_only=True).items()}
    torch.save({**state, "__L__.w": torch.ones(1), "__L__.b": torch.zeros(1)}, voice)
    return face, voice


def _build_model(arch: str, overrides: Sequence[str], num_classes: int) -> Any:
    """Build a model with random weights."""
    import torch
    from archetype_agnostic.config import ArchetypeAgnosticConfig
    from archetype_agnostic.model import Aasm
    from voiceface.runtime.config import load_config

    settings = [f"model.face.arch={arch}", *overrides]
    config = load_config("published", ArchetypeAgnosticConfig, "archetype_agnostic", settings)
    torch.manual_seed(0)
    return Aasm(config.model, num_classes)
