"""`archetype_agnostic COMMAND ...`, the same as `python -m archetype_agnostic COMMAND ...`."""

from collections.abc import Sequence

from voiceface.association.commands import association_commands
from voiceface.commandline.dispatch import Command, dispatch

from archetype_agnostic.system import SPEC

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, tuple[Command, str]] = {
    "train": ("archetype_agnostic.train", "train a model"),
    **association_commands(SPEC),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("archetype_agnostic", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
