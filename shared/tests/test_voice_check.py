"""Clips with another voice than the person's other clips."""

import numpy as np
import pytest
from voiceface.preparation.voice_check import check_voices, leave_one_out_cosines, unchecked_people


def voices(counts: dict[str, int], spread: float = 0.03) -> tuple[np.ndarray, list[str]]:
    """Unit vectors around one direction for each voice, directions at right angles."""
    rng = np.random.default_rng(0)
    centres = np.eye(16)[: len(counts)]
    rows = [centre for centre, count in zip(centres, counts.values(), strict=True) for _ in range(count)]
    vectors = np.array(rows) + spread * rng.normal(size=(len(rows), 16))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), [
        k for k, n in counts.items() for _ in range(n)
    ]


def test_another_voice_is_dropped_and_the_others_are_kept():
    vectors, people = voices({"ann": 5, "bob": 4})
    people[7] = "ann"
    reasons = check_voices(vectors, people)
    assert [index for index, reason in enumerate(reasons) if reason] == [7]
    assert reasons[7].startswith("another voice: cosine 0.")


def test_two_intruders_are_found_one_after_the_other():
    vectors, _ = voices({"ann": 6, "bob": 1, "carl": 1})
    assert [bool(reason) for reason in check_voices(vectors, ["ann"] * 8)] == [False] * 6 + [True] * 2


def test_people_are_judged_by_themselves():
    vectors, people = voices({"ann": 4, "bob": 3, "carl": 5})
    order = np.random.default_rng(1).permutation(len(people))
    assert check_voices(vectors[order], [people[k] for k in order]) == [""] * 12


def test_a_single_clip_cannot_be_checked():
    vectors, people = voices({"ann": 1, "bob": 2})
    assert check_voices(vectors, people) == ["", "", ""]
    assert unchecked_people(people) == ["ann"]
    assert np.isnan(leave_one_out_cosines(vectors[:1])).all()


def test_where_voices_disagree_none_is_kept():
    vectors, _ = voices({"ann": 2, "bob": 2})
    assert all(check_voices(vectors, ["ann"] * 4))
    assert all(check_voices(vectors[1:3], ["ann"] * 2))


def test_cosines_are_those_to_the_mean_of_the_others():
    vectors = np.random.default_rng(2).normal(size=(5, 8))
    for index, cosine in enumerate(leave_one_out_cosines(vectors)):
        mean = np.delete(vectors, index, axis=0).mean(axis=0)
        expected = vectors[index] @ mean / np.linalg.norm(vectors[index]) / np.linalg.norm(mean)
        assert cosine == pytest.approx(expected)


def test_the_limit_decides():
    vectors, people = voices({"ann": 4}, spread=0.3)
    least = leave_one_out_cosines(vectors).min()
    assert check_voices(vectors, people, min_cosine=least - 1e-6) == [""] * 4
    assert any(check_voices(vectors, people, min_cosine=least + 1e-6))


def test_wrong_input_is_named():
    vectors, people = voices({"ann": 2})
    with pytest.raises(ValueError, match="and 1 people"):
        check_voices(vectors, people[:1])
    with pytest.raises(ValueError, match="not finite"):
        check_voices(np.full((2, 4), np.nan), people)
    assert check_voices(np.zeros((0, 256)), []) == []
