"""Encoders of others by path: graphs whose answers are worked out by hand."""

import importlib.util

import numpy as np
import pytest
import torch
from disc_faces import disc_finder, disc_picture
from PIL import Image
from small_graphs import speaker_weight, write_arcface, write_speaker
from sound_files import RATE, speech_like
from voiceface.audio.loading import write_wav
from voiceface.encoders import EncoderError, load_encoder
from voiceface.encoders.onnx_encoders import compute_kaldi_bands
from voiceface.faces.crops import CROP_CONVENTIONS, crop_face
from voiceface.faces.own_pictures import PictureReader


def wave_of(seconds, seed=0):
    return (np.random.default_rng(seed).normal(size=int(seconds * RATE)) * 0.1).astype(np.float32)


def kaldi_by_hand(wave, window):
    """Kaldi's filter bank from its definition, frame by frame in double precision."""
    samples = wave.astype(np.float64) * 32768
    count = 1 + (len(samples) - 400) // 160
    frames = np.stack([samples[160 * k : 160 * k + 400] for k in range(count)])
    frames = frames - frames.mean(1, keepdims=True)
    before = np.hstack([frames[:, :1], frames[:, :-1]])
    place = 2 * np.pi * np.arange(400) / 399
    shape = 0.54 - 0.46 * np.cos(place) if window == "hamming" else (0.5 - 0.5 * np.cos(place)) ** 0.85
    power = np.abs(np.fft.rfft((frames - 0.97 * before) * shape, 512)) ** 2
    mel = lambda hertz: 1127 * np.log(1 + hertz / 700)  # noqa: E731
    edges = np.linspace(mel(20), mel(8000), 82)
    bins = mel(np.arange(256) * RATE / 512)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    bank = np.clip(np.minimum(rising, falling), 0, None)
    bands = np.log(np.maximum(power[:, :256] @ bank, np.finfo(np.float32).eps))
    return bands - bands.mean(0)


@pytest.mark.parametrize("window", ["hamming", "povey"])
def test_the_filter_bank_is_kaldis(window):
    wave = wave_of(0.7)
    found = compute_kaldi_bands(wave, window)
    assert found.shape == (68, 80) and found.dtype == np.float32
    np.testing.assert_allclose(found, kaldi_by_hand(wave, window), atol=2e-3)


def test_a_speaker_network_gets_its_bands(tmp_path):
    encoder = load_encoder(f"onnx:{write_speaker(tmp_path / 'speaker.onnx')}", "voice")
    assert encoder.dimension == 192 and encoder.info.modality == "voice" and encoder.info.trained_on == ()
    waves = [wave_of(1.5), wave_of(2), wave_of(1.5, 1)]
    bands = [compute_kaldi_bands(wave) for wave in waves]
    statistics = np.stack([np.concatenate([each.mean(0), (each**2).mean(0)]) for each in bands])
    np.testing.assert_allclose(encoder.encode(waves), statistics @ speaker_weight(), rtol=1e-3, atol=1e-3)


def test_a_speaker_network_for_one_recording_at_a_time(tmp_path):
    free = load_encoder(f"onnx:{write_speaker(tmp_path / 'free.onnx')}", "voice")
    single = load_encoder(f"onnx:{write_speaker(tmp_path / 'single.onnx', batch=1)}", "voice")
    inputs = torch.from_numpy(np.stack([free.prepare(wave_of(1, seed)) for seed in range(3)]))
    np.testing.assert_allclose(single.encode_batch(inputs), free.encode_batch(inputs), atol=1e-4)


def test_front_ends_have_fingerprints_of_their_own(tmp_path):
    path = write_speaker(tmp_path / "speaker.onnx")
    plain = load_encoder(f"onnx:{path}", "voice")
    named = load_encoder(f"onnx:{path}#kaldi80", "voice")
    other = load_encoder(f"onnx:{path}#kaldi80_povey", "voice")
    assert plain.fingerprint == named.fingerprint != other.fingerprint
    wave = wave_of(1)
    assert np.array_equal(plain.prepare(wave), named.prepare(wave))
    assert not np.allclose(plain.prepare(wave), other.prepare(wave), atol=0.01)


def test_short_recordings_are_repeated_and_files_are_heard_as_arrays_are(tmp_path):
    encoder = load_encoder(f"onnx:{write_speaker(tmp_path / 'speaker.onnx')}", "voice")
    wave = wave_of(0.4)
    assert encoder.prepare(wave).shape == (98, 80)
    samples = speech_like(2.0)
    write_wav(tmp_path / "a.wav", np.int16(samples))
    from_file = encoder.encode_batch(torch.from_numpy(encoder.load_file(tmp_path / "a.wav")[None]))
    np.testing.assert_allclose(from_file.numpy(), encoder.encode([np.int16(samples)]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"bands": 40}, "? x ? x 40"),
        ({"frames": 200}, "? x 200 x 80"),
        ({"outputs": 2}, "2 outputs"),
    ],
)
def test_other_graphs_are_no_speaker_network(tmp_path, options, found):
    path = write_speaker(tmp_path / "other.onnx", **options)
    with pytest.raises(EncoderError, match=r"other\.onnx is not a speaker encoder") as caught:
        load_encoder(f"onnx:{path}", "voice")
    assert found in str(caught.value)


def test_wrong_names_say_what_is_expected(tmp_path):
    path = write_speaker(tmp_path / "speaker.onnx")
    with pytest.raises(EncoderError, match="'arcface112' is of the other modality, expected kaldi80 or"):
        load_encoder(f"onnx:{path}#arcface112", "voice")
    with pytest.raises(EncoderError, match="'mfcc' is unknown, expected arcface112 for faces"):
        load_encoder(f"onnx:{path}#mfcc", "face")
    with pytest.raises(EncoderError, match="is not an ArcFace encoder"):
        load_encoder(f"onnx:{path}", "face")
    with pytest.raises(EncoderError, match=r"none\.onnx does not exist, expected an ONNX file"):
        load_encoder(f"onnx:{tmp_path / 'none.onnx'}", "voice")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(EncoderError, match=r"text\.onnx"):
        load_encoder(f"onnx:{tmp_path / 'text.onnx'}", "voice")


def test_without_torchaudio_the_extra_is_named(tmp_path, monkeypatch):
    path = write_speaker(tmp_path / "speaker.onnx")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torchaudio" else find(name)
    )
    with pytest.raises(ModuleNotFoundError, match=r"voiceface-shared\[augmentation\]"):
        load_encoder(f"onnx:{path}", "voice")
    load_encoder(f"onnx:{write_arcface(tmp_path / 'face.onnx')}", "face")


@pytest.mark.parametrize("channels_last", [False, True])
def test_an_arcface_network_gets_faces_aligned_by_five_points(tmp_path, channels_last):
    path = write_arcface(tmp_path / "face.onnx", channels_last=channels_last)
    encoder = load_encoder(f"onnx:{path}", "face")
    encoder.use_pictures(PictureReader("always", finder=disc_finder()))
    picture = disc_picture([("green", 120, 70, 40, 0)])
    Image.fromarray(picture).save(tmp_path / "photo.png")
    (face,) = disc_finder().find([picture])[0]
    chip = crop_face(picture, np.round(face.points, 2), "arcface", 112)
    expected = (chip.astype(np.float32).mean((0, 1)) - 127.5) / 127.5
    np.testing.assert_allclose(encoder.encode([tmp_path / "photo.png"])[0], expected, atol=1e-3)


def test_without_a_finder_faces_of_data_folders_lie_where_such_faces_lie(tmp_path):
    encoder = load_encoder(f"onnx:{write_arcface(tmp_path / 'face.onnx')}", "face")
    picture = np.random.default_rng(0).integers(0, 255, (128, 96, 3)).astype(np.uint8)
    folder = tmp_path / "VGG_ALL_FRONTAL" / "A"
    folder.mkdir(parents=True)
    Image.fromarray(picture).save(folder / "1.png")
    points = np.array(CROP_CONVENTIONS["vggface_frontal"].points) * (96, 128) - 0.5
    expected = crop_face(picture, points, "arcface", 112).transpose(2, 0, 1)
    assert np.array_equal(encoder.load_file(folder / "1.png"), expected)
