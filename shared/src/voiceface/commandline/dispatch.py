"""Programs with subcommands, each of which is imported only when it runs."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence

from voiceface.commandline.console import (
    DASH_HINT,
    clean_console,
    has_dashed_word,
    protect_dashed_files,
)
from voiceface.commandline.exit_status import INVALID_COMMAND_LINE
from voiceface.io.file_kinds import printable_lines

__all__ = ["Command", "dispatch", "run_main"]

Command = str | Callable[[Sequence[str] | None], int]
"""Module with a function `main(argv)`, or such a function."""


def dispatch(
    program: str, commands: Mapping[str, tuple[Command, str]], argv: Sequence[str] | None = None
) -> int:
    """Run the subcommand that the command line names.

    Args:
        program: name of the program, for its help.
        commands: name -> (command, one line of help).
        argv: arguments without the program's name (default: those of the process).

    Returns:
        Exit status: 0 results were made, 1 error or no results, 2 invalid command line, 3 some results could
        not be computed and the others were written, 130 stopped by Ctrl-C
        (`voiceface.commandline.exit_status`).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_help(program, commands))
        return 0 if words else 2
    if words[0] == "--version":
        print(f"{program} {importlib.import_module(program).__version__}")
        return 0
    if words[0] not in commands:
        print(f"{program}: no command '{words[0]}'\n\n{_help(program, commands)}", file=sys.stderr)
        return 2
    command, _ = commands[words[0]]
    return run_main(command, words[1:])


def run_main(command: Command, argv: Sequence[str] | None) -> int:
    """Run a command; invalid input or a missing extra gives one line on standard error, no traceback.

    Files whose names begin with a dash are taken as files; an empty word, as an unset variable of the shell
    leaves it, is refused, because as a file name it would be the current folder. Logging, warnings and output
    are those of `voiceface.commandline.console.clean_console`.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    if "" in given:
        print(f"error: {_describe_empty_word(given)}", file=sys.stderr)
        return INVALID_COMMAND_LINE
    words = protect_dashed_files(given)
    with clean_console():
        try:
            function = importlib.import_module(command).main if isinstance(command, str) else command
            return function(words) or 0
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return 130
        except SystemExit as stop:
            if stop.code == INVALID_COMMAND_LINE and has_dashed_word(words):
                print(f"hint: {DASH_HINT}", file=sys.stderr)
            raise
        except (ValueError, OSError, ModuleNotFoundError) as error:
            from voiceface.commandline.messages import name_options

            print(f"error: {printable_lines(name_options(_describe(error)))}", file=sys.stderr)
            return 1


def _describe_empty_word(words: Sequence[str]) -> str:
    """Text for a command line with an empty word."""
    place = words.index("")
    after = f" after {words[place - 1]}" if place else ""
    return (
        f"argument {place + 1} of the command{after} is empty, expected a name or value: is a variable of "
        "the shell unset? The current folder is '.'"
    )


def _describe(error: Exception) -> str:
    """Text of an error; those of the operating system without their number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


def _help(program: str, commands: Mapping[str, tuple[Command, str]]) -> str:
    """Help text with one line per command."""
    width = max(map(len, commands))
    rows = [f"  {name:<{width}}  {text}" for name, (_, text) in commands.items()]
    return "\n".join(
        [
            f"usage: {program} COMMAND ...",
            "",
            *rows,
            "",
            f"Run '{program} COMMAND --help' for the options of a command.",
        ]
    )
