"""Own videos become a data set: rendered talking heads, whose speakers are known, through the real networks.

`-- --inputs 1000` renders 100 videos; the default is one or two of every kind.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from voiceface.commands.prepare import main as prepare_command
from voiceface.datasets.manifest import read_manifest
from voiceface.datasets.validation.checker import check_corpus
from voiceface.faces.finding import load_face_finder
from voiceface.images.loading import load_image
from voiceface.preparation.dataset import Preparation, prepare_dataset
from voiceface.preparation.settings import GatherSettings, VideoSettings
from voiceface.real import load_face_encoder
from voiceface.runtime.process_pool import map_unordered
from voiceface.synthetic.head.render import render_image
from voiceface.synthetic.identities import face_name, sample_identities
from voiceface.synthetic.talking_heads import TalkingVideo, render_talking_video
from voiceface.synthetic.talking_heads.scenes import VideoKind, sample_scenes
from voiceface.synthetic.talking_heads.scoring import SpeechScore, score_speech
from voiceface.videos.active_speaker import attribute_speech
from voiceface.videos.sound import read_sound
from voiceface.videos.tracks import find_face_tracks

# Identities that the face encoder tells apart: rendered people resemble each other more than real ones.
CAST, GUESTS = (0, 1, 201, 305, 160), (133, 237, 172, 281, 65, 258, 259)
PLAN: tuple[tuple[int, VideoKind], ...] = (
    *((0, "mixed"), (0, "one"), (1, "two"), (1, "chewing"), (201, "cuts")),
    *((201, "two"), (305, "voice-over"), (305, "chewing"), (160, "one"), (160, "cuts")),
)
FACE_DISTANCE = 0.4
RIGHT_SHARE, WRONG_SHARE = 0.9, 0.02


@dataclass(frozen=True)
class Measured:
    """Speech of one video.

    `backward` tells of each segment of the sound played backward whether it is refused, as it should be.
    """

    score: SpeechScore
    backward: list[bool]
    cuts: bool


def render(job: tuple[Path, int]) -> TalkingVideo:
    """Render video number n of the plan, which is repeated with other guests and scenes."""
    folder, number = job
    main, kind = PLAN[number % len(PLAN)]
    rng = np.random.default_rng([5, number])
    guests = [int(each) for each in rng.choice(GUESTS, 2, replace=False)]
    path = folder / face_name(main) / f"{kind}_{number:03d}.mp4"
    scenes = sample_scenes(kind, [main, *guests], rng)
    return render_talking_video(path, scenes, number=number, frame_rate=12.5)


def measure(video: TalkingVideo) -> Measured:
    """Attribute the speech of a video and compare it with the truth."""
    cv2.setNumThreads(1)
    faces = find_face_tracks(video.path, load_face_finder("onnxruntime"))
    sound = read_sound(video.path)
    score = score_speech(attribute_speech(sound, faces), faces, video)
    backward = [each.track is None for each in attribute_speech(np.ascontiguousarray(sound[::-1]), faces)]
    cuts = len(faces.cuts) == len(video.cuts) and np.allclose(faces.cuts, video.cuts, atol=0.09)
    return Measured(score, backward, bool(cuts))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, num_inputs: int) -> list[TalkingVideo]:
    """Rendered videos in one folder per person."""
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = tmp_path_factory.mktemp("prepare") / "videos"
    jobs = [(folder, number) for number in range(max(len(PLAN), num_inputs // 10))]
    made = dict(map_unordered(render, jobs, progress=False))
    return [made[job] for job in jobs]


@pytest.fixture(scope="module")
def prepared(videos: list[TalkingVideo]) -> Preparation:
    """The data set of the videos, with names from the folders, by the command."""
    folder = videos[0].path.parents[1]
    words = [str(folder), "--out", str(folder.parent / "data"), "--backend", "onnxruntime", "--quiet"]
    assert prepare_command([*words, "--face-distance", str(FACE_DISTANCE)]) == 0
    return prepare(folder, "folders")


def prepare(folder: Path, names: str) -> Preparation:
    """The same from Python; what was taken out of the videos is read again."""
    return prepare_dataset(
        [folder],
        folder.parent / "data",
        VideoSettings(backend="onnxruntime"),
        GatherSettings(face_distance=FACE_DISTANCE),
        names=names,
        progress=False,
    )


def check_clips(done: Preparation, videos: list[TalkingVideo]) -> dict[str, set[int]]:
    """Whose voices the clips of each person are; asserts that each has one voice alone, of somebody seen."""
    by_file = {video.path.name: video for video in videos}
    voices: dict[str, set[int]] = {}
    for person in done.gathering.people:
        for track, clip in person.clips:
            video = by_file[track.video.path.name]
            speakers = {
                segment.identity
                for segment in video.segments
                if min(clip.record.end, segment.end) - max(clip.record.start, segment.start) > 0.2
            }
            assert len(speakers) == 1 and None not in speakers, (person.name, track.video.label, clip.record)
            voices.setdefault(person.name, set()).update(each for each in speakers if each is not None)
    return voices


def test_speech_is_attributed_to_the_face_that_speaks(videos: list[TalkingVideo]):
    found = dict(map_unordered(measure, videos_by_length(videos), progress=False)) if videos else {}
    visible = [each for measured in found.values() for each in measured.score.visible]
    attributed = [each for measured in found.values() for each in measured.score.attributed]
    missed = [name for name, right in visible if not right]
    wrong = [name for name, right in attributed if not right]
    seconds = sum(video.seconds for video in videos)
    print(
        f"\n{len(videos)} videos, {seconds:.0f} s: {len(visible) - len(missed)} of {len(visible)} segments "
        f"of visible speakers attributed rightly, {len(wrong)} of {len(attributed)} attributed segments wrong"
    )
    backward = [refused for measured in found.values() for refused in measured.backward]
    print(f"played backward: {len(backward) - sum(backward)} of {len(backward)} segments attributed")
    print("missed:", *missed, sep="\n  ")
    assert len(visible) > 2 * len(videos)
    assert len(visible) - len(missed) >= RIGHT_SHARE * len(visible), missed
    assert len(wrong) <= WRONG_SHARE * len(attributed), wrong
    assert len(backward) > len(videos)
    assert len(backward) - sum(backward) <= max(1, WRONG_SHARE * len(backward))
    assert all(measured.cuts for measured in found.values())


def test_named_folders_become_a_data_set_of_their_people(prepared: Preparation, videos: list[TalkingVideo]):
    assert not prepared.failed and not prepared.left_out
    names = {face_name(identity): identity for identity in CAST}
    assert {person.name for person in prepared.gathering.people} == set(names)
    assert check_clips(prepared, videos) == {name: {identity} for name, identity in names.items()}
    rows = read_manifest(prepared.out / "manifest.csv")
    assert {row.identity.name for row in rows} == set(names)
    report = check_corpus(prepared.out, decode=True)
    assert not report.unreadable and not report.unreferenced_folders and not report.duplicates


def test_images_show_the_person_whose_voice_is_beside_them(prepared: Preparation):
    finder, encoder = load_face_finder("onnxruntime"), load_face_encoder("onnxruntime")

    def embed(image):
        found = finder.find([image])[0]  # largest first; somebody else may stand beside
        assert found
        return encoder.embed(found[0].encoder_chip(image)[None])[0]

    everybody = (*CAST, *GUESTS)
    population = sample_identities(everybody, rho=1.0)
    references = np.stack(
        [embed(render_image(population, k, 0, image_size=192, nuisance=0.3).image) for k in range(12)]
    )
    for person in prepared.gathering.people:
        paths = sorted((prepared.out / "faces" / person.name).iterdir())
        assert len(paths) >= 4
        embeddings = np.stack([embed(load_image(path)) for path in paths])
        nearest = np.linalg.norm(embeddings[:, None] - references, axis=2).argmin(1)
        assert {face_name(everybody[k]) for k in nearest} == {person.name}


def test_without_names_faces_are_clustered_to_the_same_people(
    prepared: Preparation, videos: list[TalkingVideo]
):
    done = prepare(videos[0].path.parents[1], "none")
    voices = check_clips(done, videos)
    assert all(len(each) == 1 for each in voices.values())
    found = sorted(identity for each in voices.values() for identity in each)
    assert len(found) == len(set(found)), "one person in two clusters"
    assert set(CAST) <= set(found) <= {*CAST, *GUESTS}


def videos_by_length(videos: list[TalkingVideo]) -> list[TalkingVideo]:
    """The longest first, so that no worker is left with it."""
    return sorted(videos, key=lambda video: -video.seconds)
