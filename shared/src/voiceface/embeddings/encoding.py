"""Encode files in batches, each file once per model, with a cache that survives a kill."""

import hashlib
import logging
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
from voiceface.io.decoding_worker import decoding_in_workers, stop_decoding
from voiceface.io.file_facts import FileFacts
from voiceface.io.foreign_files import digest_file
from voiceface.io.packed_folders import stamp_of
from voiceface.runtime.progress import progress_bar

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["encode_files", "report_failures"]

log = logging.getLogger(__name__)


def encode_files(
    items: Sequence[str],
    resolve_path: Callable[[str], Path],
    load: Callable[[Any], npt.NDArray[Any]],
    encode: Callable[["Tensor"], "Tensor"],
    *,
    by_item: bool = False,
    fingerprint: str,
    cache_dir: str | Path | None = None,
    batch_size: int = 32,
    shard_size: int = 512,
    workers: int = 4,
    cache_key: str = "stat",
    on_error: str = "error",
    label: str = "encoding",
    progress: bool = True,
    log_failures: bool = True,
    facts: Mapping[str, FileFacts] | None = None,
) -> EmbeddingTable:
    """Encode every distinct item once, in batches; files are loaded ahead of the network.

    Sounds and pictures are decoded in worker processes (`voiceface.io.decoding_worker`): a file on which a
    library crashes fails like any other that cannot be read.

    Batches are formed from the list of items, not from the remaining ones, and a shard of the cache holds
    whole batches, so an interrupted run that is started again gives the same bytes as an uninterrupted one.

    Args:
        items: names; repeated ones are encoded once.
        resolve_path: file of an item, for instance `corpus.voice_path`.
        load: reads a file into an array, called in threads. Arrays of one shape form a batch.
        encode: batch (B, ...) on the CPU to embeddings (B, D); moves the batch to its device itself.
        by_item: `load` takes an item in place of its file, where several items are parts of one file.
        fingerprint: content hash of the model and its front end, see
            `voiceface.checkpoints.native.fingerprint`.
        cache_dir: folder of the shards; None disables the cache.
        batch_size: files per batch.
        shard_size: minimum number of files per shard, which bounds the loss when a run is killed; Ctrl-C and
            errors lose no finished batch.
        workers: loading threads, each with a decoding process; 0: one thread, which decodes in this process.
        cache_key: identity of a cached file: "stat" (item, size, modification time) or "content" (item and
            SHA-256 of its bytes).
        on_error: files that cannot be read: "error" encodes all others, then raises and names them; "skip"
            skips them, logs them and lists them in the table's `failed`.
        label: description of the progress bar.
        progress: show the bar (on a terminal).
        log_failures: log skipped files; False: the caller reports them.
        facts: item -> what is known about its file, filled by `load` while it reads. It is stored with the
            cached embeddings and becomes the table's `facts`.

    Returns:
        Table of the distinct items in order of first appearance.

    Raises:
        EmbeddingError: files failed and on_error is "error"; nothing could be encoded; widths differ.
    """
    if on_error not in ("error", "skip") or cache_key not in ("stat", "content"):
        raise ValueError(
            f"on_error must be error or skip and cache_key stat or content, found {on_error!r}, {cache_key!r}"
        )
    distinct = list(dict.fromkeys(items))
    if not distinct:
        raise EmbeddingError("no items to encode")
    folder = None if cache_dir is None else Path(cache_dir) / _cache_folder_name(fingerprint)
    failed: dict[str, str] = {}
    keys = _cache_keys(distinct, resolve_path, cache_key, failed)
    known, stored_facts = _read_shards(folder) if folder else ({}, {})
    done = {item: known[keys[item]] for item in distinct if keys.get(item) in known}
    batches = [distinct[start : start + batch_size] for start in range(0, len(distinct), batch_size)]
    todo = [[item for item in batch if item not in done and item not in failed] for batch in batches]
    fresh: dict[str, npt.NDArray[np.float32]] = {}
    read = load if by_item else lambda item: load(Path(resolve_path(item)))
    try:
        with (
            progress_bar(description=label, total=len(distinct), initial=len(done), enabled=progress) as bar,
            closing(_load_batches([batch for batch in todo if batch], read, workers)) as loaded,
        ):
            for batch, arrays in loaded:
                good = _encode_batch(batch, arrays, encode, failed)
                done |= good
                fresh |= {keys[item]: vector for item, vector in good.items()}
                bar.update(len(batch))
                if folder and len(fresh) >= shard_size:
                    _write_shard(folder, fresh, _select_facts(facts, keys, fresh))
                    fresh = {}
    finally:  # also after Ctrl-C: `fresh` has whole batches
        if folder and fresh:
            _write_shard(folder, fresh, _select_facts(facts, keys, fresh))
    report_failures(failed, len(distinct), on_error=on_error, log_failures=log_failures)
    kept = [item for item in distinct if item in done]
    if not kept:
        raise EmbeddingError(
            f"none of {len(distinct)} files could be encoded: {_summarise_failures(failed)}", failed
        )
    widths = {len(done[item]) for item in kept}
    if len(widths) > 1:
        raise EmbeddingError(
            f"embeddings differ in width: {sorted(widths)}; does the fingerprint name one model?"
        )
    known_facts = {item: stored_facts[keys[item]] for item in kept if keys[item] in stored_facts}
    known_facts |= {item: facts[item] for item in kept if item in facts} if facts else {}
    return EmbeddingTable(kept, np.stack([done[item] for item in kept]), fingerprint, failed, known_facts)


def report_failures(failed: dict[str, str], total: int, *, on_error: str, log_failures: bool) -> None:
    """Raise, or log what was skipped; options as in `encode_files`.

    Args:
        failed: items that could not be encoded -> reason.
        total: distinct items.

    Raises:
        EmbeddingError: files failed and `on_error` is "error".
    """
    if not failed:
        return
    if on_error == "error":
        text = f"{len(failed)} of {total} files could not be encoded ({_summarise_failures(failed)})"
        remedy = "repair them, or skip them (--missing skip, on_error='skip')"
        raise EmbeddingError(f"{text}; {remedy}", failed)
    if log_failures:
        for item, why in failed.items():
            log.warning("skipped %s: %s", item, why)
        log.warning("skipped %d of %d files that could not be encoded", len(failed), total)


def _summarise_failures(failed: dict[str, str]) -> str:
    """List the first five failures; most reasons name the file themselves."""
    shown = [why if item in why else f"{item}: {why}" for item, why in list(failed.items())[:5]]
    return "; ".join(shown)


def _cache_keys(
    items: Sequence[str], resolve_path: Callable[[str], Path], cache_key: str, failed: dict[str, str]
) -> dict[str, str]:
    """Cache key of every item whose file exists; the others go to `failed`."""
    keys = {}
    for item in items:
        path = Path(resolve_path(item))
        try:
            content = " ".join(map(str, stamp_of(path))) if cache_key == "stat" else digest_file(path)
        except (OSError, ValueError) as error:
            failed[item] = str(error)
            continue
        keys[item] = f"{content} {item}"
    return keys


def _load_batches(
    batches: Sequence[list[str]],
    load: Callable[[str], npt.NDArray[Any]],
    workers: int,
) -> Generator[tuple[list[str], list[npt.NDArray[Any] | str]], None, None]:
    """Yield batches with their arrays (or the text of an error), loaded two batches ahead."""

    def attempt(item: str) -> npt.NDArray[Any] | str:
        try:
            return np.asarray(load(item))
        except (ValueError, OSError) as error:
            return str(error) or type(error).__name__

    pool = ThreadPoolExecutor(max(1, workers))
    ahead: list[list[Future[npt.NDArray[Any] | str]]] = []
    with decoding_in_workers(workers):
        try:
            for number, batch in enumerate(batches):
                while len(ahead) < 3 and number + len(ahead) < len(batches):
                    ahead.append([pool.submit(attempt, item) for item in batches[number + len(ahead)]])
                yield batch, [future.result() for future in ahead.pop(0)]
        except BaseException:  # Ctrl-C must not wait for a file
            pool.shutdown(wait=False, cancel_futures=True)
            stop_decoding()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _encode_batch(
    batch: Sequence[str],
    arrays: Sequence[npt.NDArray[Any] | str],
    encode: Callable[["Tensor"], "Tensor"],
    failed: dict[str, str],
) -> dict[str, npt.NDArray[np.float32]]:
    """Embeddings of the loaded items, item -> (D,); failures are added to `failed`."""
    import torch

    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, array in enumerate(arrays):
        if isinstance(array, str):
            failed[batch[index]] = array
        else:
            groups.setdefault((array.shape, array.dtype.str), []).append(index)
    embeddings: dict[str, npt.NDArray[np.float32]] = {}
    for indices in groups.values():
        inputs = torch.from_numpy(np.stack([np.asarray(arrays[index]) for index in indices]))
        with torch.inference_mode():
            vectors = encode(inputs).float().cpu().numpy()
        if vectors.ndim != 2 or len(vectors) != len(indices):
            raise EmbeddingError(
                f"expected embeddings ({len(indices)}, D) of a batch, got shape {vectors.shape}"
            )
        for index, vector in zip(indices, vectors):
            if np.isfinite(vector).all():
                embeddings[batch[index]] = vector.copy()
            else:
                failed[batch[index]] = "its embedding holds NaN or infinity"
    return {item: embeddings[item] for item in batch if item in embeddings}


def _cache_folder_name(fingerprint: str) -> str:
    """Folder name of one model's shards: the fingerprint itself where it is a valid name."""
    if not fingerprint:
        raise ValueError("the cache needs the model's fingerprint, got an empty one")
    if re.fullmatch(r"[\w.-]{1,100}", fingerprint) and not fingerprint.startswith("."):
        return fingerprint
    return hashlib.sha256(fingerprint.encode()).hexdigest()


def _select_facts(
    facts: Mapping[str, FileFacts] | None, keys: Mapping[str, str], fresh: Mapping[str, object]
) -> dict[str, FileFacts]:
    """Records of freshly encoded items, by their cache keys."""
    return {keys[item]: each for item, each in list((facts or {}).items()) if keys.get(item) in fresh}


def _write_shard(
    folder: Path, vectors: dict[str, npt.NDArray[np.float32]], facts: Mapping[str, FileFacts]
) -> None:
    """Write one shard; its name depends on its keys only, so writing it twice changes nothing."""
    keys = list(vectors)
    text = "\n".join(keys).encode("utf-8", "backslashreplace")
    name = hashlib.sha256(text).hexdigest()[:24]
    table = EmbeddingTable(keys, np.stack(list(vectors.values())), folder.name, facts=facts)
    table.save(folder / f"shard-{name}.npz")


def _read_shards(folder: Path) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, FileFacts]]:
    """Vectors and records cached for one model; shards that cannot be read are set aside with a warning."""
    known: dict[str, npt.NDArray[np.float32]] = {}
    facts: dict[str, FileFacts] = {}
    for path in sorted(folder.glob("shard-*.npz")):
        try:
            table = EmbeddingTable.load(path)
        except EmbeddingError as error:
            log.warning("ignored a corrupt shard of the cache: %s", error)
            continue
        known |= dict(zip(table.items, table.vectors))
        facts |= table.facts
    return known, facts
