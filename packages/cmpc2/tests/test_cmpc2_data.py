"""Training videos and pairs: which files belong together, what is drawn, wrong pairs on purpose."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cmpc2.audio_frontend import load_log_mel
from cmpc2.config import Cmpc2Config, DataConfig
from cmpc2.data import PairDataset, SamplingWithReplacement, synthetic_training_set
from cmpc2.image_frontend import visual_preprocess
from cmpc2.prototype_retrieval import read_training_table, write_training_table
from cmpc2.training_data import load_training_data
from cmpc2.videos import Video, VideoError, VideoSet, exchange_images, videos_from_corpus, videos_from_table
from voiceface.association.data import load_split
from voiceface.runtime.config import load_config


def config_of(tiny_overrides: tuple[str, ...], *more: str) -> Cmpc2Config:
    return load_config("main", Cmpc2Config, "cmpc2", [*tiny_overrides, *more])


@pytest.fixture(scope="module")
def videos(population: Path) -> VideoSet:
    return videos_from_corpus(load_split(population, "train", face_root=population / "unzippedFaces"))


def test_video_has_its_own_utterances_and_images_only(videos: VideoSet) -> None:
    assert len(videos) > len(videos.identity_names) == 8
    for video in videos.videos:
        assert video.voices and video.faces
        assert all(path.startswith(f"{video.voice_id}/{video.video_id}/") for path in video.voices)
        assert all(path.startswith(f"{video.identity}/1.6/{video.video_id}/") for path in video.faces)
    assert len({video.video_id for video in videos.videos}) == len(videos)
    names = [(video.identity, video.video_id) for video in videos.videos]
    assert names == sorted(names), "people in table order, videos sorted"


def test_numbered_images_of_a_population_belong_to_the_same_videos(
    population: Path, videos: VideoSet
) -> None:
    numbered = videos_from_corpus(load_split(population, "train"), population)
    assert [v.video_id for v in numbered.videos] == [v.video_id for v in videos.videos]
    for own, other in zip(numbered.videos, videos.videos):
        computed = sorted((population / "faces" / path).read_bytes() for path in own.faces)
        reference = sorted((population / "unzippedFaces" / path).read_bytes() for path in other.faces)
        assert computed == reference


def test_images_without_video_ids_are_an_error(population: Path) -> None:
    with pytest.raises(VideoError, match="no video has clips and images"):
        videos_from_corpus(load_split(population, "train"))


def test_videos_of_one_modality_are_skipped_with_a_warning(
    tmp_path: Path, population: Path, caplog: Any
) -> None:
    corpus = load_split(population, "train", face_root=population / "unzippedFaces")
    first = corpus.records[0]
    strange = replace(first, voices=(*first.voices, f"{first.identity.voice_id}/lonely_vid_/00001.wav"))
    result = videos_from_corpus(replace(corpus, records=(strange, *corpus.records[1:])))
    assert "lonely_vid_" not in [video.video_id for video in result.videos]
    assert "skipped 1 videos that have clips or images only: lonely_vid_" in caplog.text


def test_memory_and_files_give_the_same_samples(population: Path, tiny_overrides: tuple[str, ...]) -> None:
    config = config_of(tiny_overrides)
    sizes = {"train": 8, "val": 4, "test": 6, "render_size": 32, "clip_seconds": 1.0}
    memory = synthetic_training_set("tiny", config, progress=False, workers=1, **sizes)
    files = load_training_data(config, data=population, splits=["train"], progress=False).dataset
    assert memory.videos.table_rows == files.videos.table_rows
    for index in (0, len(files) - 1):
        computed, reference = (pairs.sample(index, np.random.default_rng(3)) for pairs in (memory, files))
        assert (
            np.array_equal(computed["voice"], reference["voice"])
            and computed["index"] == reference["index"] == index
        )
        assert np.abs(computed["face"] - reference["face"]).mean() < 0.1  # the files are JPEG


def test_samples_are_crops_of_the_files_of_the_video(videos: VideoSet, population: Path) -> None:
    data = DataConfig().model_copy(update={"voice": DataConfig().voice.model_copy(update={"num_frames": 40})})
    pairs = PairDataset(videos, data, 24, progress=False)
    seen = set()
    for seed in range(12):
        drawn = pairs.sample(2, np.random.default_rng(seed))
        video = videos.videos[2]
        wholes = [load_log_mel(population / "wav" / path, data.voice) for path in video.voices]
        starts = [
            (clip, first)
            for clip, whole in enumerate(wholes)
            for first in range(whole.shape[1] - 39)
            if np.array_equal(whole[:, first : first + 40], drawn["voice"][0])
        ]
        assert len(starts) == 1
        seen |= set(starts)
        images = [visual_preprocess(24)(population / "unzippedFaces" / path).numpy() for path in video.faces]
        assert any(np.array_equal(image, drawn["face"]) for image in images)
    assert len(seen) > 6


def test_in_memory_data_give_the_same_samples(videos: VideoSet) -> None:
    plain, kept = (
        PairDataset(
            videos,
            DataConfig(in_memory=memory, face_transform="views", colour_jitter=0.1, gain_jitter=2.0),
            24,
            progress=False,
        )
        for memory in (False, True)
    )
    travelled = pickle.loads(pickle.dumps(kept))
    for pairs in (kept, travelled):
        for index in (0, 3):
            one, other = (p.sample(index, np.random.default_rng(1)) for p in (plain, pairs))
            assert all(np.array_equal(one[key], other[key]) for key in one)


def test_gain_keeps_the_padding_silent(videos: VideoSet) -> None:
    plain = PairDataset(videos, DataConfig(), 24, progress=False)
    loud = PairDataset(videos, DataConfig(gain_jitter=5.0), 24, progress=False)
    a, b = (pairs.sample(0, np.random.default_rng(4))["voice"] for pairs in (plain, loud))
    sounding = a.any(axis=1, keepdims=True) & np.ones_like(a, bool)
    gain = (b - a)[sounding]
    assert np.allclose(gain, gain[0], atol=1e-4) and abs(float(gain[0])) > 1e-3
    assert (b[~sounding] == 0).all() and (~sounding).any()


def test_sampling_with_replacement_covers_and_repeats_videos(videos: VideoSet) -> None:
    pairs = SamplingWithReplacement(PairDataset(videos, DataConfig(), 24, progress=False))
    result = [pairs.sample(0, np.random.default_rng(seed))["index"] for seed in range(120)]
    assert set(result) == set(range(len(videos))) and len(pairs) == len(videos)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_exchanged_pictures_are_those_of_other_videos(share: float) -> None:
    created = VideoSet(tuple(Video(f"N{i}", f"id{i}", f"v{i}", (f"a{i}",), (f"b{i}",)) for i in range(20)))
    result = exchange_images(created, share, 5)
    wrong = [i for i, video in enumerate(result.videos) if video.faces != (f"b{i}",)]
    assert len(wrong) == round(share * 20)
    assert sorted(video.faces for video in result.videos) == sorted(video.faces for video in created.videos)
    assert [video.voices for video in result.videos] == [video.voices for video in created.videos]
    assert exchange_images(created, share, 5) == result
    assert not share or exchange_images(created, share, 6) != result


def test_training_table_names_videos_and_their_order(
    population: Path, videos: VideoSet, tmp_path: Path
) -> None:
    rows = videos.table_rows[::-1]
    write_training_table(tmp_path / "training.csv", rows)
    read = read_training_table(tmp_path / "training.csv")
    assert read == rows
    result = videos_from_table(read, population / "wav", population / "unzippedFaces")
    assert [v.video_id for v in result.videos] == [v.video_id for v in videos.videos[::-1]]
    assert result.videos[0].faces == videos.videos[-1].faces
    absent = rows[0]._replace(video_id="aaaaaaaaaaa")
    with pytest.raises(VideoError, match=r"1 of 2 videos of the table.*aaaaaaaaaaa.*--missing skip"):
        videos_from_table([absent, rows[1]], population / "wav", population / "unzippedFaces")
    kept = videos_from_table(
        [absent, rows[1]], population / "wav", population / "unzippedFaces", skip_missing=True
    )
    assert len(kept) == 1


def test_mismatched_pairs_are_stated_in_the_disclaimer(
    tiny_overrides: tuple[str, ...], population: Path
) -> None:
    config = config_of(tiny_overrides, "data.mismatched_fraction=0.5")
    result = load_training_data(config, data=population, splits=["train"], progress=False)
    assert "50% of the training videos had the images of another video, on purpose" in result.disclaimer
    assert "a synthetic population" in result.disclaimer


def test_missing_videos_and_sources_are_refused(tiny_overrides: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no training videos"):
        PairDataset(VideoSet(()), DataConfig(), 24)
    with pytest.raises(ValueError, match="--data"):
        load_training_data(config_of(tiny_overrides))
    validated = config_of(tiny_overrides, "training.validation_interval=2")
    with pytest.raises(ValueError, match="--population has no validation files"):
        load_training_data(validated, population="tiny")


def test_corrupt_files_are_named_when_they_are_sampled(population: Path, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.jpg").write_bytes(b"broken")
    wav = next((population / "wav").rglob("*.wav"))
    videos = VideoSet((Video("N", "id", "v", (wav.name,), ("a.jpg",)),), wav.parent, tmp_path / "f")
    with pytest.raises(ValueError, match=r"a\.jpg"):
        PairDataset(videos, DataConfig(), 24).sample(0, np.random.default_rng(0))
