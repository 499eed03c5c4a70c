"""Report of an association system: evaluation results and examples of a corpus on one page."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from voiceface.datasets.corpus import Corpus
from voiceface.embeddings.table import EmbeddingTable
from voiceface.evaluation.all_pairs import METRIC_LABELS, AllPairsMetric, describe_sampling
from voiceface.evaluation.evaluator import compare
from voiceface.evaluation.results import Results
from voiceface.metrics.matching import l2_normalize
from voiceface.report import (
    AudioSource,
    Headline,
    Histogram,
    IdentityGroup,
    ImageSource,
    PairedDifferenceRow,
    RetrievalExamples,
    SystemResults,
    Table,
    build_report,
    build_retrieval_examples,
    collect_environment,
    select_hardest_and_easiest,
)
from voiceface.report.list_results import (
    TASK_TITLES,
    build_cmc_plots,
    build_result_row,
    build_roc_plots,
    describe_task,
    format_percent,
    get_reference_value,
    nan_to_none,
    summarise_protocol,
)

__all__ = ["write_association_report"]

NUM_PROBES, GALLERY_SIZE = 5, 100


def write_association_report(
    out_html: str | PathLike[str],
    systems: Mapping[str, Results],
    corpus: Corpus,
    embeddings: tuple[EmbeddingTable, EmbeddingTable],
    *,
    title: str,
    subtitle: str = "",
    disclaimers: Sequence[str] = (),
    references: Mapping[str, Results] | None = None,
    all_pairs: Mapping[str, Mapping[str, AllPairsMetric]] | None = None,
    logs: Mapping[str, Path] | None = None,
    identity_weights: np.ndarray | None = None,
    config: str = "",
    facts: Mapping[str, Any] | None = None,
    commands: Sequence[str] = (),
    retrieval_examples: Sequence[RetrievalExamples] = (),
    seed: int = 0,
    has_media: bool = True,
) -> Path:
    """Write the report of one or several association systems.

    Args:
        out_html: file to write.
        systems: name -> results under one protocol; the page describes the first and compares the others.
        corpus: the evaluated identities; images and voices are taken from it.
        embeddings: voice and face embeddings of the first system.
        title: heading.
        subtitle: a sentence under it.
        disclaimers: warnings at the top of the page.
        references: "gender-only baseline" and "oracle upper bound" -> their results under the same protocol
            (population only).
        all_pairs: "single", "avg4" -> metrics over all pairs (population only).
        logs: run name -> run folder, for the learning curves.
        identity_weights: (C,) weights of the training identities, for a histogram.
        config: YAML text.
        facts: name -> short text under the title.
        commands: shell lines that reproduce the page.
        retrieval_examples: further galleries, shown first.
        seed: random seed of the examples.
        has_media: the files of the corpus exist; otherwise no examples are shown.

    Returns:
        The written file.
    """
    name, results = next(iter(systems.items()))
    examples = _build_retrieval_examples(corpus, embeddings, seed) if has_media else []
    references = references or {}
    rows = {
        label: [build_result_row(result, references) for result in each.lists]
        for label, each in systems.items()
    }
    return build_report(
        out_html,
        title=title,
        subtitle=subtitle,
        facts=facts,
        disclaimers=disclaimers,
        headlines=_build_headlines(results, references, all_pairs),
        systems=[SystemResults(label, each) for label, each in rows.items()],
        differences=_build_differences(name, results, systems),
        tables=_all_pairs_tables(all_pairs),
        plots=_identity_weight_histograms(identity_weights),
        protocol=summarise_protocol({name: results}),
        unavailable=results.unavailable,
        logs=logs,
        roc=build_roc_plots(systems, references),
        cmc=build_cmc_plots(systems, references),
        retrieval_examples=[*retrieval_examples, *examples],
        identity_groups=_identity_groups(results, corpus, has_media),
        config=config or None,
        environment=collect_environment(),
        commands=commands,
    )


def _build_headlines(
    results: Results,
    references: Mapping[str, Results],
    all_pairs: Mapping[str, Mapping[str, AllPairsMetric]] | None,
) -> list[Headline]:
    """Headline cards; same-gender metrics first, because they cannot be explained by gender alone."""
    headlines = []
    for setting, metrics in (all_pairs or {}).items():
        for key, label in (("g_v2f", "same-gender"), ("u_v2f", "unrestricted")):
            metric = metrics[key]
            half_width = 1.96 * metric.standard_error
            sampling = describe_sampling(setting)
            headlines.append(
                Headline(
                    f"{label} 1:2 matching",
                    metric.value,
                    metric.value - half_width,
                    min(1.0, metric.value + half_width),
                    metric.chance,
                    metric.gender_baseline,
                    metric.upper_bound,
                    f"voice to face, all pairs of unseen identities, {sampling}",
                )
            )
    order = sorted(
        results.lists,
        key=lambda item: (item.trial_list.stratum != "G", list(TASK_TITLES).index(item.trial_list.kind)),
    )
    for result in order:
        if result.trial_list.direction == "v2f" and len(headlines) < 8:
            main = result.main_metric
            headlines.append(
                Headline(
                    describe_task(result),
                    main.value,
                    nan_to_none(main.low),
                    nan_to_none(main.high),
                    main.chance,
                    get_reference_value(result, references, "gender-only baseline"),
                    get_reference_value(result, references, "oracle upper bound"),
                    f"voice to face, {result.label}",
                )
            )
    return headlines


def _build_differences(
    system: str, results: Results, systems: Mapping[str, Results]
) -> list[PairedDifferenceRow]:
    rows = []
    for other, other_results in systems.items():
        if other != system:
            for list_name, difference in compare(results, other_results).items():
                rows.append(
                    PairedDifferenceRow(
                        system,
                        other,
                        list_name,
                        difference.value,
                        difference.low,
                        difference.high,
                        difference.p_value,
                        adjusted_p_value=difference.adjusted_p_value,
                    )
                )
    return rows


def _all_pairs_tables(all_pairs: Mapping[str, Mapping[str, AllPairsMetric]] | None) -> list[Table]:
    """Tables over all pairs of unseen identities: references, model and normalized gain."""
    tables = []
    for setting, metrics in (all_pairs or {}).items():
        rows = [
            [
                METRIC_LABELS.get(key, key),
                format_percent(metric.chance),
                format_percent(metric.gender_baseline),
                f"{format_percent(metric.value)} ± {format_percent(metric.standard_error)}",
                format_percent(metric.upper_bound),
                format_percent(metric.normalized_gain),
            ]
            for key, metric in metrics.items()
        ]
        columns = [
            "metric",
            "chance level",
            "gender-only baseline",
            "model ± standard error",
            "oracle upper bound",
            "normalized gain",
        ]
        note = (
            "Normalized gain: (model - baseline) / (upper bound - baseline). Standard errors are over "
            "identities."
        )
        tables.append(
            Table(f"All pairs of unseen identities: {describe_sampling(setting)}", columns, rows, note)
        )
    return tables


def _identity_weight_histograms(identity_weights: np.ndarray | None) -> list[Histogram]:
    if identity_weights is None or not len(identity_weights):
        return []
    excluded = int((identity_weights == 0).sum())
    note = (
        f"{excluded} of {len(identity_weights)} training identities have weight 0: the adaptive weighting "
        "excluded them because their loss stayed highest."
    )
    return [Histogram("Identity weights", identity_weights, "weight", note=note)]


def _build_retrieval_examples(
    corpus: Corpus, embeddings: tuple[EmbeddingTable, EmbeddingTable], seed: int
) -> list[RetrievalExamples]:
    """Probes in each direction against a gallery of at most 100 identities, one file each."""
    voices, faces = embeddings
    rng = np.random.Generator(np.random.PCG64(seed))
    pairs = []
    for record in corpus.records:
        utterances = [item for item in record.voices if item in voices]
        images = [item for item in record.faces if item in faces]
        if utterances and images:
            pairs.append((record.identity.name, rng.choice(utterances), rng.choice(images)))
    if len(pairs) < 2:
        return []
    order = rng.permutation(len(pairs))[:GALLERY_SIZE]
    names, utterances, images = ([pairs[i][part] for i in order] for part in range(3))
    voice_vectors = _l2_normalize(voices.vectors[voices.row_indices(utterances)])
    face_vectors = _l2_normalize(faces.vectors[faces.row_indices(images)])
    audio_sources = [AudioSource(str(corpus.voice_path(item))) for item in utterances]
    image_files = [str(corpus.face_path(item)) for item in images]
    probes = slice(0, NUM_PROBES)
    note = f"Probes and gallery of {len(names)} identities are sampled at random, one file per identity."
    return [
        build_retrieval_examples(
            (voice_vectors @ face_vectors.T)[probes],
            names[probes],
            names,
            audio_sources[probes],
            image_files,
            direction="v2f",
            note=note,
        ),
        build_retrieval_examples(
            (face_vectors @ voice_vectors.T)[probes],
            names[probes],
            names,
            image_files[probes],
            audio_sources,
            direction="f2v",
            note=note,
            num_shown=5,
        ),
    ]


def _identity_groups(results: Results, corpus: Corpus, has_media: bool) -> list[IdentityGroup]:
    """Hardest and easiest identities of the first same-gender matching list, or of the first list."""
    matching = [each for each in results.lists if each.trial_list.kind == "match"] or list(results.lists)
    selected = next((each for each in matching if each.trial_list.stratum == "G"), matching[0])
    rows = selected.by_identity()
    records = {record.identity.name: record for record in corpus.records}

    def media(name: str) -> tuple[ImageSource | None, AudioSource | None]:
        record = records[name]
        if not has_media:
            return None, None
        image = str(corpus.face_path(record.faces[0])) if record.faces else None
        return image, AudioSource(str(corpus.voice_path(record.voices[0]))) if record.voices else None

    names, values, counts = zip(*rows) if rows else ((), (), ())
    note = f"Accuracy of each identity on {selected.label}."
    return [replace(group, note=note) for group in select_hardest_and_easiest(names, values, media, counts)]


def _l2_normalize(vectors: np.ndarray) -> np.ndarray:
    import torch

    return l2_normalize(torch.from_numpy(vectors)).numpy()
