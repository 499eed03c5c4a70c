"""Ranking: which pictures fit a voice, or which voices fit a picture.

`archetype_agnostic match voice.wav --gallery pictures/`
"""

from collections.abc import Sequence

from voiceface.association.retrieval import RankedCandidate, build_gallery, command, rank_gallery

import archetype_agnostic

__all__ = ["RankedCandidate", "build_gallery", "main", "rank_gallery"]


def main(argv: Sequence[str] | None = None) -> int:
    """`archetype_agnostic match`."""
    return command(
        "archetype_agnostic", lambda *given, **options: archetype_agnostic.load(*given, **options), argv
    )


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("archetype_agnostic.match", None))
