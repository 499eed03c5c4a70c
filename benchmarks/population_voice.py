"""Speed of the speech synthesiser, and how well the factors can be recovered from speech.

`OMP_NUM_THREADS=1 python benchmarks/population_voice.py` measures seconds of audio synthesised per CPU second
of one thread. With --speakers N it also fits a kernel regression from the statistics of log-mel frames to the
eight factors and prints R² on the last quarter of N speakers. Run it after each change of the synthesiser:
with 600 speakers every factor should stay above .4 (a small network with more speakers reaches more).

With --fit SECONDS it trains a small convolutional network on the factors of 500 people, two clips of 2 s
each, for so much processor time, and prints R² on 100 unseen ones.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")  # set before the numerical libraries load: times of one core

import numpy as np
from numpy.typing import NDArray
from voiceface.synthetic.identities import FACTORS, Identities, sample_identities
from voiceface.synthetic.voice.phonetics import ControlTracks, generate_control_tracks
from voiceface.synthetic.voice.speech_synthesis import SAMPLE_RATE, synthesise_clip, synthesise_speech

TARGET = 100.0  # seconds of audio per CPU second
NUM_TRAIN, NUM_TEST, CLIPS_PER_PERSON, CLIP_SECONDS, FRAMES = 500, 100, 2, 2.0, 150  # of --fit


def cpu_seconds(function: Callable[[int], object], rounds: int) -> float:
    """CPU seconds of `rounds` calls after one warm-up call."""
    function(0)
    start = time.process_time()
    for i in range(rounds):
        function(i)
    return time.process_time() - start


def build_mel_bank(bands: int = 64, size: int = 512) -> NDArray[np.float64]:
    """Mel filters of unit height, 30 Hz to 8 kHz, shape (bands, size // 2 + 1); at least one bin each."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (30, 8000))
    mels = np.linspace(low, high, bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    f = np.arange(size // 2 + 1) * SAMPLE_RATE / size
    rise = (f - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - f) / np.diff(edges)[1:, None]
    weights = np.maximum(np.minimum(rise, fall), 0)
    thin = weights.sum(1) < 0.5
    weights[thin] = 0
    weights[thin, np.rint(edges[1:-1][thin] / SAMPLE_RATE * size).astype(int)] = 1
    return weights


def log_pitch(wave: NDArray[np.float64]) -> float:
    """Log of the median f0 (Hz) from autocorrelations of 64 ms windows; 150 Hz if unvoiced."""
    size, window = 1024, np.hanning(1024)
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::320]
    power = np.square(
        np.abs(np.fft.rfft((frames - frames.mean(1, keepdims=True)) * window, 2 * size, axis=1))
    )
    own = np.fft.irfft(np.square(np.abs(np.fft.rfft(window, 2 * size))))
    lags = np.fft.irfft(power, axis=1)[:, :230]
    peaks = lags[:, 40:] / (lags[:, :1] + 1) * (own[0] / own[40:230])
    periodic = peaks.max(1) > 0.7
    f0 = SAMPLE_RATE / (40 + np.median(peaks[periodic].argmax(1))) if periodic.any() else 150.0
    return float(np.log(f0))


def clip_statistics(samples: NDArray[np.int16], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Level, spread, quantiles and variation of the log-mels of the louder frames, and the pitch."""
    wave = samples.astype(float)
    frames = np.lib.stride_tricks.sliding_window_view(wave / 32768, 400)[::160] * np.hamming(400)
    mels = np.log(np.square(np.abs(np.fft.rfft(frames, 512, axis=1))) @ weights.T + 1e-6)
    loudness = mels.mean(1)
    speech, loud = (mels[loudness > np.quantile(loudness, share)] for share in (0.4, 0.7))
    low, high = np.quantile(speech, [0.1, 0.9], axis=0)
    moved = np.diff(speech, axis=0).std(0)
    return np.concatenate([speech.mean(0), speech.std(0), loud.mean(0), low, high, moved, [log_pitch(wave)]])


def factor_r_squared(speakers: int, clips: int = 4, seconds: float = 3.0) -> NDArray[np.float64]:
    """R² of each factor from one clip, on the quarter of the speakers that is not used for the fit."""
    people, weights = sample_identities(np.arange(speakers)), build_mel_bank()
    rows = [
        clip_statistics(synthesise_clip(people, i, clip, seconds=seconds).samples, weights)
        for i in range(speakers)
        for clip in range(clips)
    ]
    x, y = np.array(rows), np.repeat(people.voice_factors, clips, axis=0)
    known = 3 * speakers // 4 * clips
    x = (x - x[:known].mean(0)) / (x[:known].std(0) + 1e-9)
    sign = np.repeat(2 * people.sex - 1, clips)[:, None]
    x = np.hstack([x, 3 * sign, x[:, -1:] * sign])
    squares = np.square(x).sum(1)
    distance = squares[:, None] + squares[:known] - 2 * x @ x[:known].T
    kernel = np.exp(-0.3 / x.shape[1] * distance)
    guess = kernel[known:] @ np.linalg.solve(kernel[:known] + 0.03 * np.eye(known), y[:known])
    rest = y[known:]
    return 1 - np.square(rest - guess).sum(0) / np.square(rest - rest.mean(0)).sum(0)


def fit_network(seconds: float) -> None:
    """Train a small network on the true factors and print R² per factor on unseen people."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    people = sample_identities(np.arange(309, 309 + NUM_TRAIN + NUM_TEST))  # 309: of the training split
    spectra = torch.from_numpy(_log_mels(people))
    factors = torch.from_numpy(people.voice_factors).float().repeat_interleave(CLIPS_PER_PERSON, 0)

    def stage(before: int, after: int, width: int, stride: int) -> list[nn.Module]:
        return [nn.Conv1d(before, after, width, stride), nn.BatchNorm1d(after), nn.ReLU()]

    frames = nn.Sequential(
        nn.BatchNorm1d(64), *stage(64, 96, 5, 2), *stage(96, 128, 5, 2), *stage(128, 128, 3, 1)
    )
    head = nn.Sequential(nn.Dropout(0.3), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, len(FACTORS)))
    network = nn.ModuleList([frames, head])

    def guess(batch: torch.Tensor) -> torch.Tensor:
        rows = frames(batch)
        return head(torch.cat([rows.mean(2), rows.std(2)], 1))

    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.03)
    start, known = time.process_time(), NUM_TRAIN * CLIPS_PER_PERSON
    while (share := (time.process_time() - start) / seconds) < 1:
        optimiser.param_groups[0]["lr"] = 2e-3 * max(0.02, 0.5 * (1 + np.cos(np.pi * share)))
        rows = torch.randint(known, (64,), generator=random)
        first = int(torch.randint(spectra.shape[2] - FRAMES, (), generator=random))
        batch = spectra[rows][:, :, first : first + FRAMES]
        batch = batch + 0.1 * torch.randn(64, 64, 1, generator=random)
        loss = (guess(batch) - factors[rows]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        errors = (factors[known:] - guess(spectra[known:])).square().mean(0)
    r2 = 1 - errors / factors[known:].var(0, unbiased=False)
    each = "  ".join(f"{factor} {value:.2f}" for factor, value in zip(FACTORS, r2.tolist()))
    print(f"R² of a network from one clip: {each}  mean {r2.mean():.3f}")


def _log_mels(people: Identities) -> NDArray[np.float32]:
    """Halved log-mels of mean 0 of all clips, one person after the other, (N, 64, T)."""
    weights, window = build_mel_bank().T, np.hamming(400)
    rows = []
    for index in range(len(people)):
        for clip in range(CLIPS_PER_PERSON):
            samples = synthesise_clip(people, index, clip, seconds=CLIP_SECONDS).samples
            frames = np.lib.stride_tricks.sliding_window_view(samples / 32768, 400)[::160] * window
            mels = np.log(np.square(np.abs(np.fft.rfft(frames, 512, axis=1))) @ weights + 1e-6)
            rows.append(((mels - mels.mean()) / 2).T)
    return np.array(rows, np.float32)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print one result per line."""
    parser = argparse.ArgumentParser(
        description="Speed of the voice synthesiser; how well its factors are heard."
    )
    parser.add_argument("--clips", type=int, default=40, help="how many clips")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a clip, s")
    parser.add_argument("--speakers", type=int, default=0, help="also measure how audible the factors are")
    parser.add_argument("--fit", type=float, metavar="SECONDS", help="train on the factors for so long")
    options = parser.parse_args(argv)
    clips, seconds = options.clips, options.seconds
    people = sample_identities(np.arange(clips))

    def plan_clip(i: int) -> ControlTracks:
        return generate_control_tracks(people, i, 0, seed=0, seconds=seconds)

    plans = [plan_clip(i) for i in range(clips)]

    whole = cpu_seconds(lambda i: synthesise_clip(people, i, 0, seconds=seconds), clips)
    plan = cpu_seconds(plan_clip, clips)
    dry = cpu_seconds(
        lambda i: synthesise_speech(people, i, plans[i], seed=0, clip=0, seconds=seconds),
        clips,
    )
    identities = cpu_seconds(lambda i: sample_identities(np.arange(10_000) + i), 3) / 3

    print(f"clips {clips / whole:.1f} items/s ({1000 * whole / clips:.1f} ms a clip of {seconds:g} s)")
    speed = clips * seconds / whole
    print(f"audio {speed:.1f} s per CPU second, ratio to target {speed / TARGET:.2f}")
    print(f"speech plan ratio {plan / whole:.2f}")
    print(f"source and tract ratio {dry / whole:.2f}")
    print(f"channel and level ratio {max(0.0, whole - plan - dry) / whole:.2f}")
    print(f"identities {10_000 / identities:.0f} items/s")
    if options.speakers:
        for name, value in zip(FACTORS, factor_r_squared(options.speakers)):
            print(f"heard {name} R2 {value:.2f}")
    if options.fit:
        fit_network(options.fit)


if __name__ == "__main__":
    main()
