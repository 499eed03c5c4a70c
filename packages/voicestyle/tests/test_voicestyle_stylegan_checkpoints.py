"""StyleGAN2 checkpoints, directions, Fréchet distance, path length."""

import argparse
import pickle

import numpy as np
import pytest
import torch
from published_stylegan2 import save_published_checkpoint, state_dict_with_kernels
from voiceface.checkpoints.published import CheckpointError, read_published
from voiceface.metrics.frechet import FeatureStatistics, frechet_distance
from voicestyle.stylegan2 import checkpoints as readers
from voicestyle.stylegan2 import fid
from voicestyle.stylegan2.config import StyleGAN2Config
from voicestyle.stylegan2.discriminator import Discriminator, DiscriminatorConfig
from voicestyle.stylegan2.factorise import apply_direction, factorise, load_directions, save_directions
from voicestyle.stylegan2.generator import Generator, GeneratorConfig
from voicestyle.stylegan2.ppl import crop_and_downsample, perceptual_path_length
from voicestyle.train_stylegan import save_generator

CHANNELS = (8, 6, 4)


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    config = GeneratorConfig(size=16, channels=CHANNELS, style_dim=5, n_mlp=2)
    return Generator(config).eval().requires_grad_(False)


@pytest.fixture
def discriminator() -> Discriminator:
    torch.manual_seed(1)
    return Discriminator(DiscriminatorConfig(size=16, channels=CHANNELS)).eval().requires_grad_(False)


def synthesise(network: Generator) -> torch.Tensor:
    z = torch.randn(2, 5, generator=torch.Generator().manual_seed(2))
    return network(z, randomize_noise=False)[0]


def test_networks_of_a_published_file_are_read(tmp_path, generator, discriminator):
    path = tmp_path / "550000.pt"
    torch.save(
        {
            "g": {},
            "d": state_dict_with_kernels(discriminator),
            "g_ema": state_dict_with_kernels(generator),
            "g_optim": {"state": {}, "param_groups": []},
            "args": argparse.Namespace(size=16, r1=10.0),
            "ada_aug_p": 0.25,
        },
        path,
    )
    found = readers.load_generator(path)
    image = synthesise(generator)
    assert torch.equal(synthesise(found), image) and found.latent_avg is None
    assert not any(value.requires_grad for value in found.parameters())
    assert found.config.channels == CHANNELS
    read = readers.build_discriminator(read_published(path)["d"])
    torch.testing.assert_close(read(image), discriminator(image))


def test_missing_noise_is_deterministic_and_incomplete_noise_is_refused(tmp_path, generator):
    state = {key: value for key, value in generator.state_dict().items() if not key.startswith("noises.")}
    path = tmp_path / "old.pt"
    torch.save({"g_ema": state}, path)
    first, again = readers.load_generator(path), readers.load_generator(path)
    assert torch.equal(synthesise(first), synthesise(again))
    state["noises.noise_0"] = torch.zeros(1, 1, 4, 4)
    with pytest.raises(CheckpointError, match=r"4 missing \(noises.noise_1"):
        readers.build_generator(state)


def test_converted_files_have_latent_avg(tmp_path, generator):
    generator.latent_avg = torch.arange(5.0)[None]
    path = tmp_path / "converted.pt"
    save_published_checkpoint(path, generator)
    found = readers.load_generator(path)
    assert torch.equal(found.latent_avg, generator.latent_avg)
    assert torch.equal(
        found.expand_latents(torch.randn(1, 5), truncation=0.0), torch.arange(5.0).expand(1, 6, 5)
    )


def test_a_bare_state_dict_is_a_generator(tmp_path, generator):
    torch.save(generator.state_dict(), tmp_path / "bare.pt")
    assert torch.equal(synthesise(readers.load_generator(tmp_path / "bare.pt")), synthesise(generator))


def test_native_file_keeps_images_and_latent_avg(tmp_path, generator):
    config = StyleGAN2Config(
        generator=generator.config,
        discriminator=DiscriminatorConfig(size=16, channels=CHANNELS),
    )
    save_generator(tmp_path / "ours.safetensors", generator, config)
    found = readers.load_generator(tmp_path / "ours.safetensors")
    assert torch.equal(synthesise(found), synthesise(generator)) and found.latent_avg.shape == (1, 5)
    save_generator(tmp_path / "half.safetensors", generator, config, half_precision=True)
    half = readers.load_generator(tmp_path / "half.safetensors")
    assert (synthesise(half) - synthesise(generator)).abs().max() < 0.02 * synthesise(generator).std()
    with pytest.raises(CheckpointError, match="another kind"):
        readers.load_model(tmp_path / "ours.safetensors", kind="discriminator")


def test_invalid_files_are_refused(tmp_path, generator, discriminator):
    with pytest.raises(CheckpointError, match="contains no StyleGAN2 generator"):
        readers.build_generator(discriminator.state_dict())
    with pytest.raises(CheckpointError, match="contains no StyleGAN2 discriminator"):
        readers.build_discriminator(generator.state_dict())
    state = dict(generator.state_dict())
    del state["conv1.noise.weight"]
    with pytest.raises(CheckpointError, match=r"conv1\.noise\.weight"):
        readers.build_generator(state)
    state = state_dict_with_kernels(generator)
    state["convs.0.conv.blur.kernel"] = torch.ones(4, 4)
    with pytest.raises(CheckpointError, match="another filter"):
        readers.build_generator(state)
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="contains no StyleGAN2 generator"):
        readers.load_generator(tmp_path / "other.pt")


def test_no_code_of_a_checkpoint_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (eval, ("open('ran', 'w')",))

    torch.save({"g_ema": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="refused"):
        readers.load_generator(tmp_path / "evil.pt")


def test_directions_change_styles_most(generator):
    with torch.no_grad():
        for name, value in generator.named_parameters():
            if name.endswith("modulation.weight"):
                value[:, 3] *= 20
                value[:, 1] *= 5
    found = factorise(generator)
    assert found.directions[:, 0].abs().argmax() == 3 and found.directions[:, 1].abs().argmax() == 1
    torch.testing.assert_close(found.directions.T @ found.directions, torch.eye(5), atol=1e-5, rtol=0)
    rows = [
        value
        for name, value in generator.state_dict().items()
        if name.endswith("modulation.weight") and "to_rgbs" not in name
    ]
    _, strengths, vectors = torch.linalg.svd(torch.cat(rows), full_matrices=False)
    torch.testing.assert_close(found.strengths, strengths, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(found.directions.abs(), vectors.T.abs(), atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="no modulation weights"):
        factorise({"a": torch.zeros(1)})


def test_directions_are_saved_and_applied(tmp_path, generator):
    found = factorise(generator)
    save_directions(tmp_path / "factor.pt", found, "550000.pt")
    vectors, checkpoint = load_directions(tmp_path / "factor.pt")
    assert torch.equal(vectors, found.directions) and checkpoint == "550000.pt"
    w = torch.randn(2, 5)
    images = apply_direction(generator, w, vectors[:, 0], 3.0)
    assert images.shape == (3, 2, 3, 16, 16)
    for row, sign in enumerate((3.0, 0.0, -3.0)):
        alone, _ = generator(w + sign * vectors[:, 0], input_is_latent=True, randomize_noise=False)
        torch.testing.assert_close(images[row], alone, atol=1e-4, rtol=1e-4)


def test_fid_of_a_generator_with_its_own_images_is_zero(generator):
    def features(images):
        return images.mean((2, 3))

    real = fid.compute_image_statistics(fid.generate_images(generator, 40, batch_size=9, seed=3), features)
    same = fid.compute_fid(generator, features, real, num_images=40, batch_size=9, seed=3)
    other = fid.compute_fid(generator, features, real, num_images=40, batch_size=9, truncation=1.0, seed=4)
    assert same == pytest.approx(0, abs=1e-6) and other > same
    rows = torch.cat([features(batch) for batch in fid.generate_images(generator, 40, batch_size=40, seed=4)])
    again = torch.cat([features(batch) for batch in fid.generate_images(generator, 40, batch_size=9, seed=3)])
    assert frechet_distance(again, rows) > 0


def test_published_statistics_are_read(tmp_path):
    rows = np.random.default_rng(0).standard_normal((20, 4))
    content = {"mean": rows.mean(0), "cov": np.cov(rows.T), "size": 256, "path": "ffhq.lmdb"}
    (tmp_path / "inception_ffhq.pkl").write_bytes(pickle.dumps(content))
    found = fid.load_statistics(tmp_path / "inception_ffhq.pkl")
    expected = FeatureStatistics().update(torch.from_numpy(rows)).gaussian()
    torch.testing.assert_close(found.covariance, expected.covariance)
    torch.testing.assert_close(found.mean, expected.mean)
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"mean": rows[0]}))
    with pytest.raises(ValueError, match="expected the keys mean and cov"):
        fid.load_statistics(tmp_path / "bad.pkl")


def test_path_length_is_the_squared_speed_of_images(generator):
    generator.double()

    def distance(a, b):
        return (a - b).square().sum((1, 2, 3))

    found = perceptual_path_length(generator, distance, num_samples=6, batch_size=6, epsilon=1e-4, seed=5)
    finer = perceptual_path_length(generator, distance, num_samples=6, batch_size=6, epsilon=5e-5, seed=5)
    assert found > 0 and finer == pytest.approx(found, rel=1e-2)
    thrice = perceptual_path_length(
        generator, lambda a, b: 3 * distance(a, b), num_samples=6, batch_size=6, epsilon=1e-4, seed=5
    )
    assert thrice == pytest.approx(3 * found)
    assert (
        perceptual_path_length(generator, distance, num_samples=6, batch_size=4, sampling="full", seed=5) > 0
    )
    assert crop_and_downsample(torch.zeros(1, 3, 512, 512), crop=False).shape == (1, 3, 256, 256)
    assert crop_and_downsample(torch.zeros(1, 3, 512, 512), crop=True).shape == (1, 3, 256, 256)
    assert crop_and_downsample(torch.zeros(1, 3, 64, 64), crop=True).shape == (1, 3, 32, 32)


@pytest.mark.parametrize(("num_samples", "batch_size"), [(1, 4), (7, 3), (150, 50)])
def test_path_length_is_the_mean_between_the_percentiles(generator, num_samples, batch_size):
    values = torch.rand(num_samples, generator=torch.Generator().manual_seed(1)).double()
    rows = []

    def distance(one, other):
        rows.append(len(one))
        return values[sum(rows) - len(one) : sum(rows)]

    rule = {"num_samples": num_samples, "batch_size": batch_size, "epsilon": 0.1}
    found = perceptual_path_length(generator, distance, **rule)
    low, high = np.quantile(values, [0.01, 0.99])
    kept = [value for value in values.tolist() if low <= value <= high]
    assert sum(rows) == num_samples and max(rows) <= batch_size
    assert found == pytest.approx(np.mean(kept) / 0.01)
    assert len(kept) == (num_samples if num_samples == 1 else num_samples - 2 * -(-num_samples // 100))


def test_the_crop_is_the_middle_of_the_lower_part():
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(crop_and_downsample(image, crop=True), image[:, :, 24:56, 16:48])
    assert torch.equal(crop_and_downsample(image, crop=False), image)
