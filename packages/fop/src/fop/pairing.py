"""Pairs of voices and faces, and their order in training: functions of seed and epoch."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PairRows",
    "Pairing",
    "batches_per_epoch",
    "epoch_pairs",
    "iterate_batches",
    "num_pairs",
    "require_aligned_rows",
]

Indices = NDArray[np.int64]
Pairing = Literal["random", "rows"]
PAIR_STREAM, ORDER_STREAM = 2, 3  # uses of a run's seed


class PairRows(NamedTuple):
    """Rows of P pairs in V views: voices (V, P), faces (V, P), int64; column i is one person."""

    voices: Indices
    faces: Indices


def num_pairs(voice_identities: Indices, face_identities: Indices, pairing: Pairing) -> int:
    """Pairs of an epoch: one per row (`rows`), or of each person the larger number of rows (`random`)."""
    if pairing == "rows":
        return len(voice_identities)
    count = 1 + max(voice_identities.max(initial=-1), face_identities.max(initial=-1))
    counts = [np.bincount(rows, minlength=count) for rows in (voice_identities, face_identities)]
    return int(np.where(np.minimum(*counts) > 0, np.maximum(*counts), 0).sum())


def require_aligned_rows(voice_identities: Indices, face_identities: Indices) -> None:
    """Check that row i of the voices and row i of the faces are one person.

    Raises:
        ValueError: different numbers of rows, or another person; names the first row, from 1.
    """
    if len(voice_identities) != len(face_identities):
        raise ValueError(
            f"data.pairing=rows: {len(voice_identities)} voices and {len(face_identities)} faces, expected "
            "one face for each voice, in the same order; or set data.pairing=random"
        )
    wrong = np.flatnonzero(voice_identities != face_identities)
    if len(wrong):
        raise ValueError(
            f"data.pairing=rows: row {wrong[0] + 1} of the voices and of the faces are different people "
            f"({len(wrong)} such rows), expected one person; or set data.pairing=random"
        )


def epoch_pairs(
    voice_identities: Indices,
    face_identities: Indices,
    pairing: Pairing,
    seed: int,
    epoch: int,
    *,
    views: int = 1,
) -> PairRows:
    """Pair the rows of an epoch and shuffle the pairs.

    With `random`, the rows of a person are shuffled in both modalities and joined one by one; the modality
    with fewer rows starts again from its first until the other is through. Every row occurs once at least.
    People without a voice or without a face are left out.

    Args:
        voice_identities: identity of every voice, (N,), 0 or more.
        face_identities: identity of every face, (M,).
        pairing: `random`, or `rows`: row i of both.
        seed: of the run.
        epoch: from 0; every epoch has its own pairs and order.
        views: rows of each pair; further ones are the next voice and the next face of the person in its
            shuffled order, other ones if there are any.

    Returns:
        `num_pairs` pairs.
    """
    shuffled = np.random.default_rng([seed, ORDER_STREAM, epoch]).permutation(
        num_pairs(voice_identities, face_identities, pairing)
    )
    if pairing == "rows" and views == 1:
        return PairRows(shuffled[None], shuffled[None])
    rng = np.random.default_rng([seed, PAIR_STREAM, epoch])
    people = 1 + max(voice_identities.max(initial=-1), face_identities.max(initial=-1))
    counts = [np.bincount(rows, minlength=people) for rows in (voice_identities, face_identities)]
    orders = [np.lexsort((rng.random(len(rows)), rows)) for rows in (voice_identities, face_identities)]
    if pairing == "rows":
        orders[1] = orders[0]
    size = np.where(np.minimum(*counts) > 0, np.maximum(*counts), 0)
    person = np.repeat(np.arange(people), size)
    place = np.arange(len(person)) - np.repeat(np.cumsum(size) - size, size) + np.arange(views)[:, None]
    voices, faces = (
        order[(np.cumsum(count) - count)[person] + place % np.maximum(count[person], 1)]
        for order, count in zip(orders, counts)
    )
    return PairRows(voices[:, shuffled], faces[:, shuffled])


def batches_per_epoch(pairs: int, batch_size: int, keep_last: bool) -> int:
    """Batches of an epoch; an incomplete one needs two rows, for batch normalisation.

    Raises:
        ValueError: not one batch.
    """
    full, rest = divmod(pairs, batch_size)
    count = full + int(keep_last and rest >= 2)
    if not count:
        raise ValueError(
            f"{pairs} training pairs do not fill one batch of {batch_size}; set training.batch_size lower"
            + ("" if keep_last else ", or training.last_batch=keep")
        )
    return count


def iterate_batches(
    voice_identities: Indices,
    face_identities: Indices,
    batch_size: int,
    *,
    pairing: Pairing,
    seed: int,
    start_step: int,
    max_steps: int,
    keep_last: bool = True,
    one_order: bool = False,
    views: int = 1,
) -> Iterator[PairRows]:
    """Yield the rows of batches `start_step` to ``max_steps - 1``; batch t does not depend on `start_step`.

    Args:
        voice_identities, face_identities, pairing, seed: see `epoch_pairs`.
        batch_size: rows of a batch: pairs times views.
        start_step: first batch.
        max_steps: batches of the whole run.
        keep_last: use an incomplete last batch of two rows or more.
        one_order: all epochs have the pairs and the order of the first, as published.
        views: see `epoch_pairs`.
    """
    size = batch_size // views
    per_epoch = batches_per_epoch(num_pairs(voice_identities, face_identities, pairing), size, keep_last)
    pairs, current = None, -1
    for step in range(start_step, max_steps):
        epoch, place = divmod(step, per_epoch)
        epoch = 0 if one_order else epoch
        if pairs is None or epoch != current:
            pairs = epoch_pairs(voice_identities, face_identities, pairing, seed, epoch, views=views)
            current = epoch
        chosen = slice(place * size, (place + 1) * size)
        yield PairRows(pairs.voices[:, chosen], pairs.faces[:, chosen])
