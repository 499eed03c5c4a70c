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
class Dialect:
    """What the published code of a system knows, by dotted key.

    Attributes:
        fixed: keys of which only these values can be repeated.
        idle: keys without effect in the published code, or without meaning here.
        places: keys of paths and names that are flags of our commands: what each of them is.
        read: keys that become values of ours.
    """

    fixed: Mapping[str, Sequence[Any]]
    idle: frozenset[str]
    places: Mapping[str, str] = field(default_factory=dict)
    read: frozenset[str] = frozenset()

    def check(self, values: Mapping[str, Any], name: str) -> None:
        """Every key must be known, and its value one that can be repeated.

        Args:
            values: by dotted key.
            name: where they come from, for messages.

        Raises:
            ConfigError: names the key, and the nearest one or what is allowed.
        """
        from voiceface.runtime.config import ConfigError

        known = sorted({*self.fixed, *self.idle, *self.places, *self.read})
        for key, value in values.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ConfigError(f"{name}: the published code has no key {key}{hint}")
            if key in self.fixed and value not in self.fixed[key]:
                expected = " or ".join(map(repr, self.fixed[key]))
                raise ConfigError(f"{name}: {key} is {value!r}; only {expected} can be translated")

    def places_in(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Paths and names by what they are; "none" is left out."""
        named = {what: values.get(key) for key, what in self.places.items()}
        return {what: str(value) for what, value in named.items() if value not in (None, "none")}


class Printed(NamedTuple):
    """What the command prints of a translation.

    Attributes:
        config: the experiment, for standard output.
        places: paths and names by what they are, for standard error.
        notes: further lines for standard error.
    """

    config: "Config"
    places: Mapping[str, str]
    notes: Sequence[str] = ()


def read_tree(path: str | Path) -> Mapping[str, Any]:
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


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a mapping that stands where a value is expected is met at its own keys."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def command(program: str, translate: Callable[[Path], Printed], argv: Sequence[str] | None) -> int:
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
    for what, place in found.places.items():
        print(f"# {what}: {place}", file=sys.stderr)
    for note in found.notes:
        print(f"# {note}", file=sys.stderr)
    return 0
