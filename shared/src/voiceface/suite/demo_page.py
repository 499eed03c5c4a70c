"""Figures of all systems on invented people, and the page that shows them."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.suite.demo_data import PRESET, DemoData, build_gallery, build_utterances, choose_card_rows

if TYPE_CHECKING:
    from voiceface.evaluation.comparison import Comparison
    from voiceface.metrics.geometry import ErrorComparison
    from voiceface.suite.inference import SystemOutputs
    from voiceface.suite.plugins import SystemSet
    from voiceface.synthetic.agreement.result import Agreement

PRETRAINED_LISTS = ("match_g_v2f_2_test", "match_v2f_2_test", "verify_g_v2f_test", "reterival_v2f_test")
SELECTION_NOTE = (
    "The first two women and the first two men of the test list whom no model was trained on. Every system "
    "hears the one recording that you can play; the faces are ranked among {people} people, one picture "
    "each. Heads can be turned."
)


def embed_and_compare(
    out: Path,
    systems: "SystemSet",
    models: dict[str, Any],
    data: DemoData,
    *,
    pretrained: bool = False,
) -> "tuple[SystemOutputs, Comparison | None]":
    """Embed all clips and pictures of the test people by every association system, and compare the systems.

    Returns:
        Cosines of the first clip and the first picture of everybody; the comparison, None without a system.
    """
    import numpy as np

    from voiceface.association.config import TEST_LISTS
    from voiceface.association.data import load_trial_lists
    from voiceface.association.evaluation import embed_corpus
    from voiceface.evaluation.comparison import compare_systems
    from voiceface.evaluation.protocol import Protocol
    from voiceface.suite.inference import SystemOutputs

    answers = SystemOutputs()
    corpus = data.corpus
    lists = load_trial_lists(
        data.root, PRETRAINED_LISTS if pretrained else TEST_LISTS, corpus, on_missing="skip"
    )
    tables = {}
    for system in systems.association_systems:
        model = models[system.name]
        answers.record_system(system.name, model)
        voices, faces = embed_corpus(model, corpus, lists, cache=out / "cache")
        tables[system.name] = [(voices, faces)]
        left = voices.group_means([[person.voices[0]] for person in corpus.records])
        right = faces.group_means([[person.faces[0]] for person in corpus.records])
        left, right = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (left, right))
        answers.scores[system.name] = (left @ right.T).astype(float)
    if not tables:
        return answers, None
    protocol = Protocol(f"{PRESET} population, test people", lists)
    return answers, compare_systems(tables, protocol, corpus, population=data.root, min_systems=1)


def generate_and_score(
    systems: "SystemSet", models: dict[str, Any], data: DemoData, outputs: "SystemOutputs"
) -> "tuple[dict[str, Agreement], dict[str, ErrorComparison], list[int]]":
    """Make pictures and heads of the first clip of everybody, and hold them against the truth.

    Args:
        systems: who takes part; a maker that is not quick makes pictures of the voices on the cards alone.
        models: what each one's `load` gave.
        data: the people.
        outputs: receives what is made.

    Returns:
        Figures of the pictures and of the heads by system, rows of the voices that get a card.
    """
    from voiceface.suite.inference import generate_images, generate_meshes
    from voiceface.suite.scoring import (
        compare_mesh_errors,
        generate_ground_truth_heads,
        measure_image_agreement,
    )

    corpus, voices = data.corpus, build_utterances(data)
    for name, model in models.items():
        outputs.record_system(name, model)
    chosen = choose_card_rows(data, list(outputs.training_identities.values()))
    heads = generate_ground_truth_heads(data.settings, data.ids)
    true_files = [[corpus.face_path(item) for item in person.faces] for person in corpus.records]
    agreements, errors = {}, {}
    for drawer in systems.image_systems:
        generate_images(outputs, drawer.name, models[drawer.name], voices, None if drawer.is_fast else chosen)
        made = outputs.images[drawer.name]
        if drawer.is_fast and (found := measure_image_agreement(made, true_files, data.settings, data.ids)):
            agreements[drawer.name] = found
    for modeller in systems.mesh_systems:
        maker = models[modeller.name]
        generate_meshes(outputs, modeller.name, maker, voices)
        if maker.landmarks is not None:
            error = compare_mesh_errors(outputs.meshes[modeller.name], maker.landmarks, heads)
            if error:
                errors[modeller.name] = error
    return agreements, errors, chosen


def write_demo_page(
    out: Path,
    systems: "SystemSet",
    models: dict[str, Any],
    data: DemoData,
    outputs: "SystemOutputs",
    comparison: "Comparison | None",
    runs: dict[str, Path],
    *,
    pretrained: bool,
) -> Path:
    """Make pictures and heads of the voices, judge them, write the page and its numbers.

    Args:
        out: folder for them.
        systems: who takes part.
        models: what each one's `load` gave.
        data: the people.
        outputs: from `compare`, as `comparison`.
        runs: systems that were trained here -> run folder.
        pretrained: for the words on the page.

    Returns:
        The page.
    """
    from voiceface.io.atomic import write_json
    from voiceface.report import SYNTHETIC_PAGE_DISCLAIMER, build_report, collect_environment
    from voiceface.report.comparison_report import (
        build_differences,
        build_result_rows,
        format_comparison_table,
        summarise_comparison,
    )
    from voiceface.report.list_results import build_cmc_plots, build_roc_plots, summarise_protocol
    from voiceface.report.records import SystemResults
    from voiceface.suite import sections
    from voiceface.suite.cards import build_system_cards
    from voiceface.suite.scoring import generate_ground_truth_heads

    corpus, voices = data.corpus, build_utterances(data)
    names = [person.identity.face_id for person in corpus.records]
    agreements, errors, chosen = generate_and_score(systems, models, data, outputs)
    heads = generate_ground_truth_heads(data.settings, data.ids)
    words = shlex.join(["voiceface", "demo", *(["--pretrained"] if pretrained else []), "--out", out.name])
    met = {name: len(set(people) & set(names)) for name, people in outputs.training_identities.items()}
    said = list(summarise_demo({name: count for name, count in met.items() if count}, pretrained=pretrained))
    gaps = build_differences(comparison) if comparison else []
    if comparison:
        said += summarise_comparison(comparison, gaps)
    print(format_comparison_table(comparison) if comparison and len(comparison.systems) > 1 else "")
    record: dict[str, Any] = {
        "format": "voiceface-demo-2",
        "quick": pretrained,
        "people": len(corpus),
        "voices": [voices[row].identity for row in chosen],
        "weights": outputs.checkpoint_sources | {name: run.as_posix() for name, run in runs.items()},
        "absent": systems.unavailable,
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
            "training": "bundled weights" if pretrained else f"{len(runs)} systems here",
            "coupling of voice and face": f"{data.settings.rho:g}",
        },
        disclaimers=[
            SYNTHETIC_PAGE_DISCLAIMER,
            *(t for t in outputs.disclaimers if "synthetic population" not in t.lower()),
        ],
        summary=said,
        headlines=sections.build_headlines(comparison, agreements, errors),
        system_cards=build_system_cards(
            outputs,
            voices,
            build_gallery(data),
            chosen,
            system_names=[system.name for system in systems.found],
            true_faces=[corpus.face_path(person.faces[0]) for person in corpus.records],
            true_meshes=list(heads.vertices),
            true_triangles=heads.triangles,
        ),
        cards_title=f"{_number_word(len(chosen))} voices",
        cards_hint=SELECTION_NOTE.format(people=len(corpus)),
        system_tables=[
            sections.build_systems_table(
                systems,
                outputs,
                names,
                dict.fromkeys(models, "bundled") | dict.fromkeys(runs, "trained here, quick configuration"),
            )
        ],
        systems=[SystemResults(name, build_result_rows(comparison, name)) for name in results]
        if comparison
        else [],
        combined_title="Ranking faces and voices" if len(results) > 1 else "",
        differences=[gap for gap in gaps if gap.list_name.startswith("all pairs")],
        tables=sections.build_tables(agreements, errors),
        roc=build_roc_plots(results, comparison.references) if comparison else [],
        cmc=build_cmc_plots(results, comparison.references) if comparison else [],
        logs={name: run for name, run in runs.items() if (run / "log.jsonl").is_file()} or None,
        log_names=["total_loss"],
        protocol=summarise_protocol(results) if results else None,
        responsible_use=sections.RESPONSIBLE_USE,
        environment=collect_environment(),
        commands=[words],
        max_bytes=18_000_000,
    )


def summarise_demo(training_overlap: Mapping[str, int], *, pretrained: bool) -> Iterator[str]:
    """What kind of page this is.

    Args:
        training_overlap: system -> how many of the people who are judged it was trained on, where there are any.
        pretrained: all weights are bundled ones.
    """
    if pretrained:
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
    if training_overlap:
        known = ", ".join(f"{name} {count}" for name, count in training_overlap.items())
        yield f"Some of those who are judged took part in a training ({known}): its figures are too high."
    else:
        yield "Nobody who is judged or heard on this page took part in any training that the weights name."


def _number_word(count: int) -> str:
    return {1: "One", 2: "Two", 3: "Three", 4: "Four"}.get(count, str(count))
