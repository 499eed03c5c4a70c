"""Which files are read: every container and codec that FFmpeg knows, any name; what no recording can be."""

import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from sound_files import RATE, encode, speech_like
from voiceface.audio import samples as limits
from voiceface.audio.loading import AudioError, decode_audio, load_audio, read_audio_info, write_wav

# suffix, codec, container, rate, further options of `encode`
FORMATS = {
    "m4a": ("aac", "ipod", RATE, {}),
    "3gp": ("aac", "3gp", RATE, {}),
    "adts": ("aac", "adts", RATE, {}),
    "ts": ("aac", "mpegts", RATE, {}),
    "flv": ("aac", "flv", 44100, {}),
    "mkv": ("flac", "matroska", RATE, {}),
    "webm": ("libopus", "webm", 48000, {}),
    "ac3": ("ac3", "ac3", 48000, {}),
    "eac3": ("eac3", "eac3", 48000, {}),
    "mp2": ("mp2", "mp2", RATE, {}),
    "mp3": ("libmp3lame", "mp3", RATE, {}),
    "amr": ("libopencore_amrnb", "amr", 8000, {}),
    "wma": ("wmav2", "asf", 44100, {"bit_rate": 64000}),
    "tta": ("tta", "tta", RATE, {}),
    "wv": ("wavpack", "wv", RATE, {}),
    "voc": ("pcm_s16le", "voc", RATE, {}),
    "w64": ("pcm_s16le", "w64", RATE, {}),
    "caf": ("pcm_s16le", "caf", RATE, {}),
    "aiff": ("pcm_s16be", "aiff", RATE, {}),
    "au": ("pcm_s16be", "au", RATE, {}),
    "avi": ("libmp3lame", "avi", RATE, {}),
    "flac.ogg": ("flac", "ogg", RATE, {}),
    "opus.ogg": ("libopus", "ogg", 48000, {}),
    "alaw.wav": ("pcm_alaw", "wav", 8000, {}),
    "g722.wav": ("g722", "wav", RATE, {}),
    "adpcm.wav": ("adpcm_ms", "wav", RATE, {}),
    "mp3.wav": ("libmp3lame", "wav", RATE, {}),
    "video.mp4": ("aac", "mp4", RATE, {"with_video": "mpeg4"}),
    "video.mov": ("pcm_s16le", "mov", RATE, {"with_video": "mpeg4"}),
    "video.avi": ("pcm_s16le", "avi", RATE, {"with_video": "mpeg4"}),
    "video.ts": ("mp2", "mpegts", RATE, {"with_video": "mpeg2video"}),
    "video.mkv": ("libopus", "matroska", 48000, {"with_video": "mpeg4"}),
    "video.wmv": ("wmav2", "asf", 44100, {"bit_rate": 64000, "with_video": "mpeg4"}),
}


def encoded(path, codec, kind, rate, options):
    """Encode 2 s; the test is skipped where this FFmpeg has no such encoder."""
    import av

    try:
        av.Codec(codec, "w")
    except ValueError:  # av.codec.codec.UnknownCodecError
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    encode(path, codec, kind, rate=rate, wave=speech_like(2, rate)[None], **options)
    return path


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shown", ["name", "none"])
def test_every_format_is_read_whole_by_its_content(tmp_path, name, shown):
    codec, kind, rate, options = FORMATS[name]
    path = encoded(tmp_path / (f"a.{name}" if shown == "name" else "a"), codec, kind, rate, options)
    found = decode_audio(path, scale="int16")
    assert found.sample_rate == rate
    assert found.samples.shape[0] == 1
    assert found.samples.shape[1] / rate == pytest.approx(2, abs=0.13)
    assert (found.lost_packets, found.lost_seconds) == (0, 0)
    wave, expected = found.samples[0], speech_like(2, rate).astype(float)
    likeness = np.abs(
        np.fft.irfft(np.fft.rfft(wave, 4 * rate) * np.fft.rfft(expected, 4 * rate).conj())
    ).max()
    assert likeness > 0.9 * np.linalg.norm(wave) * np.linalg.norm(expected)
    info = read_audio_info(path)
    assert (info.sample_rate, info.num_channels) == (rate, 1)
    assert info.duration == pytest.approx(2, abs=0.13) or info.duration == 0


@pytest.mark.parametrize(
    "codec, kind, layout, channels",
    [
        ("aac", "mp4", "7.1", 8),
        ("aac", "adts", "5.1", 6),
        ("flac", "matroska", "7.1", 8),
        ("pcm_s16le", "matroska", "7.1", 8),
        ("libopus", "webm", "7.1", 8),
        ("pcm_s16le", "wav", "7.1", 8),
    ],
)
def test_many_channels(tmp_path, codec, kind, layout, channels):
    """PyAV reads behind the planes of frames with eight channels; the process must survive."""
    wave = np.stack([speech_like(1, 48000) // (index + 1) for index in range(channels)]).astype(np.int16)
    encode(tmp_path / "a", codec, kind, rate=48000, wave=wave, layout=layout)
    found = decode_audio(tmp_path / "a", scale="int16").samples
    assert found.shape[0] == channels
    levels = np.sort(found.std(axis=1))[::-1]
    if codec in ("flac", "pcm_s16le"):
        np.testing.assert_allclose(levels, wave.std(axis=1), rtol=1e-3)
    else:
        assert (levels[0] > 3 * levels[-1]) and np.isfinite(levels).all()


def with_rate(path, rate):
    """Write a file and state another rate in its header."""
    suffix = path.suffix
    soundfile.write(path, speech_like(1), RATE)
    data = bytearray(path.read_bytes())
    if suffix == ".wav":
        data[24:28] = struct.pack("<I", rate)
    elif suffix == ".au":
        data[16:20] = struct.pack(">I", rate)
    elif suffix == ".flac":
        packed = int.from_bytes(data[18:22], "big") & 0xFFF | rate << 12
        data[18:22] = packed.to_bytes(4, "big")
    elif suffix == ".caf":
        place = data.find(b"desc") + 12
        data[place : place + 8] = struct.pack(">d", rate)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".au", ".caf"])
@pytest.mark.parametrize("rate", [0, 1, 100])
@pytest.mark.parametrize("policy", ["error", "salvage"])
def test_rates_that_no_recording_has_are_refused(tmp_path, suffix, rate, policy):
    if suffix == ".flac" and not rate:
        return  # the frames of the stream state the rate again
    path = with_rate(tmp_path / f"a{suffix}", rate)
    with pytest.raises(AudioError, match=rf"a\{suffix}: "):
        load_audio(path, scale="unit", resample=True, on_corrupt=policy)
    with pytest.raises(AudioError, match=rf"a\{suffix}: "):
        read_audio_info(path)


def test_more_samples_than_the_budget_are_refused_before_they_are_allocated(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", speech_like(1), RATE)
    encode(tmp_path / "a.mkv", "flac", "matroska")
    write_wav(tmp_path / "slow.wav", speech_like(1)[:9000], 3000)
    monkeypatch.setattr(limits, "MAX_SAMPLES", 15_999)
    for name in ("a.wav", "a.mkv"):
        with pytest.raises(AudioError, match="at most 15999"):
            decode_audio(tmp_path / name, scale="unit")
        assert decode_audio(tmp_path / name, scale="unit", max_samples=4096).samples.shape[1] == 4096
    with pytest.raises(AudioError, match="at most 15999"):  # 48,000 after resampling
        load_audio(tmp_path / "slow.wav", scale="unit", resample=True)


@pytest.mark.parametrize(
    "name", ["concat:a.wav", "file:a.wav", "http:a.m4a", "-a.wav", "a b\n.mp3", "a%d.mkv"]
)
def test_names_are_never_addresses(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    codec, kind = {"v": ("pcm_s16le", "wav"), "a": ("aac", "mp4"), "3": ("libmp3lame", "mp3")}.get(
        name[-1], ("flac", "matroska")
    )
    encode(tmp_path / "made", codec, kind)
    (tmp_path / "made").rename(tmp_path / name)
    assert load_audio(name, scale="unit").shape[0] >= 2 * RATE - 1


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are not UTF-8 need Linux")
@pytest.mark.parametrize("kind, codec", [("wav", "pcm_s16le"), ("mp4", "aac"), ("mp3", "libmp3lame")])
def test_a_name_that_is_not_utf8(tmp_path, kind, codec):
    encode(tmp_path / "made", codec, kind)
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9." + kind.encode())
    os.rename(tmp_path / "made", path)  # noqa: PTH104 - the name is no text
    assert load_audio(path, scale="unit").shape[0] >= 2 * RATE - 1
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(b"nothing")
    with pytest.raises(AudioError, match="cannot be decoded"):
        load_audio(path, scale="unit")


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsecret.wav\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile secret.wav\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:{folder}/secret.ts\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_play_list_does_not_open_other_files(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / "secret.wav", speech_like())
    encode(tmp_path / "secret.ts", "aac", "mpegts")
    (tmp_path / "a.wav").write_text(text.format(folder=tmp_path))
    with pytest.raises(AudioError, match=r"a\.wav: "):
        decode_audio("a.wav", scale="unit")


def test_escape_codes_in_a_name_are_printed_safely(tmp_path):
    (tmp_path / "a\x1b[2J\n.wav").write_bytes(b"nothing")
    with pytest.raises(AudioError) as caught:
        decode_audio(tmp_path / "a\x1b[2J\n.wav", scale="unit")
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    for call in (lambda path: decode_audio(path, scale="unit"), read_audio_info):
        with pytest.raises(AudioError, match="named pipe"):
            call(tmp_path / "a.wav")
    if os.path.exists("/dev/zero"):  # noqa: PTH110
        with pytest.raises(AudioError, match="device"):
            decode_audio("/dev/zero", scale="unit")


class PanicError(Exception):
    """An error of no known family."""


@pytest.mark.parametrize(
    "error", [MemoryError(), AttributeError("x"), UnboundLocalError("y"), RecursionError(), PanicError("z")]
)
@pytest.mark.parametrize("library", ["decode_with_soundfile", "decode_with_pyav"])
def test_whatever_a_library_raises_becomes_an_audio_error(tmp_path, monkeypatch, error, library):
    import voiceface.audio.decoding as module

    def fail(*arguments):
        raise error

    encode(tmp_path / "a", *(("pcm_s24le", "wav") if "soundfile" in library else ("aac", "mp4")))
    monkeypatch.setattr(module, library, fail)
    for policy in ("error", "salvage"):
        if "soundfile" in library:
            monkeypatch.setattr(module, "decode_with_pyav", fail)
        with pytest.raises(AudioError, match=r"/a: cannot be decoded"):
            decode_audio(tmp_path / "a", scale="unit", on_corrupt=policy)


def test_values_that_are_finite_only_in_another_type_or_scale(tmp_path):
    for subtype, value in (("DOUBLE", 1e300), ("DOUBLE", -1e36), ("FLOAT", 3e37), ("DOUBLE", np.inf)):
        wave = np.array([0.5, value, -0.5])
        soundfile.write(tmp_path / "a.wav", wave, RATE, subtype=subtype)
        for scale in ("int16", "unit"):
            found = decode_audio(tmp_path / "a.wav", scale=scale, on_corrupt="salvage")
            assert np.isfinite(found.samples).all()
            assert found.samples[0, 1] == 0 and found.samples[0, 0] > 0
        with pytest.raises(AudioError, match="1 of 3 samples are not finite"):
            decode_audio(tmp_path / "a.wav", scale="int16")


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "m4a", "aiff", "w64"])
def test_flipped_bytes_raise_no_other_error(tmp_path, suffix):
    """One process: a crash inside a library fails this test."""
    path = tmp_path / f"a.{suffix}"
    if suffix == "m4a":
        encode(path, "aac", "mp4", wave=speech_like(0.3)[None])
    else:
        soundfile.write(path, speech_like(0.3), RATE)
    code = (
        "import random, sys\n"
        "from pathlib import Path\n"
        "from voiceface.audio.loading import AudioError, decode_audio, read_audio_info\n"
        "path = Path(sys.argv[1]); data = path.read_bytes(); rng = random.Random(0)\n"
        "for trial in range(150):\n"
        "    new = bytearray(data)\n"
        "    for _ in range(rng.choice([1, 3, 20])):\n"
        "        new[rng.randrange(min(len(new), 200) if trial % 2 else len(new))] = rng.randrange(256)\n"
        "    path.write_bytes(new[: rng.randrange(len(new)) if trial % 5 == 0 else None])\n"
        "    for policy in ('error', 'salvage'):\n"
        "        for call in (lambda: decode_audio(path, scale='int16', on_corrupt=policy),\n"
        "                     lambda: read_audio_info(path)):\n"
        "            try: call()\n"
        "            except AudioError as error: assert path.name in str(error)\n"
        "print('done')\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "done", run.stderr[-2000:]
