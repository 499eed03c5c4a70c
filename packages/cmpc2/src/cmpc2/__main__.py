"""`cmpc2 COMMAND ...`, the same as `python -m cmpc2 COMMAND ...`."""

from collections.abc import Sequence

from voiceface.association.commands import association_commands
from voiceface.commandline.dispatch import Command, dispatch

from cmpc2.system import SPEC

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, tuple[Command, str]] = {
    "train": ("cmpc2.train", "train on videos, without identity labels"),
    **association_commands(SPEC),
    "test": ("cmpc2.test", "matching, verification and retrieval on trial lists"),
    "nearest": ("cmpc2.nearest", "training videos of the face prototypes nearest to a voice"),
    "features": ("cmpc2.features", "store log-mel features of utterances"),
    "export": ("cmpc2.export", "write model and memory in half precision, or both branches as ONNX files"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("cmpc2", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
