"""`voiceface demo`: every installed system on the same invented people, and one page of what they make.

No model has met the people of the page. A stopped demo goes on where it was.
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.association.comparison import Comparison
    from voiceface.datasets.corpus import Corpus
    from voiceface.population.layout import Settings
    from voiceface.showcase.hearing import Answers, Voice
    from voiceface.showcase.systems import Systems

PRESET = "quick"
OUT = "runs/demo"
QUICK_LISTS = ("match_g_v2f_2_test", "match_v2f_2_test", "verify_g_v2f_test", "reterival_v2f_test")
VOICES_OF_A_SEX = 2
SEXES = {"f": "woman", "m": "man", "": "sex not known"}
RULE = (
    "The first two women and the first two men of the test list whom no model was trained on. Every system "
    "hears the one recording that you can play; the faces are ranked among {people} people, one picture "
    "each. Heads can be turned."
)


@dataclass(frozen=True)
class Material:
    """The invented people of a demo.

    Attributes:
        root: population folder.
        settings: how it was made.
        corpus: its test people.
        ids: their identity numbers.
    """

    root: Path
    settings: "Settings"
    corpus: "Corpus"
    ids: tuple[int, ...]


def demo(
    out: Path,
    *,
    quick: bool = False,
    systems: "Systems | None" = None,
    people: int | None = None,
    jobs: int | None = None,
    workers: int | None = None,
    device: str = "cpu",
) -> Path:
    """Run all systems on one synthetic population and write the page.

    Args:
        out: folder for population, runs and page; what is done there already is kept.
        quick: no training, the bundled weights of all.
        systems: who takes part; None: whoever is installed.
        people: test people; None: those of the preset, 100.
        jobs: trainings at a time; None: as many as there are cores.
        workers: processes that invent people; None takes every core.
        device: where the networks run.

    Returns:
        The page.

    Raises:
        ValueError: no system is there.
    """
    from voiceface.association.data import open_split
    from voiceface.showcase.hearing import load_systems
    from voiceface.showcase.page import absent_line
    from voiceface.showcase.systems import find_systems

    chosen = find_systems() if systems is None else systems
    if not chosen.found:
        raise ValueError("no system is installed that could be shown: pip install ./packages/seeking_shape")
    total, begin = (4, time.monotonic()) if quick else (5, time.monotonic())

    def say(number: int, what: str) -> None:
        print(f"[{number}/{total}] {what}", flush=True)

    for name, why in chosen.absent.items():
        print(absent_line(name, why))
    say(1, "inventing people")
    material = invent(out / "population", quick=quick, people=people, workers=workers)
    runs: dict[str, Path] = {}
    if not quick:
        names = [system.name for system in chosen.associations if system.train]
        say(2, f"training {', '.join(names) or 'nothing'}, by their quick configurations")
        if names:
            from voiceface.showcase.training import train_all

            runs = train_all(names, material.root, out, jobs=jobs or cores(), device=device)
    say(total - 2, f"comparing on {len(material.corpus)} people whom they have never met")
    bank = open_split(material.root, "val")
    pictures = [bank.face_path(item) for item in bank.faces]
    models, chosen = load_systems(chosen, runs, device=device, bank=pictures)
    answers, comparison = compare(out, chosen, models, material, quick=quick)
    say(total - 1, "making pictures and heads of their voices")
    page = show(out, chosen, models, material, answers, comparison, runs, quick=quick)
    print(f"{time.monotonic() - begin:.0f} s in all")
    return page


def invent(root: Path, *, quick: bool, people: int | None = None, workers: int | None = None) -> Material:
    """The population, or of a quick demo its test and validation people alone; the same files either way."""
    from voiceface.association.data import open_split
    from voiceface.population.layout import name_of, settings_of
    from voiceface.population.truth import read_truth
    from voiceface.population.write import write_population

    settings = settings_of(PRESET)
    if people is not None:
        settings = replace(settings, test=people)
    if quick:
        settings = replace(settings, train=0)
    if (root / "truth" / "population.json").is_file():  # what is there may hold more people than are needed
        from voiceface.population.layout import Settings

        there = Settings(**read_settings(root))
        counts = {
            word: max(getattr(settings, word), getattr(there, word)) for word in ("train", "val", "test")
        }
        settings = replace(settings, **counts)
    write_population(root, settings, workers=workers)
    corpus = open_split(root, "test")
    if people is not None:
        corpus = corpus.subset(range(min(people, len(corpus))))
    numbers = {name_of(k, settings): k for k in settings.ids("test")}
    read_truth(root)
    return Material(root, settings, corpus, tuple(numbers[p.identity.face_id] for p in corpus.people))


def read_settings(root: Path) -> dict[str, Any]:
    """Settings in the marker of a population folder, a finished one or not."""
    import json

    from voiceface.population.layout import PopulationError

    marker = root / "truth" / "population.json"
    try:
        found: dict[str, Any] = json.loads(marker.read_text("utf-8"))["settings"]
    except (ValueError, KeyError) as error:
        raise PopulationError(f"{marker} cannot be read ({error}); start again in a new folder") from error
    return found


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

    from voiceface.association.comparison import compare_systems
    from voiceface.association.config import TEST_LISTS
    from voiceface.association.data import lists_of
    from voiceface.association.evaluation import embed_corpus
    from voiceface.metrics.protocol import Protocol
    from voiceface.showcase.hearing import Answers

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


def choose_voices(material: Material, trained_on: Sequence[Sequence[str]]) -> list[int]:
    """Rows of the first women and men of the test people whom nobody was trained on."""
    met = {name for names in trained_on for name in names}
    by_sex: dict[str, list[int]] = {"f": [], "m": []}
    for row, person in enumerate(material.corpus.people):
        rows = by_sex[person.identity.gender]
        if len(rows) < VOICES_OF_A_SEX and not met & {person.identity.face_id, person.identity.name}:
            rows.append(row)
    return [*by_sex["f"], *by_sex["m"]]


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
    """Make pictures and heads of the voices, judge them, write the page and its numbers."""
    from voiceface.files import write_json
    from voiceface.report import SYNTHETIC_NOTICE, build_report, environment
    from voiceface.report.comparison import comparison_table, differences_of, rows_of, sentences_of
    from voiceface.report.list_results import cmc_plots, protocol_of, roc_plots
    from voiceface.report.parts import SystemResults
    from voiceface.showcase import page
    from voiceface.showcase.figures import heads_of, mesh_errors, picture_agreement
    from voiceface.showcase.hearing import draw, model_heads
    from voiceface.showcase.story import stories_of

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
    words = shlex.join(["voiceface", "demo", *(["--quick"] if quick else []), "--out", out.name])
    said = list(summary_of(comparison, quick=quick))
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
        "heads": {name: _plain(error) for name, error in errors.items()},
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
        notice=[SYNTHETIC_NOTICE],
        summary=said,
        headlines=page.headlines_of(comparison, agreements, errors),
        stories=stories_of(
            answers,
            voices,
            faces_of(material),
            chosen,
            names=[system.name for system in systems.found],
            true_faces=[files[0] for files in true_files],
            true_meshes=list(heads.vertices),
            true_triangles=heads.triangles,
        ),
        stories_title=f"{_number(len(chosen))} voices",
        stories_hint=RULE.format(people=len(corpus)),
        cast=[
            page.cast_of(
                systems,
                answers,
                [person.identity.face_id for person in corpus.people],
                dict.fromkeys(models, "bundled") | dict.fromkeys(runs, "trained here, quick configuration"),
            )
        ],
        systems=[SystemResults(name, rows_of(comparison, name)) for name in results] if comparison else [],
        together="Ranking faces and voices" if len(results) > 1 else "",
        differences=[gap for gap in gaps if gap.list_name.startswith("all pairs")],
        tables=page.tables_of(agreements, errors),
        roc=roc_plots(results, comparison.references) if comparison else [],
        cmc=cmc_plots(results, comparison.references) if comparison else [],
        logs={name: run for name, run in runs.items() if (run / "log.jsonl").is_file()} or None,
        log_names=["total_loss"],
        protocol=protocol_of(results) if results else None,
        care=page.CARE,
        environment=environment(),
        commands=[words],
        max_bytes=18_000_000,
    )


def voices_of(material: Material) -> "list[Voice]":
    """The first clip of every test person."""
    from voiceface.showcase.hearing import Voice

    corpus = material.corpus
    return [
        Voice(
            plain_name(person.identity.face_id),
            corpus.voice_path(person.voices[0]),
            person.identity.face_id,
            f"{SEXES[person.identity.gender]}, test person {k}",
        )
        for person, k in zip(corpus.people, material.ids)
    ]


def faces_of(material: Material) -> list[Any]:
    """The first picture of every test person."""
    from voiceface.showcase.hearing import Face

    corpus = material.corpus
    return [
        Face(
            plain_name(person.identity.face_id), (corpus.face_path(person.faces[0]),), person.identity.face_id
        )
        for person in corpus.people
    ]


def plain_name(name: str) -> str:
    """The name of an invented person without its number."""
    return name.split(".")[0].replace("_", " ")


def summary_of(comparison: "Comparison | None", *, quick: bool) -> Sequence[str]:
    """What kind of page this is."""
    if not quick:
        return [
            "The systems that rank were trained here on others of these invented people, those that make "
            "pictures and heads bring their weights along; nobody who is judged or heard on this page took "
            "part in any training."
        ]
    return [
        "All weights are the bundled ones; nobody who is judged or heard on this page took part in their "
        "training. They were not trained on the same people, with the same coupling of voice and face, so "
        "differences between systems are differences of these weights, not of the methods: the full demo "
        "trains all alike."
    ]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code is 0."""
    args = build_parser().parse_args(argv)
    if (args.people is not None and args.people < 4) or (args.jobs is not None and args.jobs < 1):
        raise ValueError(f"--people {args.people} --jobs {args.jobs}: expected at least 4 people and 1 job")
    from voiceface.inputs import writable_folder
    from voiceface.showcase.systems import find_systems

    systems = find_systems()
    systems = systems.only(args.systems) if args.systems else systems
    out = writable_folder(args.out)
    try:
        page = demo(
            out,
            quick=args.quick,
            systems=systems,
            people=args.people,
            jobs=args.jobs,
            workers=args.workers,
            device=args.device,
        )
    except KeyboardInterrupt:
        words = sys.argv[1:] if argv is None else argv
        again = shlex.join(["voiceface", "demo", *[word for word in words if word != "demo"]])
        print(
            f"stopped; what is done is kept in {out}, and the same command goes on: {again}", file=sys.stderr
        )
        return 130
    print(f"open {page}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command line of `voiceface demo`."""
    parser = argparse.ArgumentParser(
        prog="voiceface demo",
        description="Invent people, train the association systems on them, and show on one page what every "
        "installed system makes of the voices of others: ranked faces, pictures, heads that can be turned, "
        "figures with intervals. Run it again to finish a stopped demo.",
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path(OUT), help="folder (default: %(default)s)")
    add("--quick", action="store_true", help="no training: the bundled weights of all systems, some lists")
    add("--systems", nargs="+", metavar="NAME", help="only these (default: all that are installed)")
    add("--people", type=int, help="people to judge by (default: the 100 test people)")
    add("--jobs", type=int, help="trainings at a time (default: one a core)")
    add("--workers", type=int, help="processes that invent people (default: every core)")
    add("--device", default="cpu", help="cpu, cuda or auto (default: %(default)s)")
    return parser


def _plain(error: Any) -> dict[str, Any]:
    """An error with its baselines as plain values."""
    from dataclasses import asdict

    found: dict[str, Any] = asdict(error)
    return found


def _number(count: int) -> str:
    return {1: "One", 2: "Two", 3: "Three", 4: "Four"}.get(count, str(count))


if __name__ == "__main__":
    from voiceface.cli import run_main

    raise SystemExit(run_main("voiceface.showcase.demo", None))
