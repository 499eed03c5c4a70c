"""`voicestyle COMMAND ...`, the same as `python -m voicestyle.COMMAND ...`."""

from collections.abc import Sequence

from voiceface.cli import dispatch

COMMANDS: dict[str, tuple[str, str]] = {
    "train-stylegan": ("voicestyle.train_stylegan", "train a StyleGAN2 on pictures or on invented faces"),
    "fid": ("voicestyle.fid", "Fréchet distance of a generator's pictures from real ones"),
    "ppl": ("voicestyle.ppl", "perceptual path length of a generator"),
    "factorise": ("voicestyle.factorise", "directions of the code space, and pictures along one of them"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("voicestyle", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
