"""Docstrings are true to the code: documented arguments and attributes exist, public names are listed."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
ROOTS = [REPO / "shared" / "src", *sorted((REPO / "packages").glob("*/src"))]
MODULES = [path for root in ROOTS for path in sorted(root.rglob("*.py"))]
SECTION = re.compile(r"^(\s*)(Args|Attributes|Returns|Raises|Yields):\s*$")
ENTRY = re.compile(r"\s*([*\w][\w*, /]*?)(?:\s*\([^)]*\))?:\s")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def documented(docstring: str, section: str) -> list[str]:
    """Names with an entry in a section of a docstring."""
    names: list[str] = []
    current, outer, inner = "", 0, -1
    for line in docstring.split("\n"):
        if found := SECTION.match(line):
            current, outer, inner = found[2], len(found[1]), -1
            continue
        if not current or not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        if indent <= outer:
            current = ""
            continue
        inner = indent if inner < 0 else inner
        if current == section and indent == inner and (entry := ENTRY.match(line + " ")):
            names += [name.strip().lstrip("*") for name in re.split(r"[,/]", entry[1])]
    return names


def parameters(function: Function) -> set[str]:
    """Names of the parameters of a function."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return {each.arg for each in (*named, given.vararg, given.kwarg) if each is not None}


def attributes(definition: ast.ClassDef) -> set[str]:
    """Fields, methods, buffers and assigned attributes of a class."""
    names = {node.name for node in definition.body if isinstance(node, Function)}
    for node in ast.walk(definition):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
            names.add(node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "self.register_buffer":
            names |= {node.args[0].value} if isinstance(node.args[0], ast.Constant) else set()
    return names


def stale_entries(tree: ast.AST) -> Iterator[str]:
    """Documented names that the code does not have."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            absent = set(documented(ast.get_docstring(node) or "", "Args")) - parameters(node)
        elif isinstance(node, ast.ClassDef):
            text = ast.get_docstring(node) or ""
            makers = [each for each in node.body if isinstance(each, Function) and each.name == "__init__"]
            absent = set(documented(text, "Args")) - parameters(makers[0]) if makers else set()
            known = attributes(node)
            if known or not node.bases:  # a class that inherits everything documents inherited attributes
                absent |= set(documented(text, "Attributes")) - known
        else:
            continue
        yield from (f"{node.name}: {name}" for name in sorted(absent))


def has_public_names(tree: ast.Module) -> bool:
    """Whether a module defines a function, class or constant without a leading underscore."""
    for node in tree.body:
        if isinstance(node, (*Function.__args__, ast.ClassDef)) and not node.name.startswith("_"):
            return True
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id[0] != "_" for target in targets):
                return True
    return False


def listed_names(tree: ast.Module) -> list[str] | None:
    """Names in `__all__`; None: there is none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.parent.name)
def test_documented_arguments_and_attributes_exist(root: Path) -> None:
    stale = {
        path.relative_to(REPO).as_posix(): list(stale_entries(ast.parse(path.read_text("utf-8"))))
        for path in sorted(root.rglob("*.py"))
    }
    assert not {path: names for path, names in stale.items() if names}


def test_a_stale_entry_is_recognised() -> None:
    text = 'def f(new, other):\n    """Do.\n\n    Args:\n        old: gone.\n        other: there.\n    """'
    assert list(stale_entries(ast.parse(text))) == ["f: old"]
    text = 'class A:\n    """Be.\n\n    Attributes:\n        x, y: both.\n    """\n    x: int = 0'
    assert list(stale_entries(ast.parse(text))) == ["A: y"]


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.parent.name)
def test_public_modules_list_their_names(root: Path) -> None:
    missing = []
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        private = path.name.startswith("_") and path.name != "__main__.py"
        if not private and has_public_names(tree) and listed_names(tree) is None:
            missing.append(path.relative_to(REPO).as_posix())
    assert not missing


def test_modules_are_no_longer_than_350_lines() -> None:
    """Except StyleGAN2's."""
    exempt = ("stylegan2",)
    long = {
        path.relative_to(REPO).as_posix(): lines
        for path in MODULES
        if (lines := path.read_text("utf-8").count("\n")) > 350 and not any(x in path.parts for x in exempt)
    }
    assert not long
