"""A person's own recordings: channels, arrays of any layout, and the gate before every network."""

import logging

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from sound_files import RATE
from voiceface.audio.channels import is_one_recording, mix_channels, to_waveform
from voiceface.audio.loading import AudioError, load_audio
from voiceface.audio.recordings import (
    MIN_SPEECH_SECONDS,
    load_recording,
    measure_quality,
    read_recording,
    require_sound,
    require_speech,
)
from voiceface.audio.vad import read_samples


def voice(seconds=2.0, seed=0):
    """Harmonics of a moving pitch under moving formants with pauses, in -1...1: voiced as speech is."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    wave = sum(np.sin(k * phase) / k**1.2 for k in range(1, 40))
    wave = wave * (0.55 + 0.45 * np.sign(np.sin(2 * np.pi * 2 * time + 1)))
    return 0.2 * (wave + 0.02 * rng.standard_normal(len(time))) / np.abs(wave).max()


def noises(seed=0, samples=2 * RATE):
    """Noises of several colours, bands and levels, in -1...1."""
    rng = np.random.default_rng(seed)
    white = 0.1 * rng.standard_normal(samples)
    low = signal.butter(8, 500, fs=RATE, output="sos")
    band = signal.butter(4, [300, 3400], "band", fs=RATE, output="sos")
    return {
        "white": white,
        "pink": signal.lfilter([0.2], [1, -0.9], white),
        "brown": np.cumsum(white) / 50,
        "low": signal.sosfilt(low, white),
        "telephone band": signal.sosfilt(band, white),
        "quiet": white / 50,
        "uniform": rng.uniform(-0.1, 0.1, samples),
        "swelling": white * (1 + np.sin(np.arange(samples) / 3000)),
    }


def test_auto_is_the_mean_of_channels_that_agree():
    left = voice().astype(np.float32)
    right = (0.8 * left + 0.01 * voice(seed=3)).astype(np.float32)
    stereo = np.stack([left, right])
    np.testing.assert_allclose(mix_channels(stereo, "auto"), stereo.mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(mix_channels(stereo, "first"), left)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("other", ["silent", "hiss", "constant", "inverted", "nearly inverted"])
def test_auto_takes_the_louder_channel_if_the_other_is_silent_or_cancels(order, other):
    left = voice().astype(np.float32)
    right = {
        "silent": 0 * left,
        "hiss": 1e-4 * np.random.default_rng(0).standard_normal(len(left)).astype(np.float32),
        "constant": np.full_like(left, 0.5),
        "inverted": -0.9 * left,
        "nearly inverted": -0.7 * left,
    }[other]
    stereo = np.stack([left, right])[list(order)]
    np.testing.assert_array_equal(mix_channels(stereo, "auto"), left)


def test_auto_finds_the_voice_in_the_centre_of_six_channels():
    rng = np.random.default_rng(0)
    six = (0.01 * rng.standard_normal((6, 2 * RATE))).astype(np.float32)
    six[2] += voice().astype(np.float32)
    np.testing.assert_array_equal(mix_channels(six, "auto"), six[2])
    assert not mix_channels(np.zeros((2, 10), np.float32), "auto").any()
    with pytest.raises(ValueError, match='"first", "mean" or "auto"'):
        mix_channels(six, "second")


def test_channels_of_files(tmp_path):
    left = voice()
    soundfile.write(tmp_path / "a.wav", np.stack([0 * left, left], axis=1), RATE)
    assert not load_audio(tmp_path / "a.wav", scale="unit").any()
    half = load_audio(tmp_path / "a.wav", scale="unit", channel="mean")
    auto = load_audio(tmp_path / "a.wav", scale="unit", channel="auto")
    np.testing.assert_allclose(auto, 2 * half, atol=1e-6)
    assert np.abs(read_samples(tmp_path / "a.wav", channel="auto")[0] / 32768 - left).max() < 1e-3
    np.testing.assert_array_equal(load_recording(tmp_path / "a.wav", scale="unit"), auto)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 8), st.integers(20, 400), st.sampled_from(["T", "TC", "CT"]))
def test_arrays_of_every_layout_give_one_waveform(channels, samples, layout):
    wave = np.random.default_rng(0).integers(-1000, 1000, samples)
    array = {
        "T": wave,
        "TC": np.repeat(wave[:, None], channels, axis=1),
        "CT": np.repeat(wave[None], channels, axis=0),
    }[layout]
    for kind in (np.int16, np.float32, np.float64, np.int32):
        found = to_waveform(array.astype(kind))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wave, atol=1e-3)
    assert is_one_recording(array) == (layout != "CT" or samples <= 8)


@pytest.mark.parametrize(
    "array, finding",
    [
        (np.zeros((2, 3, 4)), r"found shape \(2, 3, 4\)"),
        (np.zeros((100, 100)), r"found shape \(100, 100\)"),
        (np.zeros(0), "no samples"),
        (np.array(["a"]), "expected an array of numbers"),
        (np.array([0.1, np.nan, np.inf]), "2 of 3 samples are not finite"),
        (np.array(3.0), r"found shape \(\)"),
    ],
)
def test_arrays_that_are_no_recording_are_named_by_their_shape(array, finding):
    with pytest.raises(AudioError, match=finding):
        to_waveform(array)


@pytest.mark.parametrize("snr_db", [None, 20, 10, 5])
@pytest.mark.parametrize("rate_scale", [(1.0, np.float32), (32768.0, np.int16)])
def test_speech_passes_also_in_noise(snr_db, rate_scale):
    full_scale, kind = rate_scale
    for seed in range(4):
        wave = voice(3, seed)
        if snr_db is not None:
            noise = np.random.default_rng(seed).standard_normal(len(wave))
            wave = wave + noise * wave.std() * 10 ** (-snr_db / 20)
        quality = measure_quality((wave * full_scale).astype(kind), full_scale=full_scale)
        require_speech(quality, "a")
        assert quality.speech_seconds > 1
        assert quality.seconds == 3


@pytest.mark.parametrize("name", noises())
def test_noise_never_passes(name):
    for seed in range(6):
        with pytest.raises(AudioError, match=r"a: holds (no voice|0\.\d+ s of speech)"):
            require_speech(measure_quality(noises(seed)[name]), "a")


@pytest.mark.parametrize("wave", [np.zeros(RATE), np.full(RATE, 0.3), np.full(RATE, 1e-4)])
def test_silence_never_passes(wave):
    with pytest.raises(AudioError, match="is silent"):
        require_speech(measure_quality(wave), "a")
    with pytest.raises(AudioError, match="is silent"):
        require_sound(wave)
    require_sound(voice())


@pytest.mark.parametrize("samples", [0, 1, 1000, 7999])
def test_short_recordings_never_pass(samples):
    with pytest.raises(AudioError, match=r"a: has 0\.\d\d s of sound, expected at least 0\.5 s"):
        require_speech(measure_quality(voice()[:samples]), "a")


def test_too_little_speech_in_a_long_silence_is_refused():
    wave = np.zeros(10 * RATE)
    wave[RATE : RATE + RATE // 10] = voice(0.3)[: RATE // 10] * 3
    quality = measure_quality(wave)
    assert quality.speech_seconds < MIN_SPEECH_SECONDS
    with pytest.raises(AudioError, match=r"s of speech in 10\.00 s, expected at least 0\.5 s"):
        require_speech(quality, "a")


def test_doubtful_recordings_get_notes(tmp_path, caplog):
    wave = voice(2)
    assert not measure_quality(wave).notes
    few = measure_quality(np.concatenate([voice(0.7), np.zeros(RATE)]))
    assert "s of speech" in few.notes[0]
    assert "clipped" in measure_quality(np.clip(20 * wave, -1, 1)).notes[0]
    assert "quiet" in measure_quality(wave / 100).notes[0]
    narrow = soxr.resample(soxr.resample(wave, RATE, 8000), 8000, RATE)
    assert "4 kHz" in measure_quality(narrow).notes[0]
    soundfile.write(tmp_path / "a.wav", np.clip(20 * wave, -1, 1), RATE)
    with caplog.at_level(logging.WARNING):
        load_recording(tmp_path / "a.wav", scale="int16")
    assert "clipped" in caplog.text


def test_a_recording_is_returned_with_its_quality_and_all_its_notes(tmp_path, caplog):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.clip(20 * voice(2), -1, 1), RATE)
    recorded = bytearray(path.read_bytes())
    recorded[4:8] = recorded[40:44] = bytes(4)  # as a recorder leaves it
    path.write_bytes(recorded)
    found = read_recording(path, scale="int16")
    np.testing.assert_array_equal(found.waveform, load_audio(path, scale="int16"))
    assert found.quality == measure_quality(found.waveform, full_scale=32768)
    assert [len(found.notes), "length" in found.notes[0], "clipped" in found.notes[1]] == [2, True, True]
    assert not any("a.wav" in note for note in found.notes)
    path.write_bytes(recorded[:40] + (2**20).to_bytes(4, "little") + recorded[44:])
    caplog.clear()
    assert "of audio are lost" in read_recording(path, scale="int16", on_corrupt="salvage").notes[0]
    assert not caplog.records
    soundfile.write(path, voice(2), RATE)
    assert read_recording(path, scale="unit").notes == ()


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("scale", ["int16", "unit", "native"])
def test_the_gate_holds_in_every_scale(tmp_path, subtype, scale):
    soundfile.write(tmp_path / "a.wav", voice(), RATE, subtype=subtype)
    expected = load_audio(tmp_path / "a.wav", scale=scale)
    np.testing.assert_array_equal(load_recording(tmp_path / "a.wav", scale=scale), expected)
    for name, wave in (("zeros", np.zeros(RATE)), ("noise", noises()["white"])):
        soundfile.write(tmp_path / f"{name}.wav", wave, RATE, subtype=subtype)
        with pytest.raises(AudioError, match=rf"{name}\.wav: .*s of speech"):
            load_recording(tmp_path / f"{name}.wav", scale=scale)
