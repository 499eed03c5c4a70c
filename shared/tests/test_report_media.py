"""Sound on pages: what the networks hear, without log lines."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import voiceface.report.media as media
from voiceface.report import AudioSource


def voice(seconds: float) -> np.ndarray:
    """Harmonics of 120 Hz, which the gate takes for speech, in two thirds of the time, and zeros."""
    time = np.arange(int(16000 * seconds)) / 16000
    wave = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 9))
    return 0.2 * wave * (np.sin(2 * np.pi * 0.5 * time) > -0.5)


def test_a_page_plays_the_channel_that_holds_the_voice(tmp_path: Path) -> None:
    wave = voice(2)
    soundfile.write(tmp_path / "right.wav", np.stack([0 * wave, wave], 1), 16000)
    samples, rate = media._load_samples(AudioSource(str(tmp_path / "right.wav")))
    assert rate == 16000 and np.abs(samples).max() > 0.1


def test_of_a_long_recording_a_page_plays_the_part_that_networks_hear(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", voice(70), 16000)
    clip = media.encode_clip(AudioSource(str(tmp_path / "long.wav")))
    assert 40 < clip.seconds < 41  # of the best minute what is no digital silence
    soundfile.write(tmp_path / "still.wav", np.zeros(70 * 16000), 16000)
    assert media.encode_clip(AudioSource(str(tmp_path / "still.wav"))).seconds == 70


def test_damaged_recordings_are_played_without_log_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soundfile.write(tmp_path / "cut.wav", voice(3), 16000)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:60000])
    assert 1.5 < media.encode_clip(AudioSource(str(tmp_path / "cut.wav"))).seconds < 2
    assert not caplog.records
