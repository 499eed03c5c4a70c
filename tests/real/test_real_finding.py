"""Faces through the whole way: found, aligned, embedded; what is none of them is not found."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from voiceface.faces.finding import MeshFaceFinder, load_face_finder
from voiceface.images.loading import load_image
from voiceface.real import load_face_encoder
from voiceface.real.face_encoder import SAME_PERSON_DISTANCE

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def finder() -> MeshFaceFinder:
    return load_face_finder("onnxruntime")


@pytest.fixture(scope="module")
def faces(population: Path) -> list[Image]:
    return [load_image(path) for path in sorted(population.glob("faces/*/*.jpg"))]


def make_non_face(kind: int, rng: np.random.Generator) -> Image:
    """Noise, smooth colours, stripes, text, shapes, a landscape; 80 to 400 pixels."""
    height, width = (int(each) for each in rng.integers(80, 400, 2))
    coarse = rng.integers(0, 256, (int(rng.integers(2, 40)), int(rng.integers(2, 40)), 3), np.uint8)
    if kind == 0:
        return rng.integers(0, 256, (height, width, 3), np.uint8)
    smooth = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    if kind == 1:
        return smooth
    if kind == 2:
        y, x = np.mgrid[:height, :width]
        wave = np.sin(x * rng.uniform(0.02, 0.9) + y * rng.uniform(0.02, 0.9) + smooth[..., 0] / 40)
        return np.repeat((127 + 120 * wave).astype(np.uint8)[..., None], 3, 2)
    picture = np.full((height, width, 3), rng.integers(120, 256, 3), np.uint8)
    if kind == 3:
        for row in range(15, height, 18):
            letters = "".join(map(chr, rng.integers(48, 122, 40)))
            cv2.putText(picture, letters, (4, row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1)
        return picture
    if kind == 4:
        for _ in range(int(rng.integers(2, 30))):
            centre = (int(rng.integers(width)), int(rng.integers(height)))
            colour = tuple(int(each) for each in rng.integers(0, 256, 3))
            cv2.circle(picture, centre, int(rng.integers(3, 60)), colour, int(rng.choice([-1, 2])))
        return picture
    horizon = int(height * rng.uniform(0.3, 0.7))
    picture[:horizon] = np.linspace(220, 150, horizon)[:, None, None] * np.array([0.7, 0.85, 1])
    ridge = horizon - 20 + 15 * np.sin(np.arange(width) * rng.uniform(0.01, 0.1))
    picture[np.arange(height)[:, None] > ridge[None]] = rng.integers(20, 120, 3)
    return np.where(rng.random((height, width, 1)) < 0.3, picture // 2 + smooth // 2, picture).astype(
        np.uint8
    )


def test_every_synthetic_face_is_found_once(finder: MeshFaceFinder, faces: list[Image]):
    for image, found in zip(faces, finder.find(faces)):
        assert len(found) == 1
        eyes = found[0].points[:2] / image.shape[0]
        np.testing.assert_allclose(eyes, [[0.37, 0.39], [0.63, 0.39]], atol=0.09)


def test_faces_are_found_in_tight_crops_and_in_large_pictures(finder: MeshFaceFinder, faces: list[Image]):
    tight = [image[50:216, 58:198] for image in faces]
    assert all(len(found) == 1 for found in finder.find(tight))
    large = []
    for k, image in enumerate(faces[:8]):
        picture = np.full((1200, 1600, 3), 100 + 10 * k, np.uint8)
        picture[100:356, 200:456] = image
        picture[700:828, 1100:1228] = cv2.resize(faces[k + 8], (128, 128), interpolation=cv2.INTER_AREA)
        large.append(picture)
    found = finder.find(large)
    assert [len(each) for each in found] == [2] * len(large)
    for each in found:
        assert each[0].quality.eye_distance > 1.6 * each[1].quality.eye_distance


def test_nothing_that_is_no_face_is_embedded(finder: MeshFaceFinder, num_inputs: int):
    rng, wrong = np.random.default_rng(0), []
    for number in range(num_inputs):
        image = make_non_face(number % 6, rng)
        if finder.find([image])[0]:
            wrong.append(number % 6)
    print(f"\nfaces found in {len(wrong)} of {num_inputs} pictures without a face")
    assert not wrong


def test_real_pictures_of_one_person_are_nearer_than_those_of_others(finder: MeshFaceFinder, samples: Path):
    """On a folder of people's pictures, one folder a person: VOICEFACE_SAMPLES names it."""
    paths = sorted((samples / "voicestyle" / "VGG_ALL_FRONTAL").glob("*/*.jpg"))
    if not paths:
        pytest.skip("no pictures of real people at hand: VOICEFACE_SAMPLES names their folder")
    encoder, embeddings = load_face_encoder("onnxruntime"), []
    for path in paths:
        image = load_image(path)
        found = finder.find([image])[0]
        assert len(found) == 1, path.name
        embeddings.append(encoder.embed(found[0].encoder_chip(image)[None])[0])
    people = np.array([path.parent.name for path in paths])
    table = np.array(embeddings)
    distance = np.linalg.norm(table[:, None] - table[None], axis=2)
    first, second = np.triu_indices(len(paths), 1)
    same = people[first] == people[second]
    right = (distance[first, second] < SAME_PERSON_DISTANCE) == same
    print(f"\n{int(right.sum())} of {len(right)} pairs of {len(set(people))} people are right")
    assert right.all()
