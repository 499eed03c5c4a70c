"""`seeking_shape COMMAND ...`, the same as `python -m seeking_shape COMMAND ...`."""

from collections.abc import Sequence

from voiceface.association.commands import association_commands
from voiceface.commandline.dispatch import Command, dispatch

from seeking_shape.system import SPEC

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, tuple[Command, str]] = {
    "train": (
        "seeking_shape.train",
        "train a model: identity weights first (reweight), then the model itself (main)",
    ),
    "extract_id_weight": (
        "seeking_shape.extract_id_weight",
        "extract the identity weights of a re-weighting run",
    ),
    **association_commands(SPEC),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("seeking_shape", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
