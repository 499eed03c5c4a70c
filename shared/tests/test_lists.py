"""Evaluation lists in their published forms: reading, labels, writing, absent files."""

import gzip
import hashlib
from dataclasses import replace

import numpy as np
import pytest
from voiceface.datasets.identities import Identity
from voiceface.datasets.trials.coverage import check_trial_items, shared_attribute_rates
from voiceface.datasets.trials.reading import read_trial_list, to_published_bytes, write_trial_list
from voiceface.datasets.trials.trial_list import TrialListError, with_labels

PEOPLE = [
    Identity("A", "id1", "A", "f", "X"),
    Identity("B", "id2", "B", "m", "X"),
    Identity("C", "id3", "C", "f", "Y"),
]
MATCH = "id1/v/1.wav A/1.jpg B/1.jpg\nid1/v/1.wav A/2.jpg C/1.jpg\nid2/v/1.wav B/1.jpg A/1.jpg\n"
VERIFY = "A/1.jpg id1/v/1.wav\nA/1.jpg id2/v/1.wav\nB/1.jpg id2/v/1.wav\nB/1.jpg id2/v/1.wav\n"
RETRIEVAL = "id1/v/1.wav id2/v/1.wav id2/v/2.wav\nA/1.jpg B/1.jpg\n"


def write(folder, name, text):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["match_g_v2f_2_test.txt", "match_g_v2f_2_test.txt.gz"])
@pytest.mark.parametrize("text", [MATCH, MATCH.rstrip("\n"), MATCH.replace("\n", "\r\n")])
def test_matching_list(tmp_path, name, text):
    found = read_trial_list(write(tmp_path, name, text))
    assert (found.name, found.kind, found.direction, found.stratum) == (
        "match_g_v2f_2_test",
        "match",
        "v2f",
        "G",
    )
    assert found.probes == ["id1/v/1.wav", "id2/v/1.wav"] and found.probe_index.tolist() == [0, 0, 1]
    lines = [[found.gallery[i] for i in row] for row in found.gallery_index]
    assert lines == [["A/1.jpg", "B/1.jpg"], ["A/2.jpg", "C/1.jpg"], ["B/1.jpg", "A/1.jpg"]]
    assert found.gallery_index.dtype == np.int64 and len(found) == 3 and found.labels is None
    assert found.sha256 == hashlib.sha256(text.encode()).hexdigest() and not found.is_generated


def test_items_with_blanks_are_quoted(tmp_path):
    plain = read_trial_list(write(tmp_path, "match_v2f_2_test.txt", MATCH))
    spaced = replace(
        plain, probes=[item.replace("v/", 'v "x" y/') for item in plain.probes], gallery=plain.gallery
    )
    write_trial_list(tmp_path / "spaced" / "match_v2f_2_test.txt", spaced)
    text = (tmp_path / "spaced" / "match_v2f_2_test.txt").read_text()
    assert text.startswith('"id1/v ""x"" y/1.wav" A/1.jpg')
    found = read_trial_list(tmp_path / "spaced" / "match_v2f_2_test.txt")
    assert found.probes == spaced.probes and found.gallery == plain.gallery
    with pytest.raises(TrialListError, match="a quoted item does not end"):
        read_trial_list(write(tmp_path, "match_v2f_3_test.txt", '"id1/v/1.wav A/1.jpg B/1.jpg\n'))
    with pytest.raises(TrialListError, match="without tabs"):
        to_published_bytes(replace(plain, gallery=[f"a\t{item}" for item in plain.gallery]))


def test_labels_come_from_the_identities_and_not_from_the_order_of_lines(tmp_path):
    path = write(tmp_path, "verify_f2v_test.txt", VERIFY)
    assert read_trial_list(path).labels is None
    found = read_trial_list(path, PEOPLE)
    assert found.labels.tolist() == [1, 0, 1, 1] and found.labels.dtype == np.int8
    assert (
        found.direction == "f2v"
        and found.gallery_index.shape == (4, 1)
        and found.faces == ["A/1.jpg", "B/1.jpg"]
    )
    with pytest.raises(TrialListError, match=r"1 of 2 items.*B/1.jpg"):
        with_labels(found, [PEOPLE[0], Identity("D", "id2", "D")])


def test_of_rows_with_one_face_name_the_last_counts(tmp_path):
    rows = [PEOPLE[0], Identity("A", "id2", "A")]
    found = read_trial_list(
        write(tmp_path, "verify_v2f_test.txt", "id1/1.wav A/1.jpg\nid2/1.wav A/1.jpg\n"), rows
    )
    assert found.labels.tolist() == [0, 1]


def test_retrieval_list(tmp_path):
    found = read_trial_list(write(tmp_path, "reterival_v2f_test.txt", RETRIEVAL))
    assert (
        found.kind == "retrieval"
        and found.probes[2] == "id2/v/2.wav"
        and found.gallery == ["A/1.jpg", "B/1.jpg"]
    )
    assert found.probe_index is None and found.gallery_index is None and len(found) == 3


@pytest.mark.parametrize(
    ("text", "kind", "direction"),
    [(MATCH, "match", "v2f"), (VERIFY, "verify", "f2v"), (RETRIEVAL, "retrieval", "v2f")],
)
def test_content_tells_where_the_name_does_not(tmp_path, text, kind, direction):
    found = read_trial_list(write(tmp_path, "mine.txt", text), PEOPLE)
    assert (found.kind, found.direction) == (kind, direction)


def test_the_content_tells_the_stratum_to_who_knows_the_people(tmp_path):
    same = "id1/v/1.wav A/1.jpg C/1.jpg\nid3/v/1.wav C/1.jpg A/1.jpg\n"
    assert read_trial_list(write(tmp_path, "mine.txt", same), PEOPLE).stratum == "G"
    found = read_trial_list(write(tmp_path, "match_v2f_2_val.txt", MATCH), PEOPLE)
    assert shared_attribute_rates(found, PEOPLE) == {
        "gender": pytest.approx(1 / 3),
        "nationality": pytest.approx(2 / 3),
    }


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("match_v2f_2_test.txt", MATCH + "id1/v/1.wav A/1.jpg\n", "line 4: 2 items, the first line has 3"),
        ("match_v2f_2_test.txt", MATCH + "\n" + MATCH, "line 4: 1 items"),
        ("match_v2f_2_test.txt", MATCH.replace("A/2.jpg", "../A/2.jpg"), "line 2: '../A/2.jpg'"),
        ("match_v2f_2_test.txt", "/id1/1.wav A/1.jpg B/1.jpg\n", "line 1: '/id1/1.wav'"),
        ("match_f2v_2_test.txt", MATCH, "line 1: the name says f2v"),
        ("match_v2f_2_test.txt", "id1/1.wav A/1.jpg id2/1.wav\n", "found id2/1.wav where an image"),
        ("verify_v2f_test.txt", MATCH, "line 1: 3 items, expected 2"),
        ("match_v2f_2_test.txt", "id1/1.wav  A/1.jpg\n", "line 1: an empty item"),
        ("reterival_v2f_test.txt", RETRIEVAL + RETRIEVAL, "4 lines, expected two"),
        ("reterival_v2f_test.txt", "id1/1.wav id1/1.wav\nA/1.jpg\n", "line 1: id1/1.wav occurs more"),
        ("match_v2f_2_test.txt", "", "empty"),
        ("mine.txt", "a b c\n", "determines the direction"),
    ],
)
def test_a_broken_list_is_refused_by_line(tmp_path, name, text, words):
    with pytest.raises(TrialListError, match=words):
        read_trial_list(write(tmp_path, name, text))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ends", ["{}", "{}\n", "{}\n\n \n", "{} \t\n"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_harmless_spellings_of_a_list(tmp_path, encoding, ends, line_end):
    text = ends.format(MATCH.rstrip("\n").replace("\n", " \n")).replace("\n", line_end)
    expected = read_trial_list(write(tmp_path, "match_v2f_2_test.txt", MATCH))
    for name in ("match_v2f_2_other.txt", "match_v2f_2_other.txt.gz"):
        data = text.encode(encoding)
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        found = read_trial_list(tmp_path / name)
        assert (found.probes, found.gallery) == (expected.probes, expected.gallery)
        assert to_published_bytes(found) == MATCH.encode()


def test_names_in_two_unicode_spellings_are_told(tmp_path):
    people = [Identity("Zo\u00eb", "id1", "Zo\u00eb"), Identity("B", "id2", "B")]
    path = write(tmp_path, "verify_v2f_test.txt", "id1/v/1.wav Zoe\u0308/1.jpg\n")
    with pytest.raises(TrialListError, match="other Unicode characters than in the table"):
        read_trial_list(path, people)


@pytest.mark.parametrize(
    "data, reason",
    [
        (gzip.compress(MATCH.encode(), mtime=0)[:-9], "truncated"),
        (
            gzip.compress(MATCH.encode(), mtime=0)[:30]
            + b"\xff\xff"
            + gzip.compress(MATCH.encode(), mtime=0)[32:],
            "corrupt gzip",
        ),
        (gzip.compress(bytes(70_000_000), mtime=0), "expands beyond"),
        (b"<!DOCTYPE html><html>\xff", "a web page"),
        (MATCH.replace("A/", "\u00c4/").encode("latin-1"), "is not UTF-8 text .*save it as UTF-8"),
        (MATCH.encode("utf-16-le"), "UTF-16 without a byte order mark"),
    ],
)
def test_files_that_are_no_list(tmp_path, data, reason):
    path = tmp_path / "match_v2f_2_test.txt.gz"
    path.write_bytes(data)
    with pytest.raises(TrialListError, match=rf"match_v2f_2_test\.txt\.gz.*{reason}"):
        read_trial_list(path)


def test_damaged_and_absent_files(tmp_path):
    path = write(tmp_path, "match_v2f_2_test.txt.gz", MATCH)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(TrialListError, match="gzip"):
        read_trial_list(path)
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        read_trial_list(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("name", "text"), [("match_v2f_2_x", MATCH), ("verify_f2v_x", VERIFY), ("reterival_v2f_x", RETRIEVAL)]
)
def test_writing_gives_back_the_bytes_that_were_read(tmp_path, name, text):
    found = read_trial_list(write(tmp_path, f"{name}.txt", text))
    assert to_published_bytes(found) == text.encode()
    assert write_trial_list(tmp_path / "again" / f"{name}.txt.gz", found) == found.sha256
    again = read_trial_list(tmp_path / "again" / f"{name}.txt.gz")
    assert again.sha256 == found.sha256 and again.probes == found.probes


def test_absent_files_are_counted_and_their_lines_skipped_on_request(tmp_path):
    found = read_trial_list(write(tmp_path, "match_v2f_2_val.txt", MATCH))
    present = {*found.probes, *found.gallery} - {"C/1.jpg"}
    with pytest.raises(TrialListError, match=r"1 of 6 listed files are missing: C/1.jpg"):
        check_trial_items(found, present)
    kept = check_trial_items(found, present, on_missing="skip")
    assert kept.skipped == 1 and len(kept) == 2 and "A/2.jpg" not in kept.gallery
    assert to_published_bytes(kept) == "".join(MATCH.splitlines(True)[::2]).encode()
    assert check_trial_items(found, {*present, "C/1.jpg"}) is found
    with pytest.raises(TrialListError, match="no trial remains"):
        check_trial_items(found, {"id1/v/1.wav"}, on_missing="skip")
    both = read_trial_list(write(tmp_path, "reterival_v2f_test.txt", RETRIEVAL))
    assert check_trial_items(both, {"id1/v/1.wav", "A/1.jpg"}, on_missing="skip").skipped == 3


def test_skipping_keeps_labels_in_step(tmp_path):
    found = read_trial_list(write(tmp_path, "verify_f2v_test.txt", VERIFY), PEOPLE)
    assert check_trial_items(found, {"B/1.jpg", "id2/v/1.wav"}, on_missing="skip").labels.tolist() == [1, 1]


def test_cmpc_tables(tmp_path):
    text = "id1/v/1.wav A/1.6/v/1.jpg B/1.6/v/2.jpg\n"
    found = read_trial_list(write(tmp_path, "matching_v2f_GN.csv.gz", text))
    assert (found.kind, found.direction, found.stratum, len(found)) == ("match", "v2f", "GN", 1)
    rows = "id,voice-speaker-id,face-speaker-id,label,voice-path,face-path\n"
    rows += "1,1,1,1,A/AbCdEfGhIjK_0000007.wav,A/LmNoPqRsTuV/0012375.jpg\n"
    rows += "2,1,2,0,A/-bC_EfGhIjK_0000012.wav,B/_mNoPqRsTu-/0000025.jpg\n"
    path = write(tmp_path, "veriflist_test_random_seenheard.txt", rows)
    with pytest.raises(TrialListError, match="vox1_meta"):
        read_trial_list(path)
    found = read_trial_list(path, PEOPLE)
    assert found.labels.tolist() == [1, 0] and found.stratum == "U"
    assert found.voices == ["id1/AbCdEfGhIjK/00007.wav", "id1/-bC_EfGhIjK/00012.wav"]
    assert found.faces[1] == "B/1.6/_mNoPqRsTu-/0000025.jpg"
    with pytest.raises(TrialListError, match="line 3"):
        read_trial_list(write(tmp_path, "veriflist_x.txt", rows.replace("_0000012", "_12")), PEOPLE)
    write(tmp_path, "wav_20k.csv.gz", "VoxCeleb1 ID\twav\nid1\tid1/v/1.wav\n")
    with pytest.raises(TrialListError, match="jpg_20k"):
        read_trial_list(tmp_path / "wav_20k.csv.gz")
    write(tmp_path, "jpg_20k.csv.gz", "VoxCeleb1 ID\tjpg\nid1\tA/1.6/v/1.jpg\n")
    assert read_trial_list(tmp_path / "jpg_20k.csv.gz").direction == "f2v"
    assert read_trial_list(tmp_path / "wav_20k.csv.gz").gallery == ["A/1.6/v/1.jpg"]
