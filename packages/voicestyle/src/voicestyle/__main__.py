"""`voicestyle COMMAND ...`, the same as `python -m voicestyle.COMMAND ...`."""

from collections.abc import Sequence

from voiceface.commandline.dispatch import dispatch

COMMANDS: dict[str, tuple[str, str]] = {
    "generate": ("voicestyle.generate", "faces of voices, by the faces of a bank"),
    "invert": ("voicestyle.invert", "codes whose pictures look like given ones"),
    "train": ("voicestyle.train", "train CMPC and StyleGAN2, all that generation needs"),
    "test": ("voicestyle.test", "faces of unseen people, and how near they come"),
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
