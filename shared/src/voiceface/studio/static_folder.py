"""The studio without a server: a folder of files in which the networks run in the visitor's browser.

Any web server can serve the folder, or a place for static pages. The page loads everything when it opens and
asks for nothing afterwards; recordings and pictures never leave the browser.
"""

import base64
import gzip
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceface.io.file_kinds import printable
from voiceface.studio.static_systems import export_face_detector, export_system, why_server_only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voiceface.studio.people import InventedPerson
    from voiceface.suite.plugins import SystemSet

__all__ = ["MANIFEST", "NODE_PACKAGES", "find_node_files", "write_static_folder"]

MANIFEST = "studio.json"
FORMAT = "voiceface-studio-1"
NODE_PACKAGES = ("onnxruntime-web@1", "@echogarden/fvad-wasm@0.2")
"""What npm must have installed: the runtime of the networks, and the detector of voice activity."""
SCRIPTS = {
    "ort.js": "onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
    "fvad.js": "@echogarden/fvad-wasm/fvad.js",
}
MODULES = {
    "ort.wasm.gz": "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
    "fvad.wasm.gz": "@echogarden/fvad-wasm/fvad.wasm",
}
LICENCES = {"onnxruntime-web": "onnxruntime-web/package.json", "fvad-wasm": "@echogarden/fvad-wasm/LICENSE"}
SERVER_ONLY = ("docs.html", "docs.js", "index.html", "invent.js", "source.js")
REPORT_FILES = ("report.css", "mesh_view.css", "mesh_view.js")
OUTLINE_BARS = 56
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src blob: data:; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'"
)


def write_static_folder(
    folder: Path,
    systems: "SystemSet",
    *,
    node_modules: Path,
    cache: Path,
    weights: "Mapping[str, Path] | None" = None,
    num_people: int = 16,
    device: str = "cpu",
) -> dict[str, Any]:
    """Write the folder; an earlier one is replaced when the new one is complete.

    Args:
        folder: where; it does not exist, is empty, or was written by this function.
        systems: which answer; those that need a server are listed as such.
        node_modules: folder in which npm has installed `NODE_PACKAGES`.
        cache: folder of the invented people.
        weights: system -> checkpoint or run folder; the others use their bundled weights.
        num_people: invented people that are ranked.
        device: of the networks while the people are embedded.

    Returns:
        Content of `MANIFEST`.

    Raises:
        FileNotFoundError: a package of npm is missing.
        FileExistsError: the folder holds something else.
        ModuleNotFoundError: onnx or onnxruntime is missing.
        ValueError: a system cannot be exported, or none is left.
    """
    from voiceface.export.packages import require_packages

    found = find_node_files(node_modules)
    _require_replaceable(folder)
    require_packages()
    chosen = [system for system in systems.found if not why_server_only(system)]
    if not chosen:
        raise ValueError(
            "no system is left that can answer in the page; install one: pip install ./packages/sf2f"
        )
    from voiceface.studio.people import write_people

    people = write_people(cache, num_people)[1]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as work:
        target = Path(work) / "folder"
        (target / "static").mkdir(parents=True)
        (target / "data").mkdir()
        records = []
        for system in chosen:
            graphs = Path(work) / system.name
            graphs.mkdir()
            made = export_system(system, (weights or {}).get(system.name), graphs, people, device)
            for name, content in made.files.items():
                (target / "data" / name).write_bytes(content)
            records.append(made.facts)
        facts = _describe(systems, records, people)
        facts["people"], content = _pack_people(people)
        (target / "data" / "people.bin").write_bytes(content)
        detector = export_face_detector() if any("face" in each["graphs"] for each in records) else None
        facts["detector"] = None if detector is None else detector[0]
        if detector is not None:
            (target / "data" / detector[0]["file"]).write_bytes(detector[1])
        _write_page(target, found)
        files = sorted(path for path in (target / "data").iterdir())
        facts["files"] = {path.name: path.stat().st_size for path in files}
        (target / MANIFEST).write_text(json.dumps(facts, separators=(",", ":")), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        target.rename(folder)
    return facts


def find_node_files(node_modules: Path) -> dict[str, Path]:
    """Find the files of `NODE_PACKAGES` by their names in the folder.

    Raises:
        FileNotFoundError: one is missing.
    """
    found = {name: node_modules / path for name, path in {**SCRIPTS, **MODULES, **LICENCES}.items()}
    for path in found.values():
        if not path.is_file():
            raise FileNotFoundError(
                f"no file {printable(path)}: npm install --prefix FOLDER {' '.join(NODE_PACKAGES)}, and "
                "--node-modules FOLDER/node_modules"
            )
    return found


def _require_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MANIFEST).is_file()):
        raise FileExistsError(
            f"{printable(folder)} holds something else than a studio: name another folder, or remove it"
        )


def _describe(
    systems: "SystemSet", records: list[dict[str, Any]], people: "Sequence[InventedPerson]"
) -> dict[str, Any]:
    """Facts about the whole, in the form of the server's state."""
    import voiceface

    missing = {system.name: reason for system in systems.found if (reason := why_server_only(system))}
    return {
        "format": FORMAT,
        "state": {
            "version": voiceface.__version__,
            "systems": [
                {
                    key: value
                    for key, value in each.items()
                    if key not in ("graphs", "people", "impostors", "head")
                }
                for each in records
            ],
            "unavailable": {**systems.unavailable, **missing},
            "finds_faces": False,
            "no_faces_note": "",
            "upload_megabytes": 32,
            "sound_seconds": 120,
            "own_gallery": False,
            "shape_names": [],
        },
        "systems": records,
    }


def _pack_people(people: "Sequence[InventedPerson]") -> tuple[list[dict[str, Any]], bytes]:
    """Records of the people with the places of their files, and the files one behind another."""
    import io

    import soundfile

    from voiceface.studio.voices import outline

    records, parts, place = [], [], 0
    for each in people:
        samples, rate = soundfile.read(each.voice, dtype="int16")
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, rate, format="FLAC", subtype="PCM_16")
        ranges = {}
        for kind, content in (("voice", buffer.getvalue()), ("face", each.face.read_bytes())):
            ranges[kind] = [place, place + len(content)]
            parts.append(content)
            place += len(content)
        bars = outline(samples.astype(np.float64) / 32768, OUTLINE_BARS)
        known = {"id": each.id, "name": each.name, "gender": each.gender}
        records.append({**known, **ranges, "seconds": len(samples) / rate, "outline": bars})
    return records, b"".join(parts)


def _write_page(target: Path, node_files: "Mapping[str, Path]") -> None:
    """Write the page, with the source of answers that runs networks in place of that which asks a server."""
    static = target / "static"
    for name, content in _page_files():
        (static / name).write_bytes(content)
    for name in SCRIPTS:
        shutil.copyfile(node_files[name], static / name)
    for name in MODULES:
        packed = gzip.compress(node_files[name].read_bytes(), 9, mtime=0)
        (target / "data" / name).write_bytes(packed)
    runtime = json.loads(node_files["onnxruntime-web"].read_text(encoding="utf-8"))
    licences = [
        f"ort.*: {runtime['name']} {runtime['version']}, {runtime['license']}, Microsoft Corporation",
        "fvad.*: @echogarden/fvad-wasm, the detector of WebRTC:",
        node_files["fvad-wasm"].read_text(encoding="utf-8"),
    ]
    (static / "LICENCES.txt").write_text("\n\n".join(licences), encoding="utf-8")
    page = (resources.files("voiceface.studio") / "page" / "index.html").read_text(encoding="utf-8")
    (target / "index.html").write_text(adapt_index(page), encoding="utf-8")


def _page_files() -> Iterator[tuple[str, bytes]]:
    """Names and contents of scripts and styles."""
    page = resources.files("voiceface.studio") / "page"
    for folder, left_out in ((page, SERVER_ONLY), (page / "in_page", ())):
        for entry in folder.iterdir():
            if entry.name.endswith((".js", ".css", ".svg")) and entry.name not in left_out:
                yield entry.name, entry.read_bytes()
    yield "invent.js", b"export const setUpInvent = () => null;\nexport const openInvent = () => null;\n"
    for name in REPORT_FILES:
        yield name, (resources.files("voiceface.report") / name).read_bytes()


def adapt_index(page: str) -> str:
    """Leave out of index.html what needs a server, and show what is said of the page alone.

    The icon becomes a part of the page: browsers ask for it whenever they like.
    Parts between <!--server--> and <!--/server--> go; those in <!--in page: ...--> become visible.
    """
    page = re.sub(r"<!--server-->.*?<!--/server-->\n?", "", page, flags=re.DOTALL)
    page = re.sub(r"<!--in page: (.*?)-->", r"\1", page, flags=re.DOTALL)
    policy = f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_SECURITY_POLICY}">'
    icon = (resources.files("voiceface.studio") / "page" / "icon.svg").read_bytes()
    page = page.replace("static/icon.svg", f"data:image/svg+xml;base64,{base64.b64encode(icon).decode()}")
    return page.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n{policy}', 1)
