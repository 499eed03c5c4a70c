"""Bundled perceptual distance and identity encoder, resizing, selection of bundled networks."""

import numpy as np
import pytest
import torch
from PIL import Image
from voiceface.synthetic.readers.attribute_reader import load_reader
from voicestyle.image_losses import (
    MIN_SIDE,
    BundledIdentityEncoder,
    BundledPerceptualDistance,
    load_identity_encoder,
    load_perceptual_distance,
    resize_images,
)


def images(count=2, side=48, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def reader():
    return load_reader("perceptual")


@torch.no_grad()
def test_distance_is_that_of_the_embedding_and_of_normalised_maps(reader):
    one, other, distance = images(), images(seed=1), BundledPerceptualDistance(reader)
    found = distance.distance_from_features(*map(distance.extract_features, (one, other)))
    first, second = (reader((each + 1) / 2) for each in (one, other))
    expected = (first.embedding - second.embedding).square().sum(1)
    for a, b in zip(first.features, second.features):
        a, b = (each / (each.square().sum(1, keepdim=True) + 1e-4).sqrt() for each in (a, b))
        expected = expected + (a - b).square().sum(1).mean((1, 2))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert (distance.distance_from_features(*[distance.extract_features(one)] * 2) == 0).all()
    with pytest.raises(ValueError, match="shorter"):
        distance.distance_from_features(distance.extract_features(one), distance.extract_features(one)[:-1])


@torch.no_grad()
def test_identity_features_are_unit_embeddings(reader):
    found = BundledIdentityEncoder(reader).features(images())
    assert torch.equal(found, reader((images() + 1) / 2).embedding)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))


@torch.no_grad()
def test_small_images_are_enlarged_first(reader):
    small = images(side=MIN_SIDE // 2)
    encoder = BundledIdentityEncoder(reader)
    assert torch.equal(encoder.features(small), encoder.features(resize_images(small, MIN_SIDE)))


@pytest.mark.parametrize("side", [13, 48, 100])
def test_resizing_is_bilinear_and_antialiased(side):
    given = images(1)
    found = resize_images(given, side)
    for channel, plane in zip(found[0], given[0]):
        expected = Image.fromarray(plane.numpy()).resize((side, side), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(channel, np.asarray(expected), atol=1e-5)
    assert resize_images(given, 48) is given


def test_networks_are_bundled_unless_files_are_given(tmp_path):
    assert isinstance(load_perceptual_distance(), BundledPerceptualDistance)
    assert isinstance(load_identity_encoder(), BundledIdentityEncoder)
    with pytest.raises(FileNotFoundError):
        load_identity_encoder(tmp_path / "model_ir_se50.pth")
    with pytest.raises(ValueError, match="two files"):
        load_perceptual_distance(tmp_path / "vgg16.pth")
