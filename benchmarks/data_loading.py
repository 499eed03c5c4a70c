"""Items per second of one core: decoding audio and images, training views, pairs from disk and memory."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # set before the numerical libraries load: items per core

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from voiceface.audio.loading import load_audio, write_wav
from voiceface.datasets.corpus import Corpus, IdentityRecord
from voiceface.datasets.identities import Identity
from voiceface.datasets.pair_dataset import PairDataset
from voiceface.images import transforms
from voiceface.images.loading import load_image

RATE = 16000
NUM_IDENTITIES, FILES_PER_IDENTITY = 16, 4  # files of each kind per identity


def items_per_second(work: Callable[[int], Any], seconds: float) -> float:
    """Call `work` with 0, 1, 2, ... for a while, after three untimed calls."""
    for index in range(3):
        work(index)
    start, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < seconds:
        work(done)
        done += 1
    return done / spent


def synthetic_wave(seconds: float, seed: int) -> NDArray[np.int16]:
    """Noise with a speech-like envelope, shape (T,)."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    samples = np.cumsum(rng.normal(0, 1, len(t)))
    samples -= np.convolve(samples, np.ones(80) / 80, mode="same")
    return (samples / np.abs(samples).max() * 20000 * np.abs(np.sin(4 * t))).astype(np.int16)


def write_m4a(path: Path, samples: NDArray[np.int16]) -> None:
    """Write AAC as in VoxCeleb2, by PyAV."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        for start in range(0, len(samples), 1024):
            part = samples[None, start : start + 1024].astype(np.float32) / 32768
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_corpus(root: Path, clip_seconds: float, side: int) -> Corpus:
    """Write synthetic identities with wav clips and jpg images."""
    people = []
    y, x = np.mgrid[:side, :side] / side
    for i in range(NUM_IDENTITIES):
        voices, faces = [], []
        for j in range(FILES_PER_IDENTITY):
            rng = np.random.default_rng([i, j])
            voices.append(f"id{i:05d}/video/{j:05d}.wav")
            write_wav(root / "wav" / voices[-1], synthetic_wave(clip_seconds, FILES_PER_IDENTITY * i + j))
            colours = [
                np.sin(rng.uniform(3, 12, 2) @ [x.ravel(), y.ravel()]).reshape(side, side) for _ in range(3)
            ]
            picture = 127 + 90 * np.stack(colours, axis=2) + rng.normal(0, 6, (side, side, 3))
            faces.append(f"Made_Up{i}/{j:08d}.jpg")
            (root / "faces" / faces[-1]).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(
                root / "faces" / faces[-1], quality=90
            )
        identity = Identity(f"Made_Up{i}", f"id{i:05d}", f"Made_Up{i}", "f", "", "train")
        people.append(IdentityRecord(identity, i, tuple(voices), tuple(faces)))
    return Corpus(tuple(people), root / "wav", root / "faces")


def measure(root: Path, seconds: float, clip_seconds: float, side: int) -> dict[str, float]:
    """Return items per second of every subject, by name."""
    corpus = write_corpus(root, clip_seconds, side)
    clips = [corpus.voice_path(item) for person in corpus.records for item in person.voices]
    pictures = [corpus.face_path(item) for person in corpus.records for item in person.faces]
    packed = [root / f"{i}.m4a" for i in range(8)]
    for i, path in enumerate(packed):
        write_m4a(path, synthetic_wave(clip_seconds, i))
    decoded = [transforms.to_bgr(load_image(path)) for path in pictures]
    rng = np.random.default_rng(0)

    def picture_view(i: int) -> None:
        image = transforms.to_bgr(load_image(pictures[i % len(pictures)]))
        transforms.training_transform(image, 112, rng)

    disk, memory = PairDataset(corpus), PairDataset(corpus, in_memory=True, workers=1, progress=False)
    two = PairDataset(corpus, num_views=2, in_memory=True, workers=1, progress=False)
    subjects: dict[str, Callable[[int], Any]] = {
        f"wav {clip_seconds:g} s: decode": lambda i: load_audio(clips[i % len(clips)], scale="int16"),
        f"wav {clip_seconds:g} s: decode, resample to 8 kHz": lambda i: load_audio(
            clips[i % len(clips)], scale="int16", sample_rate=8000, resample=True
        ),
        f"m4a {clip_seconds:g} s: decode": lambda i: load_audio(packed[i % len(packed)], scale="int16"),
        f"jpg {side} px: decode": lambda i: load_image(pictures[i % len(pictures)]),
        f"jpg {side} px: decode, training view 112 px": picture_view,
        "training view 112 px alone": lambda i: transforms.training_transform(
            decoded[i % len(decoded)], 112, rng
        ),
        "pair (picture and 10 s voice) from disk": partial(_sample, disk, rng),
        "pair (picture and 10 s voice) from memory": partial(_sample, memory, rng),
        "two pairs of a person from disk": partial(_sample, PairDataset(corpus, num_views=2), rng),
        "two pairs of a person from memory": partial(_sample, two, rng),
    }
    return {name: items_per_second(work, seconds) for name, work in subjects.items()}


def _sample(dataset: PairDataset, rng: np.random.Generator, i: int) -> None:
    """Sample one pair of the next identity."""
    dataset.sample(i % len(dataset), rng)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print one line per subject."""
    parser = argparse.ArgumentParser(prog="data_loading", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="time per subject (default 1)")
    parser.add_argument("--clip-seconds", type=float, default=8.0, help="length of the clips (default 8)")
    parser.add_argument("--side", type=int, default=224, help="side of the pictures in pixels (default 224)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(argv)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.seconds, options.clip_seconds, options.side)
    for name, value in figures.items():
        print(f"{name:<45} {value:>9.0f} items/s per core")
    if options.json:
        from voiceface.io.atomic import write_json

        write_json(options.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
