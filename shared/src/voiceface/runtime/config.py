"""Configurations: YAML files and command-line overrides, validated as typed and frozen objects."""

import difflib
import json
import logging
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar, Self, TypeVar

import pydantic
import yaml
from easydict import EasyDict

from voiceface.io.foreign_files import read_file_text
from voiceface.runtime.yaml_values import MAX_TEXT_LENGTH, load_yaml

__all__ = [
    "Config",
    "ConfigError",
    "add_defaults",
    "bundled_configs",
    "load_config",
    "to_dict",
    "to_yaml",
    "validate_config",
]

log = logging.getLogger(__name__)
FLOAT_PATTERN = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?")
MAX_SUGGESTIONS = 3
MAX_KEYS_SHOWN = 12
MAX_PROBLEMS = 8  # invalid keys that one message names
SYNONYMS = {
    "learning_rate": "lr",
    "max_iter": "max_steps",
    "iterations": "max_steps",
    "workers": "num_workers",
}
TYPE_NAMES = {dict: "a section", list: "a list", str: "text", bool: "true/false", int: "a whole number"}
TYPE_NAMES |= {float: "a number", type(None): "nothing (null)"}


class ConfigError(ValueError):
    """An invalid configuration; the message names file, key, found and expected value."""


class Config(pydantic.BaseModel):
    """Base of every typed configuration: unknown keys are errors, values are immutable."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, validate_default=True, protected_namespaces=()
    )
    published_format: ClassVar[str | None] = None
    """Function "module:name" that recognises and translates published files; see `load_config`."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy with other values, which are not validated; unknown keys are errors.

        Raises:
            ConfigError: a key that this configuration does not have.
        """
        unknown = sorted(set(update or {}) - set(type(self).model_fields))
        if unknown:
            raise ConfigError(f"{type(self).__name__} has no {', '.join(unknown)}")
        return super().model_copy(update=update, deep=deep)


C = TypeVar("C", bound=Config)


def load_config(source: str | Path, model: type[C], package: str, overrides: Sequence[str] = ()) -> C:
    """Read a configuration file, merge overrides and validate the result.

    A configuration file of the published implementation is recognised and translated; what was not taken is
    logged.

    Args:
        source: a bare name (``quick``) means the package's own ``configs/quick.yaml``; a name with a folder
            or with the suffix .yaml or .yml is a path.
        model: class of the configuration.
        package: import name of the package of the bundled files, such as ``seeking_shape``.
        overrides: ``section.key=value``; the value is read as YAML, later ones take precedence.

    Returns:
        A frozen instance of `model`.

    Raises:
        ConfigError: the file is missing or not a YAML mapping, an override is malformed, a key is unknown or
            missing, or a value has the wrong type or is out of bounds. The message names all invalid keys.
    """
    name, text = _read_source(source, package)
    try:
        tree = load_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not readable YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}: found {_type_name(tree)} at the top, expected `key: value` lines")
    _check_keys_are_text(name, tree)
    if model.published_format and name not in bundled_configs(package):
        translation = resolve_name(model.published_format)(tree, name)
        if translation is not None:
            for line in translation.describe(name):
                log.info("%s", line)
            tree = to_dict(translation.config)
    config = EasyDict(tree)
    for override in overrides:
        _apply_override(config, override)
    origin = f"{name} with {' '.join(overrides)}" if overrides else name
    return validate_config(_to_plain(config), model, origin)


def validate_config(values: dict[str, Any], model: type[C], name: str = "configuration") -> C:
    """Build a typed configuration from plain values of YAML or JSON.

    Args:
        values: nested dicts, lists and scalars. Text such as ``1e-4`` (YAML reads a number without a point as
            text) is converted where the field is a float.
        model: class of the configuration.
        name: source of the values, for messages.

    Raises:
        ConfigError: as `load_config`.
    """
    try:
        # JSON in strict mode: lists become tuples and text becomes paths, but "3" is no int and 1 no bool.
        text = json.dumps(_coerce_floats(model, values), default=str)
        return model.model_validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        problems = list(dict.fromkeys(_format_problem(problem, model) for problem in error.errors()))
        if len(problems) > MAX_PROBLEMS:
            problems[MAX_PROBLEMS:] = [f"and {len(problems) - MAX_PROBLEMS} more"]
        raise ConfigError("\n  ".join([f"{name} cannot be used:", *problems])) from None


def bundled_configs(package: str) -> list[str]:
    """Names of a package's bundled configurations, sorted, without suffix."""
    folder = resources.files(package) / "configs"
    if not folder.is_dir():
        return []
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml"))


def to_dict(config: Config) -> dict[str, Any]:
    """Convert a configuration to nested dicts, lists and scalars for JSON or YAML."""
    return config.model_dump(mode="json")


def to_yaml(config: Config) -> str:
    """Convert a configuration to YAML that `load_config` reads back to an equal one; keys in field order."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True, width=110)


def add_defaults(values: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Add the keys that stored values lack and that have a default, as in files older than these keys.

    Args:
        values: nested plain values that `to_dict` returned, or an earlier release of it.
        config: states which keys there are; sections that it holds as other classes than `values` get theirs.

    Returns:
        A copy; keys without a default, and keys that the configuration does not have, stay as they are.
    """
    filled = dict(values)
    for name, field in type(config).model_fields.items():
        if name not in filled:
            if not field.is_required():
                default = field.get_default(call_default_factory=True)
                filled[name] = pydantic.TypeAdapter(Any).dump_python(default, mode="json")
        elif isinstance(section := getattr(config, name), Config) and isinstance(filled[name], Mapping):
            filled[name] = add_defaults(filled[name], section)
    return filled


def _read_source(source: str | Path, package: str) -> tuple[str, str]:
    """Name (for messages) and text of a configuration file."""
    path = Path(source)
    if isinstance(source, str) and path.suffix not in (".yaml", ".yml") and len(path.parts) == 1:
        names = bundled_configs(package)
        if source in names:
            return source, (resources.files(package) / "configs" / f"{source}.yaml").read_text("utf-8")
        near = difflib.get_close_matches(source, names, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(names) or "none"
        raise ConfigError(
            f"{package} has no configuration named {source!r}.{hint} Bundled: {listed}. "
            "A file of your own is given as a path that ends in .yaml."
        )
    try:
        return str(path), read_file_text(path, ConfigError, "a configuration", max_bytes=4 * MAX_TEXT_LENGTH)
    except FileNotFoundError as error:
        listed = ", ".join(bundled_configs(package)) or "none"
        raise ConfigError(f"cannot read the configuration: {error}. Bundled names: {listed}") from None


def _check_keys_are_text(name: str, tree: Any, path: str = "") -> None:
    """Raise ConfigError for keys that are not text: YAML reads a bare `on:` or `1:` as another type."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if not isinstance(key, str):
                raise ConfigError(f"{name}: key {path}{key!r} is {_type_name(key)}, expected text; quote it")
            _check_keys_are_text(name, value, f"{path}{key}.")


def _apply_override(config: EasyDict, override: str) -> None:
    """Set one ``section.key=value`` in the tree."""
    key, equals, text = override.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not last or not all(sections):
        raise ConfigError(f"override {override!r}: expected section.key=value")
    try:
        value = load_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not readable YAML: {error}") from error
    _check_keys_are_text(f"override {override!r}", value)
    place = config
    for section in sections:
        inner = place.setdefault(section, EasyDict())
        if inner is None:
            inner = place[section] = EasyDict()
        if not isinstance(inner, dict):
            raise ConfigError(f"override {override!r}: {section} is {_type_name(inner)}, not a section")
        place = place[section]
    place[last] = value


def _to_plain(tree: Any) -> Any:
    """Convert EasyDicts to dicts; `dict.items` because a key called items hides the method."""
    if isinstance(tree, dict):
        return {key: _to_plain(value) for key, value in dict.items(tree)}
    if isinstance(tree, list | tuple):
        return [_to_plain(value) for value in tree]
    return tree


def _coerce_floats(annotation: Any, value: Any) -> Any:
    """Convert text such as ``1e-4`` in `value` to numbers where `annotation` is a float."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        if not isinstance(value, dict):
            return value
        fields = annotation.model_fields
        return {
            key: _coerce_floats(fields[key].annotation, item) if key in fields else item
            for key, item in value.items()
        }
    if annotation is float:
        is_number = isinstance(value, str) and FLOAT_PATTERN.fullmatch(value.strip())
        return float(value) if is_number else value
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _coerce_floats(inner[0], value)
    if origin in (typing.Union, types.UnionType):
        if str in inner and isinstance(value, str):
            return value
        changed = (_coerce_floats(choice, value) for choice in inner)
        return next((item for item in changed if item is not value), value)
    if isinstance(value, list) and inner and origin is not typing.Literal:
        if origin is tuple and inner[-1] is not Ellipsis and len(inner) == len(value):
            return [_coerce_floats(kind, item) for kind, item in zip(inner, value)]
        return [_coerce_floats(inner[0], item) for item in value]
    if isinstance(value, dict) and len(inner) == 2:
        return {key: _coerce_floats(inner[1], item) for key, item in value.items()}
    return value


def _format_problem(problem: Any, model: type[Config]) -> str:
    """Format one problem as a line: key, found, expected, nearest known key."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; {_suggest_keys(key, list(_dotted_keys(model)))}"
    if problem["type"] == "missing":
        return f"{key}: missing, and it has no default"
    message = problem["msg"].removeprefix("Value error, ")
    message = re.sub(r"^(Input|Value|Tuple|List|Dictionary|String) should ", "expected to ", message)
    message = message.replace("expected to be ", "expected ").replace("expected to have", "expected")
    message = re.sub(r"^expected an object", "expected a section (key: value lines)", message)
    found = problem["input"]
    if isinstance(found, dict):
        return f"{key}: {message}, found a section" if key else message
    hint = "; write 1.0 for a whole number" if isinstance(found, int) and "float" in problem["type"] else ""
    return f"{key}: {message}, found {found!r} ({_type_name(found)}){hint}"


def _suggest_keys(key: str, known: Sequence[str]) -> str:
    """Known keys nearest to an unknown one, or the keys of its section if none is near.

    A key of the same name (or of a name in `SYNONYMS`) in any section comes first, then similar names in the
    same section, then similar names elsewhere.
    """
    section, _, name = key.rpartition(".")
    names = {name, SYNONYMS.get(name, name)}
    nearest = [other for other in known if other.rpartition(".")[2] in names]
    if not nearest:
        nearest = [other for other in known if names & set(other.rpartition(".")[2].split("_"))]
    siblings = [other for other in known if other.rpartition(".")[0] == section]
    for candidates, cutoff in ((siblings, 0.6), (known, 0.7)):
        if not nearest:
            leaves = [other.rpartition(".")[2] for other in candidates]
            close = difflib.get_close_matches(name, leaves, MAX_SUGGESTIONS, cutoff)
            nearest = [other for leaf in dict.fromkeys(close) for other in candidates if other.endswith(leaf)]
            nearest = [other for other in nearest if other.rpartition(".")[2] in close]
    if not nearest:
        where = f"keys of {section}" if section and siblings else "known keys"
        listed = siblings or [other for other in known if "." not in other]
        rest = ["..."] if len(listed) > MAX_KEYS_SHOWN else []
        return f"{where}: {', '.join([*listed[:MAX_KEYS_SHOWN], *rest])}"
    shown = list(dict.fromkeys(nearest))[:MAX_SUGGESTIONS]
    return f"did you mean {shown[0]}?" if len(shown) == 1 else f"did you mean one of {', '.join(shown)}?"


def _dotted_keys(model: type[pydantic.BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields, sections included."""
    for name, field in model.model_fields.items():
        yield prefix + name
        choices = typing.get_args(field.annotation) or (field.annotation,)
        for choice in choices:
            if isinstance(choice, type) and issubclass(choice, pydantic.BaseModel):
                yield from _dotted_keys(choice, f"{prefix}{name}.")


def _type_name(value: Any) -> str:
    """Word for the type of a YAML value."""
    return TYPE_NAMES.get(type(value), TYPE_NAMES[dict] if isinstance(value, dict) else type(value).__name__)
