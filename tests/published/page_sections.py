"""The sections of docs/reproducing.md: their commands, executed on the files of `page_inputs`."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from command_lines import BLOCK, REPO, CommandLine, find_command_lines, parse_command_line, resolve_command
from page_inputs import INPUTS
from page_runs import NAMED_KINDS, check_written, shorten
from voiceface.checkpoints.published_kinds import stated_digest_prefix

PAGE = REPO / "docs" / "reproducing.md"


def split_sections() -> dict[str, str]:
    """Text of every section of the page by its heading; "" for what stands before the first one."""
    first, *others = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    return {"": first} | {text.partition("\n")[0]: text for text in others}


def find_commands(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[CommandLine | str]:
    """Python blocks, then command lines of a section; those within sentences if nothing is missing in them.

    Args:
        text: of the section.
        folder: for a copy of the section.
        monkeypatch: for the parsers of the commands.
    """
    page = folder / "section.md"
    page.write_text(text, "utf-8")
    commands: list[CommandLine | str] = [body for kind, body in BLOCK.findall(text) if kind == "python"]
    for line in find_command_lines(page):
        if not line.is_complete:
            try:
                parse_command_line(CommandLine(line.page, line.words, True), monkeypatch)
            except ValueError:
                continue  # part of a sentence
        commands.append(line)
    return commands


def execute_section(
    section: str,
    population: Path,
    folder: Path,
    run: Callable[[str, list[str], Path], str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    full_size: bool,
) -> None:
    """Write the inputs of a section and execute its commands in their order.

    Args:
        section: heading.
        population: folder that the inputs are made from.
        folder: working directory, empty.
        run: module or script, its arguments, working directory -> output.
        monkeypatch: see `find_commands`.
        full_size: networks keep their published sizes.

    Raises:
        AssertionError: a command fails or writes nothing.
    """
    INPUTS[section](population, folder, full_size=full_size)
    for number, command in enumerate(find_commands(split_sections()[section], folder, monkeypatch)):
        if isinstance(command, str):
            script = folder / f"block_{number}.py"
            script.write_text(command)
            run(str(script), [], folder)
            continue
        words = shorten(command.words)
        target = resolve_command(words)
        assert target is not None, f"{command} starts no command"
        run(str(target[0]), target[1], folder)
        check_written(words, folder)


def check_published_files_are_named(
    section: str, folder: Path, capsys: pytest.CaptureFixture[str], kinds: Mapping[str, str] = NAMED_KINDS
) -> None:
    """`voiceface weights` names the kind and the readers of every published file in the folder of a section.

    Random weights cannot have the digest that a file name states: it is reported, and the file is named
    under another name.

    Raises:
        AssertionError: it does not, or the folder has no such file.
    """
    from voiceface.commands.weights import main

    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.p*"))}
    found |= {path.relative_to(folder).as_posix(): path for path in folder.glob("*.*") if path.is_file()}
    named = {name: path for name, path in found.items() if path.name in kinds and "runs" not in path.parts}
    assert named, f"no published files for {section}"
    for name, path in named.items():
        if stated_digest_prefix(path):
            assert main([str(path)]) == 1
            assert "its name states the digest" in capsys.readouterr().err
            path = path.rename(path.with_name(f"random_{path.stem.partition('-')[0]}.pth"))
        assert main([str(path)]) == 0, f"{name}: {capsys.readouterr().err}"
        shown = capsys.readouterr().out
        assert kinds[Path(name).name] in shown and "read by" in shown, f"{name}: {shown}"
