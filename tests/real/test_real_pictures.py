"""The door for own pictures with the real networks, on pictures of the population."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from voiceface.faces import PictureReader
from voiceface.images.loading import load_image


def test_pictures_of_a_population_stay_as_they_are(population: Path, tmp_path: Path) -> None:
    files = sorted(population.glob("faces/*/*.jpg"))
    reader = PictureReader()
    for file in files:
        np.testing.assert_array_equal(reader.read(file), load_image(file))
    copies = [Path(shutil.copy(file, tmp_path / f"{k}.jpg")) for k, file in enumerate(files)]
    found = dict(reader.find(copies))  # elsewhere, faces are found; most are crops of the convention
    assert not [reason for reason in found.values() if isinstance(reason, str)]
    kept = [faces[0].facts.face.crop == "" for faces in found.values()]  # type: ignore[union-attr]
    assert np.mean(kept) > 0.8


def test_a_face_of_a_larger_picture_is_cut_out_as_in_the_population(population: Path, tmp_path: Path) -> None:
    small = load_image(next(iter(sorted(population.glob("faces/*/*.jpg")))))
    side = 256
    picture = np.full((600, 900, 3), 128, np.uint8)
    picture += np.random.default_rng(0).integers(0, 9, picture.shape, np.uint8)
    picture[200 : 200 + side, 400 : 400 + side] = np.asarray(Image.fromarray(small).resize((side, side)))
    Image.fromarray(picture).save(tmp_path / "large.png")
    (face,) = PictureReader().read_faces(tmp_path / "large.png")
    assert face.facts.face is not None and face.facts.face.crop == "population"
    points = np.array(face.facts.face.points)
    assert ((points > (400, 200)) & (points < (400 + side, 200 + side))).all()
