"""Guidance by a voice: similarity, regularisers, independence of the batch."""

import pytest
import torch
from voicestyle import models, pipeline
from voicestyle.config import GuidanceConfig, VoiceStyleConfig
from voicestyle.guidance import (
    FaceEncoder,
    augment_view,
    guide,
    squared_latent_distance,
    synthesise_and_score,
)
from voicestyle.latent_optimisation import compute_latent_statistics, sample_z
from voicestyle.noise import PerSampleNoise


@pytest.fixture(scope="module")
def statistics(generator):
    return compute_latent_statistics(generator, sample_z(generator, 64, 0))


@pytest.fixture(scope="module")
def faces():
    """A face branch that is not flat: other images, other directions."""
    torch.manual_seed(3)
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 5)
    )
    return FaceEncoder(network.requires_grad_(False))


@pytest.fixture(scope="module")
def start(generator):
    return generator.mapping(sample_z(generator, 2, 9))


VOICES = torch.tensor([[1.0, 2, 0, -1, 0], [0, -1, 1, 0, 2]])


def go(begin, statistics, faces, generator, seeds=(1, 2), voices=VOICES, **values):
    config = GuidanceConfig(**{"num_steps": 40, "lr": 0.05, **values})
    return guide(begin, voices, faces, generator, statistics, config, PerSampleNoise(seeds))


def test_guidance_increases_similarity(start, statistics, faces, generator):
    path = go(start, statistics, faces, generator)
    at_first = synthesise_and_score(start, path.noise_maps, VOICES, faces, generator)[1]
    at_last = synthesise_and_score(path.latents, path.noise_maps, VOICES, faces, generator)[1]
    assert (at_last > at_first + 0.05).all()
    assert (path.history["similarity"][-1] < path.history["similarity"][0]).all()
    torch.testing.assert_close(1 - path.history["similarity"][-1], at_last, atol=0.02, rtol=0)


def test_voices_are_independent_of_their_batch(start, statistics, faces, generator):
    both = go(start, statistics, faces, generator)
    for row in range(2):
        at = slice(row, row + 1)
        alone = go(start[at], statistics, faces, generator, seeds=(row + 1,), voices=VOICES[at])
        torch.testing.assert_close(both.latents[at], alone.latents, rtol=1e-3, atol=1e-4)


def test_scale_of_a_voice_embedding_does_not_matter(start, statistics, faces, generator):
    one, other = (go(start, statistics, faces, generator, voices=VOICES * k, num_steps=9) for k in (1, 8))
    torch.testing.assert_close(one.latents, other.latents, rtol=1e-4, atol=1e-5)


def test_saturated_pixels_have_no_gradient(faces):
    images = torch.zeros(1, 3, 8, 8)
    images[:, :, :2], images[:, :, 6:] = 1.5, -3
    images.requires_grad_()
    faces(images)[0, 0].backward()
    assert images.grad[:, :, :2].abs().max() == 0 and images.grad[:, :, 6:].abs().max() == 0
    assert images.grad[:, :, 2:6].abs().min() > 0


def test_published_regulariser_has_no_effect(start, statistics, faces, generator):
    without = go(start, statistics, faces, generator)
    with_it = go(start, statistics, faces, generator, published_regularisation=1e3)
    assert torch.equal(without.latents, with_it.latents)
    assert all(torch.equal(a, b) for a, b in zip(without.noise_maps, with_it.noise_maps))
    assert with_it.history["published"][0].min() > 0  # and yet it is counted


@pytest.mark.parametrize("name", ["start", "prior"])
def test_start_and_prior_weights_hold_the_latents(start, statistics, faces, generator, name):
    centre = start if name == "start" else statistics.mean
    free = go(start, statistics, faces, generator)
    kept = go(start, statistics, faces, generator, **{f"{name}_weight": 50.0})
    assert ((kept.latents - centre).norm(dim=1) < 0.8 * (free.latents - centre).norm(dim=1)).all()
    plus = go(start, statistics, faces, generator, space="w_plus", **{f"{name}_weight": 50.0})
    assert plus.latents.shape == (2, generator.config.n_latent, 8)
    # at the first step nothing has moved: 0 from the start; from the mean in deviations of w
    wanted = 50 * squared_latent_distance(start - centre) / statistics.std**2
    torch.testing.assert_close(kept.history[name][0], wanted)
    torch.testing.assert_close(plus.history[name][0], wanted)


def test_best_restart_is_kept(generator, embedder, start):
    base = {
        "guidance": {"num_steps": 6, "lr": 0.05, "num_restarts": 3, "latent_noise": 0.5},
        "inversion": {"latent_mean_samples": 64},
    }
    config = VoiceStyleConfig.model_validate(base)
    pipeline_models = models.build_models(embedder, generator, config)
    voices = torch.rand(2, 8, generator=torch.Generator().manual_seed(0))
    best = pipeline.compute_similarities(
        pipeline.guide_by_voice(start, voices, pipeline_models, config, ["a", "b"]),
        voices,
        pipeline_models,
        config,
    )
    seeds = [[pipeline.derive_seed(0, f"guidance {r}", key) for key in "ab"] for r in range(3)]
    single = []
    for each in seeds:
        view = pipeline.build_face_encoder(pipeline_models, config)
        plan = config.guidance
        path = guide(
            start, voices, view, generator, pipeline_models.latent_statistics, plan, PerSampleNoise(each)
        )
        single.append(pipeline.compute_similarities(path, voices, pipeline_models, config))
    torch.testing.assert_close(best, torch.stack(single).max(0).values, atol=1e-4, rtol=0)
    assert torch.stack(single).std(0).max() > 1e-6


def test_augmented_views(start, statistics, faces, generator):
    images = torch.rand(2, 3, 8, 8)
    still = torch.zeros(2, 4)
    torch.testing.assert_close(augment_view(images, still), images, atol=1e-5, rtol=0)
    mirrored = torch.tensor([[1.0, 0, 0, 0], [-1, 0, 0, 0]])
    found = augment_view(images, mirrored)
    torch.testing.assert_close(found[0], images[0].flip(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1], images[1], atol=1e-5, rtol=0)
    one, several = (
        go(start, statistics, faces, generator, num_augmented_views=k, num_steps=5) for k in (1, 3)
    )
    assert not torch.equal(one.latents, several.latents)
    alone = go(
        start[1:],
        statistics,
        faces,
        generator,
        seeds=(2,),
        voices=VOICES[1:],
        num_augmented_views=3,
        num_steps=5,
    )
    torch.testing.assert_close(several.latents[1:], alone.latents, rtol=1e-3, atol=1e-4)


def test_images_are_resized_for_the_face_encoder():
    sides = []

    class Notes(torch.nn.Module):
        def forward(self, images):
            sides.append(tuple(images.shape[2:]))
            return images.mean((2, 3))

    images = torch.rand(1, 3, 32, 32)
    found = [FaceEncoder(Notes(), side)(images) for side in (16, 48, None)]
    assert sides == [(16, 16), (48, 48), (32, 32)]
    assert all(float(each.norm()) == pytest.approx(1) for each in found)
    FaceEncoder(Notes())(torch.rand(1, 3, 512, 512))
    assert sides[-1] == (256, 256)


def test_mismatched_shapes_raise(start, statistics, faces, generator):
    with pytest.raises(ValueError, match=r"one voice per initial latent, found \(1, 5\) voices and \(2, 8\)"):
        go(start, statistics, faces, generator, voices=VOICES[:1])
    codes = start[:, None].expand(-1, generator.config.n_latent, -1)
    with pytest.raises(ValueError, match=r"choose space: w_plus"):
        go(codes, statistics, faces, generator)
