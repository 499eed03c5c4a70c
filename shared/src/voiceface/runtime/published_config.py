"""Translate published configuration files: check the keys, convert the values.

Each system has the tables of its published code and the mapping of its values.
"""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.runtime.config import Config

__all__ = [
    "PublishedKeys",
    "Translation",
    "command",
    "iter_leaves",
    "positive_or_none",
    "read_yaml",
    "translate",
]


@dataclass(frozen=True)
class PublishedKeys:
    """Dotted keys that the published code of a system knows.

    Attributes:
        fixed_values: keys of which only these values can be reproduced.
        ignored_keys: keys without effect in the published code, or without meaning here.
        path_keys: keys of paths and names that are command-line arguments -> meaning.
        translated_keys: keys that become values of the configuration.
    """

    fixed_values: Mapping[str, Sequence[Any]]
    ignored_keys: frozenset[str]
    path_keys: Mapping[str, str] = field(default_factory=dict)
    translated_keys: frozenset[str] = frozenset()

    @property
    def known(self) -> set[str]:
        """All dotted keys."""
        return {*self.fixed_values, *self.ignored_keys, *self.path_keys, *self.translated_keys}

    def check_values(self, values: Mapping[str, Any], name: str) -> None:
        """Check that every key is known and that its value can be reproduced.

        Args:
            values: by dotted key.
            name: their origin, for messages.

        Raises:
            ConfigError: names the key, and the nearest one or what is allowed.
        """
        from voiceface.runtime.config import ConfigError

        known = sorted(self.known)
        for key, value in values.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ConfigError(f"{name}: the published code has no key {key}{hint}")
            if key in self.fixed_values and value not in self.fixed_values[key]:
                expected = " or ".join(map(repr, self.fixed_values[key]))
                raise ConfigError(f"{name}: {key} is {value!r}; only {expected} can be translated")

    def extract_paths(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Collect paths and names by their meaning, without "none"."""
        named = {what: values.get(key) for key, what in self.path_keys.items()}
        return {what: str(value) for what, value in named.items() if value not in (None, "none")}


@dataclass(frozen=True)
class Translation:
    """A published configuration, translated.

    Attributes:
        config: the experiment, with the published behaviour enabled.
        paths: meaning -> path or name in the published file that is a command-line argument; without
            "none".
        ignored: dotted keys of the published file that decide nothing here.
        fine_tune: whether iteration and optimiser start anew if initial weights are given (published `ft`).
        voice_folder: names of the folders of recordings: "voxceleb1_id" or "vggface1_id"; None: any.
    """

    config: Any
    paths: dict[str, str]
    ignored: tuple[str, ...] = ()
    fine_tune: bool = True
    voice_folder: str | None = None

    def describe(self, name: str) -> list[str]:
        """List messages on arguments, ignored keys and folder names; `name` is the name of the file."""
        lines = [f"{name}: published configuration, translated"]
        if self.paths:
            named = "; ".join(f"{meaning}: {path}" for meaning, path in self.paths.items())
            lines.append(f"{name}: not taken, give as arguments of the command: {named}")
        if not self.fine_tune:
            lines.append(f"{name}: ft: False: the published run continued iteration and optimiser")
        if self.voice_folder:
            lines.append(f"{name}: folders of recordings are named by {self.voice_folder} (--voice-folder)")
        if self.ignored:
            lines.append(f"{name}: not used here: {', '.join(self.ignored)}")
        return lines


def translate(
    tree: Mapping[str, Any],
    name: str,
    keys: PublishedKeys,
    to_values: Callable[[Mapping[str, Any]], dict[str, Any]],
    config_type: "type[Config]",
    **options: Any,
) -> Translation:
    """Translate a published configuration.

    Args:
        tree: nested mappings, as YAML gives them; missing keys take the published defaults.
        name: its origin, for messages.
        keys: keys of the published code.
        to_values: values by dotted published key -> nested values of `config_type`.
        config_type: the system's configuration.
        options: further fields of the translation.

    Raises:
        ConfigError: a key that the published code does not know, or a value that cannot be reproduced.
    """
    from voiceface.runtime.config import validate_config

    values = dict(iter_leaves(tree))
    keys.check_values(values, name)
    config = validate_config(to_values(values), config_type, f"{name}, translated,")
    ignored = tuple(key for key in values if key in keys.ignored_keys)
    return Translation(config, keys.extract_paths(values), ignored, **options)


def read_yaml(path: str | Path) -> Mapping[str, Any]:
    """Read the nested mappings of a YAML file.

    Raises:
        ConfigError: no such file, no YAML, or no mapping.
    """
    import yaml

    from voiceface.io.foreign_files import read_file_text
    from voiceface.runtime.config import ConfigError
    from voiceface.runtime.yaml_values import MAX_TEXT_LENGTH, load_yaml

    source = Path(path)
    try:
        tree = load_yaml(
            read_file_text(source, ConfigError, "a configuration", max_bytes=4 * MAX_TEXT_LENGTH)
        )
    except FileNotFoundError as error:
        raise ConfigError(f"cannot read the configuration: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not readable YAML: {error}") from error
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{source} holds no `key: value` lines")
    return tree


def iter_leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Iterate over dotted keys and values."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from iter_leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def positive_or_none(interval: Any) -> Any:
    """Give an interval in steps, or None if the published file says never (0 or below)."""
    return None if isinstance(interval, int) and interval <= 0 else interval


def command(program: str, translate_file: Callable[[Path], Translation], argv: Sequence[str] | None) -> int:
    """`python -m PROGRAM.published_config`: print the translation of a published configuration.

    Args:
        program: name of the system's package.
        translate_file: reads a file; may raise ConfigError.
        argv: words of the command line.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}.published_config", description="Translate a published configuration."
    )
    parser.add_argument("config", type=Path, help="YAML file of the published implementation")
    args = parser.parse_args(argv)

    from voiceface.runtime.config import ConfigError, to_yaml

    try:
        translation = translate_file(args.config)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(to_yaml(translation.config), end="")
    for line in translation.describe(args.config.name):
        print(f"# {line}", file=sys.stderr)
    return 0
