"""The sound of videos: on the clock of the images, whatever its channels, gaps and beginnings."""

import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest
import soxr
from video_files import SOUND_RATE, moving_square, write_video
from voiceface.audio.channels import mix_channels
from voiceface.videos import sound
from voiceface.videos.decoding import VideoError, iterate_images, probe_video
from voiceface.videos.sound import read_sound


def clicks(seconds, places, rate=SOUND_RATE):
    """Bursts of noise of 20 ms at given seconds."""
    wave = np.zeros(round(seconds * rate), np.float32)
    rng = np.random.default_rng(0)
    for place in places:
        wave[round(place * rate) :][: rate // 50] = rng.uniform(-0.8, 0.8, rate // 50)
    return wave


def click_times(wave, rate=16000):
    """Seconds at which bursts begin."""
    loud = np.convolve(np.abs(wave) > 0.15, np.ones(rate // 20), "full")[: len(wave)] > 0
    return np.flatnonzero(np.diff(loud.astype(int), prepend=0) > 0) / rate


def write_frames(path, pieces, *, rate=SOUND_RATE, codec="pcm_s16le", layout="mono"):
    """Sound alone: pieces of (seconds, (channels, T))."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        for start, samples in pieces:
            for begin in range(0, samples.shape[1], 1000):
                part = samples[:, begin : begin + 1000]
                whole = np.round(part * 32767).astype(np.int16).T.reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(whole), format="s16", layout=layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = round(start * rate) + begin
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.mov"])
@pytest.mark.parametrize("start", [0.0, 0.6])
def test_sound_is_on_the_clock_of_the_images(tmp_path, name, start):
    places = [0.3, 1.1, 1.9]
    path = write_video(
        tmp_path / name, moving_square(75), sound=clicks(2.3, places), sound_start=start, options={"bf": "0"}
    )
    wave = read_sound(path)
    assert wave.dtype == np.float32 and wave.ndim == 1
    begin = next(iterate_images(path))[0]  # later than 0 where the encoder's padding comes first
    assert begin < 0.07
    assert click_times(wave) == pytest.approx(np.add(places, start + begin), abs=0.012)
    if start:
        assert np.abs(wave[: round((start - 0.1) * 16000)]).max() < 0.01
        assert probe_video(path).sound_start == pytest.approx(start, abs=0.07)


def test_a_part_begins_at_its_second(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_square(150), sound=clicks(6, [2.5, 3.5, 4.5]))
    assert click_times(read_sound(path, 3.0)) == pytest.approx([0.5, 1.5], abs=0.012)
    part = read_sound(path, 3.0, 4.0)
    assert len(part) == 16000 and click_times(part) == pytest.approx([0.5], abs=0.012)
    whole = read_sound(path)
    assert np.corrcoef(part[1000:-1000], whole[49000:63000])[0, 1] > 0.999


def test_gaps_are_silence_and_what_is_told_twice_is_heard_once(tmp_path):
    first, second = clicks(1.0, [0.5]), clicks(1.0, [0.25])
    path = write_frames(tmp_path / "gap.mka", [(0, first[None]), (3.0, second[None])])
    wave = read_sound(path)
    assert len(wave) == pytest.approx(4 * 16000, abs=16) and click_times(wave) == pytest.approx([0.5, 3.25])
    assert not wave[17000:47000].any()
    placed = sound._PlacedSound("a", 0.0, 16000)
    for time, samples in ((0, first), (0.9, second)):
        placed.add(time, samples, 16000)
    twice = placed.finish(None)
    assert len(twice) == 1.9 * 16000
    assert (twice[:16000] == first).all() and (twice[16000:] == second[1600:]).all()


def test_blocks_are_resampled_as_the_whole(tmp_path):
    rate = 44100
    wave = np.random.default_rng(1).uniform(-0.5, 0.5, (1, 3 * rate)).astype(np.float32)
    path = write_frames(tmp_path / "a.mka", [(0, wave)], rate=rate)
    stored = np.round(wave[0] * 32767).astype(np.float32) / 32768
    expected = soxr.resample(stored, rate, 16000, quality="HQ")
    found = read_sound(path)
    assert len(found) == len(expected) and np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize("channels, layout", [(2, "stereo"), (6, "5.1"), (8, "7.1")])
def test_channels_are_mixed_as_in_recordings(tmp_path, channels, layout):
    rng = np.random.default_rng(channels)
    voice = clicks(1, [0.2, 0.6])
    for case in ("equal", "silent", "opposite"):
        gains = {
            "equal": np.ones(channels),
            "silent": np.eye(channels)[1],
            "opposite": np.resize([1.0, -1.0], channels),
        }[case]
        samples = gains[:, None] * voice + rng.normal(0, 1e-4, (channels, len(voice)))
        path = write_frames(tmp_path / f"{case}.mka", [(0, samples)], layout=layout)
        stored = np.round(samples * 32767).astype(np.int16).astype(np.float32) / 32768
        assert read_sound(path) == pytest.approx(mix_channels(stored, "auto"), abs=1e-5), case


def test_a_rate_that_changes_within_a_file_is_no_break(tmp_path):
    first = write_video(tmp_path / "a.ts", [], sound=clicks(1, [0.4]), sound_codec="mp2")
    path = tmp_path / "b.ts"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mp2", rate=32000, layout="mono")
        wave = np.round(clicks(1, [0.5], 32000) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 32000, 0
        for part in av.AudioFifo.read_many(_fifo(frame), stream.codec_context.frame_size or 1152):
            container.mux(stream.encode(part))
        container.mux(stream.encode())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + path.read_bytes())
    times = click_times(read_sound(joined))
    assert len(times) == 2 and times[0] == pytest.approx(0.4, abs=0.05)
    assert times[1] == pytest.approx(1.5, abs=0.1)


def _fifo(frame):
    fifo = av.AudioFifo()
    fifo.write(frame)
    return fifo


def test_an_hour_does_not_need_more_than_its_samples(tmp_path):
    minutes, rate = 4, 48000
    block = np.random.default_rng(0).uniform(-0.1, 0.1, (2, rate)).astype(np.float32)
    pieces = [(second, block) for second in range(60 * minutes)]
    path = write_frames(tmp_path / "a.mka", pieces, rate=rate, layout="stereo")
    tracemalloc.start()
    try:
        wave = read_sound(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(wave) == minutes * 60 * 16000
    assert peak < 2.6 * wave.nbytes


def test_no_sound_and_too_much_are_named(tmp_path, monkeypatch):
    mute = write_video(tmp_path / "mute.mp4", moving_square(10))
    with pytest.raises(VideoError, match=r"mute\.mp4: contains no audio track"):
        read_sound(mute)
    path = write_frames(tmp_path / "long.mka", [(0, clicks(2, [1])[None])])
    monkeypatch.setattr(sound, "MAX_SOUND_SECONDS", 1.5)
    with pytest.raises(VideoError, match=r"long\.mka: more than .* cut the video into parts"):
        read_sound(path)
    with pytest.raises(FileNotFoundError):
        read_sound(tmp_path / "none.mp4")


def test_a_damaged_time_stamp_does_not_fill_the_memory_with_silence(tmp_path):
    first, second = clicks(1.0, [0.5])[None], clicks(1.0, [0.25])[None]
    small = write_frames(tmp_path / "small.mka", [(0, first), (3000.0, second)])
    with pytest.raises(VideoError, match=r"small\.mka: a time stamp says 3000 s behind 1 s of sound"):
        read_sound(small)
    large = write_frames(tmp_path / "large.mka", [(0, first), (640.0, second)])
    assert len(read_sound(large)) == pytest.approx(641 * 16000, abs=16)


def test_damage_is_silence(tmp_path):
    path = write_video(
        tmp_path / "a.mkv", moving_square(50), sound=clicks(2, [0.3, 1.7]), sound_codec="mp2", codec="ffv1"
    )
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    for packet in packets[len(packets) // 2 : len(packets) // 2 + 3]:
        place = data.find(packet)
        data[place : place + 30] = bytes(30)
    path.write_bytes(data)
    assert click_times(read_sound(path)) == pytest.approx([0.3, 1.7], abs=0.05)
