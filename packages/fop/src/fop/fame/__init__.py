"""FAME challenges: face-voice association across languages, on MAV-Celeb (docs/fop.md)."""

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """`fop fame`."""
    from fop.fame.commands import run_command

    return run_command(argv)
