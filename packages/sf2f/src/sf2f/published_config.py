"""Translate option files of the published code (`options/*.yaml`).

`python -m sf2f.published_config sf2f_fuser.yaml > mine.yaml` writes a configuration of this package with the
published behaviour enabled, and prints keys without a counterpart on standard error. An option file states
networks and losses; course of training, speech and windows are those of the bundled `published_*`
configuration of the same kind, which has the defaults of the published command line.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceface.runtime.published_config import Translation, command, iter_leaves, read_yaml

__all__ = ["is_published", "main", "read_published_config", "recognise", "translate"]

SECTIONS = ("data", "discriminator", "eval", "generator", "logs", "optim", "perceptual")
PATH_KEYS = {
    "logs.output_dir": "runs (--out)",
    "data.data_opts_path": "data options",
    "data.data_opts.root_dir": "data (--data)",
    "data.data_opts.split_json": "splits",
}
DATA_KEYS = ("face_type", "image_normalize_method", "mel_normalize_method", "nframe_range", "split_set")
IGNORED_SUFFIXES = (".num_id", "deprocess_and_preprocess", "crop_faces", "visualize_attn", "data.dataset")


def read_published_config(path: str | Path) -> Translation:
    """Translate an option file.

    Raises:
        ConfigError: no such file, no YAML mapping, a key unknown to the published code, or a value that this
            package cannot reproduce.
    """
    return translate(read_yaml(path), str(path))


def is_published(tree: Mapping[str, Any]) -> bool:
    """Whether a configuration has the published format (this package's has no `optim`)."""
    return {"discriminator", "generator", "optim"} <= tree.keys()


def recognise(tree: Mapping[str, Any], name: str) -> Translation | None:
    """Translate a published configuration; None: the configuration has this package's format."""
    return translate(tree, name) if is_published(tree) else None


def translate(tree: Mapping[str, Any], name: str = "option file") -> Translation:
    """Translate an option file.

    Args:
        tree: nested mappings, as YAML gives them, with `data.data_opts` if the data options are merged.
        name: its origin, for messages.

    Raises:
        ConfigError: see `read_published_config`.
    """
    from voiceface.runtime.config import ConfigError, load_config, to_dict, validate_config

    from sf2f.config import Sf2fConfig
    from sf2f.published_options import (
        discriminators_config_from_options,
        generator_config_from_options,
        loss_config_from_options,
    )

    if unknown := sorted(set(tree) - set(SECTIONS)):
        raise ConfigError(f"{name}: the published code has no section {', '.join(unknown)}")
    generator = generator_config_from_options(tree, name)
    kind = _kind(to_dict(generator))
    config = to_dict(load_config(f"published_{kind}", Sf2fConfig, "sf2f"))
    noise = config["generator"]["encoder"]["noise_in_evaluation"]
    discriminators = to_dict(discriminators_config_from_options(tree, name))
    config["discriminators"] = {**discriminators, "hidden_dim": config["discriminators"]["hidden_dim"]}
    config["generator"] = to_dict(generator)
    config["generator"]["encoder"]["noise_in_evaluation"] = noise
    config["losses"] = to_dict(loss_config_from_options(tree, name))
    config["data"]["speech"]["n_mels"] = config["generator"]["encoder"]["n_mels"]
    config["name"] = str((tree.get("logs") or {}).get("name", config["name"]))
    values = dict(iter_leaves(tree))
    _apply_data_options(config["data"], values, name)
    paths = {meaning: str(values[key]) for key, meaning in PATH_KEYS.items() if values.get(key)}
    ignored = tuple(key for key in values if key.endswith(IGNORED_SUFFIXES))
    return Translation(validate_config(config, Sf2fConfig, f"{name}, translated,"), paths, ignored)


def _kind(generator: Mapping[str, Any]) -> str:
    """Name of the bundled configuration with such a generator."""
    if generator["decoder"]["kind"] in ("v2f", "attn_v2f", "mr") and generator["fuser"] is None:
        return "v2f"
    size = "mid_" if generator["decoder"]["kind"] == "facegan_v2" else ""
    return f"sf2f_{size}{'1st_stage' if generator['fuser'] is None else 'fuser'}"


def _apply_data_options(data: dict[str, Any], values: Mapping[str, Any], name: str) -> None:
    """Apply the options that the published data-options file states, where they are merged."""
    from voiceface.runtime.config import ConfigError

    options = {key: values[f"data.data_opts.{key}"] for key in DATA_KEYS if f"data.data_opts.{key}" in values}
    if "face_type" in options:
        data["images"]["face_variant"] = options["face_type"]
    if "image_normalize_method" in options:
        data["images"]["statistics"] = options["image_normalize_method"]
    if options.get("mel_normalize_method", "vox_mel") != "vox_mel":
        raise ConfigError(
            f"{name}: data.data_opts.mel_normalize_method is {options['mel_normalize_method']!r}; only "
            "'vox_mel' can be translated"
        )
    frames = str(options.get("nframe_range", "(100, 150)")).strip("()[] ").split(",")
    if len(frames) != 2 or not all(part.strip().isdigit() for part in frames):
        raise ConfigError(f"{name}: data.data_opts.nframe_range: expected two numbers of frames")
    data["frames"] = {"min_crop": int(frames[0]), "max_crop": int(frames[1])}


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m sf2f.published_config`."""
    return command("sf2f", read_published_config, argv)


if __name__ == "__main__":
    raise SystemExit(main())
