"""Sphinx extension: one reference page for every public module, written before the build.

Pages lie in `docs/api`, which git ignores; `docs/api/index` is their table of contents.
"""

import ast
from functools import cache
from pathlib import Path
from typing import Any

from sphinx.addnodes import pending_xref

PACKAGES = {
    "voiceface": "shared/src/voiceface",
    **{
        name: f"packages/{name}/src/{name}"
        for name in (
            *("seeking_shape", "archetype_agnostic", "sf2f", "perceptionist", "cmpc2", "voicestyle"),
            "fop",
        )
    },
}


def public_modules(name: str, root: Path) -> dict[str, Path]:
    """Dotted names of a package and of its public modules -> files."""
    modules = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        inner = [part for part in parts if part != "__init__"]
        if not any(part.startswith("_") for part in inner):
            modules[".".join([name, *inner])] = path
    return modules


def first_line(path: Path) -> str:
    """First line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0].rstrip(":.")


def public_names(path: Path) -> tuple[list[str], dict[str, str]]:
    """Names of a module's `__all__`: those that it defines, and those that it re-exports -> full name."""
    tree = ast.parse(path.read_text("utf-8"))
    exported: list[str] = []
    defined, imported = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            imported |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if names == ["__all__"] and node.value is not None:
                exported = ast.literal_eval(node.value)
            defined |= {*names}
    return (
        [name for name in exported if name in defined and name != "__version__"],
        {name: imported[name] for name in exported if name not in defined and name in imported},
    )


def module_page(module: str, path: Path, inner: list[str]) -> str:
    """A page with the public members of a module and the table of contents of what is inside."""
    own, others = public_names(path)
    lines = [module, "=" * len(module), "", f".. automodule:: {module}"]
    if own:
        lines += [f"   :members: {', '.join(own)}"]
    elif not others and path.name != "__init__.py":
        lines += ["   :members:"]
    lines += [""]
    for name, full in others.items():
        lines += [f"* ``{name}``: :py:obj:`{full}`"]
    lines += [""]
    if inner:
        lines += [".. toctree::", "   :maxdepth: 1", "", *(f"   {name}" for name in inner), ""]
    return "\n".join(lines)


def namespace_page(module: str, inner: list[str]) -> str:
    """A page for a folder without `__init__.py`."""
    lines = [
        module,
        "=" * len(module),
        "",
        ".. toctree::",
        "   :maxdepth: 1",
        "",
        *(f"   {name}" for name in inner),
        "",
    ]
    return "\n".join(lines)


def write_pages(repo: Path) -> None:
    """Write all pages; files that did not change keep their time, pages of removed modules go."""
    out = repo / "docs" / "api"
    out.mkdir(exist_ok=True)
    pages = {}
    overview = ["# API reference", ""]
    overview += ["Every public module, from its docstrings. [What is stable](../api_stability.md).", ""]
    for name, folder in PACKAGES.items():
        modules = public_modules(name, repo / folder)
        names = {*modules}
        for module in modules:  # folders without `__init__.py`
            parts = module.split(".")
            names |= {".".join(parts[:count]) for count in range(1, len(parts))}
        for module in names:
            inner = sorted(other for other in names if other.rpartition(".")[0] == module)
            known = module in modules
            page = module_page(module, modules[module], inner) if known else namespace_page(module, inner)
            pages[f"{module}.rst"] = page
        overview += [f"`{name}`", f": {first_line(modules[name])}", ""]
    overview += ["```{toctree}", ":maxdepth: 2", ":hidden:", "", *PACKAGES, "```", ""]
    pages["index.md"] = "\n".join(overview)
    for name, text in pages.items():
        path = out / name
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
    for path in out.iterdir():
        if path.name not in pages:
            path.unlink()


@cache
def imported_names(module: str, repo: Path) -> dict[str, str]:
    """Names that a module imports from others, for types alone included -> full names."""
    root = repo / PACKAGES[module.partition(".")[0]]
    place = root.joinpath(*module.split(".")[1:])
    path = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
    names = {}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))) if path.is_file() else ():
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def resolve_annotations(app: Any, doctree: Any) -> None:
    """Give the short names in annotations their full names; Sphinx would search for every one of them."""
    for node in doctree.findall(pending_xref):
        module = node.get("py:module")
        if node.get("refdomain") == "py" and module and module.partition(".")[0] in PACKAGES:
            target = node["reftarget"]
            node["reftarget"] = imported_names(module, Path(app.srcdir)).get(target, target)
            node.attributes.pop("refspecific", None)


def write_entry(app: Any, problem: Exception | None) -> None:
    """Lead from the root of the site to its first page."""
    if problem is None and app.builder.name == "html":
        text = '<!doctype html><meta charset="utf-8"><title>voiceface</title>'
        text += '<meta http-equiv="refresh" content="0; url=docs/index.html">'
        text += '<a href="docs/index.html">voiceface</a>\n'
        (Path(app.outdir) / "index.html").write_text(text, "utf-8")


def setup(app: Any) -> dict[str, Any]:
    """Register the hooks."""
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir)), priority=100)
    app.connect("doctree-read", resolve_annotations)
    app.connect("build-finished", write_entry)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
