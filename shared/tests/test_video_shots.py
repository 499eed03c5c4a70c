"""Shot cuts: every hard cut in its place, and nothing that is none."""

import cv2
import numpy as np
import pytest
from voiceface.videos.shots import ShotDetector, image_difference, shot_features

WIDTH, HEIGHT = 192, 108


def draw_scene(rng, width=WIDTH, height=HEIGHT):
    """A still picture: shades, patches and shapes."""
    scene = np.zeros((height, width, 3), np.float32) + rng.uniform(50, 190, 3)
    for cells in (4, 8, 16):
        shades = rng.normal(0, rng.uniform(10, 28), (cells, 2 * cells, 1)).astype(np.float32)
        scene += cv2.resize(shades, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    for _ in range(rng.integers(4, 9)):
        colour = tuple(map(float, rng.uniform(20, 235, 3)))
        x, y = int(rng.integers(width)), int(rng.integers(height))
        axes = int(rng.integers(6, 40)), int(rng.integers(6, 40))
        cv2.ellipse(scene, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
    return np.clip(scene, 0, 255)


def film(rng, kind, count, noise=3.0):
    """Images of one shot: a head before a wall, a camera that turns, one that zooms."""
    scene = draw_scene(rng, 4 * WIDTH, 2 * HEIGHT) if kind != "head" else draw_scene(rng)
    face = draw_scene(rng, 46, 60)
    speed, phase = rng.uniform(1, 10), rng.uniform(0, 6)
    for k in range(count):
        if kind == "head":
            image = scene.copy()
            x, y = int(60 + 6 * np.sin(k / 2 + phase)), int(20 + 4 * np.cos(k / 3 + phase))
            image[y : y + 60, x : x + 46] = face
            cv2.ellipse(
                image, (x + 23, y + 44), (8, 1 + int(4 * abs(np.sin(k)))), 0, 0, 360, (40, 10, 10), -1
            )
        elif kind == "turning":
            image = cv2.warpAffine(scene, np.float32([[1, 0, -speed * k], [0, 1, -40]]), (WIDTH, HEIGHT))
        else:
            scale = 0.6 * 1.015**k
            matrix = np.float32(
                [[scale, 0, WIDTH / 2 * (1 - 2 * scale)], [0, scale, HEIGHT / 2 * (1 - scale)]]
            )
            image = cv2.warpAffine(scene, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        yield to_image(image + rng.normal(0, noise, image.shape))


def to_image(values):
    return np.clip(values, 0, 255).astype(np.uint8)


def find_cuts(images, **settings):
    detector = ShotDetector(**settings)
    return [k for k, image in enumerate(images) if detector.add(image)]


KINDS = ("head", "turning", "zooming")


@pytest.mark.parametrize("seed", range(4))
def test_hard_cuts_are_found_at_their_image(seed):
    rng = np.random.default_rng(seed)
    images, expected = [], []
    for _ in range(8):
        images += film(rng, KINDS[rng.integers(3)], int(rng.integers(8, 16)), noise=rng.uniform(0, 8))
        expected.append(len(images))
    assert find_cuts(images) == expected[:-1]


CHANGES = {
    "nothing": lambda k, image, rng: image,
    "noise": lambda k, image, rng: image + rng.normal(0, 25, image.shape),
    "a white flash": lambda k, image, rng: image * 0 + 255 if k in (8, 9) else image,
    "a flash": lambda k, image, rng: image * 1.7 + 20 if k == 8 else image,
    "a strong flash": lambda k, image, rng: image * 2.6 + 60 if k == 8 else image,
    "lights that go off": lambda k, image, rng: image * (0.4 if k > 8 else 1),
    "a changing exposure": lambda k, image, rng: image * (0.6 + k / 30),
    "black images": lambda k, image, rng: image * (k not in (8, 9)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_within_a_shot_is_no_cut(change):
    rng = np.random.default_rng(11)
    found = []
    for number in range(9):
        images = film(rng, KINDS[number % 3], 20)
        found.append(
            find_cuts(
                to_image(CHANGES[change](k, image.astype(float), rng)) for k, image in enumerate(images)
            )
        )
    assert sum(map(bool, found)) <= (1 if "strong" in change or "lights" in change else 0), found


def blend(before, after, count):
    for k in range(count):
        share = (k + 1) / (count + 1)
        yield to_image((1 - share) * before[k % len(before)] + share * after[k % len(after)])


@pytest.mark.parametrize("count", [8, 12, 16])
def test_dissolves_are_found_once(count):
    rng, hits, places = np.random.default_rng(count), 0, []
    for number in range(9):
        before, after = (list(film(rng, "head", 40)) for _ in range(2))
        images = before[:20] + list(blend(before[20:], after[:20], count)) + after[20:]
        found = find_cuts(images)
        assert len(found) <= 1, found
        places += found
        hits += len(found)
        assert find_cuts(images, find_dissolves=False) in ([], found), number
    assert hits >= 8 and all(20 <= place <= 20 + count + 8 for place in places)


def test_a_fade_through_black_is_one_cut_and_back_to_the_same_picture_none():
    rng = np.random.default_rng(3)
    first, second = list(film(rng, "head", 30)), list(film(rng, "head", 30))
    down, up = np.linspace(1, 0, 8), np.linspace(0, 1, 8)
    faded = [to_image(first[12 + k] * share) for k, share in enumerate(down)]
    risen = [to_image(second[k] * share) for k, share in enumerate(up)]
    back = [to_image(first[20 + k] * share) for k, share in enumerate(up)]
    assert len(find_cuts(first[:12] + faded + risen + second[8:])) == 1
    assert find_cuts(first[:12] + faded + back + first[28:]) == []


def test_another_shape_of_the_image_is_a_cut_and_the_first_image_none():
    rng = np.random.default_rng(0)
    scene = to_image(draw_scene(rng))
    assert find_cuts([scene, scene, scene.swapaxes(0, 1), scene.swapaxes(0, 1)]) == [2]
    assert find_cuts([np.zeros((90, 160, 3), np.uint8)] * 3) == []


def test_a_cut_to_a_picture_of_one_tone_and_back_are_cuts():
    rng = np.random.default_rng(5)
    head = list(film(rng, "head", 20))
    wall = [to_image(120 + rng.normal(0, 3, head[0].shape)) for _ in range(10)]
    assert find_cuts(head[:10] + wall + head[10:]) == [10, 20]


def test_the_same_person_before_another_wall_is_a_cut():
    rng = np.random.default_rng(6)
    face = draw_scene(rng, 80, 90)
    images = []
    for _ in range(6):
        wall = draw_scene(rng)
        wall[10:100, 50:130] = face
        images += [to_image(wall + rng.normal(0, 3, wall.shape)) for _ in range(9)]
    assert find_cuts(images) == [9, 18, 27, 36, 45]


def test_a_flash_is_in_doubt_until_the_next_images_tell():
    rng = np.random.default_rng(2)
    dark, bright = draw_scene(rng) * 0.5, draw_scene(rng) * 1.5 + 80
    detector = ShotDetector()
    assert [detector.add(to_image(dark)) for _ in range(6)] == [False] * 6 and not detector.in_doubt
    assert not detector.add(to_image(dark * 3 + 100)) and detector.in_doubt
    assert not detector.add(to_image(dark)) and not detector.in_doubt
    answers = []
    for _ in range(6):  # it stays bright: another scene
        answers.append((detector.add(to_image(bright)), detector.in_doubt))
    assert [cut for cut, _ in answers].count(True) == 1
    assert [doubt for _, doubt in answers] == [True, True, True, False, False, False]


def test_the_difference_is_zero_for_the_same_image_and_does_not_see_motion_and_light():
    rng = np.random.default_rng(1)
    scene = draw_scene(rng, 2 * WIDTH, 2 * HEIGHT)
    still = shot_features(to_image(scene[:HEIGHT, :WIDTH]))
    assert image_difference(still, still) == pytest.approx(0, abs=1e-6)
    moved = shot_features(to_image(scene[6 : HEIGHT + 6, 9 : WIDTH + 9]))
    darker = shot_features(to_image(0.5 * scene[:HEIGHT, :WIDTH]))
    other = shot_features(to_image(draw_scene(rng)))
    assert image_difference(moved, still) < 0.3 and image_difference(darker, still) < 0.1
    assert image_difference(other, still) > 0.5
