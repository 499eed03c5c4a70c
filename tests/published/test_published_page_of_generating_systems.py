"""docs/reproducing.md: every command of sf2f, perceptionist and voicestyle is executed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from page_inputs import GENERATING_SECTIONS
from page_sections import check_published_files_are_named, execute_section


@pytest.mark.parametrize("section", GENERATING_SECTIONS)
def test_every_command_of_a_generating_system_does_its_work(
    section: str,
    population: Path,
    full_size: bool,
    working_folder: Path,
    launch: Callable[[str, list[str], Path], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if section == "voicestyle":
        pytest.importorskip("open_clip")  # of the extra `clip`, for --clip
    execute_section(section, population, working_folder, launch, monkeypatch, full_size=full_size)
    check_published_files_are_named(section, working_folder, capsys)
