"""Who speaks in a video: generated mouths and synthetic voices."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product

import numpy as np
import pytest
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.voice.phonetics import PHONES, VOWELS
from voiceface.synthetic.voice.speech_synthesis import synthesise_clip
from voiceface.videos.active_speaker import (
    REASONS,
    SpeechLengths,
    attribute_speech,
    find_speech_segments,
)
from voiceface.videos.mouth_motion import (
    ALL_LAGS,
    GRID_RATE,
    band_limit,
    compute_band_levels,
    match_motion,
    resample_mouth,
)
from voiceface.videos.speaker_turns import best_path

RATE = 16000
IMAGES = 25.0
LEAD = 0.06  # s, of mouths before the sound
PEOPLE = sample_identities(range(6), seed=11)
NO_FACE, STILL, OTHER_WORDS, TWO_MOUTHS, TOO_SHORT = REASONS


@dataclass
class Track:
    """What `attribute_speech` reads of a face track."""

    times: np.ndarray
    mouth: np.ndarray
    shot: int = 0


@dataclass
class Faces:
    """What `attribute_speech` reads of `VideoFaces`."""

    tracks: tuple[Track, ...]
    cuts: tuple[float, ...] = ()


@cache
def voice(person: int, clip: int, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Waveform, and opening of the lips at 100 Hz: vowels by their first formant, lips closed for p, b, m."""
    spoken = synthesise_clip(PEOPLE, person, clip, seconds=seconds)
    widths = [0.1 + (phone.f1 - 300) / 900 if phone in VOWELS else 0.08 for phone in PHONES]
    for index, phone in enumerate(PHONES):
        widths[index] *= phone.name not in ("p", "b", "m", "f", "v", "w", "silence")
    opening = np.convolve(np.array(widths)[spoken.phones], np.hanning(15) / np.hanning(15).sum(), "same")
    return spoken.samples.astype(np.float32) / 32768, opening


class Recording:
    """A sound of some seconds, and mouths that move with parts of it."""

    def __init__(self, seconds: float, *, noise: float = 0.01) -> None:
        self.noise, self.rng = noise, np.random.default_rng(7)
        self.sound = 3e-4 * self.rng.normal(size=int(seconds * RATE)).astype(np.float32)
        self.mouths: list[np.ndarray] = []

    def add_face(self) -> int:
        self.mouths.append(np.zeros(len(self.sound) // 160))
        return len(self.mouths) - 1

    def say(self, start: float, seconds: float, person: int, clip: int, *faces: int, audible: bool = True):
        wave, opening = voice(person, clip, seconds)
        if audible:
            self.sound[int(start * RATE) :][: len(wave)] += wave
        for face in faces:
            self.mouths[face][int(start * 100) :][: len(opening)] += 0.3 * opening

    def track(self, face: int, *, start=0.0, end=None, delay=-LEAD, dropped=0.0, shot=0) -> Track:
        end = len(self.sound) / RATE if end is None else end
        times = np.arange(start, end, 1 / IMAGES)
        times = times[self.rng.random(len(times)) >= dropped]
        at = np.arange(len(self.mouths[face])) / 100
        moved = np.interp(times - delay, at, self.mouths[face])
        return Track(times, moved + self.noise * self.rng.normal(size=len(times)), shot)


def owners(sound: np.ndarray, *tracks: Track, cuts: tuple[float, ...] = ()) -> list[tuple[int | None, str]]:
    return [(each.track, each.reason) for each in attribute_speech(sound, Faces(tracks, cuts))]


def test_speech_is_found_with_short_pauses_joined():
    video = Recording(14)
    for start, seconds in ((1, 3.0), (4.1, 2.0), (9, 2.5)):
        video.say(start, seconds, 0, int(start))
    segments = find_speech_segments(video.sound, SpeechLengths(max_pause=0.6))
    np.testing.assert_allclose(
        [(each.start, each.end) for each in segments], [(1, 6.1), (9, 11.5)], atol=0.35
    )
    assert find_speech_segments(video.sound, SpeechLengths(max_pause=9)) != segments


def test_segments_keep_their_lengths():
    video = Recording(30)
    video.say(1, 28.0, 1, 3)
    lengths = SpeechLengths(min_seconds=0.8, max_seconds=4, max_pause=1)
    segments = find_speech_segments(video.sound, lengths)
    assert len(segments) >= 7
    assert all(0.8 <= each.seconds <= 4 for each in segments)
    assert all(one.end <= other.start for one, other in pairwise(segments))
    assert sum(each.seconds for each in segments) > 24


def test_silence_and_noise_are_no_speech():
    assert find_speech_segments(np.zeros(5 * RATE, np.float32)) == []
    noise = np.random.default_rng(1).normal(size=5 * RATE).astype(np.float32)
    assert find_speech_segments(0.02 * noise) == []
    assert find_speech_segments(np.zeros(0, np.float32)) == []


def test_quiet_speech_is_found_like_loud_speech():
    video = Recording(8)
    video.say(1, 6.0, 2, 5)
    loud, quiet = (find_speech_segments(gain * video.sound) for gain in (1, 0.01))
    assert len(loud) == len(quiet)
    for one, other in zip(loud, quiet, strict=True):
        assert (one.start, one.end) == pytest.approx((other.start, other.end), abs=0.3)


@pytest.mark.parametrize("wave", [np.zeros((2, 9), np.float32), np.zeros(9, np.int16), np.full(9, np.nan)])
def test_waveforms_of_another_kind_are_refused(wave):
    with pytest.raises(ValueError, match="waveform"):
        find_speech_segments(wave)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_face_whose_mouth_moves_with_the_sound_speaks(order):
    video = Recording(7)
    speaker, listener = video.add_face(), video.add_face()
    video.say(1, 5.0, 0, 1, speaker)
    tracks = [video.track(each) for each in (speaker, listener)]
    found = attribute_speech(video.sound, Faces(tuple(tracks[each] for each in order)))
    assert {each.track for each in found} == {order.index(0)}
    assert all(each.reason == "" and each.correlation > 0.5 and each.margin > 0.2 for each in found)


@pytest.mark.parametrize("delay", [-0.16, 0.0, 0.1])
def test_sound_and_picture_may_be_apart(delay):
    video = Recording(7)
    face = video.add_face()
    video.say(1, 5.0, 2, 1, face)
    found = attribute_speech(video.sound, Faces((video.track(face, delay=delay),)))
    assert [each.track for each in found] == [0] * len(found) != []
    assert np.mean([each.lag for each in found]) == pytest.approx(-delay, abs=0.06)


def test_lost_images_cost_nothing():
    video = Recording(7)
    face = video.add_face()
    video.say(1, 5.0, 3, 1, face)
    track = video.track(face, dropped=0.25)
    track.mouth[::9] = np.nan
    assert {owner for owner, _ in owners(video.sound, track)} == {0}


def test_two_people_in_turn_are_told_apart():
    video = Recording(17)
    left, right = video.add_face(), video.add_face()
    video.say(0.5, 5.0, 0, 1, left)
    video.say(5.7, 5.0, 1, 1, right)
    video.say(10.9, 5.0, 0, 2, left)
    found = attribute_speech(video.sound, Faces((video.track(left), video.track(right))))
    for each in found:
        middle = (each.segment.start + each.segment.end) / 2
        assert each.track in ((1 if 5.6 < middle < 10.8 else 0), None)
    seconds = sum(each.segment.seconds for each in found if each.track is not None)
    assert seconds > 12


def test_a_voice_over_is_refused():
    video = Recording(7, noise=0.004)
    still, other, eats = (video.add_face() for _ in range(3))
    video.say(1, 5.0, 0, 1)
    video.say(0.5, 6.0, 1, 4, other, audible=False)
    video.mouths[eats] += 0.15 * np.maximum(0, np.sin(2 * np.pi * 1.4 * np.arange(700) / 100))
    for face, reason in ((still, STILL), (other, OTHER_WORDS), (eats, OTHER_WORDS)):
        answers = owners(video.sound, video.track(face))
        assert answers
        assert set(answers) == {(None, reason)}
    assert set(owners(video.sound)) == {(None, NO_FACE)}


def test_a_listener_who_chews_does_not_speak():
    video = Recording(13)
    speaker, listener = video.add_face(), video.add_face()
    video.say(0.5, 6.0, 0, 1, speaker)
    video.say(7, 5.5, 0, 2, speaker)
    strokes = np.sin(2 * np.pi * 1.5 * np.arange(1300) / 100 + np.sin(np.arange(1300) / 90))
    video.mouths[listener] += 0.15 * np.maximum(0, strokes)
    found = attribute_speech(video.sound, Faces((video.track(listener), video.track(speaker))))
    assert {each.track for each in found} == {1}


def test_speech_dubbed_by_another_text_is_refused():
    for person in range(5):
        video = Recording(12)
        face = video.add_face()
        video.say(0.5, 5.0, person, 21, face, audible=False)
        video.say(6.5, 5.0, person, 22, face, audible=False)
        video.say(0.5, 5.0, person, 23)
        video.say(6.5, 5.0, person, 24)
        answers = owners(video.sound, video.track(face))
        assert set(answers) == {(None, OTHER_WORDS)}


def test_a_silent_face_gets_nothing():
    video = Recording(6)
    face = video.add_face()
    video.say(1, 4.0, 0, 1, face, audible=False)
    assert owners(video.sound, video.track(face)) == []


def test_two_people_at_once_are_refused():
    video = Recording(10)
    left, right = video.add_face(), video.add_face()
    video.say(1, 8.0, 0, 1, left)
    video.say(1, 8.0, 1, 1, right)
    answers = owners(video.sound, video.track(left), video.track(right))
    assert answers
    assert {owner for owner, _ in answers} == {None}
    assert TWO_MOUTHS in {reason for _, reason in answers}


def test_speech_is_split_at_cuts_and_where_the_face_is_gone():
    video = Recording(16)
    face = video.add_face()
    video.say(0.5, 15.0, 0, 6, face)
    tracks = (video.track(face, end=5), video.track(face, start=5, end=10, shot=1))
    found = attribute_speech(video.sound, Faces(tracks, (5.0, 10.0)))
    assert all(each.segment.end <= cut or each.segment.start >= cut for each in found for cut in (5, 10))
    assert {each.track for each in found if each.segment.end <= 5} == {0}
    assert {each.track for each in found if 5 <= each.segment.start < 9} == {1}
    assert {each.reason for each in found if each.segment.start >= 10} <= {NO_FACE, TOO_SHORT}
    assert NO_FACE in {each.reason for each in found}


def test_scale_and_place_of_a_mouth_change_nothing():
    video = Recording(7)
    face = video.add_face()
    video.say(1, 5.0, 4, 1, face)
    track = video.track(face)
    moved = Track(track.times, 2 * track.mouth + 5)
    one, other = (attribute_speech(video.sound, Faces((each,))) for each in (track, moved))
    assert [each.track for each in one] == [each.track for each in other]
    assert [each.correlation for each in one] == pytest.approx([each.correlation for each in other])


def test_band_levels_agree_with_a_plain_spectrum():
    wave = np.random.default_rng(3).normal(size=RATE).astype(np.float32) * np.linspace(0.1, 1, RATE)
    levels, padded = compute_band_levels(wave), np.pad(wave, 256)
    power = np.empty((len(levels), 4))
    for index in range(len(levels)):
        part = padded[index * 320 : index * 320 + 512]
        spectrum = np.abs(np.fft.rfft(np.pad(part, (0, 512 - len(part))) * np.hanning(512))) ** 2
        bins = np.arange(257) * 31.25
        for band, (low, high) in enumerate(((500, 900), (900, 1500), (1500, 2500), (2500, 4000))):
            power[index, band] = spectrum[(bins >= low) & (bins < high)].sum()
    reference = np.percentile(power, 95, axis=0)
    expected = 10 * np.log10(power / reference + 1e-3).mean(axis=1)
    np.testing.assert_allclose(levels, expected, atol=1e-3)


def test_only_the_rhythm_of_speech_passes():
    at = np.arange(1000) / GRID_RATE
    inside = slice(100, -100)
    kept = band_limit(np.sin(2 * np.pi * 3 * at))[inside].std()
    assert kept > 3 * band_limit(np.sin(2 * np.pi * 0.15 * at))[inside].std()
    assert kept > 20 * band_limit(np.sin(2 * np.pi * 20 * at))[inside].std()


def test_long_gaps_of_a_mouth_are_unknown():
    times = np.array([0.0, 0.1, 0.2, 0.8, 0.9])
    opening, known = resample_mouth(times, np.arange(5.0), 0, 60)
    np.testing.assert_allclose(opening[known], np.interp(np.flatnonzero(known) / GRID_RATE, times, range(5)))
    assert known[:11].all() and known[41:46].all()
    assert not known[12:40].any() and not known[47:].any()


def test_agreement_agrees_with_pearsons_correlation():
    rng = np.random.default_rng(5)
    sound = band_limit(rng.normal(size=2000))
    mouth, valid = sound[505:755] + 0.5 * band_limit(rng.normal(size=250)), np.ones(250, bool)
    match = match_motion(mouth, valid, sound, 500)
    assert match.lag == pytest.approx(0.1)
    part = sound[505:755]
    plain = [np.corrcoef(f(mouth), f(part))[0, 1] for f in (np.asarray, np.gradient)]
    assert match.correlation == pytest.approx(np.mean(plain), abs=0.03)
    assert match.p_value < 0.01


def test_independent_mouths_have_uniform_p_values():
    rng = np.random.default_rng(6)
    sound = band_limit(rng.normal(size=6000))
    values = [
        match_motion(band_limit(rng.normal(size=200)), np.ones(200, bool), sound, first).p_value
        for first in range(500, 5500, 50)
    ]
    assert 0.4 < np.mean(values) < 0.6
    assert np.mean(np.array(values) <= 0.05) <= 0.12


def test_scores_of_short_files_are_standard_deviations():
    """Mouths that speak other words, in files with few independent places to compare with."""
    scores = []
    for person, clip in product(range(4), range(3)):
        wave, _ = voice(person, 40 + clip, 9.0)
        _, opening = voice((person + 1) % 4, 50 + clip, 9.0)
        sound = band_limit(compute_band_levels(wave))
        mouth = band_limit(np.interp(np.arange(450) / GRID_RATE, np.arange(len(opening)) / 100, opening))
        for first in range(25, 300, 50):
            part = mouth[first : first + 100]
            scores.append(match_motion(part, np.ones(100, bool), sound, first).score)
    assert abs(np.mean(scores)) < 0.3
    assert 0.7 < np.std(scores) < 1.3
    assert np.mean(np.array(scores) > 2.5) <= 0.03


def test_people_of_one_file_may_differ_in_how_far_the_mouth_leads():
    video = Recording(17)
    left, right = video.add_face(), video.add_face()
    video.say(0.5, 5.0, 0, 1, left)
    video.say(5.7, 5.0, 1, 1, right)
    video.say(10.9, 5.0, 0, 2, left)
    tracks = video.track(left, delay=-0.12), video.track(right, delay=0.04)
    found = attribute_speech(video.sound, Faces(tracks))
    for face, begin, end in ((0, 0.5, 5.5), (1, 5.7, 10.7), (0, 10.9, 15.9)):
        own = [each for each in found if begin - 0.3 < each.segment.start and each.segment.end < end + 0.3]
        assert sum(each.segment.seconds for each in own if each.track == face) > 3.5


def test_lags_beyond_the_limits_are_not_used():
    sound = band_limit(np.random.default_rng(8).normal(size=2000))
    late = match_motion(sound[508:758], np.ones(250, bool), sound, 500)
    assert late.correlation > 0.95
    limited = match_motion(sound[508:758], np.ones(250, bool), sound, 500, (ALL_LAGS[0], 2))
    assert limited.correlation < 0.5


def test_the_best_path_is_the_best_of_all_paths():
    rng = np.random.default_rng(9)
    for _ in range(20):
        gains, costs = rng.normal(size=(3, 6)), rng.random(6)

        def total(path, gains=gains, costs=costs):
            changes = sum(costs[n] for n in range(1, 6) if path[n] != path[n - 1])
            return sum(gains[state, n] for n, state in enumerate(path)) - changes

        best = max(product(range(3), repeat=6), key=total)
        assert tuple(best_path(gains, costs)) == best
