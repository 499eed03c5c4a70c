"""`seeking_shape COMMAND ...`, the same as `python -m seeking_shape.COMMAND ...`."""

from collections.abc import Sequence

from voiceface.commandline.dispatch import dispatch

COMMANDS = {
    "train": (
        "seeking_shape.train",
        "train a model: identity weights first (reweight), then the model itself (main)",
    ),
    "extract_id_weight": (
        "seeking_shape.extract_id_weight",
        "take the identity weights from a re-weighting run",
    ),
    "test": ("seeking_shape.test", "matching, verification and retrieval on evaluation lists"),
    "embed": ("seeking_shape.embed", "embeddings of many recordings and pictures as one table"),
    "match": ("seeking_shape.match", "rank pictures for a voice, or voices for a picture"),
    "demo": ("seeking_shape.demo", "the whole method on synthetic identities, ending in a report"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("seeking_shape", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
