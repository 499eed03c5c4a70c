"""Optimisation of latents: independence of the batch, schedules, regulariser, early stopping, resuming."""

import math

import pytest
import torch
from voiceface.checkpoints.resume_state import load_state, save_state
from voicestyle.config import InversionConfig
from voicestyle.inversion import invert, prepare_target
from voicestyle.latent_optimisation import (
    LatentStatistics,
    compute_latent_statistics,
    downsample_to_side,
    latent_noise_strength,
    lr_ramp,
    sample_z,
)
from voicestyle.noise import PerSampleNoise, noise_regularisation_loss, normalise_noise_maps


class PixelDistance:
    """Images are as different as their pixels."""

    def extract_features(self, images):
        return [images]

    def distance_from_features(self, a, b):
        return (a[0] - b[0]).square().mean((1, 2, 3))


def inversion_config(**values):
    return InversionConfig(
        **{"num_steps": 12, "identity_weight": 0, "snapshot_interval": 5, "perceptual_weight": 10, **values}
    )


@pytest.fixture(scope="module")
def statistics(generator):
    return compute_latent_statistics(generator, sample_z(generator, 64, 0))


@pytest.fixture(scope="module")
def targets(generator):
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return generator(z, randomize_noise=False)[0]


def go(targets, generator, statistics, config, seeds=(1, 2, 3), **further):
    draws = PerSampleNoise(seeds)
    return invert(targets, generator, statistics, config, draws, PixelDistance(), **further)


def same(one, other):
    assert torch.equal(one.latents, other.latents) and torch.equal(one.snapshots, other.snapshots)
    assert all(torch.equal(a, b) for a, b in zip(one.noise_maps, other.noise_maps, strict=True))
    assert one.snapshot_steps == other.snapshot_steps and torch.equal(one.num_steps, other.num_steps)
    assert one.history.keys() == other.history.keys()
    for name, values in one.history.items():
        assert torch.equal(values.nan_to_num(nan=-7), other.history[name].nan_to_num(nan=-7)), name


def test_images_are_independent_of_their_batch(generator, statistics, targets):
    together = go(targets, generator, statistics, inversion_config())
    for row in range(3):
        alone = go(targets[row : row + 1], generator, statistics, inversion_config(), seeds=(row + 1,))
        torch.testing.assert_close(together.latents[row], alone.latents[0], rtol=1e-4, atol=1e-4)
    turned = go(targets.flip(0), generator, statistics, inversion_config(), seeds=(3, 2, 1))
    torch.testing.assert_close(turned.latents.flip(0), together.latents, rtol=1e-4, atol=1e-4)


def test_coupled_images_depend_on_their_batch(generator, statistics, targets):
    config = inversion_config(batching="coupled")
    together = go(targets, generator, statistics, config)
    alone = go(targets[:1], generator, statistics, config, seeds=(1,))
    assert (together.latents[0] - alone.latents[0]).abs().max() > 1e-2
    one = go(targets[:1], generator, statistics, inversion_config(), seeds=(1,))
    torch.testing.assert_close(
        alone.latents, one.latents, rtol=1e-5, atol=1e-5
    )  # of one there is no difference


@pytest.mark.parametrize("space", ["w", "w_plus"])
@pytest.mark.parametrize("patience", [0, 2])
@pytest.mark.parametrize("batching", ["independent", "coupled"])
def test_resumed_run_equals_uninterrupted_run(
    generator, statistics, targets, tmp_path, space, patience, batching
):
    config = inversion_config(space=space, patience=patience, min_improvement=0.05, batching=batching)
    full = go(targets, generator, statistics, config)
    if patience and batching == "independent":
        assert len(set(full.num_steps.tolist())) > 1  # some rest and others go on
    for stop in (1, 5, 6, 9):
        file = tmp_path / f"{stop}.safetensors"

        def save(optimiser, file=file):
            save_state(file, optimiser.state_dict())

        go(targets, generator, statistics, config, callback=save, stop_at=stop)
        same(go(targets, generator, statistics, config, resume_state=load_state(file)), full)


def test_stopped_row_does_not_change(generator, statistics, targets):
    seen = []
    config = inversion_config(patience=2, min_improvement=0.05, num_steps=16)

    def look(optimiser):
        seen.append(
            (
                list(optimiser.active_rows),
                optimiser.latents.clone(),
                [m.clone() for m in optimiser.noise_maps],
            )
        )

    path = go(targets, generator, statistics, config, callback=look)
    row = int(path.num_steps.argmin())
    rested = int(path.num_steps[row])
    assert rested < 16 and row in seen[rested - 2][0] and row not in seen[rested - 1][0]
    for _, codes, maps in seen[rested - 1 :]:
        assert torch.equal(codes[row], seen[rested - 1][1][row])
        assert all(torch.equal(a[row], b[row]) for a, b in zip(maps, seen[rested - 1][2]))
    assert path.history["perceptual"][rested:, row].isnan().all()
    assert not path.history["perceptual"][:rested, row].isnan().any()
    # until then it went as it would have gone without the others' company
    alone = go(targets[row : row + 1], generator, statistics, config, seeds=(row + 1,))
    torch.testing.assert_close(alone.latents[0], path.latents[row], rtol=1e-4, atol=1e-4)


def test_lr_ramp_by_hand():
    assert (
        lr_ramp(0) == 0 and lr_ramp(0.025) == pytest.approx(0.5) and lr_ramp(0.05) == 1 and lr_ramp(0.5) == 1
    )
    assert lr_ramp(0.75) == pytest.approx(1) and lr_ramp(1) == pytest.approx(0)
    assert lr_ramp(0.875) == pytest.approx(0.5)
    assert lr_ramp(0.9) == pytest.approx(0.5 - 0.5 * math.cos(math.pi * 0.4))
    assert lr_ramp(0.1, ramp_up=0.4) == pytest.approx(0.25) and lr_ramp(0.75, ramp_down=0.5) == pytest.approx(
        0.5
    )


def test_latent_noise_strength_by_hand():
    assert latent_noise_strength(0) == 0.05 and latent_noise_strength(0.375) == pytest.approx(0.0125)
    assert latent_noise_strength(0.75) == 0 and latent_noise_strength(0.9) == 0
    assert latent_noise_strength(0.25, initial=2, ramp_length=0.5) == pytest.approx(0.5)


def test_noise_strength_and_learning_rate_follow_the_schedule(generator, statistics, targets):
    path = go(targets, generator, statistics, inversion_config(num_steps=8))
    wanted = [statistics.std * latent_noise_strength(i / 8) for i in range(8)]
    torch.testing.assert_close(path.history["strength"][:, 0], torch.tensor(wanted))
    first = go(targets, generator, statistics, inversion_config(num_steps=8), stop_at=1)
    assert torch.equal(first.latents, statistics.mean.expand(3, -1))  # the rate of the first step is 0
    assert path.snapshot_steps == [5, 8] and torch.equal(path.snapshots[-1], path.latents)


def test_noise_regulariser_of_a_constant_map():
    # c at every scale: (c^2)^2 in x and in y; 16 pixels count at 16 and 8, 8 and 4 pixels once
    for side, scales in ((4, 1), (8, 1), (16, 2), (32, 3)):
        found = noise_regularisation_loss([torch.full((2, 1, side, side), 1.5)])
        torch.testing.assert_close(found, torch.full((2,), scales * 2 * 1.5**4))
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
    assert noise_regularisation_loss([stripes]).item() == pytest.approx(2.0)  # -1 in x, 1 in y
    both = noise_regularisation_loss([stripes, torch.full((1, 1, 4, 4), 2.0)])
    assert both.item() == pytest.approx(2 + 32)


def test_noise_regulariser_of_white_noise_is_almost_zero():
    maps = [torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))]
    assert noise_regularisation_loss(maps).max() < 0.02
    smooth = [torch.nn.functional.avg_pool2d(maps[0], 5, 1, 2) * 5]
    assert noise_regularisation_loss(smooth).min() > 0.5


def test_coupled_noise_regulariser_equals_that_of_one_image():
    maps = [torch.randn(1, 1, side, side) for side in (4, 8, 16)]
    torch.testing.assert_close(
        noise_regularisation_loss(maps)[0], noise_regularisation_loss(maps, coupled=True)
    )
    two = [torch.cat([each, torch.randn_like(each)]) for each in maps]
    assert noise_regularisation_loss(two, coupled=True).ndim == 0
    assert (noise_regularisation_loss(two).mean() - noise_regularisation_loss(two, coupled=True)).abs() > 1e-6


def test_normalise_noise_maps():
    maps = [torch.randn(3, 1, 8, 8) * torch.tensor([1.0, 3, 9]).view(3, 1, 1, 1) + 2]
    full = [maps[0].clone()]
    normalise_noise_maps(maps)
    torch.testing.assert_close(maps[0].mean((1, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(maps[0].flatten(1).std(1), torch.ones(3))
    normalise_noise_maps(full, coupled=True)
    assert full[0].std().item() == pytest.approx(1, abs=1e-5)
    assert full[0][2].std() > 3 * full[0][0].std()


def test_optimisation_reduces_the_loss(generator, statistics, targets):
    path = go(targets, generator, statistics, inversion_config(num_steps=60))
    first, last = path.history["perceptual"][0], path.history["perceptual"][-1]
    assert (last < 0.7 * first).all()
    plus = go(targets, generator, statistics, inversion_config(num_steps=60, space="w_plus"))
    assert plus.latents.shape == (3, generator.config.n_latent, 8)
    assert plus.latents.std(1).max() > 1e-3  # the layers go apart


def test_statistics_by_hand(generator):
    class Plain:
        def mapping(self, z):
            return z

    z = torch.tensor([[0.0, 0], [2, 0], [0, 4], [2, 4]])
    found = compute_latent_statistics(Plain(), z, chunk_size=3)
    assert found.mean.tolist() == [[1, 2]] and found.std == pytest.approx(math.sqrt(1 + 4))
    z = sample_z(generator, 50, 3)
    w = generator.mapping(z)
    torch.testing.assert_close(compute_latent_statistics(generator, z, 7).mean[0], w.mean(0))
    assert torch.equal(z, sample_z(generator, 50, 3)) and not torch.equal(z, sample_z(generator, 50, 4))


def test_random_numbers_of_a_row_are_independent_of_other_rows():
    both, alone = PerSampleNoise([7, 8]), PerSampleNoise([8])
    first = both.normal("latent", (3,), [0, 1])
    assert torch.equal(first[1:], alone.normal("latent", (3,), [0]))
    both.normal("latent", (3,), [0])
    assert torch.equal(both.normal("latent", (2,), [1])[0], alone.normal("latent", (2,), [0])[0])


def test_invalid_targets_and_latents_raise(generator, statistics, targets):
    with pytest.raises(ValueError, match=r"expected images \(N, 3, 8, 8\), found \(3, 3, 4, 4\)"):
        go(targets[..., :4, :4], generator, statistics, inversion_config())
    with pytest.raises(ValueError, match=r"inversion.identity_weight is above 0"):
        go(targets, generator, statistics, inversion_config(identity_weight=1))
    with pytest.raises(ValueError, match=r"expected latents .*8.*found \(3, 5\)"):
        go(targets, generator, LatentStatistics(torch.zeros(1, 5), 1.0), inversion_config())


def test_large_images_are_average_pooled():
    images = torch.arange(2 * 3 * 512 * 512, dtype=torch.float64).view(2, 3, 512, 512)
    small = downsample_to_side(images)
    assert small.shape == (2, 3, 256, 256)
    assert small[0, 0, 0, 0] == images[0, 0, :2, :2].mean() and downsample_to_side(small) is small


def test_targets_are_centre_crops():
    import numpy as np

    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 255
    found = prepare_target(wide, 8)
    assert found.shape == (3, 8, 8) and (found == 1).all()
    assert prepare_target(np.zeros((40, 17, 3), np.uint8), 8).unique().tolist() == [-1]
