"""Who is who in a data set from own videos: names from folders, files and tables, and `clusters.csv`."""

import pytest
from fake_videos import speaker, write_fake_video
from prepare_calls import content, edit, people, prepare, reasons, table, write_four
from voiceface.datasets.identities import IdentityError
from voiceface.datasets.manifest import read_manifest
from voiceface.preparation.sources import choose_names, find_videos, name_of_file


@pytest.fixture
def four(tmp_path):
    return write_four(tmp_path / "videos")


def test_names_from_folders_leave_out_who_is_not_the_person(tmp_path):
    folder = tmp_path / "videos"
    write_fake_video(folder / "Ann" / "1.mp4", [speaker(1, 0, 5), speaker(9, 6, 30)])
    write_fake_video(folder / "Ann" / "2.mp4", [speaker(1, 0, 5), speaker(9, 6, 30)], seed=1)
    write_fake_video(folder / "Bob" / "x" / "1.mp4", [speaker(2, 0, 5), speaker(9, 6, 30)], seed=2)
    done = prepare(folder, tmp_path / "data")
    assert done.names == "folders"
    assert set(people(done)) == {"Ann", "Bob"}
    assert reasons(done)["track", "does not look like the rest of the named person"] == 3
    assert {row["person"] for row in table(tmp_path / "data")} == {"Ann", "Bob", ""}


def test_one_person_under_two_names_is_noticed(tmp_path):
    write_fake_video(tmp_path / "v" / "Ann" / "1.mp4", [speaker(1, 0, 5)])
    write_fake_video(tmp_path / "v" / "Bob" / "1.mp4", [speaker(1, 0, 5)], seed=1)
    done = prepare(tmp_path / "v", tmp_path / "data")
    assert any("Ann and Bob" in note for note in done.gathering.notes)


def test_names_of_files(tmp_path):
    stems = ("Ann_Lee_01", "Ann Lee (2)", "Ann-3", "Ann", "007")
    assert [name_of_file(stem) for stem in stems] == ["Ann_Lee", "Ann Lee", "Ann", "Ann", "007"]
    for stem in ("Ann_1", "Ann_2", "Bob"):
        write_fake_video(tmp_path / f"{stem}.mp4")
    videos, _ = find_videos([tmp_path])
    named, _, mode = choose_names(videos, "files")
    assert ([video.name for video in named], mode) == (["Ann", "Ann", "Bob"], "files")


def test_names_are_folders_only_where_every_video_lies_in_one(tmp_path):
    write_fake_video(tmp_path / "v" / "Ann" / "1.mp4")
    for expected, extra in (("folders", None), ("none", "2.mp4")):
        if extra:
            write_fake_video(tmp_path / "v" / extra, seed=1)
        videos, _ = find_videos([tmp_path / "v"])
        assert choose_names(videos, "auto", [tmp_path / "v"])[2] == expected
    videos, _ = find_videos([tmp_path / "v" / "Ann"])
    assert choose_names(videos, "auto", [tmp_path / "v" / "Ann"])[2] == "none"
    assert choose_names(videos, "folders")[0][0].name == "Ann"


def test_a_table_gives_names_and_facts(four, tmp_path):
    names = tmp_path / "names.csv"
    names.write_text("video,name,gender,nationality,age\na.mp4,Ann,f,Chile,34\nb.mov,Ann,,,\nd.mp4,Dan,m,,\n")
    done = prepare(four, tmp_path / "data", names=str(names))
    assert set(people(done)) == {"Ann", "Dan"}
    identity = read_manifest(tmp_path / "data" / "manifest.csv")[0].identity
    assert (identity.name, identity.gender, identity.nationality, identity.age) == ("Ann", "f", "Chile", 34)
    assert reasons(done)["track", "the video has no name"] == 1


@pytest.mark.parametrize(
    "text, message",
    [
        ("video,person\n", "line 1, column 2"),
        ("video,name\na.mp4,A/B\n", "line 2, column 2"),
        (f"video,name\na.mp4,{'a' * 300}\n", "line 2, column 2.* 300 bytes"),
        ("video,name\na.mp4,Ann\na.mp4,Bob\n", "line 3, column 2"),
        ("video,name,gender\na.mp4,Ann,x\n", "line 2, column 3"),
        ("video,name,gender,nationality,age\na.mp4,Ann,,,old\n", "line 2, column 5"),
        ("video,name\nz.mp4,Ann\n", "names none of the 4 videos"),
    ],
)
def test_wrong_lines_of_a_table_of_names_are_named(four, tmp_path, text, message):
    (tmp_path / "names.csv").write_text(text)
    with pytest.raises(IdentityError, match=message):
        prepare(four, tmp_path / "data", names=str(tmp_path / "names.csv"))
    assert not (tmp_path / "data").exists()


def test_people_are_renamed_merged_split_and_left_out_by_the_table(four, tmp_path):
    out = tmp_path / "data"
    prepare(four, out)
    assert [row["cluster"] for row in table(out)] == [*["person_001"] * 3, *["person_002"] * 2, "person_003"]
    edit(out, lambda row: {"person_001": "Ann", "person_003": "Ann"}.get(row["cluster"], row["person"]))
    assert people(prepare(four, out)) == {"Ann": (5, 32), "person_002": (2, 16)}
    assert people(prepare(four, out)) == {"Ann": (5, 32), "person_002": (2, 16)}, "changes stay"
    edit(
        out,
        lambda row: "" if row["video"] == "d.mp4" else "Bea" if row["video"] == "b.mov" else row["person"],
    )
    done = prepare(four, out)
    assert people(done) == {"Ann": (3, 16), "Bea": (2, 16), "person_002": (1, 8)}
    assert reasons(done)["track", "left out in clusters.csv"] == 1
    assert sorted({path.parent.name for path in out.glob("wav/*/*")}) == ["Ann", "Bea", "person_002"]
    (out / "clusters.csv").unlink()
    assert set(people(prepare(four, out))) == {"person_001", "person_002", "person_003"}


def test_new_videos_join_the_people_of_the_table(four, tmp_path):
    out = tmp_path / "data"
    prepare(four, out)
    edit(out, lambda row: {"person_001": "Ann"}.get(row["cluster"], row["person"]))
    write_fake_video(four / "0.mp4", [speaker(3, 1, 5), speaker(1, 6, 10), speaker(7, 11, 20)], seed=7)
    found = people(prepare(four, out))
    assert found["Ann"] == (5, 32) and found["person_003"] == (2, 16)
    assert len(found) == 4, "the new face is a person of its own"


def test_people_keep_their_names_when_videos_are_added(four, tmp_path):
    out = tmp_path / "data"
    prepare(four, out)
    write_fake_video(four / "0.mp4", [speaker(8, 0, 4), speaker(3, 5, 9)], seed=8)
    found = people(prepare(four, out))
    assert found == {
        **{"person_001": (4, 24), "person_002": (2, 16), "person_003": (2, 16)},
        "person_004": (1, 8),
    }
    assert people(prepare(four, out)) == found
    assert not any(row["person"] != row["cluster"] for row in table(out))
    assert set(people(prepare(four, tmp_path / "other"))) == set(found)


def test_named_tracks_can_be_brought_back_by_the_table(tmp_path):
    write_fake_video(tmp_path / "v" / "Ann" / "1.mp4", [speaker(1, 0, 5), speaker(2, 6, 9)])
    out = tmp_path / "data"
    prepare(tmp_path / "v", out)
    edit(out, lambda row: "Ann")
    assert people(prepare(tmp_path / "v", out)) == {"Ann": (2, 16)}


@pytest.mark.parametrize(
    "line, message",
    [
        ("person_001,person_001,x", "column 1"),
        ("ab#0,c,x/y", "column 3"),
        ("ab#0,c,x\nab#0,c,x", "already on line"),
        ("ab#0,c", "cells"),
    ],
)
def test_wrong_lines_of_the_cluster_table_are_named_and_nothing_is_changed(four, tmp_path, line, message):
    out = tmp_path / "data"
    prepare(four, out)
    (out / "clusters.csv").write_text(f"track,cluster,person\n{line}\n")
    before = content(out)
    with pytest.raises(IdentityError, match=message):
        prepare(four, out)
    assert content(out) == before


def test_rows_of_absent_videos_stay_in_the_table(four, tmp_path):
    out = tmp_path / "data"
    prepare(four, out)
    edit(out, lambda row: "Dan" if row["video"] == "d.mp4" else row["person"])
    saved = (four / "d.mp4").read_bytes()
    (four / "d.mp4").unlink()
    done = prepare(four, out)
    assert any(
        "no track of these videos belongs to 1 row of clusters.csv" in note for note in done.gathering.notes
    )
    (four / "d.mp4").write_bytes(saved)
    assert "Dan" in people(prepare(four, out))
