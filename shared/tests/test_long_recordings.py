"""Long recordings: the best seconds of speech, or windows of everything; short ones are read as before."""

import numpy as np
import pytest
import soundfile
from sound_files import RATE
from voiceface.audio.loading import AudioError, load_audio
from voiceface.audio.long_recordings import join_stretches, rate_window
from voiceface.audio.recording_quality import combine_qualities, measure_quality
from voiceface.audio.recordings import load_recording, read_recording, use_windows
from voiceface.io.long_recordings import LongRecordings

BEST = LongRecordings("best", 10)


def sing(seconds, seed=0):
    """Harmonics of a moving pitch, in -1...1: voiced throughout."""
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(150 + 40 * np.sin(2 * np.pi * 0.5 * time + seed)) / RATE
    wave = sum(np.sin(k * phase) / k for k in range(1, 30))
    return 0.3 * wave / np.abs(wave).max()


def hiss(seconds, level=0.01, seed=0):
    return level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))


def write(path, *pieces):
    soundfile.write(path, np.concatenate(pieces), RATE, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    "text, policy, seconds",
    [("best", "best", 60), ("all", "all", 60), ("best:30", "best", 30), ("all:7.5", "all", 7.5)],
)
def test_the_option_is_read_from_text(text, policy, seconds):
    long = LongRecordings.parse(text)
    assert (long.policy, long.seconds) == (policy, seconds)
    assert LongRecordings.parse(str(long)) == long


@pytest.mark.parametrize("text", ["", "worst", "best:", "best:x", "best:0", "best:nan", "all:1e9", "60"])
def test_another_text_is_no_option(text):
    with pytest.raises(ValueError, match="write best, all or best:SECONDS"):
        LongRecordings.parse(text)


@pytest.mark.parametrize("rate", [RATE, 44100])
@pytest.mark.parametrize("seconds", [1.0, 9.5, 10.0])
@pytest.mark.parametrize("policy", ["best", "all"])
def test_recordings_that_are_not_long_are_read_as_they_are(tmp_path, seconds, rate, policy):
    wave = sing(seconds * rate / RATE)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, 0.5 * wave], axis=1), rate)
    expected = load_audio(tmp_path / "a.wav", scale="int16", resample=True, channel="auto")
    found = read_recording(tmp_path / "a.wav", scale="int16", long=LongRecordings(policy, 10))
    np.testing.assert_array_equal(found.waveform, expected)
    assert found.quality == measure_quality(expected, full_scale=32768)
    assert found.seconds == pytest.approx(seconds)
    assert not any("long" in note for note in found.notes)


@pytest.mark.parametrize("scale", ["int16", "unit", "native"])
def test_the_best_seconds_are_those_with_speech(tmp_path, scale):
    path = write(tmp_path / "a.wav", hiss(20), sing(5), hiss(15), sing(5, 1), hiss(6))
    found = read_recording(path, scale=scale, long=BEST)
    whole = load_audio(path, scale=scale)
    assert found.stretches == ((20, 25), (40, 45))
    expected = np.concatenate([whole[20 * RATE : 25 * RATE], whole[40 * RATE : 45 * RATE]])
    inside = np.abs(np.arange(len(expected)) - 5 * RATE) > 80  # a fade of 5 ms where they meet
    np.testing.assert_allclose(found.waveform[inside], expected[inside], atol=1e-3)
    assert abs(found.waveform[5 * RATE]) < 1e-6 * np.abs(whole).max()
    assert found.seconds == 51
    assert found.notes[0] == "long: 0:51; the best 10 s of speech are used"
    np.testing.assert_array_equal(load_recording(path, scale=scale, long=BEST), found.waveform)


def test_good_speech_is_preferred_to_quiet_and_clipped_speech(tmp_path):
    loud = np.clip(20 * sing(10), -1, 1)
    path = write(tmp_path / "a.wav", loud, 0.003 * sing(10), sing(10), loud)
    assert read_recording(path, scale="unit", long=BEST).stretches == ((20, 30),)
    good, quiet, clipped = (rate_window(measure_quality(each)) for each in (sing(5), sing(5) / 300, loud))
    assert 0.9 < good <= 1 and quiet < 0.5 * good and clipped < 0.5 * good
    assert rate_window(measure_quality(hiss(5))) == 0


def test_neighbours_are_joined_without_a_fade(tmp_path):
    path = write(tmp_path / "a.wav", hiss(10), sing(10), hiss(10))
    found = read_recording(path, scale="unit", long=BEST)
    assert found.stretches == ((10, 20),)
    np.testing.assert_array_equal(found.waveform, load_audio(path, scale="unit")[10 * RATE : 20 * RATE])


def test_a_long_recording_without_speech_is_refused(tmp_path):
    path = write(tmp_path / "a.wav", hiss(30))
    for policy in ("best", "all"):
        with pytest.raises(AudioError, match=r"a\.wav: .*holds no voice"):
            read_recording(path, scale="unit", long=LongRecordings(policy, 10))
    with pytest.raises(AudioError, match=r"a\.wav: holds no voice"):
        use_windows(path, lambda window: None, window_seconds=3, scale="unit")


def test_all_of_a_long_recording(tmp_path):
    path = write(tmp_path / "a.wav", hiss(10), sing(25), hiss(8.3))
    found = read_recording(path, scale="unit", long=LongRecordings("all", 10))
    ((begin, end),) = found.stretches  # of noise, up to 0.3 s stay
    assert begin == pytest.approx(10, abs=0.4) and end == pytest.approx(35, abs=0.4)
    part = slice(round(begin * RATE), round(end * RATE))
    np.testing.assert_array_equal(found.waveform, load_audio(path, scale="unit")[part])
    assert found.seconds == pytest.approx(43.3) and found.notes[0] == "long: 0:43; all of its speech is used"
    expected = measure_quality(found.waveform)
    for name in ("seconds", "speech_seconds", "peak", "level_db"):
        assert getattr(found.quality, name) == pytest.approx(getattr(expected, name), rel=0.05)


def test_windows_with_speech_are_passed_on_and_the_others_are_not(tmp_path):
    path = write(tmp_path / "a.wav", hiss(6), sing(6), hiss(6), sing(4))
    whole, windows = load_audio(path, scale="unit"), []
    found = use_windows(path, windows.append, window_seconds=3, scale="unit")
    assert found.stretches == ((6, 12), (18, 22))
    expected = [(6, 9), (9, 12), (18, 21), (21, 22)]
    assert len(windows) == len(expected)
    for window, (begin, end) in zip(windows, expected):
        np.testing.assert_array_equal(window, whole[begin * RATE : end * RATE])
    assert "mean over the 4 of 8 windows" in found.notes[0]
    assert found.quality.seconds == 22 and 9 < found.quality.speech_seconds < 12


def test_losses_of_a_long_recording_are_noted(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, sing(20), RATE)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 15 * RATE])
    with pytest.raises(AudioError, match="truncated"):
        read_recording(path, scale="unit", long=BEST)
    found = read_recording(path, scale="unit", long=BEST, on_corrupt="salvage")
    assert found.seconds == 15
    assert any("5.000 s of audio are lost" in note for note in found.notes)


def test_qualities_of_parts_make_that_of_the_whole():
    wave = np.concatenate([sing(4), hiss(4), 0.5 * sing(4)])
    parts = combine_qualities([measure_quality(part) for part in np.split(wave, 3)])
    whole = measure_quality(wave)
    assert parts.seconds == whole.seconds == 12
    assert parts.speech_seconds == pytest.approx(whole.speech_seconds, abs=0.3)
    assert parts.level_db == pytest.approx(whole.level_db, abs=0.5)
    assert parts.peak == pytest.approx(whole.peak, abs=0.01)
    assert combine_qualities([measure_quality(hiss(1))]).level_db == -np.inf
    assert join_stretches([]) == ()
