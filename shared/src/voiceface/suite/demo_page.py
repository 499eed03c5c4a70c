"""Figures of all systems on invented people, and the page that shows them."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.suite.demo_data import PRESET, Material, choose_voices, faces_of, voices_of

if TYPE_CHECKING:
    from voiceface.evaluation.comparison import Comparison
    from voiceface.metrics.geometry import ErrorComparison
    from voiceface.suite.inference import Answers
    from voiceface.suite.plugins import Systems
    from voiceface.synthetic.agreement.result import Agreement

QUICK_LISTS = ("match_g_v2f_2_test", "match_v2f_2_test", "verify_g_v2f_test", "reterival_v2f_test")
RULE = (
    "The first two women and the first two men of the test list whom no model was trained on. Every system "
    "hears the one recording that you can play; the faces are ranked among {people} people, one picture "
    "each. Heads can be turned."
)


def compare(
    out: Path,
    systems: "Systems",
    models: dict[str, Any],
    material: Material,
    *,
    quick: bool = False,
) -> "tuple[Answers, Comparison | None]":
    """Embed all clips and pictures of the test people by every association system, and compare the systems.

    Returns:
        Cosines of the first clip and the first picture of everybody; the comparison, None without a system.
    """
    import numpy as np

    from voiceface.association.config import TEST_LISTS
    from voiceface.association.data import lists_of
    from voiceface.association.evaluation import embed_corpus
    from voiceface.evaluation.comparison import compare_systems
    from voiceface.evaluation.protocol import Protocol
    from voiceface.suite.inference import Answers

    answers = Answers()
    corpus = material.corpus
    lists = lists_of(material.root, QUICK_LISTS if quick else TEST_LISTS, corpus, on_absent="skip")
    tables = {}
    for system in systems.associations:
        model = models[system.name]
        answers.note(system.name, model)
        voices, faces = embed_corpus(model, corpus, lists, cache=out / "cache")
        tables[system.name] = [(voices, faces)]
        left = voices.means([[person.voices[0]] for person in corpus.people])
        right = faces.means([[person.faces[0]] for person in corpus.people])
        left, right = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (left, right))
        answers.scores[system.name] = (left @ right.T).astype(float)
    if not tables:
        return answers, None
    protocol = Protocol(f"{PRESET} population, test people", lists)
    return answers, compare_systems(tables, protocol, corpus, population=material.root, least=1)


def make(
    systems: "Systems", models: dict[str, Any], material: Material, answers: "Answers"
) -> "tuple[dict[str, Agreement], dict[str, ErrorComparison], list[int]]":
    """Make pictures and heads of the first clip of everybody, and hold them against the truth.

    Args:
        systems: who takes part; a maker that is not quick makes pictures of the voices on the cards alone.
        models: what each one's `load` gave.
        material: the people.
        answers: receives what is made.

    Returns:
        Figures of the pictures and of the heads by system, rows of the voices that get a card.
    """
    from voiceface.suite.inference import draw, model_heads
    from voiceface.suite.scoring import heads_of, mesh_errors, picture_agreement

    corpus, voices = material.corpus, voices_of(material)
    for name, model in models.items():
        answers.note(name, model)
    chosen = choose_voices(material, list(answers.trained_on.values()))
    heads = heads_of(material.settings, material.ids)
    true_files = [[corpus.face_path(item) for item in person.faces] for person in corpus.people]
    agreements, errors = {}, {}
    for drawer in systems.pictures:
        draw(answers, drawer.name, models[drawer.name], voices, None if drawer.quick else chosen)
        made = answers.pictures[drawer.name]
        if drawer.quick and (found := picture_agreement(made, true_files, material.settings, material.ids)):
            agreements[drawer.name] = found
    for modeller in systems.meshes:
        maker = models[modeller.name]
        model_heads(answers, modeller.name, maker, voices)
        if maker.landmarks is not None:
            error = mesh_errors(answers.meshes[modeller.name], maker.landmarks, heads)
            if error:
                errors[modeller.name] = error
    return agreements, errors, chosen


def show(
    out: Path,
    systems: "Systems",
    models: dict[str, Any],
    material: Material,
    answers: "Answers",
    comparison: "Comparison | None",
    runs: dict[str, Path],
    *,
    quick: bool,
) -> Path:
    """Make pictures and heads of the voices, judge them, write the page and its numbers.

    Args:
        out: folder for them.
        systems: who takes part.
        models: what each one's `load` gave.
        material: the people.
        answers: from `compare`, as `comparison`.
        runs: systems that were trained here -> run folder.
        quick: for the words on the page.

    Returns:
        The page.
    """
    from voiceface.io.atomic import write_json
    from voiceface.report import SYNTHETIC_NOTICE, build_report, environment
    from voiceface.report.comparison_report import comparison_table, differences_of, rows_of, sentences_of
    from voiceface.report.list_results import cmc_plots, protocol_of, roc_plots
    from voiceface.report.records import SystemResults
    from voiceface.suite import sections
    from voiceface.suite.cards import stories_of
    from voiceface.suite.scoring import heads_of

    corpus, voices = material.corpus, voices_of(material)
    names = [person.identity.face_id for person in corpus.people]
    agreements, errors, chosen = make(systems, models, material, answers)
    heads = heads_of(material.settings, material.ids)
    words = shlex.join(["voiceface", "demo", *(["--quick"] if quick else []), "--out", out.name])
    met = {name: len(set(people) & set(names)) for name, people in answers.trained_on.items()}
    said = list(summary_of({name: count for name, count in met.items() if count}, quick=quick))
    gaps = differences_of(comparison) if comparison else []
    if comparison:
        said += sentences_of(comparison, gaps)
    print(comparison_table(comparison) if comparison and len(comparison.systems) > 1 else "")
    record: dict[str, Any] = {
        "format": "voiceface-demo-1",
        "quick": quick,
        "people": len(corpus),
        "voices": [voices[row].person for row in chosen],
        "weights": answers.sources | {name: run.as_posix() for name, run in runs.items()},
        "absent": systems.absent,
        "association": comparison.to_dict() if comparison else None,
        "pictures": {name: found.to_dict() for name, found in agreements.items()},
        "heads": {name: asdict(error) for name, error in errors.items()},
    }
    write_json(out / "report.json", record)
    results = comparison.systems if comparison else {}
    return build_report(
        out / "report.html",
        title="From a voice to a face",
        kicker=f"{len(systems.found)} systems, one population",
        subtitle="Every voice and face was invented by formula. What do the systems make of voices that "
        "none of them has ever heard?",
        facts={
            "people judged": len(corpus),
            "training": "bundled weights" if quick else f"{len(runs)} systems here",
            "coupling of voice and face": f"{material.settings.rho:g}",
        },
        notice=[SYNTHETIC_NOTICE, *(t for t in answers.notices if "synthetic population" not in t.lower())],
        summary=said,
        headlines=sections.headlines_of(comparison, agreements, errors),
        stories=stories_of(
            answers,
            voices,
            faces_of(material),
            chosen,
            names=[system.name for system in systems.found],
            true_faces=[corpus.face_path(person.faces[0]) for person in corpus.people],
            true_meshes=list(heads.vertices),
            true_triangles=heads.triangles,
        ),
        stories_title=f"{_number(len(chosen))} voices",
        stories_hint=RULE.format(people=len(corpus)),
        cast=[
            sections.cast_of(
                systems,
                answers,
                names,
                dict.fromkeys(models, "bundled") | dict.fromkeys(runs, "trained here, quick configuration"),
            )
        ],
        systems=[SystemResults(name, rows_of(comparison, name)) for name in results] if comparison else [],
        together="Ranking faces and voices" if len(results) > 1 else "",
        differences=[gap for gap in gaps if gap.list_name.startswith("all pairs")],
        tables=sections.tables_of(agreements, errors),
        roc=roc_plots(results, comparison.references) if comparison else [],
        cmc=cmc_plots(results, comparison.references) if comparison else [],
        logs={name: run for name, run in runs.items() if (run / "log.jsonl").is_file()} or None,
        log_names=["total_loss"],
        protocol=protocol_of(results) if results else None,
        care=sections.CARE,
        environment=environment(),
        commands=[words],
        max_bytes=18_000_000,
    )


def summary_of(met: Mapping[str, int], *, quick: bool) -> Iterator[str]:
    """What kind of page this is.

    Args:
        met: system -> how many of the people who are judged it was trained on, where there are any.
        quick: all weights are bundled ones.
    """
    if quick:
        yield (
            "All weights are the bundled ones. They were not trained on the same people, with the same "
            "coupling of voice and face, so differences between systems are differences of these weights, "
            "not of the methods: the full demo trains those that rank alike."
        )
    else:
        yield (
            "The systems that rank were trained here on others of these invented people, those that make "
            "pictures and heads bring their weights along."
        )
    if met:
        known = ", ".join(f"{name} {count}" for name, count in met.items())
        yield f"Some of those who are judged took part in a training ({known}): its figures are too high."
    else:
        yield "Nobody who is judged or heard on this page took part in any training that the weights name."


def _number(count: int) -> str:
    return {1: "One", 2: "Two", 3: "Three", 4: "Four"}.get(count, str(count))
