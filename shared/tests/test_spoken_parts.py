"""Parts of own recordings in which somebody speaks: what is cut, what stays, and what is told."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from sound_files import RATE
from voiceface.association.embedding import embed
from voiceface.audio import recording_quality
from voiceface.audio.loading import AudioError, load_audio
from voiceface.audio.recordings import hear, read_recording, use_windows
from voiceface.audio.spoken_parts import SpokenParts, find_spoken_parts
from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS, LongRecordings
from voiceface.testing.silence import synthesise_voices


@pytest.fixture(scope="module")
def voice():
    """Speech without a long pause of its own."""
    return synthesise_voices(5, 4.0)[-1].astype(np.float32) / 32768


@pytest.fixture(params=["pitch", "silero"])
def finder(request, monkeypatch):
    if request.param == "silero":
        pytest.importorskip("silero_vad")
        pytest.importorskip("onnxruntime")
    monkeypatch.setenv(recording_quality.FINDER_VARIABLE, request.param)
    return request.param


def background(kind, seconds, seed=0):
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    time = np.arange(len(noise)) / RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * time) / k for k in (1, 2, 3, 5))
    return {"zeros": 0 * noise, "noise": 5e-4 * noise, "room": 3e-3 * noise, "hum": 2e-3 * hum}[kind]


@pytest.mark.parametrize("kind", ["zeros", "noise", "room", "hum"])
def test_what_is_quiet_is_cut_wherever_it_is(voice, finder, kind, tmp_path):
    half = len(voice) // 2
    pieces = [
        background(kind, 12),
        voice[:half],
        background(kind, 20, 1),
        voice[half:],
        background(kind, 7, 2),
    ]
    soundfile.write(tmp_path / "a.wav", np.concatenate(pieces), RATE, subtype="FLOAT")
    whole = load_audio(tmp_path / "a.wav", scale="unit")
    found = read_recording(tmp_path / "a.wav", scale="unit")
    assert found.seconds == pytest.approx(43, abs=0.01)
    (first, *_), *_, (*_, last) = found.stretches
    assert first == pytest.approx(12, abs=0.4) and last == pytest.approx(36, abs=0.8)
    used = sum(end - begin for begin, end in found.stretches)
    assert used == pytest.approx(len(found.waveform) / RATE) and 2.5 < used < 4.8
    assert found.quality.seconds == pytest.approx(used)
    assert any(begin >= 33.4 for begin, _ in found.stretches)
    begin, end = (round(each * RATE) for each in found.stretches[0])
    np.testing.assert_array_equal(found.waveform[: end - begin - 80], whole[begin : end - 80])
    note = found.notes[0]
    assert note.startswith(f"silence left out: nobody speaks for {first:.1f} s at the beginning, ")
    assert "s in pauses, " in note and note.endswith(f"{43 - last:.1f} s at the end")


@pytest.mark.parametrize("scale", ["int16", "native"])
def test_the_scale_does_not_matter(voice, tmp_path, scale):
    wave = np.concatenate([np.zeros(5 * RATE), voice, np.zeros(5 * RATE)])
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="PCM_U8")
    expected = read_recording(tmp_path / "a.wav", scale="unit")
    found = read_recording(tmp_path / "a.wav", scale=scale)
    assert found.stretches == expected.stretches and found.notes == expected.notes
    assert expected.stretches[0][0] > 4.5 and found.quality == expected.quality


def test_short_pauses_and_edges_that_are_not_quiet_stay(voice, finder):
    room = background("room", 0.1)
    wave = np.concatenate([room, voice, background("room", 0.4), voice, room]).astype(np.float32)
    heard = hear(wave)
    assert heard.parts.is_whole and heard.waveform is wave
    assert not any("left out" in note for note in heard.notes)


@pytest.mark.parametrize("level", [0.0, 0.05])
@pytest.mark.parametrize("length", [16, 800, 3000, 9000])
def test_digital_silence_at_the_edges_is_cut_whatever_its_length(voice, finder, length, level):
    edge = np.full(length, level, np.float32)
    edge[::3] += np.float32(1 / 32768)  # dither
    parts = hear(np.concatenate([edge, voice + np.float32(level), edge])).parts.parts
    assert len(parts) == 1 and abs(parts[0][0] - length) <= 64
    assert 0 <= length + len(voice) - parts[0][1] < 0.2 * RATE
    parts = hear(np.concatenate([edge, background("room", 0.1), voice]).astype(np.float32)).parts.parts
    assert abs(parts[0][0] - length) <= 1  # a little room tone stays
    parts = hear(np.concatenate([edge[:15], voice + np.float32(level)])).parts.parts
    assert parts[0][0] == 0


@pytest.mark.parametrize("level", [0.0, 0.05])
@pytest.mark.parametrize("length", [360, 1600, 9000])
def test_digital_silence_within_speech_is_cut_whatever_its_length(voice, finder, length, level):
    gap = np.full(length, 0.01, np.float32)  # a gate writes one value, not that of silence
    gap[::3] += np.float32(1 / 32768)  # dither
    places = (RATE, 2 * RATE + 5, 3 * RATE)
    pieces = np.split(voice, places)
    wave = np.concatenate([*(each for piece in pieces[:-1] for each in (piece, gap)), pieces[-1]])
    plain, heard = hear(voice + np.float32(level)), hear(wave + np.float32(level))
    assert abs(len(heard.waveform) - len(plain.waveform)) <= 0.05 * RATE
    left_out = heard.parts.seconds_left_out - plain.parts.seconds_left_out
    assert left_out == pytest.approx(3 * length / RATE, abs=0.05)
    noted = [note for note in heard.notes if note.startswith("silence left out")]
    assert len(noted) == (length == 9000) and all(note.endswith(" s in pauses") for note in noted)
    short = np.insert(voice, RATE, np.zeros(200, np.float32))
    assert len(hear(short).waveform) == len(hear(voice).waveform) + 200


def test_quiet_pauses_are_shortened(voice, finder):
    wave = np.insert(voice, 2 * RATE, background("noise", 0.6))
    plain, heard = hear(voice), hear(wave)
    left_out = heard.parts.seconds_left_out - plain.parts.seconds_left_out
    assert left_out == pytest.approx(0.55, abs=0.03)
    first, second = (
        next(each for each in heard.parts.parts if each[0] <= place < each[1])
        for place in (2 * RATE, int(2.6 * RATE) - 1)
    )
    assert first[1] - 2 * RATE == pytest.approx(0.025 * RATE, abs=0.02 * RATE)
    assert 2.6 * RATE - second[0] == pytest.approx(0.025 * RATE, abs=0.02 * RATE)


def test_room_tone_is_shortened_where_there_is_much_of_it(voice, finder):
    """Noise whose single samples are not quiet beside the voice."""
    power = np.mean(np.square(voice[: len(voice) // 1024 * 1024].reshape(-1, 1024)), axis=1)
    level = np.sqrt(np.sum(power**2) / np.sum(power))
    tone = background("noise", 2.4) / 5e-4 * level * 10 ** (-33 / 20)
    assert np.abs(tone).max() > level * 10 ** (-25 / 20)
    pieces, pauses = np.split(voice, (RATE // 2, RATE, 2 * RATE)), np.split(tone, 4)
    wave = np.concatenate([each for pair in zip(pieces, pauses) for each in pair] + [voice[-RATE // 2 :]])
    plain, heard = hear(np.concatenate([voice, voice[-RATE // 2 :]])), hear(wave)
    left_out = heard.parts.seconds_left_out - plain.parts.seconds_left_out
    assert 3.5 * 0.55 < left_out < 5 * 0.55
    little = hear(np.insert(voice, 2 * RATE, tone[: RATE // 2])).parts
    assert little.seconds_left_out == pytest.approx(hear(voice).parts.seconds_left_out, abs=0.1)


def test_quiet_sounds_of_speech_stay(voice, finder):
    plain = hear(voice).parts
    assert plain.seconds_left_out < 0.3
    pause = 0.25  # of this voice
    loud = 8 if finder == "silero" else 2  # by the pitch, what is 20 dB quieter than a laugh is none
    wave = np.concatenate([voice, loud * voice[: RATE // 2]])
    assert hear(wave).parts.seconds_left_out < plain.seconds_left_out + pause
    quiet = hear(voice * np.float32(0.02 / np.abs(voice).max())).parts
    assert quiet.seconds_left_out < plain.seconds_left_out + pause


def test_a_bang_beside_quiet_speech_does_not_replace_it(voice, finder):
    time = np.arange(int(0.3 * RATE)) / RATE
    bang = 0.9 * np.sin(400 * np.pi * time) * np.hanning(len(time))
    wave = np.concatenate([0.02 * voice / np.abs(voice).max(), background("zeros", 0.2), bang])
    if finder == "pitch":  # by which the bang is the only voice
        with pytest.raises(AudioError, match="holds 0"):
            hear(wave.astype(np.float32))
    else:
        heard = hear(wave.astype(np.float32))
        assert heard.parts.is_whole and heard.quality.speech_seconds > 2


def test_parts_meet_at_the_value_of_silence(voice, tmp_path):
    wave = np.concatenate([voice, background("zeros", 3), voice])
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="PCM_U8")
    unit, native = (read_recording(tmp_path / "a.wav", scale=scale) for scale in ("unit", "native"))
    assert len(unit.stretches) >= 2
    np.testing.assert_allclose((native.waveform - 128) / 128, unit.waveform, atol=1e-6)
    windows = {"unit": [], "native": []}
    for scale, found in windows.items():
        use_windows(tmp_path / "a.wav", found.append, window_seconds=20, scale=scale)
    np.testing.assert_allclose((windows["native"][0] - 128) / 128, windows["unit"][0], atol=1e-6)
    assert len(windows["unit"][0]) < len(wave) - RATE


def test_without_speech_nothing_is_cut_and_the_gate_refuses(finder):
    wave = background("noise", 20).astype(np.float32)
    assert find_spoken_parts(wave, finder=finder).is_whole
    with pytest.raises(AudioError, match=r"holds no voice|is silent"):
        hear(wave)
    assert find_spoken_parts(np.zeros(0, np.float32)).parts == ((0, 0),)
    assert find_spoken_parts(np.zeros(100, np.float32)).parts == ((0, 100),)


def test_speech_of_a_tenth_in_room_tone_passes(voice):
    pytest.importorskip("silero_vad")
    pytest.importorskip("onnxruntime")
    wave = np.concatenate([voice, background("room", 40)]).astype(np.float32)
    assert recording_quality.measure_quality(wave, finder="silero").speech_seconds > 2


def test_parts_of_joined_stretches_are_located():
    parts = SpokenParts(((RATE, 4 * RATE), (6 * RATE, 8 * RATE)), 10 * RATE)
    assert parts.locate([(0, 10)]) == ((1, 4), (6, 8))
    assert parts.locate([(100, 103), (200, 207)]) == ((101, 103), (200, 201), (203, 205))
    assert parts.seconds_left_out == 5 and not parts.is_whole
    assert parts.notes[0].endswith("1.0 s at the beginning, 2.0 s in pauses, 2.0 s at the end")
    wave = np.arange(10 * RATE, dtype=np.float32)
    cut = parts.cut(wave)
    assert len(cut) == 5 * RATE and cut[100] == RATE + 100 and cut[3 * RATE] == 0 and cut[-1] == 8 * RATE - 1
    assert wave[4 * RATE - 1] == 4 * RATE - 1  # unchanged


@pytest.mark.parametrize("policy", ["best", "all"])
def test_a_long_recording_of_little_speech_is_no_silence(voice, finder, policy, tmp_path):
    half = len(voice) // 2
    pieces = [background("noise", 30), voice[:half], background("noise", 45, 1), voice[half:]]
    soundfile.write(tmp_path / "a.wav", np.concatenate(pieces), RATE, subtype="FLOAT")
    found = read_recording(tmp_path / "a.wav", scale="unit", long=LongRecordings(policy, 60))
    assert len(found.waveform) < 5 * RATE and found.seconds == pytest.approx(79, abs=0.01)
    assert all(begin > 29 and not 33 < begin < 76 for begin, _ in found.stretches)
    assert found.notes[0].startswith("long: 1:19; ")
    windows = []
    heard = use_windows(tmp_path / "a.wav", windows.append, window_seconds=10, scale="unit")
    assert 2.5 * RATE < sum(map(len, windows)) < 5 * RATE
    assert "s in them in which nobody speaks" in heard.notes[0]


def test_caches_keep_the_two_speech_finders_apart(monkeypatch, tmp_path):
    read = []

    def read_recording(path):
        read.append(os.environ[recording_quality.FINDER_VARIABLE])
        return np.ones(3, np.float32), None

    model = SimpleNamespace(
        long_recordings=DEFAULT_LONG_RECORDINGS,
        read_recording=read_recording,
        encode_voices=lambda batch: batch,
        encode_faces=None,
        face_batch_size=4,
        load_photograph=None,
        voice_batch_size=4,
        fingerprint="abc",
    )
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    for finder in ("pitch", "pitch", "silero", "pitch"):
        monkeypatch.setenv(recording_quality.FINDER_VARIABLE, finder)
        embed(model, [tmp_path / "a.wav"], [], cache=tmp_path / "cache", workers=0, progress=False)
    assert read == ["pitch", "silero"]
    monkeypatch.setenv(recording_quality.FINDER_VARIABLE, "none")
    with pytest.raises(ValueError, match="expected"):
        embed(model, [tmp_path / "a.wav"], [], cache=tmp_path / "cache", workers=0, progress=False)
