"""Near duplicates: what is the same picture or sound, and what is not."""

import cv2
import numpy as np
import pytest
from sound_files import changing_noise
from voiceface.datasets.near_duplicates import (
    KEPT_ALIKE,
    SAME_PICTURE_BITS,
    compute_fingerprint,
    find_near_duplicate_pictures,
    find_repeated_clips,
    fingerprint_correlations,
    hash_picture,
)
from voiceface.datasets.splits import assign_split


def picture(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    return cv2.resize(coarse, (128, 128), interpolation=cv2.INTER_CUBIC)


def recompressed(image, quality=40):
    data = cv2.imencode(".jpg", np.clip(image * 0.9 + 10, 0, 255), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.resize(cv2.imdecode(data, cv2.IMREAD_COLOR), (100, 100), interpolation=cv2.INTER_AREA)


def test_hashes_survive_encoding_and_scaling_and_tell_pictures_apart():
    hashes = [hash_picture(picture(seed)) for seed in range(20)]
    again = [hash_picture(recompressed(picture(seed))) for seed in range(20)]
    for k, value in enumerate(again):
        distances = np.array([(other ^ value).bit_count() for other in hashes])
        assert distances[k] <= SAME_PICTURE_BITS
        assert (np.delete(distances, k) > SAME_PICTURE_BITS).all()


def test_a_picture_repeats_the_first_that_is_kept():
    assert find_near_duplicate_pictures([0, 1, 2**40 - 1, 3], max_bits=1) == [None, 0, None, None]
    assert find_near_duplicate_pictures([]) == []


def test_pictures_whose_faces_differ_are_no_duplicates():
    rows = np.array([[0.0, 0.0], [0.0, 1.0], [0.1, 0.0]])
    assert find_near_duplicate_pictures([7, 7, 7], rows) == [None, None, 0]


def test_a_series_that_looks_like_itself_alone_keeps_its_first_pictures():
    """A person who hardly moves; another series that repeats them keeps none."""
    hashes = [5] * 6 + [5] * 4 + [2**40 - 1] * 2
    series = ["a"] * 6 + ["b"] * 4 + ["c"] * 2
    found = find_near_duplicate_pictures(hashes, series=series)
    assert found[:6] == [None] * KEPT_ALIKE + [0] * (6 - KEPT_ALIKE)
    assert found[6:10] == [0] * 4
    assert found[10:] == [None, None]
    assert find_near_duplicate_pictures(hashes[:6]) == [None] + [0] * 5


def test_pictures_that_differ_count_for_what_a_series_keeps():
    different = [0, 2**20 - 1, 2**40 - 1, 2**60 - 1]
    assert find_near_duplicate_pictures([*different, 0, 2**20 - 1], series=["a"] * 6)[4:] == [0, 1]


def test_a_fingerprint_ignores_level_shift_and_noise():
    wave = changing_noise(0)
    shifted = 0.2 * np.concatenate([np.zeros(1000, np.float32), wave[: -3 * 1600]])
    noisy = shifted + np.random.default_rng(1).normal(size=len(shifted)).astype(np.float32) * 1e-3
    others = [compute_fingerprint(each) for each in (wave, noisy, changing_noise(2), changing_noise(3, 6.0))]
    found = fingerprint_correlations(others[0], others)
    assert found[0] == pytest.approx(1, abs=1e-3)
    assert found[1] > 0.9
    assert (found[2:] < 0.6).all()


def test_correlations_agree_with_a_slow_search():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(9, 3)), rng.normal(size=(12, 3))
    best = -1.0
    for shift in range(-len(a) + 1, len(b)):
        rows = [t for t in range(len(a)) if 0 <= t + shift < len(b)]
        if len(rows) >= 0.8 * len(a):
            x, y = a[rows], b[[t + shift for t in rows]]
            best = max(best, float((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum())))
    assert fingerprint_correlations(a, [b]) == pytest.approx([best], abs=1e-5)
    assert fingerprint_correlations(b, [a]) == pytest.approx([best], abs=1e-5)
    assert fingerprint_correlations(a, []).shape == (0,)


def test_a_clip_repeats_the_first_with_its_sound_if_the_voices_are_alike():
    waves = [changing_noise(0), changing_noise(1), 0.5 * changing_noise(0), changing_noise(0)]
    prints = [compute_fingerprint(wave) for wave in waves]
    voices = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], float)
    assert find_repeated_clips(prints, voices) == [None, None, 0, None]
    assert find_repeated_clips([], np.zeros((0, 2))) == []


def test_a_short_clip_has_a_fingerprint():
    assert compute_fingerprint(np.zeros(10, np.float32)).shape == (1, 16)


def test_splits_depend_on_seed_and_name_alone():
    names = [f"person {k}" for k in range(2000)]
    found = [assign_split(name) for name in names]
    assert found == [assign_split(name) for name in names]
    assert found != [assign_split(name, 1) for name in names]
    for split, fraction in zip(("train", "val", "test"), (0.8, 0.1, 0.1)):
        assert found.count(split) / len(names) == pytest.approx(fraction, abs=0.03)
    assert {assign_split(name, 0, (1, 0, 0)) for name in names} == {"train"}
