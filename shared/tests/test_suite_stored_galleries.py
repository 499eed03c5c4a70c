"""`voiceface report --gallery`: stored galleries in place of a folder of images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from stub_systems import WIDTH, build_stub_systems
from voiceface.association.embedding import embed
from voiceface.faces import PictureReader
from voiceface.gallery import create_gallery, open_gallery
from voiceface.gallery.tables import add_rows, rows_of_table
from voiceface.suite import plugins, report
from voiceface.suite.plugins import SystemSet


@pytest.fixture
def systems(tiny_population, tmp_path, monkeypatch):
    """Recordings of three identities, and a stored gallery of all their images for every stub that ranks."""
    rows = (tiny_population / "list_wav" / "vox1_test.csv").read_text().splitlines()[1:4]
    names = []
    for row in rows:
        voice, name = row.split(",")[:2]
        names.append(name)
        clip = sorted((tiny_population / "wav" / voice).rglob("*.wav"))[0]
        (tmp_path / "voices" / name).mkdir(parents=True)
        shutil.copy(clip, tmp_path / "voices" / name)
        shutil.copytree(tiny_population / "faces" / name, tmp_path / "faces" / name)
    found = build_stub_systems({name: row for row, name in enumerate(sorted(names))})
    monkeypatch.setattr(plugins, "find_systems", lambda: SystemSet(found, {}))
    images = sorted((tmp_path / "faces").rglob("*.jpg"))
    for name in ("perfect", "constant"):
        (system,) = (each for each in found if each.name == name)
        model = system.load(None)
        model.pictures = PictureReader(convention="population")
        table = embed(model, [], images, progress=False)
        with create_gallery(
            tmp_path / name, WIDTH, fingerprint=table.fingerprint, modality="face"
        ) as gallery:
            add_rows(gallery, rows_of_table(table))
    return names


def run(folder: Path, *words: str) -> int:
    return report.main(["--voices", str(folder / "voices"), "--out", str(folder / "page.html"), *words])


def test_the_best_of_stored_galleries_are_shown_and_written(systems, tmp_path, capsys):
    galleries = [f"perfect={tmp_path / 'perfect'}", f"constant={tmp_path / 'constant'}"]
    for image in (tmp_path / "faces" / systems[0]).iterdir():
        image.unlink()  # the gallery does not need its images
    assert run(tmp_path, "--gallery", *galleries) == 0
    shown = capsys.readouterr().out
    size = len(open_gallery(tmp_path / "perfect"))
    assert f"gallery of perfect: {size}, gallery of constant: {size}" in shown
    text, record = (
        (tmp_path / "page.html").read_text("utf-8"),
        json.loads((tmp_path / "page.json").read_text()),
    )
    assert record["gallery_sizes"] == {"perfect": size, "constant": size}
    assert (
        f"best of stored galleries (perfect: {size}, constant: {size})" in text and f"best of {size}" in text
    )
    for voice, ranking in record["rankings"]["perfect"].items():
        speaker = next(name for name in systems if name in voice)
        assert [speaker in each["name"] for each in ranking] == sorted(
            (speaker in each["name"] for each in ranking), reverse=True
        )
        assert ranking[0]["score"] == pytest.approx(1, abs=1e-5)
        assert np.all(np.diff([each["score"] for each in ranking]) <= 0)


def test_galleries_that_cannot_be_ranked_are_told(systems, tmp_path, capsys):
    with pytest.raises(ValueError, match="another model"):
        run(tmp_path, "--gallery", f"perfect={tmp_path / 'constant'}")
    with pytest.raises(ValueError, match="grey"):
        run(tmp_path, "--gallery", f"grey={tmp_path / 'perfect'}")
    with pytest.raises(FileNotFoundError, match="faces"):
        run(tmp_path, "--gallery", f"perfect={tmp_path / 'faces'}")
    with pytest.raises(ValueError, match="NAME=PATH_OR_URL"):
        run(tmp_path, "--gallery", str(tmp_path / "perfect"))
    with pytest.raises(SystemExit):
        run(tmp_path, "--gallery", f"perfect={tmp_path / 'perfect'}", "--faces", str(tmp_path / "faces"))
    assert not (tmp_path / "page.html").exists()
