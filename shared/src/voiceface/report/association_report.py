"""The report of an association system: evaluation results and a corpus become one page."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from voiceface.datasets.corpus import Corpus
from voiceface.embeddings.table import EmbeddingTable
from voiceface.evaluation.all_pairs import FIGURES, PairsFigure
from voiceface.evaluation.evaluator import compare
from voiceface.evaluation.results import Results
from voiceface.metrics.matching import unit_rows
from voiceface.report import (
    Difference,
    Gallery,
    Headline,
    Histogram,
    PeopleGroup,
    PictureSource,
    Sound,
    SystemResults,
    Table,
    build_report,
    environment,
    gallery_from_scores,
    hardest_and_easiest,
)
from voiceface.report.formatting import SHARED
from voiceface.report.list_results import (
    TASKS,
    cmc_plots,
    known,
    percent,
    protocol_of,
    reference_of,
    result_row,
    roc_plots,
    task_of,
)

GALLERY_QUERIES, GALLERY_SIZE = 5, 100


def association_report(
    out_html: str | PathLike[str],
    systems: Mapping[str, Results],
    corpus: Corpus,
    tables: tuple[EmbeddingTable, EmbeddingTable],
    *,
    title: str,
    subtitle: str = "",
    notice: Sequence[str] = (),
    references: Mapping[str, Results] | None = None,
    population: Mapping[str, Mapping[str, PairsFigure]] | None = None,
    logs: Mapping[str, Path] | None = None,
    identity_weights: np.ndarray | None = None,
    config: str = "",
    facts: Mapping[str, Any] | None = None,
    commands: Sequence[str] = (),
    galleries: Sequence[Gallery] = (),
    seed: int = 0,
) -> Path:
    """Write the page.

    Args:
        out_html: file to write.
        systems: name -> results under one protocol; the page is about the first, the others stand beside it.
        corpus: the people asked about; pictures and voices are taken from it.
        tables: voice and face embeddings of the first system.
        title: heading.
        subtitle: a sentence under it.
        notice: warnings.
        references: "sex only" and "oracle" -> their results under the same protocol (population only).
        population: "single", "avg4" -> figures over all pairs (population only).
        logs: run name -> run folder, for the learning curves.
        identity_weights: (C,) weights of the training people, for a histogram.
        config: YAML text.
        facts: name -> short text under the title.
        commands: how to make the page again.
        galleries: further galleries, shown first.
        seed: of the choice of examples.

    Returns:
        The written file.
    """
    name, results = next(iter(systems.items()))
    references = references or {}
    rows = {label: [result_row(found, references) for found in each.lists] for label, each in systems.items()}
    return build_report(
        out_html,
        title=title,
        subtitle=subtitle,
        facts=facts,
        notice=notice,
        headlines=_headlines(results, references, population),
        systems=[SystemResults(label, each) for label, each in rows.items()],
        differences=_differences(name, results, systems),
        tables=_population_tables(population),
        plots=_weights(identity_weights),
        protocol=protocol_of({name: results}),
        logs=logs,
        roc=roc_plots(systems, references),
        cmc=cmc_plots(systems, references),
        galleries=[*galleries, *_galleries(corpus, tables, seed)],
        people=_people(results, corpus),
        config=config or None,
        environment=environment(),
        commands=commands,
    )


def _headlines(
    results: Results,
    references: Mapping[str, Results],
    population: Mapping[str, Mapping[str, PairsFigure]] | None,
) -> list[Headline]:
    """Same-sex figures first: they are what the sex alone cannot give."""
    found = []
    for setting, figures in (population or {}).items():
        for key, words in (("g_v2f", "same sex"), ("u_v2f", "anyone")):
            figure = figures[key]
            half = 1.96 * figure.error
            how = (
                "one clip, one picture"
                if setting == "single"
                else f"means over {setting.removeprefix('avg')}"
            )
            found.append(
                Headline(
                    f"1:2 matching, {words}",
                    figure.value,
                    figure.value - half,
                    min(1.0, figure.value + half),
                    figure.chance,
                    figure.sex_only,
                    figure.oracle,
                    f"voice to face, all pairs of unseen people, {how}",
                )
            )
    order = sorted(
        results.lists,
        key=lambda item: (item.questions.stratum != "G", list(TASKS).index(item.questions.kind)),
    )
    for one in order:
        if one.questions.direction == "v2f" and len(found) < 8:
            main, stratum = one.main, one.questions.stratum
            words = "" if one.questions.kind == "retrieval" else f", {SHARED.get(stratum, stratum)}"
            found.append(
                Headline(
                    f"{task_of(one)}{words}",
                    main.value,
                    known(main.low),
                    known(main.high),
                    main.chance,
                    reference_of(one, references, "sex only"),
                    reference_of(one, references, "oracle"),
                    f"voice to face, {one.name}",
                )
            )
    return found


def _differences(name: str, results: Results, systems: Mapping[str, Results]) -> list[Difference]:
    found = []
    for other, others in systems.items():
        if other != name:
            for listed, gap in compare(results, others).items():
                found.append(Difference(name, other, listed, gap.value, gap.low, gap.high, gap.p_value))
    return found


def _population_tables(population: Mapping[str, Mapping[str, PairsFigure]] | None) -> list[Table]:
    """All pairs of unseen people: chance, sex only, model, oracle, position between the last two."""
    found = []
    for setting, figures in (population or {}).items():
        how = (
            "one clip and one picture a person"
            if setting == "single"
            else f"means over {setting[3:]} of each"
        )
        rows = [
            [
                FIGURES.get(key, key),
                percent(figure.chance),
                percent(figure.sex_only),
                f"{percent(figure.value)} ± {percent(figure.error)}",
                percent(figure.oracle),
                percent(figure.position),
            ]
            for key, figure in figures.items()
        ]
        columns = ["figure", "chance", "sex only", "model ± standard error", "oracle", "way to the oracle"]
        note = "The way to the oracle is (model - sex only) / (oracle - sex only). Errors are over people."
        found.append(Table(f"All pairs of unseen people: {how}", columns, rows, note))
    return found


def _weights(identity_weights: np.ndarray | None) -> list[Histogram]:
    if identity_weights is None or not len(identity_weights):
        return []
    left_out = int((identity_weights == 0).sum())
    note = f"{left_out} of {len(identity_weights)} training people have weight 0: they fit least."
    return [Histogram("Identity weights", identity_weights, "weight", note=note)]


def _galleries(corpus: Corpus, tables: tuple[EmbeddingTable, EmbeddingTable], seed: int) -> list[Gallery]:
    """One file a person: some queries in each direction against a gallery of at most 100 people."""
    voices, faces = tables
    rng = np.random.Generator(np.random.PCG64(seed))
    pairs = []
    for person in corpus.people:
        clips = [item for item in person.voices if item in voices]
        pictures = [item for item in person.faces if item in faces]
        if clips and pictures:
            pairs.append((person.identity.name, rng.choice(clips), rng.choice(pictures)))
    if len(pairs) < 2:
        return []
    order = rng.permutation(len(pairs))[:GALLERY_SIZE]
    names, clips, pictures = ([pairs[i][part] for i in order] for part in range(3))
    left = _unit(voices.vectors[voices.rows(clips)])
    right = _unit(faces.vectors[faces.rows(pictures)])
    sounds = [Sound(str(corpus.voice_path(item))) for item in clips]
    files = [str(corpus.face_path(item)) for item in pictures]
    asked = slice(0, GALLERY_QUERIES)
    note = f"Queries and gallery of {len(names)} people are drawn at random, one file a person."
    return [
        gallery_from_scores(
            (left @ right.T)[asked], names[asked], names, sounds[asked], files, direction="v2f", note=note
        ),
        gallery_from_scores(
            (right @ left.T)[asked],
            names[asked],
            names,
            files[asked],
            sounds,
            direction="f2v",
            note=note,
            top=5,
        ),
    ]


def _people(results: Results, corpus: Corpus) -> list[PeopleGroup]:
    """Hardest and easiest people of the first same-sex matching list (or of the first list)."""
    matching = [found for found in results.lists if found.questions.kind == "match"] or list(results.lists)
    chosen = next((found for found in matching if found.questions.stratum == "G"), matching[0])
    rows = chosen.by_person()
    place = {person.identity.name: person for person in corpus.people}

    def media(name: str) -> tuple[PictureSource | None, Sound | None]:
        person = place[name]
        picture = str(corpus.face_path(person.faces[0])) if person.faces else None
        return picture, Sound(str(corpus.voice_path(person.voices[0]))) if person.voices else None

    names, values, counts = zip(*rows) if rows else ((), (), ())
    return hardest_and_easiest(names, values, media, counts)


def _unit(vectors: np.ndarray) -> np.ndarray:
    import torch

    return unit_rows(torch.from_numpy(vectors)).numpy()
