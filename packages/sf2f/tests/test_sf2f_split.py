"""Published split rule by hand, valid and invalid tables, name normalisation, the command."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sf2f.split import (
    build_split,
    find_conflicting_names,
    find_metadata,
    main,
    read_metadata,
    read_split,
    split_by_row,
    write_split,
)
from voiceface.datasets.identities import IdentityError

VOX1 = "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
VOX2 = "Class_ID,Name,Sample_Num,Flag,Gender_x,VoxCeleb2ID,VGGFace2ID,Gender_y,Set\n"


def write_tables(root: Path, one: int = 12, two: int = 9) -> None:
    (root / "vox1").mkdir(parents=True)
    (root / "vox2").mkdir()
    rows = "".join(f"id1{i:04d}\tA_{i:02d}\t{'mf'[i % 2]}\tUSA\tdev\n" for i in range(one))
    (root / "vox1" / "vox1_meta.csv").write_text(VOX1 + rows)
    rows = "".join(f"n{i},B_{i:02d},1,1,f,id0{i:04d},n{i},f,dev\n" for i in range(two))
    (root / "vox2" / "full_vox2_meta.csv").write_text(VOX2 + rows)


@given(st.integers(0, 57))
def test_published_rule_assigns_every_ninth_and_tenth_row(count: int) -> None:
    names = [f"n{i}" for i in range(count)]
    split = split_by_row(names)
    assert split["test"] == names[8::10] and split["val"] == names[9::10]
    assert sorted([*split["train"], *split["val"], *split["test"]]) == sorted(names)
    assert len(split_by_row(map(str, range(1251)))["train"]) == 1001


def test_tables_are_read_in_order(tmp_path: Path) -> None:
    write_tables(tmp_path)
    found = {corpus: read_metadata(find_metadata(tmp_path, corpus), corpus) for corpus in ("vox1", "vox2")}
    assert [(row.voice_id, row.name, row.gender) for row in found["vox1"][:2]] == [
        ("id10000", "A_00", "m"),
        ("id10001", "A_01", "f"),
    ]
    split = build_split(found)
    assert split["vox1"]["val"] == ["A_09"] and split["vox2"]["test"] == ["B_08"] and not split["vox2"]["val"]
    write_split(tmp_path / "split.json", split)
    assert read_split(tmp_path / "split.json") == split


def test_composed_and_decomposed_accents_are_one_name(tmp_path: Path) -> None:
    composed, apart = "Zo\u00e9_K", unicodedata.normalize("NFD", "Zo\u00e9_K")
    assert composed != apart
    (tmp_path / "t.csv").write_text(VOX2 + f"n,{apart},1,1,f,id00000,n,f,dev\n", "utf-8")
    assert read_metadata(tmp_path / "t.csv", "vox2")[0].name == composed
    parts = {"train": [apart], "val": [], "test": []}
    (tmp_path / "split.json").write_text(json.dumps({"vox2": parts}))
    assert read_split(tmp_path / "split.json")["vox2"]["train"] == [composed]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "line 1: lacks VoxCeleb1 ID, VGGFace1 ID"),
        (VOX1.replace("\t", ","), "tabs"),
        (VOX1 + "id1\tA\tm\tUSA\n", "line 2: 4 cells, expected 5"),
        (VOX1 + "id1\tA\tm\tUSA\tdev\n\nid2\tA\tm\tUSA\tdev\n", "line 4: A is already on line 2"),
        (VOX1 + "id1\t../A\tm\tUSA\tdev\n", "not the name of a folder"),
        (VOX1 + "id1\t\tm\tUSA\tdev\n", "empty"),
    ],
)
def test_invalid_tables_are_rejected_by_line(text: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "vox1_meta.csv").write_text(text)
    with pytest.raises(IdentityError, match=word):
        read_metadata(tmp_path / "vox1_meta.csv", "vox1")


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        '{"vox1": []}',
        '{"vox1": {"train": ["A"]}}',
        '{"vox1": {"train": [1], "val": [], "test": []}}',
        '{"vox1": {"train": ["A"], "val": ["A"], "test": []}}',
        '{"vox1": {"train": ["../A"], "val": [], "test": []}}',
        '{"..": {"train": [], "val": [], "test": []}}',
    ],
)
def test_invalid_splits_are_rejected(content: str, tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(IdentityError, match=r"split\.json"):
        read_split(tmp_path / "split.json")


def test_missing_tables_and_splits_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="sf2f split"):
        read_split(tmp_path / "split.json")
    with pytest.raises(FileNotFoundError, match="--vox1-meta"):
        main([str(tmp_path)])


def test_names_in_two_splits_are_reported() -> None:
    parts = {"train": ["A"], "val": [], "test": []}
    other = {"train": [], "val": [], "test": ["A"]}
    assert find_conflicting_names({"vox1": parts, "vox2": other}) == ["A (vox1 train, vox2 test)"]
    assert not find_conflicting_names({"vox1": parts, "vox2": parts})


def test_the_command_writes_the_split(tmp_path: Path, capsys) -> None:
    write_tables(tmp_path)
    assert main([str(tmp_path)]) == 0
    assert read_split(tmp_path / "split.json")["vox1"]["test"] == ["A_08"]
    assert "vox1: 10 train, 1 val, 1 test" in capsys.readouterr().out
    (tmp_path / "vox2" / "full_vox2_meta.csv").unlink()
    assert main([str(tmp_path), "--out", str(tmp_path / "one.json")]) == 0
    assert read_split(tmp_path / "one.json")["vox2"] == {"train": [], "val": [], "test": []}
