"""The shape of the repository: who may import whom, what stays light, what must agree."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
SHARED = REPO / "shared" / "src" / "voiceface"
FOLDERS = [path for path in sorted((REPO / "packages").iterdir()) if (path / "pyproject.toml").is_file()]
PACKAGES = {path.name: path / "src" / path.name for path in FOLDERS}
ALLOWED = {"voicestyle": {"cmpc2"}}
HEAVY = {"av", "cv2", "librosa", "matplotlib", "numba", "pandas", "scipy", "torch", "torchaudio"}
ROOMS = ["noxfile.py", "shared/", "packages/", "third_party/", "docs/", "tests/", "benchmarks/"]
FORBIDDEN_NAMES = {"utils.py", "common.py", "helpers.py", "misc.py"}


def sources(root: Path) -> list[Path]:
    return sorted(root.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.split(".")[0])
    return names


def tracked() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [REPO / line for line in listing.stdout.splitlines() if (REPO / line).is_file()]


def test_packages_import_the_shared_package_and_not_each_other():
    for name, root in PACKAGES.items():
        for path in sources(root):
            others = imported(path) & (set(PACKAGES) - {name} - ALLOWED.get(name, set()))
            assert not others, f"{path.relative_to(REPO)} imports {others}"


def test_the_shared_package_imports_no_system():
    for path in sources(SHARED):
        assert not imported(path) & set(PACKAGES), path.relative_to(REPO)


def test_importing_a_package_is_light():
    for root in [SHARED, *PACKAGES.values()]:
        for path in [root / "__init__.py", root / "__main__.py"]:
            tree = ast.parse(path.read_text())
            for node in tree.body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    module = (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
                    assert module.split(".")[0] not in HEAVY, f"{path.relative_to(REPO)} imports {module}"


def test_every_package_has_the_same_shape():
    hooks = set()
    for name, root in PACKAGES.items():
        folder = root.parents[1]
        for needed in ["pyproject.toml", "hatch_build.py", "README.md", "tests"]:
            assert (folder / needed).exists(), f"{name} lacks {needed}"
        for needed in ["__init__.py", "__main__.py", "configs"]:
            assert (root / needed).exists(), f"{name} lacks {needed}"
        hooks.add((folder / "hatch_build.py").read_text())
    assert len(hooks) == 1, "hatch_build.py is one file, copied"


def test_every_distribution_carries_the_licence_and_the_readme_names_its_pages():
    for folder in [REPO / "shared", *(root.parents[1] for root in PACKAGES.values())]:
        assert (folder / "LICENSE").read_bytes() == (REPO / "LICENSE").read_bytes(), folder.name
    readme = (REPO / "README.md").read_text()
    for page in sorted((REPO / "docs").glob("*.md")):
        assert f"docs/{page.name}" in readme, f"README.md does not link docs/{page.name}"


def test_links_between_pages_lead_somewhere():
    for path in tracked():
        if path.suffix == ".md":
            for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text()):
                assert (path.parent / target).exists(), f"{path.relative_to(REPO)} links {target}"


def test_one_version_everywhere():
    versions = {}
    for folder in [REPO / "shared", *(root.parents[1] for root in PACKAGES.values())]:
        versions[folder.name] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["version"]
    for root in [SHARED, *PACKAGES.values()]:
        found = re.search(r'__version__ = "(.+)"', (root / "__init__.py").read_text())
        assert found, root
        versions[f"{root.name}.__init__"] = found[1]
    assert len(set(versions.values())) == 1, versions


def test_test_files_have_unique_names_and_folders_are_no_packages():
    tests = [path for path in tracked() if path.name.startswith("test_") and path.suffix == ".py"]
    names = [path.name for path in tests]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
    assert not [path for path in tracked() if path.name == "__init__.py" and "tests" in path.parts]


def test_modules_are_named_after_what_they_hold():
    assert not [path for path in tracked() if path.name in FORBIDDEN_NAMES]


def test_no_machine_path_in_sources():
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".html"} and path != Path(__file__).resolve():
            assert not re.search(r"(?<![\w.])/(work|home|root)/\w", path.read_text()), path.relative_to(REPO)


def unsafe_loads(source: str) -> list[str]:
    """Calls in a module that could run code from the file they read."""
    tree = ast.parse(source)
    loaders = {"SafeLoader", "CSafeLoader"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.bases:
            bases = [ast.unparse(base).split(".")[-1] for base in node.bases]
            loaders |= {node.name} if all(base in loaders for base in bases) else set()
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if (
            (name in {"yaml.load", "yaml.load_all"} and given.get("Loader", "").split(".")[-1] not in loaders)
            or (name == "torch.load" and given.get("weights_only") != "True")
            or given.get("allow_pickle") == "True"
            or name
            in {"yaml.unsafe_load", "yaml.full_load", "pickle.load", "pickle.loads", "pickle.Unpickler"}
        ):
            found.append(ast.unparse(node))
    return found


def test_no_reader_runs_code_from_a_file():
    for root in [SHARED, *PACKAGES.values(), REPO / "benchmarks", REPO / "third_party", REPO / "tests"]:
        for path in sources(root):
            assert not unsafe_loads(path.read_text()), path.relative_to(REPO)


def test_readers_that_could_run_code_are_recognised():
    safe = "class L(yaml.SafeLoader): pass\nyaml.load(t, Loader=L)\ntorch.load(p, weights_only=True)"
    assert not unsafe_loads(safe)
    for call in ["yaml.load(t)", "yaml.load(t, Loader=yaml.Loader)", "torch.load(p)", "pickle.load(f)"]:
        assert unsafe_loads(call) == [call]


def test_the_layout_map_in_readme_names_what_exists():
    readme = (REPO / "README.md").read_text()
    rooms = re.search(r"```\n(README\.md .*?)```", readme, re.DOTALL)
    assert rooms, "README.md lacks the layout map"
    for name in [*ROOMS, *PACKAGES]:
        assert name in rooms[1], f"the layout map of README.md does not name {name}"


def test_nothing_large_is_committed():
    for path in tracked():
        assert path.stat().st_size <= 3_200_000, f"{path.relative_to(REPO)}: {path.stat().st_size} bytes"
