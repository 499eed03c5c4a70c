"""Silero's detector: the probabilities of its package, decisions for frames, and the gate that uses it."""

import importlib.util

import numpy as np
import pytest
import soundfile
from scipy import signal
from sound_files import RATE
from voiceface.audio import recording_quality, silero
from voiceface.audio.loading import AudioError
from voiceface.audio.recording_quality import (
    choose_speech_finder,
    find_speech_runs,
    measure_quality,
    require_speech,
)
from voiceface.audio.recordings import LongRecordings, read_recording
from voiceface.audio.vad import SpeechError, collect_segments, detect_in_frames, split_frames
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.voice.speech_synthesis import synthesise_clip


@pytest.fixture(scope="module")
def installed():
    """The package itself; it sets the number of PyTorch's threads."""
    import torch

    threads = torch.get_num_threads()
    package = pytest.importorskip("silero_vad")
    pytest.importorskip("onnxruntime")
    torch.set_num_threads(threads)
    return package


@pytest.fixture(scope="module")
def voices():
    """Clips of six invented people, 4 s each, in -1...1."""
    people = sample_identities(np.arange(20, 26))
    clips = [synthesise_clip(people, index, 0, seconds=4.0).samples for index in range(6)]
    return [np.asarray(clip, np.float32) / 32768 for clip in clips]


@pytest.fixture(autouse=True)
def found_by_silero(monkeypatch):
    monkeypatch.setenv(recording_quality.FINDER_VARIABLE, "silero")


def music(seed, seconds=6):
    """Chords of decaying harmonics."""
    rng = np.random.default_rng(seed)
    wave = np.zeros((seconds + 2) * RATE)
    time = np.arange(RATE) / RATE
    for start in range(0, seconds * RATE, RATE // 2):
        for hertz in 110 * 2 ** (rng.choice(24, 3, replace=False) / 12):
            harmonics = sum(np.sin(2 * np.pi * k * hertz * time) / k**1.4 for k in range(1, 12))
            wave[start : start + RATE] += harmonics * np.exp(-3 * time) * np.minimum(1, time / 0.01)
    return 0.3 * wave[: seconds * RATE] / np.abs(wave).max()


def whispered(wave, seed=0):
    """The spectral envelope of a voice, excited by noise."""
    _, _, spectrum = signal.stft(wave, RATE, nperseg=512)
    log_levels = np.log(np.abs(spectrum) + 1e-6)
    envelope = np.exp(signal.savgol_filter(log_levels, 21, 2, axis=0))
    noise = np.random.default_rng(seed).standard_normal(len(wave))
    _, _, source = signal.stft(noise, RATE, nperseg=512)
    _, found = signal.istft(envelope * np.exp(1j * np.angle(source)), RATE, nperseg=512)
    return 0.1 * found / np.abs(found).std() / 3


def test_probabilities_are_those_of_the_package(installed, voices):
    import torch

    network = installed.load_silero_vad(onnx=True)
    wave = np.concatenate([voices[0], np.zeros(RATE, np.float32), voices[1]])[:-100]
    network.reset_states()
    padded = np.pad(wave, (0, -len(wave) % 512))
    with torch.no_grad():
        expected = [float(network(torch.from_numpy(frame), RATE)) for frame in padded.reshape(-1, 512)]
    found = silero.load_silero().probabilities(wave)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.max() > 0.9 and found.min() < 0.1
    np.testing.assert_array_equal(silero.load_silero().probabilities(wave), found)
    assert silero.load_silero().probabilities(wave[:0]).shape == (0,)


def test_blocks_do_not_matter(installed, voices, monkeypatch):
    expected = silero.load_silero().probabilities(voices[0])
    monkeypatch.setattr(silero, "MAX_FRAMES", 7)
    np.testing.assert_allclose(silero.load_silero().probabilities(voices[0]), expected, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("milliseconds", [10, 20, 30])
def test_frames_are_decided_by_the_sound_around_them(installed, voices, rate, milliseconds):
    wave = np.concatenate([np.zeros(2 * RATE), voices[0], np.zeros(2 * RATE)])
    samples = np.rint(signal.resample_poly(wave, rate, RATE) * 32767).clip(-32768, 32767).astype(np.int16)
    frames = split_frames(samples, rate * milliseconds // 1000)
    decide = detect_in_frames(frames, rate, "silero")
    decisions = np.array([decide(number) for number in range(len(frames))])
    time = (np.arange(len(frames)) + 0.5) * milliseconds / 1000
    assert decisions[(time > 2.2) & (time < 5.8)].mean() > 0.7
    assert not decisions[time < 1.9].any() and not decisions[time > 6.5].any()
    assert (collect_segments(decisions) >= 0).any()


def test_webrtc_is_the_default_and_other_rates_are_refused(voices):
    samples = np.rint(voices[0] * 32767).astype(np.int16)
    frames = split_frames(samples, 320)
    decide = detect_in_frames(frames, RATE, aggressiveness=2)
    assert any(decide(number) for number in range(len(frames)))
    for detector in ("webrtc", "silero"):
        with pytest.raises(SpeechError, match="a: voice activity needs 8000"):
            detect_in_frames(frames, 11025, detector, source="a")


def test_runs_are_long_enough_and_bridge_short_pauses():
    rng = np.random.default_rng(0)
    for _ in range(50):
        probabilities = rng.random(40)
        found = find_speech_runs(probabilities)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], found.astype(int), [0]]))).reshape(-1, 2)
        assert all(end - begin >= 5 for begin, end in edges)
        assert all(probabilities[begin] > 0.4 and probabilities[end - 1] > 0.4 for begin, end in edges)
        for begin, end in edges:
            quiet = np.flatnonzero(np.diff(np.flatnonzero(probabilities[begin:end] > 0.4)) > 4)
            assert not len(quiet)
    assert not find_speech_runs(np.zeros(10)).any() and find_speech_runs(np.ones(10)).all()
    assert find_speech_runs(np.zeros(0)).shape == (0,)


def test_voices_and_whispering_pass_and_music_does_not(installed, voices):
    for wave in voices:
        quality = measure_quality(wave, finder="silero")
        require_speech(quality, "a")
        assert quality.speech_seconds > 2 and quality.level_db > -45
    passed = 0
    for seed, wave in enumerate(voices):
        quality = measure_quality(whispered(wave, seed), finder="silero")
        passed += quality.speech_seconds >= 0.3
    assert passed >= 4
    time = np.arange(5 * RATE) / RATE
    others = [music(seed) for seed in range(6)]
    others += [0.3 * np.sin(2 * np.pi * 220 * time), 0.2 * np.sign(np.sin(2 * np.pi * 130 * time))]
    for wave in others:
        assert measure_quality(wave).speech_seconds > 1  # by its pitch
        with pytest.raises(AudioError, match=r"holds no voice: .* music"):
            require_speech(measure_quality(wave, finder="silero"), "a")


def test_files_are_judged_by_silero_where_it_is_installed(installed, voices, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "music.wav", music(0), RATE)
    soundfile.write(tmp_path / "long.wav", np.concatenate([music(1, 20), *voices[:2], music(2, 12)]), RATE)
    with pytest.raises(AudioError, match=r"music\.wav: holds no voice"):
        read_recording(tmp_path / "music.wav", scale="int16")
    best = read_recording(tmp_path / "long.wav", scale="int16", long=LongRecordings("best", 5))
    assert best.stretches[0][0] >= 15 and best.stretches[0][1] <= 30
    monkeypatch.setenv(recording_quality.FINDER_VARIABLE, "pitch")
    assert read_recording(tmp_path / "music.wav", scale="int16").quality.speech_seconds > 1
    monkeypatch.delenv(recording_quality.FINDER_VARIABLE)
    assert choose_speech_finder() == "silero"
    monkeypatch.setattr(recording_quality, "has_silero", lambda: False)
    assert choose_speech_finder() == "pitch"


def test_without_the_package_a_sentence_says_how_to_get_it(monkeypatch):
    silero.load_silero.cache_clear()
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "silero_vad" else real(name)
    )
    assert not silero.has_silero()
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'voiceface-shared\[silero\]'"):
        detect_in_frames([np.zeros(320, np.int16)], RATE, "silero")
    monkeypatch.setenv(recording_quality.FINDER_VARIABLE, "loudness")
    with pytest.raises(ValueError, match='VOICEFACE_SPEECH_FINDER=loudness: expected "silero" or "pitch"'):
        choose_speech_finder()
