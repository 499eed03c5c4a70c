"""Synthetic speech: acoustics follow from factors, samples from the seed."""

import hashlib

import numpy as np
import pytest
from voiceface.runtime.process_pool import map_unordered
from voiceface.synthetic.identities import num_videos, sample_identities
from voiceface.synthetic.voice.phonetics import (
    FRAME_RATE,
    PHONES,
    VOWELS,
    build_tracks,
    generate_control_tracks,
    speaker_formants,
)
from voiceface.synthetic.voice.speech_synthesis import (
    SAMPLE_RATE,
    SyntheticClip,
    synthesise_clip,
    synthesise_speech,
)
from voiceface.synthetic.voice.vocal_tract import throat_response
from voiceface.synthetic.voice.voice_traits import voice_traits

SPEAKERS = np.arange(309, 321)


@pytest.fixture(scope="module")
def identities():
    return sample_identities(SPEAKERS)


@pytest.fixture(scope="module")
def clips(identities) -> list[SyntheticClip]:
    return [synthesise_clip(identities, i, i % 4, seconds=2.5) for i in range(len(identities))]


def steady_vowel_tracks(identities, index, vowel, *, seconds, f0):
    """Control tracks of one vowel without melody."""
    frames = int(np.ceil(seconds * FRAME_RATE)) + 1
    phone, fraction = np.full(frames, vowel), np.full(frames, 0.5)
    return build_tracks(identities, index, phone, fraction, np.full(frames, float(f0)))


def digest_of(item: tuple[int, int]) -> str:
    """Hash of one clip, in any process."""
    k, clip = item
    identities = sample_identities([k])
    return hashlib.sha256(synthesise_clip(identities, 0, clip, seconds=1.0).samples.tobytes()).hexdigest()


def test_golden_samples():
    golden = [61, -1030, -1724, -2496, -1038, 911, -1610, -229, 526, -3677]
    golden += [558, 155, -16, 598, 1961, 1168, 897, -784, -3091, -24]
    samples = synthesise_clip(sample_identities([7]), 0, 1, seconds=2.0).samples.astype(int)
    assert np.abs(samples[3000:31000:1400] - golden).max() <= 2


@pytest.mark.parametrize(
    ("k", "golden"),
    [
        (0, [-2, 82, 2418, 1852, 1700, 6031, -36, -923, -9232, -120, 331, -9786]),
        (3, [-5326, -4442, -18652, 816, -5075, -621, 737, 3181, -996, 5754, 1834, 2787]),
        (4, [2662, -1075, 122, 6410, -2279, -119, 8017, -1918, -823, -93, 96, 2292]),
        (830, [347, 356, -4497, 8889, -1719, 3433, 7811, -2317, -122, -2634, -1092, -55]),
    ],
)
def test_golden_samples_of_long_clips(k, golden):
    """Speaker 830 has the strongest nasal coupling."""
    identities = sample_identities([k], confound=1.0)
    samples = synthesise_clip(identities, 0, k % 4, seconds=5.0).samples.astype(int)
    assert np.abs(samples[4000:76000:6000] - golden).max() <= 2


def test_clips_do_not_depend_on_order_others_or_workers(identities):
    items = [(309 + k, clip) for k in range(3) for clip in range(2)]
    alone = {item: digest_of(item) for item in items}
    assert len(set(alone.values())) == len(items)
    for workers, order in ((1, items[::-1]), (2, items)):
        assert dict(map_unordered(digest_of, order, workers=workers, progress=False)) == alone
    other = synthesise_clip(identities, 2, 1, seconds=1.0).samples
    assert hashlib.sha256(other.tobytes()).hexdigest() == alone[311, 1]


def test_clips_do_not_depend_on_the_coupling():
    loose, tight = (sample_identities([330, 331], rho=rho) for rho in (0.0, 1.0))
    for i in range(2):
        first, second = (synthesise_clip(p, i, 0, seconds=1.0).samples.tobytes() for p in (loose, tight))
        assert first == second


def test_shape_level_and_silence(clips):
    for clip in clips:
        assert clip.samples.dtype == np.int16
        assert clip.samples.shape == (40_000,)
        assert clip.sample_rate == SAMPLE_RATE
        wave = clip.samples.astype(float) / 32768
        assert np.abs(wave).max() < 0.98
        assert -32 < 20 * np.log10(np.sqrt(np.square(wave).mean())) < -15.5
        assert abs(wave.mean()) < 0.01 * wave.std()
        assert not clip.speech[-1]
        assert 0.4 < clip.voiced.mean() < 0.95
        # No clicks: differences of neighbours stay below those of the loudest frication.
        assert np.abs(np.diff(wave)).max() < 14 * wave.std()


def test_pitch_by_an_independent_tracker(clips):
    good = []
    for clip in clips:
        times, pitch = pitch_by_difference(clip.samples.astype(float))
        frames = np.minimum(np.rint(times * FRAME_RATE).astype(int), len(clip.f0) - 1)
        heard = clip.voiced[frames]
        assert heard.sum() > 0.25 * clip.voiced.sum()  # two frames of ground truth per analysed frame
        errors = np.abs(pitch[heard] / clip.f0[frames][heard] - 1)
        good.append(np.median(errors) < 0.02 and heard.mean() > 0.9)
    assert np.mean(good) >= 0.9


def pitch_by_difference(
    wave: np.ndarray, low: int = 55, high: int = 450, window: int = 800, hop: int = 320
) -> tuple[np.ndarray, np.ndarray]:
    """Times (s) and pitch (Hz) of the frames in which a wave repeats itself.

    A frame's period is the first lag in whose neighbourhood the squared difference of wave and shifted wave,
    divided by its mean over all shorter lags, has a low minimum (de Cheveigne and Kawahara 2002).
    """
    longest, shortest = SAMPLE_RATE // low, SAMPLE_RATE // high
    starts = np.arange(0, len(wave) - window - longest, hop)
    frames = wave[starts[:, None] + np.arange(window + longest)]
    head, whole = np.fft.rfft(frames[:, :window], 2048), np.fft.rfft(frames, 2048)
    products = np.fft.irfft(np.conj(head) * whole, 2048)[:, : longest + 1]
    power = np.cumsum(np.pad(frames**2, ((0, 0), (1, 0))), axis=1)
    energy = power[:, window : window + longest + 1] - power[:, : longest + 1]
    difference = np.maximum(energy[:, :1] + energy - 2 * products, 0)[:, 1:]
    relative = difference / np.maximum(np.cumsum(difference, axis=1) / np.arange(1, longest + 1), 1e-12)
    times, pitch = [], []
    for start, row in zip(starts, relative):
        below = np.flatnonzero(row[shortest - 1 :] < 0.25)
        if len(below):
            place = below[0] + shortest - 1
            while place + 1 < longest and row[place + 1] < row[place]:
                place += 1
            pitch.append(SAMPLE_RATE / (place + 1))
            times.append((start + (window + place) / 2) / SAMPLE_RATE)
    return np.array(times), np.array(pitch)


def test_voice_activity(clips):
    webrtcvad = pytest.importorskip("webrtcvad")
    shares = []
    for clip in clips:
        vad = webrtcvad.Vad(2)
        frames = clip.samples[: len(clip.samples) // 480 * 480].reshape(-1, 480)
        shares.append(np.mean([vad.is_speech(frame.tobytes(), SAMPLE_RATE) for frame in frames]))
    assert 0.5 < np.mean(shares) < 0.97
    assert np.mean([0.5 < share < 0.97 for share in shares]) >= 0.9


def test_formants_of_steady_vowels_by_linear_prediction(identities):
    errors = []
    for i in range(5):
        for vowel in (0, 4, 8):
            f0 = 100 if identities.sex[i] else 160
            tracks = steady_vowel_tracks(identities, i, vowel, seconds=0.4, f0=f0)
            wave = synthesise_speech(identities, i, tracks, seed=0, clip=0, seconds=0.4)[2400:4000]
            # What the throat does to all sounds of a speaker is taken out, as it belongs to no formant.
            throat = np.abs(throat_response(voice_traits(identities, i)))
            spectrum = np.fft.rfft(wave * np.hanning(len(wave)))
            spectrum /= np.interp(np.linspace(0, 1, len(spectrum)), np.linspace(0, 1, len(throat)), throat)
            found = linear_prediction_formants(np.fft.irfft(spectrum, len(wave)), 18)
            errors.append([np.abs(found / true - 1).min() for true in tracks.formants[10, 1:3]])
    assert np.mean(np.array(errors) < 0.08) >= 0.9
    assert np.median(errors) < 0.03


def linear_prediction_formants(wave: np.ndarray, order: int) -> np.ndarray:
    """Frequencies (Hz) of the narrow poles of an autocorrelation model."""
    from scipy.linalg import solve_toeplitz

    emphasised = np.append(wave[0], wave[1:] - 0.97 * wave[:-1]) * np.hamming(len(wave))
    lags = np.correlate(emphasised, emphasised, "full")[len(wave) - 1 :][: order + 1]
    poles = np.roots(np.append(1, -solve_toeplitz(lags[:-1], lags[1:])))
    poles = poles[poles.imag > 0]
    return np.angle(poles[-SAMPLE_RATE / np.pi * np.log(np.abs(poles)) < 600]) * SAMPLE_RATE / (2 * np.pi)


def test_longer_tract_lowers_every_formant(identities):
    pair = identities.take([0, 0])
    pair.voice_factors[1] = pair.voice_factors[0] + np.eye(8)[1]
    lengthened, other = (speaker_formants(pair, i) for i in (1, 0))
    ratio = lengthened / other
    np.testing.assert_allclose(np.median(ratio, axis=0), np.exp(-0.045), rtol=1e-6)


def test_higher_larynx_factor_raises_the_pitch(identities):
    pair = identities.take([1, 1])
    pair.voice_factors[1] = pair.voice_factors[0] + np.eye(8)[0]
    low, high = (generate_control_tracks(pair, i, 0, seed=0, seconds=2.0) for i in range(2))
    np.testing.assert_allclose(high.f0 / low.f0, np.exp((0.12, 0.15)[identities.sex[1]]), rtol=1e-9)
    np.testing.assert_array_equal(low.phone, high.phone)


def test_age_makes_the_voice_noisier(identities):
    pair = identities.take([2, 2])
    pair.voice_factors[:, 7] = (-1.5, 1.5)
    tracks = steady_vowel_tracks(pair, 0, 4, seconds=1.0, f0=100)
    ratios = []
    for i in range(2):
        wave = synthesise_speech(pair, i, tracks, seed=0, clip=0, seconds=1.0)[3200:12800]
        shifted = [np.corrcoef(wave[:-lag], wave[lag:])[0, 1] for lag in range(155, 166)]
        ratios.append(max(shifted))
    assert ratios[0] > ratios[1]


def test_nuisance_off_leaves_clean_speech(identities):
    clean = synthesise_clip(identities, 3, 0, seconds=2.0, nuisance=0)
    noisy = synthesise_clip(identities, 3, 0, seconds=2.0)
    quiet = slice(-int(0.02 * SAMPLE_RATE), None)
    assert np.abs(clean.samples[quiet].astype(int)).max() < np.abs(noisy.samples[quiet].astype(int)).max()
    np.testing.assert_array_equal(clean.phones, noisy.phones)
    assert 20 * np.log10(clean.samples.std() / 32768) == pytest.approx(-21, abs=0.1)


def test_clips_of_one_video_share_the_channel(identities):
    k = int(identities.ids[0])
    count = num_videos(k)
    videos = [synthesise_clip(identities, 0, clip, seconds=0.5).video for clip in range(2 * count)]
    assert videos == [clip % count for clip in range(2 * count)]


def test_clips_have_pauses_syllables_and_every_phone(identities):
    heard, pauses = set(), 0
    usual = voice_traits(identities, 1).pause_duration
    for clip in range(6):
        tracks = generate_control_tracks(identities, 1, clip, seed=0, seconds=6.0)
        heard |= set(tracks.phone.tolist())
        silent = tracks.phone == len(PHONES) - 1
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], silent, [0]]))))[::2] / 100
        inner = runs[1:-1]
        pauses += len(inner)
        assert ((inner >= 0.15 * usual - 0.02) & (inner <= 0.45 * usual + 0.02)).all()
        assert runs[-1] <= 0.33 + 0.45 * usual  # a pause runs into the silence at the end
        assert ((tracks.f0 >= 55) & (tracks.f0 <= 450)).all()
        assert (np.diff(tracks.formants, axis=1) > 0).all()
    assert pauses >= 12
    assert heard == set(range(len(PHONES)))
    assert len(VOWELS) == 10


@pytest.mark.parametrize(
    "options",
    [
        {"seconds": 0.01},
        {"seconds": 1.0, "nuisance": -1},
        {"seconds": float("nan")},
    ],
)
def test_invalid_values_raise(identities, options):
    with pytest.raises(ValueError):
        synthesise_clip(identities, 0, 0, **options)


def test_very_short_clips_contain_speech(identities):
    for i in range(6):
        clip = synthesise_clip(identities, i, 0, seconds=0.1)
        assert clip.samples.shape == (1600,)
        assert clip.speech.any()
