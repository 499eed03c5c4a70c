"""Acoustic analysis: pitch, bandwidth, level, clipping; librosa against the factors of synthetic voices."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soxr
from voiceface.audio.loading import write_wav
from voiceface.commands import check
from voiceface.datasets.validation import acoustics
from voiceface.datasets.validation.acoustics import analyse_recording, analyse_recordings, analyse_waveform
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.voice.phonetics import FRAME_RATE, median_f0
from voiceface.synthetic.voice.speech_synthesis import SAMPLE_RATE, SyntheticClip, synthesise_clip

librosa = pytest.importorskip("librosa")

SPEAKERS = np.arange(309, 321)


@pytest.fixture(scope="module")
def identities():
    return sample_identities(SPEAKERS)


@pytest.fixture(scope="module")
def clips(identities) -> list[SyntheticClip]:
    return [synthesise_clip(identities, i, i % 4, seconds=3.0) for i in range(len(identities))]


def as_wave(clip):
    return clip.samples.astype(np.float32) / 32768


def tone(frequency=150.0, seconds=1.0, rate=SAMPLE_RATE, gain=0.3):
    t = np.arange(round(seconds * rate)) / rate
    harmonics = range(1, int(rate / 2 / frequency))
    wave = sum(np.sin(2 * np.pi * k * frequency * t) / k for k in harmonics)
    return (gain * wave / np.abs(wave).max()).astype(np.float32)


# Synthetic voices


def test_librosa_finds_the_true_pitch_of_synthetic_voices(clips):
    """Pyin against the control tracks: frame by frame, and as the median of a clip."""
    gross, medians = [], []
    for clip in clips:
        pitch, voiced, _ = librosa.pyin(
            as_wave(clip), fmin=60, fmax=450, sr=SAMPLE_RATE, frame_length=1024, hop_length=256
        )
        frame = np.rint(
            librosa.frames_to_time(np.arange(len(pitch)), sr=SAMPLE_RATE, hop_length=256) * FRAME_RATE
        )
        frame = np.minimum(frame.astype(int), len(clip.f0) - 1)
        both = voiced & np.asarray(clip.voiced, bool)[frame]
        assert both.mean() > 0.4
        semitones = 12 * np.log2(pitch[both] / clip.f0[frame][both])
        gross.append(np.mean(np.abs(semitones) > 1))
        medians.append(12 * np.log2(np.median(pitch[both]) / np.median(clip.f0[frame][both])))
    assert np.mean(gross) < 0.1
    assert np.abs(medians).max() < 0.75 and np.abs(np.median(medians)) < 0.1


def test_pitch_of_a_clip_follows_the_factor_of_its_identity(identities, clips):
    found = np.array([analyse_waveform(as_wave(clip), SAMPLE_RATE).pitch for clip in clips])
    true = np.array([median_f0(identities, i) for i in range(len(clips))])
    assert np.corrcoef(np.log(found), np.log(true))[0, 1] > 0.9
    assert np.abs(12 * np.log2(found / true)).max() < 5  # mood and melody are part of a clip
    sex = np.asarray(identities.sex)
    assert np.median(found[sex == 0]) > 160 > 140 > np.median(found[sex == 1])


def test_synthetic_clips_have_their_duration_and_the_whole_band(clips):
    for clip in clips:
        assert librosa.get_duration(y=as_wave(clip), sr=SAMPLE_RATE) == pytest.approx(3.0, abs=1e-3)
        found = analyse_waveform(as_wave(clip), SAMPLE_RATE)
        assert found.bandwidth > 7000 and not found.is_narrow_band
        assert -40 < found.level_db < -10 and found.clipped_fraction == 0


# Measurements


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("frequency", [80.0, 150.0, 320.0])
def test_pitch_of_a_tone_at_any_rate(frequency, rate):
    assert analyse_waveform(tone(frequency, rate=rate), rate).pitch == pytest.approx(frequency, rel=0.01)


@pytest.mark.parametrize("cutoff", [8000, 11025])
def test_up_sampled_speech_is_narrow_band(clips, cutoff):
    wave = as_wave(clips[0])
    narrow = soxr.resample(soxr.resample(wave, SAMPLE_RATE, cutoff), cutoff, SAMPLE_RATE)
    found = analyse_waveform((np.rint(narrow * 32768) / 32768).astype(np.float32), SAMPLE_RATE)
    assert found.bandwidth == pytest.approx(cutoff / 2, rel=0.06)
    assert found.is_narrow_band == (cutoff == 8000)
    assert not analyse_waveform(wave[::2].copy(), 8000).is_narrow_band, "at 8 kHz there is no more"


def test_level_clipping_and_silence():
    quiet = analyse_waveform(tone(gain=0.001), SAMPLE_RATE)
    assert quiet.level_db == pytest.approx(20 * np.log10(np.sqrt(np.mean(tone(gain=0.001) ** 2))), abs=1e-4)
    clipped = analyse_waveform(np.clip(5 * tone(), -1, 1), SAMPLE_RATE)
    assert clipped.clipped_fraction == pytest.approx(np.mean(np.abs(5 * tone()) >= 0.9995), abs=1e-3) and (
        clipped.clipped_fraction > 0.01
    )
    silent = analyse_waveform(np.zeros(1600, np.float32), SAMPLE_RATE)
    assert (silent.pitch, silent.bandwidth, silent.level_db) == (0, 0, float("-inf"))
    assert not silent.is_narrow_band
    assert analyse_waveform(tone(seconds=0.01), SAMPLE_RATE).bandwidth > 0


# Files and the command


def write(path: Path, wave) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, np.rint(np.clip(wave * 32767, -32768, 32767)).astype(np.int16))
    return path


def test_files_that_cannot_be_decoded_are_absent(tmp_path: Path):
    good, bad = write(tmp_path / "good.wav", tone()), tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF nothing")
    found = analyse_recordings([str(bad), str(good)], workers=1, progress=False)
    assert list(found) == [str(good)] and found[str(good)] == analyse_recording(str(good))


@pytest.fixture
def folder(tmp_path: Path, clips) -> Path:
    """A manifest of two identities with a plain, an up-sampled, a quiet and a clipped clip."""
    from PIL import Image

    wave = as_wave(clips[0])
    rows = ["identity,modality,path,gender,nationality,age,split"]
    narrow = soxr.resample(soxr.resample(wave, SAMPLE_RATE, 8000), 8000, SAMPLE_RATE)
    sounds = {"plain": wave, "narrow": narrow, "quiet": wave * 0.02, "clipped": wave * 40}
    for i, (name, samples) in enumerate(sounds.items()):
        write(tmp_path / f"wav/{name}.wav", samples)
        rows.append(f"p{i % 2},voice,wav/{name}.wav,f,X,,train")
    for i in range(2):
        image = Image.fromarray(np.random.default_rng(i).integers(0, 255, (16, 16, 3)).astype(np.uint8))
        image.save(tmp_path / f"{i}.jpg")
        rows.append(f"p{i},face,{i}.jpg,f,X,,train")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_check_names_suspicious_recordings(folder: Path, capsys):
    assert check.main([str(folder), "--quiet", "--workers", "1"]) == 0
    assert "pitch" not in capsys.readouterr().out
    assert check.main([str(folder), "--quiet", "--acoustics", "--workers", "1"]) == 0
    text = capsys.readouterr().out
    assert "1 clips without sound above 4 kHz (up-sampled from 8 kHz, or telephone): wav/narrow.wav" in text
    assert "wav/quiet.wav" in text and "wav/clipped.wav" in text and "plain.wav" not in text
    for title in ("pitch", "bandwidth", "level"):
        assert f"\n{title}\n" in text
    assert "3600...4400 Hz        1" in text


def test_without_librosa_one_sentence_says_how_to_get_it(folder: Path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "librosa", None)
    monkeypatch.setattr(acoustics, "find_spec", lambda name: None)
    assert check.main([str(folder), "--quiet", "--acoustics", "--workers", "1"]) == 2
    text = capsys.readouterr().err
    assert "needs librosa" in text and "pip install 'voiceface-shared[analysis]'" in text
    assert check.main([str(folder), "--quiet", "--workers", "1"]) == 0
