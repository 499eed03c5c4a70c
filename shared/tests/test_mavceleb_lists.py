"""Lists of MAV-Celeb: every published form is read, and every wrong line is named."""

from pathlib import Path

import numpy as np
import pytest
from voiceface.datasets.mavceleb.lists import (
    MavCelebError,
    PairList,
    read_labels,
    read_pair_list,
    read_training_list,
    with_truth,
    write_pair_list,
)

LINES = (
    "ysuvkz41 voices/English/00000.wav faces/English/00000.jpg",
    "tog3zj45 voices/English/00001.wav faces/English/00007.jpg",
    "ky5xfj1d voices/English/00000.wav faces/English/00002.jpg",
)
LABELLED = tuple(line.replace(" ", f" {label} ", 1) for line, label in zip(LINES, (1, 0, 0)))


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_a_list_has_keys_and_paths_and_no_labels(tmp_path):
    found = read_pair_list(write(tmp_path / "English_test.txt", "\n".join(LINES) + "\n"))
    assert found.name == "English_test" and len(found) == 3 and found.labels is None
    assert found.keys == ("ysuvkz41", "tog3zj45", "ky5xfj1d")
    assert found.voices[2] == "voices/English/00000.wav" and found.faces[1] == "faces/English/00007.jpg"


def test_labels_stand_behind_the_keys(tmp_path):
    found = read_pair_list(write(tmp_path / "list.txt", "\n".join(LABELLED)))
    assert found.labels is not None and found.labels.tolist() == [1, 0, 0]
    assert found.voices[0] == "voices/English/00000.wav"


@pytest.mark.parametrize("lines", [LINES, LABELLED])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(("end", "tail"), [("\n", ""), ("\r\n", "\r\n"), ("\r", "\r"), (" \t\n", "\n\n \n")])
def test_byte_order_marks_line_ends_and_blanks_do_not_count(tmp_path, lines, encoding, end, tail):
    plain = read_pair_list(write(tmp_path / "a.txt", "\n".join(lines)))
    other = read_pair_list(write(tmp_path / "b.txt", end.join(lines) + tail, encoding))
    assert (other.keys, other.voices, other.faces) == (plain.keys, plain.voices, plain.faces)
    assert np.array_equal(other.labels, plain.labels)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a b", "line 2: 2 fields, expected 3"),
        ("", "line 2: an empty line, expected 3"),
        ("k 1 voices/a.wav faces/b.jpg", "line 2: 4 fields, expected 3"),
        ("ysuvkz41 voices/a.wav faces/b.jpg", "line 2: the key 'ysuvkz41' is already on line 1"),
        ("k faces/a.jpg voices/a.wav", "line 2: 'faces/a.jpg' is no recording; the recording comes first"),
        ("k voices/a.wav voices/b.wav", "line 2: 'voices/b.wav' is no image"),
        ("k ../a.wav faces/b.jpg", "line 2: '../a.wav' is not a path below the root"),
        ("k /a.wav faces/b.jpg", "line 2: '/a.wav' is not a path below the root"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, expected):
    path = write(tmp_path / "list.txt", f"{LINES[0]}\n{line}\n{LINES[1]}\n")
    with pytest.raises(MavCelebError) as error:
        read_pair_list(path)
    assert str(path) in str(error.value) and expected in str(error.value)


def test_an_empty_list_a_wrong_label_and_no_text_are_errors(tmp_path):
    for text, expected in (("", "is empty"), ("\n" + LINES[0], "first line is empty"), ("a b", "2 fields")):
        with pytest.raises(MavCelebError, match=expected):
            read_pair_list(write(tmp_path / "list.txt", text))
    with pytest.raises(MavCelebError, match=r"line 1: the label is '2', expected 1"):
        read_pair_list(write(tmp_path / "list.txt", LABELLED[0].replace(" 1 ", " 2 ")))
    with pytest.raises(MavCelebError):
        read_pair_list(write(tmp_path / "list.txt", "\0\1\2\3" * 50, "latin-1"))
    with pytest.raises(FileNotFoundError):
        read_pair_list(tmp_path / "absent.txt")


def test_older_truth_files_and_keyed_ones_give_the_same_labels(tmp_path):
    pairs = read_pair_list(write(tmp_path / "list.txt", "\n".join(LINES)))
    bare = with_truth(pairs, write(tmp_path / "bare.txt", "1\r\n0\r\n0\r\n"))
    keyed = "\n".join(f"{key} {label}" for key, label in zip(pairs.keys[::-1], (0, 0, 1)))
    for text in (keyed, "\n".join(LABELLED[::-1])):
        other = with_truth(pairs, write(tmp_path / "keyed.txt", text))
        assert np.array_equal(bare.labels, other.labels) and other.labels.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1\n0", "2 labels for the 3 pairs"),
        ("1\n0\n2", "line 3: the label is '2'"),
        ("1\n\n0", "line 2: an empty line"),
        ("ysuvkz41 1", "2 of 3 keys"),
        ("ysuvkz41 1\nysuvkz41 0", "line 2: the key 'ysuvkz41' occurs twice"),
        ("\n".join(LINES), "line 1: no label"),
    ],
)
def test_labels_of_another_list_are_refused(tmp_path, text, expected):
    pairs = read_pair_list(write(tmp_path / "list.txt", "\n".join(LINES)))
    with pytest.raises(MavCelebError, match=expected):
        with_truth(pairs, write(tmp_path / "truth.txt", text))


def test_labels_that_contradict_the_list_are_refused(tmp_path):
    pairs = read_pair_list(write(tmp_path / "list.txt", "\n".join(LABELLED)))
    with pytest.raises(MavCelebError, match="1 labels differ from those of list, the first of tog3zj45"):
        with_truth(pairs, write(tmp_path / "truth.txt", "1\n1\n0"))


def test_what_is_written_is_read_again(tmp_path):
    pairs = PairList(
        "x", ("a", "b"), ("v/1.wav", "v/2.wav"), ("f/1.jpg", "f/2.jpg"), np.array([1, 0], np.int8)
    )
    write_pair_list(tmp_path / "plain.txt", pairs)
    write_pair_list(tmp_path / "labelled.txt", pairs, labelled=True)
    assert (tmp_path / "plain.txt").read_bytes() == b"a v/1.wav f/1.jpg\nb v/2.wav f/2.jpg\n"
    assert read_labels(tmp_path / "labelled.txt") == {"a": 1, "b": 0}
    assert read_pair_list(tmp_path / "labelled.txt").keys == pairs.keys
    with pytest.raises(ValueError, match="has no labels"):
        write_pair_list(tmp_path / "no.txt", read_pair_list(tmp_path / "plain.txt"), labelled=True)
    assert not (tmp_path / "no.txt").exists()


def test_training_lists_name_identities_or_lie_in_their_folders(tmp_path):
    named = read_training_list(write(tmp_path / "a.txt", "7 voices/a.wav faces/b.jpg"))
    assert (named[0].identity, named[0].voice, named[0].face) == ("7", "voices/a.wav", "faces/b.jpg")
    placed = "voices/id0007/Urdu/1.wav faces/id0007/Urdu/2.jpg"
    assert read_training_list(write(tmp_path / "b.txt", placed))[0].identity == "id0007"
    for text, expected in (
        ("voices/id1/Urdu/1.wav faces/id2/Urdu/2.jpg", "do not lie in the folders of one identity"),
        ("7 voices/a.wav faces/b.jpg\nvoices/a.wav faces/b.jpg", "line 2: 2 fields"),
    ):
        with pytest.raises(MavCelebError, match=expected):
            read_training_list(write(tmp_path / "c.txt", text))
