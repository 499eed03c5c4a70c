"""`archetype_agnostic COMMAND ...`, the same as `python -m archetype_agnostic.COMMAND ...`."""

from collections.abc import Sequence

from voiceface.commandline.dispatch import dispatch

COMMANDS = {
    "train": ("archetype_agnostic.train", "train a model"),
    "test": ("archetype_agnostic.test", "matching, verification and retrieval on evaluation lists"),
    "embed": ("archetype_agnostic.embed", "embeddings of many recordings and pictures as one table"),
    "match": ("archetype_agnostic.match", "rank pictures for a voice, or voices for a picture"),
    "demo": ("archetype_agnostic.demo", "the whole method on synthetic identities, ending in a report"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("archetype_agnostic", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
