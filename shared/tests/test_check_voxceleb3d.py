"""Checking a folder in the layout of Voxceleb-3D: parts, counts per split, wrong shapes, verdict."""

import json
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from voiceface.commands.check import main
from voiceface.datasets.layouts import is_voxceleb3d
from voiceface.datasets.validation.report import DatasetReport
from voiceface.datasets.validation.voxceleb3d import check_voxceleb3d

NAMES = {"id10001": "Ann_A", "id10002": "Bob_B", "id10309": "Eve_E", "id10400": "Fay_F", "id10401": "Gus_G"}
NUM_POINTS = 7


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def save_features(path: Path, frames: int = 1000, bands: int = 64) -> None:
    key = crc32(str(path).encode())
    save(path, np.random.default_rng(key).normal(size=(frames, bands)).astype(np.float32))


def save_picture(path: Path, side: int = 64) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(crc32(str(path).encode())).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def save_mesh(path: Path, num_points: int = NUM_POINTS, start: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{start}{i} {i * i} 0.5\n" for i in range(num_points)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two identities for training, two for validation, three for the test."""
    data = tmp_path / "VOX3D"
    rows = ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet"]
    rows += [f"{number}\t{name}\t{'mf'[name[0] in 'AEF']}\tUSA\tdev" for number, name in NAMES.items()]
    for number, name in NAMES.items():
        for clip in range(2):
            save_features(data / f"fbank/{number}/video/{clip:05d}.npy")
        if name[0] in "FG":
            save_picture(data / f"VGG_ALL_FRONTAL/{name}/00000001.jpg")
            continue
        folder = data / "A2E_val" / name
        save_picture(folder / "1.jpg", 120)
        save_picture(folder / "1_b.jpg", 120)
        save_mesh(folder / "1.xyz")
        save_mesh(folder / "1.obj", start="v ")
        save(folder / "1.npy", np.arange(228.0))
        if name != "Eve_E":
            save_features(data / f"val_sub/{name}/00001.npy")
            save_mesh(data / f"AtoE_sub/{name}/1.xyz")
    (data / "vox1_meta.csv").write_text("\n".join(rows) + "\n")
    return data


def check(root: Path, **options: bool) -> DatasetReport:
    return check_voxceleb3d(root, progress=False, **options)


def invalid(report: DatasetReport) -> dict[str, int]:
    return {part.name: part.invalid for part in report.parts if part.invalid}


def test_a_complete_folder_passes_with_its_counts_per_split(root: Path, tmp_path: Path, capsys) -> None:
    found = check(root, decode=True)
    assert found.trainable and not found.unreadable
    counts = {split: (c.identities, c.male, c.female, c.voices, c.faces) for split, c in found.splits.items()}
    assert counts == {"train": (2, 1, 1, 4, 2), "val": (2, 1, 1, 2, 0), "test": (3, 1, 2, 6, 3)}
    assert found.splits["train"].hours == pytest.approx(4 * 10 / 3600, abs=1e-4)
    assert {part.name.partition("/")[0] for part in found.parts if not part.present} == {
        "preprocessed_MFCC",
        "face_types",
    }
    assert all("53215" in warning for warning in found.warnings), "the meshes here are tiny"
    assert main([str(root), "--quiet", "--json", str(tmp_path / "out.json")]) == 0
    text = capsys.readouterr().out
    assert "layout     Voxceleb-3D" in text and "Training can start." in text
    assert "features float32 (frames, 64)" in text and "missing" in text
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["layout"] == "Voxceleb-3D" and written["parts"][0]["files"] == 10


def test_wrong_shapes_are_named_and_block_training_where_it_reads_them(root: Path, capsys) -> None:
    save(root / "fbank/id10400/video/00000.npy", np.zeros((64, 1000), np.float32))
    save(root / "fbank/id10001/video/00000.npy", np.zeros((1000, 40), np.float32))
    save(root / "val_sub/Ann_A/00001.npy", np.array([None]))
    save(root / "A2E_val/Ann_A/1.npy", np.zeros(62))
    (root / "A2E_val/Bob_B/1.xyz").write_text("1 2 3 4\n")
    (root / "A2E_val/Eve_E/1.obj").write_text("# nothing\n")
    (root / "VGG_ALL_FRONTAL/Gus_G/00000001.jpg").write_bytes(b"text")
    found = check(root)
    assert invalid(found) == {
        "fbank/<id>/<video>/*.npy": 2,
        "VGG_ALL_FRONTAL/<Name>/*.jpg": 1,
        "val_sub/<Name>/*.npy": 1,
        "A2E_val/<Name>/*.xyz": 1,
        "A2E_val/<Name>/*.obj": 1,
        "A2E_val/<Name>/*.npy": 1,
    }
    why = found.unreadable
    assert "expected numbers of shape (frames, 64); transpose it" in why["fbank/id10400/video/00000.npy"]
    assert "(1000, 40)" in why["fbank/id10001/video/00000.npy"]
    assert "199 shape and 29 expression" in why["A2E_val/Ann_A/1.npy"]
    assert "no .npy file of plain numbers" in why["val_sub/Ann_A/00001.npy"]
    assert "x y z" in why["A2E_val/Bob_B/1.xyz"]
    assert len(found.errors) == 1 and found.errors[0].startswith("3 files of training or validation")
    assert any(text.startswith("4 files that training does not use") for text in found.warnings)
    assert main([str(root), "--quiet"]) == 1
    assert "Training cannot start" in capsys.readouterr().out


def test_values_that_are_not_finite_are_found_by_decoding(root: Path) -> None:
    features = np.zeros((900, 64), np.float32)
    features[3, 4] = np.nan
    save(root / "fbank/id10400/video/00000.npy", features)
    (root / "AtoE_sub/Ann_A/1.xyz").write_text("1 2 3\n" * (NUM_POINTS - 1) + "1 2 nan\n")
    assert check(root).trainable
    found = check(root, decode=True)
    assert set(found.unreadable) == {"fbank/id10400/video/00000.npy", "AtoE_sub/Ann_A/1.xyz"}
    assert not found.trainable


def test_missing_parts_are_errors_or_warnings_with_a_remedy(root: Path) -> None:
    import shutil

    shutil.rmtree(root / "AtoE_sub")
    shutil.rmtree(root / "A2E_val")
    found = check(root)
    assert found.trainable and "val" not in found.splits
    assert any("AtoE_sub is missing" in t and "validation_interval=null" in t for t in found.warnings)
    assert any("A2E_val is missing" in text for text in found.warnings)
    shutil.rmtree(root / "VGG_ALL_FRONTAL")
    (root / "vox1_meta.csv").unlink()
    found = check(root)
    assert [text.partition(" ")[0] for text in found.errors] == [
        "vox1_meta.csv",
        "VGG_ALL_FRONTAL",
        "training",
    ]


def test_identities_with_one_side_alone_and_odd_names_are_listed(root: Path) -> None:
    save_features(root / "fbank/Hal_H/video/1.npy", 500)
    save_picture(root / "VGG_ALL_FRONTAL/Ida_I/1.jpg")
    save_features(root / "fbank/id19999/video/1.npy")
    save_features(root / "val_sub/Dan_D/1.npy")
    (root / "A2E_val/Ann_A/1_b.jpg").unlink()
    save_mesh(root / "AtoE_sub/Bob_B/1.xyz", NUM_POINTS + 1)
    found = check(root)
    assert (found.without_voices, found.without_faces) == (["Ida_I"], ["Hal_H"])
    assert found.unreferenced_folders == ["fbank/id19999"]
    assert found.splits["train"].identities == 2 and found.splits["val"].identities == 2
    text = "\n".join(found.warnings)
    assert "Dan_D" in text and "no *_b.jpg: Ann_A" in text and "fewer than 800 frames: fbank/Hal_H" in text
    assert any("8 points" in error or "8, 7" in error or "7, 8" in error for error in found.errors)


def test_identical_files_across_splits_are_reported(root: Path) -> None:
    source = root / "fbank/id10400/video/00000.npy"
    (root / "fbank/id10001/video/00000.npy").write_bytes(source.read_bytes())
    found = check(root)
    assert found.duplicates == [["fbank/id10001/video/00000.npy", "fbank/id10400/video/00000.npy"]]
    assert (found.duplicates_across_identities, found.duplicates_across_splits) == (1, 1)


def test_other_layouts_are_not_taken_for_it(root: Path, tmp_path: Path, capsys) -> None:
    assert is_voxceleb3d(root) and not is_voxceleb3d(tmp_path / "absent")
    assert main([str(root), "--quiet", "--acoustics"]) == 2
    assert "stored features" in capsys.readouterr().err
    (root / "wav").mkdir()
    assert not is_voxceleb3d(root)
