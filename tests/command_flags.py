"""Flags of every command, read from the source: those of its module and of the functions that it calls."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SHARED_SOURCE = Path(__file__).resolve().parents[1] / "shared" / "src" / "voiceface"
ADD_ARGUMENT_NAMES = {"add_argument", "add"}
# What commands of one name have in every system.
REQUIRED_FLAGS = {
    "train": {"--cfg", "--data", "--out", "--resume", "--device", "--threads"},
    "test": {"--weights", "--data", "--split", "--out", "--device"},
    "demo": {"--out", "--device"},
    **{name: {"--weights", "--device"} for name in ("embed", "match", "infer", "evaluate")},
    **{name: {"--weights", "--out", "--device"} for name in ("generate", "invert")},
}
# Action, type and nargs of a flag, wherever it is.
FLAG_SIGNATURES = {
    **dict.fromkeys(
        ("--cfg", "--device", "--missing", "--on-corrupt", "--resample", "--tie-breaking"), ("", "", "")
    ),
    "--data": ("", "data_folder", ""),
    **dict.fromkeys(
        ("--out", "--checkpoint", "--voice-root", "--face-root", "--cache", "--json", "--report"),
        ("", "Path", ""),
    ),
    **dict.fromkeys(
        ("--threads", "--seed", "--workers", "--bootstrap-samples", "--generate-lists", "--top"),
        ("", "int", ""),
    ),
    **dict.fromkeys(("--resume", "--no-page", "--quiet"), ("store_true", "", "")),
    "--list": ("append", "", ""),
}
# Words that others use for what has a name here.
DISALLOWED_FLAGS = {
    **dict.fromkeys(("--config", "--configuration", "--conf"), "--cfg"),
    **dict.fromkeys(("--start", "--init", "--ckpt"), "--checkpoint"),
    **dict.fromkeys(("--model", "--model-path"), "--weights"),
    **dict.fromkeys(("--gpu", "--cuda"), "--device"),
    **dict.fromkeys(("--output", "--outdir", "--output-dir", "--save-dir"), "--out"),
    **dict.fromkeys(("--dataset", "--data-dir", "--root"), "--data"),
    **dict.fromkeys(("--num-workers", "--processes"), "--workers"),
    "--continue": "--resume",
    **dict.fromkeys(("--skip-missing", "--on-absent", "--on-missing"), "--missing"),
    **dict.fromkeys(("--tolerant", "--lenient"), "--on-corrupt"),
    "--strict-rate": "--resample",
    "--ties": "--tie-breaking",
    "--replicates": "--bootstrap-samples",
    "--set": "a positional section.key=value",
    **dict.fromkeys(("--batch-size", "--epochs", "--lr", "--max-iter"), "a key of the configuration"),
}


@dataclass(frozen=True)
class Flag:
    """One `add_argument`.

    Attributes:
        name: first name, with its dashes.
        action, type_name, nargs, default: as written; "" where left out.
        required: whether it is.
    """

    name: str
    action: str
    type_name: str
    nargs: str
    default: str
    required: bool


@cache
def parse_module(path: Path) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse(path.read_text())


def find_flags(tree: ast.AST) -> Iterator[Flag]:
    """Every flag that is added somewhere in a tree."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
            continue
        name = node.args[0].value
        if ast.unparse(node.func).split(".")[-1] in ADD_ARGUMENT_NAMES and str(name).startswith("-"):
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            given = {key: text.strip("'") for key, text in given.items()}
            yield Flag(
                str(name),
                given.get("action", ""),
                given.get("type", "").split(".")[-1],
                given.get("nargs", ""),
                given.get("default", ""),
                given.get("required") == "True",
            )


def find_flag_violations(tree: ast.AST) -> Iterator[str]:
    """What is wrong with the flags that are added in a module, one text each."""
    for flag in find_flags(tree):
        if flag.name in DISALLOWED_FLAGS:
            yield f"{flag.name} is called {DISALLOWED_FLAGS[flag.name]} here"
        if not re.fullmatch(r"--[a-z0-9]+(-[a-z0-9]+)*|-[a-z]", flag.name):
            yield f"{flag.name}: expected small letters, digits and dashes"
        kind = flag.action, flag.type_name, flag.nargs
        if kind != FLAG_SIGNATURES.get(flag.name, kind):
            yield f"{flag.name} is {kind}, elsewhere {FLAG_SIGNATURES[flag.name]} (action, type, nargs)"


def command_table(path: Path) -> dict[str, str]:
    """Command -> module or "module:function", of the COMMANDS in a source file."""
    for node in parse_module(path).body:
        target = node.target if isinstance(node, ast.AnnAssign) else None
        target = node.targets[0] if isinstance(node, ast.Assign) else target
        if isinstance(target, ast.Name) and target.id == "COMMANDS" and isinstance(node.value, ast.Dict):
            table: dict[str, str] = {}
            for key, value in zip(node.value.keys, node.value.values):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple):
                    table[key.value] = ast.literal_eval(value.elts[0])
                else:
                    assert ast.unparse(value) == "association_commands(SPEC)", ast.unparse(value)
                    table |= _association_commands()
            return table
    raise ValueError(f"{path} holds no table COMMANDS")


def _association_commands() -> dict[str, str]:
    """Commands that every association system has -> "module:function"."""
    path = SHARED_SOURCE / "association" / "commands.py"
    (function,) = (
        node
        for node in parse_module(path).body
        if isinstance(node, ast.FunctionDef) and node.name == "association_commands"
    )
    (table,) = (node for node in ast.walk(function) if isinstance(node, ast.Dict))
    return {
        ast.literal_eval(key): f"voiceface.association.commands:{ast.unparse(value.elts[0])}"
        for key, value in zip(table.keys, table.values)
        if key is not None and isinstance(value, ast.Tuple)
    }


def collect_flags(module: str, roots: Mapping[str, Path]) -> dict[str, Flag]:
    """The flags of a command by name.

    Args:
        module: dotted name of the module that has its `main`, or "module:function".
        roots: import name of every package -> its source folder.
    """
    module, _, function = module.partition(":")
    path = _module_path(module, roots)
    assert path is not None, module
    found = {} if function else {flag.name: flag for flag in find_flags(parse_module(path))}
    called, seen = [*_called_functions(parse_module(path), module, roots)], set()
    if function:
        called = [(module, function)]
    while called:
        owner, name = called.pop()
        if (owner, name) in seen:
            continue
        seen.add((owner, name))
        place = _module_path(owner, roots)
        if place and name == "train_command":  # its arguments are a method of the trainer class
            called += _called_functions(parse_module(place), owner, roots)
        for node in parse_module(place).body if place else ():
            if isinstance(node, ast.FunctionDef) and node.name == name:
                found |= {flag.name: flag for flag in find_flags(node) if flag.name not in found}
                called += _called_functions(node, owner, roots)
    return found


def _module_path(module: str, roots: Mapping[str, Path]) -> Path | None:
    """File of a module of this repository."""
    top, *rest = module.split(".")
    if top not in roots:
        return None
    place = roots[top].joinpath(*rest)
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


def _called_functions(tree: ast.AST, module: str, roots: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """(module, function) of what is called in a tree, as far as it is of this repository."""
    known: dict[str, tuple[str, str]] = {}
    path = _module_path(module, roots)
    for node in ast.walk(parse_module(path)) if path else ():
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                known[alias.asname or alias.name] = (node.module, alias.name)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            yield known.get(node.func.id, (module, node.func.id))
        elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            package, name = known.get(node.func.value.id, ("", ""))
            if package:
                yield f"{package}.{name}", node.func.attr
