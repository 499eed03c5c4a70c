"""Training samples: clips of one length per batch, windows of identities, faces."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sf2f.image_transforms import normalise, preprocess_face
from sf2f.network_config import MelNormalisation, WindowsConfig
from sf2f.sampling import (
    FaceUtterancePairs,
    FaceWindowSets,
    crop_to_length,
    image_to_chw,
    load_identity_faces,
    load_identity_windows,
    sample_crop_length,
)
from sf2f.speakers import Speakers
from torch.utils.data import default_collate
from voiceface.training.sampling import batches

PLAIN = MelNormalisation(mean=0.0, std=1.0)


def indexed_mel(frames: int, file: int = 0) -> np.ndarray:
    """Features whose values encode file and frame, from 1."""
    return np.broadcast_to(1 + 10000.0 * file + np.arange(frames, dtype=np.float32), (40, frames))


def image(value: int, side: int = 8) -> np.ndarray:
    generated = np.full((side, side, 3), value, np.uint8)
    generated[:, : side // 2] = 0
    return generated


def speakers_with(*lengths: tuple[int, ...]) -> Speakers:
    count = len(lengths)
    return Speakers(
        tuple(f"P{i}" for i in range(count)),
        ("",) * count,
        tuple(tuple(indexed_mel(frames, file) for file, frames in enumerate(own)) for own in lengths),
        tuple((image(10 * i + 10), image(10 * i + 11)) for i in range(count)),
        ("",) * count,
    )


def test_crop_length_depends_on_seed_and_step_only() -> None:
    lengths = [sample_crop_length((100, 150), 3, step) for step in range(3000)]
    assert lengths == [sample_crop_length((100, 150), 3, step) for step in range(3000)]
    counts = np.bincount(lengths, minlength=151)[100:]
    assert len(counts) == 51 and counts.min() > 25 and counts.sum() == 3000
    assert lengths != [sample_crop_length((100, 150), 4, step) for step in range(3000)]
    assert {sample_crop_length((7, 7), 0, step) for step in range(5)} == {7}


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 10), st.integers(0, 2**32))
def test_clips_are_contiguous_and_padded_at_the_end(total, length, more, seed) -> None:
    item = FaceUtterancePairs(speakers_with((total,)), (8, 8), (length, length + more)).sample(
        0, np.random.default_rng(seed)
    )
    assert item["mel"].shape == (40, length + more)
    found = crop_to_length(default_collate([item]), length)
    assert set(found) == {"mel", "face", "label"} and found["mel"].shape == (1, 40, length)
    normalisation = MelNormalisation()
    row = found["mel"][0, 7].numpy() * normalisation.std + normalisation.mean
    own = min(total, length)
    first = round(float(row[0]))
    assert 1 <= first <= max(1, total - length + 1)
    np.testing.assert_allclose(row[:own], first + np.arange(own), atol=1e-3)
    np.testing.assert_allclose(row[own:], 0, atol=1e-5)  # the normalised value of a zero


@pytest.mark.parametrize("longest", [6, 12])
def test_crop_starts_are_uniform_for_any_maximum_length(longest: int) -> None:
    data, rng = FaceUtterancePairs(speakers_with((9,)), (8, 8), (6, longest), PLAIN), np.random.default_rng(0)
    items = [data.sample(0, rng) for _ in range(600)]
    starts = crop_to_length(default_collate(items), 6)["mel"][:, 0, 0].int() - 1
    counts = torch.bincount(starts, minlength=4)
    assert len(counts) == 4 and counts.min() > 110


def test_crop_length_cannot_exceed_the_items() -> None:
    batch = default_collate(
        [FaceUtterancePairs(speakers_with((20,)), (8, 8), (3, 5)).sample(0, np.random.default_rng(0))]
    )
    for length in (0, 6):
        with pytest.raises(ValueError, match=f"cannot crop {length} frames"):
            crop_to_length(batch, length)
    with pytest.raises(ValueError, match="1 <= min <= max"):
        FaceUtterancePairs(speakers_with((20,)), (8, 8), (6, 5))


def test_batches_do_not_depend_on_workers_or_the_start_step() -> None:
    data = FaceUtterancePairs(
        speakers_with((200, 90), (130,), (160, 110), (101,)), (8, 8), flip_probability=0.5
    )
    full = list(batches(data, 2, seed=5, max_steps=4))
    late = list(batches(data, 2, seed=5, max_steps=4, start_step=2, num_workers=1))
    for one, other in zip(full[2:], late, strict=True):
        for key in one:
            assert torch.equal(one[key], other[key]), key
    assert sorted(torch.cat([batch["label"] for batch in full[:2]]).tolist()) == [0, 1, 2, 3]


def test_files_of_an_identity_are_sampled_uniformly() -> None:
    data, rng = (
        FaceUtterancePairs(speakers_with((30, 30, 30)), (8, 8), (5, 5), PLAIN),
        np.random.default_rng(0),
    )
    items = [data.sample(0, rng) for _ in range(600)]
    files = np.bincount([int(item["mel"][0, 0] // 10000) for item in items], minlength=3)
    faces = np.bincount([round(float(item["face"].max()) * 255) for item in items], minlength=12)
    assert files.min() > 150 and faces[10] > 230 and faces[11] > 230


def test_window_sets_have_a_mask() -> None:
    data = FaceWindowSets(
        speakers_with((300, 124, 250), (60, 80)), (8, 8), WindowsConfig(random_start=False), PLAIN
    )
    item = data.sample(0, np.random.default_rng(1))
    assert item["windows"].shape == (20, 40, 125) and item["mask"].tolist() == [True] * 4 + [False] * 16
    firsts = sorted(item["windows"][:4, 0, 0].tolist())
    assert firsts == [1, 126, 20001, 20126]
    assert (item["windows"][4:] == 0).all()
    alone = data.sample(1, np.random.default_rng(1))
    assert alone["mask"].sum() == 1 and alone["windows"][0, 0, 79] == 10080
    assert (alone["windows"][0, :, 80:] == 0).all()
    both = default_collate([item, alone])
    assert both["windows"].shape == (2, 20, 40, 125) and both["mask"].dtype == torch.bool


def test_published_setting_requires_twenty_windows() -> None:
    strict = WindowsConfig(missing="error", random_start=False)
    data = FaceWindowSets(speakers_with((2500,), (2499,)), (8, 8), strict)
    assert data.sample(0, np.random.default_rng(0))["mask"].all()
    with pytest.raises(ValueError, match="P1 gives 19 windows"):
        data.sample(1, np.random.default_rng(0))


def test_training_is_random_and_evaluation_is_deterministic() -> None:
    who, config = speakers_with((200, 300)), WindowsConfig()
    fixed = load_identity_windows(who, 0, config, PLAIN)
    assert fixed[:, 0, 0].tolist() == [1, 10001, 10126]
    np.testing.assert_array_equal(fixed, load_identity_windows(who, 0, config, PLAIN))
    seen = {
        tuple(load_identity_windows(who, 0, config, PLAIN, np.random.default_rng(seed))[:, 0, 0])
        for seed in range(30)
    }
    assert len(seen) > 20
    assert {first[0] >= 10000 for first in seen} == {True, False}  # either file comes first
    plain = WindowsConfig(shuffle=False, random_start=False)
    np.testing.assert_array_equal(
        load_identity_windows(who, 0, plain, PLAIN, np.random.default_rng(0)), fixed
    )


def test_faces_are_resized_and_scaled_to_zero_one() -> None:
    generated = np.random.default_rng(0).integers(0, 256, (11, 9, 3)).astype(np.uint8)
    planes = image_to_chw(generated, (8, 6))
    assert planes.shape == (3, 8, 6) and planes.dtype == np.float32 and planes.flags.c_contiguous
    np.testing.assert_array_equal(np.rint(planes * 255), planes * np.float32(255))
    ours = normalise(torch.from_numpy(planes)).numpy()
    np.testing.assert_allclose(ours, preprocess_face(generated, (8, 6)).numpy(), atol=1e-6)
    same = image_to_chw(generated, (11, 9))
    np.testing.assert_array_equal(np.rint(same * 255).astype(np.uint8).transpose(1, 2, 0), generated)


def test_mirrored_and_averaged_faces() -> None:
    generated = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    plain = image_to_chw(generated, (8, 8))
    np.testing.assert_array_equal(image_to_chw(generated, (8, 8), mirrored=True), plain[..., ::-1])
    averaged = image_to_chw(generated, (8, 8), mirror_averaged=True)
    np.testing.assert_array_equal(averaged, averaged[..., ::-1])
    expected = (generated.astype(int) + generated[:, ::-1]) // 2
    np.testing.assert_allclose(averaged.transpose(1, 2, 0) * 255, expected, atol=1e-4)
    flips = FaceUtterancePairs(speakers_with((30,)), (8, 8), (5, 5), flip_probability=0.5)
    sides = [flips.sample(0, np.random.default_rng(seed))["face"][0, 0, 0] == 0 for seed in range(200)]
    assert 60 < sum(sides) < 140
    never = FaceUtterancePairs(speakers_with((30,)), (8, 8), (5, 5))
    assert all(never.sample(0, np.random.default_rng(seed))["face"][0, 0, 0] == 0 for seed in range(20))


def test_all_faces_of_an_identity_are_stacked() -> None:
    found = load_identity_faces(speakers_with((30,), (30,)), 1, (4, 4))
    assert found.shape == (2, 3, 4, 4)
    np.testing.assert_allclose(found.max((1, 2, 3)) * 255, [20, 21], atol=1e-4)
