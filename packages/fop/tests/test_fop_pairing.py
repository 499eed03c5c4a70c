"""Pairs of an epoch and their order: complete, of one person, functions of seed and epoch."""

from itertools import islice

import numpy as np
import pytest
from feature_sets import make_features
from fop.config import TrainingConfig
from fop.feature_batches import FeatureBatches
from fop.pairing import batches_per_epoch, epoch_pairs, iterate_batches, num_pairs, require_aligned_rows
from hypothesis import given, settings
from hypothesis import strategies as st

IDENTITIES = st.lists(st.integers(0, 5), min_size=1, max_size=30).map(np.array)


@settings(deadline=None, max_examples=60)
@given(voices=IDENTITIES, faces=IDENTITIES, seed=st.integers(0, 9), views=st.integers(1, 2))
def test_random_pairs_are_of_one_person_and_use_every_row(voices, faces, seed, views) -> None:
    pairs = epoch_pairs(voices, faces, "random", seed, 0, views=views)
    assert pairs.voices.shape == pairs.faces.shape == (views, num_pairs(voices, faces, "random"))
    owners = voices[pairs.voices]
    assert np.array_equal(owners, faces[pairs.faces]) and (owners == owners[:1]).all()
    both = np.intersect1d(voices, faces)
    assert set(pairs.voices[0].tolist()) == set(np.flatnonzero(np.isin(voices, both)).tolist())
    assert set(pairs.faces[0].tolist()) == set(np.flatnonzero(np.isin(faces, both)).tolist())
    for person in both:
        counts = np.bincount(pairs.voices[0][owners[0] == person], minlength=len(voices))[voices == person]
        assert counts.max() - counts.min() <= 1, "rows of a person occur equally often"


def test_second_view_is_another_row_where_there_is_one() -> None:
    voices, faces = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    pairs = epoch_pairs(voices, faces, "random", 3, 0, views=2)
    several = voices[pairs.voices[0]] == 0
    assert (pairs.voices[0] != pairs.voices[1])[several].all()
    assert (pairs.voices[0] == pairs.voices[1])[~several].all()
    assert (pairs.faces[0] != pairs.faces[1]).all()


def test_published_pairs_are_rows() -> None:
    identities = np.arange(9) % 3
    for views in (1, 2):
        pairs = epoch_pairs(identities, identities, "rows", 0, 2, views=views)
        assert np.array_equal(pairs.voices, pairs.faces) and sorted(pairs.voices[0]) == list(range(9))


def test_epochs_differ_unless_one_order_is_wanted() -> None:
    identities = np.arange(20) % 4

    def orders(**options: bool) -> list[list[int]]:
        batches = iterate_batches(
            identities, identities, 10, pairing="rows", seed=1, start_step=0, max_steps=4, **options
        )
        rows = [pairs.voices[0].tolist() for pairs in batches]
        return [rows[0] + rows[1], rows[2] + rows[3]]

    first, second = orders()
    assert first != second and sorted(first) == sorted(second) == list(range(20))
    first, second = orders(one_order=True)
    assert first == second


def test_a_batch_does_not_depend_on_where_the_run_started() -> None:
    voices, faces = np.arange(21) % 4, np.arange(33) % 4
    options = {"pairing": "random", "seed": 5, "max_steps": 9}
    whole = list(iterate_batches(voices, faces, 8, start_step=0, **options))
    rest = list(iterate_batches(voices, faces, 8, start_step=6, **options))
    for ours, theirs in zip(rest, whole[6:], strict=True):
        assert np.array_equal(ours.voices, theirs.voices) and np.array_equal(ours.faces, theirs.faces)


@pytest.mark.parametrize(
    ("pairs", "keep", "count"), [(20, True, 2), (20, False, 2), (22, True, 3), (22, False, 2), (21, True, 2)]
)
def test_batch_normalisation_never_sees_one_row(pairs: int, keep: bool, count: int) -> None:
    assert batches_per_epoch(pairs, 10, keep) == count


def test_last_batch_is_kept_or_left_out() -> None:
    features = make_features(people=2, voices=6, faces=6)
    sizes = {}
    for last in ("keep", "drop"):
        batches = FeatureBatches(features, "random", TrainingConfig(batch_size=5, last_batch=last))
        found = batches.iterate(0, start_step=0, max_steps=batches.batches_per_epoch)
        sizes[last] = [len(batch["label"]) for batch in found]
    assert sizes == {"keep": [5, 5, 2], "drop": [5, 5]}


def test_batches_hold_the_rows_that_they_name() -> None:
    features = make_features(people=4, voices=3, faces=5)
    batches = FeatureBatches(features, "random", TrainingConfig(batch_size=8))
    for batch in islice(batches.iterate(0, start_step=0, max_steps=5), 5):
        rows = batch["row"].numpy()
        assert np.array_equal(batch["voice"].numpy(), features.voices[rows])
        assert np.array_equal(batch["label"].numpy(), features.voice_identities[rows])
        for face, label in zip(batch["face"].numpy(), batch["label"].tolist()):
            (row,) = np.flatnonzero((features.faces == face).all(1))
            assert features.face_identities[row] == label


def test_rows_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="3 voices and 2 faces"):
        require_aligned_rows(np.array([0, 1, 2]), np.array([0, 1]))
    with pytest.raises(ValueError, match="row 2 of the voices and of the faces are different people"):
        require_aligned_rows(np.array([0, 1, 2]), np.array([0, 2, 1]))


def test_people_without_a_face_and_too_few_pairs_are_refused() -> None:
    features = make_features(people=3, voices=2, faces=2).subset([0, 1, 2])
    lonely = type(features)(
        **{**vars(features), "faces": features.faces[:4], "face_identities": features.face_identities[:4]}
        | {"face_files": features.face_files[:4]}
    )
    with pytest.raises(ValueError, match="1 of 3 training people have no face, the first is person002"):
        FeatureBatches(lonely, "random", TrainingConfig())
    with pytest.raises(ValueError, match=r"6 training pairs do not fill one batch of 128; .*last_batch=keep"):
        FeatureBatches(features, "random", TrainingConfig(last_batch="drop"))
