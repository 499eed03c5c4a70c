"""The command `voiceface`, also `python -m voiceface`."""

from collections.abc import Sequence

from voiceface.commandline.dispatch import dispatch

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "demo": (
        "voiceface.suite.demo",
        "run all installed systems on the same synthetic identities, and write one page",
    ),
    "serve": ("voiceface.studio.serve", "all systems in the browser, with a microphone, and an HTTP API"),
    "report": ("voiceface.suite.report", "the same page for your own recordings and images"),
    "population": (
        "voiceface.commands.population",
        "generate synthetic identities: voices, faces, meshes and their ground truth",
    ),
    "prepare": ("voiceface.commands.prepare", "make a dataset from your own videos of people who speak"),
    "avspeech": (
        "voiceface.commands.avspeech",
        "build a dataset from the AVSpeech table and your own videos",
    ),
    "pack": ("voiceface.commands.pack", "write a dataset as shards: tar archives with an index"),
    "check": ("voiceface.commands.check", "validate a dataset before training"),
    "encode": ("voiceface.commands.encode", "write the features of files by a frozen encoder"),
    "encoders": (
        "voiceface.commands.encoders",
        "list the frozen encoders: what is installed, what is missing and how to get it",
    ),
    "gallery": (
        "voiceface.commands.gallery",
        "keep embeddings in a gallery of any size, and search it",
    ),
    "lists": ("voiceface.commands.lists", "generate trial lists, or show the contents of lists"),
    "evaluate": ("voiceface.commands.evaluate", "compute metrics from embeddings and trial lists"),
    "compare": (
        "voiceface.commands.compare",
        "compare systems on the same identities and trial lists, with paired tests",
    ),
    "weights": ("voiceface.commands.weights", "show the contents of a checkpoint and verify its integrity"),
    "faces": ("voiceface.commands.faces", "find, check and cut out the faces of your own pictures"),
    "models": (
        "voiceface.commands.models",
        "fetch, list or remove the networks trained on real people (voiceface.real)",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `voiceface` command; the exit code is the command's."""
    return dispatch("voiceface", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
