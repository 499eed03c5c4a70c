"""Attribute readers: predictions, gradients, files, training, and the accuracy of the bundled ones."""

import numpy as np
import pytest
import torch
from voiceface.checkpoints.native import fingerprint, save_model
from voiceface.checkpoints.published import CheckpointError
from voiceface.commands import weights
from voiceface.synthetic.agreement import agreement
from voiceface.synthetic.head import load_head_bundle
from voiceface.synthetic.head.geometry_truth import build_face_ground_truth
from voiceface.synthetic.head.model import build_head_model
from voiceface.synthetic.head.render import prepare_face, render_image
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.presets import PRESETS
from voiceface.synthetic.readers import attribute_reader, check, data, training
from voiceface.synthetic.readers.attribute_reader import (
    AttributePrediction,
    AttributeReader,
    AttributeReaderConfig,
    perceptual_distance,
    predict_batched,
)
from voiceface.synthetic.readers.training import (
    ReaderTrainingConfig,
    attribute_losses,
    contrastive_loss,
    train_reader,
)

SMALL = AttributeReaderConfig(widths=(4, 6, 8, 8), bottleneck_channels=4, hidden_dim=16, embedding_dim=8)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return AttributeReader(SMALL).eval()


@pytest.fixture(scope="module")
def faces():
    return data.generate_face_dataset(100_000, 6, progress=False)


@pytest.fixture(scope="module")
def unseen():
    """Two images each of 40 test identities of *quick*, and their ground truth."""
    identities = sample_identities(np.arange(116, 156), rho=1.0)
    images = np.empty((len(identities), 2, 64, 64, 3), np.uint8)
    for i in range(len(identities)):
        face = prepare_face(identities, i)
        for j in range(2):
            images[i, j] = render_image(identities, i, j, image_size=64, nuisance=0.3, face=face).image
    return torch.from_numpy(images).permute(0, 1, 4, 2, 3).contiguous(), build_face_ground_truth(identities)


def test_shapes_of_predictions(small):
    prediction = small(torch.rand(3, 3, 64, 64))
    assert prediction.embedding.shape == (3, 8) and prediction.sex_logit.shape == (3,)
    assert prediction.factors.shape == (3, 8)
    assert prediction.shape.shape == (3, 40) and prediction.skin.shape == (3, 3)
    sides = [(4, 32), (6, 16), (8, 8), (8, 4)]
    assert [tuple(item.shape) for item in prediction.features] == [(3, c, s, s) for c, s in sides]
    assert torch.allclose(prediction.embedding.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("side", [32, 50, 128])
def test_predictions_of_a_uniform_image_do_not_depend_on_its_size(small, side):
    colour = torch.tensor([0.7, 0.5, 0.4])[None, :, None, None]
    expected, actual = small(colour.expand(1, 3, 64, 64)), small(colour.expand(1, 3, side, side))
    assert torch.allclose(expected.factors, actual.factors, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 3, 64, 60), (1, 3, 31, 31)])
def test_other_shapes_raise(small, shape):
    with pytest.raises(ValueError, match=r"expected images \(B, 3, S, S\)"):
        small(torch.rand(shape))


def test_integer_images_raise_in_the_network_and_are_scaled_by_predict_batched(small):
    image = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    with pytest.raises(ValueError, match="divide by 255"):
        small(image)
    whole, part = predict_batched(small, image, batch_size=2), small(image / 255.0)
    assert torch.allclose(whole.factors, part.factors, atol=1e-5) and whole.features == ()


def test_fusing_changes_no_prediction():
    torch.manual_seed(1)
    trained = AttributeReader(SMALL, batch_norm=True).train()
    for _ in range(20):
        trained(torch.rand(16, 3, 64, 64))
    for module in trained.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1, 0.3)
            torch.nn.init.normal_(module.bias)
    trained.eval()
    fused, images = trained.fuse_batchnorm(), torch.rand(4, 3, 64, 64)
    before, after = trained(images), fused(images)
    for name in ("embedding", "sex_logit", "factors", "shape", "skin"):
        assert torch.allclose(getattr(before, name), getattr(after, name), atol=1e-4), name
    for one, two in zip(before.features, after.features):
        assert torch.allclose(one, two, atol=1e-3)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())


@pytest.mark.parametrize("name", attribute_reader.BUNDLED_READERS)
def test_bundled_readers_are_frozen_and_independent_of_the_mode(name):
    reader, images = attribute_reader.load_reader(name), torch.rand(2, 3, 64, 64, requires_grad=True)
    assert not reader.training and not any(weight.requires_grad for weight in reader.parameters())
    first, second = reader(images), reader.train()(images)
    assert torch.equal(first.embedding, second.embedding) and torch.equal(first.factors, second.factors)
    first.embedding[:, 0].sum().backward()
    assert images.grad.abs().sum(dim=(1, 2, 3)).min() > 0


def test_perceptual_distance_is_zero_for_equal_images_and_falls_along_its_gradient(unseen):
    reader, real = attribute_reader.load_reader("perceptual"), unseen[0][:2, 0] / 255.0
    assert perceptual_distance(reader, real, real).abs().max() < 1e-5
    generated = real.flip(0).clone().requires_grad_()
    far = perceptual_distance(reader, generated, real)
    assert far.shape == (2,) and (far > 0.5).all()
    optimiser = torch.optim.Adam([generated], 0.01)
    for _ in range(10):
        optimiser.zero_grad()
        perceptual_distance(reader, generated, real).sum().backward()
        optimiser.step()
    assert (perceptual_distance(reader, generated, real) < 0.8 * far).all()


def test_a_saved_reader_loads_again(small, tmp_path):
    path = tmp_path / "evaluation.safetensors"
    attribute_reader.save_reader(small, path, training_config={"seed": 3}, metadata={"factor_r2_mean": 0.5})
    again = attribute_reader.load_reader(path)
    images = torch.rand(2, 3, 64, 64)
    assert torch.allclose(again(images).factors, small(images).factors, atol=5e-3)
    assert again.config == SMALL and again.metadata["training"] == {"seed": 3}
    assert again.metadata["disclaimer"] == attribute_reader.READER_DISCLAIMER
    assert len(again.metadata["sha256"]) == 64


def test_files_of_other_systems_raise(small, tmp_path):
    path = tmp_path / "other.safetensors"
    save_model(path, small.state_dict(), system="sf2f", kind="attribute_reader", config={})
    with pytest.raises(CheckpointError, match="another system"):
        attribute_reader.load_reader(path)
    with pytest.raises(FileNotFoundError):
        attribute_reader.load_reader("evalution")


def test_bundled_readers_are_small_and_were_trained_on_different_identities_of_no_preset():
    ranges, digests = [], []
    largest = max(309 + preset.train for preset in PRESETS.values())
    for name in attribute_reader.BUNDLED_READERS:
        reader = attribute_reader.load_reader(name)
        config = reader.metadata["training"]
        first_id = config["first_id"]
        ranges.append(range(first_id, first_id + config["num_identities"] + training.NUM_CHECK_IDENTITIES))
        digests.append((config["seed"], fingerprint(reader.state_dict())))
        assert ranges[-1].start >= largest and "not on real people" in reader.metadata["disclaimer"]
        size = sum(2 * tensor.numel() for tensor in reader.state_dict().values())
        assert size < 590_000
    assert ranges[0].stop <= ranges[1].start or ranges[1].stop <= ranges[0].start
    assert len({seed for seed, _ in digests}) == 2 and len({digest for _, digest in digests}) == 2


@pytest.mark.parametrize("name", attribute_reader.BUNDLED_READERS)
def test_bundled_readers_predict_attributes_of_unseen_identities(name, unseen):
    reader = attribute_reader.load_reader(name)
    actual = check.evaluate_reader(reader, *unseen)
    assert actual.sex_accuracy >= 0.95 and actual.auc > 0.99 and actual.auc_same_gender > 0.99
    assert actual.identification_rates[1] > 0.95
    assert actual.factor_r2.min() > 0.4 and actual.factor_r2.mean() > 0.6
    assert actual.skin_r2 > 0.85 and actual.shape_r2[reader.readable_shape.numpy()].mean() > 0.5
    blurred = data.gaussian_blur(unseen[0].flatten(0, 1) / 255.0, 1.5).unflatten(0, (-1, 2))
    assert check.evaluate_reader(reader, blurred, unseen[1]).factor_r2.mean() > 0.55


def test_metrics_of_a_perfect_reader(monkeypatch):
    truth = build_face_ground_truth(sample_identities(np.arange(12)))
    attributes = {
        "factors": truth.factors, "shape": truth.shape, "skin": truth.skin, "sex_logit": 2.0 * truth.sex - 1,
        "embedding": np.eye(12),
    }  # fmt: skip
    perfect = AttributePrediction(
        **{key: torch.from_numpy(x[:, None].repeat(2, 1)) for key, x in attributes.items()}
    )
    monkeypatch.setattr(agreement, "predict_identities", lambda reader, images: perfect)
    actual = check.evaluate_reader(None, None, truth)
    assert actual.auc == actual.auc_same_gender == actual.sex_accuracy == 1.0
    assert actual.identification_rates == actual.mean_gallery_identification_rates == (1.0, 1.0)
    assert actual.factor_r2 == pytest.approx(np.ones(8)) and actual.skin_r2 == pytest.approx(1)
    assert "1.000" in check.format_metrics_table({"perfect": actual})


def test_images_of_an_identity_do_not_depend_on_others(faces):
    alone = data.generate_face_dataset(100_002, 1, progress=False)
    rows = slice(int(faces.first_image[2]), int(faces.first_image[2] + faces.num_images[2]))
    assert torch.equal(faces.images[rows], alone.images) and torch.equal(faces.shape[2], alone.shape[0])
    assert faces.num_images.tolist() == [3 + k % 4 for k in range(100_000, 100_006)]
    assert len(faces.images) == faces.num_images.sum() == len(faces.nuisance)
    assert set(faces.nuisance.tolist()) == {np.float32(0.3), 1.0}


def test_identities_of_presets_raise():
    with pytest.raises(ValueError, match="presets"):
        data.generate_face_dataset(99_999, 2, progress=False)


def test_pairs_are_two_images_of_one_identity(faces):
    generator = torch.Generator().manual_seed(0)
    used = set()
    for _ in range(60):
        rows, one, two = data.sample_image_pairs(faces, 4, generator)
        assert len(set(rows.tolist())) == 4 and (one != two).all()
        for images in (one, two):
            assert (faces.first_image[rows] <= images).all()
            assert (images < faces.first_image[rows] + faces.num_images[rows]).all()
        used |= set(one.tolist()) | set(two.tolist())
    assert used == set(range(len(faces.images)))


def test_augmented_images_stay_in_range_and_follow_the_generator(faces):
    once, mirrored = data.augment_images(faces.images[:8], torch.Generator().manual_seed(5))
    again, _ = data.augment_images(faces.images[:8], torch.Generator().manual_seed(5))
    assert torch.equal(once, again) and once.min() >= 0 and once.max() <= 1
    dark_left = torch.full((8, 3, 64, 64), 60, dtype=torch.uint8)
    dark_left[..., 32:] = 200
    augmented, flipped = data.augment_images(dark_left, torch.Generator().manual_seed(5))
    assert torch.equal(flipped, mirrored) and 0 < mirrored.sum() < 8
    assert torch.equal(augmented[..., :20].mean((1, 2, 3)) > augmented[..., 44:].mean((1, 2, 3)), mirrored)


def test_mirrored_coefficients_describe_the_mirrored_head():
    model, mirror = build_head_model(), load_head_bundle().mirror
    alpha = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 40)))
    flipped, defined = data.mirror_shape(alpha, torch.tensor([True]))
    alpha, flipped = (x * defined.double() for x in (alpha, flipped))
    one, two = (model.compute_vertices(x[0].numpy()) for x in (alpha, flipped))
    assert np.allclose(two, one[mirror[: len(one)]] * [-1, 1, 1], atol=0.05)
    same, all_defined = data.mirror_shape(alpha, torch.tensor([False]))
    assert torch.equal(same, alpha) and all_defined.all() and defined.sum() == 36


def test_blur_keeps_the_mean_and_has_the_variance_of_the_gaussian():
    image = torch.zeros(1, 3, 33, 33)
    image[..., 16, 16] = 1.0
    actual = data.gaussian_blur(image, 1.5)
    assert actual.sum() == pytest.approx(3.0, abs=1e-4)
    at = torch.arange(33.0) - 16
    assert (actual[0, 0].sum(0) * at**2).sum() == pytest.approx(1.5**2, rel=0.05)


def test_losses_by_hand():
    one = torch.eye(3)
    assert contrastive_loss(torch.cat([one, one]), 100.0).item() == pytest.approx(0, abs=1e-6)
    assert contrastive_loss(torch.cat([one, one]), 0.0).item() == pytest.approx(np.log(3))
    prediction = AttributePrediction(
        one[:2], torch.zeros(2), torch.ones(2, 8), torch.ones(2, 40), torch.full((2, 3), 0.2)
    )
    defined = torch.ones(2, 40)
    defined[:, :20] = 0
    shape = torch.cat([torch.full((2, 20), 9.0), torch.full((2, 20), -1.0)], dim=1)
    actual = attribute_losses(
        prediction,
        torch.tensor([0.0, 1.0]),
        torch.zeros(2, 8),
        shape,
        defined,
        torch.zeros(2, 3),
        torch.full((3,), 0.04),
    )
    expected = {"sex": np.log(2), "factors": 1, "shape": 4, "skin": 1}
    assert {name: loss.item() for name, loss in actual.items()} == pytest.approx(expected)


def test_training_is_reproducible_and_reduces_the_loss(faces):
    config = ReaderTrainingConfig(first_id=100_000, num_identities=6, max_steps=12, batch_size=6)
    used = []
    one = train_reader(config, faces, lambda step, losses: used.append(losses["skin"]))
    two = train_reader(config, faces)
    assert fingerprint(one.state_dict()) == fingerprint(two.state_dict())
    assert len(used) == 12 and used[-1] < 0.7 * used[0]


def test_the_command_writes_a_file_that_can_be_inspected(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "NUM_CHECK_IDENTITIES", 8)
    threads = torch.get_num_threads()
    path = tmp_path / "own.safetensors"
    options = ["--num-identities", "4", "--max-steps", "2", "--batch", "4", "--first-id", "200000"]
    try:
        assert training.main(["--out", str(path), *options]) == 0
    finally:
        torch.set_num_threads(threads)
    assert attribute_reader.load_reader(path).metadata["training"]["first_id"] == 200_000
    assert weights.main([str(path)]) == 0
    shown = capsys.readouterr().out
    for words in (
        "population attribute_reader, native format",
        "not on real people",
        "first_id=200000",
        "widths=[24, 40, 64, 96]",
        "shape      ",
    ):
        assert words in shown


def test_another_suffix_raises_before_anything_is_rendered(tmp_path):
    with pytest.raises(ValueError, match="safetensors"):
        training.train_and_save(ReaderTrainingConfig(), tmp_path / "reader.pt")
