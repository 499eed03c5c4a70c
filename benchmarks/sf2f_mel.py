"""Speed of sf2f from an audio file to log-mel features, one thread.

    python benchmarks/sf2f_mel.py

Synthetic voices of 8 s (a typical utterance) and 60 s. The published implementation is measured beside it:
filters rebuilt for each file, an index matrix of frames, NumPy transforms. Their outputs are compared before
timing. "CPU" is the processor time of this one-thread process; targets refer to it. "x" is seconds of audio
per second.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from timing import min_times

LENGTHS, RATE = (8, 60), 16000
TARGETS = {"front end": 2000}
PUBLISHED = {"voice activity": 560}  # published program, on another machine


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15, help="measurements of each; the best counts")
    options = parser.parse_args(argv)
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        for seconds in LENGTHS:
            title = f"{seconds} s of sound"
            print(f"{title:38}{'CPU ms':>8}{'x':>8}{'clock ms':>10}{'published':>11}{'target':>8}")
            for name, call in build_tasks(Path(folder), seconds):
                processor, clock = min_times(call, options.repeats)
                limits = (str(table.get(name, "")) for table in (PUBLISHED, TARGETS))
                print(
                    f"{name:38}{processor * 1e3:8.2f}{seconds / processor:8.0f}{clock * 1e3:10.2f}"
                    f"{next(limits):>11}{next(limits):>8}"
                )
                missed |= name in TARGETS and seconds / processor < TARGETS[name]
    return int(missed)


def build_tasks(folder: Path, seconds: int) -> list[tuple[str, Callable[[], Any]]]:
    """Tasks to measure."""
    import torch
    from sf2f.network_config import SpeechConfig
    from sf2f.speech import (
        compute_log_mel,
        compute_log_mel_from_file,
        get_frontend,
        read_mel,
        remove_silence,
        write_mel,
    )
    from voiceface.audio.frontends import ExportableLogMel
    from voiceface.audio.loading import write_wav

    wave, path, stored = synthetic_voice(seconds), folder / "voice.wav", folder / "voice.npz"
    write_wav(path, wave)
    write_mel(stored, compute_log_mel(wave), "id", "clip", "00001")
    samples = torch.from_numpy(wave)[None]
    front, graph, whole = get_frontend(), ExportableLogMel().eval(), SpeechConfig(remove_silence=False)
    np.testing.assert_allclose(front(samples)[0], reference_log_mel(wave), atol=1e-8)
    np.testing.assert_allclose(graph(samples)[0], reference_log_mel(wave), atol=1e-2)
    kept = len(remove_silence(wave)) / len(wave)
    assert 0.5 < kept < 1, kept

    def exported() -> None:
        with torch.inference_mode():
            graph(samples)

    return [
        ("front end", lambda: front(samples)),
        ("front end as a graph, float32", exported),
        ("the published way", lambda: reference_log_mel(wave)),
        ("voice activity", lambda: remove_silence(wave)),
        ("samples to features, with it", lambda: compute_log_mel(wave)),
        ("wav file to features, without it", lambda: compute_log_mel_from_file(path, whole)),
        ("wav file to features, with it", lambda: compute_log_mel_from_file(path)),
        ("stored features read", lambda: read_mel(stored)),
    ]


def reference_log_mel(wave: np.ndarray) -> np.ndarray:
    """Features as the published program computes them."""
    emphasised = np.append(wave[0], wave[1:] - 0.97 * wave[:-1])
    count = 1 if len(wave) <= 400 else 1 + int(np.ceil((len(wave) - 400) / 160))
    padded = np.concatenate([emphasised, np.zeros((count - 1) * 160 + 400 - len(wave))])
    places = np.tile(np.arange(400), (count, 1)) + np.tile(np.arange(0, count * 160, 160), (400, 1)).T
    power = np.square(np.absolute(np.fft.rfft(padded[places] * np.ones(400), 512))) / 512
    corners = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 42) / 2595) - 1)
    bins = np.floor(513 * corners / RATE)
    bank = np.zeros((40, 257))
    for j in range(40):
        for i in range(int(bins[j]), int(bins[j + 1])):
            bank[j, i] = (i - bins[j]) / (bins[j + 1] - bins[j])
        for i in range(int(bins[j + 1]), int(bins[j + 2])):
            bank[j, i] = (bins[j + 2] - i) / (bins[j + 2] - bins[j + 1])
    energy = np.dot(power, bank.T)
    return np.log(np.where(energy == 0, np.finfo(float).eps, energy)).T


def synthetic_voice(seconds: int) -> np.ndarray:
    """A buzz with a formant, syllables and a pause in every four seconds, int16."""
    moment = np.arange(seconds * RATE) / RATE
    phase = 2 * np.pi * np.cumsum(110 + 15 * np.sin(2 * np.pi * 3 * moment)) / RATE
    wave = np.zeros(len(moment))
    for k in range(1, 30):
        wave += np.sin(k * phase) * np.exp(-(((k * 110 - 600) / 700) ** 2))
    wave *= (1 + 0.7 * np.sin(2 * np.pi * 4 * moment)) * 2500 * (moment % 4 < 2.8)
    return np.clip(wave + np.random.default_rng(0).normal(0, 8, len(wave)), -32768, 32767).astype(np.int16)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # read when the libraries load
    sys.exit(main())
