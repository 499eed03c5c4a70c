"""Translate the configuration file of CMPC's published code (CONFIG.yaml).

`python -m cmpc2.published_config CONFIG.yaml > mine.yaml` writes a configuration of this package with the
published behaviour enabled, and prints keys without a counterpart on standard error. Lengths that the
published file states in samples become training steps, by its batch size.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceface.runtime.published_config import (
    PublishedKeys,
    Translation,
    command,
    iter_leaves,
    read_yaml,
)

__all__ = ["PUBLISHED_KEYS", "is_published", "main", "read_published_config", "recognise", "translate"]

SUPPORTED_VALUES = {  # values that this package can reproduce
    "dataset.load_spec": (True,),
    "dataset.n_mels": (64,),
    "dataset.num_frames": (1,),
    "dataset.sampling_rate": (16_000,),
    "loss.name": ("IR_CMPC",),
    "model.arch": ("FV_Wrapper",),
    "optimizer.name": ("adam",),
}
PATH_KEYS = {  # published key: meaning
    "checkpoint_path": "runs (--out)",
    "dataset.face_dir": "images (--face-root)",
    "dataset.meta_file": "identity table",
    "dataset.spec_dir": "features (--voice-root)",
    "dataset.split_file": "splits",
    "dataset.test_split": "test sets",
    "dataset.train_split": "training sets (--splits)",
    "dataset.wav_dir": "recordings (--voice-root)",
    "matching.1:N_files": "1:N matching lists",
    "matching.f2v_files": "matching lists, face to voice",
    "matching.v2f_files": "matching lists, voice to face",
    "model.args.pretrain": "ImageNet weights (--imagenet)",
    "retrieval.jpg_files": "retrieval lists of images",
    "retrieval.wav_files": "retrieval lists of recordings",
    "root_path": "data (--data)",
    "verification.test_files": "verification lists",
}
TRANSLATED_KEYS = {
    *("clustering.Niter", "clustering.clustering_iter_freq", "clustering.num_cluster"),
    *("clustering.warmup_iter", "dataset.batch_size", "dataset.face_size", "dataset.fbank_nframes"),
    *("dataset.num_workers", "loss.args.delta", "loss.args.ka", "loss.args.temperature"),
    *("loss.memory_momentum", "model.args.last_dim", "optimizer.iterations", "optimizer.lr.max_lr"),
    *("optimizer.lr.min_lr", "optimizer.weight_decay", "seed", "verification.voice_aug_times"),
}
PUBLISHED_KEYS = PublishedKeys(SUPPORTED_VALUES, frozenset(), PATH_KEYS, frozenset(TRANSLATED_KEYS))
SECTIONS = {"dataset", "optimizer", "clustering"}


def read_published_config(path: str | Path) -> Translation:
    """Translate a published YAML file.

    Raises:
        ConfigError: no such file, no YAML mapping, or a value that this package cannot reproduce.
    """
    return translate(read_yaml(path), str(path))


def is_published(tree: Mapping[str, Any]) -> bool:
    """Whether a configuration has the published format (this package's has no `dataset` and `optimizer`)."""
    return tree.keys() >= SECTIONS


def recognise(tree: Mapping[str, Any], name: str) -> Translation | None:
    """Translate a published configuration; None: the configuration has this package's format."""
    return translate(tree, name) if is_published(tree) else None


def translate(tree: Mapping[str, Any], name: str = "configuration") -> Translation:
    """Translate a published configuration; missing keys take the published defaults.

    Keys that decide nothing in training or evaluation are listed in `Translation.ignored`.

    Args:
        tree: nested mappings, as YAML gives them.
        name: its origin, for messages.

    Raises:
        ConfigError: a value that this package cannot reproduce.
    """
    from voiceface.runtime.config import ConfigError, load_config, to_dict, validate_config

    from cmpc2.config import Cmpc2Config

    values = dict(iter_leaves(tree))
    known = {key: value for key, value in values.items() if key in PUBLISHED_KEYS.known}
    PUBLISHED_KEYS.check_values(known, name)
    sides = values.get("dataset.face_size", [224, 224])
    if isinstance(sides, list) and len(set(sides)) != 1:
        raise ConfigError(f"{name}: dataset.face_size is {sides}; only square images can be translated")
    config = to_dict(load_config("published", Cmpc2Config, "cmpc2"))
    for section, changes in _to_config_values(values).items():
        config[section] |= changes
    config["loss"]["recalibration"] |= {
        "delta": float(values.get("loss.args.delta", -1)),
        "kappa": values.get("loss.args.ka", 0.1),
    }
    config["model"]["face"]["image_size"] = sides[0] if isinstance(sides, list) else sides
    config["data"]["voice"]["num_frames"] = values.get("dataset.fbank_nframes", 500)
    paths = PUBLISHED_KEYS.extract_paths({key: value for key, value in known.items() if value is not False})
    return Translation(
        validate_config(config, Cmpc2Config, f"{name}, translated,"),
        paths,
        tuple(key for key in values if key not in known),
    )


def _to_config_values(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Map published values by dotted key to values of the sections of `Cmpc2Config`."""
    get = values.get
    batch_size = get("dataset.batch_size", 128)
    max_steps = get("optimizer.iterations", 3_200_000) // batch_size
    return {
        "model": {"embedding_dim": get("model.args.last_dim", 512)},
        "loss": {"temperature": get("loss.args.temperature", 0.03)},
        "memory": {"momentum": get("loss.memory_momentum", 0.5)},
        "clustering": {
            "start_step": -(-get("clustering.warmup_iter", 300_000) // batch_size),
            "interval": get("clustering.clustering_iter_freq", 36_114) // batch_size,
            "num_clusters": get("clustering.num_cluster", [500, 1000, 1500]),
            "num_iterations": get("clustering.Niter", 20),
        },
        "optimiser": {
            "max_lr": get("optimizer.lr.max_lr", 0.005),
            "min_lr": get("optimizer.lr.min_lr", 0.0001),
            "warm_up": max_steps // 10,
            "weight_decay": get("optimizer.weight_decay", 1e-5),
        },
        "training": {
            "seed": get("seed", 0) or 0,
            "max_steps": max_steps,
            "batch_size": batch_size,
            "num_workers": get("dataset.num_workers", 6),
        },
        "evaluation": {"voice_clips": get("verification.voice_aug_times", 5)},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m cmpc2.published_config`."""
    return command("cmpc2", read_published_config, argv)


if __name__ == "__main__":
    raise SystemExit(main())
