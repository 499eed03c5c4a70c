"""Report of an association system: evaluation results and examples of a corpus on one page."""

from collections.abc import Mapping, Sequence
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
from voiceface.report.formatting import STRATUM_NAMES
from voiceface.report.list_results import (
    TASK_TITLES,
    build_cmc_plots,
    build_result_row,
    build_roc_plots,
    format_percent,
    get_reference_value,
    get_task_title,
    nan_to_none,
    summarise_protocol,
)

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
) -> Path:
    """Write the page.

    Args:
        out_html: file to write.
        systems: name -> results under one protocol; the page describes the first and compares the others.
        corpus: the evaluated identities; images and voices are taken from it.
        embeddings: voice and face embeddings of the first system.
        title: heading.
        subtitle: a sentence under it.
        disclaimers: warnings.
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

    Returns:
        The written file.
    """
    name, results = next(iter(systems.items()))
    references = references or {}
    rows = {
        label: [build_result_row(found, references) for found in each.lists]
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
        logs=logs,
        roc=build_roc_plots(systems, references),
        cmc=build_cmc_plots(systems, references),
        retrieval_examples=[*retrieval_examples, *_build_retrieval_examples(corpus, embeddings, seed)],
        identity_groups=_identity_groups(results, corpus),
        config=config or None,
        environment=collect_environment(),
        commands=commands,
    )


def _build_headlines(
    results: Results,
    references: Mapping[str, Results],
    all_pairs: Mapping[str, Mapping[str, AllPairsMetric]] | None,
) -> list[Headline]:
    """Headline cards; same-gender metrics first, because knowing the gender alone cannot improve them."""
    found = []
    for setting, figures in (all_pairs or {}).items():
        for key, words in (("g_v2f", "same-gender"), ("u_v2f", "unrestricted")):
            figure = figures[key]
            half = 1.96 * figure.standard_error
            sampling = describe_sampling(setting)
            found.append(
                Headline(
                    f"{words} 1:2 matching",
                    figure.value,
                    figure.value - half,
                    min(1.0, figure.value + half),
                    figure.chance,
                    figure.gender_baseline,
                    figure.upper_bound,
                    f"voice to face, all pairs of unseen identities, {sampling}",
                )
            )
    order = sorted(
        results.lists,
        key=lambda item: (item.trial_list.stratum != "G", list(TASK_TITLES).index(item.trial_list.kind)),
    )
    for one in order:
        if one.trial_list.direction == "v2f" and len(found) < 8:
            main, stratum = one.main_metric, one.trial_list.stratum
            words = "" if one.trial_list.kind == "retrieval" else f"{STRATUM_NAMES.get(stratum, stratum)} "
            found.append(
                Headline(
                    f"{words}{get_task_title(one)}",
                    main.value,
                    nan_to_none(main.low),
                    nan_to_none(main.high),
                    main.chance,
                    get_reference_value(one, references, "gender-only baseline"),
                    get_reference_value(one, references, "oracle upper bound"),
                    f"voice to face, {one.label}",
                )
            )
    return found


def _build_differences(
    system: str, results: Results, systems: Mapping[str, Results]
) -> list[PairedDifferenceRow]:
    found = []
    for other, others in systems.items():
        if other != system:
            for listed, gap in compare(results, others).items():
                found.append(
                    PairedDifferenceRow(
                        system,
                        other,
                        listed,
                        gap.value,
                        gap.low,
                        gap.high,
                        gap.p_value,
                        adjusted_p_value=gap.adjusted_p_value,
                    )
                )
    return found


def _all_pairs_tables(all_pairs: Mapping[str, Mapping[str, AllPairsMetric]] | None) -> list[Table]:
    """Tables over all pairs of unseen identities: references, model and normalized gain."""
    found = []
    for setting, figures in (all_pairs or {}).items():
        rows = [
            [
                METRIC_LABELS.get(key, key),
                format_percent(figure.chance),
                format_percent(figure.gender_baseline),
                f"{format_percent(figure.value)} ± {format_percent(figure.standard_error)}",
                format_percent(figure.upper_bound),
                format_percent(figure.normalized_gain),
            ]
            for key, figure in figures.items()
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
        found.append(
            Table(f"All pairs of unseen identities: {describe_sampling(setting)}", columns, rows, note)
        )
    return found


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
    """Some probes in each direction against a gallery of at most 100 identities, one file each."""
    voices, faces = embeddings
    rng = np.random.Generator(np.random.PCG64(seed))
    pairs = []
    for person in corpus.records:
        clips = [item for item in person.voices if item in voices]
        pictures = [item for item in person.faces if item in faces]
        if clips and pictures:
            pairs.append((person.identity.name, rng.choice(clips), rng.choice(pictures)))
    if len(pairs) < 2:
        return []
    order = rng.permutation(len(pairs))[:GALLERY_SIZE]
    names, clips, pictures = ([pairs[i][part] for i in order] for part in range(3))
    left = _l2_normalize(voices.vectors[voices.row_indices(clips)])
    right = _l2_normalize(faces.vectors[faces.row_indices(pictures)])
    sounds = [AudioSource(str(corpus.voice_path(item))) for item in clips]
    files = [str(corpus.face_path(item)) for item in pictures]
    asked = slice(0, NUM_PROBES)
    note = f"Probes and gallery of {len(names)} identities are sampled at random, one file per identity."
    return [
        build_retrieval_examples(
            (left @ right.T)[asked], names[asked], names, sounds[asked], files, direction="v2f", note=note
        ),
        build_retrieval_examples(
            (right @ left.T)[asked],
            names[asked],
            names,
            files[asked],
            sounds,
            direction="f2v",
            note=note,
            num_shown=5,
        ),
    ]


def _identity_groups(results: Results, corpus: Corpus) -> list[IdentityGroup]:
    """Hardest and easiest identities of the first same-gender matching list, or of the first list."""
    matching = [found for found in results.lists if found.trial_list.kind == "match"] or list(results.lists)
    chosen = next((found for found in matching if found.trial_list.stratum == "G"), matching[0])
    rows = chosen.by_identity()
    place = {person.identity.name: person for person in corpus.records}

    def media(name: str) -> tuple[ImageSource | None, AudioSource | None]:
        person = place[name]
        picture = str(corpus.face_path(person.faces[0])) if person.faces else None
        return picture, AudioSource(str(corpus.voice_path(person.voices[0]))) if person.voices else None

    names, values, counts = zip(*rows) if rows else ((), (), ())
    return select_hardest_and_easiest(names, values, media, counts)


def _l2_normalize(vectors: np.ndarray) -> np.ndarray:
    import torch

    return l2_normalize(torch.from_numpy(vectors)).numpy()
