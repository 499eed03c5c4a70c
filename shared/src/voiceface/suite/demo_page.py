"""Evaluate all systems on synthetic identities, and write the page of `voiceface demo`."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.suite.demo_data import PRESET, DemoData, build_gallery, build_utterances

if TYPE_CHECKING:
    from voiceface.evaluation.comparison import Comparison
    from voiceface.suite.demo_generation import GeneratedResults
    from voiceface.suite.inference import SystemOutputs
    from voiceface.suite.plugins import SystemSet

__all__ = [
    "embed_and_compare",
    "summarise_demo",
    "summarise_results",
    "write_demo_page",
]

PRETRAINED_LISTS = ("match_g_v2f_2_test", "match_v2f_2_test", "verify_g_v2f_test", "reterival_v2f_test")
SELECTION_NOTE = (
    "The first two women and the first two men of the test list that occur in no training set. Every system "
    "receives the utterance that you can play. Faces are ranked in a gallery of {num_identities} identities, "
    "one image each; the number below a face is its cosine similarity. Drag a head to turn it."
)


def embed_and_compare(
    out: Path,
    systems: "SystemSet",
    models: dict[str, Any],
    data: DemoData,
    outputs: "SystemOutputs",
    *,
    pretrained: bool = False,
) -> "Comparison | None":
    """Embed utterances and images of the test identities with every association system, and compare them.

    Args:
        out: folder for the cache of embeddings.
        systems: the systems.
        models: loaded model of each system.
        data: the identities.
        outputs: receives the cosine similarities of the first utterances and first images of all identities.
        pretrained: compare on fewer trial lists.

    Returns:
        The comparison; None without an association system.
    """
    import numpy as np

    from voiceface.association.config import TEST_LISTS
    from voiceface.association.data import load_trial_lists
    from voiceface.association.evaluation import embed_corpus
    from voiceface.commandline.arguments import COMPARISON_SAMPLES
    from voiceface.evaluation.comparison import compare_systems
    from voiceface.evaluation.protocol import Protocol

    corpus = data.corpus
    lists = load_trial_lists(
        data.root, PRETRAINED_LISTS if pretrained else TEST_LISTS, corpus, on_missing="skip"
    )
    tables = {}
    for system in systems.association_systems:
        model = models[system.name]
        outputs.record_system(system.name, model)
        voices, faces = embed_corpus(model, corpus, lists, cache=out / "cache")
        tables[system.name] = [(voices, faces)]
        first_voices = voices.group_means([[record.voices[0]] for record in corpus.records])
        first_faces = faces.group_means([[record.faces[0]] for record in corpus.records])
        first_voices /= np.linalg.norm(first_voices, axis=1, keepdims=True)
        first_faces /= np.linalg.norm(first_faces, axis=1, keepdims=True)
        outputs.scores[system.name] = (first_voices @ first_faces.T).astype(float)
    if not tables:
        return None
    protocol = Protocol(f"{PRESET} population, test identities", lists, replicates=COMPARISON_SAMPLES)
    return compare_systems(tables, protocol, corpus, population=data.root, min_systems=1)


def write_demo_page(
    out: Path,
    systems: "SystemSet",
    models: dict[str, Any],
    data: DemoData,
    outputs: "SystemOutputs",
    comparison: "Comparison | None",
    runs: dict[str, Path],
    generated: "GeneratedResults",
    *,
    pretrained: bool,
) -> Path:
    """Write the page and its JSON file.

    Args:
        out: folder for them.
        systems: the systems.
        models: loaded model of each system.
        data: the identities.
        outputs: outputs of all systems.
        comparison: comparison of the association systems, None without one.
        runs: systems that were trained in this demo -> run folder.
        generated: evaluation of generated images and heads.
        pretrained: the bundled checkpoints were used.

    Returns:
        The page.
    """
    from voiceface.io.atomic import write_json
    from voiceface.report import SYNTHETIC_PAGE_DISCLAIMER, build_report, collect_environment
    from voiceface.report.comparison_report import (
        build_differences,
        build_result_rows,
        summarise_comparison,
    )
    from voiceface.report.list_results import build_cmc_plots, build_roc_plots, summarise_protocol
    from voiceface.report.records import SystemResults
    from voiceface.suite import sections
    from voiceface.suite.cards import build_system_cards
    from voiceface.suite.scoring import generate_ground_truth_heads

    corpus, utterances = data.corpus, build_utterances(data)
    names = [record.identity.face_id for record in corpus.records]
    agreements, errors, card_rows = generated.agreements, generated.mesh_errors, generated.card_rows
    heads = generate_ground_truth_heads(data.settings, data.ids)
    command = shlex.join(["voiceface", "demo", *(["--pretrained"] if pretrained else []), "--out", out.name])
    overlap = {name: len(set(seen) & set(names)) for name, seen in outputs.training_identities.items()}
    overlap = {name: count for name, count in overlap.items() if count}
    summary = list(summarise_demo(overlap, pretrained=pretrained))
    differences = build_differences(comparison) if comparison else []
    if comparison:
        summary += summarise_comparison(comparison, differences)
    record: dict[str, Any] = {
        "format": "voiceface-demo-2",
        "pretrained": pretrained,
        "num_identities": len(corpus),
        "identities_shown": [utterances[row].identity for row in card_rows],
        "checkpoints": outputs.checkpoint_sources | {name: run.as_posix() for name, run in runs.items()},
        "unavailable": systems.unavailable,
        "association": comparison.to_dict() if comparison else None,
        "images": {name: agreement.to_dict() for name, agreement in agreements.items()},
        "heads": {name: asdict(error) for name, error in errors.items()},
    }
    write_json(out / "report.json", record)
    results = comparison.systems if comparison else {}
    return build_report(
        out / "report.html",
        title="From a voice to a face",
        kicker=f"{len(systems.found)} systems, one synthetic population",
        subtitle="Outputs of all systems for unseen synthetic voices, with metrics on the same identities.",
        facts={
            "test identities": len(corpus),
            "training": "bundled checkpoints" if pretrained else f"{len(runs)} systems trained in this demo",
            "voice-face coupling ρ": f"{data.settings.rho:g}",
        },
        disclaimers=[
            SYNTHETIC_PAGE_DISCLAIMER,
            *(text for text in outputs.disclaimers if "synthetic population" not in text.lower()),
        ],
        summary=summary,
        headlines=sections.build_headlines(comparison, agreements, errors, generated.num_heads),
        system_cards=build_system_cards(
            outputs,
            utterances,
            build_gallery(data),
            card_rows,
            system_names=[system.name for system in systems.found],
            true_faces=[corpus.face_path(record.faces[0]) for record in corpus.records],
            true_meshes=list(heads.vertices),
            true_triangles=heads.triangles,
        ),
        cards_title=f"{_number_word(len(card_rows))} voices",
        cards_hint=SELECTION_NOTE.format(num_identities=len(corpus)),
        system_tables=[
            sections.build_systems_table(
                systems,
                outputs,
                names,
                dict.fromkeys(models, "bundled")
                | dict.fromkeys(runs, "trained in this demo, quick configuration"),
            )
        ],
        systems=[SystemResults(name, build_result_rows(comparison, name)) for name in results]
        if comparison
        else [],
        combined_title="Matching, verification and retrieval" if len(results) > 1 else "",
        differences=differences,
        tables=sections.build_tables(agreements, errors, generated.num_heads),
        roc=build_roc_plots(results, comparison.references) if comparison else [],
        cmc=build_cmc_plots(results, comparison.references) if comparison else [],
        logs={name: run for name, run in runs.items() if (run / "log.jsonl").is_file()} or None,
        log_names=["total_loss"],
        protocol=summarise_protocol(results) if results else None,
        responsible_use=sections.RESPONSIBLE_USE,
        environment=collect_environment(),
        commands=[command],
        max_bytes=18_000_000,
    )


def summarise_demo(training_overlap: Mapping[str, int], *, pretrained: bool) -> Iterator[str]:
    """Origin of the checkpoints, and the test identities that occur in their training.

    Args:
        training_overlap: system -> number of test identities in its training set, where there are any.
        pretrained: all checkpoints are bundled ones.
    """
    if pretrained:
        yield (
            "All checkpoints are the bundled ones. They were trained on different identities and voice-face "
            "couplings, so differences between systems are differences between checkpoints, not methods. "
            "The full demo trains the association systems on the same identities."
        )
    else:
        yield (
            "The association systems were trained in this demo on other identities of the same population. "
            "The generators of images and heads use their bundled checkpoints."
        )
    if training_overlap:
        counts = ", ".join(f"{name} {count}" for name, count in training_overlap.items())
        yield f"Some test identities occur in a training set ({counts}): these metrics are too high."
    else:
        yield "No test identity of this page occurs in a training set that the checkpoints name."


def summarise_results(comparison: "Comparison | None", generated: "GeneratedResults") -> Iterator[str]:
    """Summarise matching, generated images and generated heads, one line each, for the terminal."""
    from voiceface.report.formatting import format_interval, format_metric
    from voiceface.suite.scoring import MEAN_FACE

    def show(metric: Any, size: str = "") -> str:
        return f"{format_metric(metric.value)} ({format_interval(metric.low, metric.high)}{size})"

    label = "same-gender 1:2 matching"
    if comparison and comparison.all_pairs:
        pairs = comparison.all_pairs[0]
        values = ", ".join(f"{name} {show(each['g'])}" for name, each in pairs.systems.items() if "g" in each)
        yield f"{label} (chance 50 %, 95 % intervals over {pairs.num_identities} identities): {values}"
    values = ", ".join(
        f"{name} {show(each.metrics[label], f', {each.num_identities} identities')}"
        for name, each in generated.agreements.items()
        if label in each.metrics
    )
    if values:
        yield f"{label} of generated images (chance 50 %, 95 % intervals): {values}"
    errors = ", ".join(
        f"{name} {error.ours.value:.4f} (mean face {error.baselines[MEAN_FACE].value:.4f}, "
        f"{generated.num_heads[name]} identities)"
        for name, error in generated.mesh_errors.items()
    )
    if errors:
        yield f"mean error of head proportions (lower is better): {errors}"


def _number_word(count: int) -> str:
    return {1: "One", 2: "Two", 3: "Three", 4: "Four"}.get(count, str(count))
