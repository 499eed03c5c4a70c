"""Faces in videos: tracks, cuts, crossings, occlusion, best images; discs stand for faces."""

import numpy as np
import pytest
from disc_faces import COLOURS, PlainFinder, disc_finder, disc_mask, disc_mesh, disc_picture
from video_files import write_video
from voiceface.faces.finding import MeshFaceFinder
from voiceface.faces.quality import FaceQuality
from voiceface.videos import tracks
from voiceface.videos.mouth import mouth_opening
from voiceface.videos.track_images import MAX_PICTURE_SIDE, BestImages, cut_picture, rate_quality
from voiceface.videos.tracker import FaceTracker
from voiceface.videos.tracks import find_face_tracks

STEP = 0.08


def follow(pictures, finder=None, cuts=(), interval=0.4, max_faces=10):
    """Tracks through a list of pictures, 12.5 a second, in the order of their beginning."""
    tracker = FaceTracker(finder or disc_finder(), interval, max_faces, 4)
    ended = []
    for number, picture in enumerate(pictures):
        ended += tracker.add(number * STEP, picture, cut=number in cuts)
    ended += tracker.finish()
    return sorted(ended, key=lambda track: (track.times[0], track.boxes[0][0]))


def colour_of(track, pictures):
    """Colours that a track shows at its nose, over all its images."""
    shown = set()
    for time, points in zip(track.times, track.points):
        picture = pictures[round(time / STEP)]
        x, y = np.clip(np.round(points[2]).astype(int), 0, (picture.shape[1] - 1, picture.shape[0] - 1))
        shown |= {name for name in COLOURS if disc_mask(picture[y : y + 1, x : x + 1], name).any()}
    return shown


@pytest.mark.parametrize("make", [disc_finder, PlainFinder])
def test_a_moving_face_is_one_track_at_its_places(make):
    places = [(60 + 4 * k, 70 + 10 * np.sin(k / 4)) for k in range(30)]
    pictures = [disc_picture([("red", x, y, 24, 0)]) for x, y in places]
    (track,) = follow(pictures, make())
    assert track.times == pytest.approx([k * STEP for k in range(30)])
    middles = [(box[:2] + box[2:]) / 2 for box in track.boxes]
    assert np.abs(np.array(middles) - places).max() < 2.5
    assert np.array(track.points)[:, 2] == pytest.approx(np.add(places, (0, 1.2)), abs=2)


def test_the_detector_runs_at_intervals_and_the_mesh_in_between():
    finder = disc_finder()
    follow([disc_picture([("red", 100, 70, 24, 0)])] * 50, finder)
    assert finder.detector.runs == pytest.approx(50 * STEP / 0.4, abs=1)
    assert finder.mesh.fits == 50
    plain = PlainFinder()
    follow([disc_picture([("red", 100, 70, 24, 0)])] * 50, plain)
    assert plain.searched == 50


@pytest.mark.parametrize("make", [disc_finder, PlainFinder])
def test_several_people_have_their_own_tracks_and_one_who_comes_later_is_found(make):
    pictures = []
    for k in range(40):
        discs = [("red", 50 + k, 60, 20, 0), ("green", 200 - k, 80, 28, 0)]
        discs += [("blue", 128, 30, 16, 0)] if k >= 15 else []
        pictures.append(disc_picture(discs))
    tracks = follow(pictures, make())
    assert [colour_of(track, pictures) for track in tracks] == [{"red"}, {"green"}, {"blue"}]
    assert [len(track.times) for track in tracks[:2]] == [40, 40]
    assert 15 * STEP <= tracks[2].times[0] <= 15 * STEP + 0.4 and tracks[2].times[-1] == 39 * STEP


@pytest.mark.parametrize("make", [disc_finder, PlainFinder])
def test_who_crosses_another_never_takes_over_the_track(make):
    pictures = [
        disc_picture([("red", 230 - 5 * k, 70, 24, 0), ("green", 25 + 5 * k, 74, 26, 0)]) for k in range(40)
    ]
    tracks = follow(pictures, make())
    shown = [colour_of(track, pictures) for track in tracks]
    assert all(len(each) == 1 for each in shown)
    assert shown.count({"red"}) == 2  # behind: before and after
    covered = sum(len(track.times) for track, each in zip(tracks, shown) if each == {"green"})
    assert covered >= 28
    last = [track for track in tracks if track.times[-1] == 39 * STEP]
    assert len(last) == 2


@pytest.mark.parametrize("make", [disc_finder, PlainFinder])
def test_a_hidden_face_ends_its_track_and_begins_another(make):
    pictures = [disc_picture([("red", 100, 70, 24, 0)]) for _ in range(40)]
    for k in range(15, 22):
        pictures[k][40:110, 60:140] = 128
    first, second = follow(pictures, make())
    assert first.times[-1] == 14 * STEP and 22 * STEP <= second.times[0] <= 22 * STEP + 0.4


@pytest.mark.parametrize("make", [disc_finder, PlainFinder])
def test_another_face_elsewhere_or_of_another_size_is_no_continuation(make):
    for other in (("green", 150, 70, 24, 0), ("green", 100, 70, 44, 0)):
        pictures = [disc_picture([("red", 100, 70, 24, 0)])] * 10 + [disc_picture([other])] * 10
        tracks = follow(pictures, make())
        assert [colour_of(track, pictures) for track in tracks] == [{"red"}, {"green"}]


def test_every_track_ends_at_a_cut():
    pictures = [disc_picture([("red", 100, 70, 24, 0)])] * 20
    first, second = follow(pictures, cuts=(11,))
    assert (first.shot, first.times[-1]) == (0, 10 * STEP)
    assert (second.shot, second.times[0]) == (1, 11 * STEP)


def test_only_the_largest_faces_are_followed():
    picture = disc_picture([("red", 40, 70, 18, 0), ("green", 110, 70, 28, 0), ("blue", 200, 70, 23, 0)])
    tracks = follow([picture] * 8, max_faces=2)
    assert [colour_of(track, [picture] * 8) for track in tracks] == [{"green"}, {"blue"}]


def test_the_opening_of_the_mouth_follows_the_slit():
    slits = [0, 2, 4, 8, 12, 8, 4, 2, 0, 6, 10]
    pictures = [disc_picture([("red", 100, 70, 26, slit)]) for slit in slits]
    (track,) = follow(pictures)
    assert np.corrcoef(track.mouth, slits)[0, 1] > 0.98
    (plain,) = follow(pictures, PlainFinder())
    assert np.isnan(plain.mouth).all() and len(plain.times) == len(slits)


def test_mouth_opening_is_a_ratio_of_lengths_in_space():
    closed, open_ = disc_mesh(0, 0, 40, 0), disc_mesh(0, 0, 40, 12)
    # eyes .9 radii apart; outer height .1 radii and the slit
    assert mouth_opening(closed) == pytest.approx(0.1 / 2 / 0.9, abs=1e-5)
    assert mouth_opening(open_) - mouth_opening(closed) == pytest.approx(12 / 40 / 0.9, abs=1e-5)
    cos, sin = np.cos(0.7), np.sin(0.7)
    for turn in ([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], [[1, 0, 0], [0, cos, sin], [0, -sin, cos]]):
        assert mouth_opening(3 * open_ @ np.array(turn) + 5) == pytest.approx(mouth_opening(open_), abs=1e-5)
    assert mouth_opening(np.stack([closed, open_])).shape == (2,)
    assert np.isnan(mouth_opening(np.zeros((468, 3))))


def quality(**changes):
    values = {"eye_distance": 80, "sharpness": 0.3, "yaw": 0, "pitch": 0, "roll": 0}
    return FaceQuality(**{**values, "brightness": 0.5, "dark": 0, "bright": 0, **changes})


def test_quality_falls_with_every_fault():
    best = rate_quality(quality())
    assert best == pytest.approx(1)
    for fault in (
        {"eye_distance": 25},
        {"sharpness": 0.02},
        {"yaw": 40},
        {"pitch": -40},
        {"brightness": 0.1},
        {"bright": 0.4},
        {"dark": 0.4},
    ):
        assert 0 <= rate_quality(quality(**fault)) < 0.85 * best, fault


def test_pictures_of_a_track_show_the_face_where_its_points_are():
    for x, y, radius in [(100, 70, 24), (10, 70, 24), (250, 140, 30)]:  # at the border, too
        picture = disc_picture([("red", x, y, radius, 0)])
        (track,) = follow([picture] * 4)
        best = track.images.best()[0]
        side = best.picture.shape[0]
        assert best.picture.shape == (side, side, 3)
        again = disc_finder().find([best.picture])[0]
        if 24 < x < 230:
            assert np.abs(again[0].points - best.face.points).max() < 1
            assert np.abs(again[0].mesh - best.face.mesh).max() < 1.5
        middle = np.round(best.face.points[2]).astype(int)
        assert disc_mask(best.picture[middle[1] : middle[1] + 1, middle[0] : middle[0] + 1], "red").all()


def test_large_faces_are_scaled_down_with_their_points():
    picture = disc_picture([("red", 500, 450, 400, 40)], size=(900, 1000))
    (face,) = disc_finder().find([picture])[0]
    small, moved = cut_picture(picture, face)
    assert small.shape == (MAX_PICTURE_SIDE, MAX_PICTURE_SIDE, 3)
    (again,) = disc_finder().find([small])[0]
    assert np.abs(again.points - moved.points).max() < 1.5
    assert moved.quality.eye_distance == pytest.approx(again.quality.eye_distance, rel=0.02)
    assert mouth_opening(moved.mesh) == pytest.approx(mouth_opening(face.mesh), rel=1e-3)


def test_images_are_the_best_of_every_part_and_their_number_is_bounded():
    picture = disc_picture([("red", 100, 70, 24, 0)])
    (face,) = disc_finder().find([picture])[0]
    rng = np.random.default_rng(4)
    times = np.arange(2000) * STEP
    scores = rng.uniform(0.1, 1, len(times))
    kept = BestImages(8)
    for time, score in zip(times, scores):
        each = type(face)(face.box, face.points, 1.0, 1.0, quality(brightness=0.3 * score), face.mesh)
        kept.add(time, picture, each)
        assert len(kept._slots) <= 16
    best = kept.best()
    assert len(best) == 8 and [each.score for each in best] == sorted((e.score for e in best), reverse=True)
    assert best[0].time == times[scores.argmax()]
    spread = np.sort([each.time for each in best])
    assert np.ptp(spread) > 0.5 * times[-1]
    assert min(each.score for each in best) > 0.9
    assert BestImages(0).best() == ()


def write_two_shots(path):
    """Two shots of 2 s with other backgrounds: red and green; then blue, twice as fast a mouth."""
    rng = np.random.default_rng(0)
    backgrounds = [
        np.kron(rng.integers(60, 190, (9, 16, 1)), np.ones((16, 16, 3))).astype(np.uint8) for _ in range(2)
    ]

    def images():
        for k in range(100):
            slit = 5 + 5 * np.sin(k / 3)
            discs = [("red", 70 + k / 4, 60, 22, slit), ("green", 190, 80, 24, 0)]
            if k >= 50:
                discs = [("blue", 120 - k / 5, 75, 26, slit)]
            yield disc_picture(discs, background=backgrounds[k // 50])

    return write_video(path, images(), codec="ffv1")


def test_tracks_of_a_file_with_two_shots(tmp_path):
    path = write_two_shots(tmp_path / "a.mkv")
    faces = find_face_tracks(path, disc_finder(), max_images=3)
    assert faces.info.width == 256 and faces.rate == 12.5 and faces.damaged_frames == 0
    assert faces.cuts == pytest.approx([2.0], abs=0.081)
    assert [track.shot for track in faces.tracks] == [0, 0, 1]
    for track, (start, end) in zip(faces.tracks, [(0, 2), (0, 2), (2, 4)]):
        assert (track.start, track.end) == (pytest.approx(start, abs=0.09), pytest.approx(end, abs=0.13))
        count = len(track.times)
        assert track.boxes.shape == (count, 4) and track.points.shape == (count, 5, 2)
        assert track.mouth.shape == (count,) and len(track.images) == 3
        assert (np.diff(track.times) > 0).all()
    green, red = sorted(faces.tracks[:2], key=lambda track: track.mouth.std())
    assert green.boxes[0, 0] > red.boxes[0, 0] and red.mouth.std() > 0.05 > 5 * green.mouth.std()
    expected = 5 + 5 * np.sin(np.round(red.times * 25) / 3)
    assert np.corrcoef(red.mouth, expected)[0, 1] > 0.95


def test_tracks_are_the_same_each_time_and_in_part_of_a_video(tmp_path):
    path = write_two_shots(tmp_path / "a.mkv")
    once, again = find_face_tracks(path, disc_finder()), find_face_tracks(path, disc_finder())
    assert once.cuts == again.cuts
    for a, b in zip(once.tracks, again.tracks, strict=True):
        assert (a.times == b.times).all() and (a.boxes == b.boxes).all() and (a.mouth == b.mouth).all()
        assert all((x.picture == y.picture).all() for x, y in zip(a.images, b.images, strict=True))
    part = find_face_tracks(path, disc_finder(), start=2.4, end=3.2)
    (track,) = part.tracks
    assert 2.4 <= track.start < 2.5 and 3.0 < track.end < 3.2 and part.cuts == ()


def test_a_flash_does_not_end_a_track_and_a_bright_scene_does(tmp_path):
    rng = np.random.default_rng(0)
    wall = np.kron(rng.integers(60, 150, (9, 16, 1)), np.ones((16, 16, 3))).astype(np.uint8)
    bright = np.kron(rng.integers(200, 256, (9, 16, 1)) // 250 * 255, np.ones((16, 16, 3))).astype(np.uint8)

    def images(again):
        for k in range(100):
            if 50 <= k < (52 if again else 100):
                image = disc_picture([("green", 120, 70, 26, 0)], background=np.maximum(bright, 215))
                yield np.full_like(image, 255) if again else image
            else:
                yield disc_picture([("red", 120, 70, 26, 0)], background=wall)

    path = write_video(tmp_path / "flash.mkv", images(True), codec="ffv1")
    faces = find_face_tracks(path, disc_finder())
    assert faces.cuts == () and [len(track.times) for track in faces.tracks] == [49]
    path = write_video(tmp_path / "bright.mkv", images(False), codec="ffv1")
    faces = find_face_tracks(path, disc_finder())
    assert faces.cuts == pytest.approx([2.0], abs=0.081)
    assert [track.shot for track in faces.tracks] == [0, 1]
    assert faces.tracks[0].end < 2.0 <= faces.tracks[1].start


def test_images_of_many_tracks_fit_into_memory(tmp_path, monkeypatch):
    path = write_two_shots(tmp_path / "a.mkv")
    plenty = find_face_tracks(path, disc_finder())
    size = max(each.picture.nbytes for track in plenty.tracks for each in track.images)
    monkeypatch.setattr(tracks, "MAX_PICTURE_BYTES", 7 * size)
    fewer = find_face_tracks(path, disc_finder())
    counts = [len(track.images) for track in fewer.tracks]
    assert max(counts) == 2 and min(counts) >= 1
    for some, every in zip(fewer.tracks, plenty.tracks, strict=True):
        assert [each.time for each in some.images] == [each.time for each in every.images[: len(some.images)]]
        assert (some.times == every.times).all()


def test_images_become_smaller_with_their_faces_where_memory_is_scarce(tmp_path, monkeypatch):
    def images():
        for k in range(20):
            yield disc_picture([("red", 300, 200, 110 + k / 4, 0)], size=(400, 600))

    path = write_video(tmp_path / "a.mkv", images(), codec="ffv1")
    monkeypatch.setattr(tracks, "MAX_PICTURE_BYTES", 3 * 256 * 256)
    (track,) = find_face_tracks(path, disc_finder()).tracks
    (image,) = track.images
    assert image.picture.shape == (256, 256, 3)
    (again,) = disc_finder().find([image.picture])[0]
    assert np.abs(again.points - image.face.points).max() < 1.5


def test_a_track_ends_before_a_dissolve(tmp_path):
    rng = np.random.default_rng(0)
    walls = [
        np.kron(rng.integers(60, 190, (9, 16, 1)), np.ones((16, 16, 3))).astype(np.uint8) for _ in range(2)
    ]
    first = disc_picture([("red", 120, 70, 26, 0)], background=walls[0]).astype(float)
    second = disc_picture([("green", 120, 70, 26, 0)], background=walls[1]).astype(float)

    def images():
        for k in range(120):
            share = np.clip((k - 50) / 20, 0, 1)
            yield np.round((1 - share) * first + share * second).astype(np.uint8)

    path = write_video(tmp_path / "a.mkv", images(), codec="ffv1")
    faces = find_face_tracks(path, PatientFinder())
    assert len(faces.cuts) == 1 and 2.2 < faces.cuts[0] < 3.1
    before, after = faces.tracks
    assert before.end <= 2.4 and after.start >= faces.cuts[0]
    assert all(each.time <= before.end for each in before.images) and before.images


class PatientFinder(PlainFinder):
    """Finds a face at one place in every image, whatever it shows."""

    def _find(self, image):
        return super()._find(disc_picture([("red", 120, 70, 26, 0)]))


def test_finders_without_a_mesh_give_tracks_without_a_mouth(tmp_path):
    path = write_two_shots(tmp_path / "a.mkv")
    faces = find_face_tracks(path, PlainFinder())
    assert len(faces.tracks) == 3 and all(np.isnan(track.mouth).all() for track in faces.tracks)
    assert all(each.face.mesh is None for track in faces.tracks for each in track.images)
    assert isinstance(disc_finder(), MeshFaceFinder)


def test_short_finds_are_no_tracks(tmp_path):
    def images():
        for k in range(40):
            yield disc_picture([("red", 100, 70, 24, 0)] if 12 <= k < 17 else [])

    path = write_video(tmp_path / "a.mkv", images(), codec="ffv1")
    assert find_face_tracks(path, disc_finder(), detection_interval=0.08).tracks == ()
    (track,) = find_face_tracks(path, disc_finder(), detection_interval=0.08, min_seconds=0.1).tracks
    assert 0.45 < track.start < 0.6
    nothing = write_video(tmp_path / "b.mkv", (disc_picture([]) for _ in range(10)), codec="ffv1")
    assert find_face_tracks(nothing, disc_finder()).tracks == ()
