"""Command line of sf2f: `sf2f COMMAND ...`, the same as `python -m sf2f.COMMAND ...`."""

from collections.abc import Sequence

from voiceface.commandline.dispatch import dispatch

__all__ = [
    "COMMANDS",
    "main",
]

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("sf2f.train", "train a face generator (stage 1) or its window fuser (stage 2)"),
    "test": ("sf2f.test", "generate images of unseen identities, compute metrics and write a report"),
    "infer": ("sf2f.infer", "generate faces from recordings or stored features"),
    "export": ("sf2f.export", "export a model as one ONNX graph from samples to image"),
    "prepare": ("sf2f.prepare", "convert recordings to features in the layout that training reads"),
    "split": ("sf2f.split", "assign identities to train, val and test by the published rule"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("sf2f", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
