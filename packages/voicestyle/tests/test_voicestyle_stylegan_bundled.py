"""The bundled generator."""

import numpy as np
import pytest
import torch
from voiceface.checkpoints.native import load_model
from voicestyle.stylegan2.bundled import bundled_checkpoint, export_compact, load_bundled_generator
from voicestyle.stylegan2.checkpoints import load_generator
from voicestyle.stylegan2.config import ImagesConfig
from voicestyle.stylegan2.dataset import build_synthetic_images
from voicestyle.stylegan2.images import from_uint8


def generate(network, count: int = 32) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(count, network.config.style_dim, generator=rng)
    return network(z, randomize_noise=False)[0].clamp(-1, 1)


def test_bundled_checkpoint_is_small_and_has_a_disclaimer():
    path = bundled_checkpoint()
    assert path.stat().st_size <= 3_000_000
    stored = load_model(path, system="voicestyle", kind="generator")
    assert "not on real people" in stored.extra["disclaimer"] and stored.extra["step"] > 0
    assert stored.config["training"]["max_steps"] == stored.extra["step"]
    assert stored.state["latent_avg"].shape == (1, stored.config["generator"]["style_dim"])


def test_bundled_generator_resembles_the_population():
    identities = ImagesConfig(num_identities=12, images_per_identity=1, nuisance=0.3)
    real = from_uint8(build_synthetic_images(identities, 64, num_workers=1, progress=False).images)
    generated = generate(load_bundled_generator())
    means = [images.mean(0).flatten().numpy() for images in (real, generated)]
    assert np.corrcoef(*means)[0, 1] > 0.8
    spread = [float(images.std(0).mean()) for images in (real, generated)]
    assert 0.4 < spread[1] / spread[0] < 1.6


def test_bundled_generator_covers_genders_and_skin_colours():
    from voiceface.synthetic.readers.attribute_reader import load_reader, predict_batched

    found = predict_batched(load_reader("evaluation"), (generate(load_bundled_generator()) + 1) / 2)
    assert 0.1 < float((found.sex_logit > 0).double().mean()) < 0.9
    assert found.skin.std(0).min() > 0.01


def test_truncation_reduces_diversity():
    network = load_bundled_generator()
    z = torch.randn(16, network.config.style_dim, generator=torch.Generator().manual_seed(1))
    spread = [
        float(network(z, truncation=psi, randomize_noise=False)[0].std(0).mean()) for psi in (1.0, 0.5, 0.0)
    ]
    assert spread[0] > spread[1] > spread[2] == pytest.approx(0, abs=1e-4)


def test_export_of_the_bundled_checkpoint_is_idempotent(tmp_path):
    out = export_compact(bundled_checkpoint(), tmp_path / "again.safetensors")
    assert out.read_bytes() == bundled_checkpoint().read_bytes()
    assert torch.equal(generate(load_generator(out), 2), generate(load_bundled_generator(), 2))
