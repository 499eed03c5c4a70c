"""Laws of the log-mel front ends."""

import math

import numpy as np
import pytest
import torch
from voiceface.audio.frontends import SeekingShapeLogMel
from voiceface.audio.mel import hamming_window, htk_mel_filterbank, power_spectrogram, standardise_over_time


def slow_power(wave: np.ndarray, window: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """Frame by frame, by the definition of the transform."""
    half, left = n_fft // 2, (n_fft - len(window)) // 2
    padded = np.concatenate([wave[half:0:-1], wave, wave[-2 : -half - 2 : -1]])
    frame = np.zeros(n_fft)
    frame[left : left + len(window)] = window
    turn = np.exp(-2j * np.pi * np.outer(np.arange(half + 1), np.arange(n_fft)) / n_fft)
    starts = range(0, len(wave) + 1, hop)
    return np.array([np.abs(turn @ (padded[s : s + n_fft] * frame)) ** 2 for s in starts])


def test_the_window_is_periodic() -> None:
    window = hamming_window(400, torch.float64)
    assert window[0].item() == pytest.approx(0.08)
    assert window[200].item() == pytest.approx(1.0)
    assert torch.allclose(window[1:], window[1:].flip(0))  # symmetric about the middle, the first value alone


def test_triangles_have_height_one_and_neighbours_sum_to_one() -> None:
    bank = htk_mel_filterbank(4001, 12, 0, 8000, dtype=torch.float64)
    assert bank.min() == 0
    assert torch.allclose(bank.max(0).values, torch.ones(12, dtype=torch.float64), atol=2e-2)
    mel = np.linspace(0, 2595 * math.log10(1 + 8000 / 700), 14)
    corner = 700 * (10 ** (mel / 2595) - 1)
    inside = (np.linspace(0, 8000, 4001) > corner[1]) & (np.linspace(0, 8000, 4001) < corner[-2])
    assert torch.allclose(bank[torch.from_numpy(inside)].sum(1), torch.ones((), dtype=torch.float64))


def test_a_bank_with_empty_bands_or_an_odd_range_is_refused() -> None:
    with pytest.raises(ValueError, match="hold no bin"):
        htk_mel_filterbank(33, 40)
    with pytest.raises(ValueError, match="8000 Hz"):
        htk_mel_filterbank(257, 40, 0, 9000)


@pytest.mark.parametrize("samples", [300, 479, 480, 801])
def test_power_is_that_of_the_definition(samples: int) -> None:
    wave = np.random.default_rng(samples).normal(0, 1000, samples)
    window = hamming_window(400, torch.float64)
    ours = power_spectrogram(torch.from_numpy(wave)[None], window)[0].numpy()
    assert ours.shape == (1 + samples // 160, 257)
    np.testing.assert_allclose(ours, slow_power(wave, window.numpy(), 512, 160), rtol=1e-9, atol=1e-3)


def test_a_tone_lands_in_its_band() -> None:
    front = SeekingShapeLogMel(40)
    bank = front.mel_scale.fb
    for band in (5, 20, 35):
        frequency = 8000 * int(bank[:, band].argmax()) / 256
        wave = 5000 * torch.sin(2 * math.pi * frequency * torch.arange(16000) / 16000)[None]
        assert int(front.log_mel(wave)[0, :, 50].argmax()) == band


def test_standardised_bands_have_mean_zero_and_spread_one() -> None:
    bands = 3 + 5 * torch.randn(2, 4, 500, dtype=torch.float64)
    ours = standardise_over_time(bands)
    assert torch.allclose(ours.mean(-1), torch.zeros(2, 4, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(ours.var(-1, correction=0), torch.ones(2, 4, dtype=torch.float64), atol=1e-5)


def test_silence_is_exactly_zero_and_finite() -> None:
    assert SeekingShapeLogMel(40)(torch.zeros(2, 8000)).abs().max() == 0


def test_loudness_does_not_matter_but_near_silence() -> None:
    front, wave = SeekingShapeLogMel(24).double(), 3000 * torch.randn(1, 16000, dtype=torch.float64)
    assert torch.allclose(front(wave), front(wave / 8), atol=1e-6)


def test_clips_of_a_batch_do_not_touch_each_other() -> None:
    front, waves = SeekingShapeLogMel(40), 3000 * torch.randn(3, 4000)
    together = front(waves)
    for clip, wave in zip(together, waves):
        assert torch.allclose(clip, front(wave[None])[0], atol=1e-5)


def test_no_gradient_and_the_precision_of_the_buffers() -> None:
    waves = (1000 * torch.randn(1, 2000)).requires_grad_()
    assert not SeekingShapeLogMel(20)(waves).requires_grad
    assert SeekingShapeLogMel(20).double()(waves).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert SeekingShapeLogMel(20)(waves).dtype == torch.float32


def test_too_short_a_wave_is_refused() -> None:
    with pytest.raises(ValueError, match="T > 256"):
        SeekingShapeLogMel(40)(torch.zeros(1, 256))
