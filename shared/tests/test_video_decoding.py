"""People's own videos: upright, with square pixels, at their times, in bounded memory, and never a crash."""

import os
import random
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image
from video_files import moving_square, square_place, write_video
from voiceface.videos.containers import MAX_GAP, Timeline
from voiceface.videos.decoding import VideoError, iterate_images, probe_video
from voiceface.videos.orientation import FrameConverter

ONE = 1 << 16
LOSSLESS = {"crf": "1"}
QUARTERS = {  # images of (1, 0) and (0, 1), y points down: how a player moves the axes
    "as stored": ((1, 0), (0, 1)),
    "clockwise": ((0, 1), (-1, 0)),
    "half": ((-1, 0), (0, -1)),
    "counterclockwise": ((0, -1), (1, 0)),
    "mirrored": ((-1, 0), (0, 1)),
    "upside down": ((1, 0), (0, -1)),
    "transposed": ((0, 1), (1, 0)),
    "transverse": ((0, -1), (-1, 0)),
}


def corner_image(size=(64, 96)):
    """Four corners of different colours."""
    image = np.zeros((*size, 3), np.uint8)
    middle = size[0] // 2, size[1] // 2
    image[: middle[0], : middle[1]] = (220, 30, 30)
    image[: middle[0], middle[1] :] = (30, 200, 30)
    image[middle[0] :, : middle[1]] = (30, 30, 220)
    image[middle[0] :, middle[1] :] = (210, 210, 210)
    return image


def levels(count, size=(64, 96)):
    """Images that tell their number by their grey level."""
    return (np.full((*size, 3), 20 + 4 * (k % 55), np.uint8) for k in range(count))


def number_of(image):
    return round((float(image.mean()) - 20) / 4)


@pytest.mark.parametrize("turn", QUARTERS)
def test_images_are_turned_and_mirrored_as_the_file_says(tmp_path, turn):
    (a, b), (c, d) = QUARTERS[turn]
    matrix = [a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30]
    stored = corner_image()
    path = write_video(tmp_path / "a.mp4", [stored] * 3, matrix=matrix, options=LOSSLESS)
    info, (_, shown) = probe_video(path), next(iterate_images(path))
    height, width = stored.shape[:2]
    expected_size = (width, height) if a else (height, width)
    assert (info.width, info.height) == expected_size == shown.shape[1::-1]
    for x, y in [(16, 16), (80, 16), (16, 48), (80, 48)]:
        u, v = x - (width - 1) / 2, y - (height - 1) / 2
        at = a * u + c * v + (shown.shape[1] - 1) / 2, b * u + d * v + (shown.shape[0] - 1) / 2
        assert np.abs(shown[round(at[1]), round(at[0])].astype(int) - stored[y, x]).max() < 25, (turn, x, y)


def test_pixels_become_square(tmp_path):
    for aspect, size in [(Fraction(4, 3), (213, 96)), (Fraction(3, 4), (160, 128)), (Fraction(1), (160, 96))]:
        path = write_video(tmp_path / "a.mkv", moving_square(2), pixel_aspect=aspect)
        info, (_, image) = probe_video(path), next(iterate_images(path))
        assert (info.width, info.height) == size == image.shape[1::-1]
        width, height = square_place(image)[1]
        assert width / height == pytest.approx(float(aspect), rel=0.1)


def test_a_telephone_held_upright_with_wide_pixels_is_scaled_before_it_is_turned(tmp_path):
    matrix = [0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30]
    path = write_video(tmp_path / "a.mp4", moving_square(2), pixel_aspect=Fraction(2), matrix=matrix)
    info = probe_video(path)
    assert (info.width, info.height) == (96, 320)
    assert next(iterate_images(path))[1].shape == (320, 96, 3)


@pytest.mark.parametrize(
    "name, codec",
    [
        ("a.mp4", "libx264"),
        ("a.mov", "mpeg4"),
        ("a.mkv", "ffv1"),
        ("a.webm", "libvpx-vp9"),
        ("a.avi", "mjpeg"),
        ("a.ts", "mpeg2video"),
        ("a.wmv", "wmv2"),
        ("a.flv", "flv"),
    ],
)
def test_any_container_is_read_by_content_at_the_same_times(tmp_path, name, codec):
    path = write_video(tmp_path / name, moving_square(30), codec=codec, container_format=None)
    nameless = tmp_path / "recording"
    nameless.write_bytes(path.read_bytes())
    info = probe_video(nameless)
    assert (info.width, info.height, info.has_sound) == (160, 96, False)
    assert info.seconds == pytest.approx(1.2, abs=0.09) and info.frame_rate == pytest.approx(25, abs=0.1)
    images = list(iterate_images(nameless))
    assert [time for time, _ in images] == pytest.approx([k / 25 for k in range(30)], abs=0.002)
    places = [square_place(image)[0][0] for _, image in images]
    assert np.diff(places) == pytest.approx(np.ones(29), abs=0.75)


def test_times_begin_with_the_file_and_follow_a_variable_rate(tmp_path):
    stamps = [0, 40, 80, 200, 230, 700, 705, 1500]  # ms
    for shift in (0, 10_000):
        for name in ("a.mp4", "a.mkv"):
            path = write_video(
                tmp_path / name,
                levels(len(stamps)),
                times=[stamp + shift for stamp in stamps],
                clock=1000,
                options={"bf": "2"},
            )
            found = list(iterate_images(path))
            if name == "a.mkv" or not shift:  # MP4 states an empty beginning by an edit list
                assert [time for time, _ in found] == pytest.approx(np.array(stamps) / 1000, abs=0.0015)
            assert [number_of(image) for _, image in found] == list(range(len(stamps)))


def test_images_without_time_stamps_follow_at_the_stated_rate(tmp_path):
    path = write_video(tmp_path / "a.h264", levels(20), container_format="h264", options={"bf": "0"})
    times = [time for time, _ in iterate_images(path)]
    assert len(times) == 20 and np.diff(times) == pytest.approx(np.full(19, 1 / 25), abs=1e-6)
    assert probe_video(path).seconds == pytest.approx(0.8, abs=0.05)


def test_a_clock_that_is_missing_stands_still_or_starts_anew_still_goes_forward():
    base = Fraction(1, 1000)

    def places(stamps, origin=0.0):
        line = Timeline(origin, 0.04)
        return [line.place(SimpleNamespace(pts=each, dts=None, time_base=base)) for each in stamps]

    assert places([0, 40, 80]) == pytest.approx([0, 0.04, 0.08])
    assert places([5040, None, 5120], 5.0) == pytest.approx([0.04, 0.08, 0.12])
    assert places([0, 40, 40, 120]) == pytest.approx([0, 0.04, 0.08, 0.12])  # a stamp that repeats
    joined = places([90_000, 90_040, 0, 40, 80])
    assert joined == pytest.approx([90, 90.04, 90.08, 90.12, 90.16])
    far = round(MAX_GAP * 2000)
    assert places([0, far, far + 40]) == pytest.approx([0, 0.04, 0.08])
    assert places([0, 600_000]) == pytest.approx([0, 600.0])  # a still image of ten minutes


def test_two_recordings_joined_in_one_file_go_on_in_time_and_size(tmp_path):
    first = write_video(tmp_path / "a.ts", levels(20), codec="mpeg2video")
    second = write_video(tmp_path / "b.ts", levels(20, (128, 192)), codec="mpeg2video")
    third = write_video(tmp_path / "c.ts", levels(20, (96, 64)), codec="mpeg2video")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes() + third.read_bytes())
    found = list(iterate_images(joined))
    times = np.array([time for time, _ in found])
    assert len(found) >= 57 and (np.diff(times) > 0).all() and times[-1] < 2.6
    sizes = [image.shape[:2] for _, image in found]
    assert set(sizes) == {(64, 96), (96, 64)}  # one proportion, one size; another proportion stays


def test_the_rate_is_an_upper_bound_and_images_are_spread_evenly(tmp_path):
    path = write_video(tmp_path / "a.mkv", levels(50), codec="ffv1")
    every = [(time, number_of(image)) for time, image in iterate_images(path)]
    assert [number for _, number in every] == list(range(50))
    for rate in (1, 5, 12, 12.5, 24):
        some = [(time, number_of(image)) for time, image in iterate_images(path, rate=rate)]
        assert set(some) <= set(every) and some[0][1] == 0
        assert len(some) == pytest.approx(2 * rate, abs=1)
        assert np.diff([time for time, _ in some]).max() <= 1 / rate + 1 / 25 + 1e-6
    assert [number for _, number in every] == [
        number_of(image) for _, image in iterate_images(path, rate=100)
    ]
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="rate must be positive"):
            iterate_images(path, rate=wrong)


def test_a_part_is_the_same_images_as_in_the_whole(tmp_path):
    for name, codec in [("a.mp4", "libx264"), ("a.ts", "mpeg2video"), ("a.webm", "libvpx")]:
        path = write_video(
            tmp_path / name, moving_square(100), codec=codec, options={"g": "30"}, container_format=None
        )
        whole = list(iterate_images(path))
        part = list(iterate_images(path, start=2.2, end=3.0))
        expected = [each for each in whole if 2.2 - 1e-6 <= each[0] < 3.0 - 1e-6]
        assert [time for time, _ in part] == pytest.approx([time for time, _ in expected], abs=1e-6)
        assert all((a == b).all() for (_, a), (_, b) in zip(part, expected)), name
        assert list(iterate_images(path, start=50.0)) == []


def test_one_image_at_a_time_is_held(tmp_path):
    path = write_video(tmp_path / "a.mp4", levels(60, (480, 640)), options={"preset": "ultrafast"})
    tracemalloc.start()
    try:
        count = sum(1 for _ in iterate_images(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 60 and peak < 5 * 480 * 640 * 3


def test_sound_is_noticed_and_where_it_begins(tmp_path):
    wave = 0.3 * np.sin(np.arange(32000) / 10)
    for start in (0.0, 0.75):
        path = write_video(tmp_path / "a.mkv", levels(50), sound=wave, sound_start=start, sound_codec="aac")
        info = probe_video(path)
        assert info.has_sound and info.sound_start == pytest.approx(start, abs=0.07)


def test_a_length_that_is_not_stated_is_counted(tmp_path):
    path = tmp_path / "a.webm"
    with path.open("wb") as file:
        pipe = SimpleNamespace(write=file.write)  # as a browser records: no way back to the header
        with av.open(pipe, "w", format="webm") as container:
            stream = container.add_stream("libvpx", rate=25)
            stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
            for image in levels(50):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    with av.open(str(path)) as container:
        assert not container.duration
    assert probe_video(path).seconds == pytest.approx(2.0, abs=0.05)


def test_colours_of_high_definition_are_those_of_players(tmp_path):
    colour = np.full((720, 720, 3), (40, 160, 60), np.uint8)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1", "preset": "ultrafast"})
        stream.height = stream.width = 720
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(colour, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    described = frame.colorspace != 2
    shown = FrameConverter().convert(frame)
    assert np.abs(shown.astype(int) - colour).max() <= 4
    if not described:
        plain = FrameConverter(guess_colours=False).convert(frame)
        assert np.abs(plain.astype(int) - colour).max() > 4


def write_cover(path, codec="mp3"):
    """A recording with a cover picture."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream(codec, rate=44100, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(corner_image((64, 64)), format="rgb24")
        container.mux(cover.encode(picture))
        container.mux(cover.encode())
        for begin in range(0, 44100, 1152):
            wave = np.sin(np.arange(begin, begin + 1152, dtype=np.float32) / 20)[None]
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, begin
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


def refused(path, match):
    """Both calls refuse a file with the same error that names it."""
    messages = set()
    for call in (probe_video, lambda path: next(iterate_images(path))):
        with pytest.raises(VideoError, match=match) as caught:
            call(path)
        assert path.name in str(caught.value)
        messages.add(str(caught.value))
    assert len(messages) == 1


def test_sound_with_or_without_a_cover_is_no_video(tmp_path):
    refused(write_cover(tmp_path / "a.mp3"), "only a cover picture, expected a video")
    mute = write_video(tmp_path / "a.mka", [], sound=np.zeros(8000))
    refused(mute, "no pictures, expected a video")


def test_what_is_no_video_is_named(tmp_path, capfd):
    film = write_video(tmp_path / "film.mp4", levels(5))
    Image.fromarray(corner_image()).save(tmp_path / "photo.jpg")
    Image.fromarray(corner_image()).save(tmp_path / "photo.bmp")
    Image.fromarray(corner_image()).save(tmp_path / "photo.sgi")
    Image.fromarray(corner_image()).save(tmp_path / "photo.mp4", format="png")
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{film}'\n")
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{film}\n#EXT-X-ENDLIST\n")
    (tmp_path / "page.mp4").write_text("<!doctype html><html></html>")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.avi").write_text("not a video\n" * 100)
    (tmp_path / "noise.mkv").write_bytes(random.Random(0).randbytes(20_000))
    (tmp_path / "cut.mp4").write_bytes(film.read_bytes()[:400])
    for name, match in [
        ("photo.jpg", "a JPEG image, expected a video; load it as a picture"),
        ("photo.bmp", "a BMP image, expected a video; load it as a picture"),
        ("photo.sgi", "picture or text"),
        ("photo.mp4", "a PNG image"),
        ("list.mp4", "list.mp4"),
        ("list.m3u8", "list.m3u8"),
        ("page.mp4", "web page"),
        ("empty.mp4", "an empty file"),
        ("text.avi", "expected a video"),
        ("noise.mkv", "expected a video"),
        ("cut.mp4", "cannot be decoded"),
    ]:
        refused(tmp_path / name, match)
    for missing in (tmp_path / "none.mp4", tmp_path):
        with pytest.raises(FileNotFoundError, match=missing.name):
            probe_video(missing)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp4")
        refused(tmp_path / "pipe.mp4", "named pipe")
    assert capfd.readouterr() == ("", "")


def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mkv", levels(3))
    monkeypatch.setattr("voiceface.videos.containers.MAX_PIXELS", 64 * 96 - 1)
    refused(path, "frames of 96 x 64 pixels, expected at most 6,143")
    monkeypatch.setattr("voiceface.videos.containers.MAX_PIXELS", 64 * 96)
    wide = write_video(tmp_path / "b.mkv", levels(3), pixel_aspect=Fraction(2))
    refused(wide, "192 x 64")


def test_damaged_images_are_skipped_and_counted(tmp_path, capfd):
    path = write_video(tmp_path / "a.avi", moving_square(60), codec="mjpeg")
    data = bytearray(path.read_bytes())
    starts = [k for k in range(len(data) - 1) if data[k : k + 2] == b"\xff\xd8"]
    ends = [*starts[1:], starts[-1]]
    for start, end in list(zip(starts, ends))[20:25]:
        data[start : end - 16] = bytes(end - 16 - start)
    path.write_bytes(data)
    with iterate_images(path) as images:
        found = list(images)
        assert len(found) == 55 and images.damaged_frames == 5
    cut = tmp_path / "cut.mkv"
    whole = write_video(tmp_path / "whole.mkv", moving_square(60), codec="ffv1")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 20 < len(list(iterate_images(cut))) < 40
    for start, end in zip(starts, [*ends[:-1], data.rfind(b"idx1")]):
        data[start : end - 16] = bytes(end - 16 - start)
    path.write_bytes(data)
    refused(path, "damaged packets and no image that can be decoded")
    assert capfd.readouterr() == ("", "")


def test_damaged_bytes_end_in_images_or_in_one_documented_error(tmp_path, capfd):
    draw = random.Random(3)
    films = [
        write_video(tmp_path / "a.mp4", moving_square(12), sound=np.zeros(8000)),
        write_video(tmp_path / "a.webm", moving_square(12), codec="libvpx"),
        write_video(tmp_path / "a.avi", moving_square(12), codec="mpeg4"),
        write_video(tmp_path / "a.ts", moving_square(12), codec="mpeg2video"),
    ]
    target, outcomes = tmp_path / "target", set()
    for film in films:
        content = film.read_bytes()
        for _ in range(40):
            data = bytearray(content)
            for _ in range(draw.choice((1, 4, 30))):
                data[draw.randrange(len(data) if draw.random() < 0.5 else 400)] = draw.randrange(256)
            target.write_bytes(data[: draw.choice((len(data), draw.randrange(1, len(data))))])
            try:
                probe_video(target)
                outcomes.add("images" if [image.shape for _, image in iterate_images(target)] else "none")
            except VideoError as error:
                assert "target" in str(error)
                outcomes.add("error")
    assert {"images", "error"} <= outcomes
    assert capfd.readouterr() == ("", "")


def test_a_video_stays_open_only_while_it_is_read(tmp_path):
    path = write_video(tmp_path / "a.mp4", levels(30))

    handles = Path("/proc/self/fd")
    if not handles.is_dir():
        pytest.skip("no list of open files here")

    def open_count():
        return sum(each.resolve() == path.resolve() for each in handles.iterdir())

    images = iterate_images(path)
    next(images)
    assert open_count() == 1
    images.close()
    assert open_count() == 0
    list(iterate_images(path))
    assert open_count() == 0


def test_importing_the_folder_of_videos_is_cheap():
    code = (
        "import sys, voiceface.videos; sys.exit(any(name in sys.modules for name in ('av', 'cv2', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
