"""Rank a stored gallery for voices or images: `match --gallery PATH_OR_URL`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.association.embedding import embed, find_files
from voiceface.association.retrieval import RankedCandidate
from voiceface.gallery.places import is_gallery, open_gallery
from voiceface.io.file_facts import FileFacts
from voiceface.io.file_kinds import printable
from voiceface.io.own_files import LeftOut

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder
    from voiceface.gallery.interface import Found, Gallery, Modality
    from voiceface.metrics.impostor_scores import ImpostorScores

__all__ = ["find_stored_gallery", "rank_stored_gallery"]


def find_stored_gallery(paths: Sequence[Path]) -> Path | None:
    """The stored gallery among the values of --gallery; None: files and folders.

    Raises:
        ValueError: a stored gallery beside other values.
    """
    stored = [path for path in paths if is_gallery(path)]
    if stored and len(paths) > 1:
        raise ValueError(
            f"--gallery: {printable(stored[0])} is a stored gallery, and was given with others: give it alone"
        )
    return stored[0] if stored else None


def rank_stored_gallery(
    model: "Embedder",
    queries: Sequence[Path],
    gallery: "Gallery | str | Path",
    *,
    top: int,
    workers: int = 2,
    left_out: list[LeftOut] | None = None,
    facts: dict[str, FileFacts] | None = None,
) -> tuple[dict[Path, list[RankedCandidate]], dict[str, str], int]:
    """Rank the items of a stored gallery for every query.

    Args:
        model: trained model, the one that made the gallery.
        queries: utterances or images, all of one modality.
        gallery: the gallery, or its folder or address. It is opened before a file is read.
        top: number of candidates for each query.
        workers: loading threads.
        left_out: receives files of folders that are neither recordings nor pictures; None: they are logged.
        facts: receives what is known about the queries, by their names in the rankings.

    Returns:
        (query -> the best candidates, unreadable query -> reason, number of items in the gallery).

    Raises:
        ValueError: mixed queries, or the gallery was made by another model, is empty, or of the modality of
            the queries.
    """
    if isinstance(gallery, str | Path):
        with open_gallery(gallery) as opened:
            return rank_stored_gallery(
                model, queries, opened, top=top, workers=workers, left_out=left_out, facts=facts
            )
    voices, faces = find_files(queries, left_out)
    if voices and faces:
        raise ValueError("found utterances and images among the queries: give queries of one modality")
    modality: Modality = "face" if voices else "voice"
    gallery.require_model(model.comparable_fingerprints(), dimension=model.embedding_dim, modality=modality)
    if not len(gallery):
        raise ValueError(f"{gallery.place} is empty: nothing to rank")
    table = embed(model, voices, faces, workers=workers)
    if facts is not None:
        facts.update(table.facts)
    results = gallery.search(table.vectors, top)
    rankings = {
        Path(query): [_to_candidate(each, model.impostor_scores) for each in found]
        for query, found in zip(table.items, results)
    }
    return rankings, table.failed, len(gallery)


def _to_candidate(found: "Found", known: "ImpostorScores | None") -> RankedCandidate:
    from voiceface.gallery.tables import read_facts, read_files

    # Of a folder the mean of the cosines with its files is compared, as impostor pairs are single files.
    mean = found.score * float(found.metadata.get("resultant", 1))
    return RankedCandidate(
        found.item,
        found.score,
        read_files(found.item, found.metadata),
        None if known is None else float(known.percentiles([mean])[0]),
        read_facts(found.metadata),
    )
