"""Libraries that tests compare with: named by the test extras, and required under CI."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
DISTRIBUTIONS = {  # import name -> distribution, where they differ
    "cv2": "opencv-python-headless",
    "Cython": "cython",
    "faiss": "faiss-cpu",
    "open_clip": "open_clip_torch",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "webrtcvad": "webrtcvad-wheels",
    "yaml": "pyyaml",
}
PROJECTS = [REPO / "shared", *sorted(path.parent for path in (REPO / "packages").glob("*/pyproject.toml"))]
OWN_MODULES = {"voiceface", *(folder.name for folder in PROJECTS)}


def normalise(name: str) -> str:
    """Name of a distribution as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_requirements(folder: Path, *extras: str) -> set[str]:
    """Normalised names of the distributions that a project requires, with some of its extras."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    hook = project["tool"]["hatch"].get("metadata", {}).get("hooks", {}).get("custom", {})
    lines = [*project["project"].get("dependencies", []), *hook.get("dependencies", [])]
    optional = project["project"]["optional-dependencies"]
    names = set()
    for line in [*lines, *(line for extra in extras for line in optional[extra])]:
        match = re.match(r"([\w.-]+)(?:\[([\w,]+)\])?", line)
        assert match, line
        names.add(normalise(match[1]))
        if match[1] == "voiceface-shared" and match[2]:
            names |= read_requirements(REPO / "shared", *match[2].split(","))
    return names


def imports(root: Path) -> Iterator[tuple[Path, str]]:
    """File and top-level name of every import of a third-party library below a folder, `importorskip` too."""
    local = {path.stem for path in root.rglob("*.py")} | OWN_MODULES | sys.stdlib_module_names
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("importorskip"):
                names = [node.args[0].value] if isinstance(node.args[0], ast.Constant) else []
            yield from ((path, top) for name in names if (top := name.split(".")[0]) not in local)


@pytest.mark.parametrize("folder", PROJECTS, ids=lambda folder: folder.name)
def test_every_imported_library_is_a_requirement(folder: Path) -> None:
    """Sources may use every extra but the test extra; tests and `voiceface.testing` may use that as well."""
    extras = set(tomllib.loads((folder / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    shared = read_requirements(REPO / "shared")
    in_sources = shared | read_requirements(folder, *(extras - {"test"}))
    in_tests = shared | read_requirements(folder, *extras)
    for path, name in [*imports(folder / "src"), *imports(folder / "tests")]:
        known = in_tests if {"tests", "testing"} & set(path.relative_to(folder).parts) else in_sources
        distribution = normalise(DISTRIBUTIONS.get(name, name))
        assert distribution in known, (
            f"{path.relative_to(REPO)} imports {name}; add {distribution} to {folder.name}/pyproject.toml"
        )


def test_an_undeclared_import_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "import os, b\nimport torch.nn\n\ndef f():\n    pytest.importorskip('faiss.contrib')\n"
    )
    (tmp_path / "b.py").write_text("from voiceface.io import atomic\nfrom . import a\n")
    assert [name for _, name in imports(tmp_path)] == ["torch", "faiss"]


CI_OUTCOMES = [({"CI": "true"}, "1 failed, 1 skipped, 1 error"), ({}, "3 skipped")]


@pytest.mark.parametrize(("variables", "summary"), CI_OUTCOMES)
def test_a_missing_library_fails_under_ci(tmp_path: Path, variables: dict[str, str], summary: str) -> None:
    (tmp_path / "conftest.py").write_text((REPO / "conftest.py").read_text())
    (tmp_path / "test_one.py").write_text(
        "import pytest\n"
        "def test_compare(): pytest.importorskip('no_such_library')\n"
        "@pytest.fixture\n"
        "def library(): return pytest.importorskip('no_such_library')\n"
        "def test_fixture(library): pass\n"
        "def test_other_skips_stay(): pytest.skip('no GPU')\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "CI"} | variables
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert summary in run.stdout, run.stdout
