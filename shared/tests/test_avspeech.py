"""AVSpeech's rows, videos built here: what is cut out, who is in which split, what a second run does."""

import json
import shutil
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from video_files import moving_square, write_video
from voiceface.__main__ import main
from voiceface.audio.loading import load_audio
from voiceface.datasets.avspeech import build
from voiceface.datasets.avspeech.build import AvspeechSettings, assign_split, build_corpus
from voiceface.datasets.avspeech.table import AvspeechError, Segment, read_segments
from voiceface.datasets.avspeech.video_segments import (
    MediaError,
    crop_square,
    read_audio_segment,
    read_images_at,
)
from voiceface.datasets.corpus import open_corpus
from voiceface.datasets.trials.sampling import generate_trial_lists
from voiceface.datasets.validation.checker import check_corpus
from voiceface.videos import containers

WIDTH, HEIGHT, FPS, SQUARE = 160, 96, 10, 24
RATE = 22050
FIRST, SECOND = "-aB_cD12345", "zz_90_12345"  # ids as bad as they come
PINNED = {14: "val", 24: "test", 27: "val", 29: "val", 31: "val", 35: "test", 38: "val"}  # of 40, seed 0
TONES = (400.0, 1000.0)  # Hz, before and after the middle of a video


def centre_at(time, seconds):
    """Where the square is: it goes from left to right as the video runs."""
    return 0.25 + 0.5 * time / seconds, 0.5


def film(path, seconds=6.0, images=True, sound=True):
    """A video with a red square that moves from left to right, and a tone that jumps in the middle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        if images:
            video = container.add_stream("mpeg4", rate=FPS)
            video.width, video.height, video.pix_fmt, video.bit_rate = WIDTH, HEIGHT, "yuv420p", 2_000_000
        if sound:
            audio = container.add_stream("aac", rate=RATE, layout="stereo")
        for number in range(round(seconds * FPS) if images else 0):
            image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
            x, y = centre_at(number / FPS, seconds)
            left, top = round(x * WIDTH - SQUARE / 2), round(y * HEIGHT - SQUARE / 2)
            image[top : top + SQUARE, left : left + SQUARE] = (220, 20, 20)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        if images:
            container.mux(video.encode())
        if sound:
            time = np.arange(round(seconds * RATE)) / RATE
            tone = np.where(
                time < seconds / 2, np.sin(2 * np.pi * TONES[0] * time), np.sin(2 * np.pi * TONES[1] * time)
            )
            wave = (np.stack([0.8 * tone, 0.4 * tone])).astype(np.float32)  # the mean is 0.6 of full scale
            for begin in range(0, wave.shape[1], 1024):
                part = np.ascontiguousarray(wave[:, begin : begin + 1024])
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
                frame.sample_rate, frame.pts, frame.time_base = RATE, begin, Fraction(1, RATE)
                container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def frequency(wave):
    """Hz of the strongest line of a spectrum."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return np.argmax(spectrum) * 16000 / len(wave)


def redness(image):
    """Where a B G R image is red."""
    blue, _, red = np.moveaxis(image.astype(int), 2, 0)
    return red - blue > 80


def row(video, start, end, seconds=6.0):
    """A row whose centre is the square's in the middle of the segment."""
    x, y = centre_at((start + end) / 2, seconds)
    return Segment(video, start, end, x, y)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """One whole video in each of two containers, and a clip that somebody cut from a third."""
    folder = tmp_path_factory.mktemp("videos")
    film(folder / f"{FIRST}.mp4")
    film(folder / "more" / f"{SECOND}.mkv")
    film(folder / "cutcutcut01_30.03_33.03.mp4", seconds=3.0)
    return folder


@pytest.fixture(scope="module")
def rows():
    return [
        row(FIRST, 3.5, 5.5),
        row(FIRST, 0.5, 2.5),
        row(SECOND, 3.5, 5.0),
        Segment("cutcutcut01", 30.03, 33.03, 0.5, 0.5),
        row("gone_gone_1", 1, 5),
        row("gone_gone_1", 7, 11),
    ]


def write_table(path, rows, header=False):
    path.write_text(("id,start,end,x,y\n" if header else "") + "".join(segment.row for segment in rows))
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory, videos, rows):
    """A corpus of all that is there, with its record."""
    base = tmp_path_factory.mktemp("built")
    table = write_table(base / "rows.csv", rows)
    settings = AvspeechSettings(
        images_per_segment=2, face_fraction=0.5, image_size=48, image_format="png", split_fractions=(1, 0, 0)
    )
    record = build_corpus(table, videos, base / "out", settings, workers=1, progress=False)
    return base / "out", record, table, settings


def tree(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_clips_hold_the_sound_of_their_segment_and_no_other(built):
    root, _, _, _ = built
    for name, hertz, seconds in [
        (f"{FIRST}/00003500-00005500", TONES[1], 2),
        (f"{FIRST}/00000500-00002500", TONES[0], 2),
        (f"{SECOND}/00003500-00005000", TONES[1], 1.5),
    ]:
        wave = load_audio(root / "wav" / f"{name}.wav", scale="unit")  # refuses any rate but 16 kHz
        assert len(wave) == seconds * 16000, name
        assert frequency(wave) == pytest.approx(hertz, abs=1), name
        assert np.abs(wave[200:-200]).max() == pytest.approx(0.6, abs=0.05), name


def test_a_segment_begins_at_its_second(videos):
    for path in (videos / f"{FIRST}.mp4", videos / "more" / f"{SECOND}.mkv"):
        wave = read_audio_segment(path, 2.5, 4.5)
        halves = frequency(wave[:7800]), frequency(wave[8200:])  # the tone jumps at 3 s
        assert halves == pytest.approx((TONES[0], TONES[1]), abs=4), path.name


def test_images_show_the_square_where_it_was(built):
    root, _, _, settings = built
    for video, start, end in [(FIRST, 3.5, 5.5), (FIRST, 0.5, 2.5), (SECOND, 3.5, 5.0)]:
        segment = row(video, start, end)
        for k, place in enumerate(build.output_paths(segment, settings)[1:]):
            image = cv2.imread(str(root / place))
            assert image.shape == (48, 48, 3)  # 0.5 of 96 pixels: nothing was resized
            time = start + (k + 0.5) / 2 * (end - start)
            shown = centre_at(np.floor(time * FPS + 1e-6) / FPS, 6)[0]  # of the image on the screen then
            expected = 24 + (shown - segment.x) * WIDTH
            ys, xs = np.nonzero(redness(image))
            assert len(xs) == pytest.approx(SQUARE**2, rel=0.2)
            assert xs.mean() + 0.5 == pytest.approx(expected, abs=1.5)
            assert ys.mean() + 0.5 == pytest.approx(24, abs=1.5)


def test_the_square_is_moved_inside_and_never_larger_than_the_image():
    image = np.arange(60 * 100 * 3, dtype=np.int64).reshape(60, 100, 3).astype(np.uint8)
    assert (crop_square(image, 0.0, 1.0, 0.5, 30) == image[30:, :30]).all()
    assert (crop_square(image, 1.0, 0.0, 0.5, 30) == image[:30, 70:]).all()
    assert (crop_square(image, 0.5, 0.5, 0.5, 30) == image[15:45, 35:65]).all()
    assert (crop_square(image, 0.5, 0.9, 1.0, 60) == image[:, 20:80]).all()
    tall = image.transpose(1, 0, 2)
    assert (crop_square(tall, 0.1, 0.5, 1.0, 60) == tall[20:80]).all()
    assert crop_square(image, 0.3, 0.3, 0.4, 50).shape == (50, 50, 3)


def test_usual_images_are_four_jpegs_of_128_pixels(videos, tmp_path):
    table = write_table(tmp_path / "rows.csv", [row(FIRST, 1, 5)])
    words = ["avspeech", str(table), "--videos", str(videos), "--out", str(tmp_path / "out"), "--quiet"]
    assert main(words) == 0
    found = sorted((tmp_path / "out" / "faces").rglob("*.jpg"))
    assert [path.name for path in found] == [f"00001000-00005000_0{k}.jpg" for k in range(4)]
    for path, time in zip(found, (1.5, 2.5, 3.5, 4.5)):
        image = cv2.imread(str(path))
        assert image.shape == (128, 128, 3)
        length = round(0.4 * HEIGHT)  # of the square in the video
        expected = 64 + (centre_at(time, 6)[0] - 0.5) * WIDTH * 128 / length
        low = max(0, expected - SQUARE / 2 * 128 / length)  # the left and right end of the red square
        high = min(128, expected + SQUARE / 2 * 128 / length)
        xs = np.nonzero(redness(image)[64])[0]
        assert (xs.min(), xs.max() + 1) == pytest.approx((low, high), abs=5)


def test_the_manifest_is_a_corpus_like_any_other(built, caplog, tmp_path):
    root, record, _, _ = built
    corpus = open_corpus(root, "train")
    assert corpus.names == sorted([FIRST, SECOND, "cutcutcut01"])
    # the square lies at the same places in both segments of the first video
    assert [(len(person.voices), len(person.faces)) for person in corpus.records] == [(2, 2), (1, 2), (1, 2)]
    assert {identity.gender for identity in corpus.identities} == {""}
    found = check_corpus(root, decode=True, cache_dir=tmp_path, progress=False, workers=1)
    assert found.trainable and found.splits["train"].unknown_gender == 3 and not found.duplicates
    lists = generate_trial_lists(corpus, 0, "test")
    assert {generated.stratum for generated in lists} == {"U"} and len(lists) == 6
    assert "match_g" not in {generated.name[:7] for generated in lists} and "gender" in caplog.text
    assert record["counts"]["written"]["train"] == {"videos": 3, "clips": 4, "images": 6}
    assert record["counts"]["near duplicates"] == {"clips": 0, "images": 2}


def test_what_is_missing_is_listed_as_rows_that_can_be_used_again(built, rows):
    root, record, table, _ = built
    assert record["counts"]["missing segments"] == 2 and record["complete"]
    assert list(read_segments(root / "missing.csv")) == list(read_segments(table))[4:]
    assert not (root / "failures.json").exists()
    written = json.loads((root / "avspeech.json").read_text())
    assert written == record and len(written["table"]["sha256"]) == 64


def test_an_interrupted_run_is_finished_with_the_same_bytes(built, videos, tmp_path, monkeypatch):
    root, _, table, settings = built
    make, calls = build._cut_segment, []

    def stops(job):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(job)
        return make(job)

    monkeypatch.setattr(build, "_cut_segment", stops)
    with pytest.raises(KeyboardInterrupt):
        build_corpus(table, videos, tmp_path / "out", settings, workers=1, progress=False)
    assert not (tmp_path / "out" / "manifest.csv").exists()
    (tmp_path / "out" / "wav" / ".x.abc.part.wav").write_bytes(b"half")
    later = []
    monkeypatch.setattr(build, "_cut_segment", lambda job: later.append(job) or make(job))
    build_corpus(table, videos, tmp_path / "out", settings, workers=1, progress=False)
    assert len(later) == 2 and tree(tmp_path / "out") == tree(root)
    build_corpus(table, videos, tmp_path / "out", settings, workers=1, progress=False)
    assert len(later) == 2 and tree(tmp_path / "out") == tree(root)


def test_processes_and_the_order_of_rows_change_nothing(built, videos, rows, tmp_path):
    root, _, _, settings = built
    table = write_table(tmp_path / "rows.csv", [*rows[::-1], rows[0]], header=True)
    record = build_corpus(table, videos, tmp_path / "out", settings, workers=2, progress=False)
    assert record["counts"]["repeated rows"] == 1
    actual, expected = tree(tmp_path / "out"), tree(root)
    differ = {name for name in actual.keys() | expected.keys() if actual.get(name) != expected.get(name)}
    assert differ == {"avspeech.json", "missing.csv"}  # they speak of the table itself


def test_gender_that_somebody_filled_in_stays_and_gives_same_sex_lists(built, videos, tmp_path):
    root, _, table, settings = built
    out = tmp_path / "out"
    shutil.copytree(root, out)
    text = (out / "manifest.csv").read_text()
    for video in (FIRST, SECOND, "cutcutcut01"):  # in one row of each
        text = text.replace(f"{video},voice,", f"{video},voice,\0", 1)
        head, _, tail = text.partition("\0")
        text = head + tail.replace(".wav,,,", ".wav,f,,", 1)
    (out / "manifest.csv").write_text(text)
    first = next(out.rglob("*.wav"))
    before = first.read_bytes()
    first.unlink()
    record = build_corpus(table, videos, out, settings, workers=1, progress=False)
    assert first.read_bytes() == before
    assert record["counts"]["videos of known gender"] == 3
    assert {identity.gender for identity in open_corpus(out, "train").identities} == {"f"}
    assert {trials.stratum for trials in generate_trial_lists(open_corpus(out, "train"), 0, "test")} == {
        "U",
        "G",
    }


def test_made_segments_outlive_their_videos_and_new_videos_are_added(rows, tmp_path):
    settings = AvspeechSettings(images_per_segment=1, image_size=16)
    table = write_table(tmp_path / "rows.csv", [rows[1], rows[2]])
    first = film(tmp_path / "videos" / f"{FIRST}.mp4")
    record = build_corpus(table, tmp_path / "videos", tmp_path / "out", settings, workers=1, progress=False)
    assert record["counts"]["missing segments"] == 1
    first.unlink()
    film(tmp_path / "videos" / f"{SECOND}.mkv")
    record = build_corpus(table, tmp_path / "videos", tmp_path / "out", settings, workers=1, progress=False)
    assert record["counts"]["missing segments"] == 0
    assert open_corpus(tmp_path / "out", None).names == [FIRST, SECOND]
    assert not (tmp_path / "out" / "missing.csv").exists()
    with pytest.raises(AvspeechError, match=r"image_size is 16 there and 32 here"):
        build_corpus(
            table,
            tmp_path / "videos",
            tmp_path / "out",
            AvspeechSettings(images_per_segment=1, image_size=32),
            progress=False,
        )
    with pytest.raises(AvspeechError, match=r"not empty and contains no avspeech\.json"):
        build_corpus(table, tmp_path / "videos", tmp_path / "videos", settings, progress=False)


def test_splits_depend_on_seed_and_id_alone_and_follow_the_shares():
    ids = [f"video{number:06d}" for number in range(4000)]
    usual = AvspeechSettings()
    splits = [assign_split(video, usual) for video in ids]
    for name, share in zip(("train", "val", "test"), usual.split_fractions):
        assert splits.count(name) / len(ids) == pytest.approx(share, abs=0.02)
    # Pinned: a corpus that is built again in a year must not mix training and test videos.
    assert {number: split for number, split in enumerate(splits[:40]) if split != "train"} == PINNED
    other = [assign_split(video, AvspeechSettings(seed=1)) for video in ids]
    assert sum(a == b for a, b in zip(splits, other)) / len(ids) == pytest.approx(0.66, abs=0.04)
    smaller = [assign_split(video, AvspeechSettings(split_fractions=(0.7, 0.2, 0.1))) for video in ids]
    assert all(a == b for a, b in zip(splits, smaller) if a != "train")  # only training videos moved
    for shares, only in [((0, 0, 1), "test"), ((0, 1, 0), "val"), ((1, 0, 0), "train")]:
        assert {assign_split(video, AvspeechSettings(split_fractions=shares)) for video in ids} == {only}


def test_damaged_videos_are_listed_and_the_exit_code_is_1(tmp_path, capsys):
    folder = tmp_path / "videos"
    film(folder / "good.mp4")
    film(folder / "short.mkv", seconds=2.0)
    film(folder / "mute.mp4", sound=False)
    film(folder / "blind.mp4", images=False)
    (folder / "text.mp4").write_text("not a video")
    data = bytearray(film(folder / "broken.mkv").read_bytes())
    (folder / "broken.mkv").write_bytes(data[: len(data) // 2])
    assert (
        len(read_audio_segment(folder / "broken.mkv", 0.5, 1.5)) == 16000
    )  # what is cut off does not matter
    names = ["good", "short", "mute", "blind", "text", "broken"]
    table = write_table(tmp_path / "rows.csv", [row(name, 1, 5) for name in names])
    words = ["avspeech", str(table), "--videos", str(folder), "--out", str(tmp_path / "out")]
    words += [
        "--images-per-segment",
        "2",
        "--image-size",
        "16",
        "--workers",
        "1",
        "--quiet",
        "--split-fractions",
        "0",
        "0",
        "1",
    ]
    assert main(words) == 1
    shown = capsys.readouterr()
    assert "test  1 video, 1 clip, 2 images" in shown.out and "5 segments could not be cut" in shown.err
    failures = {
        item["video"]: item["reason"] for item in json.loads((tmp_path / "out/failures.json").read_text())
    }
    assert set(failures) == set(names) - {"good"}
    assert "1.0" in failures["short"] and "cut short" in failures["short"]
    assert "no audio track" in failures["mute"] and "no video track" in failures["blind"]
    assert "cannot be decoded" in failures["text"]
    assert open_corpus(tmp_path / "out", "test").names == ["good"]
    written = tree(tmp_path / "out")
    assert len([name for name in written if name.startswith(("wav/", "faces/"))]) == 3  # no halves
    film(folder / "mute.mp4")
    assert main(words) == 1
    for name in ("short", "blind", "text", "broken"):
        film(folder / f"{name}.mp4")
        (folder / f"{name}.mkv").unlink(missing_ok=True)
    assert main(words) == 0
    assert not (tmp_path / "out" / "failures.json").exists()
    assert open_corpus(tmp_path / "out", "test").names == sorted(names)


def test_seeking_and_reading_from_the_beginning_give_the_same(videos, monkeypatch):
    for path in (videos / f"{FIRST}.mp4", videos / "more" / f"{SECOND}.mkv"):
        wave, images = read_audio_segment(path, 3.5, 5.5), read_images_at(path, [3.6, 4.2, 5.4])
        with monkeypatch.context() as patch:
            patch.setattr(
                containers, "SEEK_TOLERANCE", -99.0
            )  # every place that seeking gives counts as too late
            other = read_audio_segment(path, 3.5, 5.5)
            again = read_images_at(path, [3.6, 4.2, 5.4])
        assert all((a == b).all() for a, b in zip(images, again))
        lag = range(-16, 17)  # Matroska rounds times to a millisecond
        apart = [np.abs(wave[50:-50] - other[50 + n : len(other) - 50 + n].astype(float)).mean() for n in lag]
        assert min(apart) < 2400, path.name  # half a sample's step of the tone
        assert path.suffix == ".mkv" or (wave == other).all()


def test_videos_of_telephones_are_upright_and_eight_channels_are_mixed(tmp_path):
    turned = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]  # a quarter turn clockwise
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(32000) / 16000)
    plain = write_video(tmp_path / "a.mkv", moving_square(50), codec="ffv1", sound=tone)
    gains = np.array([1.6, 0.4, 1, 1, 1, 1, 1, 1])[:, None]
    path = write_video(
        tmp_path / "b.mov", moving_square(50), matrix=turned, options={"crf": "1"}, sound=gains * tone,
        sound_codec="pcm_s16le",
    )  # fmt: skip
    (upright,), (stored,) = read_images_at(path, [1.0]), read_images_at(plain, [1.0])
    assert upright.shape == (160, 96, 3)
    assert np.abs(upright.astype(int) - np.rot90(stored, -1)).mean() < 3
    wave = read_audio_segment(path, 0.5, 1.5)
    assert frequency(wave) == pytest.approx(440, abs=1) and np.abs(wave).max() == pytest.approx(16384, abs=30)


def test_images_that_do_not_differ_are_refused(videos):
    path = videos / f"{FIRST}.mp4"
    assert len(read_images_at(path, [1.0, 1.1])) == 2
    with pytest.raises(MediaError, match="1 different images at 2 times"):
        read_images_at(path, [1.02, 1.05])
    with pytest.raises(MediaError, match=r"last image at 5\.90 s, expected one at 7\.00 s"):
        read_images_at(path, [5.0, 7.0])


def test_nothing_to_do_and_bad_options_are_told(videos, tmp_path, capsys):
    table = write_table(tmp_path / "rows.csv", [row("gone_gone_1", 1, 5)])
    words = ["avspeech", str(table), "--videos", str(videos), "--out", str(tmp_path / "out")]
    assert main(words) == 1
    shown = capsys.readouterr().err
    assert "contains no video of the 1 segments" in shown
    assert "3 videos, such as" in shown and "--pattern" in shown
    assert main([*words, "--split-fractions", "0.5", "0.5", "0.5"]) == 1
    assert "with the sum 1" in capsys.readouterr().err
    assert main([*words[:3], str(tmp_path / "nowhere"), *words[4:]]) == 1
    assert "no video folder" in capsys.readouterr().err
    assert main(["avspeech", str(tmp_path / "no.csv"), *words[2:]]) == 1
    assert "no table at" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    for wrong in (
        {"images_per_segment": 0},
        {"face_fraction": 1.5},
        {"image_format": "gif"},
        {"seed": -1},
        {"image_size": 2},
    ):
        with pytest.raises(AvspeechError, match="expected"):
            AvspeechSettings(**wrong)
