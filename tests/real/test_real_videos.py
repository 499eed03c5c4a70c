"""Faces of rendered videos, found and followed by the networks: who is where, how the mouth moves, cuts."""

from pathlib import Path

import numpy as np
import pytest
from voiceface.faces.finding import load_face_finder
from voiceface.synthetic.talking_heads import render_talking_video
from voiceface.synthetic.talking_heads.scenes import VideoKind, sample_scenes
from voiceface.synthetic.talking_heads.truth import TalkingVideo
from voiceface.videos.people import best_faces
from voiceface.videos.tracks import VideoFaces, find_face_tracks

KINDS: tuple[VideoKind, ...] = ("cuts", "two")
MIN_FOLLOWED = 0.95  # of the images in which a face is seen
MIN_MOUTH_CORRELATION, MEDIAN_MOUTH_CORRELATION = 0.5, 0.85


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, TalkingVideo, VideoFaces]]:
    """Videos with their truth and with what was found."""
    folder = tmp_path_factory.mktemp("videos")
    finder = load_face_finder("onnxruntime")
    found = []
    for number, kind in enumerate(KINDS):
        scenes = sample_scenes(kind, [1, 201, 31], np.random.default_rng(500 + number))
        video = render_talking_video(folder / f"{kind}.mp4", scenes, number=500 + number)
        found.append((folder / f"{kind}.mp4", video, find_face_tracks(folder / f"{kind}.mp4", finder)))
    return found


def nearest(truth: TalkingVideo, time: float, point: np.ndarray) -> tuple[int, int]:
    """Index of the true face in which a point lies at a time, and the index of the time; -1 without one."""
    for index, face in enumerate(truth.faces):
        times = np.asarray(face.times)
        at = int(np.abs(times - time).argmin())
        left, top, right, bottom = np.asarray(face.boxes)[at]
        if abs(times[at] - time) < 0.021 and left <= point[0] <= right and top <= point[1] <= bottom:
            return index, at
    return -1, -1


def test_cuts_are_those_that_were_rendered(rendered: list[tuple[Path, TalkingVideo, VideoFaces]]) -> None:
    for path, truth, faces in rendered:
        assert faces.cuts == pytest.approx(list(truth.cuts), abs=0.081), path.name


def test_faces_are_followed_and_no_track_changes_the_person(
    rendered: list[tuple[Path, TalkingVideo, VideoFaces]],
) -> None:
    for path, truth, faces in rendered:
        seen = np.zeros(len(truth.faces))
        for track in faces.tracks:
            middles = track.points[:, 2]
            whose = {nearest(truth, time, point)[0] for time, point in zip(track.times, middles)}
            assert len(whose) == 1 and -1 not in whose, path.name
            seen[whose.pop()] += len(track.times)
        shown = np.array([len(face.times) for face in truth.faces]) * faces.rate / faces.info.frame_rate
        assert seen.sum() >= MIN_FOLLOWED * shown.sum(), path.name


def test_the_opening_of_the_mouth_is_that_which_was_rendered(
    rendered: list[tuple[Path, TalkingVideo, VideoFaces]],
) -> None:
    found = []
    for _, truth, faces in rendered:
        for track in faces.tracks:
            places = [nearest(truth, time, point) for time, point in zip(track.times, track.points[:, 2])]
            opening = np.array([np.asarray(truth.faces[face].mouth)[at] for face, at in places])
            if opening.std() > 1.0:  # mm: somebody who speaks
                found.append(np.corrcoef(opening, track.mouth)[0, 1])
    assert len(found) >= 4
    assert np.min(found) > MIN_MOUTH_CORRELATION, np.round(found, 2)
    assert np.median(found) > MEDIAN_MOUTH_CORRELATION, np.round(found, 2)


def test_each_person_has_one_best_image(rendered: list[tuple[Path, TalkingVideo, VideoFaces]]) -> None:
    from voiceface.real.face_encoder import load_face_encoder

    path, truth, _ = rendered[1]
    people = best_faces(path, load_face_finder("torch"), load_face_encoder("torch"))
    assert len(people) == len({face.identity for face in truth.faces})
    for person in people:
        assert person.face.face.quality.eye_distance > 15 and person.face.picture.std() > 10
