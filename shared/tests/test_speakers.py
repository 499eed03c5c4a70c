"""Several speakers in one recording: parts that differ, and the note of own recordings."""

import numpy as np
import pytest
import soundfile
from sound_files import RATE
from voiceface.audio.vad import SpeechError
from voiceface.real import speakers
from voiceface.real.recordings import read_own_recording
from voiceface.real.speakers import SPEAKER_SIMILARITY, compare_parts, note_speakers


def partials(cosine, counts, spread=0.0, seed=0):
    """Embeddings of two speakers of a given cosine, alternating in turns of so many."""
    rng = np.random.default_rng(seed)
    first, second = np.linalg.qr(rng.standard_normal((64, 2)))[0].T
    people = first, cosine * first + np.sqrt(1 - cosine**2) * second
    rows = [people[turn % 2] for turn, count in enumerate(counts) for _ in range(count)]
    noise = rng.standard_normal((len(rows), 64)) / 8
    return (np.stack(rows) + spread * noise).astype(np.float32)


class Encoder:
    """Gives stored embeddings and remembers what it heard."""

    def __init__(self, found):
        self.found, self.heard = found, []

    def embed_partials(self, waveform):
        self.heard.append(waveform)
        if self.found is None:
            raise SpeechError("no voice")
        return self.found


@pytest.fixture
def install(monkeypatch):
    def run(found):
        encoder = Encoder(found)
        monkeypatch.setattr(speakers, "find_installed", lambda name: object())
        monkeypatch.setattr(speakers, "_load_encoder", lambda folder: encoder)
        return encoder

    return run


@pytest.mark.parametrize("counts", [(12, 12), (20, 6), (6, 20), (8, 8, 8, 8)])
def test_two_speakers_have_two_centres(counts):
    for cosine in (0.2, 0.5, 0.7):
        found = compare_parts(partials(cosine, counts))
        assert found < SPEAKER_SIMILARITY and found == pytest.approx(cosine, abs=0.12)


def test_one_speaker_has_one():
    for seed in range(10):
        assert compare_parts(partials(1.0, (15,), spread=0.3, seed=seed)) > SPEAKER_SIMILARITY
    assert compare_parts(np.ones((9, 4), np.float32)) == pytest.approx(1.0)
    assert compare_parts(partials(0.1, (1, 2))) is None


def test_order_of_the_two_speakers_does_not_matter():
    rows = partials(0.4, (10, 7), spread=0.2)
    assert compare_parts(rows) == pytest.approx(compare_parts(rows[::-1]), abs=1e-5)


def test_short_recordings_and_those_without_voice_get_no_note(install):
    encoder = install(partials(0.1, (5, 5)))
    assert note_speakers(np.zeros(3 * RATE)) == () and not encoder.heard
    assert note_speakers(np.zeros(5 * RATE))[0].startswith("several speakers: ")
    install(None)
    assert note_speakers(np.zeros(5 * RATE)) == ()
    install(partials(1.0, (8,), spread=0.1))
    assert note_speakers(np.zeros(5 * RATE)) == ()


def test_of_a_longer_recording_beginning_middle_and_end_are_heard(install):
    encoder = install(partials(0.1, (5, 5)))
    note_speakers(np.arange(100 * RATE) / RATE)
    (heard,) = encoder.heard
    assert len(heard) == pytest.approx(30 * RATE, abs=3)
    assert heard[0] == 0 and heard[-1] == pytest.approx(100, abs=1e-3)
    assert 45 < heard[len(heard) // 2] < 55
    note_speakers(np.arange(20 * RATE) / RATE)
    assert len(encoder.heard[1]) == 20 * RATE


@pytest.mark.parametrize("scale", ["int16", "unit", "native"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_U8"])
def test_the_note_of_an_own_recording_and_its_scale(install, tmp_path, scale, subtype):
    time = np.arange(5 * RATE) / RATE
    wave = 0.3 * np.sin(2 * np.pi * 150 * time) + 0.2 * np.sin(2 * np.pi * 450 * time + 1)
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype=subtype)
    without = read_own_recording(tmp_path / "a.wav", scale=scale)
    encoder = install(partials(0.1, (5, 5)))
    found = read_own_recording(tmp_path / "a.wav", scale=scale)
    assert [note.partition(":")[0] for note in found.notes[len(without.notes) :]] == ["several speakers"]
    np.testing.assert_array_equal(found.waveform, without.waveform)
    np.testing.assert_allclose(encoder.heard[0], wave, atol=0.02)


def test_without_the_voice_encoder_there_is_no_note():
    assert note_speakers(np.random.default_rng(0).standard_normal(8 * RATE)) == ()
