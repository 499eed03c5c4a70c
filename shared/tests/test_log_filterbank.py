"""Filterbank front ends against a slow one written from the definition, and against the library."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from voiceface.audio.frontends import ExportableLogMel, SF2FLogMel
from voiceface.audio.mel import floor_bin_mel_filterbank, seconds_to_samples

FRONT, GRAPH = SF2FLogMel(), ExportableLogMel(dtype=torch.float64)


def slow_bank(rate: int = 16000) -> np.ndarray:
    """The 40 triangles, weight by weight."""
    to_mel = lambda f: 2595 * math.log10(1 + f / 700)  # noqa: E731
    corners = [700 * (10 ** (to_mel(rate / 2) * i / 41 / 2595) - 1) for i in range(42)]
    bins = [math.floor(513 * f / rate) for f in corners]
    bank = np.zeros((40, 257))
    for j in range(40):
        for i in range(bins[j], bins[j + 1]):
            bank[j, i] = (i - bins[j]) / (bins[j + 1] - bins[j])
        for i in range(bins[j + 1], bins[j + 2]):
            bank[j, i] = (bins[j + 2] - i) / (bins[j + 2] - bins[j + 1])
    return bank


def slow_log_mel(wave: np.ndarray) -> np.ndarray:
    """Sample by sample, frame by frame, 16 kHz."""
    wave = wave.astype(float)
    emphasised = [wave[0], *(x - 0.97 * y for x, y in zip(wave[1:], wave[:-1]))]
    count = 1 if len(wave) <= 400 else 1 + math.ceil((len(wave) - 400) / 160)
    emphasised = np.array([*emphasised, *[0.0] * ((count - 1) * 160 + 400 - len(wave))])
    turn = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
    power = [np.abs(turn @ emphasised[160 * i : 160 * i + 400]) ** 2 / 512 for i in range(count)]
    energy = np.array(power) @ slow_bank().T
    return np.log(np.where(energy == 0, 2.220446049250313e-16, energy)).T


def wave_of(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, length]).integers(-9000, 9000, length).astype(np.int16)


def as_batch(wave: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(wave)[None]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 2600))
def test_both_front_ends_are_the_definition_for_every_length(length: int) -> None:
    wave = wave_of(length)
    expected = slow_log_mel(wave)
    for front in (FRONT, GRAPH):
        ours = front(as_batch(wave))[0].numpy()
        assert ours.shape == expected.shape == (40, front.num_frames(length))
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("length", [160 * 63 + 400, 160 * 64 + 400, 160 * 64 + 401])
def test_blocks_of_frames_leave_no_seam(length: int) -> None:
    wave = wave_of(length)
    np.testing.assert_allclose(FRONT(as_batch(wave))[0], slow_log_mel(wave), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 32000, 44100, 48000])
def test_the_library_of_the_name_agrees_at_every_rate(rate: int) -> None:
    library = pytest.importorskip("python_speech_features")
    for length in (1, 399, 401, 7001):
        wave = wave_of(length)
        expected = library.logfbank(wave, rate, nfilt=40, nfft=512).T
        single = ExportableLogMel(sample_rate=rate)(as_batch(wave))[0]
        np.testing.assert_allclose(SF2FLogMel(sample_rate=rate)(as_batch(wave))[0], expected, atol=1e-8)
        assert single.dtype == torch.float32
        np.testing.assert_allclose(single, expected, atol=1e-3)


def test_the_bank_is_the_slow_one_and_two_corners_may_fall_on_one_bin() -> None:
    for rate in (8000, 16000, 48000):
        np.testing.assert_allclose(floor_bin_mel_filterbank(512, 40, rate), slow_bank(rate), atol=1e-12)
    narrow = floor_bin_mel_filterbank(64, 40)
    assert (narrow.sum(1) == 0).any()  # energy zero, not an error
    assert torch.isfinite(SF2FLogMel(n_fft=64)(as_batch(wave_of(2000)))).all()


def test_an_impossible_range_is_refused() -> None:
    for low, high in ((0, 9000), (5000, 4000), (-1, 4000)):
        with pytest.raises(ValueError, match="8000 Hz"):
            floor_bin_mel_filterbank(512, 40, 16000, low, high)


def test_silence_is_the_logarithm_of_the_least_number() -> None:
    silent = FRONT(torch.zeros(1, 1000))
    torch.testing.assert_close(silent, torch.full((1, 40, 5), math.log(2**-52), dtype=torch.float64))
    torch.testing.assert_close(ExportableLogMel()(torch.zeros(1, 1000)), silent.float())


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 3), st.integers(0, 99))
def test_louder_by_a_factor_is_higher_by_twice_its_logarithm(factor: float, seed: int) -> None:
    wave = torch.from_numpy(wave_of(3000, seed).astype(np.float64))[None]
    torch.testing.assert_close(FRONT(factor * wave), FRONT(wave) + 2 * math.log(factor), rtol=0, atol=1e-9)


def test_waves_of_a_batch_do_not_touch_each_other_and_kinds_of_numbers_do_not_matter() -> None:
    waves = torch.from_numpy(np.stack([wave_of(5000, seed) for seed in range(9)]))
    together = FRONT(waves)
    for one, wave in zip(together, waves):
        torch.testing.assert_close(one, FRONT(wave[None])[0], rtol=0, atol=1e-10)
        assert torch.equal(FRONT(wave[None]), FRONT(wave[None].float()))


def test_halves_of_a_sample_are_rounded_up() -> None:
    assert [seconds_to_samples(0.025, rate) for rate in (8000, 22050, 44100, 44060)] == [200, 551, 1103, 1102]


def test_bad_waves_and_sizes_are_refused() -> None:
    for front in (FRONT, GRAPH):
        for shape in ((1, 0), (400,), (1, 1, 400)):
            with pytest.raises(ValueError, match="T > 0"):
                front(torch.zeros(shape))
    with pytest.raises(ValueError, match="0 < hop <= window"):
        SF2FLogMel(win_seconds=0.01, hop_seconds=0.025)


def test_precision_survives_autocast_and_no_gradient_is_kept() -> None:
    wave = as_batch(wave_of(4000)).float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = FRONT(wave)
    assert found.dtype == torch.float64 and not found.requires_grad
    assert torch.equal(found, FRONT(wave))
