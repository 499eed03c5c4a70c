"""Lists of training files: the published rules on a small folder, and the errors without files."""

from pathlib import Path

import pytest
from perceptionist.dataset.published_lists import (
    HELD_OUT_INITIALS,
    TRAINING_INITIALS,
    DataError,
    build_training_lists,
    is_in_split,
    read_identity_names,
)
from voiceface.datasets.identities import IdentityError

META = "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
ROWS = "id1\tFay_One\tf\tUSA\tdev\nid2\tAda_Two\tf\tUK\tdev\n"
ROWS += "id3\tGus_Three\tm\tUSA\tnone\nid4\tZoe\tf\tIndia\ttest\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for item in (
        *(
            "fbank/id1/b/1.npy",
            "fbank/id1/a/2.npy",
            "fbank/id2/x/1.npy",
            "fbank/id3/y/1.npy",
            "fbank/id4/z/1.npy",
        ),
        *("fbank/Hal_Five/v/1.npy", "fbank/id1/a/note.txt", "fbank/.hidden/1.npy", "fbank/loose.npy"),
        *(
            "faces/Fay_One/2.jpg",
            "faces/Fay_One/1.jpg",
            "faces/Ada_Two/1.jpg",
            "faces/Zoe/1.png",
            "faces/id4/1.jpg",
        ),
        *("faces/Hal_Five/1.jpg", "faces/Gus_Three/1.jpg", "faces/lower/1.jpg", "fbank/lower/v/1.npy"),
    ):
        path = tmp_path / item
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "vox1_meta.csv").write_text(META + ROWS)
    return tmp_path


def test_identities_with_both_modalities_in_alphabetical_order(root: Path) -> None:
    names = read_identity_names(root / "vox1_meta.csv")
    assert names["id3"] == "Gus_Three"  # every row counts, whatever its set
    result = build_training_lists(root / "fbank", root / "faces", names)
    assert result.identities == ("Fay_One", "Gus_Three", "Hal_Five", "Zoe")
    voices = [(item.path, item.identity, item.label) for item in result.voices]
    assert voices == [
        ("Hal_Five/v/1.npy", "Hal_Five", 2),
        ("id1/a/2.npy", "Fay_One", 0),
        ("id1/b/1.npy", "Fay_One", 0),
        ("id3/y/1.npy", "Gus_Three", 1),
        ("id4/z/1.npy", "Zoe", 3),
    ]
    faces = [(item.path, item.label) for item in result.faces]
    assert ("id4/1.jpg", 3) in faces  # a face folder may be named by id, too
    assert ("Fay_One/1.jpg", 0) in faces
    assert len(faces) == 5


def test_initials_separate_the_splits(root: Path) -> None:
    names = read_identity_names(root / "vox1_meta.csv")
    held_out = build_training_lists(root / "fbank", root / "faces", names, HELD_OUT_INITIALS)
    assert held_out.identities == ("Ada_Two",)
    assert [is_in_split(name, TRAINING_INITIALS) for name in ("Fay", "Eva", "fay", "")] == [
        True,
        False,
        False,
        False,
    ]
    assert not set(TRAINING_INITIALS) & set(HELD_OUT_INITIALS)
    images = build_training_lists(root / "fbank", root / "faces", names, face_suffixes=(".png",))
    assert images.identities == ("Zoe",)


def test_missing_folders_and_empty_splits_are_reported(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        build_training_lists(root / "nowhere", root / "faces", {})
    with pytest.raises(DataError, match="first letter in Q"):
        build_training_lists(root / "fbank", root / "faces", {}, "Q")
    (root / "vox1_meta.csv").write_text("a,b\n1,2\n")
    with pytest.raises(IdentityError, match=r"vox1_meta\.csv"):
        read_identity_names(root / "vox1_meta.csv")
