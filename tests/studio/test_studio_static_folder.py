"""Writing the studio as a folder: what is refused before any work, and what of the page needs no server."""

from importlib import resources
from pathlib import Path

import pytest
from fake_systems import fake_systems
from voiceface.studio.serve import main
from voiceface.studio.static_folder import MANIFEST, NODE_PACKAGES, adapt_index, write_static_folder

ROOT = Path(__file__).parents[2]


def test_missing_packages_of_npm_are_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="npm install --prefix FOLDER onnxruntime-web"):
        write_static_folder(tmp_path / "out", fake_systems(), node_modules=tmp_path, cache=tmp_path / "cache")
    assert not (tmp_path / "out").exists()


def test_other_folders_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("voiceface.studio.static_folder.find_node_files", lambda _: {})
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="something else than a studio"):
        write_static_folder(tmp_path, fake_systems(), node_modules=tmp_path, cache=tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_options_belong_together(tmp_path: Path):
    with pytest.raises(ValueError, match="--write needs --node-modules"):
        main(["--write", str(tmp_path / "out")])
    with pytest.raises(ValueError, match="belongs to --write"):
        main(["--node-modules", str(tmp_path)])


def test_the_page_loses_what_needs_a_server():
    given = (resources.files("voiceface.studio") / "page" / "index.html").read_text(encoding="utf-8")
    page = adapt_index(given)
    assert "Invent people" in given and "Invent people" not in page
    assert 'id="loading"' in page and "<!--" not in page
    assert page.count("<section") == page.count("</section") == given.count("<section") - 1
    assert page.index("Content-Security-Policy") < page.index("<script")


def test_nox_installs_what_the_module_names():
    text = (ROOT / "noxfile.py").read_text()
    assert all(f'"{name}"' in text for name in NODE_PACKAGES)
    assert MANIFEST.endswith(".json")
