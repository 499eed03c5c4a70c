"""The report of an association system: evaluation results and a corpus become one page."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from voiceface.datasets.corpus import Corpus
from voiceface.metrics.all_pairs import FIGURES, PairsFigure
from voiceface.metrics.association import unit_rows
from voiceface.metrics.embeddings import EmbeddingTable
from voiceface.metrics.protocol import ListResult, Results, compare
from voiceface.report import (
    Curve,
    Difference,
    Direction,
    Gallery,
    Headline,
    Histogram,
    PeopleGroup,
    PictureSource,
    Plot,
    Protocol,
    ProtocolList,
    ResultRow,
    Sound,
    SystemResults,
    Table,
    build_report,
    environment,
    gallery_from_scores,
    hardest_and_easiest,
)
from voiceface.report.text import SHARED, WAYS

TASKS = {"match": "Matching 1:{n}", "verify": "Verification (AUC)", "retrieval": "Retrieval (mAP)"}
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
    rows = {label: [_row(found, references) for found in each.lists] for label, each in systems.items()}
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
        protocol=_protocol(results),
        logs=logs,
        roc=_roc(systems, references),
        cmc=_cmc(systems, references),
        galleries=[*galleries, *_galleries(corpus, tables, seed)],
        people=_people(results, corpus),
        config=config or None,
        environment=environment(),
        commands=commands,
    )


def _task(found: ListResult) -> str:
    return TASKS[found.questions.kind].format(n=found.questions.choices)


def _reference(found: ListResult, references: Mapping[str, Results], name: str) -> float | None:
    return references[name].by_name[found.name].main.value if name in references else None


def _row(found: ListResult, references: Mapping[str, Results]) -> ResultRow:
    main = found.main
    return ResultRow(
        _task(found),
        main.value,
        direction=_way(found),
        stratum=found.questions.stratum,
        list_name=found.name + (" (own list)" if found.questions.is_own else ""),
        low=_known(main.low),
        high=_known(main.high),
        chance=main.chance,
        baseline=_reference(found, references, "sex only"),
        ceiling=_reference(found, references, "oracle"),
        count=found.counts.get("lines"),
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
                    f"{_task(one)}{words}",
                    main.value,
                    _known(main.low),
                    _known(main.high),
                    main.chance,
                    _reference(one, references, "sex only"),
                    _reference(one, references, "oracle"),
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
                _percent(figure.chance),
                _percent(figure.sex_only),
                f"{_percent(figure.value)} ± {_percent(figure.error)}",
                _percent(figure.oracle),
                _percent(figure.position),
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


def _protocol(results: Results) -> Protocol:
    rules = results.protocol
    lists = [
        ProtocolList(
            found.name,
            _task(found),
            _way(found),
            found.questions.stratum,
            len(found.used),
            found.questions.sha256,
        )
        for found in results.lists
    ]
    own = sum(found.questions.is_own for found in results.lists)
    facts = {
        "ties": {"fair": "a tie among k counts 1/k", "published": "the first of the best counts"}[rules.ties],
        "intervals": f"{rules.confidence:.0%}, {rules.replicates} draws of people, seed {rules.seed}",
        "strata": ", ".join(f"{key} = {SHARED.get(key, key)}" for key in rules.strata),
        "lists drawn here, not published": f"{own} of {len(lists)}",
        "lines left out": sum(found.counts.get("skipped", 0) for found in results.lists),
        "people also in training": len(results.leaked),
        "protocol SHA-256": rules.sha256,
        "model of voices": results.voices,
        "model of faces": results.faces,
    }
    return Protocol(rules.name, lists, facts)


def _roc(systems: Mapping[str, Results], references: Mapping[str, Results]) -> list[Plot]:
    plots = []
    for found in next(iter(systems.values())).lists:
        if found.questions.kind != "verify":
            continue
        curves = []
        for label, each in systems.items():
            one = each.by_name[found.name]
            x, y = one.curve["roc"]
            curves.append(Curve(label, x, y, note=f"AUC {_percent(one.main.value)}"))
        curves += _reference_curves(found, references, "roc", "AUC")
        curves.append(Curve("chance", [0, 1], [0, 1], kind="chance"))
        stratum = found.questions.stratum
        words = f"{WAYS[found.questions.direction]}, {SHARED.get(stratum, stratum)}"
        plots.append(
            Plot(
                f"ROC, {words}",
                curves,
                "false alarms",
                "hits",
                (0, 1),
                (0, 1),
                x_percent=True,
                y_percent=True,
            )
        )
    return plots


def _cmc(systems: Mapping[str, Results], references: Mapping[str, Results]) -> list[Plot]:
    plots = []
    for found in next(iter(systems.values())).lists:
        if found.questions.kind != "retrieval":
            continue
        curves = []
        for label, each in systems.items():
            one = each.by_name[found.name]
            values = one.curve["cmc"]
            curves.append(
                Curve(label, np.arange(1, len(values) + 1), values, note=f"mAP {_percent(one.main.value)}")
            )
        curves += _reference_curves(found, references, "cmc", "mAP")
        title = f"Right answer within the first k, {WAYS[found.questions.direction]}"
        plots.append(Plot(title, curves, "k", "queries", None, (0, 1), y_percent=True, x_log=True))
    return plots


def _reference_curves(
    found: ListResult, references: Mapping[str, Results], key: str, figure: str
) -> list[Curve]:
    curves = []
    for name, kind in (("sex only", "baseline"), ("oracle", "ceiling")):
        if name in references:
            one = references[name].by_name[found.name]
            x, y = (
                one.curve["roc"]
                if key == "roc"
                else (np.arange(1, len(one.curve["cmc"]) + 1), one.curve["cmc"])
            )
            note = f"{figure} {_percent(one.main.value)}"
            curves.append(Curve(name, x, y, kind=kind, note=note))  # type: ignore[arg-type]
    return curves


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


def _way(found: ListResult) -> Direction:
    return found.questions.direction  # type: ignore[return-value]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _percent(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{100 * value:.1f} %"
