"""Rank stored galleries of `voiceface gallery` for the recordings of a report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceface.gallery.places import open_gallery
from voiceface.gallery.tables import read_facts, read_files
from voiceface.suite.inference import GalleryEntry, SystemOutputs, Utterance

if TYPE_CHECKING:
    from voiceface.gallery.interface import Found

__all__ = ["STORED_TOP", "rank_stored_galleries"]

STORED_TOP = 20
"""Candidates that are asked for each recording."""


def rank_stored_galleries(
    outputs: SystemOutputs,
    models: Mapping[str, Any],
    galleries: Mapping[str, Path],
    utterances: Sequence[Utterance],
) -> list[GalleryEntry]:
    """Search the gallery of every system for all utterances; scores other than the best are NaN.

    Args:
        outputs: receives scores, percentiles, facts, sizes of galleries and failures.
        models: loaded models by name.
        galleries: association system -> folder or address of its gallery.
        utterances: V utterances.

    Returns:
        The F candidates that some system found, to which the columns of `outputs.scores` belong.

    Raises:
        ValueError: a gallery was made by another model, is empty, or does not hold faces.
    """
    found = {
        name: _search(outputs, name, models[name], place, utterances) for name, place in galleries.items()
    }
    items: dict[str, Found] = {}
    for rows in found.values():
        for line in rows.values():
            for each in line:
                items.setdefault(each.item, each)
    columns = {item: column for column, item in enumerate(items)}
    for name, rows in found.items():
        scores = np.full((len(utterances), len(items)), np.nan)
        resultants = np.ones_like(scores)
        for row, line in rows.items():
            for each in line:
                scores[row, columns[each.item]] = each.score
                resultants[row, columns[each.item]] = float(each.metadata.get("resultant", 1))
        outputs.scores[name] = scores
        if (known := outputs.impostor_scores.get(name)) is not None:
            # Of several images the mean of their cosines is compared, as impostor pairs are single files.
            outputs.percentiles[name] = known.percentiles(scores * resultants)
    return [
        GalleryEntry(item, read_files(item, each.metadata), faces=(item,)) for item, each in items.items()
    ]


def _search(
    outputs: SystemOutputs, name: str, model: Any, place: Path, utterances: Sequence[Utterance]
) -> "dict[int, list[Found]]":
    """Best candidates of every utterance that the model can use, by its row."""
    from voiceface.association.embedding import embed
    from voiceface.embeddings.table import EmbeddingError

    outputs.record_system(name, model)
    with open_gallery(place) as gallery:
        gallery.require_model(model.comparable_fingerprints(), dimension=model.embedding_dim, modality="face")
        if not len(gallery):
            raise ValueError(f"{gallery.place} is empty: nothing to rank")
        outputs.gallery_sizes[name] = len(gallery)
        try:
            table = embed(model, [utterance.file for utterance in utterances], [])
        except EmbeddingError as error:
            if not error.failures:
                raise
            failed, results = error.failures, {}
        else:
            failed = table.failed
            best = dict(zip(table.items, gallery.search(table.vectors, STORED_TOP)))
            rows = {row: utterance.file.as_posix() for row, utterance in enumerate(utterances)}
            results = {row: best[item] for row, item in rows.items() if item in best}
            shown = {each.item: read_facts(each.metadata) for line in best.values() for each in line}
            faces = {item: known[0] for item, known in shown.items() if known}
            outputs.facts[name] = {**table.facts, **faces}
    for file, reason in failed.items():
        outputs.record_failure(file, name, reason)
    return results
