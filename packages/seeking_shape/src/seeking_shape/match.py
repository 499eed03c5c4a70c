"""Ranking: which pictures fit a voice, or which voices fit a picture.

`seeking_shape match voice.wav --gallery pictures/`
"""

from collections.abc import Sequence

from voiceface.association.retrieval import RankedCandidate, build_gallery, command, rank_gallery

import seeking_shape

__all__ = ["RankedCandidate", "build_gallery", "main", "rank_gallery"]


def main(argv: Sequence[str] | None = None) -> int:
    """`seeking_shape match`."""
    return command("seeking_shape", lambda *given, **options: seeking_shape.load(*given, **options), argv)


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("seeking_shape.match", None))
