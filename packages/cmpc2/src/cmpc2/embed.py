"""Embeddings in bulk: recordings and pictures to one table.

`cmpc2 embed FILES_OR_FOLDERS --out table.npz`; a stopped run goes on where it was.
"""

from collections.abc import Sequence

from voiceface.association.embedding import command, embed, find_files

import cmpc2

__all__ = ["embed", "find_files", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """`cmpc2 embed`."""
    return command("cmpc2", lambda *given, **options: cmpc2.load_embedder(*given, **options), argv)


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("cmpc2.embed", None))
