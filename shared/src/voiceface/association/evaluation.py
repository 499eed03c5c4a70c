"""Evaluation of any system: matching, verification and retrieval on lists, as metrics, files and a report."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from voiceface.association.embedder import Embedder
    from voiceface.association.system import SystemSpec
    from voiceface.datasets.corpus import Corpus
    from voiceface.datasets.trials.trial_list import TrialList
    from voiceface.embeddings.table import EmbeddingTable
    from voiceface.evaluation.all_pairs import AllPairsMetric
    from voiceface.evaluation.results import Results

__all__ = [
    "MAX_AVERAGED",
    "Evaluation",
    "compute_all_pairs",
    "embed_corpus",
    "evaluate",
    "read_identity_weights",
    "write_evaluation",
]

log = logging.getLogger(__name__)
MAX_AVERAGED = 4


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    Attributes:
        results: metrics of every list.
        voices: embeddings of the clips.
        faces: embeddings of the images.
        references: "gender-only baseline" and "oracle upper bound" under the same protocol (population only).
        all_pairs: "single" and "avg4" -> metrics over all pairs of identities (population only).
    """

    results: "Results"
    voices: "EmbeddingTable"
    faces: "EmbeddingTable"
    references: "dict[str, Results]" = field(default_factory=dict)
    all_pairs: "dict[str, dict[str, AllPairsMetric]]" = field(default_factory=dict)


def embed_corpus(
    model: "Embedder",
    corpus: "Corpus",
    lists: "Sequence[TrialList]" = (),
    *,
    cache: Path | None = None,
    workers: int = 2,
    on_error: str = "error",
) -> "tuple[EmbeddingTable, EmbeddingTable]":
    """Voice and face embeddings of all files of a corpus and of everything that lists name, each file once.

    Args:
        model: encoder.
        corpus: identities.
        lists: trial lists.
        cache: folder that keeps embeddings by model; None keeps none.
        workers: loading threads.
        on_error: unreadable files: "error" or "skip".
    """
    from voiceface.embeddings.encoding import encode_files

    named: dict[str, list[str]] = {"v": [], "f": []}
    for questions in lists:
        for side, items in zip(questions.direction.split("2"), (questions.probes, questions.gallery)):
            named[side] += items
    tables = []
    for side, items, label in (("v", corpus.voices, "voices"), ("f", corpus.faces, "faces")):
        load, encode, batch, place = model.modality_io(side, corpus)
        table = encode_files(
            [*items, *named[side]],
            place,
            load,
            encode,
            fingerprint=model.fingerprint,
            cache_dir=cache,
            batch_size=batch,
            workers=workers,
            on_error=on_error,
            label=label,
        )
        tables.append(table)
    return tables[0], tables[1]


def evaluate(
    model: "Embedder",
    corpus: "Corpus",
    lists: "Sequence[TrialList]",
    *,
    name: str = "lists",
    tie_breaking: str = "expected",
    cache: Path | None = None,
    workers: int = 2,
    on_error: str = "error",
    population: Path | None = None,
) -> Evaluation:
    """Encode every file once and compute all metrics.

    Args:
        model: encoder.
        corpus: the identities asked about; unseen in training, or the results are marked.
        lists: trial lists.
        name: of the protocol.
        tie_breaking: "expected" or "first".
        cache: see `embed_corpus`.
        workers: see `embed_corpus`.
        on_error: see `embed_corpus`.
        population: folder of the synthetic population the corpus belongs to, for upper bounds.
    """
    from voiceface.evaluation.evaluator import evaluate as figures_of
    from voiceface.evaluation.protocol import Protocol

    voices, faces = embed_corpus(model, corpus, lists, cache=cache, workers=workers, on_error=on_error)
    protocol = Protocol(name, tuple(lists), tie_breaking=tie_breaking)
    results = figures_of(
        protocol,
        voices,
        faces,
        corpus,
        on_missing=on_error,
        training_identities=model.identity_names or (),
        device=model.device,
    )
    if population is None:
        return Evaluation(results, voices, faces)
    from voiceface.synthetic.ground_truth import read_ground_truth, reference_embeddings

    truth = read_ground_truth(population)
    references = {
        label: figures_of(
            protocol, told_voices.take(voices.items), told_faces.take(faces.items), corpus, on_missing="skip"
        )
        for label, (told_voices, told_faces) in reference_embeddings(truth, corpus).items()
    }
    return Evaluation(
        results, voices, faces, references, compute_all_pairs(corpus, voices, faces, population)
    )


def compute_all_pairs(
    corpus: "Corpus", voices: "EmbeddingTable", faces: "EmbeddingTable", population: Path
) -> "dict[str, dict[str, AllPairsMetric]]":
    """Metrics over all pairs of identities: one clip and image each, and means over up to four."""
    import numpy as np

    from voiceface.evaluation.all_pairs import evaluate_all_pairs_averaged
    from voiceface.synthetic.ground_truth import read_ground_truth

    clips = [[path for path in person.voices if path in voices] for person in corpus.records]
    pictures = [[path for path in person.faces if path in faces] for person in corpus.records]
    # Unreadable files may have been skipped.
    used = [row for row, files in enumerate(zip(clips, pictures)) if all(files)]
    if len(used) < 3:
        log.warning("no metrics over all pairs: %d identities with clips and images, 3 are needed", len(used))
        return {}
    truth = read_ground_truth(population).select([corpus.records[row].identity.face_id for row in used])

    def stack(table: "EmbeddingTable", files: list[list[str]], count: int) -> "np.ndarray":
        return table.vectors[np.stack([table.row_indices(files[row][:count]) for row in used])]

    count = min(MAX_AVERAGED, *(len(files[row]) for row in used for files in (clips, pictures)))
    return evaluate_all_pairs_averaged(
        stack(voices, clips, count),
        stack(faces, pictures, count),
        truth.sex,
        sample_counts=[count] if count > 1 else [],
        oracle_scores=truth.oracle_scores,
    )


def read_identity_weights(spec: "SystemSpec", model: "Embedder") -> "np.ndarray | None":
    """Read the weights of the training identities, (C,), of a system that has them."""
    if spec.identity_weights is None:
        return None
    weights: np.ndarray = attrgetter(spec.identity_weights)(model.model).detach().cpu().numpy()
    return weights


def write_evaluation(
    out: Path,
    model: "Embedder",
    corpus: "Corpus",
    evaluation: Evaluation,
    *,
    system: str,
    title: str | None = None,
    subtitle: str = "Matching, verification and retrieval on unseen identities.",
    identity_weights: "np.ndarray | None" = None,
    runs: dict[str, Path] | None = None,
    commands: Sequence[str] = (),
    disclaimers: Sequence[str] = (),
    galleries: Sequence[Any] = (),
) -> Path:
    """Write results.json, results.txt (published form), embeddings, report.html; give the report's path.

    Args:
        out: folder to write into.
        model: what was evaluated.
        corpus: the identities asked about.
        evaluation: what was found.
        system: name of the system.
        title: of the report; None takes the system's name.
        subtitle: below it.
        identity_weights: shape (C,), for a histogram; skipped where all are equal.
        runs: training runs by name, for their curves.
        commands: how the report was made.
        disclaimers: further disclaimers, besides the model's own.
        galleries: queries with their answers.
    """
    from voiceface.io.atomic import write_json
    from voiceface.report.association_report import write_association_report
    from voiceface.runtime.config import to_yaml

    evaluation.results.save(out / "results.json")
    evaluation.results.save_text(out / "results.txt")
    evaluation.voices.save(out / "voices.npz")
    evaluation.faces.save(out / "faces.npz")
    if evaluation.all_pairs:
        from voiceface.evaluation.all_pairs import all_pairs_to_dict

        write_json(out / "all_pairs.json", all_pairs_to_dict(evaluation.all_pairs))
    weights = identity_weights
    return write_association_report(
        out / "report.html",
        {system: evaluation.results},
        corpus,
        (evaluation.voices, evaluation.faces),
        title=title or system,
        subtitle=subtitle,
        disclaimers=[text for text in dict.fromkeys([model.disclaimer, *disclaimers]) if text],
        references=evaluation.references,
        all_pairs=evaluation.all_pairs,
        logs=runs,
        identity_weights=weights if weights is not None and weights.min() < weights.max() else None,
        config=to_yaml(model.config),
        facts={
            "checkpoint": model.source,
            "identities": len(corpus),
            "utterances": len(evaluation.voices),
            "images": len(evaluation.faces),
        },
        commands=commands,
        retrieval_examples=galleries,
    )
