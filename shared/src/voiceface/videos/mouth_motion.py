"""Opening of a mouth and loudness of speech as series of the same rate, and how well they agree.

An open vocal tract raises all formants. The mean level in dB of bands of speech therefore follows the
opening of the lips more closely than the energy does, which the lowest harmonics and hissing sounds dominate.
The area of a mouth and the envelopes of such bands agree best between 2 and 7 Hz; the mouth leads by 0.1 to
0.3 s at the beginning of an utterance (Chandrasekaran et al., "The natural statistics of audiovisual speech",
PLoS Computational Biology 5(7), 2009).
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

__all__ = [
    "ALL_LAGS",
    "GRID_RATE",
    "MotionMatch",
    "band_limit",
    "compute_band_levels",
    "local_agreement",
    "match_motion",
    "resample_mouth",
]

Series = NDArray[np.float64]
GRID_RATE = 50
"""Samples a second of all series; sample n lies at n / GRID_RATE seconds from the beginning of the file."""
MAX_LAG = 10  # grid steps, 0.2 s
ALL_LAGS = (-MAX_LAG, MAX_LAG)
SOUND_RATE, FRAME, HOP = 16000, 512, 16000 // GRID_RATE
BAND_EDGES = (500, 900, 1500, 2500, 4000)  # Hz
FLOOR_DB = 30.0  # below the 95th percentile of a band
LOWEST_HZ, HIGHEST_HZ = 0.7, 7.0  # that pass with half of their amplitude
CHUNK = 3000  # frames at a time: one minute
CLIP = 2.5  # standard deviations
DIFFERENCE_WEIGHT = 0.5  # of the agreement of differences in that of the series
LOCAL_SIGMA = 0.6  # s, of the window of `local_agreement`
NULL_REACH = 120.0  # s, on both sides of a segment
NULL_DISTANCE = 1.0  # s, of shifts from the true place
# Agreement by chance in one second, by the number of lags; it falls with the root of the duration.
CHANCE_LAGS = (1, 5, 9, 15, 21)
CHANCE_MEAN = (0.0, 0.150, 0.254, 0.348, 0.412)
CHANCE_DEVIATION = (0.297, 0.271, 0.241, 0.215, 0.194)
CHANCE_WINDOWS = 20  # independent sounds at other places that count as much as these numbers
MAX_GAP = 0.25  # s, without a measured mouth that are bridged


@dataclass(frozen=True)
class MotionMatch:
    """Agreement of one mouth with the sound of a segment.

    Attributes:
        correlation: highest over the lags, -1 to 1.
        lag: of the sound behind the mouth at the highest, s.
        p_value: share of shifted sounds that agree as well or better.
        score: standard deviations above the mean of shifted sounds.
        movement: standard deviation of the opening of the mouth in the band of speech.
    """

    correlation: float
    lag: float
    p_value: float
    score: float
    movement: float


MeasuredMouth = tuple[Series, NDArray[np.bool_], MotionMatch]


def compute_band_levels(waveform: npt.ArrayLike) -> Series:
    """Mean level of four bands from 500 to 4000 Hz, each relative to its own 95th percentile.

    Args:
        waveform: (T,), 16 kHz, any scale.

    Returns:
        (1 + T // 320,) in dB, at least -30.
    """
    wave = np.asarray(waveform, np.float32)
    count = 1 + len(wave) // HOP
    bins = np.fft.rfftfreq(FRAME, 1 / SOUND_RATE)
    select = np.stack([(bins >= low) & (bins < high) for low, high in pairwise(BAND_EDGES)], 1)
    window, power = np.hanning(FRAME).astype(np.float32), np.empty((count, select.shape[1]))
    for first in range(0, count, CHUNK):
        last = min(first + CHUNK, count)
        begin, end = first * HOP - FRAME // 2, (last - 1) * HOP + FRAME // 2
        part = np.pad(wave[max(begin, 0) : end], (max(-begin, 0), 0))
        part = np.pad(part, (0, end - begin - len(part)))
        frames = np.lib.stride_tricks.sliding_window_view(part, FRAME)[::HOP]
        power[first:last] = np.square(np.abs(np.fft.rfft(frames * window, axis=1))) @ select
    reference = np.maximum(np.percentile(power, 95, axis=0), 1e-12)
    floor = reference * 10 ** (-FLOOR_DB / 10)
    return (10 * np.log10((power + floor) / reference)).mean(axis=1)


def resample_mouth(
    times: npt.ArrayLike, mouth: npt.ArrayLike, first: int, last: int
) -> tuple[Series, NDArray[np.bool_]]:
    """Interpolate the opening of a mouth to the grid.

    Args:
        times: (K,) s, increasing.
        mouth: (K,), values that are not finite are left out.
        first: first sample of the grid.
        last: end of the samples.

    Returns:
        The opening, (last - first,), and where it is known: between measurements at most 0.25 s apart.
    """
    known = np.isfinite(np.asarray(mouth, float))
    at, value = np.asarray(times, float)[known], np.asarray(mouth, float)[known]
    grid = np.arange(first, last) / GRID_RATE
    if len(at) < 2:
        return np.zeros(len(grid)), np.zeros(len(grid), bool)
    after = np.clip(np.searchsorted(at, grid), 1, len(at) - 1)
    inside = (grid >= at[0] - 0.5 / GRID_RATE) & (grid <= at[-1] + 0.5 / GRID_RATE)
    return np.interp(grid, at, value), inside & (at[after] - at[after - 1] <= MAX_GAP)


def band_limit(series: Series, valid: NDArray[np.bool_] | None = None) -> Series:
    """Keep what changes between 0.7 and 7 times a second: the difference of two Gaussian averages.

    Args:
        series: (F,) on the grid.
        valid: (F,) bool, samples that the averages use; None: all.

    Returns:
        (F,), 0 where not valid.
    """
    from scipy.ndimage import gaussian_filter1d

    weights = np.ones(len(series)) if valid is None else valid.astype(float)
    if not weights.any():
        return np.zeros(len(series))
    centred = np.where(weights > 0, series - series[weights > 0].mean(), 0.0)

    def average(frequency: float) -> Series:
        sigma = np.sqrt(2 * np.log(2)) / (2 * np.pi * frequency) * GRID_RATE
        smooth = gaussian_filter1d(centred, sigma, mode="nearest")
        return smooth / np.maximum(gaussian_filter1d(weights, sigma, mode="nearest"), 1e-6)

    return (average(HIGHEST_HZ) - average(LOWEST_HZ)) * (weights > 0)


def _standardise(series: Series, valid: NDArray[np.bool_] | None = None) -> Series:
    """(2, F): the series and its differences, each by its standard deviation, clipped."""
    both = np.stack([series, np.gradient(series)])
    chosen = both if valid is None or not valid.any() else both[:, valid]
    scaled = both / np.maximum(chosen.std(axis=1, keepdims=True), 1e-9)
    clipped = np.clip(scaled, -CLIP, CLIP)
    return clipped if valid is None else clipped * valid


def local_agreement(
    mouth: Series, valid: NDArray[np.bool_], sound: Series, lags: tuple[int, int] = ALL_LAGS
) -> Series:
    """Correlation of mouth and sound around every sample, the highest over the lags.

    Args:
        mouth: (F,) from `band_limit`.
        valid: (F,) where the mouth is known.
        sound: (F,) from `band_limit`, of the same times.
        lags: first and last, grid steps.

    Returns:
        (F,), -1 to 1: correlation in a Gaussian window with a standard deviation of 0.6 s.
    """
    from scipy.ndimage import gaussian_filter1d

    def average(values: Series) -> Series:
        return gaussian_filter1d(values, LOCAL_SIGMA * GRID_RATE, axis=-1, mode="constant", truncate=3)

    a, b = _standardise(mouth, valid), _standardise(sound)
    power = average(np.square(a))
    best = np.full(len(mouth), -1.0)
    for lag in range(lags[0], lags[1] + 1, 2):
        moved = _shift(b, lag) * valid
        norm = np.sqrt(np.maximum(power * average(np.square(moved)), 1e-6))
        level, difference = average(a * moved) / norm
        best = np.maximum(best, (1 - DIFFERENCE_WEIGHT) * level + DIFFERENCE_WEIGHT * difference)
    return best


def _shift(series: Series, lag: int) -> Series:
    """`series` of `lag` samples later, zeros beyond the ends."""
    if not lag:
        return series
    moved = np.zeros_like(series)
    if lag > 0:
        moved[..., :-lag] = series[..., lag:]
    else:
        moved[..., -lag:] = series[..., :lag]
    return moved


def match_motion(
    mouth: Series,
    valid: NDArray[np.bool_],
    sound: Series,
    first: int,
    lags: tuple[int, int] = ALL_LAGS,
) -> MotionMatch:
    """Compare the mouth in a segment with the sound there, and with the sound at all other places.

    The sounds at other places, at least 1 s and at most 120 s away, beyond the ends in a circle, show how
    well a mouth that moves independently of the sound agrees by chance.

    Args:
        mouth: (F,) of the segment, from `band_limit`.
        valid: (F,) where it is known.
        sound: (G,) of the file, from `band_limit`.
        first: sample of `sound` at which the segment begins.
        lags: first and last that are tried, grid steps of the sound behind the mouth, within `ALL_LAGS`.

    Returns:
        The agreement; correlation 0 where less than half a second of the mouth is known.
    """
    from scipy.ndimage import maximum_filter1d

    movement = float(mouth[valid].std()) if valid.any() else 0.0
    if valid.sum() < GRID_RATE // 2 or movement == 0:
        return MotionMatch(0.0, 0.0, 1.0, 0.0, movement)
    reach = int(NULL_REACH * GRID_RATE)
    begin, end = max(0, first - reach), min(len(sound), first + len(mouth) + reach)
    around = sound[begin:end]
    if len(around) < len(mouth) + 2 * MAX_LAG:
        around = np.pad(around, (0, len(mouth) + 2 * MAX_LAG - len(around)))
    a, b = _standardise(mouth, valid), _standardise(around)
    a = (a - a[:, valid].mean(axis=1, keepdims=True)) * valid
    spectrum = np.fft.rfft(b, axis=1)
    size = b.shape[1]

    def slide(kernel: Series, transformed: NDArray[np.complex128]) -> Series:
        return np.fft.irfft(transformed * np.conj(np.fft.rfft(kernel, size, axis=-1)), size, axis=-1)

    mask = valid.astype(float)
    total = slide(mask, spectrum)
    squares = slide(mask, np.fft.rfft(np.square(b), axis=1)) - np.square(total) / mask.sum()
    norm = np.sqrt(np.square(a).sum(axis=1, keepdims=True) * np.maximum(squares, 1e-2 * mask.sum()))
    level, difference = slide(a, spectrum) / norm
    agreement = (1 - DIFFERENCE_WEIGHT) * level + DIFFERENCE_WEIGHT * difference
    place = first - begin
    steps = np.arange(lags[0], lags[1] + 1)
    true = agreement[(place + steps) % size]
    best = int(true.argmax())
    highest = maximum_filter1d(agreement, len(steps), mode="wrap")
    distance = np.abs((np.arange(size) - place + size // 2) % size - size // 2)
    null = highest[distance > NULL_DISTANCE * GRID_RATE]
    if len(null) < GRID_RATE:
        return MotionMatch(float(true[best]), float(steps[best] / GRID_RATE), 1.0, 0.0, movement)
    p_value = float((np.sum(null >= true[best]) + 1) / (len(null) + 1))
    mean, deviation = _expect_chance(null, len(mouth), len(steps))
    score = float((true[best] - mean) / max(deviation, 0.05))
    return MotionMatch(float(true[best]), float(steps[best] / GRID_RATE), p_value, score, movement)


def _expect_chance(null: Series, length: int, num_lags: int) -> tuple[float, float]:
    """Mean and standard deviation of the agreement by chance.

    A short file has few sounds at other places that are independent of each other: of 10 s about four of 2 s,
    whose deviation is wrong by a third. Agreement by chance hardly depends on mouth and sound: over rendered
    mouths and the sounds of other videos its mean and deviation were within 8 % of the same numbers, divided
    by the root of the duration. The numbers of the file count by how many independent sounds it has.

    Args:
        null: (N,) agreement with sounds at other places.
        length: of the segment, grid samples.
        num_lags: that were tried.
    """
    root = np.sqrt(length / GRID_RATE)
    mean, deviation = (
        float(np.interp(num_lags, CHANCE_LAGS, each)) / root for each in (CHANCE_MEAN, CHANCE_DEVIATION)
    )
    windows = len(null) / length
    share = windows / (windows + CHANCE_WINDOWS)
    variance = share * float(null.var()) + (1 - share) * deviation**2
    return share * float(null.mean()) + (1 - share) * mean, float(np.sqrt(variance))


def partial_agreement(first: MeasuredMouth, second: MeasuredMouth) -> float:
    """Agreement of the sound with what a second mouth does beside the first.

    The semipartial correlation of the sound with the part of the second mouth that is independent of the
    first, with both at the lags at which they agree best.

    Args:
        first: band-limited opening (F,), where it is known (F,), its agreement with the sound.
        second: likewise, of the same times.

    Returns:
        -1 to 1; 0 where less than half a second of both is known.
    """
    moved = []
    for series, valid, match in (first, second):
        back = -round(match.lag * GRID_RATE)
        moved.append((_shift(_standardise(series, valid), back), _shift(valid.astype(float), back) > 0))
    both = moved[0][1] & moved[1][1]
    if both.sum() < GRID_RATE // 2:
        return 0.0
    a, b = (each[0][:, both] - each[0][:, both].mean(axis=1, keepdims=True) for each in moved)
    norm = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
    level, difference = (a * b).sum(axis=1) / np.maximum(norm, 1e-9)
    mutual = (1 - DIFFERENCE_WEIGHT) * level + DIFFERENCE_WEIGHT * difference
    r1, r2 = first[2].correlation, second[2].correlation
    return float((r2 - r1 * mutual) / np.sqrt(max(1 - mutual**2, 1e-3)))
