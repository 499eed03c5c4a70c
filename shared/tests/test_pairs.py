"""Pairs of a picture and a clip: uniform draws, the same from disk and memory, clear complaints."""

import logging
import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from PIL import Image
from voiceface.audio.loading import AudioError, write_wav
from voiceface.datasets.corpus import Corpus, CorpusError, IdentityRecord
from voiceface.datasets.identities import Identity
from voiceface.datasets.pair_dataset import PairDataset
from voiceface.images import transforms
from voiceface.images.loading import ImageError, load_image

LENGTH = 4000


@pytest.fixture
def corpus(tmp_path):
    """Three people with 1, 2, 3 clips and pictures; clip j of person i holds only the value 100 i + j."""
    records = []
    for i in range(3):
        identity = Identity(f"Made_Up{i}", f"id1000{i}", f"Made_Up{i}", "f", "", "train")
        voices, faces = [], []
        for j in range(i + 1):
            voices.append(f"id1000{i}/video/0000{j}.wav")
            write_wav(tmp_path / "wav" / voices[-1], np.full(1500 + 3000 * j, 100 * i + j, np.int16))
            faces.append(f"Made_Up{i}/0000000{j}.png")
            (tmp_path / "faces" / faces[-1]).parent.mkdir(parents=True, exist_ok=True)
            image = np.full((40, 40, 3), (10 * i + j, 0, 200), np.uint8)
            Image.fromarray(image).save(tmp_path / "faces" / faces[-1])
        records.append(IdentityRecord(identity, i, tuple(voices), tuple(faces)))
    return Corpus(tuple(records), tmp_path / "wav", tmp_path / "faces")


def same(first, second):
    return all(np.array_equal(first[key], second[key]) for key in ("face", "voice", "label"))


def test_one_entry_per_person_of_the_promised_shapes(corpus):
    dataset = PairDataset(corpus, image_size=32, length=LENGTH)
    assert len(dataset) == 3
    for index in range(3):
        pair = dataset.sample(index, np.random.default_rng(index))
        assert sorted(pair) == ["face", "label", "voice"]
        assert (pair["face"].shape, pair["face"].dtype) == ((3, 32, 32), np.float32)
        assert (pair["voice"].shape, pair["voice"].dtype) == ((LENGTH,), np.float32)
        assert pair["label"] == index
        assert pair["face"].flags.writeable and pair["voice"].flags.writeable


def test_default_length_is_ten_seconds(corpus):
    assert PairDataset(corpus).sample(0, np.random.default_rng(0))["voice"].shape == (160_000,)


def test_clip_and_picture_are_uniform_and_independent(corpus):
    dataset = PairDataset(corpus, image_size=8, length=4, augment=False)
    rng = np.random.default_rng(0)
    pairs = [dataset.sample(2, rng) for _ in range(900)]
    seen = Counter((int(p["voice"][0]) - 200, int(p["face"][2, 0, 0]) - 20) for p in pairs)
    assert sorted(seen) == [(clip, image) for clip in range(3) for image in range(3)]
    assert all(abs(count - 100) < 45 for count in seen.values())


def test_faces_are_blue_green_red(corpus):
    face = PairDataset(corpus, image_size=40, augment=False).sample(1, np.random.default_rng(0))["face"]
    assert (face[0] == 200).all() and (face[1] == 0).all() and set(np.unique(face[2])) <= {10, 11}


def test_without_augmentation_the_evaluation_transform_is_used(corpus):
    image = transforms.to_bgr(load_image(corpus.face_path(corpus.records[0].faces[0])))
    plain = PairDataset(corpus, image_size=24, augment=False).sample(0, np.random.default_rng(3))["face"]
    np.testing.assert_array_equal(plain, transforms.evaluation_transform(image, 24))


@pytest.mark.parametrize("rotation", ["expand_centred", "published"])
def test_memory_changes_nothing(corpus, rotation):
    options = {"image_size": 24, "length": LENGTH, "rotation": rotation, "progress": False}
    disk = PairDataset(corpus, **options)
    memory = PairDataset(corpus, in_memory=True, **options)
    assert memory.cached_bytes == 6 * 24 * 24 * 3 + 2 * (3 * 1500 + 3 * LENGTH)  # uint8 pictures, int16 clips
    from_disk = [disk.sample(i % 3, np.random.default_rng(i)) for i in range(20)]
    for record in corpus.records:  # nothing is read again
        for item in record.voices:
            corpus.voice_path(item).unlink()
        for item in record.faces:
            corpus.face_path(item).unlink()
    assert all(same(pair, memory.sample(i % 3, np.random.default_rng(i))) for i, pair in enumerate(from_disk))


def test_what_is_drawn_may_be_changed(corpus):
    wave = np.linspace(-1.5, 1.5, LENGTH + 7).astype(np.float32)  # no whole numbers: kept as float
    memory = PairDataset(
        corpus, lambda path: wave, image_size=24, length=LENGTH, in_memory=True, progress=False
    )
    first = memory.sample(1, np.random.default_rng(0))
    np.testing.assert_array_equal(first["voice"], wave[:LENGTH])
    first["voice"][:], first["face"][:] = 0, 0
    assert memory.sample(1, np.random.default_rng(0))["voice"][0] == -1.5


def test_memory_budget_is_kept_and_the_rest_comes_from_disk(corpus, caplog):
    budget = 20_000
    with caplog.at_level(logging.WARNING):
        some = PairDataset(
            corpus, image_size=24, length=LENGTH, in_memory=True, memory_budget=budget, progress=False
        )
    assert 0 < some.cached_bytes <= budget
    assert "memory budget" in caplog.text and "of 12 files" in caplog.text
    disk = PairDataset(corpus, image_size=24, length=LENGTH)
    assert all(
        same(some.sample(i, np.random.default_rng(i)), disk.sample(i, np.random.default_rng(i)))
        for i in range(3)
    )


def test_a_pickled_copy_draws_the_same_without_the_memory(corpus):
    memory = PairDataset(corpus, image_size=24, length=LENGTH, in_memory=True, progress=False)
    pickled = pickle.dumps(memory)
    copy = pickle.loads(pickled)
    assert copy.cached_bytes == 0 and len(pickled) < memory.cached_bytes
    assert same(copy.sample(2, np.random.default_rng(1)), memory.sample(2, np.random.default_rng(1)))


def test_people_who_share_files_are_kept_once(corpus):
    twin = replace(corpus.records[2], label=2)
    once = PairDataset(corpus, image_size=24, length=LENGTH, in_memory=True, progress=False)
    twice = PairDataset(
        replace(corpus, records=(*corpus.records, twin)),
        image_size=24,
        length=LENGTH,
        in_memory=True,
        progress=False,
    )
    assert len(twice) == 4 and twice.cached_bytes == once.cached_bytes


def test_other_rates_need_resample(corpus):
    path = corpus.voice_path(corpus.records[0].voices[0])
    soundfile.write(path, np.full(8000, 0.25), 8000)
    with pytest.raises(AudioError, match=r"00000\.wav: sample rate 8000 Hz, expected 16000 Hz"):
        PairDataset(corpus, length=LENGTH).sample(0, np.random.default_rng(0))
    voice = PairDataset(corpus, length=LENGTH, resample=True).sample(0, np.random.default_rng(0))["voice"]
    np.testing.assert_allclose(voice[1000:3000], 8192, rtol=1e-2)


def test_damaged_clips_follow_the_policy(corpus):
    path = corpus.voice_path(corpus.records[0].voices[0])
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(AudioError, match=r"00000\.wav: truncated"):
        PairDataset(corpus, length=LENGTH).sample(0, np.random.default_rng(0))
    tolerant = PairDataset(corpus, length=LENGTH, on_corrupt="salvage")
    assert tolerant.sample(0, np.random.default_rng(0))["voice"].shape == (LENGTH,)


def test_damaged_files_are_met_while_the_memory_is_filled(corpus):
    corpus.face_path(corpus.records[1].faces[0]).write_text("no picture")
    with pytest.raises(ImageError, match=r"00000000\.png: not an image"):
        PairDataset(corpus, in_memory=True, progress=False)


def test_loaders_can_be_replaced_and_are_checked(corpus):
    grey = np.full((5, 5, 3), 50, np.uint8)
    dataset = PairDataset(
        corpus, lambda path: np.arange(3, dtype=np.int16), lambda path: grey, image_size=4, length=7
    )
    pair = dataset.sample(0, np.random.default_rng(0))
    assert pair["voice"].tolist() == [0, 1, 2, 0, 1, 2, 0]
    with pytest.raises(AudioError, match=r"00000\.wav: loaded as shape \(2, 3\), expected \(T,\)"):
        PairDataset(corpus, lambda path: np.zeros((2, 3))).sample(0, np.random.default_rng(0))


def test_people_without_files_are_named_in_one_message(corpus):
    mute, unseen, nothing = corpus.records
    records = (replace(mute, voices=()), replace(unseen, faces=()), replace(nothing, voices=(), faces=()))
    with pytest.raises(CorpusError) as caught:
        PairDataset(replace(corpus, records=records))
    message = str(caught.value)
    assert message.startswith("3 of 3 identities cannot be paired")
    assert "Made_Up0 (id10000, Made_Up0): no clips;" in message
    assert "Made_Up1 (id10001, Made_Up1): no images;" in message
    assert "Made_Up2 (id10002, Made_Up2): no clips and no images." in message
    many = tuple(replace(mute, voices=()) for _ in range(30))
    with pytest.raises(CorpusError, match=r"30 of 30 identities .*; and 10 more"):
        PairDataset(replace(corpus, records=many))


def test_an_empty_corpus_is_refused(corpus):
    with pytest.raises(CorpusError, match="is empty"):
        PairDataset(replace(corpus, records=()))


def test_options_are_checked(corpus):
    with pytest.raises(ValueError, match="rotation"):
        PairDataset(corpus, rotation="sideways")
    with pytest.raises(ValueError, match="image_size and length"):
        PairDataset(corpus, image_size=0)
