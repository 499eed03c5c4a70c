"""`cmpc2 COMMAND ...`, the same as `python -m cmpc2.COMMAND ...`."""

from collections.abc import Sequence

from voiceface.commandline.dispatch import dispatch

COMMANDS = {
    "train": ("cmpc2.train", "train on videos, without identity labels"),
    "test": ("cmpc2.test", "matching, verification and retrieval on evaluation lists"),
    "embed": ("cmpc2.embed", "embeddings of many recordings and pictures as one table"),
    "match": ("cmpc2.match", "rank pictures for a voice, or voices for a picture"),
    "nearest": ("cmpc2.nearest", "training videos of the face prototypes nearest to a voice"),
    "features": ("cmpc2.features", "store log-mel features of recordings"),
    "demo": ("cmpc2.demo", "the whole method on synthetic identities, ending in a report"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("cmpc2", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
