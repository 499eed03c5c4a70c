"""Damaged sound files: a clear message for each way a file can be bad, and what can be kept of it."""

import logging

import numpy as np
import pytest
import soundfile
from sound_files import RATE, tone, write_packets
from voiceface.audio.loading import AudioError, decode_audio, load_audio, read_audio_info, write_wav


@pytest.fixture
def m4a(tmp_path):
    """Four seconds of tone, index at the front of the file so that a cut leaves it readable."""
    path = tmp_path / "tone.m4a"
    write_packets(path, tone(4 * RATE)[None] / 32768, options={"movflags": "faststart"})
    return path


def test_truncated_webm_is_refused_or_reported(tmp_path):
    path = tmp_path / "a.webm"
    write_packets(path, tone(2 * 48000, 48000)[None] / 32768, rate=48000, codec="libopus")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"a\.webm: (packet|truncated).*salvage"):
        decode_audio(path, scale="unit")
    found = decode_audio(path, scale="unit", on_corrupt="salvage")
    assert found.lost_seconds == pytest.approx(2 - found.samples.shape[1] / 48000, abs=0.1)


def test_uncompressed_sound_in_mov_is_whole_or_cut(tmp_path):
    """Its header counts samples where others count packets."""
    import av

    path = tmp_path / "a.mov"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(2 * RATE)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    np.testing.assert_array_equal(load_audio(path, scale="int16"), tone(2 * RATE))
    path.write_bytes(path.read_bytes()[:-RATE])
    with pytest.raises(AudioError, match=r"a\.mov: (packet|truncated)"):
        decode_audio(path, scale="int16")
    found = decode_audio(path, scale="int16", on_corrupt="salvage")
    assert found.lost_packets and found.lost_seconds == pytest.approx(0.5, abs=0.1)


def test_truncated_wav_is_refused_or_reported(tmp_path):
    path = tmp_path / "a.wav"
    write_wav(path, tone(RATE))
    path.write_bytes(path.read_bytes()[: 44 + RATE])
    with pytest.raises(AudioError, match=r"a\.wav: truncated: .* 32000 bytes .* found 16000 \(0\.500 s"):
        decode_audio(path, scale="int16")
    found = decode_audio(path, scale="int16", on_corrupt="salvage")
    np.testing.assert_array_equal(found.samples[0], tone(RATE)[: RATE // 2])
    assert (found.lost_packets, found.lost_seconds) == (0, 0.5)


def test_tolerant_load_logs_what_is_lost(tmp_path, caplog):
    path = tmp_path / "a.wav"
    write_wav(path, tone(RATE))
    path.write_bytes(path.read_bytes()[: 44 + RATE])
    with caplog.at_level(logging.WARNING):
        load_audio(path, scale="int16", on_corrupt="salvage")
    assert "0.500 s of audio are lost" in caplog.text


def test_truncated_m4a_is_refused_or_reported(m4a):
    m4a.write_bytes(m4a.read_bytes()[: m4a.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"tone\.m4a: (packet|truncated).*salvage"):
        decode_audio(m4a, scale="int16")
    found = decode_audio(m4a, scale="int16", on_corrupt="salvage")
    assert found.lost_packets > 10
    assert found.lost_seconds == pytest.approx(4 - found.samples.shape[1] / RATE, abs=0.15)


def test_a_damaged_packet_costs_only_itself(m4a):
    data = bytearray(m4a.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = np.random.default_rng(0).bytes(400)
    m4a.write_bytes(data)
    with pytest.raises(AudioError, match=r"packet \d+ could not be decoded"):
        decode_audio(m4a, scale="int16")
    found = decode_audio(m4a, scale="int16", on_corrupt="salvage")
    assert 1 <= found.lost_packets <= 4
    assert found.samples.shape[1] > 3.5 * RATE


@pytest.mark.parametrize(
    "suffix, damage",
    [("flac", "cut"), ("flac", "hole"), ("ogg", "cut"), ("ogg", "short"), ("ogg", "hole"), ("mp3", "cut")],
)
def test_damaged_flac_ogg_mp3_are_refused_or_used(tmp_path, suffix, damage):
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(-500, 500, 4 * RATE)
    soundfile.write(path, (tone(4 * RATE) + noise).astype(np.int16), RATE)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    if damage == "cut":
        del data[middle:]
    elif damage == "short":
        del data[-1:]
    else:
        data[middle : middle + 30] = b"\xff" * 30
    path.write_bytes(data)
    with pytest.raises(AudioError, match=rf"a\.{suffix}: "):
        decode_audio(path, scale="int16")
    found = decode_audio(path, scale="int16", on_corrupt="salvage")
    assert RATE // 2 <= found.samples.shape[1] <= 4 * RATE
    assert found.lost_packets or found.lost_seconds
    if suffix != "ogg" and damage == "cut":  # these state their length
        assert found.lost_seconds == pytest.approx(4 - found.samples.shape[1] / RATE, abs=0.1)


def test_empty_files_are_always_an_error(tmp_path):
    (tmp_path / "zero.wav").touch()
    (tmp_path / "zero.m4a").touch()
    write_wav(tmp_path / "none.wav", np.zeros(0, np.int16))
    write_packets(tmp_path / "none.aac", np.zeros((1, 1024)), kind="adts")
    whole = (tmp_path / "none.aac").read_bytes()
    (tmp_path / "none.aac").write_bytes(whole[:7] + b"\xff" * 20)
    for policy in ("error", "salvage"):
        for name in ("zero.wav", "zero.m4a"):
            with pytest.raises(AudioError, match=rf"{name}: empty file \(0 bytes\)"):
                decode_audio(tmp_path / name, scale="int16", on_corrupt=policy)
        with pytest.raises(AudioError, match=r"none\.wav: no samples"):
            decode_audio(tmp_path / "none.wav", scale="int16", on_corrupt=policy)
        with pytest.raises(AudioError, match=r"none\.aac"):
            decode_audio(tmp_path / "none.aac", scale="int16", on_corrupt=policy)


def test_m4a_without_a_single_packet_is_an_error(tmp_path, m4a):
    data = m4a.read_bytes()
    cut = data.index(b"mdat") + 4
    m4a.write_bytes(data[:cut])
    for policy in ("error", "salvage"):
        with pytest.raises(AudioError, match=r"tone\.m4a: "):
            decode_audio(m4a, scale="int16", on_corrupt=policy)


@pytest.mark.parametrize("name", ["a.wav", "a.m4a", "a.flac", "a.mp3"])
def test_what_is_no_sound_is_named(tmp_path, name):
    (tmp_path / name).write_text("<html>404 not found</html>" * 20)
    for call in (lambda p: decode_audio(p, scale="unit"), read_audio_info):
        with pytest.raises(AudioError, match=rf"{name}: cannot be decoded .* expected an undamaged wav"):
            call(tmp_path / name)


def test_flac_header_that_promises_terabytes_is_refused(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(), RATE)
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F  # top bits of the number of samples
    path.write_bytes(data)
    with pytest.raises(AudioError, match=r"a\.flac: truncated: the header counts 64424525440 samples"):
        decode_audio(path, scale="int16")


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.wav: no such audio file"):
        load_audio(tmp_path / "gone.wav", scale="unit")
    with pytest.raises(AudioError, match="is a folder"):
        load_audio(tmp_path, scale="unit")


def test_video_without_sound_is_named(tmp_path):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for _ in range(3):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24"))
            )
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match="holds no audio stream"):
        decode_audio(tmp_path / "a.mp4", scale="unit")


def test_samples_that_are_not_finite(tmp_path):
    wave = np.array([0.5, np.nan, -0.5, np.inf], np.float32)
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match="2 of 4 samples are not finite"):
        load_audio(tmp_path / "a.wav", scale="unit")
    found = decode_audio(tmp_path / "a.wav", scale="int16", on_corrupt="salvage")
    assert found.samples.tolist() == [[16384, 0, -16384, 0]]
    assert found.lost_seconds == 2 / RATE


def test_float_file_with_integers_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone().astype(np.float32), RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"float samples reach .*expected about -1\.\.\.1"):
        load_audio(tmp_path / "a.wav", scale="int16")
