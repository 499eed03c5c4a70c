"""Submission files: exactly in form, and everything that is wrong with one is found."""

from pathlib import Path

import numpy as np
import pytest
from fop.fame.scores import FameResult, FameScores, distance_eer, evaluate_submission
from fop.fame.submissions import (
    SubmissionError,
    check_submission,
    format_problems,
    read_submission,
    submission_name,
    write_submission,
)
from voiceface.datasets.mavceleb.lists import PairList

KEYS = ("ysuvkz41", "tog3zj45", "ky5xfj1d", "yx4nfa35")
PAIRS = PairList(
    "English_test",
    KEYS,
    tuple(f"voices/English/{i:05d}.wav" for i in range(4)),
    tuple(f"faces/English/{i:05d}.jpg" for i in range(4)),
    np.array([1, 0, 1, 0], np.int8),
)
DISTANCES = (0.5, 1.25, 1e-9, 2 / 3)
NAME = "sub_score_v1_English_heard.txt"


def kinds(path: Path, **options: str) -> dict[str, int]:
    """Kinds of problems with their numbers."""
    return {problem.kind: problem.count for problem in check_submission(path, PAIRS, **options)}  # type: ignore[arg-type]


def test_what_is_written_is_in_form_and_read_again(tmp_path):
    path = tmp_path / NAME
    write_submission(path, KEYS, DISTANCES)
    assert path.read_bytes() == (
        b"ysuvkz41 0.500000\ntog3zj45 1.250000\nky5xfj1d 0.000000\nyx4nfa35 0.666667\n"
    )
    assert not check_submission(path, PAIRS)
    found = read_submission(path)
    assert found.keys == KEYS and np.allclose(found.distances, DISTANCES, atol=5e-7)


@pytest.mark.parametrize(
    ("keys", "distances", "expected"),
    [
        (KEYS, (1, 2, np.nan, np.inf), "2 distances are not finite, first that of ky5xfj1d"),
        (KEYS, (1, 2), "4 keys and distances of shape"),
        (("a", "a"), (1, 2), "not distinct"),
        (("a b", "c"), (1, 2), "holds a blank"),
    ],
)
def test_what_would_be_refused_is_not_written(tmp_path, keys, distances, expected):
    with pytest.raises(SubmissionError, match=expected):
        write_submission(tmp_path / NAME, keys, distances)
    assert not list(tmp_path.iterdir())


GOOD = [f"{key} {value:.6f}" for key, value in zip(KEYS, DISTANCES)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n".join(GOOD[:3]) + "\n", {"missing": 1}),
        ("\n".join([*GOOD, "zzzzzzzz 1.000000"]) + "\n", {"foreign": 1}),
        ("\n".join([*GOOD, GOOD[0]]) + "\n", {"repeated": 1}),
        ("\n".join([GOOD[1], GOOD[0], *GOOD[2:]]) + "\n", {"order": 1}),
        ("\n".join([*GOOD[:3], "yx4nfa35 nan"]) + "\n", {"not finite": 1}),
        ("\n".join([*GOOD[:3], "yx4nfa35 inf"]) + "\n", {"not finite": 1}),
        ("\n".join([*GOOD[:3], "yx4nfa35 0.67"]) + "\n", {"form": 1}),
        ("\n".join([*GOOD[:3], "yx4nfa35 6.7e-01"]) + "\n", {"form": 1}),
        ("\n".join([*GOOD[:3], "yx4nfa35  0.670000"]) + "\n", {"form": 1, "missing": 1}),
        ("\n".join([*GOOD[:3], "yx4nfa35,0.670000"]) + "\n", {"form": 1, "missing": 1}),
        ("\n".join(GOOD), {"form": 1}),
        ("\r\n".join(GOOD) + "\r\n", {"form": 1}),
        ("\ufeff" + "\n".join(GOOD) + "\n", {"form": 1}),
        ("\n".join(f"{key} 1.000000" for key in KEYS) + "\n", {"constant": 4}),
        ("", {"missing": 4}),
    ],
)
def test_every_deviation_is_found(tmp_path, text, expected):
    path = tmp_path / NAME
    path.write_bytes(text.encode())
    assert kinds(path) == expected


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("sub_score_v1_English_heard.txt", 0, 0),
        ("sub_score_v1_Urdu_unheard.txt", 0, 1),
        ("sub_score_v1_English_unheard.txt", 1, 0),
        ("sub_score_v1_Urdu_heard.txt", 1, 1),
        ("sub_score_v3_German_unheard.txt", 0, 1),
        ("sub_score_v4_English_heard.txt", 1, 1),
        ("sub_score_v1_Hindi_heard.txt", 1, 1),
        ("sub_score_English_heard.txt", 1, 1),
        ("scores.txt", 1, 1),
    ],
)
def test_the_name_fits_the_list(tmp_path, name, train, test):
    """The list is of English: an unheard test of it belongs to a model of the other language."""
    write_submission(tmp_path / name, KEYS, DISTANCES)
    assert kinds(tmp_path / name) == ({"name": 1} if train else {})
    assert kinds(tmp_path / name, named_by="test") == ({"name": 1} if test else {})
    for version, language, heard in (("v1", "English", True), ("v1", "Urdu", False)):
        assert not kinds_of_name(tmp_path, submission_name(version, language, heard))


def kinds_of_name(folder: Path, name: str) -> dict[str, int]:
    write_submission(folder / name, KEYS, DISTANCES)
    return kinds(folder / name)


def test_problems_are_a_table(tmp_path):
    path = tmp_path / "scores.txt"
    path.write_text("a 1\n")
    lines = format_problems(check_submission(path, PAIRS)).splitlines()
    assert lines[0].split() == ["what", "number", "detail"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["name", "1"],
        ["form", "1"],
        ["missing", "4"],
        ["foreign", "1"],
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("a 1.0\nb\n", "line 2: 'b', expected a key and a distance"),
        ("a 1.0\nb nan\n", "line 2: the distance of b is nan"),
        ("a 1.0\na 2.0\n", "line 2: the key 'a' occurs twice"),
    ],
)
def test_a_submission_that_cannot_be_read_is_named(tmp_path, text, expected):
    path = tmp_path / NAME
    path.write_text(text)
    with pytest.raises(SubmissionError, match=expected) as error:
        read_submission(path)
    assert str(path) in str(error.value)


def test_equal_error_rate_by_hand_with_ties_and_against_a_root_search():
    assert distance_eer([0.1, 0.2, 0.6, 0.7], [1, 0, 1, 0]) == (0.5, 0.75)
    assert distance_eer([1, 2, 3, 4], [1, 1, 0, 0]) == (0.0, 1.0)
    assert distance_eer([1, 1, 1, 1], [1, 0, 1, 0]) == (0.5, 0.5)
    rng = np.random.default_rng(0)
    for decimals in (1, 6):
        labels = rng.integers(0, 2, 300)
        distances = np.round(rng.normal(1.2 - 0.4 * labels, 0.4), decimals)
        assert distance_eer(distances, labels)[0] == pytest.approx(root_of_roc(distances, labels), abs=1e-9)


def root_of_roc(distances: np.ndarray, labels: np.ndarray) -> float:
    """Root of 1 - fpr - tpr by bisection on a ROC curve that is interpolated linearly."""
    steps = [-np.inf, *np.unique(distances)]
    fpr = np.array([(distances[labels == 0] <= step).mean() for step in steps])
    tpr = np.array([(distances[labels == 1] <= step).mean() for step in steps])
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        # At a vertical piece of the curve every rate between its ends is met.
        at = fpr == middle
        above = tpr[at].max() if at.any() else np.interp(middle, fpr, tpr)
        low, high = (middle, high) if 1 - middle - above > 0 else (low, middle)
    return low


def test_figures_do_not_depend_on_the_order_and_need_labels_and_all_keys(tmp_path):
    write_submission(tmp_path / "a.txt", KEYS, DISTANCES)
    write_submission(tmp_path / "b.txt", KEYS[::-1], DISTANCES[::-1])
    found = [
        evaluate_submission(read_submission(tmp_path / n), PAIRS, "English", "English")
        for n in ("a.txt", "b.txt")
    ]
    assert found[0] == found[1] and found[0].eer == 0.0 and found[0].matching == 2
    write_submission(tmp_path / "c.txt", KEYS[:3], DISTANCES[:3])
    with pytest.raises(ValueError, match="4 keys, 1 of which are not among the 3"):
        evaluate_submission(read_submission(tmp_path / "c.txt"), PAIRS, "English", "English")
    hidden = PairList("x", KEYS, PAIRS.voices, PAIRS.faces)
    with pytest.raises(ValueError, match="has no labels"):
        evaluate_submission(read_submission(tmp_path / "a.txt"), hidden, "English", "English")


def test_the_overall_score_is_the_mean_of_four():
    rates = {("English", "English"): 0.293, ("English", "Urdu"): 0.379, ("Urdu", "Urdu"): 0.258}
    three = tuple(FameResult(*pair, rate, 0.5, 10, 5) for pair, rate in rates.items())
    assert FameScores("v1", three).overall is None
    scores = FameScores("v1", (*three, FameResult("Urdu", "English", 0.404, 0.5, 10, 5)))
    assert scores.overall == pytest.approx(0.3335)
    assert scores.mean(heard=True) == pytest.approx(0.2755) and scores.mean(heard=False) == pytest.approx(
        0.3915
    )
    assert scores.format().splitlines()[-1].split() == ["overall", "33.35"]
    assert scores.to_values()["overall_eer"] == scores.overall
