"""Image transforms: normalisation, conversion to bytes, face box, halving."""

import numpy as np
import pytest
import torch
from PIL import Image
from sf2f.image_transforms import (
    average_with_mirror,
    crop_face,
    denormalise,
    downsample_by_halving,
    face_crop_slices,
    from_uint8,
    normalise,
    preprocess_face,
    resize_image,
    to_uint8,
)
from small_sf2f_models import seeded


def test_normalise_by_hand_and_inverse():
    grey = torch.full((1, 3, 1, 1), 0.5)
    expected = [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    assert normalise(grey).flatten().tolist() == pytest.approx(expected)
    assert normalise(grey, "standard").flatten().tolist() == [0, 0, 0]
    given = torch.rand(2, 3, 4, 5, generator=seeded())
    for statistics in ("imagenet", "standard"):
        torch.testing.assert_close(denormalise(normalise(given, statistics), statistics), given)
    torch.testing.assert_close(normalise(given[0]), normalise(given)[0])


def test_bytes_are_truncated_and_clamped():
    values = torch.tensor([-1.0, 0.0, 99.7 / 255, 1.0, 7.0, torch.nan, torch.inf, -torch.inf])
    given = normalise(values.double()[None, None].expand(3, 1, -1), "standard")
    assert to_uint8(given, "standard")[0, 0].tolist() == [0, 0, 99, 255, 255, 0, 255, 0]
    assert to_uint8(given, "standard", rounded=True)[0, 0].tolist() == [0, 0, 100, 255, 255, 0, 255, 0]


def test_rounding_is_lossless_and_truncation_loses_at_most_one():
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    for statistics in ("imagenet", "standard"):
        network = from_uint8(ramp, statistics)
        assert torch.equal(to_uint8(network, statistics, rounded=True), ramp)
        lost = ramp.int() - to_uint8(network, statistics).int()
        assert set(lost.flatten().tolist()) <= {0, 1}
    with pytest.raises(ValueError, match="uint8"):
        from_uint8(ramp.float())


def test_preprocess_face_is_pillow_resize_then_normalisation():
    image = np.random.default_rng(0).integers(0, 256, (37, 50, 3), dtype=np.uint8)
    small = np.asarray(Image.fromarray(image).resize((20, 16), Image.Resampling.BILINEAR))
    assert np.array_equal(resize_image(image, (16, 20)), small)
    found = preprocess_face(image, (16, 20))
    assert found.shape == (3, 16, 20)
    assert torch.equal(to_uint8(found, rounded=True), torch.tensor(small).permute(2, 0, 1))
    same = resize_image(image, (37, 50))
    assert np.array_equal(same, image)
    same[0] = 0
    assert image[0].any()


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_invalid_images_are_rejected(wrong):
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\)"):
        resize_image(wrong, (2, 2))


def test_mirror_average_is_symmetric_and_truncates():
    image = np.zeros((1, 2, 3), np.uint8)
    image[0, 0], image[0, 1] = 255, 250
    found = average_with_mirror(image)
    assert found.dtype == np.uint8
    assert (found == 252).all()
    noise = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(average_with_mirror(noise), average_with_mirror(noise[:, ::-1]))


def test_face_box_has_the_published_sizes_and_both_ends():
    image = torch.arange(64.0)[:, None] * 100 + torch.arange(64.0)
    face = crop_face(image)
    assert face.shape == (47, 34)
    assert face[0, 0] == int(0.195 * 64) * 100 + int(0.235 * 64)
    assert face[-1, -1] == int(0.915 * 64) * 100 + int(0.765 * 64)
    assert crop_face(torch.zeros(2, 3, 128, 128)).shape == (2, 3, 94, 68)
    assert torch.equal(crop_face(image, (0, 0, 1, 1)), image)
    assert face_crop_slices(10, 20, (0.5, 0.1, 0.5, 0.1)) == (slice(1, 2), slice(10, 11))
    for wrong in ((0.7, 0.1, 0.3, 0.9), (0.1, 0.1, 1.1, 0.9)):
        with pytest.raises(ValueError, match="left, top, right, bottom"):
            crop_face(image, wrong)


def test_halving_equals_nearest_neighbour():
    given = torch.rand(2, 3, 32, 24, generator=seeded())
    expected = torch.nn.functional.interpolate(given, scale_factor=0.25, mode="nearest")
    assert torch.equal(downsample_by_halving(given, (8, 6)), expected)
    assert downsample_by_halving(given, (32, 24)) is given
    odd = torch.rand(1, 3, 13, 13, generator=seeded())
    halves = torch.nn.functional.interpolate(odd, size=(6, 6), mode="nearest")
    assert downsample_by_halving(odd, (6, 6)).shape == halves.shape
    for wrong in ((64, 48), (20, 15), (8, 5)):
        with pytest.raises(ValueError, match=r"\(32, 24\) pixels cannot be halved"):
            downsample_by_halving(given, wrong)


def test_unknown_statistics_and_bytes_are_rejected():
    with pytest.raises(ValueError, match="statistics must be one of"):
        normalise(torch.zeros(3, 2, 2), "vgg")
    with pytest.raises(ValueError, match=r"float \(\.\.\., 3, H, W\), found torch\.uint8"):
        normalise(torch.zeros(3, 2, 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"\(2, 2, 3\)"):
        denormalise(torch.zeros(2, 2, 3))
