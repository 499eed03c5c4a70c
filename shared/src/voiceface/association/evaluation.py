"""Evaluate a system on trial lists: matching, verification and retrieval; write results and a report."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
    from voiceface.metrics.unavailable import UnavailableResult

__all__ = [
    "FACES_FILE",
    "MAX_AVERAGED",
    "RESULTS_FILE",
    "VOICES_FILE",
    "Evaluation",
    "compute_all_pairs",
    "embed_corpus",
    "evaluate",
    "list_items",
    "read_identity_weights",
    "write_evaluation",
]

MAX_AVERAGED = 4
RESULTS_FILE, VOICES_FILE, FACES_FILE = "results.json", "voices.npz", "faces.npz"


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
    """Embed all files of a corpus and all items of trial lists, each file once.

    Args:
        model: trained model.
        corpus: identities.
        lists: trial lists.
        cache: folder for embeddings, keyed by the model's fingerprint; None: no cache.
        workers: loading threads.
        on_error: unreadable files: "error" or "skip".

    Returns:
        (voices, faces).
    """
    options: dict[str, Any] = {"cache_dir": cache, "workers": workers, "on_error": on_error}
    voices, faces = list_items(corpus, lists)
    return (
        model.embed_items("v", voices, corpus, label="voices", **options),
        model.embed_items("f", faces, corpus, label="faces", **options),
    )


def list_items(corpus: "Corpus", lists: "Sequence[TrialList]" = ()) -> tuple[list[str], list[str]]:
    """Clips and images of a corpus and of trial lists, in this order; items may be repeated."""
    named: dict[str, list[str]] = {"v": list(corpus.voices), "f": list(corpus.faces)}
    for trial_list in lists:
        for modality, items in zip(trial_list.direction.split("2"), (trial_list.probes, trial_list.gallery)):
            named[modality] += items
    return named["v"], named["f"]


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
    unavailable: "Sequence[UnavailableResult]" = (),
    out: Path | None = None,
    tables: "tuple[EmbeddingTable, EmbeddingTable] | None" = None,
) -> Evaluation:
    """Embed every file once and compute all metrics.

    With on_error="skip", what cannot be computed is listed in `Results.unavailable`.

    Args:
        model: trained model.
        corpus: identities of the trials; results are marked if the model was trained on some of them.
        lists: trial lists.
        name: of the protocol.
        tie_breaking: "expected" or "first".
        cache: see `embed_corpus`.
        workers: see `embed_corpus`.
        on_error: see `embed_corpus`.
        population: folder of the synthetic population that the corpus belongs to, for upper bounds; None:
            other data.
        unavailable: lists that are known to be unavailable, to be stated in the results.
        out: folder that receives the embeddings, and results.json after every list, as they come.
        tables: embeddings of the voices and of the faces, if they exist already; None: files are embedded.

    Raises:
        EmbeddingError: files cannot be read, with on_error="error".
        TrialListError: no list can be computed.
    """
    from voiceface.evaluation.evaluator import evaluate as compute_metrics
    from voiceface.evaluation.protocol import Protocol
    from voiceface.metrics.unavailable import UnavailableResult

    if tables is None:
        tables = embed_corpus(model, corpus, lists, cache=cache, workers=workers, on_error=on_error)
    voices, faces = tables
    if out is not None:
        voices.save(out / VOICES_FILE)
        faces.save(out / FACES_FILE)
    protocol = Protocol(name, tuple(lists), tie_breaking=tie_breaking)
    results = compute_metrics(
        protocol,
        voices,
        faces,
        corpus,
        on_missing=on_error,
        training_identities=model.identity_names or (),
        device=model.device,
        unavailable=unavailable,
        on_result=None if out is None else lambda so_far: so_far.save(out / RESULTS_FILE),
    )
    results = replace(results, encoder_overlap=model.find_encoder_overlap(corpus, name))
    if population is None:
        return Evaluation(results, voices, faces)
    from voiceface.evaluation.all_pairs import ALL_PAIRS
    from voiceface.synthetic.ground_truth import read_ground_truth, reference_embeddings

    truth = read_ground_truth(population)
    computed = replace(protocol, lists=tuple(each.trial_list for each in results.lists))
    references = {
        label: compute_metrics(
            computed,
            true_voices.take_common(voices),
            true_faces.take_common(faces),
            corpus,
            on_missing="skip",
        )
        for label, (true_voices, true_faces) in reference_embeddings(truth, corpus).items()
    }
    try:
        all_pairs = compute_all_pairs(corpus, voices, faces, population)
    except ValueError as error:
        missing = UnavailableResult.from_error(ALL_PAIRS, error)
        results = replace(results, unavailable=(*results.unavailable, missing))
        all_pairs = {}
    return Evaluation(results, voices, faces, references, all_pairs)


def compute_all_pairs(
    corpus: "Corpus", voices: "EmbeddingTable", faces: "EmbeddingTable", population: Path
) -> "dict[str, dict[str, AllPairsMetric]]":
    """Compute metrics over all pairs of identities: one clip and image each, and means over up to four.

    Args:
        corpus: identities; those without an embedded clip or image are skipped.
        voices: embeddings of the clips.
        faces: embeddings of the images.
        population: folder of the synthetic population, for ground truth.

    Returns:
        Setting ("single", "avg4") -> metrics by name.

    Raises:
        ValueError: fewer than three identities.
    """
    import numpy as np

    from voiceface.evaluation.all_pairs import evaluate_all_pairs_averaged
    from voiceface.synthetic.ground_truth import read_ground_truth

    # Unreadable files may have been skipped.
    clips = [[path for path in record.voices if path in voices] for record in corpus.records]
    images = [[path for path in record.faces if path in faces] for record in corpus.records]
    used = [row for row, files in enumerate(zip(clips, images)) if all(files)]
    if len(used) < 3:
        raise ValueError(f"expected 3 identities with clips and images, found {len(used)}")
    truth = read_ground_truth(population).select([corpus.records[row].identity.face_id for row in used])

    def stack(table: "EmbeddingTable", files: list[list[str]], count: int) -> "np.ndarray":
        return table.vectors[np.stack([table.row_indices(files[row][:count]) for row in used])]

    count = min(MAX_AVERAGED, *(len(files[row]) for row in used for files in (clips, images)))
    return evaluate_all_pairs_averaged(
        stack(voices, clips, count),
        stack(faces, images, count),
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
    has_media: bool = True,
) -> Path:
    """Write results.json, results.txt (published format), embeddings, report.html; return the report's path.

    Args:
        out: output folder.
        model: evaluated model.
        corpus: evaluated identities.
        evaluation: its results.
        system: name of the system.
        title: of the report; None: the system's name.
        subtitle: of the report.
        identity_weights: shape (C,), for a histogram; omitted if all are equal.
        runs: run folders by name, for training curves.
        commands: command lines that reproduce the report.
        disclaimers: further disclaimers, besides that of the model.
        galleries: rankings of queries, see `voiceface.association.retrieval.build_gallery`.
        has_media: the files of the corpus exist, and the report shows some of them.
    """
    from voiceface.io.atomic import write_json
    from voiceface.report.association_report import write_association_report
    from voiceface.runtime.config import to_yaml

    evaluation.results.save(out / RESULTS_FILE)
    evaluation.results.save_text(out / "results.txt")
    evaluation.voices.save(out / VOICES_FILE)
    evaluation.faces.save(out / FACES_FILE)
    if evaluation.all_pairs:
        from voiceface.evaluation.all_pairs import all_pairs_to_dict

        write_json(out / "all_pairs.json", all_pairs_to_dict(evaluation.all_pairs))
    weights, overlap = identity_weights, evaluation.results.encoder_overlap
    return write_association_report(
        out / "report.html",
        {system: evaluation.results},
        corpus,
        (evaluation.voices, evaluation.faces),
        title=title or system,
        subtitle=subtitle,
        disclaimers=[text for text in dict.fromkeys([model.disclaimer, *disclaimers, *overlap]) if text],
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
        has_media=has_media,
    )
