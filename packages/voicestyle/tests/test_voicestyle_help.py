"""Help of the commands imports no heavy modules."""

import pytest
from voiceface.testing.commands import assert_light_help
from voicestyle.__main__ import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_light(command: str) -> None:
    assert_light_help("voicestyle", command)


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(command in said for command in COMMANDS)
