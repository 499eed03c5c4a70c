"""`fop COMMAND ...`, the same as `python -m fop COMMAND ...`."""

from collections.abc import Sequence

from voiceface.association.commands import association_commands
from voiceface.commandline.dispatch import Command, dispatch

from fop.system import SPEC

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, tuple[Command, str]] = {
    "train": ("fop.train", "train a head on features of frozen encoders"),
    **association_commands(SPEC),
    "test": ("fop.test", "matching, verification and retrieval, on files or on features"),
    "probe": ("fop.probe", "what the encoders hear and see of the true factors of a population"),
    "speak": ("fop.speak", "say the voice that the population's rule gives to a face"),
    "fame": ("fop.fame", "the FAME challenges: train, score, check a submission, evaluate"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("fop", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
