"""Own videos as pictures: the best image of every person, cut out of the image in which it was found."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from voiceface.association.embedding import add_videos, describe_items
from voiceface.commandline.dispatch import run_main
from voiceface.embeddings.table import EmbeddingTable
from voiceface.faces import PictureReader, crop_face
from voiceface.images.loading import ImageError, load_image
from voiceface.io.file_facts import FaceFacts, FileFacts
from voiceface.report import Photograph
from voiceface.report.media import encode_image
from voiceface.testing.faces import FrameFinder
from voiceface.videos.containers import VideoError
from voiceface.videos.own_videos import find_people, is_video, read_video_face, read_video_image

RATE = 10


def make_images(second_from=None, count=20):
    """Images of one framed square that moves, and of a smaller one from an image on."""
    coarse = np.random.default_rng(0).integers(60, 190, (6, 6, 3), np.uint8)
    texture = np.kron(coarse, np.ones((16, 16, 1), np.uint8))
    for number in range(count):
        image = np.full((160, 240, 3), 90, np.uint8)
        image[::2] = 100
        places = [(8 + number, 40, 96)] + ([(160, 10, 64)] if number >= (second_from or count) else [])
        for left, top, side in places:
            image[top : top + side, left : left + side] = texture[:side, :side]
            FrameFinder.frame(image, left, top, side)
        yield image


def write_lossless(path, images):
    """A video whose images are decoded to the same bytes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 240, 160, "bgr0"
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="bgr0")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two seconds: one person, and a second one in the last second."""
    return write_lossless(tmp_path_factory.mktemp("videos") / "clip.mkv", make_images(10))


def test_every_person_is_a_candidate_who_is_seen_longest_first(clip):
    first, second = find_people(clip, PictureReader(finder=FrameFinder()))
    assert [face.item for face in (first, second)] == [f"{clip}#1", f"{clip}#2"]
    images = list(make_images(10))
    for face, side in ((first, 96), (second, 64)):
        known = face.facts.face
        image = images[round(known.time * RATE)]
        np.testing.assert_array_equal(read_video_image(clip, known.time), image)
        wanted = next(each for each in FrameFinder().find([image])[0] if np.ptp(each.box[[0, 2]]) == side)
        np.testing.assert_allclose(known.points, wanted.points, atol=0.01)
        np.testing.assert_allclose(known.box, wanted.box, atol=0.01)
        assert (known.number, known.faces_in_picture, known.crop) == (int(face.item[-1]), 2, "population")
        crop = read_video_face(clip, known)
        np.testing.assert_array_equal(crop, crop_face(image, np.array(known.points), "population"))
        shown = encode_image(Photograph(clip, known), 160, quality=100)
        assert np.abs(load_image(shown).astype(int) - crop).mean() < 6


def test_a_video_without_faces_or_pictures_is_refused(tmp_path, clip):
    empty = write_lossless(tmp_path / "empty.mkv", (image[:, ::-1] // 2 for image in make_images(count=8)))
    with pytest.raises(ImageError, match=r"empty\.mkv: no face found in the video; give one"):
        find_people(empty, PictureReader(finder=FrameFinder()))
    (tmp_path / "a.mp4").write_bytes(clip.read_bytes()[:100])
    with pytest.raises((VideoError, ImageError), match=r"a\.mp4"):
        find_people(tmp_path / "a.mp4", PictureReader(finder=FrameFinder()))
    with pytest.raises(ImageError, match=r"clip\.mkv: no image at 9"):
        read_video_image(clip, 9.0)


def test_videos_are_sources_of_faces_where_faces_are_looked_for(tmp_path, clip):
    class Model:
        pictures = PictureReader(finder=FrameFinder())

    sound = tmp_path / "a.wav"
    sound.write_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
    assert is_video(clip) and not is_video(sound)
    assert add_videos(Model(), [tmp_path / "b.png"], [sound, clip]) == [tmp_path / "b.png", clip]
    Model.pictures = PictureReader("never")
    assert add_videos(Model(), [], [sound, clip]) == []


def test_the_command_cuts_out_the_people_of_a_video(tmp_path, clip, monkeypatch, capsys):
    monkeypatch.setattr("voiceface.faces.finding.load_face_finder", lambda *arguments: FrameFinder())
    assert run_main("voiceface.commands.faces", [str(clip), "--out", str(tmp_path)]) == 0
    assert "clip.mkv#2 of 2" in capsys.readouterr().out
    listed = json.loads((tmp_path / "faces.json").read_text())["faces"]
    assert [each["face"] for each in listed] == [1, 2] and all(each["time"] is not None for each in listed)
    for each in listed:
        assert load_image(tmp_path / each["crop"]).shape == (128, 128, 3)
    assert load_image(tmp_path / "sheet_001.png").shape == (160, 1280, 3)


def test_sound_in_a_video_container_is_no_video(tmp_path):
    path = tmp_path / "memo.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert not is_video(path)


def test_embeddings_are_counted_by_what_they_are_of():
    def face(item, time):
        seen = FaceFacts(1, 2, (0.0, 0.0, 9.0, 9.0), ((1.0, 1.0),) * 5, 0.9, 0.9, "population", time)
        return {item: FileFacts(item, "picture", face=seen)}

    def describe(items, facts, voices=(), relative_to=None):
        table = EmbeddingTable(items, np.eye(len(items), 3, dtype=np.float32), "f", {}, facts)
        return describe_items(table, [Path(each) for each in voices], relative_to)

    facts = face("clip.mp4#1", 0.5) | face("clip.mp4#2", 1.5) | face("b.jpg", None)
    items = ["clip.mp4", "a.wav", "a.jpg", "b.jpg", "clip.mp4#1", "clip.mp4#2"]
    voices = ["in/clip.mp4", "in/a.wav", "in/silent.wav"]  # the last was left out
    assert describe(items, facts, voices, Path("in")) == "2 utterances, 2 images and 2 people in videos"
    assert describe(items[4:5], facts) == "1 person in videos"
    assert describe(items[1:3], {}, ["a.wav"]) == "1 utterance and 1 image"
