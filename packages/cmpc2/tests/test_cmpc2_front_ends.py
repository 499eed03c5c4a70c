"""Voice front ends and images: librosa, slow twins, lengths, silence, stored features, nothing written."""

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from cmpc2.audio_frontend import (
    audio_preprocess,
    compute_sphinx_bands,
    load_log_mel,
    load_voice,
    prepare_voice,
    remove_silence,
)
from cmpc2.image_frontend import prepare_face, visual_preprocess
from cmpc2.log_mel import compute_decibel_log_mel, crop_or_pad
from cmpc2.model_config import VoiceFrontendConfig
from cmpc2.sphinx import MFCC, dct, dct2, dct3, get_fbank, idct, logspec2s2mfc
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from voiceface.audio.loading import AudioError, write_wav
from voiceface.audio.mel import slaney_mel_filterbank
from voiceface.audio.vad import SpeechError
from voiceface.images.loading import ImageError

Samples = NDArray[np.int16]


# CMPC's decibels


def test_decibels_equal_those_of_librosa(speech: Samples) -> None:
    librosa = pytest.importorskip("librosa")
    waveform = speech.astype(np.float32) / 32768
    power = librosa.feature.melspectrogram(
        y=waveform, sr=16000, n_fft=1600, hop_length=160, n_mels=64, fmin=0, fmax=8000, pad_mode="reflect"
    )
    wanted = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=80.0)
    result = compute_decibel_log_mel(torch.from_numpy(waveform)).numpy()
    assert result.shape == wanted.shape == (64, 1 + len(waveform) // 160) and result.dtype == np.float32
    assert np.abs(result - wanted).max() < 2e-3
    bank = librosa.filters.mel(sr=22050, n_fft=512, n_mels=40, fmin=30, fmax=9000)
    assert np.allclose(slaney_mel_filterbank(512, 40, 30, 9000, 22050).T.numpy(), bank, atol=1e-7)


def test_floor_is_80_decibels_below_the_loudest_value() -> None:
    waveform = torch.zeros(8000)
    waveform[4000] = 1.0
    result = compute_decibel_log_mel(waveform)
    assert float(result.min()) == pytest.approx(float(result.max()) - 80)
    assert float(compute_decibel_log_mel(waveform, top_db=None).min()) == pytest.approx(-100)
    assert float(compute_decibel_log_mel(torch.zeros(8000)).max()) == pytest.approx(-100)


def test_waveform_too_short_for_reflection_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 800 samples"):
        compute_decibel_log_mel(torch.zeros(800))
    with pytest.raises(ValueError, match="0 <= low < high"):
        slaney_mel_filterbank(f_min=9000)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 100))
def test_crops_have_the_requested_length(frames: int, wanted: int, start: int) -> None:
    bands = np.arange(1, 1 + 3 * frames, dtype=np.float32).reshape(3, frames)
    places: list[int] = []
    result = crop_or_pad(bands, wanted, lambda count: places.append(count) or min(start, count - 1))
    assert result.shape == (3, wanted)
    missing = wanted - frames
    if missing <= 0:
        assert places == [1 - missing]
        first = min(start, -missing)
        assert (result == bands[:, first : first + wanted]).all()
    else:
        assert places == [1 + missing % 2]
        assert sorted(result[result > 0].tolist()) == bands.ravel().tolist()
        assert int(np.flatnonzero(result[0])[0]) in ((missing + 1) // 2, (missing + 1) // 2 - missing % 2)


# the sphinx front end


def by_loops(wave: NDArray, front: MFCC, prior: float = 0.0) -> NDArray[np.float64]:
    """Log energies frame by frame, written straight from the description."""
    hop, length, fft = 160, len(front.win), 2 * (len(front.filters) - 1)
    rows = []
    for t in range(len(wave) // hop + 1):
        frame = wave[t * hop : t * hop + length].astype(np.float64)
        frame = np.resize(frame, length) if len(frame) else np.zeros(length)
        before = np.concatenate([[prior], frame[:-1]])
        prior = frame[-1]
        power = np.abs(np.fft.rfft((frame - front.alpha * before) * front.win, fft)) ** 2
        rows.append(np.log(np.maximum(1e-5, power @ front.filters)))
    return np.stack(rows)


@pytest.mark.parametrize("count", [1, 100, 160, 399, 400, 401, 560, 4000])
def test_log_energies_by_loops(count: int) -> None:
    waveform = np.random.default_rng(count).integers(-9000, 9000, count)
    front = MFCC(carry=False)
    assert np.allclose(front.sig2logspec(waveform), by_loops(waveform, front), atol=1e-9)


def test_published_object_carries_state_into_the_next_utterance() -> None:
    one, other = np.random.default_rng(0).integers(-9000, 9000, (2, 1000))
    used = MFCC()
    first = used.sig2logspec(one)
    second = used.sig2logspec(other)
    assert np.allclose(first, by_loops(one, used))
    last = one[960:1000]
    assert np.allclose(second, by_loops(other, used, prior=float(np.resize(last, 409)[-1])))
    assert not np.allclose(second, MFCC().sig2logspec(other))


def test_bank_by_loops() -> None:
    front = MFCC(24, lowerf=20, upperf=1050, nfft=256, wlen=0.016)  # so coarse that corners fall together
    mel = [2595 * math.log10(1 + f / 700) for f in (20, 1050)]
    edges = [round(700 * (10 ** (m / 2595) - 1) / 62.5) for m in np.linspace(*mel, 26)]
    wanted = np.zeros((129, 24))
    for band in range(24):
        left, centre, right = edges[band : band + 3]
        height = 2 / ((right - left) * 62.5)
        for k in range(left + 1, max(right, centre + 1)):
            if k < centre:
                wanted[k, band] = (k - left) * height / (centre - left)
            elif k == centre:
                wanted[k, band] = height
            else:
                wanted[k, band] = (k - right) * height / (centre - right)
    assert any(edges[i] == edges[i + 1] for i in range(25))
    assert np.allclose(front.filters, wanted)


def test_cosine_transforms_by_sums_and_their_inverses() -> None:
    rows = np.random.default_rng(1).normal(size=(3, 10))
    table = np.array([[math.cos(math.pi * (n + 0.5) * k / 10) for k in range(10)] for n in range(10)])
    halved = rows * np.where(np.arange(10) == 0, 0.5, 1)
    assert np.allclose(logspec2s2mfc(rows, 4), (halved @ table / 10)[:, :4])
    assert np.allclose(dct2(rows, 4), (rows @ table / 5)[:, :4])
    assert np.allclose(idct(dct(rows, 10), 10), rows)
    assert np.allclose(dct3(dct2(rows, 10), 10), rows)
    assert np.allclose((dct(rows, 10) ** 2).sum(1), (rows**2).sum(1))


def test_features_are_standardised_and_repeated_but_never_cut(speech: Samples) -> None:
    short = get_fbank(speech, min_time=500)
    frames = len(speech) // 160 + 1
    assert short.shape == (500, 64) and short.dtype == np.float32
    assert np.array_equal(short[:frames], short[frames : 2 * frames])
    assert np.allclose(short[:frames].mean(0), 0, atol=1e-4) and np.allclose(
        short[:frames].std(0), 1, atol=1e-3
    )
    assert get_fbank(speech, min_time=10).shape == (frames, 64)
    assert get_fbank(np.zeros(1600), min_time=1).any() == False  # noqa: E712 - digital silence: exactly 0
    with pytest.raises(ValueError, match="at least one"):
        get_fbank(np.zeros(0))


def test_speech_is_kept_and_pauses_are_dropped(speech: Samples) -> None:
    kept = remove_silence(speech)
    assert len(kept) % 320 == 0 and 10_000 < len(kept) < len(speech) - 4_000
    again = compute_sphinx_bands(speech, min_frames=1)
    assert np.allclose(again.T, get_fbank(kept, min_time=1), atol=1e-6)


def test_utterance_without_speech_is_refused_or_used_completely() -> None:
    silence = np.zeros(16_000, np.int16)
    with pytest.raises(SpeechError, match=r"no voice found in 1\.00 s"):
        compute_sphinx_bands(silence)
    assert compute_sphinx_bands(silence, min_frames=50, on_no_speech="keep").shape == (64, 101)
    with pytest.raises(SpeechError, match="no samples"):
        compute_sphinx_bands(np.zeros(0, np.int16))


def test_audio_preprocess_writes_no_files(
    speech: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wav(tmp_path / "a.wav", speech)
    place = tmp_path / "empty"
    (place / "tmp").mkdir(parents=True)
    monkeypatch.chdir(place)
    result = audio_preprocess(valid_level=1, min_time=300)(tmp_path / "a.wav")
    assert result.shape == (1, 64, 300) and result.dtype == torch.float32
    assert [path.name for path in place.rglob("*")] == ["tmp"]


def test_other_sampling_rates_are_resampled_or_accepted(speech: Samples, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", speech, sample_rate=8000)
    usual = load_log_mel(tmp_path / "a.wav", VoiceFrontendConfig())
    assert usual.shape == (64, 401)  # four seconds at 16 kHz
    plain = VoiceFrontendConfig(
        frontend="sphinx", sample_rates="published", min_frames=1, on_no_speech="keep"
    )
    assert load_log_mel(tmp_path / "a.wav", plain).shape[1] <= 201
    write_wav(tmp_path / "b.wav", speech, sample_rate=11025)
    with pytest.raises(SpeechError, match=r"11025 Hz.*8000, 16000 or 32000"):
        load_log_mel(tmp_path / "b.wav", plain)
    with pytest.raises(AudioError, match="11025 Hz"):
        load_log_mel(tmp_path / "b.wav", VoiceFrontendConfig(sample_rates="error"))


def test_too_short_utterance_is_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.ones(500, np.int16))
    with pytest.raises(SpeechError, match="500 samples, expected more than 50 ms"):
        load_log_mel(tmp_path / "a.wav", VoiceFrontendConfig())
    (tmp_path / "b.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError):
        load_log_mel(tmp_path / "b.wav", VoiceFrontendConfig())


def test_stored_features_are_read_like_utterances(tmp_path: Path) -> None:
    bands = np.random.default_rng(0).normal(size=(64, 90)).astype(np.float32)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(bands, protocol=pickle.HIGHEST_PROTOCOL))
    np.save(tmp_path / "a.npy", bands)
    np.save(tmp_path / "turned.npy", bands.T)
    for name in ("a.pkl", "a.npy"):
        assert np.array_equal(load_log_mel(tmp_path / name, VoiceFrontendConfig()), bands)
    assert np.array_equal(
        load_log_mel(tmp_path / "turned.npy", VoiceFrontendConfig(frontend="sphinx")), bands
    )
    with pytest.raises(SpeechError, match=r"\(64, frames\), found \(90, 64\)"):
        load_log_mel(tmp_path / "turned.npy", VoiceFrontendConfig())
    np.save(tmp_path / "nan.npy", np.full((64, 3), np.nan))
    with pytest.raises(SpeechError, match="192 values are not finite"):
        load_log_mel(tmp_path / "nan.npy", VoiceFrontendConfig())


def test_pickle_with_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(SpeechError, match="could run code"):
        load_log_mel(tmp_path / "a.pkl", VoiceFrontendConfig())


def test_load_voice_cuts_a_random_part(tmp_path: Path) -> None:
    rows = np.arange(30 * 64, dtype=np.float32).reshape(30, 64)
    np.save(tmp_path / "a.npy", rows)
    starts = set()
    load = load_voice(20, rng=np.random.default_rng(0))
    for _ in range(60):
        part = load(tmp_path / "a.npy")
        assert part.shape == (1, 64, 20)
        first = int(part[0, 0, 0] / 64)
        assert torch.equal(part[0], torch.from_numpy(rows[first : first + 20].T))
        starts.add(first)
    assert starts == set(range(11))
    with pytest.raises(SpeechError, match="30 frames, expected at least 31"):
        load_voice(31)(tmp_path / "a.npy")


def test_evaluation_uses_the_complete_utterance_or_its_middle() -> None:
    bands = np.random.default_rng(0).normal(size=(64, 50)).astype(np.float32)
    whole, middle = (
        VoiceFrontendConfig(num_frames=20, clip_position="whole"),
        VoiceFrontendConfig(num_frames=20),
    )
    assert np.array_equal(prepare_voice(bands, whole)[0], bands)
    assert np.array_equal(prepare_voice(bands, middle)[0], bands[:, 15:35])
    assert prepare_voice(bands, VoiceFrontendConfig(num_frames=60, clip_position="whole")).shape == (
        1,
        64,
        60,
    )
    sphinx = VoiceFrontendConfig(frontend="sphinx", num_frames=20)
    assert prepare_voice(bands, sphinx).shape == (1, 64, 50)
    assert prepare_voice(bands, sphinx, crop=True).shape == (1, 64, 20)


# images


def test_images_are_resized_like_pillow_and_scaled(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a.png")
    wanted = np.asarray(image.resize((24, 24), Image.Resampling.BICUBIC), np.float32)
    load = visual_preprocess(24)
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), image):
        result = load(source)
        assert result.shape == (3, 24, 24) and result.dtype == torch.float32
        assert np.allclose(result.numpy(), (wanted.transpose(2, 0, 1) - 127.5) / 127.5, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_images_of_every_mode_have_three_channels(mode: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    image.save(tmp_path / "a.tiff")
    result = prepare_face(tmp_path / "a.tiff", 16)
    assert result.shape == (3, 16, 16) and np.abs(result).max() <= 1
    if mode == "L":
        assert np.array_equal(result[0], result[1]) and np.array_equal(result[0], result[2])


def test_files_that_are_no_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(ImageError):
        prepare_face(tmp_path / "a.jpg", 16)
    with pytest.raises(FileNotFoundError):
        prepare_face(tmp_path / "b.jpg", 16)
    with pytest.raises(ImageError, match=r"\(H, W, 3\)"):
        prepare_face(np.zeros((4, 4), np.uint8), 16)
