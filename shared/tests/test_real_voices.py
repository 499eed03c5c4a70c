"""Front end and partial utterances of the voice encoder, without trained weights."""

import numpy as np
import pytest
from voiceface.audio.loading import write_wav
from voiceface.audio.vad import SpeechError
from voiceface.real.backends import Network
from voiceface.real.catalogue import MODELS
from voiceface.real.voice_encoder import (
    VoiceEncoder,
    compute_mel_bands,
    normalise_volume,
    partial_starts,
    prepare_voice,
    remove_long_silences,
)

RATE = 16000


def make_encoder(run=None):
    """Encoder that returns the mean bands, unit length."""

    def mean_bands(batch):
        bands = batch.mean(1)
        return (bands / np.linalg.norm(bands, axis=1, keepdims=True),)

    return VoiceEncoder(Network(MODELS["voice_encoder"], run or mean_bands, "torch", "f"))


def make_speech(seconds, seed=0):
    """Pulses of a voice through two formants, with pauses of 0.1 s: speech to the detector."""
    from scipy.signal import lfilter

    rng = np.random.default_rng(seed)
    count = int(seconds * RATE)
    wave = np.zeros(count)
    wave[:: RATE // 120] = 1
    wave += rng.normal(size=count) * 0.01
    for formant in (500, 1500, 2500):
        radius = np.exp(-np.pi * 80 / RATE)
        wave = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * formant / RATE), radius**2], wave)
    wave *= np.arange(count) % 8000 > 1600
    return (0.1 * wave / np.sqrt(np.mean(wave**2))).astype(np.float32)


@pytest.mark.filterwarnings("ignore:n_fft")
@pytest.mark.parametrize("samples", [1, 150, 401, 16000, 20001])
def test_mel_bands_are_those_of_librosa(samples):
    librosa = pytest.importorskip("librosa")
    wave = np.random.default_rng(0).normal(size=samples).astype(np.float32) * 0.1
    expected = librosa.feature.melspectrogram(
        y=wave, sr=RATE, n_fft=400, hop_length=160, n_mels=40, pad_mode="constant"
    ).T
    found = compute_mel_bands(wave)
    assert found.shape == expected.shape == (1 + samples // 160, 40)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6 * expected.max())


def test_a_part_of_the_frames_is_that_of_all_of_them():
    wave = np.random.default_rng(0).normal(size=9000).astype(np.float32)
    every = compute_mel_bands(np.concatenate([wave, np.zeros(8000, np.float32)]))
    for first, last in ((0, 5), (3, 40), (50, 70), (56, 60), (70, 90)):
        np.testing.assert_allclose(compute_mel_bands(wave, first, last), every[first:last], atol=1e-5)


@pytest.mark.parametrize("rate", [0.625, 1.3, 5])
def test_partial_utterances_cover_the_recording(rate):
    step = round(RATE / rate / 160)
    for samples in (1, 160 * 160, 26000, 40000, 99999):
        starts = partial_starts(samples, rate)
        assert starts[0] == 0 and (np.diff(starts) == step).all()
        left = samples - (starts[-1] + 160) * 160
        assert left < step * 160  # what is dropped is shorter than a step
        assert len(starts) == 1 or (samples - starts[-1] * 160) / 25600 >= 0.75
    assert len(partial_starts(10 * RATE, rate)) > len(partial_starts(5 * RATE, rate))
    for wrong in (0, 0.5, -1, 300):
        with pytest.raises(ValueError, match="rate must be"):
            partial_starts(RATE, wrong)


def test_an_embedding_is_the_normalised_mean_of_its_parts_and_does_not_depend_on_the_others():
    encoder, waves = make_encoder(), [make_speech(s, k) for k, s in enumerate((0.5, 2, 7.7))]
    together = encoder.embed(waves, prepare=False)
    assert together.shape == (3, 40)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    for row, wave in zip(together, waves):
        parts = encoder.embed_partials(wave, prepare=False)
        assert len(parts) == len(partial_starts(len(wave)))
        np.testing.assert_allclose(row, parts.mean(0) / np.linalg.norm(parts.mean(0)), atol=1e-6)
        np.testing.assert_allclose(row, encoder.embed([wave], prepare=False)[0], atol=1e-6)
    assert encoder.embed([]).shape == (0, 256)


def test_long_recordings_are_embedded_piece_by_piece(monkeypatch):
    encoder, wave = make_encoder(), make_speech(12)
    whole = encoder.embed_partials(wave, prepare=False)
    monkeypatch.setattr("voiceface.real.voice_encoder.MAX_WINDOWS", 3)
    np.testing.assert_allclose(encoder.embed_partials(wave, prepare=False), whole, atol=1e-6)


def test_quiet_recordings_are_raised_and_loud_ones_stay():
    quiet = make_speech(1) * 0.01
    raised = normalise_volume(quiet)
    assert 20 * np.log10(np.sqrt(np.mean(raised**2))) == pytest.approx(-30, abs=1e-3)
    loud = make_speech(1)
    assert normalise_volume(loud) is loud
    assert not normalise_volume(np.zeros(9, np.float32)).any()


def test_long_silences_are_removed_and_short_ones_stay():
    speech, silence = make_speech(2), np.zeros(3 * RATE, np.float32)
    kept = remove_long_silences(np.concatenate([speech, silence, speech]))
    assert len(kept) % 480 == 0
    assert 3.5 * RATE < len(kept) < 5 * RATE
    assert len(remove_long_silences(speech)) > 0.9 * len(speech)
    assert len(remove_long_silences(speech[:400])) == 0


def test_no_voice_is_an_error_and_never_an_embedding():
    encoder = make_encoder()
    for prepare in (True, False):
        with pytest.raises(SpeechError, match="no voice found"):
            encoder.embed([make_speech(1), np.zeros(RATE, np.float32)], prepare=prepare)
        with pytest.raises(SpeechError, match="no voice found"):
            encoder.embed([np.zeros(0, np.float32)], prepare=prepare)
    with pytest.raises(SpeechError, match=r"no voice found in 0\.01 s"):
        prepare_voice(make_speech(1)[4000:4160])


def test_waveforms_of_another_kind_are_refused():
    encoder = make_encoder()
    for wrong, words in (
        (np.zeros((2, RATE), np.float32), "must be"),
        (np.zeros(RATE, np.int16), "int16"),
        (np.array([0.1, np.nan]), "not finite"),
    ):
        with pytest.raises(ValueError, match=words):
            encoder.embed([wrong])


def test_files_of_any_rate_are_embedded_and_silent_ones_are_named(tmp_path):
    encoder, wave = make_encoder(), make_speech(3)
    pcm = np.round(wave * 32767).clip(-32768, 32767).astype(np.int16)
    write_wav(tmp_path / "a.wav", pcm, RATE)
    write_wav(tmp_path / "b.wav", np.repeat(pcm, 2), 2 * RATE)
    write_wav(tmp_path / "silent.wav", np.zeros(RATE, np.int16), RATE)
    found = encoder.embed_files([tmp_path / "a.wav", tmp_path / "b.wav"])
    np.testing.assert_allclose(found[0], encoder.embed([pcm / np.float32(32768)])[0], atol=1e-4)
    assert found.shape == (2, 40) and found[0] @ found[1] > 0.99
    with pytest.raises(SpeechError, match=r"silent\.wav: no voice"):
        encoder.embed_files([tmp_path / "a.wav", tmp_path / "silent.wav"])
