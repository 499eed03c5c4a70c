"""Embeddings in bulk: recordings and pictures to one table.

`archetype_agnostic embed FILES_OR_FOLDERS --out table.npz`; a stopped run goes on where it was.
"""

from collections.abc import Sequence

from voiceface.association.embedding import command, embed, find_files

import archetype_agnostic

__all__ = ["embed", "find_files", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """`archetype_agnostic embed`."""
    return command(
        "archetype_agnostic", lambda *given, **options: archetype_agnostic.load(*given, **options), argv
    )


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("archetype_agnostic.embed", None))
