"""`cmpc2 COMMAND ...`, the same as `python -m cmpc2.COMMAND ...`."""

from collections.abc import Sequence

from voiceface.cli import dispatch

COMMANDS: dict[str, tuple[str, str]] = {}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("cmpc2", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
