"""Decoding of sound files: exact values, one scale, one rate, fixed lengths."""

import struct
import warnings

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile
from sound_files import RATE, tone, write_packets
from voiceface.audio.loading import (
    AudioError,
    AudioInfo,
    decode_audio,
    load_audio,
    read_audio_info,
    repeat_to_length,
    write_wav,
)


@pytest.fixture
def m4a(tmp_path):
    """Four seconds of tone, index at the front of the file so that a cut leaves it readable."""
    path = tmp_path / "tone.m4a"
    write_packets(path, tone(4 * RATE)[None] / 32768, options={"movflags": "faststart"})
    return path


def test_sixteen_bit_files_give_exactly_their_integers(tmp_path):
    samples = np.array([-32768, -32767, -1, 0, 1, 255, 32767], np.int16)
    write_wav(tmp_path / "a.wav", samples)
    soundfile.write(tmp_path / "a.flac", samples, RATE, subtype="PCM_16")
    for name in ("a.wav", "a.flac"):
        wave = load_audio(tmp_path / name, scale="int16")
        assert wave.dtype == np.float32
        assert wave.tolist() == samples.tolist()
        assert (load_audio(tmp_path / name, scale="unit") * 32768).tolist() == samples.tolist()


@pytest.mark.parametrize(
    "subtype, step", [("PCM_U8", 256), ("PCM_24", 0), ("PCM_32", 0), ("FLOAT", 0), ("DOUBLE", 0)]
)
def test_every_sample_format_comes_to_the_16_bit_scale(tmp_path, subtype, step):
    samples = tone()
    soundfile.write(tmp_path / "a.wav", samples / 32768, RATE, subtype=subtype)
    wave = load_audio(tmp_path / "a.wav", scale="int16")
    assert np.abs(wave - samples).max() <= step
    np.testing.assert_array_equal(load_audio(tmp_path / "a.wav", scale="unit") * 32768, wave)


@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2])
def test_stored_values_are_those_of_scipy(tmp_path, kind, subtype, channels):
    path = tmp_path / "a.wav"
    wave = np.random.default_rng(0).uniform(-1, 1, (500, channels))
    wave[:4, 0] = -1, 1, 0, 1e-9
    soundfile.write(path, wave, RATE, subtype=subtype, format=kind)
    with warnings.catch_warnings(action="ignore", category=wavfile.WavFileWarning):  # of the PEAK chunk
        _, expected = wavfile.read(path)
    expected = expected.reshape(500, channels).T.astype(np.float32)
    for policy in ("error", "salvage"):
        np.testing.assert_array_equal(
            decode_audio(path, scale="native", on_corrupt=policy).samples, expected, strict=True
        )
    np.testing.assert_array_equal(load_audio(path, scale="native", max_samples=100), expected[0, :100])
    full = {"PCM_U8": 255, "PCM_16": 32767, "PCM_24": 2**31, "PCM_32": 2**31}.get(subtype, 1)
    assert expected.max() == pytest.approx(full, rel=1e-5)


@pytest.mark.parametrize(
    "dtype, values",
    [
        (np.uint8, [0, 1, 127, 128, 255]),
        (np.int16, [-32768, -1, 0, 1, 32767]),
        (np.int32, [-(2**31), -1, 0, 1, 16_777_217, 2**31 - 1]),
        (np.float32, [-1.0, 1e-30, 0.3, 30_000.0]),
        (np.float64, [-1.0, 1e-30, 0.3, 30_000.0]),
    ],
)
def test_stored_values_of_files_that_scipy_wrote(tmp_path, dtype, values):
    wavfile.write(tmp_path / "a.wav", RATE, np.array(values, dtype))
    wave = load_audio(tmp_path / "a.wav", scale="native")
    np.testing.assert_array_equal(wave, np.array(values, dtype).astype(np.float32), strict=True)


def test_lossless_packing_does_not_change_stored_values(tmp_path):
    rng = np.random.default_rng(0)
    for packed, bits in (("a.flac", 16), ("a.flac", 24), ("a.caf", 16), ("a.caf", 24)):
        wave = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), 3000) << (32 - bits)
        kind = "ALAC" if packed.endswith("caf") else "PCM"
        soundfile.write(tmp_path / "a.wav", wave.astype(np.int32), RATE, subtype=f"PCM_{bits}")
        soundfile.write(tmp_path / packed, wave.astype(np.int32), RATE, subtype=f"{kind}_{bits}")
        stored = load_audio(tmp_path / packed, scale="native")
        np.testing.assert_array_equal(stored, load_audio(tmp_path / "a.wav", scale="native"))
        np.testing.assert_array_equal(stored, wave >> 16 if bits == 16 else wave)
    wave = rng.uniform(-1, 1, 3000)
    soundfile.write(tmp_path / "signed.flac", wave, RATE, subtype="PCM_S8")
    signed = load_audio(tmp_path / "signed.flac", scale="native")
    np.testing.assert_array_equal(signed * 256, load_audio(tmp_path / "signed.flac", scale="int16"))


@pytest.mark.parametrize(
    "codec, form, dtype, factor, offset",
    [
        ("pcm_u8", "u8", np.uint8, 1, 0),
        ("pcm_s8", "u8", np.uint8, 1, -128),
        ("pcm_s16le", "s16", np.int16, 1, 0),
        ("pcm_s32le", "s32", np.int32, 1, 0),
        ("pcm_s24le", "s32", np.int32, 1, 0),
        ("pcm_f32le", "flt", np.float32, 1, 0),
        ("flac", "s16", np.int16, 1, 0),
        ("alac", "s16p", np.int16, 1, 0),
    ],
)
def test_stored_values_from_packets(tmp_path, codec, form, dtype, factor, offset):
    import av

    path = tmp_path / ("a.mov" if codec == "pcm_s8" else "a.mkv")
    rng = np.random.default_rng(0)
    if dtype == np.float32:
        wave = rng.uniform(-1, 1, 4096).astype(dtype)
    else:
        bounds = np.iinfo(dtype)
        wave = rng.integers(bounds.min, bounds.max, 4096, dtype, endpoint=True)
    if codec == "pcm_s24le":
        wave &= ~0xFF
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout="mono", format=form)
        frame = av.AudioFrame.from_ndarray(wave[None], format=form, layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    expected = wave.astype(np.float32) * factor + offset
    np.testing.assert_array_equal(load_audio(path, scale="native"), expected, strict=True)


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "m4a"])
def test_lossy_files_have_no_stored_values_and_the_16_bit_scale(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "m4a":
        write_packets(path, tone()[None] / 32768)
    else:
        soundfile.write(path, tone(), RATE)
    np.testing.assert_array_equal(load_audio(path, scale="native"), load_audio(path, scale="int16"))


def test_other_scales_are_refused(tmp_path):
    write_wav(tmp_path / "a.wav", tone(100))
    with pytest.raises(ValueError, match=r'scale must be "int16", "unit" or "native", found \'int32\''):
        load_audio(tmp_path / "a.wav", scale="int32")


def test_eight_bit_silence_is_zero(tmp_path):
    data = bytes([128, 0, 255, 129])
    header = (
        b"RIFF"
        + struct.pack("<I", 36 + 4)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE, 1, 8)
    )
    (tmp_path / "a.wav").write_bytes(header + b"data" + struct.pack("<I", 4) + data)
    assert load_audio(tmp_path / "a.wav", scale="int16").tolist() == [0, -32768, 32512, 256]


@pytest.mark.parametrize("suffix", ["mp3", "ogg"])
def test_lossy_files_come_close(tmp_path, suffix):
    samples = tone(2 * RATE)
    soundfile.write(tmp_path / f"a.{suffix}", samples, RATE)
    wave = load_audio(tmp_path / f"a.{suffix}", scale="int16")
    assert len(wave) == len(samples)
    assert np.abs(wave - samples).std() < 0.05 * samples.std()


@pytest.mark.parametrize("name, kind", [("a.m4a", None), ("a.mp4", None), ("a.aac", "adts")])
def test_aac_files_come_close_after_the_encoder_delay(tmp_path, name, kind):
    samples = tone(4 * RATE)
    write_packets(tmp_path / name, samples[None] / 32768, kind=kind)
    found = decode_audio(tmp_path / name, scale="int16")
    assert (found.sample_rate, found.lost_packets, found.lost_seconds) == (RATE, 0, 0)
    delay = 1024 if kind == "adts" else 0  # only MP4 says how many samples the encoder put in front
    wave = found.samples[0, delay : delay + len(samples)]
    assert np.abs(wave - samples)[2048:-2048].std() < 0.1 * samples.std()


def test_webm_at_another_rate_needs_resampling(tmp_path):
    wave = tone(2 * 48000, 48000)[None] / 32768
    write_packets(tmp_path / "a.webm", wave, rate=48000, codec="libopus")
    with pytest.raises(AudioError, match=r"sample rate 48000 Hz, expected 16000 Hz.*resample=True"):
        load_audio(tmp_path / "a.webm", scale="unit")
    assert abs(len(load_audio(tmp_path / "a.webm", scale="unit", resample=True)) - 2 * RATE) < 0.05 * RATE


def test_packed_samples_from_packets(tmp_path):
    """A container with 16-bit stereo samples side by side, as a phone's video may have."""
    import av

    left, right = tone(4096), tone(4096, hertz=330)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="stereo")
        data = np.stack([left, right], axis=1).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(data, format="s16", layout="stereo")
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    samples = decode_audio(tmp_path / "a.mkv", scale="int16").samples
    np.testing.assert_array_equal(samples, [left, right])


def test_the_content_decides_not_the_name(m4a):
    renamed = m4a.rename(m4a.with_suffix(".wav"))
    assert decode_audio(renamed, scale="unit").samples.shape[1] > 3.9 * RATE


def test_stereo_gives_first_channel_or_mean(tmp_path, m4a):
    left, right = tone(), tone(hertz=330)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), RATE)
    assert decode_audio(tmp_path / "a.wav", scale="int16").samples.shape == (2, RATE)
    np.testing.assert_array_equal(load_audio(tmp_path / "a.wav", scale="int16"), left)
    mean = load_audio(tmp_path / "a.wav", scale="int16", channel="mean")
    np.testing.assert_array_equal(mean, (left.astype(float) + right) / 2)
    write_packets(tmp_path / "b.m4a", np.stack([left, 0 * left]) / 32768, layout="stereo")
    samples = decode_audio(tmp_path / "b.m4a", scale="int16").samples
    assert samples.shape[0] == 2
    assert samples[0].std() > 1000 > 100 > samples[1].std()


def test_wrong_rate_names_both_rates_and_the_remedy(tmp_path):
    write_wav(tmp_path / "a.wav", tone(), 22050)
    with pytest.raises(AudioError, match=r"a\.wav: sample rate 22050 Hz, expected 16000 Hz.*resample=True"):
        load_audio(tmp_path / "a.wav", scale="int16")


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_resampling_keeps_a_tone(tmp_path, rate):
    write_wav(tmp_path / "a.wav", tone(rate, rate), rate)
    wave = load_audio(tmp_path / "a.wav", scale="int16", resample=True)
    assert abs(len(wave) - RATE) <= 1
    middle = slice(1000, RATE - 1000)
    assert np.abs(wave[middle] - tone()[middle]).max() < 20


@given(st.integers(1, 50), st.integers(1, 200))
def test_repeat_to_length_is_the_wave_read_in_a_circle(samples, length):
    wave = np.arange(samples, dtype=np.float32)
    repeated = repeat_to_length(wave, length)
    assert repeated.dtype == wave.dtype
    assert repeated.tolist() == [i % samples for i in range(length)]


def test_repeat_to_length_refuses_an_empty_wave():
    with pytest.raises(AudioError, match="without samples"):
        repeat_to_length(np.zeros(0, np.float32), 10)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=40), st.sampled_from([8000, RATE, 48000]))
def test_write_wav_is_undone_by_load(tmp_path_factory, values, rate):
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    write_wav(path, np.array(values, np.int16), rate)
    assert load_audio(path, scale="int16", sample_rate=rate).tolist() == values
    assert soundfile.info(path).subtype == "PCM_16"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", ["int16", "unit", "native"])
def test_plain_wav_files_give_what_libsndfile_gives(tmp_path, monkeypatch, channels, scale):
    import voiceface.audio.pcm_headers as module

    wave = np.random.default_rng(channels).integers(-32768, 32768, (4000, channels), np.int16)
    soundfile.write(tmp_path / "a.wav", wave, 8000)
    options = [{}, {"max_samples": 1}, {"max_samples": 3999}, {"on_corrupt": "salvage"}]
    own = [decode_audio(tmp_path / "a.wav", scale=scale, **each) for each in options]
    own_info = read_audio_info(tmp_path / "a.wav")
    monkeypatch.setattr(module, "PlainSamples", lambda *_: None)
    for each, found in zip(options, own, strict=True):
        other = decode_audio(tmp_path / "a.wav", scale=scale, **each)
        np.testing.assert_array_equal(found.samples, other.samples)
        assert (found.sample_rate, found.subtype, found.loss) == (8000, other.subtype, other.loss)
    assert own_info == read_audio_info(tmp_path / "a.wav")


def test_a_plain_wav_file_needs_no_library(tmp_path, monkeypatch):
    import voiceface.audio.decoding as module

    def fail(*arguments):
        raise AssertionError

    soundfile.write(tmp_path / "a.wav", np.arange(4, dtype=np.int16), 16000)
    monkeypatch.setattr(module, "decode_with_soundfile", fail)
    monkeypatch.setattr(module, "decode_with_pyav", fail)
    assert decode_audio(tmp_path / "a.wav", scale="int16").samples.tolist() == [[0, 1, 2, 3]]


def test_write_wav_refuses_floats(tmp_path):
    with pytest.raises(ValueError, match=r"expected int16 samples of shape \(T,\), found float64"):
        write_wav(tmp_path / "a.wav", np.zeros(10))
    assert not list(tmp_path.iterdir())


def test_limit_is_the_beginning_of_the_whole(tmp_path, m4a):
    write_wav(tmp_path / "a.wav", tone())
    for path in (tmp_path / "a.wav", m4a):
        whole = load_audio(path, scale="int16")
        np.testing.assert_array_equal(load_audio(path, scale="int16", max_samples=5000), whole[:5000])
        assert len(load_audio(path, scale="int16", max_samples=10**6)) == len(whole)


def test_info_reads_the_header(tmp_path, m4a):
    soundfile.write(tmp_path / "a.wav", np.zeros((8000, 2), np.int16), RATE)
    assert read_audio_info(tmp_path / "a.wav") == AudioInfo(RATE, 2, 0.5, "PCM_16")
    assert read_audio_info(m4a) == AudioInfo(RATE, 1, 4.0, "aac")


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xFFFFFFFF])
def test_wav_from_a_pipe_states_no_length_and_is_whole(tmp_path, size):
    path = tmp_path / "a.wav"
    write_wav(path, tone(1000))
    data = path.read_bytes()
    path.write_bytes(data[:4] + struct.pack("<I", size) + data[8:40] + struct.pack("<I", size) + data[44:])
    np.testing.assert_array_equal(load_audio(path, scale="int16"), tone(1000))


def test_tags_in_a_foreign_encoding_do_no_harm(tmp_path):
    path = tmp_path / "a.m4a"
    write_packets(path, tone(4096)[None] / 32768)
    data = path.read_bytes()
    tag = b"Lavf" if b"Lavf" in data else b"isom"
    path.write_bytes(data.replace(tag, b"\xf9\xfa" + tag[2:]))
    assert load_audio(path, scale="int16").shape[0] >= 4096


def test_options_are_checked(tmp_path):
    write_wav(tmp_path / "a.wav", tone())
    with pytest.raises(ValueError, match="scale"):
        load_audio(tmp_path / "a.wav", scale="int8")
    with pytest.raises(ValueError, match="on_corrupt"):
        decode_audio(tmp_path / "a.wav", scale="unit", on_corrupt="lax")
    with pytest.raises(ValueError, match="channel"):
        load_audio(tmp_path / "a.wav", scale="unit", channel="second")
