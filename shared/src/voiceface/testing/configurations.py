"""Bundled configurations in tests: complete, named after themselves, and what two of them differ in."""

from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, TypeVar

import yaml

from voiceface.runtime.config import Config, bundled_configs, load_config, to_dict, validate_config

ConfigT = TypeVar("ConfigT", bound=Config)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of nested dicts by dotted key."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def load_bundled_values(
    package: str,
    name: str,
    config_type: type[ConfigT],
    to_stored: Callable[[ConfigT], dict[str, Any]] = to_dict,
) -> dict[str, Any]:
    """Values of a bundled configuration by dotted key, as `to_stored` gives them."""
    return flatten(to_stored(load_config(name, config_type, package)))


def assert_complete(
    package: str, config_type: type[ConfigT], to_stored: Callable[[ConfigT], dict[str, Any]] = to_dict
) -> list[str]:
    """Look every bundled file over.

    Args:
        package: import name.
        config_type: type of its experiments.
        to_stored: configuration -> plain values, as run folders hold it.

    Returns:
        Names of the files.

    Raises:
        AssertionError: one is named otherwise, leaves a value to its default, or does not come back the same
            from what run folders hold.
    """
    names = bundled_configs(package)
    for name in names:
        config = load_config(name, config_type, package)
        assert to_dict(config)["name"] == name
        text = (resources.files(package) / "configs" / f"{name}.yaml").read_text("utf-8")
        stated, whole = flatten(yaml.safe_load(text)), flatten(to_stored(config))
        assert stated.keys() == whole.keys(), f"{name}: {sorted(stated.keys() ^ whole.keys())}"
        assert validate_config(to_stored(config), config_type, name) == config, name
    return names


def changed_values(reference: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What the second of two configurations by dotted key (from `bundled`) has otherwise."""
    return {key: other[key] for key in reference if reference[key] != other[key]}
