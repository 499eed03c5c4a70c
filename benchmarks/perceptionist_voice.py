"""Speed of perceptionist from an audio file to a mesh, full-size networks, on one thread.

    python benchmarks/perceptionist_voice.py

Ten seconds of a synthetic voice; networks and face model (53,215 vertices) of the published sizes with random
weights, loaded before the timing. "CPU" is the CPU time of this one-thread process, to which the
targets apply. Features are compared with a plain frame-by-frame extractor before the report.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from timing import min_times, synthetic_voice

if TYPE_CHECKING:
    from perceptionist.voice_to_mesh import VoiceToMesh

SECONDS = 10
VERTICES = 53215
PUBLISHED = {"log-mel": 92, "audio file to mesh, unsupervised": 221}  # milliseconds
TARGETS = {
    "log-mel": 12,
    "audio file to mesh, supervised": 40,
    "audio file to mesh, unsupervised": 150,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repeats", type=int, default=15, help="measurements of each task, of which the best is reported"
    )
    options = parser.parse_args(argv)
    missed = False
    print(f"{'':36}{'CPU ms':>8}{'clock ms':>10}{'published':>11}{'target':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for name, call in build_tasks(Path(folder)):
            processor, clock = min_times(call, options.repeats)
            limits = (str(table.get(name, "")) for table in (PUBLISHED, TARGETS))
            print(f"{name:36}{processor * 1e3:8.1f}{clock * 1e3:10.1f}{next(limits):>11}{next(limits):>9}")
            missed |= name in TARGETS and processor * 1e3 > TARGETS[name]
    return int(missed)


def build_tasks(folder: Path) -> list[tuple[str, Callable[[], Any]]]:
    """The measured tasks: name and function."""
    import torch
    from perceptionist.speech import extract_features, extract_file_features, get_frontend, remove_silence
    from voiceface.audio.loading import write_wav

    torch.manual_seed(0)
    wave, path = synthetic_voice(SECONDS), folder / "voice.wav"
    write_wav(path, wave)
    samples = torch.from_numpy(wave.astype(np.float64))[None]
    front = get_frontend()
    bands = front.log_mel(samples)[0].T.numpy()
    for row in (0, 17, 500, 997):
        np.testing.assert_allclose(bands[row], reference_row(wave, row), rtol=1e-9)
    features = torch.from_numpy(extract_features(wave))[None].transpose(1, 2)
    models = {kind: build_model(kind) for kind in ("supervised", "unsupervised")}

    def whole(kind: str) -> Callable[[], Any]:
        def call() -> None:
            given = torch.from_numpy(extract_file_features(path))[None].transpose(1, 2)
            assert models[kind].predict_vertices(given).isfinite().all()

        return call

    return [
        ("log-mel", lambda: front(samples)),
        ("silence removal", lambda: remove_silence(wave)),
        ("file to features", lambda: extract_file_features(path)),
        ("features to mesh, supervised", lambda: models["supervised"].predict_vertices(features)),
        ("features to mesh, unsupervised", lambda: models["unsupervised"].predict_vertices(features)),
        ("audio file to mesh, supervised", whole("supervised")),
        ("audio file to mesh, unsupervised", whole("unsupervised")),
    ]


def build_model(kind: str) -> "VoiceToMesh":
    """Networks and face model of the published sizes, random weights, evaluation mode."""
    from perceptionist.face_models.landmarks import PAIR_NAMES
    from perceptionist.face_models.linear import LinearFaceModel
    from perceptionist.generator import Generator
    from perceptionist.image_to_3d import ImageTo3D
    from perceptionist.supervised_head import SupervisedHead
    from perceptionist.voice_network import VoiceNetwork
    from perceptionist.voice_to_mesh import VoiceToMesh

    rng = np.random.default_rng(0)
    face_model = LinearFaceModel(
        "random",
        rng.normal(size=3 * VERTICES),
        rng.normal(size=(3 * VERTICES, 40)),
        rng.normal(size=(3 * VERTICES, 10)),
        np.array([[0, 1, 2]]),
        np.arange(68),
        pairs=dict.fromkeys(PAIR_NAMES, (0, 1)),
        parameter_mean=rng.normal(size=102),
        parameter_std=np.ones(102),
    )
    parts: dict[str, Any] = {"head": SupervisedHead()}
    if kind == "unsupervised":
        parts = {"generator": Generator(), "student": ImageTo3D()}
    parts["voice"] = VoiceNetwork()
    for part in parts.values():
        part.eval()
    return VoiceToMesh(kind, face_model=face_model, **parts)


def reference_row(wave: np.ndarray, row: int) -> np.ndarray:
    """One frame of the log-mel bands before the last three, by the definition."""
    from voiceface.audio.mel import bin_edge_mel_filterbank

    frame = wave[160 * row : 160 * row + 400].astype(float)
    before = float(wave[160 * (row - 1) + 399]) if row else 0.0
    emphasised = frame - 0.97 * np.concatenate([[before], frame[:-1]])
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 399)
    power = np.abs(np.fft.rfft(emphasised * window, 1024)) ** 2
    return np.log(np.maximum(power @ bin_edge_mel_filterbank(1024, 64, 20, 7200).numpy(), 1e-5))


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # read when the libraries load
    sys.exit(main())
