"""Silence removal against a plain collector; features, recordings and feature files, valid and corrupt."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import webrtcvad
from hypothesis import given, settings
from hypothesis import strategies as st
from perceptionist.network_config import SpeechConfig
from perceptionist.speech import (
    collect,
    extract_features,
    extract_file_features,
    read_features,
    read_recording,
    remove_silence,
    voiced_segments,
)
from voiceface.audio.feature_files import validate_features
from voiceface.audio.loading import write_wav
from voiceface.audio.vad import SpeechError, split_frames


def speech(seconds: float, rate: int = 16000, seed: int = 0) -> np.ndarray:
    """A buzz with formants that the detector takes for a voice, one pause in the middle."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    pitch = 110 + 15 * np.sin(2 * np.pi * 3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    wave = sum(np.sin(k * phase) * np.exp(-(((k * 110 - 600) / 700) ** 2)) for k in range(1, 30))
    wave = wave * (1 + 0.7 * np.sin(2 * np.pi * 4 * time)) * 2500 + rng.normal(0, 20, len(time))
    pause = slice(int(0.4 * len(wave)), int(0.6 * len(wave)))
    wave[pause] = rng.normal(0, 4, pause.stop - pause.start)
    return np.clip(wave, -32768, 32767).astype(np.int16)


def plain_collect(count, voiced, ring, share):
    """The collector as one would tell it: lists of lists."""
    segments, current, recent, triggered = [], [], [], False
    for frame in range(count):
        recent = [*recent, frame][-ring:]
        if triggered:
            current.append(frame)
        answers = [voiced(each) for each in recent]
        if not triggered:
            if answers.count(True) > share * ring:
                triggered, current, recent = True, list(recent), []
        elif answers.count(False) > share * ring:
            segments.append(current)
            triggered, current, recent = False, [], []
    if current:
        segments.append(current)
    return segments


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4), st.sampled_from([0.4, 0.6, 0.9]))
def test_the_collector_equals_a_plain_one_and_queries_in_the_same_order(decisions, ring, share) -> None:
    calls, plain_calls = [], []
    number = collect(len(decisions), lambda i: (calls.append(i), decisions[i])[1], ring, share)
    expected = plain_collect(len(decisions), lambda i: (plain_calls.append(i), decisions[i])[1], ring, share)
    assert calls == plain_calls
    result = [np.flatnonzero(number == k).tolist() for k in range(number.max(initial=-1) + 1)]
    assert result == expected


def test_hand_worked_collection() -> None:
    decisions = [0, 1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 1, 1]
    # on at 3-4 (both voiced), off after 8-9 (both unvoiced), on again at 11-12
    assert collect(13, lambda i: bool(decisions[i])).tolist() == [-1, -1, -1, *[0] * 7, -1, 1, 1]


def test_frames_stop_strictly_before_the_end() -> None:
    wave = np.arange(960, dtype=np.int16)
    assert [len(frame) for frame in split_frames(wave, 320)] == [320, 320]
    assert len(split_frames(wave[:-1], 320)) == 2
    assert len(split_frames(np.arange(961, dtype=np.int16), 320)) == 3
    assert split_frames(wave[:320], 320) == []


def test_a_pause_is_removed_and_every_recording_has_a_new_detector() -> None:
    wave = speech(3.0)
    kept = remove_silence(wave)
    assert 0.5 * len(wave) < len(kept) < 0.95 * len(wave)
    assert len(kept) % 320 == 0
    np.testing.assert_array_equal(kept, remove_silence(wave))
    assert len(voiced_segments(wave)) >= 2
    detector = webrtcvad.Vad(2)
    raw = [frame.tobytes() for frame in split_frames(wave, 320)]
    plain = plain_collect(len(raw), lambda i: detector.is_speech(raw[i], 16000), 2, 0.9)
    expected = [wave[320 * i : 320 * i + 320] for segment in plain for i in segment]
    np.testing.assert_array_equal(kept, np.concatenate(expected))


@pytest.mark.parametrize("wave", [np.zeros(16000, np.int16), np.zeros(0, np.int16), np.zeros(300, np.int16)])
def test_silence_is_reported(wave) -> None:
    with pytest.raises(SpeechError, match="no voice found in"):
        extract_features(wave, source="clip.wav")


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 7000))
def test_any_length_gives_features_of_the_right_shape(length) -> None:
    wave = np.random.default_rng(length).integers(-3000, 3000, length).astype(np.int16)
    features = extract_features(wave, config=SpeechConfig(remove_silence=False))
    assert features.shape == (1000, 64) and features.dtype == np.float32
    assert np.isfinite(features).all() and features.flags.c_contiguous
    frames = length // 160 + 1
    np.testing.assert_array_equal(features[frames : 2 * frames], features[: min(frames, 1000 - frames)])


def test_features_equal_the_front_end_on_the_voiced_segments() -> None:
    from voiceface.audio.frontends import PerceptionistLogMel

    wave = speech(2.0)
    expected = PerceptionistLogMel()(torch.from_numpy(remove_silence(wave))[None])[0].T
    np.testing.assert_array_equal(extract_features(wave), expected.numpy())


def test_invalid_samples_are_refused() -> None:
    for wave in (speech(1.0).astype(np.float32), speech(1.0)[None], np.zeros((), np.int16)):
        with pytest.raises(SpeechError, match="int16 samples of shape"):
            extract_features(wave)
    with pytest.raises(SpeechError, match="44100"):
        voiced_segments(speech(1.0), 44100)
    with pytest.raises(SpeechError, match="found 8000 Hz, expected 16000 Hz"):
        extract_features(speech(1.0), 8000)


def test_recordings_of_any_rate_are_resampled_and_published_ones_are_not(tmp_path: Path) -> None:
    for rate in (8000, 22050, 44100):
        write_wav(tmp_path / f"{rate}.wav", speech(1.5, rate), rate)
        samples, result = read_recording(tmp_path / f"{rate}.wav")
        assert result == 16000 and abs(len(samples) - 24000) <= 1 and samples.dtype == np.int16
    published = SpeechConfig(sample_rates="published")
    samples, result = read_recording(tmp_path / "8000.wav", published)
    assert result == 8000
    np.testing.assert_array_equal(samples, speech(1.5, 8000))
    assert extract_file_features(tmp_path / "8000.wav", published).shape == (1000, 64)
    with pytest.raises(SpeechError, match=r"44100\.wav.*8000, 16000 or 32000"):
        read_recording(tmp_path / "44100.wav", published)


def test_a_16_bit_file_is_read_to_the_last_bit(tmp_path: Path) -> None:
    wave = np.array([-32768, -1, 0, 1, 32767] * 400, np.int16)
    write_wav(tmp_path / "a.wav", wave)
    np.testing.assert_array_equal(read_recording(tmp_path / "a.wav")[0], wave)


def test_invalid_recordings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(ValueError, match=r"text\.wav"):
        extract_file_features(tmp_path / "text.wav")
    with pytest.raises(FileNotFoundError, match=r"absent\.wav"):
        extract_file_features(tmp_path / "absent.wav")


def test_stored_features_are_read_unchanged(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(70, 64)).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "turned.npy", np.asfortranarray(values.astype(np.float64)))
    for name in ("a.npy", "turned.npy"):
        result = read_features(tmp_path / name)
        np.testing.assert_array_equal(result, values)
        assert result.dtype == np.float32 and result.flags.c_contiguous


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.zeros((64, 500)), "transpose"),
        (np.zeros((0, 64)), "frames, 64"),
        (np.zeros((2, 3, 64)), "frames, 64"),
        (np.full((5, 64), np.nan), "320 values are not finite"),
        (np.full((5, 64), 1e60), "not finite"),
        (np.zeros((5, 64), complex), "complex"),
        (np.array([["a"] * 64]), "frames, 64"),
    ],
)
def test_invalid_features_are_refused(values, word, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", values)
    with pytest.raises(SpeechError, match=word) as caught:
        read_features(tmp_path / "bad.npy")
    assert "bad.npy" in str(caught.value)


def test_code_in_a_pickle_is_not_executed(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}, None], dtype=object), allow_pickle=True)
    with pytest.raises(SpeechError, match=r"objects\.npy"):
        read_features(tmp_path / "objects.npy")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_corrupt_feature_files_are_refused_or_still_valid(data) -> None:
    memory = io.BytesIO()
    np.save(memory, np.zeros((3, 64), np.float32))
    content = bytearray(memory.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        path.write_bytes(bytes(content))
        try:
            result = read_features(path)
        except SpeechError as error:
            assert "x.npy" in str(error)
        else:
            assert result.shape[1] == 64 and np.isfinite(result).all()


def test_valid_features_are_not_copied() -> None:
    values = np.zeros((3, 64), np.float32)
    assert np.shares_memory(validate_features(values, 64, mel_axis=1), values)
