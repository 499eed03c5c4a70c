"""Results on trial lists as rows, plots and protocol of a page."""

from collections.abc import Mapping

import numpy as np

from voiceface.evaluation.results import ListResult, Results
from voiceface.report.formatting import DIRECTION_PHRASES, STRATUM_NAMES
from voiceface.report.records import Curve, Direction, Plot, ProtocolSummary, ResultRow, TrialListRow

TASK_TITLES = {"match": "1:{n} matching", "verify": "Verification (AUC)", "retrieval": "Retrieval (mAP)"}


def build_result_row(found: ListResult, references: Mapping[str, Results]) -> ResultRow:
    """Main metric of one list with its interval and its reference values."""
    main = found.main_metric
    return ResultRow(
        get_task_title(found),
        main.value,
        direction=get_direction(found),
        stratum=found.trial_list.stratum,
        list_name=found.label,
        low=nan_to_none(main.low),
        high=nan_to_none(main.high),
        chance=main.chance,
        baseline=get_reference_value(found, references, "gender-only baseline"),
        upper_bound=get_reference_value(found, references, "oracle upper bound"),
        num_trials=found.counts.get("trials"),
    )


def summarise_protocol(systems: Mapping[str, Results]) -> ProtocolSummary:
    """Rules, counts and trial lists of the protocol of all systems, and the fingerprints of their models."""
    results = next(iter(systems.values()))
    rules = results.protocol
    lists = [
        TrialListRow(
            found.name,
            get_task_title(found),
            get_direction(found),
            found.trial_list.stratum,
            len(found.used_trials),
            found.trial_list.sha256,
        )
        for found in results.lists
    ]
    own = sum(found.trial_list.is_generated for found in results.lists)
    facts = {
        "tie breaking": {
            "expected": "a tie among k counts 1/k",
            "first": "the first of the best candidates counts",
        }[rules.tie_breaking],
        "intervals": f"{rules.confidence:.0%}, {rules.replicates} bootstrap samples of identities, seed "
        f"{rules.seed}",
        "strata": ", ".join(f"{key} = {STRATUM_NAMES.get(key, key)}" for key in rules.strata),
        "generated lists (not published)": f"{own} of {len(lists)}",
        "skipped trials": sum(found.counts.get("skipped", 0) for found in results.lists),
        "identities also in training": len({name for each in systems.values() for name in each.leaked}),
        "protocol SHA-256": rules.sha256,
    }
    for label, each in systems.items():
        suffix = f", {label}" if len(systems) > 1 else ""
        facts |= {
            f"voice model{suffix}": each.voice_fingerprint,
            f"face model{suffix}": each.face_fingerprint,
        }
    return ProtocolSummary(rules.name, lists, facts)


def build_roc_plots(systems: Mapping[str, Results], references: Mapping[str, Results]) -> list[Plot]:
    """One ROC plot for each verification list: all systems, the references, chance level."""
    plots = []
    for found in next(iter(systems.values())).lists:
        if found.trial_list.kind != "verify":
            continue
        curves = []
        for label, each in systems.items():
            one = each.by_name[found.name]
            x, y = one.curve["roc"]
            curves.append(Curve(label, x, y, note=f"AUC {format_percent(one.main_metric.value)}"))
        curves += _reference_curves(found, references, "roc", "AUC")
        curves.append(Curve("chance level", [0, 1], [0, 1], kind="chance"))
        stratum = found.trial_list.stratum
        words = f"{DIRECTION_PHRASES[found.trial_list.direction]}, {STRATUM_NAMES.get(stratum, stratum)}"
        plots.append(
            Plot(
                f"ROC, {words}",
                curves,
                "false positive rate",
                "true positive rate",
                (0, 1),
                (0, 1),
                x_percent=True,
                y_percent=True,
            )
        )
    return plots


def build_cmc_plots(systems: Mapping[str, Results], references: Mapping[str, Results]) -> list[Plot]:
    """One CMC plot for each retrieval list: all systems and the references."""
    plots = []
    for found in next(iter(systems.values())).lists:
        if found.trial_list.kind != "retrieval":
            continue
        curves = []
        for label, each in systems.items():
            one = each.by_name[found.name]
            values = one.curve["cmc"]
            curves.append(
                Curve(
                    label,
                    np.arange(1, len(values) + 1),
                    values,
                    note=f"mAP {format_percent(one.main_metric.value)}",
                )
            )
        curves += _reference_curves(found, references, "cmc", "mAP")
        title = f"Identification rate within rank k, {DIRECTION_PHRASES[found.trial_list.direction]}"
        plots.append(Plot(title, curves, "rank k", "probes", None, (0, 1), y_percent=True, x_log=True))
    return plots


def get_task_title(found: ListResult) -> str:
    """Name of the task of a list."""
    return TASK_TITLES[found.trial_list.kind].format(n=found.trial_list.num_candidates)


def get_reference_value(found: ListResult, references: Mapping[str, Results], name: str) -> float | None:
    """Main metric of a reference on the same list; None without that reference."""
    return references[name].by_name[found.name].main_metric.value if name in references else None


def get_direction(found: ListResult) -> Direction:
    """Direction of a list."""
    return found.trial_list.direction  # type: ignore[return-value]


def nan_to_none(value: float) -> float | None:
    """None for NaN."""
    return None if np.isnan(value) else float(value)


def format_percent(value: float | None) -> str:
    """A fraction as text in per cent."""
    return "–" if value is None or np.isnan(value) else f"{100 * value:.1f} %"


def _reference_curves(
    found: ListResult, references: Mapping[str, Results], curve_key: str, metric_name: str
) -> list[Curve]:
    curves = []
    for name, kind in (("gender-only baseline", "baseline"), ("oracle upper bound", "upper_bound")):
        if name in references:
            one = references[name].by_name[found.name]
            x, y = (
                one.curve["roc"]
                if curve_key == "roc"
                else (np.arange(1, len(one.curve["cmc"]) + 1), one.curve["cmc"])
            )
            note = f"{metric_name} {format_percent(one.main_metric.value)}"
            curves.append(Curve(name, x, y, kind=kind, note=note))  # type: ignore[arg-type]
    return curves
