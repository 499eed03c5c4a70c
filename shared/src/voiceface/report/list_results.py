"""Results on evaluation lists as rows, curves and rules of a page."""

from collections.abc import Mapping

import numpy as np

from voiceface.evaluation.results import ListResult, Results
from voiceface.report.formatting import SHARED, WAYS
from voiceface.report.records import Curve, Direction, Plot, Protocol, ProtocolList, ResultRow

TASKS = {"match": "Matching 1:{n}", "verify": "Verification (AUC)", "retrieval": "Retrieval (mAP)"}


def result_row(found: ListResult, references: Mapping[str, Results]) -> ResultRow:
    """Main figure of one list with its interval and what it stands between."""
    main = found.main
    return ResultRow(
        task_of(found),
        main.value,
        direction=direction_of(found),
        stratum=found.questions.stratum,
        list_name=found.name + (" (own list)" if found.questions.is_own else ""),
        low=known(main.low),
        high=known(main.high),
        chance=main.chance,
        baseline=reference_of(found, references, "sex only"),
        ceiling=reference_of(found, references, "oracle"),
        count=found.counts.get("lines"),
    )


def protocol_of(systems: Mapping[str, Results]) -> Protocol:
    """Rules, counts and lists of the protocol under which all systems were evaluated, and their models."""
    results = next(iter(systems.values()))
    rules = results.protocol
    lists = [
        ProtocolList(
            found.name,
            task_of(found),
            direction_of(found),
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
        "people also in training": len({name for each in systems.values() for name in each.leaked}),
        "protocol SHA-256": rules.sha256,
    }
    for label, each in systems.items():
        who = f", {label}" if len(systems) > 1 else ""
        facts |= {f"model of voices{who}": each.voices, f"model of faces{who}": each.faces}
    return Protocol(rules.name, lists, facts)


def roc_plots(systems: Mapping[str, Results], references: Mapping[str, Results]) -> list[Plot]:
    """One plot for each verification list: all systems, the references, chance."""
    plots = []
    for found in next(iter(systems.values())).lists:
        if found.questions.kind != "verify":
            continue
        curves = []
        for label, each in systems.items():
            one = each.by_name[found.name]
            x, y = one.curve["roc"]
            curves.append(Curve(label, x, y, note=f"AUC {percent(one.main.value)}"))
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


def cmc_plots(systems: Mapping[str, Results], references: Mapping[str, Results]) -> list[Plot]:
    """One plot for each retrieval list: all systems and the references."""
    plots = []
    for found in next(iter(systems.values())).lists:
        if found.questions.kind != "retrieval":
            continue
        curves = []
        for label, each in systems.items():
            one = each.by_name[found.name]
            values = one.curve["cmc"]
            curves.append(
                Curve(label, np.arange(1, len(values) + 1), values, note=f"mAP {percent(one.main.value)}")
            )
        curves += _reference_curves(found, references, "cmc", "mAP")
        title = f"Right answer within the first k, {WAYS[found.questions.direction]}"
        plots.append(Plot(title, curves, "k", "queries", None, (0, 1), y_percent=True, x_log=True))
    return plots


def task_of(found: ListResult) -> str:
    """Words for what a list asks."""
    return TASKS[found.questions.kind].format(n=found.questions.choices)


def reference_of(found: ListResult, references: Mapping[str, Results], name: str) -> float | None:
    """Main figure of a reference on the same list, None without that reference."""
    return references[name].by_name[found.name].main.value if name in references else None


def direction_of(found: ListResult) -> Direction:
    """Direction of a list."""
    return found.questions.direction  # type: ignore[return-value]


def known(value: float) -> float | None:
    """None for NaN."""
    return None if np.isnan(value) else float(value)


def percent(value: float | None) -> str:
    """A share as text."""
    return "–" if value is None or np.isnan(value) else f"{100 * value:.1f} %"


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
            note = f"{figure} {percent(one.main.value)}"
            curves.append(Curve(name, x, y, kind=kind, note=note))  # type: ignore[arg-type]
    return curves
