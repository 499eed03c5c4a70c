"""Bundled configurations in tests: complete, named after themselves, and what two of them differ in."""

from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, TypeVar

import yaml

from voiceface.runtime.config import Config, bundled_configs, check, load_config, to_dict

C = TypeVar("C", bound=Config)


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of nested dicts by dotted key."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def bundled(
    package: str, name: str, model: type[C], stored: Callable[[C], dict[str, Any]] = to_dict
) -> dict[str, Any]:
    """Values of a bundled configuration by dotted key, as `stored` gives them."""
    return leaves(stored(load_config(name, model, package)))


def require_complete(
    package: str, model: type[C], stored: Callable[[C], dict[str, Any]] = to_dict
) -> list[str]:
    """Look every bundled file over.

    Args:
        package: import name.
        model: type of its experiments.
        stored: configuration -> plain values, as run folders hold it.

    Returns:
        Names of the files.

    Raises:
        AssertionError: one is named otherwise, leaves a value to its default, or does not come back the same
            from what run folders hold.
    """
    names = bundled_configs(package)
    for name in names:
        config = load_config(name, model, package)
        assert to_dict(config)["name"] == name
        text = (resources.files(package) / "configs" / f"{name}.yaml").read_text("utf-8")
        stated, whole = leaves(yaml.safe_load(text)), leaves(stored(config))
        assert stated.keys() == whole.keys(), f"{name}: {sorted(stated.keys() ^ whole.keys())}"
        assert check(stored(config), model, name) == config, name
    return names


def changes(meant: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What the second of two configurations by dotted key (from `bundled`) has otherwise."""
    return {key: other[key] for key in meant if meant[key] != other[key]}
