"""One or two views of a person: which files are drawn, what two pictures share, the order of the planes."""

from collections import Counter

import numpy as np
import pytest
import soundfile
from PIL import Image
from voiceface.audio.loading import write_wav
from voiceface.datasets.corpus import Corpus, IdentityRecord
from voiceface.datasets.identities import Identity
from voiceface.datasets.pair_dataset import PairDataset
from voiceface.datasets.view_sampling import ViewSampler
from voiceface.images import transforms

SIDE = 24
VIEWED = ("face", "voice", "face_second", "voice_second")
SHAPES = [(30, 24), (24, 33), (41, 41), (24, 24)]


def picture(number):
    """Noise of another shape for every number."""
    return np.random.default_rng(number).integers(0, 256, (*SHAPES[number % 4], 3)).astype(np.uint8)


def draw(views, seed, *, pictures=3, clips=3):
    """A draw of someone whose clip i holds the value i alone."""
    rng = np.random.default_rng(seed)
    return views.sample(pictures, clips, picture, lambda clip: np.full(4, clip, np.float32), rng)


def plain(number):
    """What a picture looks like without random steps."""
    return transforms.evaluation_transform(picture(number), SIDE)


def which(face, pictures):
    """Number of the picture that a face without random steps shows."""
    return next(number for number in range(pictures) if np.array_equal(face, plain(number)))


class Fixed:
    """A generator that draws known files; the other draws are those of the seed."""

    def __init__(self, files, seed):
        self.files, self.rng = list(files), np.random.default_rng(seed)

    def integers(self, *bounds):
        return self.files.pop(0) if len(bounds) == 1 else self.rng.integers(*bounds)

    def random(self):
        return self.rng.random()

    def normal(self, *about):
        return self.rng.normal(*about)


@pytest.mark.parametrize("second", ["distinct", "with_replacement"])
@pytest.mark.parametrize("pictures, clips", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 5)])
def test_every_file_is_drawn_first_and_second_with_equal_chance(second, pictures, clips):
    views = ViewSampler(SIDE, augment=False, num_views=2, second_sample=second)
    tries = 1500
    sampled = [draw(views, seed, pictures=pictures, clips=clips) for seed in range(tries)]
    for number, first, other in (
        (
            pictures,
            [which(d["face"], pictures) for d in sampled],
            [which(d["face_second"], pictures) for d in sampled],
        ),
        (clips, [int(d["voice"][0]) for d in sampled], [int(d["voice_second"][0]) for d in sampled]),
    ):
        seen = Counter(zip(first, other))
        allowed = [
            (a, b)
            for a in range(number)
            for b in range(number)
            if second == "with_replacement" or a != b or number == 1
        ]
        assert sorted(seen) == allowed
        expected = tries / len(allowed)
        assert all(abs(count - expected) < 5 * expected**0.5 + 1 for count in seen.values())


def test_pictures_and_clips_are_drawn_independently():
    views = ViewSampler(SIDE, augment=False, num_views=2)
    sampled = [draw(views, seed) for seed in range(3600)]
    seen = Counter(
        (which(d["face"], 3), which(d["face_second"], 3), int(d["voice"][0]), int(d["voice_second"][0]))
        for d in sampled
    )
    assert len(seen) == 36 and all(abs(count - 100) < 50 for count in seen.values())


@pytest.mark.parametrize(
    "options", [{}, {"augment": False}, {"colour_jitter": 0.1, "pair_augmentation": "independent"}]
)
def test_the_first_view_is_the_same_with_one_and_with_two(options):
    for seed in range(10):
        one, two = (draw(ViewSampler(SIDE, num_views=count, **options), seed) for count in (1, 2))
        assert sorted(one) == ["face", "voice"] and sorted(two) == sorted(VIEWED)
        assert all(np.array_equal(one[key], two[key]) for key in one)


def test_one_view_makes_the_draws_that_it_always_made():
    rng = np.random.default_rng(5)
    number, clip = int(rng.integers(3)), int(rng.integers(3))
    face = transforms.jitter_colour(transforms.training_transform(picture(number), SIDE, rng), 0.2, rng)
    sampled = draw(ViewSampler(SIDE, colour_jitter=0.2), 5)
    np.testing.assert_array_equal(sampled["face"], face)
    assert sampled["voice"].tolist() == [clip] * 4


@pytest.mark.parametrize("rotation", ["expand_centred", "published"])
@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize("jitter", [0.0, 0.1])
def test_a_shared_view_does_the_same_to_both_pictures(rotation, fit, jitter):
    how = {"rotation": rotation, "resize_mode": fit, "colour_jitter": jitter}
    for seed in range(30):
        two = ViewSampler(SIDE, num_views=2, **how).sample(
            4, 4, picture, np.float32, Fixed((0, 0, 0, 0), seed)
        )
        alone = ViewSampler(SIDE, **how).sample(4, 4, picture, np.float32, Fixed((1, 0), seed))
        np.testing.assert_array_equal(two["face_second"], alone["face"])


@pytest.mark.parametrize("jitter", [0.0, 0.1])
def test_views_of_their_own_are_drawn_apart(jitter):
    views = ViewSampler(
        SIDE,
        num_views=2,
        second_sample="with_replacement",
        pair_augmentation="independent",
        colour_jitter=jitter,
    )
    differing = 0
    for seed in range(100):
        sampled = views.sample(4, 4, picture, np.float32, Fixed((1, 0, 1, 0), seed))
        differing += not np.array_equal(sampled["face"], sampled["face_second"])
    assert differing > 70  # both untouched and cut alike: 1 in 16; with colours never
    assert not jitter or differing == 100


def test_someone_with_one_picture_never_gets_the_same_face_twice_by_sharing():
    shared = ViewSampler(SIDE, num_views=2, pair_augmentation="shared")
    own = ViewSampler(SIDE, num_views=2, pair_augmentation="independent")
    differing = 0
    for seed in range(100):
        sampled, expected = (draw(views, seed, pictures=1) for views in (shared, own))
        assert all(np.array_equal(sampled[key], expected[key]) for key in VIEWED)
        differing += not np.array_equal(sampled["face"], sampled["face_second"])
    assert differing > 70


@pytest.mark.parametrize("options", [{"augment": False}, {"colour_jitter": 0.1}, {"rotation": "published"}])
def test_red_green_blue_is_the_reverse_of_blue_green_red(options):
    for seed in range(10):
        bgr, rgb = (
            draw(ViewSampler(SIDE, channels=order, num_views=2, **options), seed) for order in ("bgr", "rgb")
        )
        for key in ("face", "face_second"):
            np.testing.assert_array_equal(rgb[key], bgr[key][::-1])
            assert rgb[key].flags.c_contiguous and rgb[key].dtype == np.float32
        assert np.array_equal(rgb["voice_second"], bgr["voice_second"])


def test_squeezed_views_have_no_grey_border():
    white = np.full((60, 24, 3), 255, np.uint8)
    for fit, expected in (("letterbox", {127, 255}), ("stretch", {255})):
        views = ViewSampler(SIDE, augment=False, num_views=2, resize_mode=fit)
        sampled = views.sample(1, 1, lambda _: white, np.float32, np.random.default_rng(0))
        assert all(set(np.unique(sampled[key])) == expected for key in ("face", "face_second"))


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("rotation", "sideways", '"expand_centred" or "published"'),
        ("resize_mode", "crop", '"letterbox" or "stretch"'),
        ("channels", "grb", '"bgr" or "rgb"'),
        ("num_views", 3, "1 or 2"),
        ("second_sample", "same", '"distinct" or "with_replacement"'),
        ("pair_augmentation", "both", '"shared" or "independent"'),
        ("colour_jitter", -0.1, "at least 0"),
        ("image_size", 0, "at least 1"),
    ],
)
def test_unknown_options_are_named_with_what_is_known(name, value, expected):
    with pytest.raises(ValueError, match=f"{name} must be {expected}, found {value!r}"):
        ViewSampler(**{"image_size": SIDE, name: value})


@pytest.fixture
def corpus(tmp_path):
    """Two people with 1 and 4 clips and pictures, none of them square but one."""
    records = []
    for i, files in enumerate((1, 4)):
        voices, faces = [], []
        for j in range(files):
            voices.append(f"id{i}/video/{j}.wav")
            faces.append(f"P{i}/{j}.png")
            wave = np.random.default_rng([i, j]).integers(-9999, 9999, 900 + 500 * j)
            write_wav(tmp_path / "wav" / voices[-1], wave.astype(np.int16))
            path = tmp_path / "faces" / faces[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(transforms.to_bgr(picture(4 * i + j))).save(path)
        identity = Identity(f"P{i}", f"id{i}", f"P{i}", "f", "", "train")
        records.append(IdentityRecord(identity, i, tuple(voices), tuple(faces)))
    return Corpus(tuple(records), tmp_path / "wav", tmp_path / "faces")


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize("second_view", ["shared", "independent"])
@pytest.mark.parametrize(
    "options", [{}, {"channels": "rgb", "colour_jitter": 0.1}, {"sample_scale": "native"}]
)
def test_two_views_are_the_same_from_memory_and_from_disk(corpus, fit, second_view, options):
    how = {
        "image_size": SIDE,
        "length": 2000,
        "num_views": 2,
        "resize_mode": fit,
        "pair_augmentation": second_view,
        **options,
    }
    disk = PairDataset(corpus, **how)
    memory = PairDataset(corpus, in_memory=True, progress=False, **how)
    pixels = [
        SIDE**2
        if fit == "stretch"
        else np.prod(transforms.resize_longer_side(picture(number), SIDE).shape[:2])
        for number in (0, 4, 5, 6, 7)
    ]
    assert memory.cached_bytes == 3 * sum(pixels) + 2 * sum((900, 900, 1400, 1900, 2000))  # uint8 and int16
    for seed in range(30):
        first, second = (data.sample(seed % 2, np.random.default_rng(seed)) for data in (disk, memory))
        assert sorted(first) == sorted((*VIEWED, "label")) == sorted(second)
        assert all(np.array_equal(first[key], second[key]) for key in first)
        assert all(first[key].flags.writeable for key in VIEWED)
    for record in corpus.records:
        for item in record.faces:
            corpus.face_path(item).unlink()
    assert np.array_equal(memory.sample(1, np.random.default_rng(29))["face"], first["face"])


def test_what_is_drawn_twice_may_be_changed(corpus):
    memory = PairDataset(corpus, image_size=SIDE, length=900, num_views=2, in_memory=True, progress=False)
    sampled = memory.sample(0, np.random.default_rng(0))
    assert np.array_equal(sampled["voice"], sampled["voice_second"])
    before = sampled["voice_second"].copy()
    for key in ("face", "voice"):
        sampled[key][:] = 0
    assert np.array_equal(sampled["voice_second"], before) and sampled["face_second"].any()
    assert np.array_equal(memory.sample(0, np.random.default_rng(0))["voice"], before)


@pytest.mark.parametrize("in_memory", [False, True])
def test_stored_samples_are_neither_scaled_nor_cut(corpus, in_memory):
    waves = {
        "PCM_U8": np.array([0, 64, 128, 255]),
        "FLOAT": np.array([-0.5, 0.25, 0.1, 1]),
        "PCM_24": np.array([-(2**31), 256, 2**30, 2**31 - 256]),
        "PCM_16": np.array([-32768, 0, 5, 32767]),
    }
    for (subtype, wave), item in zip(waves.items(), corpus.records[1].voices):
        unit = {"PCM_U8": (wave - 128) / 128, "PCM_24": wave / 2**31, "PCM_16": wave / 2**15}
        soundfile.write(corpus.voice_path(item), unit.get(subtype, wave), 16_000, subtype=subtype)
    data = PairDataset(
        corpus, image_size=8, length=4, sample_scale="native", in_memory=in_memory, progress=False
    )
    found = {tuple(data.sample(1, np.random.default_rng(seed))["voice"].tolist()) for seed in range(60)}
    assert found == {tuple(wave.astype(np.float32).tolist()) for wave in waves.values()}


def test_unknown_sample_scales_are_named(corpus):
    with pytest.raises(ValueError, match=r'sample_scale must be "int16" or "native", found \'unit\''):
        PairDataset(corpus, sample_scale="unit")
