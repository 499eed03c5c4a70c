"""Embeddings that the processes of a training run compute together, each a share of the files."""

from collections.abc import Callable, Sequence

import numpy as np

from voiceface.embeddings.encoding import report_failures
from voiceface.embeddings.parts import merge_parts
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
from voiceface.runtime import distributed

__all__ = ["embed_in_shares", "own_share"]


def own_share(count: int, batch_size: int) -> slice:
    """Rows of this process: whole batches, consecutive, their numbers equal up to one.

    Args:
        count: rows of all processes.
        batch_size: rows of a batch; batches are those of a single process.
    """
    batches = -(-count // batch_size)
    first, end = (
        batches * index // distributed.world_size() * batch_size
        for index in (distributed.rank(), distributed.rank() + 1)
    )
    return slice(min(first, count), min(end, count))


def embed_in_shares(
    embed: Callable[..., EmbeddingTable], items: Sequence[str], batch_size: int, *, on_error: str = "error"
) -> EmbeddingTable:
    """Embed items, each process the batches of its share; every process returns the whole table.

    The table is that of one process, bit for bit, with the same number of threads: batches are the same.

    Args:
        embed: embeds a list of items in batches, as `voiceface.embeddings.encoding.encode_files` does;
            called with the items, `on_error` and `log_failures`.
        items: names; repeated ones are embedded once.
        batch_size: of `embed`.
        on_error: "error" raises for files that cannot be read, "skip" logs them.

    Raises:
        EmbeddingError: on every process: files failed on one and `on_error` is "error", or nothing could be
            embedded.
    """
    if distributed.world_size() == 1:
        return embed(items, on_error=on_error, log_failures=True)
    distinct = list(dict.fromkeys(items))
    own = distinct[own_share(len(distinct), batch_size)]
    found: EmbeddingTable | Exception = EmbeddingTable([], np.empty((0, 0), np.float32))
    try:
        if own:
            found = embed(own, on_error="skip", log_failures=False)
    except EmbeddingError as error:
        failed = error.failures
        found = EmbeddingTable([], np.empty((0, 0), np.float32), failed=failed) if failed else error
    except Exception as error:  # the others wait for this process: they have to know
        found = error
    parts: list[EmbeddingTable] = []
    for each in distributed.all_gather_objects(found):
        if isinstance(each, Exception):
            raise each
        parts.append(each)
    table = merge_parts(parts)
    report_failures(table.failed, len(distinct), on_error=on_error, log_failures=distributed.rank() == 0)
    return table
