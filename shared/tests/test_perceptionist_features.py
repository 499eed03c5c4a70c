"""Laws of perceptionist's log-mel front end, and agreement with a slow one written frame by frame."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from voiceface.audio.frontends import PerceptionistLogMel
from voiceface.audio.mel import bin_edge_mel_filterbank, repeat_frames

FRONT = PerceptionistLogMel()


def slow_bank() -> np.ndarray:
    """The 64 triangles, weight by weight."""
    to_mel = lambda f: 2595 * math.log10(1 + f / 700)  # noqa: E731
    step = (to_mel(7200) - to_mel(20)) / 65
    edges = [700 * (10 ** ((to_mel(20) + step * i) / 2595) - 1) for i in range(66)]
    bank = np.zeros((513, 64))
    for band in range(64):
        left, centre, right = (round(edge / 15.625) for edge in edges[band : band + 3])
        height = 2 / ((right - left) * 15.625)
        for k in range(513):
            if left < k < centre:
                bank[k, band] = (k - left) / (centre - left) * height
            elif k == centre:
                bank[k, band] = height
            elif centre < k < right:
                bank[k, band] = (right - k) / (right - centre) * height
    return bank


def slow_log_mel(wave: np.ndarray, before: float = 0.0) -> np.ndarray:
    """Frame by frame, sample by sample."""
    window = [0.54 - 0.46 * math.cos(2 * math.pi * n / 399) for n in range(400)]
    bank, rows = slow_bank(), []
    for i in range(int(len(wave) / 160 + 1)):
        own = list(wave[160 * i : 160 * i + 400]) or [0.0]
        frame = [own[k % len(own)] for k in range(400)]
        emphasised = [x - 0.97 * y for x, y in zip(frame, [before, *frame[:-1]])]
        before = frame[-1]
        power = np.abs(np.fft.rfft(np.multiply(emphasised, window), 1024)) ** 2
        rows.append(np.log(np.maximum(power @ bank, 1e-5)))
    return np.array(rows)


def wave_of(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, length]).integers(-9000, 9000, length).astype(np.int16)


def log_mel(wave: np.ndarray, before: float = 0.0) -> np.ndarray:
    return FRONT.log_mel(torch.from_numpy(wave)[None], before)[0].T.numpy()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 2100), st.floats(-32768, 32767))
def test_log_mel_is_that_of_the_definition_for_every_length(length: int, before: float) -> None:
    wave = wave_of(length)
    ours = log_mel(wave, before)
    assert ours.shape == (length // 160 + 1, 64)
    np.testing.assert_allclose(ours, slow_log_mel(wave.astype(float), before), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("length", [160 * 255 + 399, 160 * 256 + 240, 160 * 600])
def test_blocks_of_frames_leave_no_seam(length: int) -> None:
    wave = wave_of(length)
    np.testing.assert_allclose(log_mel(wave), slow_log_mel(wave.astype(float)), rtol=1e-9, atol=1e-9)


def test_bands_sum_to_the_reciprocal_of_a_bin_and_begin_where_stated() -> None:
    bank = bin_edge_mel_filterbank(1024, 64, 20, 7200)
    torch.testing.assert_close(bank.sum(0), torch.full((64,), 0.064, dtype=torch.float64))
    assert int(bank[:, 0].nonzero()[0]) == 2
    np.testing.assert_allclose(bank.numpy(), slow_bank(), atol=1e-15)


def test_an_impossible_bank_is_refused() -> None:
    with pytest.raises(ValueError, match="hold no bin"):
        bin_edge_mel_filterbank(64, 40, 20, 7200)
    with pytest.raises(ValueError, match="8000 Hz"):
        bin_edge_mel_filterbank(1024, 64, 20, 9000)


def test_the_state_before_reaches_the_first_frame_only() -> None:
    wave = wave_of(3000)
    fresh, carried = log_mel(wave), log_mel(wave, 12000.0)
    assert np.abs(fresh[0] - carried[0]).max() > 1e-3
    np.testing.assert_array_equal(fresh[1:], carried[1:])


@pytest.mark.parametrize(("length", "last"), [(2085, 2080 + 399 % 5), (320, None), (3, 0)])
def test_the_carry_is_the_last_sample_of_the_filled_frame(length: int, last: int | None) -> None:
    wave = wave_of(length)
    expected = 0 if last is None else wave[last]
    assert FRONT.last_sample(torch.from_numpy(wave)[None]).tolist() == [expected]


def test_recordings_of_a_batch_do_not_touch_each_other() -> None:
    waves = torch.from_numpy(np.stack([wave_of(5000, seed) for seed in range(3)]))
    together = FRONT(waves)
    for one, wave in zip(together, waves):
        assert torch.equal(one, FRONT(wave[None])[0])


def test_input_has_mean_zero_spread_one_and_at_least_a_thousand_frames() -> None:
    wave = torch.from_numpy(wave_of(40000))[None]
    ours = FRONT(wave)
    assert ours.shape == (1, 64, 1000) and ours.dtype == torch.float32
    own = ours[0, :, :251].double()
    assert own.mean(1).abs().max() < 1e-5
    torch.testing.assert_close(
        own.std(1, correction=0), torch.ones(64, dtype=torch.float64), atol=1e-4, rtol=0
    )
    assert torch.equal(ours[0, :, 251:502], ours[0, :, :251])
    assert FRONT(wave.repeat(1, 5)).shape[2] == 5 * 250 + 1


def test_silence_is_exactly_zero() -> None:
    assert FRONT(torch.zeros(1, 16000)).abs().max() == 0
    floor = FRONT.log_mel(torch.zeros(1, 16000))
    torch.testing.assert_close(floor, torch.full_like(floor, math.log(1e-5)))


def test_frames_are_repeated_as_a_whole() -> None:
    bands = torch.arange(6.0).reshape(2, 3)
    assert repeat_frames(bands, 7).tolist() == [[0, 1, 2, 0, 1, 2, 0], [3, 4, 5, 3, 4, 5, 3]]
    assert repeat_frames(bands, 3) is bands
    with pytest.raises(ValueError, match="without frames"):
        repeat_frames(torch.zeros(4, 0), 10)


def test_bad_waves_and_frame_sizes_are_refused() -> None:
    for shape in [(1, 0), (400,), (1, 1, 400)]:
        with pytest.raises(ValueError, match="T > 0"):
            FRONT(torch.zeros(shape))
    with pytest.raises(ValueError, match="hop < window"):
        PerceptionistLogMel(hop_length=400)


def test_the_precision_survives_autocast() -> None:
    wave = torch.from_numpy(wave_of(4000))[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(FRONT(wave), FRONT(wave))
        assert FRONT.log_mel(wave).dtype == torch.float64
