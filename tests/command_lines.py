"""Command lines that pages show, and what each command's own argument parser makes of them."""

import argparse
import importlib
import importlib.util
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from voiceface.runtime.config import load_config

REPO = Path(__file__).resolve().parents[1]
PROGRAMS = (
    "voiceface",
    "seeking_shape",
    "archetype_agnostic",
    "sf2f",
    "perceptionist",
    "cmpc2",
    "fop",
    "voicestyle",
)
CONFIG_CLASSES = {
    "seeking_shape": "seeking_shape.config:SeekingShapeConfig",
    "archetype_agnostic": "archetype_agnostic.config:ArchetypeAgnosticConfig",
    "sf2f": "sf2f.config:Sf2fConfig",
    "perceptionist": "perceptionist.config:PerceptionistConfig",
    "cmpc2": "cmpc2.config:Cmpc2Config",
    "fop": "fop.config:FopConfig",
    "voicestyle": "voicestyle.config:VoiceStyleConfig",
    "voicestyle.train_stylegan": "voicestyle.stylegan2.config:StyleGAN2Config",
}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^    .*\n(?:[ \t]*\n(?=    ))?)+", re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
ELLIPSIS = "…"  # whatever follows is left to the reader


@dataclass(frozen=True)
class CommandLine:
    """One command line of a page.

    Attributes:
        page: where it stands, below the repository.
        words: of the line; variables replaced, comments removed.
        is_complete: it can be typed as it is; otherwise it is part of a sentence and may be incomplete.
    """

    page: str
    words: tuple[str, ...]
    is_complete: bool

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


class ParsedArguments(Exception):
    """Thrown by the argument parser of a command when it has understood a line, in place of its work."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__()
        self.arguments = arguments


def find_command_lines(page: Path) -> Iterator[CommandLine]:
    """All command lines of the programs of this repository on a page: in blocks, and within sentences."""
    text = page.read_text("utf-8")
    name = page.relative_to(REPO).as_posix() if page.is_relative_to(REPO) else page.name
    blocks = [body for kind, body in BLOCK.findall(text) if kind in ("", "sh", "bash", "console")]
    rest = BLOCK.sub("", text)
    blocks += [re.sub(r"^    ", "", body, flags=re.MULTILINE) for body in INDENTED.findall(rest)]
    for body in blocks:
        for words in _split_commands(body):
            yield CommandLine(name, words, True)
    for span in SPAN.findall(INDENTED.sub("", rest)):
        for words in _split_commands(re.sub(r"[\[\]]", " ", span.replace("...", ELLIPSIS))):
            if any(word.startswith("--") for word in words):
                yield CommandLine(name, words, False)


def _split_commands(text: str) -> Iterator[tuple[str, ...]]:
    """Words of the command lines in a piece of shell, as far as they start one of our programs."""
    variables: dict[str, str] = {}
    text = re.sub(r"\\\n\s*", " ", text)
    text = re.sub(r'^(\w+)="([^"]*)"', lambda found: found[0].replace("\n", " "), text, flags=re.MULTILINE)
    for line in text.splitlines():
        if found := re.fullmatch(r'(\w+)="([^"]*)"', line.strip()):
            variables[found[1]] = found[2]
            continue
        for name, value in variables.items():
            line = line.replace(f"${name}", value)
        for part in re.split(r"\s&&\s", line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue  # prose or a drawing
            if words and (words[0] in PROGRAMS or words[0] in ("python", "torchrun")) and len(words) > 1:
                yield tuple(words)


def resolve_command(words: Sequence[str]) -> tuple[str | Path, list[str]] | None:
    """Module (or script) whose `main` a command line starts, and the words it is given; None: no such."""
    words = list(words)
    if words[0] == "torchrun":
        words = ["python", *words[words.index("-m") :]]
    if words[0] == "python":
        if words[1] == "-m" and words[2].split(".")[0] in PROGRAMS:
            module, rest = words[2], words[3:]
            return resolve_command([module, *rest]) if "." not in module else (module, rest)
        script = REPO / words[1]
        return (script, words[2:]) if words[1].startswith(("benchmarks/", "tests/", "third_party/")) else None
    if words[0] not in PROGRAMS or words[1].startswith("-"):
        return None
    place = importlib.import_module(f"{words[0]}.__main__")
    if words[1] not in place.COMMANDS:
        raise LookupError(f"{words[0]} has no command {words[1]}")
    command = place.COMMANDS[words[1]][0]
    return (command, words[2:]) if isinstance(command, str) else (f"{words[0]}.__main__", words[1:])


def parse_command_line(line: CommandLine, monkeypatch: Any) -> argparse.Namespace | None:
    """What a command's own parser makes of a line, its work not being done; None: a line of something else.

    Raises:
        LookupError: no such command, script or flag.
        ValueError: the parser refuses the line.
    """
    found = resolve_command(line.words)
    if found is None:
        return None
    place, words = found
    if isinstance(place, Path) and not place.is_file():
        raise LookupError(f"no file {place.relative_to(REPO)}")
    module = _load_script(place) if isinstance(place, Path) else importlib.import_module(place)

    def instead(parse: Callable[..., argparse.Namespace]) -> Callable[..., argparse.Namespace]:
        def parse_and_stop(parser: argparse.ArgumentParser, *given: Any, **more: Any) -> argparse.Namespace:
            known = _known_flags(parser, words)
            asked = [word.split("=")[0] for word in words if word.startswith("--")]
            if absent := [flag for flag in asked if flag not in known]:  # abbreviations count as absent
                raise LookupError(f"{parser.prog} has no {', '.join(absent)}")
            raise ParsedArguments(parse(parser, *given, **more) if line.is_complete else argparse.Namespace())

        return parse_and_stop

    def error(parser: argparse.ArgumentParser, message: str) -> None:
        raise ValueError(message)

    with monkeypatch.context() as patch:
        for name in ("parse_args", "parse_intermixed_args"):
            patch.setattr(argparse.ArgumentParser, name, instead(getattr(argparse.ArgumentParser, name)))
        patch.setattr(argparse.ArgumentParser, "error", error)
        patch.setattr(sys, "argv", [str(place), *words])
        try:
            module.main(words) if _accepts_argv(module) else module.main()
        except ParsedArguments as done:
            return done.arguments
        except SystemExit as stop:
            raise ValueError(f"{place} ends with {stop.code}") from None
    raise ValueError(f"{place} does not ask its parser")


def load_requested_config(target: str | Path, arguments: argparse.Namespace) -> Any:
    """The configuration that a parsed line asks for, with its overrides; None: it asks for none.

    Raises:
        ConfigError: no such bundled configuration, or an override does not fit.
    """
    cfg = getattr(arguments, "cfg", None)
    changes = [*(getattr(arguments, "override", None) or ()), *(getattr(arguments, "set", None) or ())]
    if cfg is None or isinstance(target, Path) or (Path(cfg).suffix == ".yaml" or cfg.isupper()):
        return None
    package = target.split(".")[0]
    module, name = CONFIG_CLASSES.get(target, CONFIG_CLASSES[package]).split(":")
    return load_config(cfg, getattr(importlib.import_module(module), name), package, changes)


def _known_flags(parser: argparse.ArgumentParser, words: Sequence[str]) -> set[str]:
    """Flags of a parser and of the sub-parser that the first word names."""
    known = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and words and words[0] in action.choices:
            known |= set(action.choices[words[0]]._option_string_actions)
    return known


def _accepts_argv(module: ModuleType) -> bool:
    """Whether `main` is given the words of the command line."""
    return bool(module.main.__code__.co_argcount)


def _load_script(path: Path) -> ModuleType:
    """A script as a module, its folder importable as when it is started."""
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module
