"""The people of a video: one best image each, whether a face encoder is there or not."""

import numpy as np
import pytest
from disc_faces import COLOURS, disc_finder, disc_mask, disc_picture
from video_files import write_video
from voiceface.videos.people import best_faces, embed_tracks, join_tracks, join_tracks_by_place
from voiceface.videos.tracks import FaceTrack, find_face_tracks


class ColourEncoder:
    """Embeds a face by the colour of its middle."""

    def embed(self, chips):
        assert chips.shape[1:] == (150, 150, 3)
        middle = chips[:, 60:90, 60:90].reshape(len(chips), -1, 3).mean(axis=1) / 255
        return np.pad(middle, ((0, 0), (0, 125))).astype(np.float32)


def colour_of(face):
    x, y = np.round(face.face.points[2]).astype(int)
    return next(name for name in COLOURS if disc_mask(face.picture[y : y + 1, x : x + 1], name).any())


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Red and green; then red alone at another place; then blue, hidden for a while."""
    rng = np.random.default_rng(0)
    walls = [np.kron(rng.integers(60, 190, (9, 16, 1)), np.ones((16, 16, 3))).astype(np.uint8) for _ in "abc"]

    def images():
        for k in range(150):
            discs = [("red", 70, 60, 20, 0), ("green", 190, 80, 24, 0)]
            if 50 <= k < 75:
                discs = [("red", 150, 70, 30, 0)]
            if k >= 75:
                discs = [] if 105 <= k < 115 else [("blue", 120, 70, 26, 0)]
            yield disc_picture(discs, background=walls[(k >= 50) + int(k >= 75)])

    return write_video(tmp_path_factory.mktemp("people") / "a.mkv", images(), codec="ffv1")


def test_every_person_has_one_best_image(video):
    people = best_faces(video, disc_finder(), ColourEncoder())
    assert [colour_of(person.face) for person in people] == ["red", "blue", "green"]
    red, blue, green = people
    assert len(red.tracks) == 2 and len(blue.tracks) == 2 and len(green.tracks) == 1
    assert 2.0 <= red.face.time < 3.0  # where it is largest
    assert (red.seconds, green.seconds) == (pytest.approx(3, abs=0.2), pytest.approx(2, abs=0.2))


def test_without_an_encoder_tracks_are_joined_by_place_within_a_shot(video):
    people = best_faces(video, disc_finder())
    assert sorted(colour_of(person.face) for person in people) == ["blue", "green", "red", "red"]
    assert [len(person.tracks) for person in people if colour_of(person.face) == "blue"] == [2]


def test_a_part_of_a_video_has_the_people_of_this_part(video):
    people = best_faces(video, disc_finder(), ColourEncoder(), start=3.2)
    assert [colour_of(person.face) for person in people] == ["blue"]
    assert best_faces(video, disc_finder(), ColourEncoder(), start=100.0) == []


def track(start, end, place=0.0, shot=0):
    times = np.linspace(start, end, 5)
    boxes = np.tile(np.array([place, 0, place + 10, 10], np.float32), (5, 1))
    return FaceTrack(shot, times, boxes, np.zeros((5, 5, 2), np.float32), np.zeros(5), ())


def test_people_who_are_seen_together_are_never_one():
    tracks = [track(0, 1), track(0.5, 2), track(3, 4), track(5, 6)]
    twins = np.zeros((4, 2))
    groups = join_tracks(tracks, twins, 0.6)
    assert sorted(k for group in groups for k in group) == [0, 1, 2, 3]
    assert not any({0, 1} <= set(group) for group in groups) and len(groups) == 2


def test_linkage_is_the_mean_distance_and_the_threshold_holds():
    tracks = [track(k, k + 0.5) for k in range(4)]
    line = np.array([[0.0], [0.4], [0.85], [3.0]])
    assert join_tracks(tracks, line, 0.6) == [[0, 1], [2], [3]]  # .85 and .45 from it: .65
    assert join_tracks(tracks, line, 0.7) == [[0, 1, 2], [3]]
    assert join_tracks(tracks, line, 10.0) == [[0, 1, 2, 3]]
    assert join_tracks(tracks, line, 0.1) == [[0], [1], [2], [3]]
    assert join_tracks([], np.zeros((0, 2))) == []


def test_places_join_tracks_only_in_time_and_space():
    tracks = [track(0, 1), track(1.5, 2), track(2.5, 3, place=50), track(9, 10), track(10.1, 11, shot=1)]
    assert join_tracks_by_place(tracks) == [[0, 1], [2], [3], [4]]


def test_embeddings_are_means_over_images(video):
    faces = find_face_tracks(video, disc_finder(), max_images=2)
    rows = embed_tracks(faces.tracks, ColourEncoder())
    assert rows.shape == (len(faces.tracks), 128)
    assert embed_tracks([], ColourEncoder()).shape == (0, 128)
