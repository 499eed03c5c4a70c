"""The shape of the repository: who may import whom, what stays light, what must agree."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from command_flags import REQUIRED_FLAGS, collect_flags, command_table, find_flag_violations, parse_module

REPO = Path(__file__).resolve().parents[1]
SHARED = REPO / "shared" / "src" / "voiceface"
PACKAGE_DIRS = [path for path in sorted((REPO / "packages").iterdir()) if (path / "pyproject.toml").is_file()]
PACKAGES = {path.name: path / "src" / path.name for path in PACKAGE_DIRS}
ALLOWED_SIBLINGS = {"voicestyle": {"cmpc2"}}
HEAVY_PACKAGES = {
    *("av", "cv2", "librosa", "matplotlib", "numba", "pandas", "scipy"),
    *("torch", "torchaudio", "torchvision"),
}
# Floors of the shared package: a folder imports only from those in lines above its own.
FLOORS = {
    folder: floor
    for floor, folders in enumerate(
        [
            ["io"],
            ["commandline", "runtime", "images", "metrics", "rendering"],
            ["audio", "checkpoints", "embeddings"],
            ["real", "gallery", "engines"],
            ["faces"],
            ["videos"],
            ["datasets", "training", "models", "export"],
            ["synthetic"],
            ["evaluation"],
            ["report"],
            ["association", "preparation"],
            ["encoders"],
            ["commands", "testing", "suite"],
            ["studio"],
        ]
    )
    for folder in folders
}
TOP_LEVEL_ENTRIES = ["noxfile.py", "shared/", "packages/", "third_party/", "docs/", "tests/", "benchmarks/"]
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
SOURCE_ROOTS = {"voiceface": SHARED, **PACKAGES}
TRAINING_KEYS = {
    *("seed", "max_steps", "batch_size", "precision"),
    *("num_workers", "checkpoint_interval", "log_interval"),
}


def python_files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.py"))


def imported_packages(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.split(".")[0])
    return names


def tracked_files() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [REPO / line for line in listing.stdout.splitlines() if (REPO / line).is_file()]


def test_packages_import_the_shared_package_and_not_each_other():
    for name, root in PACKAGES.items():
        for path in [*python_files(root), *python_files(root.parents[1] / "tests")]:
            others = imported_packages(path) & (set(PACKAGES) - {name} - ALLOWED_SIBLINGS.get(name, set()))
            assert not others, f"{path.relative_to(REPO)} imports {others}"


def test_the_shared_package_imports_no_system():
    for path in python_files(SHARED):
        assert not imported_packages(path) & set(PACKAGES), path.relative_to(REPO)


def imported_modules(source: str) -> set[str]:
    """Modules of the shared package that a source imports, lazily or for types alone included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.startswith("voiceface.")}


def floor_violations(folder: str, source: str) -> list[str]:
    """Imports of a module in `folder` from its own floor or from a higher one."""
    return [
        name
        for name in sorted(imported_modules(source))
        if (other := name.split(".")[1]) in FLOORS and other != folder and FLOORS[other] >= FLOORS[folder]
    ]


def test_folders_of_the_shared_package_import_only_from_lower_floors():
    folders = {path.relative_to(SHARED).parts[0] for path in python_files(SHARED) if path.parent != SHARED}
    assert folders == set(FLOORS), "every folder of the shared package has a floor"
    for path in python_files(SHARED):
        parts = path.relative_to(SHARED).parts
        if len(parts) > 1:
            wrong = floor_violations(parts[0], path.read_text())
            assert not wrong, f"{path.relative_to(REPO)} imports {', '.join(wrong)}"


def test_an_import_from_a_higher_floor_is_recognised():
    assert floor_violations("metrics", "def f():\n    from voiceface.training import run") == [
        "voiceface.training",
        "voiceface.training.run",
    ]
    assert floor_violations("audio", "from voiceface.checkpoints.native import load_model")
    assert not floor_violations("training", "from voiceface.checkpoints.native import load_model")


def import_graph(name: str, root: Path) -> dict[str, set[str]]:
    """Module -> modules of the same package that it imports, lazily or for types alone included."""
    named = {
        ".".join([name, *path.relative_to(root).with_suffix("").parts]).removesuffix(".__init__"): path
        for path in python_files(root)
    }
    graph: dict[str, set[str]] = {}
    for module, path in named.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        found: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                inner = {f"{base}.{alias.name}" for alias in node.names}
                found |= {item if item in named else base for item in inner}
        graph[module] = {item for item in found if item in named and item != module}
    return graph


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that import each other, directly or through others."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        pending = [start]
        while pending:
            new = graph[pending.pop()] - seen
            seen |= new
            pending += new
        reach[start] = seen
    groups = {frozenset({a, *(b for b in reach[a] if a in reach[b])}) for a in graph if a in reach[a]}
    return [set(group) for group in groups]


def test_no_modules_import_each_other_in_a_circle():
    for name, root in SOURCE_ROOTS.items():
        graph = import_graph(name, root)
        # Packages only give access to public names; `from package import module` needs no more.
        packages = {module.rpartition(".")[0] for module in graph}
        modules = graph.keys() - packages
        graph = {module: graph[module] & modules for module in modules}
        assert not circles(graph), f"{name}: {circles(graph)}"


def test_a_circle_is_recognised():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]
    assert not circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_importing_a_package_is_light():
    for root in [SHARED, *PACKAGES.values()]:
        for path in [root / "__init__.py", root / "__main__.py"]:
            tree = ast.parse(path.read_text())
            for node in tree.body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    module = (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
                    assert module.split(".")[0] not in HEAVY_PACKAGES, (
                        f"{path.relative_to(REPO)} imports {module}"
                    )


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
    for path in tracked_files():
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


def test_the_version_is_that_of_the_citation_and_of_the_changelog():
    version = tomllib.loads((REPO / "shared" / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (REPO / "CITATION.cff").read_text()
    assert f"\n## {version}\n" in (REPO / "CHANGELOG.md").read_text()


def test_uv_builds_anew_after_a_change_of_any_source_file():
    for folder in [SHARED.parents[1], *PACKAGE_DIRS]:
        keys = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["uv"]["cache-keys"]
        patterns = [key["file"].replace("**/", "*") for key in keys]
        for path in tracked_files():
            if path.is_relative_to(folder / "src"):
                name = path.relative_to(folder).as_posix()
                assert any(fnmatch(name, pattern) for pattern in patterns), f"{folder.name}: {name}"


def test_every_package_is_typed():
    for root in [SHARED, *PACKAGES.values()]:
        assert (root / "py.typed").is_file(), f"{root.name} lacks py.typed"


def test_test_files_have_unique_names_and_folders_are_no_packages():
    tests = [path for path in tracked_files() if path.name.startswith("test_") and path.suffix == ".py"]
    names = [path.name for path in tests]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
    assert not [path for path in tracked_files() if path.name == "__init__.py" and "tests" in path.parts]


def test_modules_are_named_after_what_they_hold():
    for path in tracked_files():
        if path.suffix == ".py":
            assert not FORBIDDEN_NAMES & {path.stem, *path.relative_to(REPO).parts}, path.relative_to(REPO)


def docstring_first_line(source: str) -> str:
    """First line of a module's own text; empty where it has none."""
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0].strip()


def is_descriptive(line: str) -> bool:
    """Whether a first line is a sentence and not a word."""
    return len(line.split()) >= 3


def test_the_first_line_of_every_module_says_what_it_holds():
    for path in tracked_files():
        if path.suffix == ".py":
            line = docstring_first_line(path.read_text())
            assert is_descriptive(line), f"{path.relative_to(REPO)} begins with {line!r}"


def test_a_module_without_a_first_line_is_recognised():
    for source in ["", "import os", '"""Losses."""', 'x = 1\n"""Not at the top of the file."""']:
        assert not is_descriptive(docstring_first_line(source)), source
    assert is_descriptive(docstring_first_line('"""Losses of the cascade, one function each.\n\nMore."""'))


def test_no_machine_path_in_sources():
    for path in tracked_files():
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".html"} and path != Path(__file__).resolve():
            assert not re.search(r"(?<![\w.])/(work|home|root)/\w", path.read_text()), path.relative_to(REPO)


def find_unsafe_loads(source: str) -> list[str]:
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
        for path in python_files(root):
            assert not find_unsafe_loads(path.read_text()), path.relative_to(REPO)


def test_readers_that_could_run_code_are_recognised():
    safe = "class L(yaml.SafeLoader): pass\nyaml.load(t, Loader=L)\ntorch.load(p, weights_only=True)"
    assert not find_unsafe_loads(safe)
    for call in ["yaml.load(t)", "yaml.load(t, Loader=yaml.Loader)", "torch.load(p)", "pickle.load(f)"]:
        assert find_unsafe_loads(call) == [call]


def test_the_layout_map_in_readme_names_what_exists():
    readme = (REPO / "README.md").read_text()
    rooms = re.search(r"```\n(README\.md .*?)```", readme, re.DOTALL)
    assert rooms, "README.md lacks the layout map"
    named = set(tree_paths(rooms[1]))
    for place in sorted(named):
        assert (REPO / place).exists(), f"the layout map of README.md names {place}, which is not there"
    there = {room.rstrip("/") for room in TOP_LEVEL_ENTRIES}
    there |= {path.relative_to(REPO).as_posix() for path in PACKAGE_DIRS}
    own = {path.relative_to(SHARED).parts[0] for path in tracked_files() if path.is_relative_to(SHARED)}
    there |= {(SHARED / name).relative_to(REPO).as_posix() for name in own if "." not in name}
    assert not there - named, f"the layout map of README.md does not name {', '.join(sorted(there - named))}"


def tree_paths(tree: str) -> Iterator[str]:
    """Files and folders that a drawn tree names, as paths; several files may stand on a line."""
    above: list[tuple[int, str]] = []
    for line in tree.splitlines():
        depth = len(line) - len(line.lstrip())
        found = re.match(r"(?:(?:[\w.-]+\.(?:py|md|toml)|[\w./-]+/)\s+)+", line.strip() + " ")
        if not found:
            continue  # the line before goes on
        above = [(at, place) for at, place in above if at < depth]
        folder = f"{above[-1][1]}/" if above else ""
        names = [name.rstrip("/") for name in found[0].split()]
        yield from (folder + name for name in names)
        above.append((depth, folder + names[0]))


def test_a_drawn_tree_is_read_as_paths():
    tree = """a.md  first
b/        second
  src/c/
    d.py e.py   two files,
                described in two lines
    f/          a folder
g/  last
"""
    assert list(tree_paths(tree)) == [
        "a.md",
        "b",
        "b/src/c",
        "b/src/c/d.py",
        "b/src/c/e.py",
        "b/src/c/f",
        "g",
    ]


def iterate_commands() -> Iterator[tuple[str, str, str]]:
    """(program, command, module) of every command."""
    for name, root in SOURCE_ROOTS.items():
        table = command_table(root / ("__main__.py"))
        yield from ((name, command, module) for command, module in table.items())


def test_commands_are_modules_or_shared_functions_of_their_own_name():
    for program, command, target in iterate_commands():
        name = command.replace("-", "_")
        if program != "voiceface":
            allowed = {f"{program}.{name}", f"voiceface.association.commands:{name}_command"}
            assert target in allowed, f"{program} {command}: {target}"


def test_commands_of_one_name_have_the_same_flags():
    for program, command, module in iterate_commands():
        needed = REQUIRED_FLAGS.get(command.partition("-")[0], set()) if program != "voiceface" else set()
        absent = needed - set(collect_flags(module, SOURCE_ROOTS))
        assert not absent, f"{program} {command} has no {', '.join(sorted(absent))}"


def test_a_flag_means_the_same_in_every_command():
    for root in SOURCE_ROOTS.values():
        for path in python_files(root):
            wrong = list(find_flag_violations(parse_module(path)))
            assert not wrong, f"{path.relative_to(REPO)}: {'; '.join(wrong)}"


def test_flags_of_another_name_or_kind_are_recognised(tmp_path):
    for call in ['add("--gpu")', 'add("--Out_dir")', 'p.add_argument("--out")', 'add("--resume", type=int)']:
        assert list(find_flag_violations(ast.parse(call))), call
    assert not list(
        find_flag_violations(ast.parse('add("--out", type=Path, required=True); seen.add("name")'))
    )
    for name, text in {
        "one/main.py": "from two.flags import more\ndef main():\n    add('--a')\n    more(p)\n",
        "two/flags.py": "def more(p):\n    p.add_argument('--b')\ndef other(p):\n    p.add_argument('--c')\n",
    }.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    found = collect_flags("one.main", {name: tmp_path / name for name in ("one", "two")})
    assert set(found) == {"--a", "--b"}


def test_every_training_section_has_the_same_keys():
    found = 0
    for path in [path for root in SOURCE_ROOTS.values() for path in python_files(root)]:
        for node in parse_module(path).body:
            if isinstance(node, ast.ClassDef) and node.name == "TrainingConfig":
                keys = {ast.unparse(item.target) for item in node.body if isinstance(item, ast.AnnAssign)}
                if "max_steps" in keys:  # a section that trains, not one that names other configurations
                    found += 1
                    assert keys >= TRAINING_KEYS, f"{path.relative_to(REPO)} lacks {TRAINING_KEYS - keys}"
    assert found >= 4


def test_every_system_has_a_row_in_the_readme():
    readme = (REPO / "README.md").read_text()
    for name in PACKAGES:
        assert f"](packages/{name}/README.md)" in readme, f"README.md does not link packages/{name}/README.md"


def test_nothing_large_is_committed():
    for path in tracked_files():
        assert path.stat().st_size <= 3_200_000, f"{path.relative_to(REPO)}: {path.stat().st_size} bytes"
