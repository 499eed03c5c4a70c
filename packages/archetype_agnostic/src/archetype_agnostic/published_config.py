"""Translate configuration files of both published repositories.

`python -m archetype_agnostic.published_config cfg.yaml > mine.yaml` writes a configuration of this package
with the published behaviour enabled, and prints the paths that the published file names on standard error.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceface.association.published_config import shared_output_size, solver_sections
from voiceface.runtime import published_config
from voiceface.runtime.published_config import (
    PublishedKeys,
    Translation,
    command,
    positive_or_none,
    read_yaml,
)

__all__ = [
    "PUBLISHED_KEYS",
    "is_evaluation_only",
    "is_published",
    "main",
    "read_published_config",
    "recognise",
    "translate",
]

FACE_KEY, VOICE_KEY, WEIGHTS_KEY = (f"models.Arch.{name}" for name in ["vNet", "aNet", "eqm"])
SOLVER_KEY, EVALUATION_KEY = "training.optimizer", "evaluation.dataset"
DEFAULT_VALIDATION_LIST = "match_v2f_2_val"
FACE_NETWORKS = {  # by published name; the published code builds IR_50 and IR_152 only
    f"IR_{variant}{depth}": {"arch": f"ir{depth}", "squeeze_excitation": bool(variant)}
    for variant in ("", "SE_")
    for depth in (50, 101, 152)
}
SUPPORTED_VALUES = {  # values that this package can reproduce
    "models.model_wrapper": ("Aasm",),
    f"{FACE_KEY}.model_wrapper": ("vSubNet",),
    f"{FACE_KEY}.pretrained.model": tuple(FACE_NETWORKS),
    f"{VOICE_KEY}.model_wrapper": ("aSubNet",),
    f"{VOICE_KEY}.pretrained.model": ("ResNetSE34",),
    f"{WEIGHTS_KEY}.model_wrapper": ("eqm",),
    "models.normal_layer": (True,),
    "models.normal_mean": ([127.5] * 3,),
    "models.normal_std": ([127.5] * 3,),
    "dataset.modal": ("both",),
    "dataset.input_size": ([112, 112],),
    f"{EVALUATION_KEY}.input_size": ([112, 112],),
}
IGNORED_KEYS = {  # no effect in the published code, or none on training and metrics
    *(f"{branch}.num_classes" for branch in (FACE_KEY, VOICE_KEY)),
    f"{WEIGHTS_KEY}.output_channel",
    "logging.level",
    "logging.log_dir",
    "training.no_cuda",
    "training.weights_filename",
    "validation.batch_size",
    "validation.optimal_weights_filename",
    "testing.batch_size",
    "dataset.resize",
    "dataset.v2f_triplet_test",
    "dataset.eval_triplet_test",
    f"{EVALUATION_KEY}.resize",
    f"{EVALUATION_KEY}.dataset_val",
}
PATH_KEYS = {  # published key: name in `Translation.paths`
    "dataset.image_data_dir": "images",
    "dataset.audio_data_dir": "recordings",
    "dataset.list_dir": "lists",
    "dataset.train_csv": "training identities",
    "dataset.val_csv": "validation identities",
    "dataset.test_csv": "test identities",
    "dataset.dataset_train": "training identities (dataset_train)",
    "dataset.dataset_val": "validation identities (dataset_val)",
    "dataset.dataset_test": "test identities (dataset_test)",
    f"{EVALUATION_KEY}.image_data_dir": "images of the evaluation",
    f"{EVALUATION_KEY}.audio_data_dir": "recordings of the evaluation",
    f"{EVALUATION_KEY}.list_dir": "lists of the evaluation",
    f"{EVALUATION_KEY}.dataset_test": "identities of the evaluation",
    f"{FACE_KEY}.pretrained.weight": "face backbone",
    f"{VOICE_KEY}.pretrained.weight": "voice backbone",
    "training.save_dir": "runs",
    "training.ckp_dir": "checkpoints, below the runs",
    "testing.trained_model_path": "weights of the test",
    "testing.extracted_features_path": "embeddings of the test",
    "testing.result_path": "results of the test",
    "evaluation.trained_model": "weights of the evaluation",
    "evaluation.save_feat": "embeddings of the evaluation",
    "evaluation.save_result": "results of the evaluation",
}
TRANSLATED_KEYS = {  # keys that become values of this package's configuration
    *(f"{branch}.{key}" for branch in (FACE_KEY, VOICE_KEY) for key in ("freeze", "output_channel")),
    *(f"{WEIGHTS_KEY}.{key}" for key in ("num_classes", "temp", "m_u", "m_l", "H")),
    "models.weighted_enabled",
    "models.regauge_iter",
    *(f"training.{key}" for key in ("batch_size", "num_workers", "max_iter", "warm_up")),
    *(f"training.{key}" for key in ("weight_update_iter", "save_iter")),
    *(
        f"{SOLVER_KEY}.{key}"
        for key in ("optim_method", "lr", "momentum", "nesterov", "betas", "weight_decay")
    ),
    *(f"{SOLVER_KEY}.{key}" for key in ("lr_decay_iter", "lr_decay")),
    "validation.val_iter",
    "validation.start_val_iter",
    "testing.test_lists",
    "dataset.v2f_triplet_val",
    "dataset.eval_triplet_val",
    f"{EVALUATION_KEY}.eval_lists",
}
PUBLISHED_KEYS = PublishedKeys(
    SUPPORTED_VALUES, frozenset(IGNORED_KEYS), PATH_KEYS, frozenset(TRANSLATED_KEYS)
)


def read_published_config(path: str | Path) -> Translation:
    """Translate a published YAML file of either repository.

    Raises:
        ConfigError: no such file, no YAML mapping, a key unknown to the published code, or a value that this
            package cannot reproduce.
    """
    return translate(read_yaml(path), str(path))


def is_published(tree: Mapping[str, Any]) -> bool:
    """Whether a configuration has the published format (this package's has no `models`)."""
    return "models" in tree


def is_evaluation_only(tree: Mapping[str, Any]) -> bool:
    """Whether a published configuration belongs to the evaluation-only repository."""
    return "evaluation" in tree


def recognise(tree: Mapping[str, Any], name: str) -> Translation | None:
    """Translate a published configuration; None: the configuration has this package's format."""
    return translate(tree, name) if is_published(tree) else None


def translate(tree: Mapping[str, Any], name: str = "configuration") -> Translation:
    """Translate a published configuration; see `voiceface.runtime.published_config.translate`."""
    from archetype_agnostic.config import ArchetypeAgnosticConfig

    folder = "vggface1_id" if is_evaluation_only(tree) else "voxceleb1_id"
    return published_config.translate(
        tree, name, PUBLISHED_KEYS, _to_config_values, ArchetypeAgnosticConfig, voice_folder=folder
    )


def _to_config_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Map published values by dotted key to nested values of `ArchetypeAgnosticConfig`."""
    from voiceface.association.config import TEST_LISTS

    get = values.get
    embedding_dim = shared_output_size(get, (FACE_KEY, VOICE_KEY))
    validation_interval = positive_or_none(get("validation.val_iter", 6888))
    return {
        "name": "published",
        "model": {
            "face": FACE_NETWORKS[get(f"{FACE_KEY}.pretrained.model", "IR_152")],
            "embedding_dim": embedding_dim,
            "num_classes": get(f"{WEIGHTS_KEY}.num_classes"),
        },
        "loss": {"temperature": get(f"{WEIGHTS_KEY}.temp", 0.5)},
        "regauging": {
            "start_step": get("models.regauge_iter", 6888),
            "form": "hinge" if get(f"{WEIGHTS_KEY}.H", True) else "circle",
            "trust_threshold": get(f"{WEIGHTS_KEY}.m_u", 0.15),
            "margin": get(f"{WEIGHTS_KEY}.m_l", 0.2),
            "differentiable": False,
            "weighting": "outer_product",
            "unweighted_mean": "all",
        },
        "equilibrium": {
            "enabled": get("models.weighted_enabled", True),
            "update_interval": positive_or_none(get("training.weight_update_iter", 920)),
            "warm_up": get("training.warm_up", 6440),
            "hit_counting": "never",
        },
        **solver_sections(get, SOLVER_KEY, [6888, 9888]),
        "data": {
            "rotation": "published",
            "resize_mode": "stretch",
            "sample_scale": "native",
            "own_channel": "first",
            "second_sample": "with_replacement",
            "pair_augmentation": "shared",
        },
        "training": {
            "max_steps": get("training.max_iter", 27_000),
            "batch_size": get("training.batch_size", 20),
            "num_workers": get("training.num_workers", 4),
            "freeze": [
                modality
                for modality, branch in (("face", FACE_KEY), ("voice", VOICE_KEY))
                if get(f"{branch}.freeze", False)
            ],
            "checkpoint_interval": get("training.save_iter", 6888),
            "validation_interval": validation_interval,
            "validation_start": get("validation.start_val_iter", 15_000),
        },
        "stopping": {"rule": "max_steps" if validation_interval is None else "patience"},
        "evaluation": {
            "validation_list": _get_validation_list(get),
            "lists": get("testing.test_lists", get(f"{EVALUATION_KEY}.eval_lists", list(TEST_LISTS))),
            "tie_breaking": "first",
        },
    }


def _get_validation_list(get: Callable[..., Any]) -> str:
    """Get the validation list; files of the evaluation-only repository name a list of test identities."""
    name: str = get("dataset.v2f_triplet_val", get("dataset.eval_triplet_val", DEFAULT_VALIDATION_LIST))
    return DEFAULT_VALIDATION_LIST if name.endswith("_test") else name


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m archetype_agnostic.published_config`."""
    return command("archetype_agnostic", read_published_config, argv)


if __name__ == "__main__":
    raise SystemExit(main())
