"""Configuration files of the published implementation, translated into ours.

`python -m seeking_shape.published_config train_main.yaml > mine.yaml` writes an experiment file of ours with
the published behaviour switched on, and says on standard error which paths the published file named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.association.published_config import (
    PrintedTranslation,
    PublishedKeys,
    command,
    iter_leaves,
    positive_or_none,
    read_yaml,
)

if TYPE_CHECKING:
    from seeking_shape.config import SeekingShapeConfig

FACE_KEY, VOICE_KEY, CENTER_KEY = (f"models.conponents.{name}" for name in ["F", "V", "center"])
SOLVER_KEY = "training.optimizer.match"
SUPPORTED_VALUES = {  # what the published code allows in these places, as far as this package repeats it
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
    "dataset.image_data_dir": "pictures",
    "dataset.audio_data_dir": "recordings",
    "dataset.list_dir": "lists",
    "dataset.dataset_train": "training people",
    "dataset.dataset_val": "validation people",
    "dataset.dataset_test": "test people",
    "evaluation.dataset.image_data_dir": "pictures of the evaluation",
    "evaluation.dataset.audio_data_dir": "recordings of the evaluation",
    "evaluation.dataset.list_dir": "lists of the evaluation",
    "evaluation.dataset.dataset_test": "people of the evaluation",
    "training.save_dir": "runs",
    "training.resume_train": "start weights",
    "evaluation.resume_eval": "weights of the evaluation",
    "evaluation.save_feat": "embeddings",
    "evaluation.save_result": "results",
}
TRANSLATED_KEYS = {  # keys that become values of ours
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


@dataclass(frozen=True)
class Translation:
    """A published configuration in our terms.

    Attributes:
        config: the experiment, with the published behaviour switched on.
        paths: paths and names that are flags of our commands, by what they are; "none" is left out.
        fine_tune: whether iteration and optimiser start anew where start weights are given (published `ft`).
    """

    config: "SeekingShapeConfig"
    paths: dict[str, str] = field(default_factory=dict)
    fine_tune: bool = True


def read_published_config(path: str | Path) -> Translation:
    """Translate a published YAML file.

    Raises:
        ConfigError: no such file, no YAML mapping, a key that the published code does not know, or a value
            that this package cannot repeat.
    """
    return translate(read_yaml(path), str(path))


def is_published(tree: Mapping[str, Any]) -> bool:
    """Whether a configuration is spelt as the published ones (ours has no `models`)."""
    return "models" in tree or "model_warpper" in tree


def translate(tree: Mapping[str, Any], name: str = "configuration") -> Translation:
    """Translate a published configuration.

    Args:
        tree: nested mappings, as YAML gives them; keys that are absent take the published defaults.
        name: where it comes from, for messages.

    Raises:
        ConfigError: see `read_published_config`.
    """
    from voiceface.runtime.config import validate_config

    from seeking_shape.config import SeekingShapeConfig

    values = dict(iter_leaves(tree))
    PUBLISHED_KEYS.check_values(values, name)
    config = validate_config(_to_config_values(values), SeekingShapeConfig, f"{name}, translated,")
    places = PUBLISHED_KEYS.extract_paths(values)
    lists = values.get("evaluation.dataset.eval_triplet_test_all")
    if isinstance(lists, str):
        places["file of test list names"] = f"{lists}.txt"
    return Translation(config, places, bool(values.get("training.ft", True)))


def _to_config_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values of `SeekingShapeConfig`."""
    from voiceface.association.config import TEST_LISTS
    from voiceface.runtime.config import ConfigError

    get = values.get
    sizes = {get(f"{branch}.output_channel", 128) for branch in (FACE_KEY, VOICE_KEY)}
    if len(sizes) > 1:
        raise ConfigError(f"both branches need one output_channel, found {sorted(sizes)}")
    trained = get(f"{SOLVER_KEY}.train_params", ["F", "V", "center"])
    frozen = [
        word
        for word, letter, branch in (("face", "F", FACE_KEY), ("voice", "V", VOICE_KEY))
        if get(f"{branch}.freeze", False) or letter not in trained
    ]
    lists = get("evaluation.dataset.eval_triplet_test_all")
    most = get("training.max_iter", 10_000)
    return {
        "name": str(get("training.experiment_id", "published")),
        "model": {"embedding_dim": sizes.pop(), "num_classes": get(f"{FACE_KEY}.num_classes")},
        "loss": {
            "explicit": get("models.with_cross", True),
            "identity_loss_weighting": "batch_mean",
            "loss_weight": get(f"{SOLVER_KEY}.loss_weight", [1, 1, 1]),
        },
        "weights": {
            "enabled": get("models.weight", True),
            "update_interval": positive_or_none(get("training.weight_update_iter", -1)),
        },
        "optimiser": {
            "method": get(f"{SOLVER_KEY}.optim_method", "sgd"),
            "lr": get(f"{SOLVER_KEY}.lr", 0.01),
            "momentum": get(f"{SOLVER_KEY}.momentum", 0.9),
            "nesterov": get(f"{SOLVER_KEY}.nesterov", False),
            "betas": get(f"{SOLVER_KEY}.betas", [0.9, 0.999]),
            "weight_decay": get(f"{SOLVER_KEY}.weight_decay", 1e-4),
        },
        "schedule": {
            "milestones": get(f"{SOLVER_KEY}.lr_decay_iter", []),
            "factor": get(f"{SOLVER_KEY}.lr_decay", 0.1),
        },
        "data": {"rotation": "published"},
        "training": {
            "max_steps": most,
            "batch_size": get("training.batchsize", 64),
            "num_workers": get("training.num_workers", 4),
            "freeze": frozen,
            "checkpoint_interval": get("training.save_iter", most),
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
    """Print our experiment file for a published one."""
    return command("seeking_shape", _translate_for_printing, argv)


def _translate_for_printing(path: Path) -> PrintedTranslation:
    """What the command prints of a file."""
    found = read_published_config(path)
    notes = [] if found.fine_tune else ["ft: False: the published run went on with iteration and optimiser"]
    return PrintedTranslation(found.config, found.paths, notes)


if __name__ == "__main__":
    raise SystemExit(main())
