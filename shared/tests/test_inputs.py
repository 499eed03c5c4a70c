"""What is found among the files and folders that a program is given."""

from pathlib import Path

import pytest
from voiceface.io.atomic import write_text
from voiceface.io.input_files import (
    AUDIO_FILE_SUFFIXES,
    find_input_files,
    make_writable_directory,
    output_directory,
)


def touched(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_every_sound_at_any_depth_and_nothing_else(tmp_path: Path) -> None:
    names = [f"{'d/' * depth}voice{depth}{suffix}" for depth, suffix in enumerate(AUDIO_FILE_SUFFIXES)]
    names += ["LOUD.WAV", "b/notes.txt", "b/.hidden.wav", ".hidden/x.wav", "image.jpg"]
    touched(tmp_path, *names)
    found = find_input_files([tmp_path])
    assert {path.name for path, _ in found} == {
        Path(name).name for name in names[: len(AUDIO_FILE_SUFFIXES) + 1]
    }
    assert all(tmp_path / place == path.with_suffix("") for path, place in found)
    assert [path for path, _ in found] == sorted(path for path, _ in found)


def test_features_count_before_sounds_of_the_same_name(tmp_path: Path) -> None:
    touched(tmp_path, "a/x.wav", "a/x.npz", "a/x.npy", "a/y.wav")
    assert [path.name for path, _ in find_input_files([tmp_path], (".npz", ".npy"))] == ["x.npz", "y.wav"]
    assert [path.name for path, _ in find_input_files([tmp_path])] == ["x.wav", "y.wav"]
    with pytest.raises(ValueError, match=r"x.npy and .*x.npz would both be written as .*x"):
        find_input_files([tmp_path], (".npz", ".npy"), on_same_stem="refuse")


def test_files_are_named_by_themselves_and_clashes_refused(tmp_path: Path) -> None:
    touched(tmp_path, "a/x.wav", "b/x.wav", "b/y.txt")
    assert find_input_files([tmp_path / "a" / "x.wav"]) == [(tmp_path / "a" / "x.wav", Path("x"))]
    assert len(find_input_files([tmp_path])) == 2
    with pytest.raises(ValueError, match="would both be written as x"):
        find_input_files([tmp_path / "a" / "x.wav", tmp_path / "b" / "x.wav"])
    with pytest.raises(ValueError, match=r"suffix .txt, expected a recording .* empty file"):
        find_input_files([tmp_path / "b" / "y.txt"])
    with pytest.raises(FileNotFoundError, match="missing"):
        find_input_files([tmp_path / "missing"])
    with pytest.raises(FileNotFoundError, match="no recordings"):
        find_input_files([touched(tmp_path / "c", "z.txt")])


def test_a_folder_is_made_and_a_file_in_its_way_named(tmp_path: Path) -> None:
    made = make_writable_directory(tmp_path / "a" / "b")
    assert made.is_dir() and not list(made.iterdir())
    touched(tmp_path, "file")
    with pytest.raises(OSError, match=r"cannot write into .*file"):
        make_writable_directory(tmp_path / "file")


def test_a_file_that_cannot_be_written_is_named_not_its_temporary_one(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    for target in (tmp_path / f"{'n' * 250}.txt", tmp_path / "notes" / "a.txt"):
        with pytest.raises(OSError, match="could not write") as raised:
            write_text(target, "text")
        assert str(target) in str(raised.value) and ".part" not in str(raised.value)


@pytest.mark.parametrize("kept", [False, True])
def test_empty_output_folders_of_a_command_that_failed_go(tmp_path: Path, kept: bool) -> None:
    with pytest.raises(KeyError), output_directory(tmp_path / "a" / "b") as out:
        if kept:
            (out / "cache").touch()
        raise KeyError
    assert (tmp_path / "a" / "b").exists() == (tmp_path / "a").exists() == kept
    with pytest.raises(KeyError), output_directory(tmp_path):
        raise KeyError
    assert tmp_path.exists()
