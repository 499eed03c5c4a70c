"""Codes on their way to a voice: the fit rises, regularisers hold or move nothing, rows are alone."""

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
    """A face branch that is not flat: other pictures, other directions."""
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


def test_the_fit_rises(start, statistics, faces, generator):
    path = go(start, statistics, faces, generator)
    at_first = synthesise_and_score(start, path.noise_maps, VOICES, faces, generator)[1]
    at_last = synthesise_and_score(path.latents, path.noise_maps, VOICES, faces, generator)[1]
    assert (at_last > at_first + 0.05).all()
    assert (path.history["similarity"][-1] < path.history["similarity"][0]).all()
    torch.testing.assert_close(1 - path.history["similarity"][-1], at_last, atol=0.02, rtol=0)


def test_several_voices_are_each_alone(start, statistics, faces, generator):
    both = go(start, statistics, faces, generator)
    for row in range(2):
        at = slice(row, row + 1)
        alone = go(start[at], statistics, faces, generator, seeds=(row + 1,), voices=VOICES[at])
        torch.testing.assert_close(both.latents[at], alone.latents, rtol=1e-3, atol=1e-4)


def test_the_length_of_a_voice_does_not_matter(start, statistics, faces, generator):
    one, other = (go(start, statistics, faces, generator, voices=VOICES * k, num_steps=9) for k in (1, 8))
    torch.testing.assert_close(one.latents, other.latents, rtol=1e-4, atol=1e-5)


def test_saturated_pixels_give_no_gradient(faces):
    pictures = torch.zeros(1, 3, 8, 8)
    pictures[:, :, :2], pictures[:, :, 6:] = 1.5, -3
    pictures.requires_grad_()
    faces(pictures)[0, 0].backward()
    assert pictures.grad[:, :, :2].abs().max() == 0 and pictures.grad[:, :, 6:].abs().max() == 0
    assert pictures.grad[:, :, 2:6].abs().min() > 0


def test_the_published_regulariser_moves_nothing(start, statistics, faces, generator):
    without = go(start, statistics, faces, generator)
    with_it = go(start, statistics, faces, generator, published_regularisation=1e3)
    assert torch.equal(without.latents, with_it.latents)
    assert all(torch.equal(a, b) for a, b in zip(without.noise_maps, with_it.noise_maps))
    assert with_it.history["published"][0].min() > 0  # and yet it is counted


@pytest.mark.parametrize("name", ["start", "prior"])
def test_the_other_regularisers_hold(start, statistics, faces, generator, name):
    centre = start if name == "start" else statistics.mean
    free = go(start, statistics, faces, generator)
    held = go(start, statistics, faces, generator, **{f"{name}_weight": 50.0})
    assert ((held.latents - centre).norm(dim=1) < 0.8 * (free.latents - centre).norm(dim=1)).all()
    plus = go(start, statistics, faces, generator, space="w_plus", **{f"{name}_weight": 50.0})
    assert plus.latents.shape == (2, generator.config.n_latent, 8)
    # at the first step nothing has moved: 0 from the start; from the mean in deviations of w
    wanted = 50 * squared_latent_distance(start - centre) / statistics.std**2
    torch.testing.assert_close(held.history[name][0], wanted)
    torch.testing.assert_close(plus.history[name][0], wanted)


def test_restarts_give_the_best(generator, embedder, start):
    base = {
        "guidance": {"num_steps": 6, "lr": 0.05, "num_restarts": 3, "latent_noise": 0.5},
        "inversion": {"latent_mean_samples": 64},
    }
    config = VoiceStyleConfig.model_validate(base)
    tools = models.build_models(embedder, generator, config)
    voices = torch.rand(2, 8, generator=torch.Generator().manual_seed(0))
    best = pipeline.compute_similarities(
        pipeline.guide_by_voice(start, voices, tools, config, ["a", "b"]), voices, tools, config
    )
    seeds = [[pipeline.derive_seed(0, f"guidance {r}", key) for key in "ab"] for r in range(3)]
    single = []
    for each in seeds:
        view = pipeline.build_face_encoder(tools, config)
        plan = config.guidance
        path = guide(start, voices, view, generator, tools.latent_statistics, plan, PerSampleNoise(each))
        single.append(pipeline.compute_similarities(path, voices, tools, config))
    torch.testing.assert_close(best, torch.stack(single).max(0).values, atol=1e-4, rtol=0)
    assert torch.stack(single).std(0).max() > 1e-6


def test_views_are_the_picture_and_its_likes(start, statistics, faces, generator):
    pictures = torch.rand(2, 3, 8, 8)
    still = torch.zeros(2, 4)
    torch.testing.assert_close(augment_view(pictures, still), pictures, atol=1e-5, rtol=0)
    mirrored = torch.tensor([[1.0, 0, 0, 0], [-1, 0, 0, 0]])
    found = augment_view(pictures, mirrored)
    torch.testing.assert_close(found[0], pictures[0].flip(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1], pictures[1], atol=1e-5, rtol=0)
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


def test_pictures_are_brought_to_the_side_of_the_network():
    sides = []

    class Notes(torch.nn.Module):
        def forward(self, pictures):
            sides.append(tuple(pictures.shape[2:]))
            return pictures.mean((2, 3))

    pictures = torch.rand(1, 3, 32, 32)
    found = [FaceEncoder(Notes(), side)(pictures) for side in (16, 48, None)]
    assert sides == [(16, 16), (48, 48), (32, 32)]
    assert all(float(each.norm()) == pytest.approx(1) for each in found)
    FaceEncoder(Notes())(torch.rand(1, 3, 512, 512))
    assert sides[-1] == (256, 256)


def test_shapes_that_do_not_fit_are_named(start, statistics, faces, generator):
    with pytest.raises(ValueError, match=r"one voice per initial latent, found \(1, 5\) voices and \(2, 8\)"):
        go(start, statistics, faces, generator, voices=VOICES[:1])
    codes = start[:, None].expand(-1, generator.config.n_latent, -1)
    with pytest.raises(ValueError, match=r"choose space: w_plus"):
        go(codes, statistics, faces, generator)
