"""The command `voiceface`, also `python -m voiceface`."""

from collections.abc import Sequence

from voiceface.commandline.dispatch import dispatch

COMMANDS = {
    "demo": ("voiceface.suite.demo", "all installed systems on the same synthetic identities, one page"),
    "report": ("voiceface.suite.report", "the same page for recordings and pictures of your own"),
    "population": (
        "voiceface.commands.population",
        "generate synthetic identities: voices, faces, meshes and their ground truth",
    ),
    "avspeech": ("voiceface.commands.avspeech", "make a corpus from AVSpeech's table and your own videos"),
    "check": ("voiceface.commands.check", "validate a dataset before training"),
    "lists": ("voiceface.commands.lists", "draw evaluation lists, or describe one"),
    "evaluate": ("voiceface.commands.evaluate", "figures from embeddings and evaluation lists"),
    "compare": ("voiceface.commands.compare", "several systems on the same people and lists"),
    "weights": ("voiceface.commands.weights", "show the contents of a checkpoint and verify its integrity"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `voiceface` command; the exit code is the command's."""
    return dispatch("voiceface", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
