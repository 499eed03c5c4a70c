"""Checks of all trial lists of a protocol before the first metric is computed."""

from collections.abc import Sequence

from voiceface.datasets.corpus import Corpus
from voiceface.datasets.identities import Identity
from voiceface.datasets.trials.coverage import find_obstacle
from voiceface.datasets.trials.trial_list import TrialList, TrialListError, identity_indices
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable

__all__ = ["require_computable_lists"]


def require_computable_lists(
    lists: Sequence[TrialList],
    voices: EmbeddingTable,
    faces: EmbeddingTable,
    identity_source: Corpus | Sequence[Identity],
) -> None:
    """Check that all items of all lists have embeddings and identities, and that the metrics are defined.

    Args:
        lists: the trial lists.
        voices: embeddings of clips.
        faces: embeddings of images.
        identity_source: a corpus, or the rows of an identity table.

    Raises:
        EmbeddingError: items have no embedding; the message names the problems of all lists.
        TrialListError: items have no identity, or metrics are not defined; likewise.
    """
    without_embedding, others = [], []
    for trial_list in lists:
        try:
            voices.row_indices(trial_list.voices)
            faces.row_indices(trial_list.faces)
        except EmbeddingError as error:
            without_embedding.append(f"{trial_list.name}: {error}")
        try:
            for items in (trial_list.probes, trial_list.gallery):
                identity_indices(items, identity_source, trial_list.name)
            if reason := find_obstacle(trial_list, identity_source):
                others.append(f"{trial_list.name}: {reason}")
        except TrialListError as error:
            others.append(str(error))
    if without_embedding:
        raise EmbeddingError("; ".join([*without_embedding, *others]))
    if others:
        raise TrialListError("; ".join(others))
