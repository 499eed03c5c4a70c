"""Random contrast and colour cast of training pictures."""

import numpy as np
from voiceface.images import transforms


def test_strength_zero_changes_nothing() -> None:
    face = np.random.default_rng(0).integers(0, 256, (3, 5, 5)).astype(np.float32)
    result = transforms.jitter_colour(face, 0.0, np.random.default_rng(1))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, face)


def test_hand_worked_contrast_and_cast() -> None:
    contrast, *cast = np.random.default_rng(3).normal(0, 0.2, 4)
    face = np.stack([np.full((2, 2), value, np.float32) for value in (0, 127.5, 255)])
    result = transforms.jitter_colour(face, 0.2, np.random.default_rng(3))
    expected = [127.5 + (v - 127.5) * (1 + contrast) + 127.5 * c for v, c in zip((0, 127.5, 255), cast)]
    np.testing.assert_allclose(result[:, 0, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(face[:, 0, 0], np.float32([0, 127.5, 255]))  # the input stays


def test_spread_is_the_strength() -> None:
    rng = np.random.default_rng(0)
    grey = np.full((3, 1, 1), 127.5, np.float32)
    drawn = np.array([transforms.jitter_colour(grey, 0.1, rng).ravel() for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(axis=0), 127.5, atol=1)
    np.testing.assert_allclose(drawn.std(axis=0), 12.75, rtol=0.05)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.05
