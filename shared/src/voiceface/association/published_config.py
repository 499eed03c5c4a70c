"""Published configuration files: read, flattened, and held against what a system's published code knows.

Each system brings the tables of its dialect and the translation itself.
"""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from voiceface.runtime.config import Config


@dataclass(frozen=True)
class PublishedKeys:
    """What the published code of a system knows, by dotted key.

    Attributes:
        fixed_values: keys of which only these values can be repeated.
        ignored_keys: keys without effect in the published code, or without meaning here.
        path_keys: keys of paths and names that are flags of our commands: what each of them is.
        translated_keys: keys that become values of ours.
    """

    fixed_values: Mapping[str, Sequence[Any]]
    ignored_keys: frozenset[str]
    path_keys: Mapping[str, str] = field(default_factory=dict)
    translated_keys: frozenset[str] = frozenset()

    def check_values(self, values: Mapping[str, Any], name: str) -> None:
        """Every key must be known, and its value one that can be repeated.

        Args:
            values: by dotted key.
            name: where they come from, for messages.

        Raises:
            ConfigError: names the key, and the nearest one or what is allowed.
        """
        from voiceface.runtime.config import ConfigError

        known = sorted({*self.fixed_values, *self.ignored_keys, *self.path_keys, *self.translated_keys})
        for key, value in values.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ConfigError(f"{name}: the published code has no key {key}{hint}")
            if key in self.fixed_values and value not in self.fixed_values[key]:
                expected = " or ".join(map(repr, self.fixed_values[key]))
                raise ConfigError(f"{name}: {key} is {value!r}; only {expected} can be translated")

    def extract_paths(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Paths and names by what they are; "none" is left out."""
        named = {what: values.get(key) for key, what in self.path_keys.items()}
        return {what: str(value) for what, value in named.items() if value not in (None, "none")}


class PrintedTranslation(NamedTuple):
    """What the command prints of a translation.

    Attributes:
        config: the experiment, for standard output.
        paths: paths and names by what they are, for standard error.
        notes: further lines for standard error.
    """

    config: "Config"
    paths: Mapping[str, str]
    notes: Sequence[str] = ()


def read_yaml(path: str | Path) -> Mapping[str, Any]:
    """The nested mappings of a YAML file.

    Raises:
        ConfigError: no such file, no YAML, or no mapping.
    """
    import yaml

    from voiceface.runtime.config import ConfigError

    source = Path(path)
    try:
        tree = yaml.safe_load(source.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {source}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{source} is not readable YAML: {error}") from error
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{source} holds no `key: value` lines")
    return tree


def iter_leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a mapping that stands where a value is expected is met at its own keys."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from iter_leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def positive_or_none(interval: Any) -> Any:
    """An interval in steps, or None where the published file says never (0 or below)."""
    return None if isinstance(interval, int) and interval <= 0 else interval


def command(program: str, translate: Callable[[Path], PrintedTranslation], argv: Sequence[str] | None) -> int:
    """`python -m PROGRAM.published_config`: print our experiment file for a published one.

    Args:
        program: name of the system's package.
        translate: reads a file; may raise ConfigError.
        argv: words of the command line.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}.published_config", description="Translate a published configuration."
    )
    parser.add_argument("config", type=Path, help="YAML file of the published implementation")
    args = parser.parse_args(argv)

    from voiceface.runtime.config import ConfigError, to_yaml

    try:
        found = translate(args.config)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(to_yaml(found.config), end="")
    for what, place in found.paths.items():
        print(f"# {what}: {place}", file=sys.stderr)
    for note in found.notes:
        print(f"# {note}", file=sys.stderr)
    return 0
