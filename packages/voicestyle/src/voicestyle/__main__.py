"""`voicestyle COMMAND ...`, the same as `python -m voicestyle.COMMAND ...`."""

from collections.abc import Sequence

from voiceface.cli import dispatch

COMMANDS: dict[str, tuple[str, str]] = {
    "train-stylegan": ("voicestyle.train_stylegan", "train a StyleGAN2 on pictures or on invented faces"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("voicestyle", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
