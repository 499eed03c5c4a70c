"""docs/reproducing.md: every command is executed, here those of the association systems."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_lines import parse_command_line
from page_inputs import ASSOCIATION_SECTIONS, INPUTS
from page_runs import check_written, shorten
from page_sections import check_published_files_are_named, execute_section, find_commands, split_sections


@pytest.mark.parametrize("section", ASSOCIATION_SECTIONS)
def test_every_command_of_a_section_does_its_work(
    section: str,
    population: Path,
    full_size: bool,
    working_folder: Path,
    launch: Callable[[str, list[str], Path], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    execute_section(section, population, working_folder, launch, monkeypatch, full_size=full_size)
    check_published_files_are_named(section, working_folder, capsys)


def test_every_section_with_commands_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name for name, text in split_sections().items() if find_commands(text, tmp_path, monkeypatch)}
    assert found == set(INPUTS)


def test_commands_within_sentences_are_found_if_nothing_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Then `seeking_shape test --data D --out O`, not `seeking_shape test --tie-breaking first`.\n\n"
    text += "    seeking_shape test --data D --out P\n\n```python\nprint(1)\n```\n"
    block, first, second = find_commands(text, tmp_path, monkeypatch)
    assert block == "print(1)\n"
    assert not isinstance(first, str) and first.words[-1] == "P"
    assert not isinstance(second, str) and second.words[-1] == "O"
    assert parse_command_line(second, monkeypatch) is not None


def test_a_command_that_writes_nothing_is_found(tmp_path: Path) -> None:
    words = ["sf2f", "test", "--out", "results"]
    (tmp_path / "results").mkdir()
    with pytest.raises(AssertionError, match=r"results holds no results\.json"):
        check_written(words, tmp_path)
    (tmp_path / "results" / "results.json").touch()
    check_written(words, tmp_path)


def test_lines_are_shortened_at_their_ends() -> None:
    line = ["seeking_shape", "train", "--device", "cuda"]
    assert shorten(line)[:4] == ["seeking_shape", "train", "--device", "cpu"]
    assert all("=" in word for word in shorten(line)[4:]) and "training.max_steps=2" in shorten(line)
    assert shorten(["voiceface", "check", "VOX1"]) == ["voiceface", "check", "VOX1"]
