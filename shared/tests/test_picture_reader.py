"""The door for people's own pictures, with a finder that takes red squares for faces."""

import dataclasses
import json
import logging

import numpy as np
import pytest
from PIL import Image
from square_faces import BLUE, RED, make_finder, make_picture
from voiceface.faces import CROP_CONVENTIONS, PictureReader, crop_face, own_pictures
from voiceface.faces.findings import findings_path, load_findings, save_findings
from voiceface.faces.own_face import read_face
from voiceface.faces.own_pictures import is_training_picture
from voiceface.images.loading import ImageError
from voiceface.images.photographs import load_photograph
from voiceface.real.installation import MissingModelError

TWO = make_picture(300, 400, (40, 50, 60, RED), (200, 120, 90, RED))


class CountingFinder:
    """The stand-in, with a count of the pictures that it has seen."""

    def __init__(self):
        self.seen = 0

    @property
    def identity(self):
        return "squares"

    def find(self, images):
        self.seen += len(images)
        return make_finder().find(images)


@pytest.fixture
def photos(tmp_path):
    """Folder: two faces, the same turned by EXIF, no face, no picture."""
    Image.fromarray(TWO).save(tmp_path / "two.png")
    turned = Image.fromarray(np.rot90(TWO))
    exif = turned.getexif()
    exif[0x0112] = 6  # a viewer turns it by 90 degrees clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(make_picture(200, 200, (60, 60, 80, BLUE))).save(tmp_path / "sea.png")
    (tmp_path / "text.jpg").write_text("no picture")
    return tmp_path


class PlacedFinder:
    """Finds one face in every picture, placed as in a convention and shifted."""

    identity = "placed"

    def __init__(self, convention, shift=0.0):
        self.places = np.array(CROP_CONVENTIONS[convention].points) + shift

    def find(self, images):
        (face,) = make_finder().find([make_picture(300, 300, (100, 100, 90, RED))])[0]
        points = [(self.places * image.shape[1] - 0.5).astype(np.float32) for image in images]
        return [[dataclasses.replace(face, points=each)] for each in points]


def test_the_largest_face_is_cut_out_by_the_convention(photos):
    faces = make_finder().find([TWO])[0]
    for name in CROP_CONVENTIONS:
        reader = PictureReader(convention=name, finder=make_finder())
        wanted = crop_face(TWO, faces[0].points.astype(float).round(2), name)
        for file in ("two.png", "turned.png"):
            np.testing.assert_array_equal(reader.read(photos / file), wanted)


def test_never_leaves_pictures_as_a_viewer_shows_them(photos):
    reader = PictureReader("never", finder=make_finder())
    for file in ("two.png", "turned.png"):
        np.testing.assert_array_equal(reader.read(photos / file), TWO)
    assert not reader.finds_faces and reader.identity == ""
    (face,) = reader.read_faces(photos / "sea.png")
    assert face.item.endswith("sea.png") and face.facts.face is None


def test_a_picture_without_a_face_is_refused_by_name(photos):
    for crop in ("auto", "always"):
        with pytest.raises(ImageError, match=r"sea\.png: no face found; give .*--crop never"):
            PictureReader(crop, finder=make_finder()).read(photos / "sea.png")


def test_every_face_is_a_candidate_of_its_own(photos):
    reader = PictureReader(every_face=True, finder=make_finder())
    first, second = reader.read_faces(photos / "two.png")
    assert (first.item, second.item) == tuple(f"{photos / 'two.png'}#{k}" for k in (1, 2))
    assert (second.facts.face.number, second.facts.face.faces_in_picture) == (2, 2)
    assert first.facts.measures["eye_distance"] > second.facts.measures["eye_distance"]
    assert not np.array_equal(reader.load(first), reader.load(second))
    Image.fromarray(make_picture(200, 200, (60, 60, 80, RED))).save(photos / "one.png")
    assert [face.item for face in reader.read_faces(photos / "one.png")] == [str(photos / "one.png")]


@pytest.mark.parametrize("placed", ["vggface_frontal", "population"])
@pytest.mark.parametrize("side", [96, 256])
def test_auto_leaves_crops_of_the_convention_as_they_are(tmp_path, placed, side):
    path = tmp_path / "tight.png"
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(picture).save(path)
    reader = PictureReader(convention="vggface_frontal", finder=PlacedFinder(placed, 0.02))
    (face,) = reader.read_faces(path)
    if placed == "vggface_frontal":
        np.testing.assert_array_equal(reader.load(face), picture)
        assert face.facts.face.crop == "" and face.facts.measures["eye_distance"] > 0
    else:
        assert reader.load(face).shape == (128, 128, 3) and face.facts.face.crop == "vggface_frontal"
    always = PictureReader("always", "vggface_frontal", finder=PlacedFinder(placed, 0.02))
    assert always.read(path).shape == (128, 128, 3)
    Image.fromarray(picture[: side - 8]).save(path)  # no square
    assert reader.read(path).shape == (128, 128, 3)


@pytest.mark.parametrize("place", ["VGG_ALL_FRONTAL/Ada", "unzippedFaces/Ada/1.6/x", "own/faces/Ada"])
def test_auto_leaves_pictures_of_data_folders_as_they_are(photos, place):
    folder = photos / place
    folder.mkdir(parents=True)
    Image.fromarray(TWO).save(folder / "a.png")
    assert is_training_picture(folder / "a.png") == (not place.startswith("own"))
    if place.startswith("own"):  # a population
        (photos / "own" / "truth").mkdir()
        (photos / "own" / "truth" / "population.json").write_text("{}")
        own_pictures._is_data_folder.cache_clear()
    finder = CountingFinder()
    reader = PictureReader(finder=finder)
    np.testing.assert_array_equal(reader.read(folder / "a.png"), TWO)
    assert finder.seen == 0
    assert PictureReader("always", finder=finder).read(folder / "a.png").shape == (128, 128, 3)


def test_many_pictures_are_read_in_order_and_refusals_are_named(photos, monkeypatch):
    monkeypatch.setattr(own_pictures, "BATCH", 2)
    names = ["sea.png", "two.png", "absent.png", "turned.png", "text.jpg", "two.png"]
    reader = PictureReader(every_face=True, finder=make_finder())
    found = dict(reader.find([photos / name for name in names]))
    assert [path.name for path in found] == list(dict.fromkeys(names))
    assert "no face found" in found[photos / "sea.png"] and "absent.png" in found[photos / "absent.png"]
    assert "text.jpg" in found[photos / "text.jpg"]
    assert [len(found[photos / name]) for name in ("two.png", "turned.png")] == [2, 2]


def test_pixels_are_the_same_from_memory_and_from_the_file(photos, monkeypatch):
    paths = [photos / "two.png", photos / "turned.png"]
    loaded = []
    for limit in (own_pictures.MAX_BYTES_KEPT, 0):
        monkeypatch.setattr(own_pictures, "MAX_BYTES_KEPT", limit)
        reader = PictureReader(finder=make_finder())
        faces = [face for _, each in reader.find(paths) for face in each]
        loaded.append([reader.load(face) for face in faces])
        again = [read_face(face.path, face.facts.face) for face in faces]
        np.testing.assert_array_equal(again, loaded[-1])
    np.testing.assert_array_equal(*loaded)


def test_findings_are_stored_and_no_picture_is_looked_at_twice(photos, tmp_path):
    finder = CountingFinder()
    reader = PictureReader(finder=finder)
    paths = [photos / name for name in ("two.png", "sea.png", "absent.png")]
    known = {}
    first = dict(reader.find(paths, known=known))
    path = findings_path(tmp_path / "cache", reader.identity)
    save_findings(path, reader.identity, known)
    known = load_findings(path, reader.identity)
    assert finder.seen == 2 and len(known) == 2
    assert dict(reader.find(paths, known=known)) == first and finder.seen == 2
    Image.fromarray(TWO[:, ::-1]).save(paths[0])  # another file of the same name
    dict(reader.find(paths, known=known))
    assert finder.seen == 3
    other = PictureReader("always", finder=finder)
    assert findings_path(tmp_path, other.identity) != findings_path(tmp_path, reader.identity)
    assert load_findings(path, other.identity) == {}
    path.write_text(json.dumps({"format": "voiceface-faces-1"}))
    assert load_findings(path, reader.identity) == {}


def test_settings_and_finders_have_identities_of_their_own():
    settings = [("auto", "population"), ("always", "population"), ("auto", "arcface")]
    readers = [PictureReader(*each, finder=make_finder()) for each in settings]
    readers.append(PictureReader(finder=make_finder(min_presence=0.5)))
    readers.append(PictureReader(finder=make_finder(), every_face=True))
    assert len({reader.identity for reader in readers}) == 5
    assert PictureReader(finder=make_finder()).identity == readers[0].identity


def test_without_networks_pictures_stay_and_one_sentence_says_so(photos, caplog, monkeypatch):
    monkeypatch.setattr(own_pictures, "_told", set())
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            np.testing.assert_array_equal(PictureReader().read(photos / "two.png"), TWO)
    assert [record.getMessage() for record in caplog.records] == [own_pictures.NO_NETWORKS]
    assert "`voiceface models get real`" in own_pictures.NO_NETWORKS
    PictureReader().require()
    for options in ({"crop": "always"}, {"every_face": True}):
        with pytest.raises(MissingModelError, match="`voiceface models get real`"):
            PictureReader(**options).require()
        PictureReader(**options, finder=make_finder()).require()


def test_settings_that_contradict_are_refused():
    for options in ({"crop": "sometimes"}, {"convention": "round"}, {"crop": "never", "every_face": True}):
        with pytest.raises(ValueError, match=r"sometimes|round|--every-face"):
            PictureReader(**options)


def test_reading_applies_no_crop_to_what_the_record_calls_as_it_is(photos):
    (face,) = PictureReader("never").read_faces(photos / "turned.png")
    np.testing.assert_array_equal(
        read_face(face.path, face.facts.face), load_photograph(photos / "turned.png")
    )
