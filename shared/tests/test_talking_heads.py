"""Videos of talking heads: sound, pictures and ground truth agree, and the same arguments give the same."""

import json
from dataclasses import replace

import av
import numpy as np
import pytest
from voiceface.commands import population
from voiceface.synthetic.camera import light_vector
from voiceface.synthetic.head.model import build_head_model
from voiceface.synthetic.head.render import prepare_face
from voiceface.synthetic.head.shading import make_light
from voiceface.synthetic.head.shape_space import shape_coefficients
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.layout import PopulationError, build_settings
from voiceface.synthetic.talking_heads import folders, render_talking_video
from voiceface.synthetic.talking_heads.frames import FramePainter, PlacedHead
from voiceface.synthetic.talking_heads.motion import chewing_track, idle_track, speech_track
from voiceface.synthetic.talking_heads.scenes import VIDEO_KINDS, Scene, Turn, sample_scenes
from voiceface.synthetic.talking_heads.video_files import write_video
from voiceface.synthetic.voice.phonetics import PHONES

SMALL = {"width": 96, "height": 72, "frame_rate": 10}
PAIR = Scene(2.0, people=(3, 5), turns=(Turn(0.4, 1.8, 3),), chewing=(5,), head_height=0.5)
SCENES = (PAIR, Scene(0.8, backdrop="landscape"), Scene(1.5, (5,), (Turn(0.3, 1.3, 9),)))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return render_talking_video(tmp_path_factory.mktemp("videos") / "a.mp4", SCENES, **SMALL)


@pytest.fixture(scope="module")
def frames(video):
    with av.open(str(video.path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def read_sound(path):
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler("fltp", "mono", rate)
        parts = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        return np.concatenate([part.to_ndarray()[0] for part in parts]), rate


def test_the_file_has_the_frames_and_the_sound_of_the_scenes(video, frames):
    assert frames.shape == (43, 72, 96, 3)
    assert video.seconds == 4.3 and video.cuts == (2.0, 2.8)
    sound, rate = read_sound(video.path)
    assert rate == 16000 and abs(len(sound) / rate - 4.3) < 0.15


def test_pictures_change_at_cuts_and_little_elsewhere(video, frames):
    change = np.abs(np.diff(frames.astype(float), axis=0)).mean(axis=(1, 2, 3))
    at_cuts = [round(cut * video.frame_rate) - 1 for cut in video.cuts]
    assert set(np.argsort(change)[-2:]) == set(at_cuts)
    assert np.sort(change)[-2] > 3 * np.sort(change)[-3]


def test_speech_is_heard_in_its_segments_and_names_those_who_are_seen(video):
    assert [(segment.identity, segment.voice) for segment in video.segments] == [(3, 3), (None, 9)]
    sound, rate = read_sound(video.path)
    heard = np.zeros(len(sound), bool)
    for segment in video.segments:
        assert segment.end - segment.start > 0.5
        heard[int(segment.start * rate) : int(segment.end * rate)] = True
    assert np.square(sound[heard]).mean() > 30 * np.square(sound[~heard]).mean()


def test_faces_lie_in_the_picture_where_their_skin_is(video, frames):
    assert [(face.identity, face.scene) for face in video.faces] == [(3, 0), (5, 0), (5, 2)]
    for face in video.faces:
        left, top, right, bottom = face.boxes.T
        assert (left > 0).all() and (top > 0).all() and (right < 96).all() and (bottom < 72).all()
        assert (np.abs((right - left) / (bottom - top) - 0.7) < 0.2).all()
    first, second = (face.boxes[:, [0, 2]].mean() for face in video.faces[:2])
    assert first < 48 < second


def test_the_mouth_of_the_speaker_follows_the_sound_and_that_of_others_does_not(tmp_path):
    scene = Scene(5.0, (3, 5), (Turn(0.4, 4.6, 3),), signal_to_noise=40.0)
    made = render_talking_video(tmp_path / "a.mp4", [scene], **SMALL)
    sound, rate = read_sound(made.path)
    window = rate // 10
    energy = np.sqrt(np.square(sound[: 49 * window]).reshape(49, window).mean(1))
    speaker, other = (np.corrcoef(face.mouth[:49], energy)[0, 1] for face in made.faces)
    assert speaker > 0.5 > 0.4 > abs(other)
    assert made.faces[0].mouth.std() > 5 * made.faces[1].mouth.std()


def test_the_same_arguments_give_the_same_file_and_another_number_another(video, tmp_path):
    again = render_talking_video(tmp_path / "a.mp4", SCENES, **SMALL)
    assert again.path.read_bytes() == video.path.read_bytes() and again.to_dict() == video.to_dict()
    other = render_talking_video(tmp_path / "b.mp4", SCENES, number=1, **SMALL)
    assert other.to_dict()["faces"] != video.to_dict()["faces"]
    assert not np.array_equal(read_sound(other.path)[0], read_sound(video.path)[0])


def test_webm_has_the_same_frames_in_another_code(tmp_path, video, frames):
    made = render_talking_video(tmp_path / "a.webm", SCENES, **SMALL)
    with av.open(str(made.path)) as container:
        assert container.streams.video[0].codec_context.name.startswith("vp9")
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(float) - frames).mean() < 8


def test_an_opening_mouth_is_dark_inside_and_the_chin_goes_down():
    rng = np.random.default_rng(0)
    light = make_light(light_vector(np.zeros(2), np.full(3, 0.5), np.zeros(2), 0.0), 0.5, 0.0)
    painter = FramePainter(np.full((120, 120, 3), 0.3, np.float32), light, np.ones(3), 0.0, rng)
    row = sample_identities([4])
    shape = shape_coefficients(row)[0]
    face = prepare_face(row, 0)

    def head(opening):
        place = {"centre": np.array([60.0, 50.0]), "scale": 0.45, "clothes": np.full(4, 0.5)}
        return PlacedHead(face, np.zeros(3), np.zeros(10), opening, glasses=False, **place)

    closed, half, wide = (painter.paint([head(opening)]).astype(float) for opening in (0.0, 6.0, 12.0))
    marks = build_head_model().compute_landmarks(shape, head(12.0).full_expression())
    x, y = (0.45 * (marks[62] + marks[66])[:2] / 2 * [1, -1] + [60, 50]).round().astype(int)
    mouth = slice(y - 8, y + 9), slice(x - 12, x + 13)
    dark = [int((image[mouth].mean(axis=2) < 60).sum()) for image in (closed, half, wide)]
    assert dark[1] > dark[0] + 10 and dark[2] > dark[1] + 10
    bottoms = [head(opening).compute_box(1.5)[3] for opening in (0.0, 6.0, 12.0)]
    assert bottoms[0] < bottoms[1] < bottoms[2]
    before = build_head_model().compute_landmarks(shape, head(0.0).full_expression())
    gaps = [np.linalg.norm(each[62] - each[66]) for each in (before, marks)]
    assert gaps[1] - gaps[0] == pytest.approx(12.0, abs=1.0)


def test_labials_close_the_mouth_and_open_vowels_open_it():
    names = [phone.name for phone in PHONES]
    times = np.arange(60) / 100
    phones = np.repeat([names.index(name) for name in ("ah", "b", "ah")], 20)
    opening, rounding = speech_track(phones, times, 0.0)
    assert opening[10] > 3 * opening[30] and not rounding.any()
    ahead, _ = speech_track(phones, times, 0.05)
    np.testing.assert_allclose(ahead[:50], opening[5:55], atol=1e-9)
    assert speech_track(np.array([names.index("u")] * 20), times, 0.0)[1].max() > 0.9


def test_chewing_moves_the_mouth_and_silence_hardly():
    times = np.arange(0, 20, 0.04)
    for seed in range(5):
        chewing = chewing_track(times, np.random.default_rng(seed))
        idle = idle_track(times, np.random.default_rng(seed))
        assert chewing.min() >= 0 and idle.min() >= 0
        assert chewing.max() > 3 and chewing.std() > 2 * idle.std()


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_sampled_scenes_keep_what_their_kind_promises(kind):
    scenes = sample_scenes(kind, [7, 8, 9], np.random.default_rng(0))
    speakers = [(turn.identity, scene.people) for scene in scenes for turn in scene.turns]
    assert any(identity == 7 and 7 in people for identity, people in speakers)
    assert any(identity == 9 for identity, _ in speakers) == (kind in ("voice-over", "mixed"))
    assert any(set(scene.chewing) - {7} for scene in scenes) == (kind in ("chewing", "mixed"))
    assert kind == "voice-over" or not any(7 in scene.chewing for scene in scenes[:-1])
    assert (len(scenes) > 1) == (kind in ("cuts", "voice-over", "mixed"))
    for scene in scenes:
        for before, after in zip(scene.turns, scene.turns[1:]):
            assert after.start >= before.end + 0.4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seconds": 0.0}, "longer than 0"),
        ({"people": (1, 1)}, "different people"),
        ({"chewing": (2,)}, "chewing"),
        ({"head_height": 0.05}, "head_height"),
        ({"backdrop": "sea"}, "backdrop"),
        ({"turns": (Turn(1.0, 1.2, 3),)}, "at least 0.5 s"),
        ({"turns": (Turn(1.0, 9.0, 3),)}, "turn"),
    ],
)
def test_impossible_scenes_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(PAIR, **changes)


def test_impossible_videos_are_refused_and_leave_nothing(tmp_path):
    for options in ({"width": 97}, {"frame_rate": 2}, {"number": -1}):
        with pytest.raises(ValueError, match="expected one scene or more"):
            render_talking_video(tmp_path / "a.mp4", SCENES, **{**SMALL, **options})
    with pytest.raises(ValueError, match=r"a\.avi: expected"):
        render_talking_video(tmp_path / "a.avi", SCENES, **SMALL)
    with pytest.raises(ValueError, match="no kind"):
        sample_scenes("opera", [1, 2, 3], np.random.default_rng(0))

    def broken():
        yield np.zeros((72, 96, 3), np.uint8)
        raise RuntimeError("no more frames")

    with pytest.raises(RuntimeError, match="no more frames"):
        write_video(tmp_path / "a.mp4", broken(), np.zeros(1600, np.float32), 96, 72, 10, 16000)
    assert not list(tmp_path.iterdir())


def test_only_missing_videos_of_a_population_are_written_again(tmp_path, monkeypatch):
    settings = build_settings("tiny", num_identities=3)
    clip = Scene(1.0, turns=(Turn(0.2, 0.9, 1),))
    monkeypatch.setattr(folders, "sample_scenes", lambda kind, people, rng: (replace(clip, people=people),))
    first = folders.write_talking_videos(tmp_path / "a", settings, 2, workers=1, progress=False, **SMALL)
    assert len(first) == 6 and len({path.name for path in first}) > 2
    files = sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 12
    content = {path: path.read_bytes() for path in files}
    (tmp_path / "a" / "videos" / ".x.part.mp4").write_bytes(b"killed")
    files[0].unlink()
    times = {path: path.stat().st_mtime_ns for path in files[1:]}
    folders.write_talking_videos(tmp_path / "a", settings, 2, workers=1, progress=False, **SMALL)
    assert {path: path.read_bytes() for path in files} == content
    assert sum(path.stat().st_mtime_ns != times[path] for path in files[1:]) == 1
    assert not list((tmp_path / "a").rglob(".*"))


def test_guests_occur_in_one_video_and_videos_do_not_depend_on_the_size_of_the_population():
    small, large = (build_settings("tiny", num_identities=number) for number in (12, 40))
    jobs = {job.name: job for job in folders.list_video_jobs(large, 3)}
    assert len(jobs) == 120 and len({job.number for job in jobs.values()}) == 120
    for job in folders.list_video_jobs(small, 2):
        assert jobs[job.name] == job
    guests = [guest for job in jobs.values() for guest in job.people[1:]]
    assert len(set(guests)) == 240 and min(guests) > max(large.ids())
    assert all(job.people[0] == job.identity for job in jobs.values())
    with pytest.raises(ValueError, match="videos per identity"):
        folders.list_video_jobs(small, 0)


def test_the_command_writes_videos_with_truth(tmp_path, capsys, monkeypatch):
    short = Scene(0.8, (7,), (Turn(0.1, 0.7, 7),))
    monkeypatch.setattr(folders, "sample_scenes", lambda kind, people, rng: (short,))
    words = ["--preset", "tiny", "--identities", "3", "--clips", "1", "--clip-seconds", "0.5", "--no-lists"]
    words += ["--images", "1", "--image-size", "32", "--workers", "1"]
    assert population.main([str(tmp_path / "out"), *words, "--videos", "1"]) == 0
    assert "3 videos" in capsys.readouterr().out
    for path in (tmp_path / "out" / "videos").glob("*/*.mp4"):
        truth = json.loads(
            (tmp_path / "out/truth/videos" / path.parent.name / f"{path.stem}.json").read_text()
        )
        assert truth["video"] == path.name and truth["segments"][0]["identity"] == 7
        assert (tmp_path / "out" / "faces" / path.parent.name).is_dir()
    with pytest.raises(PopulationError, match="--videos"):
        population.main([str(tmp_path / "other"), *words, "--videos", "100"])
    assert not (tmp_path / "other").exists()
