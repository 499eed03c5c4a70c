"""Contract for people's own pictures: faces are found, cut out as in training, and named."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from voiceface.embeddings.table import EmbeddingTable
from voiceface.testing.commands import CommandRunner
from voiceface.testing.contracts.subject import SystemUnderTest
from voiceface.testing.corrupt_files import assert_mentions

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

__all__ = ["OwnPictureContract"]

Capture = pytest.CaptureFixture[str]


class OwnPictureContract:
    """What `--crop` and `--every-face` do."""

    @pytest.fixture
    def album(self, images: list[Path], tmp_path: Path) -> Path:
        """Pictures of two faces, one face and none."""
        from PIL import Image

        from voiceface.images.loading import load_image
        from voiceface.testing.faces import FrameFinder

        folder = tmp_path / "album"
        folder.mkdir()
        picture = np.full((160, 320, 3), 90, np.uint8)
        picture[::2] = 110
        for path, left, side in zip(images, (8, 200), (120, 64)):
            face = Image.fromarray(load_image(path)).resize((side, side))
            picture[16 : 16 + side, left : left + side] = np.asarray(face)
            FrameFinder.frame(picture, left, 16, side)
        Image.fromarray(picture).save(folder / "two.png")
        Image.fromarray(picture[:, 160:]).save(folder / "one.png")
        Image.fromarray(picture[140:]).save(folder / "wall.png")
        return folder

    @pytest.fixture
    def installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Act as if networks that find faces were installed."""
        from voiceface.faces import own_pictures
        from voiceface.testing.faces import FrameFinder

        monkeypatch.setattr(own_pictures, "_are_networks_installed", lambda: True)
        monkeypatch.setattr(own_pictures, "_load_installed_finder", lambda folder: FrameFinder())
        monkeypatch.setattr(own_pictures, "require_installed", lambda name: None)

    @pytest.mark.usefixtures("installed")
    def test_faces_are_cut_out_as_in_the_training_pictures(self, embedder: "Embedder", album: Path) -> None:
        import torch

        from voiceface.faces import PictureReader, crop_face
        from voiceface.images.loading import ImageError
        from voiceface.images.photographs import load_photograph
        from voiceface.testing.faces import FrameFinder

        picture = load_photograph(album / "two.png")
        (face, _) = FrameFinder().find([picture])[0]
        assert embedder.face_crop == "population"
        crop = crop_face(picture, face.points.astype(float).round(2), "population")
        cut, wanted, whole = (embedder.embed_faces(each) for each in (album / "two.png", crop, picture))
        assert torch.equal(cut, wanted) and not torch.equal(cut, whole)
        with pytest.raises(ImageError, match=r"wall\.png: no face found"):
            embedder.embed_faces(album / "wall.png")
        before, embedder.pictures = embedder.pictures, PictureReader("never")
        try:
            assert torch.equal(embedder.embed_faces(album / "two.png"), whole)
        finally:
            embedder.pictures = before

    @pytest.mark.usefixtures("installed")
    def test_pictures_of_the_population_are_left_as_they_are(
        self, embedder: "Embedder", images: list[Path]
    ) -> None:
        import torch

        from voiceface.images.photographs import load_photograph

        pictures = [load_photograph(path) for path in images]
        assert torch.equal(embedder.embed_faces(images), embedder.embed_faces(pictures))

    @pytest.mark.usefixtures("installed")
    def test_cached_embeddings_of_other_crops_never_meet(
        self, system: SystemUnderTest, call: CommandRunner, trained: Path, album: Path, tmp_path: Path
    ) -> None:
        words = [album, "--relative-to", album, "--weights", trained, "--cache", tmp_path / "cache"]
        tables: dict[str, EmbeddingTable] = {}
        for crop in (["never"], ["auto"], ["auto", "--every-face"], ["auto"], ["never"]):
            out = tmp_path / "table.npz"
            assert call("embed", *words, "--out", out, "--crop", *crop) == 0
            table = EmbeddingTable.load(out)
            key = " ".join(crop)
            if key in tables:  # from the cache
                assert table.items == tables[key].items and table.facts == tables[key].facts
                assert np.array_equal(table.vectors, tables[key].vectors)
            tables[key] = table
        assert tables["never"].items == ["one.png", "two.png", "wall.png"] and not tables["never"].facts
        assert tables["auto"].items == ["one.png", "two.png"]
        every = tables["auto --every-face"]
        assert every.items == ["one.png", "two.png#1", "two.png#2"]
        largest = tables["auto"].vectors
        assert np.allclose(every.vectors[:2], largest, atol=1e-5)
        assert not np.allclose(tables["never"].vectors[:2], largest, atol=1e-3)
        face = every.facts["two.png#2"].face
        assert face is not None and (face.number, face.faces_in_picture) == (2, 2)
        assert face.crop == system.face_crop
        assert face.box == (200, 16, 264, 80)
        without_cache = [*words[:-1], tmp_path / "other", "--out", tmp_path / "table.npz", "--every-face"]
        assert call("embed", *without_cache) == 0
        assert np.array_equal(EmbeddingTable.load(tmp_path / "table.npz").vectors, every.vectors)

    @pytest.mark.usefixtures("installed")
    def test_match_ranks_every_face_and_shows_it(
        self,
        call: CommandRunner,
        trained: Path,
        album: Path,
        utterances: list[Path],
        tmp_path: Path,
        capsys: Capture,
    ) -> None:
        words = ["--weights", trained, "--json", tmp_path / "m.json", "--report", tmp_path / "m.html"]
        assert call("match", utterances[0], "--gallery", album, "--every-face", *words) == 0
        assert_mentions(capsys.readouterr().err, "wall.png", "no face found", "--crop never")
        content = json.loads((tmp_path / "m.json").read_text())
        (ranked,) = content["rankings"].values()
        names = {Path(each["name"]).name: each["files"] for each in ranked}
        assert set(names) == {"one.png", "two.png#1", "two.png#2"}
        ((second,),) = [names["two.png#2"]]
        assert second["face"]["number"] == 2 and second["measures"]["eye_distance"] > 0
        assert second["file"] == str(album / "two.png") and len(second["face"]["points"]) == 5
        page = (tmp_path / "m.html").read_text()
        assert page.count("data:image/jpeg") == 3 and "small" in page
        assert call("match", album / "two.png", "--every-face", "--gallery", *utterances[:2], *words) == 0
        content = json.loads((tmp_path / "m.json").read_text())
        assert [Path(name).name for name in content["rankings"]] == ["two.png#1", "two.png#2"]
        assert content["queries"][str(album / "two.png#2")]["face"]["number"] == 2

    def test_without_networks_faces_cannot_be_demanded(
        self,
        call: CommandRunner,
        trained: Path,
        album: Path,
        utterances: list[Path],
        tmp_path: Path,
        capsys: Capture,
    ) -> None:
        words = ["--weights", trained]
        for flags in (["--crop", "always"], ["--every-face"]):
            assert call("match", utterances[0], "--gallery", album, *words, *flags) == 1
            assert_mentions(capsys.readouterr().err, flags[0], "`voiceface models get real`")
        assert (
            call("match", utterances[0], "--gallery", album, *words, "--crop", "never", "--every-face") == 1
        )
        assert "--every-face contradicts --crop never" in capsys.readouterr().err
        assert call("embed", album, *words, "--crop", "auto", "--out", tmp_path / "table.npz") == 0
        assert len(EmbeddingTable.load(tmp_path / "table.npz")) == 3

    def test_weights_say_which_crops_they_were_trained_on(self, system: SystemUnderTest) -> None:
        bundled = system.load()
        assert bundled.face_crop == bundled.pictures.convention == "population"
