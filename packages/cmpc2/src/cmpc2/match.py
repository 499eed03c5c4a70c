"""Ranking: which pictures fit a voice, or which voices fit a picture.

`cmpc2 match voice.wav --gallery pictures/`
"""

from collections.abc import Sequence

from voiceface.association.retrieval import RankedCandidate, build_gallery, command, rank_gallery

import cmpc2

__all__ = ["RankedCandidate", "build_gallery", "main", "rank_gallery"]


def main(argv: Sequence[str] | None = None) -> int:
    """`cmpc2 match`."""
    return command("cmpc2", lambda *given, **options: cmpc2.load_embedder(*given, **options), argv)


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("cmpc2.match", None))
