"""Results on trial lists as rows, plots and protocol of a page."""

from collections.abc import Mapping

import numpy as np

from voiceface.evaluation.results import ListResult, Results
from voiceface.report.formatting import DIRECTION_PHRASES, STRATUM_NAMES
from voiceface.report.records import Curve, Direction, Plot, ProtocolSummary, ResultRow, TrialListRow

__all__ = [
    "TASK_TITLES",
    "build_cmc_plots",
    "build_result_row",
    "build_roc_plots",
    "describe_task",
    "format_percent",
    "get_direction",
    "get_reference_value",
    "get_task_title",
    "nan_to_none",
    "summarise_protocol",
]

TASK_TITLES = {"match": "1:{n} matching", "verify": "Verification (AUC)", "retrieval": "Retrieval (mAP)"}


def build_result_row(result: ListResult, references: Mapping[str, Results]) -> ResultRow:
    """Build the row of one list: main metric with its interval and reference values."""
    main = result.main_metric
    return ResultRow(
        get_task_title(result),
        main.value,
        direction=get_direction(result),
        stratum=result.trial_list.stratum,
        list_name=result.label,
        low=nan_to_none(main.low),
        high=nan_to_none(main.high),
        chance=main.chance,
        baseline=get_reference_value(result, references, "gender-only baseline"),
        upper_bound=get_reference_value(result, references, "oracle upper bound"),
        num_trials=result.counts.get("trials"),
    )


def summarise_protocol(systems: Mapping[str, Results]) -> ProtocolSummary:
    """Summarise the protocol of all systems: rules, counts, trial lists, fingerprints of the models."""
    results = next(iter(systems.values()))
    rules = results.protocol
    lists = [
        TrialListRow(
            result.name,
            get_task_title(result),
            get_direction(result),
            result.trial_list.stratum,
            len(result.used_trials),
            result.trial_list.sha256,
        )
        for result in results.lists
    ]
    num_generated = sum(result.trial_list.is_generated for result in results.lists)
    facts = {
        "tie breaking": {
            "expected": "a tie among k counts 1/k",
            "first": "the first of the best candidates counts",
        }[rules.tie_breaking],
        "intervals": f"{100 * rules.confidence:g} %, {rules.replicates} bootstrap samples of identities, "
        f"seed {rules.seed}",
        "strata": ", ".join(f"{key} = {STRATUM_NAMES.get(key, key)}" for key in rules.strata),
        "generated lists (not published)": f"{num_generated} of {len(lists)}",
        "skipped trials": sum(result.counts.get("skipped", 0) for result in results.lists),
        "test identities in a training set": len({name for each in systems.values() for name in each.leaked}),
        "protocol SHA-256": rules.sha256,
    }
    for label, each in systems.items():
        suffix = f", {label}" if len(systems) > 1 else ""
        facts |= {
            f"voice model, fingerprint{suffix}": each.voice_fingerprint,
            f"face model, fingerprint{suffix}": each.face_fingerprint,
        }
    return ProtocolSummary(rules.name, lists, facts)


def build_roc_plots(systems: Mapping[str, Results], references: Mapping[str, Results]) -> list[Plot]:
    """Build one ROC plot per verification list: all systems, references, chance level."""
    plots = []
    for result in next(iter(systems.values())).lists:
        if result.trial_list.kind != "verify":
            continue
        curves = []
        for label, each in systems.items():
            system_result = each.by_name[result.name]
            x, y = system_result.curve["roc"]
            curves.append(Curve(label, x, y, note=f"AUC {format_percent(system_result.main_metric.value)}"))
        curves += _reference_curves(result, references, "roc", "AUC")
        curves.append(Curve("chance level", [0, 1], [0, 1], kind="chance"))
        stratum = result.trial_list.stratum
        description = (
            f"{DIRECTION_PHRASES[result.trial_list.direction]}, {STRATUM_NAMES.get(stratum, stratum)}"
        )
        plots.append(
            Plot(
                f"ROC, {description}",
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
    """Build one CMC plot per retrieval list: all systems and references."""
    plots = []
    for result in next(iter(systems.values())).lists:
        if result.trial_list.kind != "retrieval":
            continue
        curves = []
        for label, each in systems.items():
            system_result = each.by_name[result.name]
            values = system_result.curve["cmc"]
            curves.append(
                Curve(
                    label,
                    np.arange(1, len(values) + 1),
                    values,
                    note=f"mAP {format_percent(system_result.main_metric.value)}",
                )
            )
        curves += _reference_curves(result, references, "cmc", "mAP")
        title = f"CMC, {DIRECTION_PHRASES[result.trial_list.direction]}"
        plots.append(
            Plot(title, curves, "rank k", "identification rate", None, (0, 1), y_percent=True, x_log=True)
        )
    return plots


def get_task_title(result: ListResult) -> str:
    """Name of the task of a list."""
    return TASK_TITLES[result.trial_list.kind].format(n=result.trial_list.num_candidates)


def describe_task(result: ListResult) -> str:
    """Task with its stratum, such as "same-gender 1:2 matching"; retrieval has a single stratum."""
    title = get_task_title(result)
    title = title[0].lower() + title[1:]
    if result.trial_list.kind == "retrieval":
        return title
    stratum = result.trial_list.stratum
    return f"{STRATUM_NAMES.get(stratum, stratum)} {title}"


def get_reference_value(result: ListResult, references: Mapping[str, Results], name: str) -> float | None:
    """Main metric of a reference system on the same list, or None without that reference."""
    reference = references[name].by_name.get(result.name) if name in references else None
    return None if reference is None else reference.main_metric.value


def get_direction(result: ListResult) -> Direction:
    """Direction of a list."""
    return result.trial_list.direction  # type: ignore[return-value]


def nan_to_none(value: float) -> float | None:
    """None for NaN."""
    return None if np.isnan(value) else float(value)


def format_percent(value: float | None) -> str:
    """Format a fraction in per cent."""
    return "–" if value is None or np.isnan(value) else f"{100 * value:.1f} %"


def _reference_curves(
    result: ListResult, references: Mapping[str, Results], curve_key: str, metric_name: str
) -> list[Curve]:
    curves = []
    for name, kind in (("gender-only baseline", "baseline"), ("oracle upper bound", "upper_bound")):
        if name in references and result.name in references[name].by_name:
            system_result = references[name].by_name[result.name]
            x, y = (
                system_result.curve["roc"]
                if curve_key == "roc"
                else (np.arange(1, len(system_result.curve["cmc"]) + 1), system_result.curve["cmc"])
            )
            note = f"{metric_name} {format_percent(system_result.main_metric.value)}"
            curves.append(Curve(name, x, y, kind=kind, note=note))  # type: ignore[arg-type]
    return curves
