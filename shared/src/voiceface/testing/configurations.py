"""Bundled configurations in tests: completeness, and the differences between two of them."""

from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, TypeVar

import yaml

from voiceface.runtime.config import Config, bundled_configs, load_config, to_dict, validate_config

__all__ = ["assert_complete", "changed_values", "flatten", "load_bundled_values"]

ConfigT = TypeVar("ConfigT", bound=Config)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to values by dotted key."""
    values: dict[str, Any] = {}
    for key, value in tree.items():
        values |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return values


def load_bundled_values(
    package: str,
    name: str,
    config_type: type[ConfigT],
    to_stored: Callable[[ConfigT], dict[str, Any]] = to_dict,
) -> dict[str, Any]:
    """Load the values of a bundled configuration by dotted key, as `to_stored` returns them."""
    return flatten(to_stored(load_config(name, config_type, package)))


def assert_complete(
    package: str, config_type: type[ConfigT], to_stored: Callable[[ConfigT], dict[str, Any]] = to_dict
) -> list[str]:
    """Check every bundled configuration of a package.

    Args:
        package: import name.
        config_type: type of its configurations.
        to_stored: configuration -> plain values, as run folders store them.

    Returns:
        Names of the configurations.

    Raises:
        AssertionError: the name of a configuration is not that of its file, a value is left to its default,
            or the stored values do not give the same configuration.
    """
    names = bundled_configs(package)
    for name in names:
        config = load_config(name, config_type, package)
        assert to_dict(config)["name"] == name
        text = (resources.files(package) / "configs" / f"{name}.yaml").read_text("utf-8")
        stated, complete = flatten(yaml.safe_load(text)), flatten(to_stored(config))
        assert stated.keys() == complete.keys(), f"{name}: {sorted(stated.keys() ^ complete.keys())}"
        assert validate_config(to_stored(config), config_type, name) == config, name
    return names


def changed_values(reference: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the second of two configurations that differ from the first, by dotted key."""
    return {key: other[key] for key in reference if reference[key] != other[key]}
