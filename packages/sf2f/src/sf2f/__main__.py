"""`sf2f COMMAND ...`, the same as `python -m sf2f.COMMAND ...`."""

from collections.abc import Sequence

from voiceface.commandline.dispatch import dispatch

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("sf2f.train", "train a generator of faces (stage 1) or the fuser of its windows (stage 2)"),
    "test": ("sf2f.test", "pictures of unseen people, figures, a report"),
    "infer": ("sf2f.infer", "faces from recordings or stored features"),
    "export": ("sf2f.export", "a model for other programs: one ONNX graph from samples to picture"),
    "prepare": ("sf2f.prepare", "recordings to features in the layout that training reads"),
    "split": ("sf2f.split", "who trains, validates and tests, by the published rule"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("sf2f", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
