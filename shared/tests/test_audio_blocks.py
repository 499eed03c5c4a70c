"""Decoding block by block: the same samples, losses and notes as decoding at once, in bounded memory."""

import subprocess
import sys
import textwrap
from contextlib import closing

import numpy as np
import pytest
import soundfile
from sound_files import RATE, encode, speech_like, write_packets
from voiceface.audio.channels import ChannelStatistics, mix_channels
from voiceface.audio.decoding import decode_audio, decode_blocks, join_blocks
from voiceface.audio.loading import AudioError, load_audio, write_wav
from voiceface.audio.long_recordings import RecordingStream

FORMATS = {
    "wav": ("pcm_s16le", "wav"),
    "float": ("pcm_f32le", "wav"),
    "flac": ("flac", "flac"),
    "mp3": ("libmp3lame", "mp3"),
    "ogg": ("libopus", "ogg"),
    "m4a": ("aac", "mp4"),
    "mp2": ("mp2", "mp2"),
}


@pytest.mark.parametrize("scale", ["int16", "unit", "native"])
@pytest.mark.parametrize("name", FORMATS)
def test_blocks_are_what_is_decoded_at_once(tmp_path, name, scale):
    encode(tmp_path / "a", *FORMATS[name])
    whole = decode_audio(tmp_path / "a", scale=scale)
    rate = whole.sample_rate
    *blocks, last = decode_blocks(tmp_path / "a", scale=scale, block_seconds=0.3)
    assert len(blocks) >= 6
    assert last.samples.shape == (1, 0)
    assert all(0 < block.samples.shape[1] <= 0.3 * rate + 4096 for block in blocks)
    np.testing.assert_array_equal(np.concatenate([block.samples for block in blocks], axis=1), whole.samples)
    assert last.sample_rate == rate


@pytest.mark.parametrize("name", ["wav", "mp3", "ogg", "m4a"])
def test_blocks_of_a_cut_file_lose_what_is_lost_at_once(tmp_path, name):
    path = tmp_path / "a"
    if name == "m4a":  # its index in front
        wave = speech_like()[None] / 32768
        write_packets(path, wave, kind="mp4", options={"movflags": "faststart"})
    else:
        encode(path, *FORMATS[name])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    whole = decode_audio(path, scale="int16", on_corrupt="salvage")
    blocks = list(decode_blocks(path, scale="int16", on_corrupt="salvage", block_seconds=0.3))
    joined = join_blocks(path, blocks)
    np.testing.assert_allclose(joined.samples, whole.samples, atol=1)
    assert whole.loss
    assert (joined.lost_packets, joined.notes) == (whole.lost_packets, whole.notes)
    assert joined.lost_seconds == pytest.approx(whole.lost_seconds)
    with pytest.raises(AudioError, match="salvage"):
        list(decode_blocks(path, scale="int16", block_seconds=0.3))


def test_max_samples_ends_the_blocks(tmp_path):
    for codec, kind in (("pcm_s16le", "wav"), ("aac", "mp4")):
        encode(tmp_path / "a", codec, kind)
        blocks = list(decode_blocks(tmp_path / "a", scale="int16", max_samples=10000, block_seconds=0.25))
        whole = decode_audio(tmp_path / "a", scale="int16").samples
        np.testing.assert_array_equal(join_blocks("a", blocks).samples, whole[:, :10000])


def test_a_file_is_closed_with_its_blocks(tmp_path):
    encode(tmp_path / "a", "pcm_s16le", "wav")
    with closing(decode_blocks(tmp_path / "a", scale="int16", block_seconds=0.25)) as blocks:
        next(blocks)
    with pytest.raises(StopIteration):
        next(blocks)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
def test_a_stream_is_what_is_loaded_at_once(tmp_path, rate, monkeypatch):
    import voiceface.audio.long_recordings as module

    monkeypatch.setattr(module, "BLOCK_SECONDS", 0.37)
    write_wav(tmp_path / "a.wav", speech_like(3.3, rate), rate)
    expected = load_audio(tmp_path / "a.wav", scale="unit", resample=True)
    stream = RecordingStream(
        tmp_path / "a.wav", scale="unit", resample=True, on_corrupt="error", channel="auto"
    )
    found = np.concatenate(list(stream.blocks()))
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert stream.seconds == pytest.approx(3.3, abs=1 / rate)
    windows = list(stream.windows(0.5))
    np.testing.assert_array_equal(np.concatenate([window for _, window in windows]), found)
    assert [begin for begin, _ in windows] == [0.5 * index for index in range(7)]
    assert {len(window) for _, window in windows[:-1]} == {8000}


@pytest.mark.parametrize("kind", ["agree", "silent", "cancel", "centre of six"])
def test_a_stream_chooses_the_channels_that_are_chosen_at_once(tmp_path, kind):
    rng = np.random.default_rng(0)
    voice = speech_like(3.0) / 32768
    hiss = 1e-4 * rng.standard_normal((6, len(voice)))
    channels = {
        "agree": np.stack([voice, 0.7 * voice + 30 * hiss[0]]),
        "silent": np.stack([hiss[0], voice]),
        "cancel": np.stack([voice, -0.9 * voice]),
        "centre of six": hiss + voice * (np.arange(6) == 2)[:, None],
    }[kind].astype(np.float32)
    expected = mix_channels(channels, "auto")
    statistics = ChannelStatistics(len(channels))
    for start in range(0, len(voice), 7001):
        statistics.add(channels[:, start : start + 7001])
    np.testing.assert_allclose(channels[statistics.choose()].mean(axis=0), expected, atol=1e-6)
    soundfile.write(tmp_path / "a.wav", channels.T, RATE, subtype="FLOAT")
    stream = RecordingStream(
        tmp_path / "a.wav", scale="unit", resample=True, on_corrupt="error", channel="auto"
    )
    np.testing.assert_allclose(np.concatenate(list(stream.blocks())), expected, atol=1e-6)


def test_silent_channels_have_a_choice():
    statistics = ChannelStatistics(2)
    statistics.add(np.zeros((2, 100), np.float32))
    assert statistics.choose().tolist() == [0]


def test_a_stream_of_another_rate_is_refused_where_it_must_not_be_converted(tmp_path):
    write_wav(tmp_path / "a.wav", speech_like(1.0, 8000), 8000)
    stream = RecordingStream(
        tmp_path / "a.wav", scale="unit", resample=False, on_corrupt="error", channel="auto"
    )
    with pytest.raises(AudioError, match="8000 Hz, expected 16000 Hz"):
        list(stream.blocks())


MEASURE = """
    import resource, sys
    import numpy as np, scipy.signal, soundfile, soxr
    from voiceface.audio.recordings import LongRecordings, read_recording
    read_recording(sys.argv[1], scale="int16")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = read_recording(sys.argv[2], scale="int16", long=LongRecordings("best", 10))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(len(found.waveform), found.seconds, after - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in KiB")
def test_the_memory_of_a_long_recording_does_not_grow_with_its_length(tmp_path):
    sound = np.tile(speech_like(10.0, 44100), 12)
    write_wav(tmp_path / "short.wav", sound[: 5 * 44100], 44100)
    grown = []
    for name, repeats in (("long", 1), ("longer", 5)):
        with soundfile.SoundFile(tmp_path / f"{name}.wav", "w", 44100, 2) as file:
            for _ in range(repeats):  # 2 minutes each
                file.write(np.stack([sound, sound // 2], axis=1))
        command = [sys.executable, "-c", textwrap.dedent(MEASURE)]
        command += [str(tmp_path / "short.wav"), str(tmp_path / f"{name}.wav")]
        words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert (int(words[0]), float(words[1])) == (160000, 120 * repeats)
        grown.append(int(words[2]) / 1024)
    assert grown[1] < grown[0] + 15 and grown[1] < 100  # MiB; as float32 it would hold 200 MiB
