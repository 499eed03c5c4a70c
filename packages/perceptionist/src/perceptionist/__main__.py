"""`perceptionist COMMAND ...`, the same as `python -m perceptionist.COMMAND ...`."""

from collections.abc import Sequence

from voiceface.commandline.dispatch import dispatch

COMMANDS = {
    "train": ("perceptionist.train", "train the unsupervised cascade, the supervised head or the expert"),
    "test": ("perceptionist.test", "meshes from the recordings of unseen people"),
    "evaluate": ("perceptionist.evaluate", "errors of proportions and keypoints against true meshes"),
    "demo": ("perceptionist.demo", "picture, mesh and overlay from recordings or stored features"),
    "demo_mic": (
        "perceptionist.demo_mic",
        "the same from five seconds of the microphone, described in words",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("perceptionist", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
