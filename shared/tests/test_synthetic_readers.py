"""Attribute readers: predictions, gradients, files, training, and the accuracy of the bundled ones."""

import numpy as np
import pytest
import torch
from voiceface.checkpoints.native import fingerprint, save_model
from voiceface.checkpoints.published import CheckpointError
from voiceface.commands import weights
from voiceface.synthetic.agreement import agreement
from voiceface.synthetic.face.geometry_truth import build_face_ground_truth
from voiceface.synthetic.face.head import build_head_model
from voiceface.synthetic.face.mean_surface import GRID_COLUMNS, GRID_ROWS
from voiceface.synthetic.face.render import prepare_face, render_image
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.presets import PRESETS
from voiceface.synthetic.readers import attribute_reader
from voiceface.synthetic.readers import check as judge_check
from voiceface.synthetic.readers import data as judge_faces
from voiceface.synthetic.readers import training as judge_training
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
    return judge_faces.generate_face_dataset(100_000, 6, progress=False)


@pytest.fixture(scope="module")
def strangers():
    """Two pictures each of 40 test people of the quick population, and the truth."""
    people = sample_identities(np.arange(116, 156), rho=1.0)
    pictures = np.empty((len(people), 2, 64, 64, 3), np.uint8)
    for i in range(len(people)):
        face = prepare_face(people, i)
        for j in range(2):
            pictures[i, j] = render_image(people, i, j, image_size=64, nuisance=0.3, face=face).image
    return torch.from_numpy(pictures).permute(0, 1, 4, 2, 3).contiguous(), build_face_ground_truth(people)


def test_shapes_of_a_reading(small):
    reading = small(torch.rand(3, 3, 64, 64))
    assert reading.embedding.shape == (3, 8) and reading.sex_logit.shape == (3,)
    assert reading.factors.shape == (3, 8) and reading.shape.shape == (3, 40) and reading.skin.shape == (3, 3)
    sides = [(4, 32), (6, 16), (8, 8), (8, 4)]
    assert [tuple(item.shape) for item in reading.features] == [(3, c, s, s) for c, s in sides]
    assert torch.allclose(reading.embedding.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("side", [32, 50, 128])
def test_a_plain_picture_reads_the_same_at_every_size(small, side):
    colour = torch.tensor([0.7, 0.5, 0.4])[None, :, None, None]
    wanted, found = small(colour.expand(1, 3, 64, 64)), small(colour.expand(1, 3, side, side))
    assert torch.allclose(wanted.factors, found.factors, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 3, 64, 60), (1, 3, 31, 31)])
def test_other_shapes_are_refused(small, shape):
    with pytest.raises(ValueError, match=r"expected images \(B, 3, S, S\)"):
        small(torch.rand(shape))


def test_whole_numbers_are_refused_by_the_network_and_scaled_by_read(small):
    picture = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    with pytest.raises(ValueError, match="divide by 255"):
        small(picture)
    whole, part = predict_batched(small, picture, batch_size=2), small(picture / 255.0)
    assert torch.allclose(whole.factors, part.factors, atol=1e-5) and whole.features == ()


def test_fusing_changes_no_reading():
    torch.manual_seed(1)
    trained = AttributeReader(SMALL, batch_norm=True).train()
    for _ in range(20):
        trained(torch.rand(16, 3, 64, 64))
    for module in trained.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1, 0.3)
            torch.nn.init.normal_(module.bias)
    trained.eval()
    fused, pictures = trained.fuse_batchnorm(), torch.rand(4, 3, 64, 64)
    before, after = trained(pictures), fused(pictures)
    for name in ("embedding", "sex_logit", "factors", "shape", "skin"):
        assert torch.allclose(getattr(before, name), getattr(after, name), atol=1e-4), name
    for one, two in zip(before.features, after.features):
        assert torch.allclose(one, two, atol=1e-3)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())


@pytest.mark.parametrize("name", attribute_reader.BUNDLED_READERS)
def test_bundled_ones_are_frozen_deterministic_and_without_modes(name):
    network, pictures = attribute_reader.load_reader(name), torch.rand(2, 3, 64, 64, requires_grad=True)
    assert not network.training and not any(weight.requires_grad for weight in network.parameters())
    first, second = network(pictures), network.train()(pictures)
    assert torch.equal(first.embedding, second.embedding) and torch.equal(first.factors, second.factors)
    first.embedding[:, 0].sum().backward()
    assert pictures.grad.abs().sum(dim=(1, 2, 3)).min() > 0


def test_perceptual_distance_is_zero_for_the_same_and_falls_along_its_gradient(strangers):
    network, real = attribute_reader.load_reader("perceptual"), strangers[0][:2, 0] / 255.0
    assert perceptual_distance(network, real, real).abs().max() < 1e-5
    made = real.flip(0).clone().requires_grad_()
    far = perceptual_distance(network, made, real)
    assert far.shape == (2,) and (far > 0.5).all()
    optimiser = torch.optim.Adam([made], 0.01)
    for _ in range(10):
        optimiser.zero_grad()
        perceptual_distance(network, made, real).sum().backward()
        optimiser.step()
    assert (perceptual_distance(network, made, real) < 0.8 * far).all()


def test_a_file_gives_the_judge_back(small, tmp_path):
    path = tmp_path / "evaluation.safetensors"
    attribute_reader.save_reader(small, path, training_config={"seed": 3}, metadata={"factor_r2_mean": 0.5})
    again = attribute_reader.load_reader(path)
    pictures = torch.rand(2, 3, 64, 64)
    assert torch.allclose(again(pictures).factors, small(pictures).factors, atol=5e-3)
    assert again.config == SMALL and again.metadata["training"] == {"seed": 3}
    assert (
        again.metadata["disclaimer"] == attribute_reader.READER_DISCLAIMER
        and len(again.metadata["sha256"]) == 64
    )


def test_files_of_other_systems_are_refused(small, tmp_path):
    path = tmp_path / "other.safetensors"
    save_model(path, small.state_dict(), system="sf2f", kind="attribute_reader", config={})
    with pytest.raises(CheckpointError, match="another system"):
        attribute_reader.load_reader(path)
    with pytest.raises(FileNotFoundError):
        attribute_reader.load_reader("evalution")


def test_bundled_ones_are_small_and_learnt_from_different_people_of_no_preset():
    ranges, prints = [], []
    largest = max(309 + preset.train for preset in PRESETS.values())
    for name in attribute_reader.BUNDLED_READERS:
        network = attribute_reader.load_reader(name)
        training = network.metadata["training"]
        ranges.append(
            range(
                training["first_id"],
                training["first_id"] + training["num_identities"] + judge_training.NUM_CHECK_IDENTITIES,
            )
        )
        prints.append((training["seed"], fingerprint(network.state_dict())))
        assert ranges[-1].start >= largest and "not on real people" in network.metadata["disclaimer"]
        size = sum(2 * tensor.numel() for tensor in network.state_dict().values())
        assert size < 590_000
    assert ranges[0].stop <= ranges[1].start or ranges[1].stop <= ranges[0].start
    assert len({seed for seed, _ in prints}) == 2 and len({digest for _, digest in prints}) == 2


@pytest.mark.parametrize("name", attribute_reader.BUNDLED_READERS)
def test_bundled_ones_read_strangers(name, strangers):
    network = attribute_reader.load_reader(name)
    found = judge_check.evaluate_reader(network, *strangers)
    assert found.sex_accuracy >= 0.95 and found.auc > 0.99 and found.auc_same_gender > 0.99
    assert (
        found.identification_rates[1] > 0.95 and found.factor_r2.min() > 0.4 and found.factor_r2.mean() > 0.6
    )
    assert found.skin_r2 > 0.85 and found.shape_r2[network.readable_shape.numpy()].mean() > 0.5
    blurred = judge_faces.gaussian_blur(strangers[0].flatten(0, 1) / 255.0, 1.5).unflatten(0, (-1, 2))
    assert judge_check.evaluate_reader(network, blurred, strangers[1]).factor_r2.mean() > 0.55


def test_quality_of_a_reader_that_knows_everything(monkeypatch):
    truth = build_face_ground_truth(sample_identities(np.arange(12)))
    twice = {
        "factors": truth.factors, "shape": truth.shape, "skin": truth.skin, "sex_logit": 2.0 * truth.sex - 1,
        "embedding": np.eye(12),
    }  # fmt: skip
    perfect = AttributePrediction(
        **{key: torch.from_numpy(x[:, None].repeat(2, 1)) for key, x in twice.items()}
    )
    monkeypatch.setattr(agreement, "predict_identities", lambda judge, pictures: perfect)
    found = judge_check.evaluate_reader(None, None, truth)
    assert found.auc == found.auc_same_gender == found.sex_accuracy == 1.0
    assert found.identification_rates == found.mean_gallery_identification_rates == (1.0, 1.0)
    assert found.factor_r2 == pytest.approx(np.ones(8)) and found.skin_r2 == pytest.approx(1)
    assert "1.000" in judge_check.format_metrics_table({"perfect": found})


def test_faces_of_a_person_do_not_depend_on_the_others(faces):
    alone = judge_faces.generate_face_dataset(100_002, 1, progress=False)
    mine = slice(int(faces.first_image[2]), int(faces.first_image[2] + faces.num_images[2]))
    assert torch.equal(faces.images[mine], alone.images) and torch.equal(faces.shape[2], alone.shape[0])
    assert faces.num_images.tolist() == [3 + k % 4 for k in range(100_000, 100_006)]
    assert len(faces.images) == faces.num_images.sum() == len(faces.nuisance)
    assert set(faces.nuisance.tolist()) == {np.float32(0.3), 1.0}


def test_people_of_presets_are_refused():
    with pytest.raises(ValueError, match="presets"):
        judge_faces.generate_face_dataset(99_999, 2, progress=False)


def test_pairs_are_two_pictures_of_one_person(faces):
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(60):
        rows, one, two = judge_faces.sample_image_pairs(faces, 4, generator)
        assert len(set(rows.tolist())) == 4 and (one != two).all()
        for pictures in (one, two):
            assert (faces.first_image[rows] <= pictures).all()
            assert (pictures < faces.first_image[rows] + faces.num_images[rows]).all()
        seen |= set(one.tolist()) | set(two.tolist())
    assert seen == set(range(len(faces.images)))


def test_jitter_stays_in_range_and_follows_its_generator(faces):
    once, mirrored = judge_faces.augment_images(faces.images[:8], torch.Generator().manual_seed(5))
    again, _ = judge_faces.augment_images(faces.images[:8], torch.Generator().manual_seed(5))
    assert torch.equal(once, again) and once.min() >= 0 and once.max() <= 1
    dark_left = torch.full((8, 3, 64, 64), 60, dtype=torch.uint8)
    dark_left[..., 32:] = 200
    half, turned = judge_faces.augment_images(dark_left, torch.Generator().manual_seed(5))
    assert torch.equal(turned, mirrored) and 0 < mirrored.sum() < 8
    assert torch.equal(half[..., :20].mean((1, 2, 3)) > half[..., 44:].mean((1, 2, 3)), mirrored)


def test_mirrored_coefficients_give_the_mirrored_head():
    model = build_head_model(1.0)
    alpha = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 40)))
    turned, known = judge_faces.mirror_shape(alpha, torch.tensor([True]))
    alpha, turned = (x * known.double() for x in (alpha, turned))
    one, two = (
        model.compute_vertices(x[0].numpy()).reshape(GRID_ROWS, GRID_COLUMNS, 3) for x in (alpha, turned)
    )
    assert np.allclose(two, one[:, ::-1] * [-1, 1, 1], atol=1e-6)
    same, all_known = judge_faces.mirror_shape(alpha, torch.tensor([False]))
    assert torch.equal(same, alpha) and all_known.all() and known.sum() == 36


def test_blur_keeps_the_mean_and_spreads_a_dot():
    picture = torch.zeros(1, 3, 33, 33)
    picture[..., 16, 16] = 1.0
    found = judge_faces.gaussian_blur(picture, 1.5)
    assert found.sum() == pytest.approx(3.0, abs=1e-4)
    at = torch.arange(33.0) - 16
    assert (found[0, 0].sum(0) * at**2).sum() == pytest.approx(1.5**2, rel=0.05)


def test_losses_by_hand():
    one = torch.eye(3)
    assert contrastive_loss(torch.cat([one, one]), 100.0).item() == pytest.approx(0, abs=1e-6)
    assert contrastive_loss(torch.cat([one, one]), 0.0).item() == pytest.approx(np.log(3))
    reading = AttributePrediction(
        one[:2], torch.zeros(2), torch.ones(2, 8), torch.ones(2, 40), torch.full((2, 3), 0.2)
    )
    known = torch.ones(2, 40)
    known[:, :20] = 0
    shape = torch.cat([torch.full((2, 20), 9.0), torch.full((2, 20), -1.0)], dim=1)
    found = attribute_losses(
        reading,
        torch.tensor([0.0, 1.0]),
        torch.zeros(2, 8),
        shape,
        known,
        torch.zeros(2, 3),
        torch.full((3,), 0.04),
    )
    wanted = {"sex": np.log(2), "factors": 1, "shape": 4, "skin": 1}
    assert {name: loss.item() for name, loss in found.items()} == pytest.approx(wanted)


def test_training_repeats_and_learns(faces):
    config = ReaderTrainingConfig(first_id=100_000, num_identities=6, max_steps=12, batch_size=6)
    seen = []
    one = train_reader(config, faces, lambda step, losses: seen.append(losses["skin"]))
    two = train_reader(config, faces)
    assert fingerprint(one.state_dict()) == fingerprint(two.state_dict())
    assert len(seen) == 12 and seen[-1] < 0.7 * seen[0]


def test_the_command_writes_a_file_that_can_be_described(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(judge_training, "NUM_CHECK_IDENTITIES", 8)
    threads = torch.get_num_threads()
    path = tmp_path / "own.safetensors"
    words = [
        "--out",
        str(path),
        "--num-identities",
        "4",
        "--max-steps",
        "2",
        "--batch",
        "4",
        "--first-id",
        "200000",
    ]
    try:
        assert judge_training.main(words) == 0
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


def test_another_suffix_is_refused_before_anything_is_drawn(tmp_path):
    with pytest.raises(ValueError, match="safetensors"):
        judge_training.train_and_save(ReaderTrainingConfig(), tmp_path / "judge.pt")
