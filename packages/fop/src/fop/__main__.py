"""`fop COMMAND ...`, the same as `python -m fop COMMAND ...`."""

from collections.abc import Sequence

from voiceface.commandline.dispatch import Command, dispatch

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, tuple[Command, str]] = {}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("fop", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
