"""Synthetic identities: names, factors and splits are a function of seed and number."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from voiceface.synthetic.counter_rng import STREAMS, integers, mix64, normals, uniforms
from voiceface.synthetic.identities import (
    FACTORS,
    NATIONALITIES,
    build_factor_table,
    compute_factor_digest,
    face_name,
    get_clip_video,
    get_image_video,
    get_split,
    num_videos,
    sample_identities,
    video_id,
    voice_id,
)
from voiceface.synthetic.presets import PRESETS, Preset, get_preset, get_split_ids

GOLDEN = Path(__file__).with_name("synthetic_factors.csv")


@pytest.fixture(scope="module")
def crowd():
    return sample_identities(np.arange(20_000))


def test_factor_table_keeps_its_golden_values():
    golden = np.loadtxt(GOLDEN, delimiter=",", skiprows=1)
    identities = sample_identities(np.arange(32))
    np.testing.assert_allclose(build_factor_table(identities), golden, atol=1e-12, rtol=0)
    digest = "bfc61c19bd0afd8ec2995d3a1c0be531e3f6fa9d21da145481de0e2c97a14a6f"
    assert compute_factor_digest(identities) == digest


def test_attributes_names_and_videos_keep_their_golden_values():
    identities = sample_identities(np.arange(2), seed=0, confound=1.0)
    golden = {
        "age": [36, 59],
        "height": [1682.058324, 1734.241893],
        "nationality": [6, 6],
        "speaking_rate": [-0.499568, 1.446557],
        "pitch_range": [1.360959, 0.183755],
        "vowel_space": [0.547773, 1.202767],
        "skin_shift": [-1.071429, -1.071429],
    }
    for name, values in golden.items():
        np.testing.assert_allclose(getattr(identities, name), values, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(identities.vowel_shift[0, 0], [-0.191299, 0.074425], atol=1e-6)
    np.testing.assert_allclose(identities.vowel_offset[0, 1], [0.755716, -1.627608], atol=1e-6)
    np.testing.assert_allclose(identities.shape_nuisance[0, :3], [0.63573, 1.714396, 0.078518], atol=1e-6)
    names = ["Aabdo_Imbro.00000", "Cabdo_Ektor.00116", "Fabrix_Ektor.00309", "Sirzon_Zolgar.01251"]
    assert [face_name(k) for k in (0, 116, 309, 1251)] == names
    assert face_name(1251, seed=3) == "Moxo_Drevo.01251"
    assert [video_id(k, 1, seed=3) for k in (0, 5)] == ["qm-GNcWBK5x", "3OV_JEjdcvG"]


def test_raw_numbers_keep_their_golden_hash():
    raw = b"".join(
        integers(seed, np.arange(50), stream, 2, 20, start=5).astype("<u8").tobytes()
        for seed in (0, 1, 2**63 - 1)
        for stream in STREAMS
    )
    digest = "f86233dfaf8bfe404508e23c79f755460ed77b363c69121cd3d7dc435fd8bdb9"
    assert hashlib.sha256(raw).hexdigest() == digest


def test_hash_spreads_every_bit_and_never_collides():
    states = np.arange(20_000, dtype=np.uint64)
    with np.errstate(over="ignore"):
        flips = mix64(states) ^ mix64(states ^ np.uint64(1))
    share = np.unpackbits(flips.view(np.uint8)).mean()
    assert share == pytest.approx(0.5, abs=0.01)
    every = np.concatenate([integers(0, np.arange(40), s, c, 40).ravel() for s in STREAMS for c in range(4)])
    assert len(np.unique(every)) == len(every)


def test_numbers_depend_on_their_place_only():
    numbers = normals(3, np.arange(10), "face", 0, 30)
    np.testing.assert_array_equal(normals(3, [7, 2], "face", 0, 5, start=10), numbers[[7, 2], 10:15])
    np.testing.assert_array_equal(uniforms(3, 4, "clip", [0, 1], 2)[1], uniforms(3, 4, "clip", 1, 2))
    assert uniforms(0, 0, "shared", 0, 0).shape == (0,)


@pytest.mark.parametrize(
    "call",
    [
        lambda: integers(-1, 0, "clip", 0, 1),
        lambda: integers(0, -1, "clip", 0, 1),
        lambda: integers(0, 0.5, "clip", 0, 1),
        lambda: integers(0, 0, "nothing", 0, 1),
        lambda: sample_identities([1], rho=1.5),
        lambda: sample_identities([1], rho=[0.5, 0.5]),
        lambda: sample_identities([1], rho=[0.5] * 7 + [1.5]),
        lambda: sample_identities([[1, 2]]),
        lambda: sample_identities([1], confound=-0.1),
        lambda: voice_id(-3),
        lambda: get_split(1.5),
        lambda: get_preset("huge"),
        lambda: get_split_ids("tiny", "dev"),
        lambda: Preset("x", 1, 117, 1, 1, 1.0, 1, 64, 1.0, 1.0),
    ],
)
def test_invalid_values_raise(call):
    with pytest.raises(ValueError):
        call()


def test_identities_do_not_depend_on_others_or_order(crowd):
    mixed = sample_identities([17, 19_999, 3])
    names = "sex voice_factors face_factors shape_nuisance age height nationality speaking_rate vowel_offset"
    for name in names.split():
        np.testing.assert_array_equal(getattr(mixed, name), getattr(crowd, name)[[17, 19_999, 3]])
    np.testing.assert_array_equal(crowd.take([17, 19_999, 3]).voice_factors, mixed.voice_factors)
    assert len(sample_identities([])) == 0


def test_coupling_is_the_correlation_within_sex(crowd):
    for sex in (0, 1):
        rows = crowd.sex == sex
        for j in range(len(FACTORS)):
            correlation = np.corrcoef(crowd.voice_factors[rows, j], crowd.face_factors[rows, j])[0, 1]
            assert correlation == pytest.approx(0.7, abs=0.04)
    profile = sample_identities(np.arange(8000), rho=0.8, factor_scales=np.linspace(0, 1, 8))
    measured = [np.corrcoef(profile.voice_factors[:, j], profile.face_factors[:, j])[0, 1] for j in range(8)]
    np.testing.assert_allclose(measured, 0.8 * np.linspace(0, 1, 8), atol=0.04)
    np.testing.assert_allclose(sample_identities([0], rho=[0.1] * 8).coupling, 0.1)
    np.testing.assert_array_equal(
        sample_identities([5], rho=1).voice_factors, sample_identities([5], rho=1).face_factors
    )


def test_marginals_are_standard_normal(crowd):
    for table in (crowd.voice_factors, crowd.face_factors, crowd.shape_nuisance):
        assert np.abs(table.mean(0)).max() < 0.03
        assert np.abs(table.std(0) - 1).max() < 0.03
    assert crowd.sex.mean() == pytest.approx(0.5, abs=0.015)
    for sex in (0, 1):
        assert np.abs(crowd.voice_factors[crowd.sex == sex].mean(0)).max() < 0.04


def test_nuisance_is_independent_of_factors_and_of_the_other_side(crowd):
    voice = np.column_stack(
        [crowd.speaking_rate, crowd.pitch_range, crowd.vowel_space, crowd.vowel_offset.reshape(-1, 20)]
    )
    blocks = [crowd.voice_factors, crowd.shape_nuisance, voice]
    blocks += [crowd.sex[:, None], crowd.nationality[:, None]]
    for a, first in enumerate(blocks):
        for second in blocks[a + 1 :]:
            both = np.corrcoef(first.T, second.T)[: first.shape[1], first.shape[1] :]
            assert np.abs(both).max() < 0.04
    assert np.abs(np.corrcoef(crowd.face_factors.T, crowd.shape_nuisance.T)[:8, 8:]).max() < 0.04
    off = np.corrcoef(np.column_stack([crowd.voice_factors, crowd.shape_nuisance]).T) - np.eye(48)
    assert np.abs(off).max() < 0.04


def test_coupling_leaves_the_voice_side_alone():
    loose, tight = sample_identities(np.arange(50), rho=0), sample_identities(np.arange(50), rho=1)
    names = "sex voice_factors height speaking_rate pitch_range vowel_space vowel_offset vowel_shift"
    for name in (*names.split(), "shape_nuisance"):
        np.testing.assert_array_equal(getattr(loose, name), getattr(tight, name))
    assert not np.allclose(loose.face_factors, tight.face_factors)


def test_sex_of_the_face_can_be_independent():
    apart = sample_identities(np.arange(4000), share_sex=False)
    assert np.mean(apart.sex == apart.face_sex) == pytest.approx(0.5, abs=0.04)
    together = sample_identities(np.arange(4000))
    np.testing.assert_array_equal(together.sex, together.face_sex)
    np.testing.assert_array_equal(apart.sex, together.sex)


def test_table_columns(crowd):
    assert crowd.age.min() >= 18
    assert crowd.age.max() <= 85
    assert np.corrcoef(crowd.age, crowd.face_factors[:, 7])[0, 1] > 0.97
    for sex, mean in ((0, 1629), (1, 1756)):
        rows = crowd.sex == sex
        assert crowd.height[rows].mean() == pytest.approx(mean, abs=3)
        correlation = np.corrcoef(crowd.height[rows], crowd.voice_factors[rows, 1])[0, 1]
        assert correlation == pytest.approx(0.3, abs=0.03)
    assert len(NATIONALITIES) == 8
    assert np.bincount(crowd.nationality).min() > 2200
    assert set(crowd.take(np.arange(40)).genders) == {"f", "m"}


def test_confound_is_off_by_default():
    plain, tied = sample_identities(np.arange(60)), sample_identities(np.arange(60), confound=0.5)
    assert not plain.vowel_shift.any()
    assert not plain.skin_shift.any()
    np.testing.assert_array_equal(plain.nationality, tied.nationality)
    for country in range(8):
        rows = tied.nationality == country
        assert np.ptp(tied.skin_shift[rows]) == 0
        assert np.ptp(tied.vowel_shift[rows], axis=0).max() == 0
    assert len(np.unique(tied.skin_shift)) == 8
    np.testing.assert_allclose(
        sample_identities([4], confound=1).vowel_shift, 2 * sample_identities([4], confound=0.5).vowel_shift
    )


def test_ids_names_and_splits_of_the_standard_set():
    splits = [get_split(k) for k in range(1251)]
    assert [splits.count(name) for name in ("val", "test", "train")] == [116, 193, 942]
    assert (voice_id(0), voice_id(308), voice_id(1250)) == ("id10001", "id10309", "id11251")
    assert voice_id(1251) == "id20001252"
    assert get_split(1251) == get_split(99_999) == "train"
    names = [face_name(k) for k in range(1251)]
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    for k, name in enumerate(names):
        assert re.fullmatch(r"[A-Z][a-z]+_[A-Z][a-z]+\.\d{5}", name)
        assert name[0] in {"val": "AB", "test": "CDE", "train": "FGHIJKLMNOPQRSTUVWXYZ"}[splits[k]]
        assert (name[0] <= "E") == (voice_id(k) <= "id10309")
    assert {name[0] for name in names} == set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert all(face_name(k)[0] >= "F" for k in range(1251, 1400))


def test_videos():
    counts = [num_videos(k) for k in range(300)]
    assert set(counts) == {2, 3, 4}
    ids = {video_id(k, video) for k in range(300) for video in range(counts[k])}
    assert len(ids) == sum(counts)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{11}", name) for name in ids)
    assert {"-", "_"} <= set("".join(ids))
    assert [get_clip_video(0, clip) for clip in range(8)] == [clip % counts[0] for clip in range(8)]
    assert {get_image_video(1, image) for image in range(8)} == set(range(counts[1]))


def test_presets_take_the_first_of_each_range():
    assert set(PRESETS) == {"tiny", "quick", "standard", "study", "large", "quirks"}
    assert list(get_split_ids("tiny", "val")) == [0, 1, 2, 3]
    assert list(get_split_ids("tiny", "test")) == list(range(116, 124))
    assert get_split_ids("standard") == list(range(1251))
    assert len(get_split_ids("large")) == PRESETS["large"].num_identities == 100_000
    assert PRESETS["study"].rhos == (0.0, 0.2, 0.5, 0.7, 0.85, 1.0)
    assert PRESETS["standard"].rhos == (0.7,)
    for preset in PRESETS.values():
        for split in ("train", "val", "test"):
            assert {get_split(k) for k in get_split_ids(preset, split)} == {split}
