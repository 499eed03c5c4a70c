"""The length of a recording is what the file holds: placeholders, wrong sizes, estimates, joined files."""

import struct

import numpy as np
import pytest
import soundfile
from sound_files import RATE, encode, speech_like, strip_xing, write_packets
from voiceface.audio.byte_ranges import FileView, find_all
from voiceface.audio.loading import AudioError, decode_audio, read_audio_info
from voiceface.audio.parts import SHORTFALL_SECONDS, is_placeholder, judge_length

WAVE = speech_like()  # 2 s
ID3 = b"ID3\x03\x00\x00\x00\x00\x10\x00" + bytes(2048)
PLACEHOLDERS = [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFD0, 0xFFFFFFFF]


def wav(samples=WAVE, *, riff=None, data=None, before=b"", behind=b"", head=b"RIFF"):
    """Bytes of a WAV file, with chosen sizes, chunks before the samples and bytes behind them."""
    body = samples.astype("<i2").tobytes()
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    rest = b"WAVE" + form + before + b"data"
    size = len(rest) + 4 + len(body) + len(behind)
    sizes = (
        struct.pack("<I", size if riff is None else riff),
        struct.pack("<I", len(body) if data is None else data),
    )
    return head + sizes[0] + rest + sizes[1] + body + behind


def chunk(name, body):
    """A chunk of a RIFF file."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def decode(path, data=None, **options):
    """Samples as int16 values (first channel), and the result."""
    if data is not None:
        path.write_bytes(data)
    found = decode_audio(path, scale="int16", **options)
    return found.samples[0], found


@pytest.mark.parametrize("size", PLACEHOLDERS)
@pytest.mark.parametrize("before", [b"", chunk(b"JUNK", bytes(28)), chunk(b"FLLR", bytes(4044))])
def test_an_unfinished_wav_header_is_read_to_the_end_with_a_note(tmp_path, size, before):
    samples, found = decode(tmp_path / "a.wav", wav(riff=size, data=size, before=before))
    np.testing.assert_array_equal(samples, WAVE)
    assert "does not state its length" in found.notes[0]
    assert read_audio_info(tmp_path / "a.wav").duration == 2.0


@pytest.mark.parametrize("stated", [0, 2**64 - 1, 0xFFFFFFFF])
@pytest.mark.parametrize("head", [b"RF64", b"BW64"])
def test_an_unfinished_64_bit_header_is_read_to_the_end(tmp_path, head, stated):
    sizes = chunk(b"ds64", struct.pack("<QQQI", stated, stated, 0, 0))
    whole = wav(riff=0xFFFFFFFF, data=0xFFFFFFFF, head=head)
    data = whole[:12] + sizes + whole[12:]
    samples, found = decode(tmp_path / "a.wav", data)
    np.testing.assert_array_equal(samples, WAVE)
    assert found.notes


def test_a_right_64_bit_header_is_no_peculiarity(tmp_path):
    soundfile.write(tmp_path / "a.wav", WAVE, RATE, format="RF64")
    samples, found = decode(tmp_path / "a.wav")
    np.testing.assert_array_equal(samples, WAVE)
    assert not found.notes
    data = (tmp_path / "a.wav").read_bytes().replace(b"RF64", b"BW64")
    np.testing.assert_array_equal(decode(tmp_path / "b.wav", data)[0], WAVE)


def patched(data, place, value, form):
    """Bytes with a packed value at a place."""
    field = struct.pack(form, value)
    return data[:place] + field + data[place + len(field) :]


def stored(tmp_path, form):
    """A whole file of a format, and the place and layout of the size of its samples."""
    path = tmp_path / f"whole.{form.lower()}"
    soundfile.write(path, WAVE, RATE, format=form, subtype="PCM_16")
    data = path.read_bytes()
    place, layout = {
        "WAV": (data.find(b"data") + 4, "<I"),
        "W64": (data.find(b"data\xf3\xac") + 16, "<Q"),
        "AIFF": (data.find(b"SSND") + 4, ">I"),
        "AU": (8, ">I"),
        "CAF": (data.find(b"data") + 4, ">Q"),
    }[form]
    return data, place, layout


@pytest.mark.parametrize("form", ["W64", "AIFF", "AU", "CAF"])
@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000])
def test_placeholders_of_other_containers(tmp_path, form, size):
    data, place, layout = stored(tmp_path, form)
    if layout[1] == "Q" and size:
        size = 2**64 - 1 if size == 0xFFFFFFFF else 0x7FFFFFFF
    samples, _ = decode(tmp_path / "a", patched(data, place, size, layout))
    np.testing.assert_array_equal(samples, WAVE)


def test_an_aiff_header_that_counts_no_samples(tmp_path):
    data, _, _ = stored(tmp_path, "AIFF")
    samples, found = decode(tmp_path / "a.aiff", patched(data, data.find(b"COMM") + 10, 0, ">I"))
    np.testing.assert_array_equal(samples, WAVE)
    assert "counts 0 samples" in found.notes[0]


@pytest.mark.parametrize("form", ["WAV", "W64", "AIFF", "AU", "CAF", "RF64"])
def test_a_real_cut_is_refused_and_reported_in_salvage(tmp_path, form):
    path = tmp_path / "a.bin"
    soundfile.write(path, WAVE, RATE, format=form, subtype="PCM_16")
    data = path.read_bytes()
    with pytest.raises(
        AudioError, match=r"a\.bin: truncated: .*64000 bytes of samples.*\(0\.500 s missing\)"
    ):
        decode(path, data[: data.find(WAVE.astype(data_type(form)).tobytes()[:64]) + 48000])
    samples, found = decode(path, on_corrupt="salvage")
    np.testing.assert_array_equal(samples, WAVE[:24000])
    assert found.lost_seconds == pytest.approx(0.5)


def data_type(form):
    """Byte order of the samples of a format."""
    return ">i2" if form in ("AIFF", "AU", "CAF") else "<i2"


@pytest.mark.parametrize("missing", [2, 16, 44, 1000])
@pytest.mark.parametrize("form", ["WAV", "W64", "AIFF", "AU"])
def test_a_shortfall_of_milliseconds_is_a_note(tmp_path, form, missing):
    assert missing / 2 / RATE < SHORTFALL_SECONDS
    data, _, _ = stored(tmp_path, form)
    cut = data[: len(data) - missing]
    samples, found = decode(tmp_path / "a", cut)
    expected = len(WAVE) - missing // 2
    assert abs(len(samples) - expected) <= 8  # W64 pads
    np.testing.assert_array_equal(samples, WAVE[: len(samples)])
    if form != "W64":
        assert "fewer" in found.notes[0]


def test_a_size_beyond_a_container_that_is_whole_is_a_note(tmp_path):
    samples, found = decode(tmp_path / "a.wav", wav(data=200_000))
    np.testing.assert_array_equal(samples, WAVE)
    assert "its own size is right" in found.notes[0]


def test_bytes_behind_the_samples_that_form_no_chunk_are_reported(tmp_path):
    samples, found = decode(tmp_path / "a.wav", wav(data=32000))
    np.testing.assert_array_equal(samples, WAVE[:16000])
    assert "32000 bytes behind the samples form no chunk" in found.notes[0]
    more = chunk(b"LIST", b"INFOxyz") + chunk(b"data", bytes(320))
    samples, found = decode(tmp_path / "a.wav", wav(behind=more))
    np.testing.assert_array_equal(samples, WAVE)
    assert "320 bytes of samples in another chunk" in found.notes[0]
    for harmless in (
        chunk(b"LIST", b"INFOxyz"),
        chunk(b"id3 ", bytes(33)),
        bytes(512),
        b"TAG" + bytes(range(125)),
    ):
        assert not decode(tmp_path / "b.wav", wav(behind=harmless))[1].notes


def test_an_empty_recording_with_other_chunks_stays_empty(tmp_path):
    with pytest.raises(AudioError, match="no samples"):
        decode(tmp_path / "a.wav", wav(WAVE[:0], behind=chunk(b"LIST", b"INFOabc1")))


def test_placeholders_and_verdicts():
    assert all(is_placeholder(size) for size in PLACEHOLDERS)
    assert is_placeholder(2**64 - 1, 8)
    assert not any(is_placeholder(size) for size in (2, 32000, 0x70000000))
    verdict = judge_length(64000, 32000, 32000)
    assert (verdict.used_bytes, verdict.missing_seconds) == (32000, 1.0)
    assert judge_length(64000, 70000, 32000).used_bytes == 64000
    assert judge_length(0, 0, 32000) == judge_length(0, 0, 0)


@pytest.mark.parametrize("bit_rate, mode", [(32000, "cbr"), (None, "vbr")])
def test_mp3_without_the_frame_that_counts_is_decoded_to_its_end(tmp_path, bit_rate, mode):
    """VBR with a loud beginning: an estimate by the first frames is far too short."""
    loud = np.concatenate([speech_like(1), (speech_like(3) // 500).astype(np.int16)])
    path = tmp_path / "a.mp3"
    encode(path, "libmp3lame", wave=loud[None], bit_rate=bit_rate)
    if mode == "vbr":
        soundfile.write(path, loud, RATE, bitrate_mode="VARIABLE", compression_level=0.2)
    whole, _ = decode(path)
    samples, found = decode(tmp_path / "b.mp3", strip_xing(path.read_bytes()))
    assert len(loud) <= len(samples) <= len(loud) + 4 * 1152
    assert not found.lost_packets
    assert read_audio_info(tmp_path / "b.mp3").duration == pytest.approx(len(samples) / RATE, abs=0.1)
    assert abs(len(whole) - len(loud)) <= 1152


@pytest.mark.parametrize("count", [1, 20, 1000])
def test_a_wrong_number_of_frames_in_an_mp3_is_not_believed(tmp_path, count):
    path = tmp_path / "a.mp3"
    encode(path, "libmp3lame", bit_rate=32000)
    data = path.read_bytes()
    place = max(data.find(b"Xing"), data.find(b"Info"))
    path.write_bytes(patched(data, place + 8, count, ">I"))
    if count == 1000:  # as of a file that is cut
        with pytest.raises(AudioError, match=r"truncated: the header counts 1000 frames"):
            decode(path)
        assert decode(path, on_corrupt="salvage")[1].lost_seconds > 10
        return
    samples, found = decode(path)
    assert len(samples) >= len(WAVE)
    assert "more follow" in found.notes[0]


@pytest.mark.parametrize("kind", ["id3", "id3v1", "ape", "both"])
@pytest.mark.parametrize("codec", ["libmp3lame", "mp2", "aac"])
def test_tags_around_mpeg_streams(tmp_path, codec, kind):
    path = tmp_path / "a.bin"
    encode(path, codec, {"libmp3lame": "mp3", "aac": "adts"}.get(codec, codec), bit_rate=32000)
    plain = path.read_bytes()
    plain = plain[plain.find(b"\xff") :] if plain[:3] != b"ID3" else plain
    expected, _ = decode(path, plain)
    front = b"ID3\x04\0\0" + bytes([0, 0, 8, 0]) + bytes(1024)
    ape = b"APETAGEX" + struct.pack("<III", 2000, 32, 1) + bytes(12)
    tail = {"id3v1": b"TAG" + bytes(125), "ape": b"\x01" * 32 + ape, "both": b"TAG" + bytes(125)}.get(
        kind, b""
    )
    data = (front if kind in ("id3", "both") else b"") + plain + tail
    samples, found = decode(path, data)
    assert abs(len(samples) - len(expected)) <= 1152
    assert not found.lost_packets


def test_bytes_behind_an_mp3_that_are_no_frames_are_left_out(tmp_path):
    path = tmp_path / "a.mp3"
    encode(path, "libmp3lame", bit_rate=32000)
    for data in (path.read_bytes(), strip_xing(path.read_bytes())):
        expected, _ = decode(path, data)
        samples, found = decode(path, data + b"<html>no sound</html>" * 500)
        np.testing.assert_array_equal(samples, expected)
        assert "are no frames" in found.notes[0]
        samples, found = decode(path, data[:-20])  # a last frame that is not whole
        assert len(expected) - 2 * 1152 <= len(samples) <= len(expected) + 2 * 1152


@pytest.mark.parametrize("with_count", [True, False])
@pytest.mark.parametrize("last", [b"", b"TAG" + b"a" * 125])
def test_mp3_files_joined_with_their_tags_give_all_parts(tmp_path, with_count, last):
    path = tmp_path / "a.mp3"
    encode(path, "libmp3lame", bit_rate=32000)
    data = path.read_bytes()
    data = ID3 + (data[data.find(b"\xff") :] if with_count else strip_xing(data)) + last
    single, _ = decode(path, data)
    samples, found = decode(path, data * 3)
    np.testing.assert_array_equal(samples, np.tile(single, 3))
    assert found.notes == ("3 recordings joined in one file",)
    assert read_audio_info(path).duration == pytest.approx(3 * len(single) / RATE, abs=0.1)
    if with_count:
        with pytest.raises(AudioError, match="truncated"):
            decode(path, data + data[: len(data) // 2] + data)


@pytest.mark.parametrize("frames", [2, 5, 20])
def test_a_short_mp3_is_not_joined_with_itself(tmp_path, frames):
    path = tmp_path / "a.mp3"
    encode(path, "libmp3lame", bit_rate=32000)
    data = strip_xing(path.read_bytes())
    short = data[: data.find(data[:2], 100) * frames]
    expected, _ = decode(path, short)
    tag = b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10)
    for damage in (b"", b"\0" * 40, b"ID3 is text"):
        samples, found = decode(path, tag + short + damage)
        assert len(samples) <= len(expected) + 2 * 1152 and "joined" not in " ".join(found.notes)


@pytest.mark.parametrize("field", ["count", "flags"])
def test_an_mp3_whose_first_frame_counts_nothing_is_decoded_to_its_end(tmp_path, field):
    path = tmp_path / "a.mp3"
    encode(path, "libmp3lame", bit_rate=32000)
    data = path.read_bytes()
    expected, _ = decode(path)
    place = max(data.find(b"Xing"), data.find(b"Info"))
    flags = int.from_bytes(data[place + 4 : place + 8], "big")
    change = (8, 0) if field == "count" else (4, flags & ~1)
    data = patched(data, place + change[0], change[1], ">I")
    samples, found = decode(path, data)
    assert 0 <= len(samples) - len(expected) <= 2 * 1152
    assert not found.lost_packets


@pytest.mark.parametrize("movflags", ["faststart", "frag_keyframe+delay_moov"])
def test_an_mp4_that_ends_within_its_sound_is_cut(tmp_path, movflags):
    """As few bytes as several packets of speech have."""
    path = tmp_path / "a.m4a"
    options = {"movflags": movflags}
    if movflags != "faststart":
        options["frag_duration"] = "1500000"
    write_packets(path, np.random.default_rng(0).normal(0, 0.1, (1, 2 * RATE)), options=options)
    data = path.read_bytes()
    if movflags != "faststart":
        data = data[: data.rfind(b"mfra") - 4]
    whole, _ = decode(path, data)
    samples, found = decode(path, data[:-100])
    assert 0 < len(whole) - len(samples) <= 2 * 1024 and found.notes
    cut = data[: -(len(data) // 10)]
    assert len(data) - len(cut) < 2048
    with pytest.raises(AudioError, match="truncated"):
        decode(path, cut)
    assert decode(path, cut, on_corrupt="salvage")[1].lost_seconds > 0.1


def test_flac_without_a_count_is_decoded_to_its_end(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, WAVE, RATE)
    data = bytearray(path.read_bytes())
    count = int.from_bytes(data[21:26], "big") & 0xFFFFFFFFF
    assert count == len(WAVE)
    for stated in (0, 4096, 20000, 31999):
        data[21:26] = (int.from_bytes(data[21:26], "big") & ~0xFFFFFFFFF | stated).to_bytes(5, "big")
        samples, found = decode(path, bytes(data))
        np.testing.assert_array_equal(samples, WAVE)
        assert len(found.notes) == 1
        assert read_audio_info(path).duration == 2.0
    data[21:26] = (int.from_bytes(data[21:26], "big") & ~0xFFFFFFFFF | 48000).to_bytes(5, "big")
    with pytest.raises(AudioError, match=r"counts 48000 samples, found 32000 \(1\.000 s missing\)"):
        decode(path, bytes(data))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3"])
@pytest.mark.parametrize("seconds", [2.0, 0.7])
def test_joined_files_give_all_parts(tmp_path, suffix, seconds):
    path, other = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    form = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}
    soundfile.write(path, WAVE, RATE, **form)
    soundfile.write(other, speech_like(seconds), RATE, **form)
    single = [len(decode(each)[0]) for each in (path, other)]
    samples, _ = decode(tmp_path / "joined", path.read_bytes() + other.read_bytes())
    assert abs(len(samples) - sum(single)) <= (4 * 1152 if suffix == "mp3" else 0)
    if suffix != "mp3":
        assert read_audio_info(tmp_path / "joined").duration == pytest.approx(sum(single) / RATE)
        assert "joined" in decode(tmp_path / "joined")[1].notes[0]
    few = decode(tmp_path / "joined", max_samples=single[0] + 100)[0]
    np.testing.assert_array_equal(few, samples[: single[0] + 100])


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_joined_files_of_different_rates_are_an_error(tmp_path, suffix):
    for name, rate in (("a", 16000), ("b", 48000)):
        soundfile.write(tmp_path / f"{name}.{suffix}", speech_like(1, rate), rate)
    data = b"".join((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
    with pytest.raises(AudioError, match=r"16000.*48000"):
        decode(tmp_path / "joined", data)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_one_channel_joined_with_several_is_repeated(tmp_path, suffix):
    stereo = np.stack([WAVE, WAVE // 2], axis=1)
    for name, wave in (("a", WAVE), ("b", stereo)):
        soundfile.write(tmp_path / f"{name}.{suffix}", wave, RATE)
    first, second = (decode_audio(tmp_path / f"{name}.{suffix}", scale="int16").samples for name in "ab")
    joined = tmp_path / f"joined.{suffix}"
    joined.write_bytes(b"".join((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab"))
    samples = decode_audio(joined, scale="int16").samples
    np.testing.assert_array_equal(samples, np.concatenate([np.repeat(first, 2, axis=0), second], axis=1))


def without_end_mark(data):
    """An Ogg file whose last page is not marked as the last, with the right checksum (slow and clear)."""
    place = data.rfind(b"OggS")
    page = bytearray(data[place:])
    assert page[5] & 4
    page[5] &= ~4
    page[22:26] = bytes(4)
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
    page[22:26] = value.to_bytes(4, "little")
    return data[:place] + bytes(page)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_file_without_an_end_mark_is_whole(tmp_path, subtype):
    path = tmp_path / "a.ogg"
    soundfile.write(path, WAVE, RATE, format="OGG", subtype=subtype)
    expected, _ = decode(path)
    samples, found = decode(tmp_path / "b.ogg", without_end_mark(path.read_bytes()))
    np.testing.assert_array_equal(samples, expected)
    assert "not marked as the last" in found.notes[0]


def test_packets_that_an_edit_list_leaves_out_are_no_loss(tmp_path):
    path = tmp_path / "a.m4a"
    write_packets(path, WAVE[None] / 32768, options={"use_editlist": "1"})
    data = bytearray(path.read_bytes())
    place = data.find(b"elst")
    if place < 0:
        pytest.fail("FFmpeg wrote no edit list")
    scale = struct.unpack(">I", data[data.find(b"mvhd") + 16 : data.find(b"mvhd") + 20])[0]
    data[place + 12 : place + 16] = struct.pack(">I", scale // 2)  # of the segment: half a second
    samples, found = decode(path, bytes(data))
    assert 0.5 * RATE <= len(samples) <= 0.5 * RATE + 2 * 1024
    assert (found.lost_packets, found.lost_seconds) == (0, 0)


def test_a_view_shows_a_range_with_corrections(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    with path.open("rb", buffering=0) as file:
        view = FileView(file, 10, 90, [(8, b"abcd"), (50, b"xy"), (88, b"zzzz")])
        whole = view.read()
        assert whole == b"cd" + bytes(range(12, 50)) + b"xy" + bytes(range(52, 88)) + b"zz"
        for start in range(81):
            view.seek(start)
            assert view.read(7) == whole[start : start + 7]
        assert view.seek(-3, 2) == 77 and view.read() == whole[-3:]


def test_markers_are_found_across_blocks(tmp_path, monkeypatch):
    import voiceface.audio.byte_ranges as module

    monkeypatch.setattr(module, "BLOCK_BYTES", 8)
    data = b"ab" * 3 + b"fLaC" + b"xyz" + b"fLaCfLaC" + b"fLa"
    path = tmp_path / "a"
    path.write_bytes(data)
    expected = [i for i in range(len(data)) if data[i : i + 4] == b"fLaC"]
    with path.open("rb") as file:
        assert list(find_all(file, b"fLaC", 0, len(data))) == expected
        assert list(find_all(file, b"fLaC", 7, len(data))) == expected[1:]
