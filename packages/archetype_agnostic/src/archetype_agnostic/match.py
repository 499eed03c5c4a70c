"""Ranking: which pictures fit a voice, or which voices fit a picture.

`archetype_agnostic match voice.wav --among pictures/`
"""

from collections.abc import Sequence

from voiceface.association.retrieval import Answer, command, gallery_of, match

import archetype_agnostic

__all__ = ["Answer", "gallery_of", "main", "match"]


def main(argv: Sequence[str] | None = None) -> int:
    """`archetype_agnostic match`."""
    return command(
        "archetype_agnostic", lambda *given, **options: archetype_agnostic.load(*given, **options), argv
    )


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("archetype_agnostic.match", None))
