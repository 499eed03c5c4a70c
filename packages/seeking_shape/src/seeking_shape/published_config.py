"""Translate configuration files of the published implementation.

`python -m seeking_shape.published_config train_main.yaml > mine.yaml` writes a configuration of this package
with the published behaviour enabled, and prints the paths that the published file names on standard error.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceface.association.published_config import shared_output_size, solver_sections
from voiceface.runtime import published_config
from voiceface.runtime.published_config import (
    PublishedKeys,
    Translation,
    command,
    iter_leaves,
    positive_or_none,
    read_yaml,
)

__all__ = ["PUBLISHED_KEYS", "is_published", "main", "read_published_config", "recognise", "translate"]

FACE_KEY, VOICE_KEY, CENTER_KEY = (f"models.conponents.{name}" for name in ["F", "V", "center"])
SOLVER_KEY = "training.optimizer.match"
SUPPORTED_VALUES = {  # values that this package can reproduce
    "models.model_warpper": ("Voice2Face",),
    f"{FACE_KEY}.model": ("SEResNet50IR",),
    f"{VOICE_KEY}.model": ("ThinResNet34",),
    f"{CENTER_KEY}.model": ("center",),
    "models.normal_layer": (True,),
    "models.normal_mean": ([127.5] * 3,),
    "models.normal_std": ([127.5] * 3,),
    "dataset.modal": ("both",),
    "dataset.input_size": ([112, 112],),
}
IGNORED_KEYS = {  # no effect in the published code either
    *(f"{FACE_KEY}.{key}" for key in ("bn", "act", "vote")),
    *(f"{VOICE_KEY}.{key}" for key in ("bn", "act", "num_classes")),
    *(f"{CENTER_KEY}.{key}" for key in ("output_channel", "num_classes")),
    *(f"dataset.{key}" for key in ("pair", "triple", "resize", "eval_triplet_test")),
    *(f"evaluation.dataset.{key}" for key in ("pair", "triple", "resize", "modal", "input_size")),
    *(f"evaluation.dataset.{key}" for key in ("dataset_train", "dataset_val")),
    *(f"evaluation.dataset.{key}" for key in ("eval_triplet_val", "eval_triplet_test")),
    "training.no_cuda",
}
PATH_KEYS = {  # published key: name in `Translation.paths`
    "dataset.image_data_dir": "images",
    "dataset.audio_data_dir": "recordings",
    "dataset.list_dir": "lists",
    "dataset.dataset_train": "training identities",
    "dataset.dataset_val": "validation identities",
    "dataset.dataset_test": "test identities",
    "evaluation.dataset.image_data_dir": "images of the evaluation",
    "evaluation.dataset.audio_data_dir": "recordings of the evaluation",
    "evaluation.dataset.list_dir": "lists of the evaluation",
    "evaluation.dataset.dataset_test": "identities of the evaluation",
    "training.save_dir": "runs",
    "training.resume_train": "start weights",
    "evaluation.resume_eval": "weights of the evaluation",
    "evaluation.save_feat": "embeddings",
    "evaluation.save_result": "results",
}
TRANSLATED_KEYS = {  # keys that become values of this package's configuration
    f"{FACE_KEY}.freeze",
    f"{FACE_KEY}.output_channel",
    f"{FACE_KEY}.num_classes",
    f"{VOICE_KEY}.freeze",
    f"{VOICE_KEY}.output_channel",
    "models.with_cross",
    "models.weight",
    "dataset.eval_triplet_val",
    "training.experiment_id",
    "training.ft",
    *(
        f"{SOLVER_KEY}.{key}"
        for key in ("train_params", "loss_weight", "optim_method", "lr", "momentum", "nesterov")
    ),
    *(f"{SOLVER_KEY}.{key}" for key in ("betas", "weight_decay", "lr_decay_iter", "lr_decay")),
    *(
        f"training.{key}"
        for key in ("weight_update_iter", "start_eval_it", "val_iter", "save_iter", "max_iter")
    ),
    *(f"training.{key}" for key in ("num_workers", "batchsize")),
    "evaluation.dataset.eval_triplet_test_all",
}
PUBLISHED_KEYS = PublishedKeys(
    SUPPORTED_VALUES, frozenset(IGNORED_KEYS), PATH_KEYS, frozenset(TRANSLATED_KEYS)
)


def read_published_config(path: str | Path) -> Translation:
    """Translate a published YAML file.

    Raises:
        ConfigError: no such file, no YAML mapping, a key unknown to the published code, or a value that this
            package cannot reproduce.
    """
    return translate(read_yaml(path), str(path))


def is_published(tree: Mapping[str, Any]) -> bool:
    """Whether a configuration has the published format (this package's has no `models`)."""
    return "models" in tree or "model_warpper" in tree


def recognise(tree: Mapping[str, Any], name: str) -> Translation | None:
    """Translate a published configuration; None: the configuration has this package's format."""
    return translate(tree, name) if is_published(tree) else None


def translate(tree: Mapping[str, Any], name: str = "configuration") -> Translation:
    """Translate a published configuration; see `voiceface.runtime.published_config.translate`."""
    from seeking_shape.config import SeekingShapeConfig

    fine_tune = bool(dict(iter_leaves(tree)).get("training.ft", True))
    translation = published_config.translate(
        tree, name, PUBLISHED_KEYS, _to_config_values, SeekingShapeConfig, fine_tune=fine_tune
    )
    lists = dict(iter_leaves(tree)).get("evaluation.dataset.eval_triplet_test_all")
    if isinstance(lists, str):
        translation.paths["file of test list names"] = f"{lists}.txt"
    return translation


def _to_config_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Map published values by dotted key to nested values of `SeekingShapeConfig`."""
    from voiceface.association.config import TEST_LISTS

    get = values.get
    embedding_dim = shared_output_size(get, (FACE_KEY, VOICE_KEY))
    trained = get(f"{SOLVER_KEY}.train_params", ["F", "V", "center"])
    frozen = [
        modality
        for modality, name, branch in (("face", "F", FACE_KEY), ("voice", "V", VOICE_KEY))
        if get(f"{branch}.freeze", False) or name not in trained
    ]
    lists = get("evaluation.dataset.eval_triplet_test_all")
    max_steps = get("training.max_iter", 10_000)
    return {
        "name": str(get("training.experiment_id", "published")),
        "model": {"embedding_dim": embedding_dim, "num_classes": get(f"{FACE_KEY}.num_classes")},
        "loss": {
            "explicit": get("models.with_cross", True),
            "identity_loss_weighting": "batch_mean",
            "loss_weight": get(f"{SOLVER_KEY}.loss_weight", [1, 1, 1]),
        },
        "weights": {
            "enabled": get("models.weight", True),
            "update_interval": positive_or_none(get("training.weight_update_iter", -1)),
        },
        **solver_sections(get, SOLVER_KEY, []),
        "data": {"rotation": "published", "own_channel": "first"},
        "training": {
            "max_steps": max_steps,
            "batch_size": get("training.batchsize", 64),
            "num_workers": get("training.num_workers", 4),
            "freeze": frozen,
            "checkpoint_interval": get("training.save_iter", max_steps),
            "validation_interval": positive_or_none(get("training.val_iter", -1)),
            "validation_start": get("training.start_eval_it", 15_000),
        },
        "evaluation": {
            "validation_list": get("dataset.eval_triplet_val", "match_v2f_2_val"),
            "lists": lists if isinstance(lists, list) else list(TEST_LISTS),
            "tie_breaking": "first",
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m seeking_shape.published_config`."""
    return command("seeking_shape", read_published_config, argv)


if __name__ == "__main__":
    raise SystemExit(main())
