"""Embeddings in bulk: recordings and pictures to one table.

`seeking_shape embed FILES_OR_FOLDERS --out table.npz`; a stopped run goes on where it was.
"""

from collections.abc import Sequence

from voiceface.association.embedding import command, embed, find_files

import seeking_shape

__all__ = ["embed", "find_files", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """`seeking_shape embed`."""
    return command("seeking_shape", lambda *given, **options: seeking_shape.load(*given, **options), argv)


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("seeking_shape.embed", None))
