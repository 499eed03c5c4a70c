"""Scores of impostor pairs of a trained model on the identities of a data folder."""

from typing import TYPE_CHECKING

from voiceface.metrics.impostor_scores import ImpostorScores, measure_impostor_scores, spread

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder
    from voiceface.datasets.corpus import Corpus

__all__ = ["measure_corpus"]


def measure_corpus(
    model: "Embedder", corpus: "Corpus", *, source: str, workers: int = 2, progress: bool = True
) -> ImpostorScores | None:
    """Measure the scores of impostor pairs of a model on identities of a data folder.

    Args:
        model: trained model.
        corpus: identities, none of them seen in training.
        source: stored with the distribution.
        workers: loading threads.
        progress: show progress bars.

    Raises:
        EmbeddingError: no file of a modality can be read.
    """
    sides = []
    for modality, label in (("v", "voices"), ("f", "faces")):
        files = [
            item for record in corpus.records for item in (record.voices if modality == "v" else record.faces)
        ]
        items = [files[row] for row in spread(len(files))]
        table = model.embed_items(
            modality, items, corpus, workers=workers, on_error="skip", label=label, progress=progress
        )
        sides.append((table.vectors, [corpus.get_identity_index(item) for item in table.items]))
    (voices, voice_ids), (faces, face_ids) = sides
    return measure_impostor_scores(voices, faces, voice_ids, face_ids, source=source)
