"""Identity tables: what is read, what is skipped, what is refused and with which words."""

import pytest
from voiceface.datasets.identities import (
    Identity,
    IdentityError,
    class_indices,
    read_identity_csv,
    read_identity_splits,
    read_vox1_meta,
    split_from_name,
)
from voiceface.datasets.manifest import ManifestRow, read_manifest, write_manifest

HEADER = "VoxCeleb1_ID,VGGFace1_ID,Gender,Nationality,Set"
ROWS = [
    "id90001,Jane_Q._Sample,f,Ireland,dev",
    "id90002,John_Sample,m,USA,none",
    "id90003,Bo-Li,m,New Zealand,test",
]


def write(path, lines, ending="\n"):
    path.write_bytes((ending.join(lines) + ending).encode())
    return path


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_rows_with_set_none_are_left_out(tmp_path, ending):
    identities = read_identity_csv(write(tmp_path / "vox1_val.csv", [HEADER, *ROWS], ending))
    assert [identity.voice_id for identity in identities] == ["id90001", "id90003"]
    second = identities[1]
    assert (second.nationality, second.gender, second.split) == ("New Zealand", "m", "val")
    assert identities[0].name == identities[0].face_id == "Jane_Q._Sample" and identities[0].age is None


def test_rows_with_set_none_come_when_asked_for(tmp_path):
    table = write(tmp_path / "x.csv", [HEADER, *ROWS])
    assert len(read_identity_csv(table, include_unused=True)) == 3 and read_identity_csv(table)[0].split == ""


def test_class_is_the_order_of_first_appearance_and_one_name_has_one_class(tmp_path):
    rows = ["id1,B,f,X,dev", "id2,A,m,X,dev", "id3,B,f,X,dev", "id4,C,m,X,dev"]
    identities = read_identity_csv(write(tmp_path / "vox1_train.csv", [HEADER, *rows]))
    assert class_indices(identities) == [0, 1, 0, 2] and len(identities) == 4


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        (["VoxCeleb1_ID,Face,Gender,Nationality,Set"], "line 1, column 2"),
        ([HEADER, ROWS[0], "id2,A,m,USA"], "line 3, column 5"),
        ([HEADER, ROWS[0], "id2,A,m,USA,dev,more"], "line 3, column 6"),
        ([HEADER, "id2,A,male,USA,dev"], "line 2, column 3"),
        ([HEADER, "id2,A,m,USA,train"], "line 2, column 5"),
        ([HEADER, ",A,m,USA,dev"], "line 2, column 1"),
        ([HEADER, "id2,..,m,USA,dev"], "line 2, column 2"),
        ([HEADER, "../id2,A,m,USA,dev"], "line 2, column 1"),
        ([HEADER, ROWS[0], 'id2,"A,m,USA,dev'], "line 3"),
    ],
)
def test_a_broken_table_is_refused_by_file_line_and_column(tmp_path, lines, where):
    with pytest.raises(IdentityError, match=f"vox1_train.csv, {where}"):
        read_identity_csv(write(tmp_path / "vox1_train.csv", lines))


def test_empty_and_absent_tables(tmp_path):
    (tmp_path / "empty.csv").touch()
    with pytest.raises(IdentityError, match="empty"):
        read_identity_csv(tmp_path / "empty.csv")
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_identity_csv(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(IdentityError, match="UTF-8"):
        read_identity_csv(tmp_path / "binary.csv")


def test_meta_table_and_its_splits(tmp_path):
    meta = [HEADER.replace("_ID", " ID").replace(",", "\t"), *(row.replace(",", "\t") for row in ROWS)]
    table = write(tmp_path / "vox1_meta.csv", meta)
    write(tmp_path / "splits.txt", ["Jane_Q._Sample 1 ", "Bo-Li 4 "])
    splits = read_identity_splits(tmp_path / "splits.txt")
    assert splits == {"Jane_Q._Sample": "train", "Bo-Li": "test"}
    assert [identity.split for identity in read_vox1_meta(table, splits)] == ["train", "test"]
    assert [identity.split for identity in read_vox1_meta(table)] == ["train", "val"]  # by first letter: J, B
    assert [split_from_name(name) for name in ("Abe", "Cy", "Ed", "Fay")] == ["val", "test", "test", "train"]


def test_a_manifest_holds_paths_with_blanks_commas_and_quotes(tmp_path):
    names = ["two words.wav", "a, b/c.wav", 'say "a".wav']
    identity = Identity("p 1", "p 1", "p 1")
    rows = [ManifestRow(identity, "voice", name) for name in names]
    write_manifest(tmp_path / "manifest.csv", rows)
    assert "p 1,voice,two words.wav,,,,\n" in (tmp_path / "manifest.csv").read_text()
    assert '"a, b/c.wav"' in (tmp_path / "manifest.csv").read_text()
    assert read_manifest(tmp_path / "manifest.csv") == rows
    for wrong in ("a\nb.wav", "a.wav "):
        with pytest.raises(ValueError, match="rename the file"):
            write_manifest(tmp_path / "manifest.csv", [ManifestRow(identity, "voice", wrong)])


@pytest.mark.parametrize("line", ["Jane 9", "Jane", "Jane 1 2", "Jo 4", "J\x01o 1", "../x 1"])
def test_a_broken_split_table_names_the_line(tmp_path, line):
    with pytest.raises(IdentityError, match="line 2"):
        read_identity_splits(write(tmp_path / "splits.txt", ["Jo 1", line]))


def test_manifest_needs_three_columns_only(tmp_path):
    rows = read_manifest(write(tmp_path / "manifest.csv", ["identity,modality,path", "p1,voice,a/b.wav"]))
    assert rows[0].identity.name == "p1" and rows[0].identity.gender == "" and rows[0].path == "a/b.wav"


def test_manifest_facts_hold_for_every_row_of_a_person(tmp_path):
    lines = ["identity,modality,path,gender,nationality,age,split"]
    lines += ["p1,voice,a.wav,,,,train", "p1,face,a.jpg,f,Chile,30-39,train", "p1,face,b.jpg,,,,test"]
    rows = read_manifest(write(tmp_path / "manifest.csv", lines))
    assert {row.identity.gender for row in rows} == {"f"} and {row.identity.age for row in rows} == {34.5}
    assert [row.identity.split for row in rows] == ["train", "train", "test"]
    write_manifest(tmp_path / "again.csv", rows)
    assert read_manifest(tmp_path / "again.csv") == rows


def test_a_manifest_keeps_the_ids_of_other_data_sets(tmp_path):
    known = Identity("Ann", "id10270", "Ann_A")
    rows = [ManifestRow(known, "voice", "a.wav"), ManifestRow(Identity("Bo", "Bo", "Bo"), "face", "b.jpg")]
    write_manifest(tmp_path / "manifest.csv", rows)
    assert "Ann,voice,a.wav,,,,,id10270,Ann_A\n" in (tmp_path / "manifest.csv").read_text()
    assert read_manifest(tmp_path / "manifest.csv") == rows
    header = "identity,modality,path,gender,nationality,age,split,voice_id"
    lines = [header, "Ann,voice,a.wav,,,,,id10270", "Ann,voice,b.wav,,,,,id10271"]
    with pytest.raises(IdentityError, match="line 3, column 8: Ann has 'id10271' here and 'id10270' before"):
        read_manifest(write(tmp_path / "other.csv", lines))


@pytest.mark.parametrize(
    ("row", "where"),
    [
        ("p1,voice,../b.wav,,,,", "column 3"),
        ("p1,voice,/b.wav,,,,", "column 3"),
        ("p1,voice,C:/b.wav,,,,", "column 3"),
        ("p1,voice,x/../../b.wav,,,,", "column 3"),
        ("p1,voice,a.wav,,,,", "already on line 2"),
        ("p1,sound,b.wav,,,,", "column 2"),
        ("p1,face,b.jpg,x,,,", "column 4"),
        ("p1,face,b.jpg,m,,,", "'m' here and 'f' before"),
        ("p1,face,b.jpg,,,old,", "column 6"),
        ("p1,face,b.jpg,,,,dev", "column 7"),
        (",face,b.jpg,,,,", "column 1"),
    ],
)
def test_a_broken_manifest_is_refused_by_line_and_column(tmp_path, row, where):
    lines = ["identity,modality,path,gender,nationality,age,split", "p1,voice,a.wav,f,,,", row]
    with pytest.raises(IdentityError, match="line 3.*" + where):
        read_manifest(write(tmp_path / "manifest.csv", lines))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_quoted_line_ends_and_encodings(tmp_path, encoding):
    path = tmp_path / "vox1_train.csv"
    text = f'{HEADER}\nid1,Ann,f,"United\nKingdom",dev\r\nid2,Zo\u00eb,m,"a, b",dev\n\n'
    path.write_bytes(text.encode(encoding))
    first, second = read_identity_csv(path)
    assert (first.nationality, second.face_id, second.nationality) == ("United\nKingdom", "Zo\u00eb", "a, b")


@pytest.mark.parametrize(
    "row, where",
    [
        ('id3,"A\nB",m,USA,dev', "line 4, column 2"),
        ("id3,A\x1b[2J,m,USA,dev", "line 3, column 2"),
        ("id3,Zoe\u0308,m,USA,dev", "line 3, column 2"),
    ],
)
def test_names_that_are_no_folders_or_spelled_twice(tmp_path, row, where):
    path = tmp_path / "vox1_train.csv"
    path.write_text(f"{HEADER}\nid2,Zo\u00eb,m,USA,dev\n{row}\n", encoding="utf-8")
    with pytest.raises(IdentityError, match=f"vox1_train.csv, {where}"):
        read_identity_csv(path)


def test_a_manifest_in_two_unicode_spellings(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text("identity,modality,path\nZo\u00eb,voice,a.wav\nZoe\u0308,face,a.jpg\n", encoding="utf-8")
    with pytest.raises(IdentityError, match=r"line 3, column 1 .*other Unicode characters"):
        read_manifest(path)
    path.write_text('identity,modality,path\nAnn,voice,"a\n.wav"\n')
    with pytest.raises(IdentityError, match="column 3"):
        read_manifest(path)
