"""Voices: speakers differ by more than the factors, without effect on what the factors do."""

from dataclasses import fields, replace

import numpy as np
import pytest
from voiceface.synthetic.dataset import generate_identity
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.layout import build_settings
from voiceface.synthetic.voice import phonetics, speech_synthesis, vocal_tract
from voiceface.synthetic.voice.channel import SAMPLE_RATE
from voiceface.synthetic.voice.phonetics import VOWELS, median_f0, speaker_formants
from voiceface.synthetic.voice.rooms import room_response
from voiceface.synthetic.voice.speech_synthesis import synthesise_clip
from voiceface.synthetic.voice.voice_traits import VoiceTraits, voice_traits
from voiceface.synthetic.writer import write_population

PEOPLE = sample_identities(np.arange(400))
NEUTRAL = {"vowel_space": 0.0, "vowel_shift": np.zeros((len(VOWELS), 3)), "formant_shift": (0.0,) * 5}


def numbers_of(traits: VoiceTraits) -> np.ndarray:
    """All traits in one row."""
    return np.concatenate([np.ravel(getattr(traits, f.name)) for f in fields(VoiceTraits)]).astype(float)


def test_traits_are_independent_of_factors_sex_and_rate():
    traits = np.stack([numbers_of(voice_traits(PEOPLE, i)) for i in range(len(PEOPLE))])
    varied = traits[:, traits.std(0) > 0]
    assert varied.shape[1] >= 70
    known = np.column_stack([PEOPLE.voice_factors, PEOPLE.face_factors, PEOPLE.sex, PEOPLE.speaking_rate])
    both = np.corrcoef(varied.T, known.T)[: varied.shape[1], varied.shape[1] :]
    assert np.abs(both).max() < 0.22  # 1,300 correlations of SD 0.05
    assert np.sqrt(np.square(both).mean()) == pytest.approx(1 / np.sqrt(len(PEOPLE)), rel=0.15)


def test_traits_depend_on_seed_and_number_alone():
    other = sample_identities([7, 5], rho=0.0, confound=1.0)
    np.testing.assert_array_equal(numbers_of(voice_traits(PEOPLE, 5)), numbers_of(voice_traits(other, 1)))
    reseeded = sample_identities([5], seed=1)
    assert (numbers_of(voice_traits(reseeded, 0)) != numbers_of(voice_traits(other, 1))).sum() >= 60


def test_traits_leave_what_the_factors_do(monkeypatch):
    """The mean of log F1 to F3 over the vowels, of the bandwidths and of F4 and F5 belongs to the factors."""
    shifts = []
    for i in range(60):
        traits = voice_traits(PEOPLE, i)
        np.testing.assert_allclose(np.mean(traits.vowel_shift, axis=0), 0, atol=1e-12)
        assert np.log(traits.bandwidth_factor).sum() == pytest.approx(0, abs=1e-12)
        assert sum(traits.formant_shift) == pytest.approx(0, abs=1e-12)
        own = np.log(speaker_formants(PEOPLE, i))
        monkeypatch.setattr(phonetics, "voice_traits", lambda *_, traits=traits: replace(traits, **NEUTRAL))
        shifts.append((own - np.log(speaker_formants(PEOPLE, i)))[: len(VOWELS)].mean(0))
        monkeypatch.undo()
    # Limits between neighbouring formants are all that moves a mean.
    assert np.median(np.abs(shifts), axis=0).max() < 0.03
    assert median_f0(PEOPLE, 0) > 0


def test_people_with_equal_factors_differ_by_their_traits(monkeypatch):
    people = sample_identities(np.arange(24))
    people.voice_factors[:] = 0
    people.sex[:] = 1
    spread, alike = [], voice_traits(PEOPLE, 0)
    for same in (True, False):
        if same:
            for module in (phonetics, speech_synthesis, vocal_tract):
                monkeypatch.setattr(module, "voice_traits", lambda *_: alike)
        clips = [synthesise_clip(people, i, 0, seconds=2.0, nuisance=0) for i in range(24)]
        monkeypatch.undo()
        bands = []
        for clip in clips:
            frames = np.lib.stride_tricks.sliding_window_view(clip.samples.astype(float), 512)[::256]
            power = np.square(np.abs(np.fft.rfft(frames * np.hanning(512), axis=1))).mean(0)[4:244]
            bands.append(10 * np.log10(power.reshape(24, 10).mean(1)))
        spread.append(np.std(bands, axis=0).mean())
    assert spread[1] > 1.05 * spread[0], spread


@pytest.mark.parametrize(
    ("k", "golden"),
    [
        (7, [3540, 431, 2867, -856, -2289, -429, -71, 81, 1569, -2334]),
        (830, [341, -9141, -11068, -4836, -4443, -4466, -1875, 1109, -2157, 4557]),
    ],
)
def test_golden_samples_of_people_with_traits(k, golden):
    identities = sample_identities([k], confound=1.0)
    samples = synthesise_clip(identities, 0, k % 4, seconds=3.0).samples.astype(int)
    assert np.abs(samples[4000:44000:4000] - golden).max() <= 2


def test_rooms_begin_with_the_direct_sound_and_die_away():
    for k in range(20):
        room = room_response(k, 0, seed=0, sample_rate=SAMPLE_RATE)
        assert room[0] == pytest.approx(1, abs=0.2) and len(room) <= 0.36 * SAMPLE_RATE
        energy = np.cumsum(np.square(room)[::-1])[::-1]
        assert energy[len(room) // 2] < 0.05 * energy[0]
        assert 0.002 < energy[1] < 4  # what the room adds to the direct sound
        assert np.flatnonzero(room)[1] > 2  # nothing is nearer than the speaker
    silent = room_response(0, 0, seed=0, sample_rate=SAMPLE_RATE, nuisance=0)
    np.testing.assert_array_equal(silent, np.eye(1, len(silent))[0])
    assert not np.array_equal(room[:400], room_response(19, 1, seed=0, sample_rate=SAMPLE_RATE)[:400])


def test_populations_have_these_voices(tmp_path):
    settings = build_settings("tiny", train=1, val=1, test=1, clips=1, clip_seconds=0.5, images=1)
    assert settings.generator == "voice 3, image 3"
    expected = synthesise_clip(settings.sample_identities([309]), 0, 0, seconds=0.5).samples
    np.testing.assert_array_equal(generate_identity((settings, 309))[0][0], expected)
    write_population(tmp_path, settings, lists=False, workers=1, progress=False)
    (path,) = (tmp_path / "wav" / "id10310").rglob("*.wav")
    assert path.read_bytes().endswith(expected.astype("<i2").tobytes())
