"""`perceptionist COMMAND ...`, the same as `python -m perceptionist.COMMAND ...`."""

from collections.abc import Sequence

from voiceface.commandline.dispatch import dispatch

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "train": ("perceptionist.train", "train the unsupervised cascade, the supervised head or the expert"),
    "test": ("perceptionist.test", "generate meshes from the recordings of unseen identities"),
    "evaluate": ("perceptionist.evaluate", "compute errors of proportions and keypoints against true meshes"),
    "export": ("perceptionist.export", "export voice to coefficients, mesh and expert as ONNX files"),
    "overlay": ("perceptionist.overlay", "draw the mesh of a face over its photograph"),
    "face-model": (
        "perceptionist.face_model",
        "write the population's head as an open face model",
    ),
    "demo": ("perceptionist.demo", "generate image, mesh and overlay from recordings or stored features"),
    "demo_mic": (
        "perceptionist.demo_mic",
        "record five seconds of a voice, generate its mesh and describe it",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("perceptionist", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
