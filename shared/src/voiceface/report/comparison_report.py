"""Page and terminal table that compare several systems on the same identities and trial lists."""

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from voiceface.evaluation.all_pairs import describe_sampling
from voiceface.evaluation.all_pairs_comparison import DISPLAYED_METRICS
from voiceface.evaluation.comparison import Comparison, count_tests
from voiceface.metrics.bootstrap import PairedDifference
from voiceface.metrics.unavailable import describe_unavailable
from voiceface.report.formatting import DIRECTION_PHRASES, format_difference
from voiceface.report.list_results import (
    build_cmc_plots,
    build_result_row,
    build_roc_plots,
    describe_task,
    format_percent,
    get_task_title,
    nan_to_none,
    summarise_protocol,
)
from voiceface.report.page import build_report, collect_environment
from voiceface.report.records import PairedDifferenceRow, ResultRow, SystemResults, Table

__all__ = [
    "build_differences",
    "build_result_rows",
    "describe_table",
    "format_comparison_table",
    "summarise_comparison",
    "write_comparison_report",
]

ALL_PAIRS_TASKS = {
    "g": ("1:2 matching", "G"),
    "u": ("1:2 matching", "U"),
    "auc_g": ("Verification (AUC)", "G"),
    "auc": ("Verification (AUC)", "U"),
    "map": ("Retrieval (mAP)", "U"),
}


def write_comparison_report(
    out_html: str | PathLike[str],
    comparison: Comparison,
    *,
    title: str = "",
    disclaimers: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
    commands: Sequence[str] = (),
) -> Path:
    """Write one page: plot and table of all systems, paired differences, ROC and CMC.

    Args:
        out_html: file to write.
        comparison: result of `voiceface.evaluation.comparison`.
        title: heading; by default the names of the systems.
        disclaimers: warnings at the top of the page.
        facts: name -> short text under the title.
        commands: shell lines that reproduce the page.
    """
    differences, names = build_differences(comparison), list(comparison.systems)
    return build_report(
        out_html,
        title=title or ", ".join(names[:-1]) + f" and {names[-1]}",
        subtitle=f"{len(comparison.systems)} systems on the same identities, files and trial lists.",
        facts=facts,
        disclaimers=disclaimers,
        summary=list(summarise_comparison(comparison, differences)),
        systems=[SystemResults(name, build_result_rows(comparison, name)) for name in comparison.systems],
        combined_title="All systems",
        differences=differences,
        tables=_build_run_tables(comparison),
        roc=build_roc_plots(comparison.systems, comparison.references),
        cmc=build_cmc_plots(comparison.systems, comparison.references),
        protocol=summarise_protocol(comparison.systems),
        unavailable=comparison.unavailable,
        environment=collect_environment(),
        commands=commands,
    )


def format_comparison_table(comparison: Comparison) -> str:
    """Format a text table with a line per list and per metric over all pairs.

    Columns: the references where they are known, then value and interval of each system, then the
    difference of every two systems with interval, p-value and Holm-adjusted p-value. Lists that could not
    be computed follow with their reasons.
    """
    with_references = bool(comparison.references)
    first = comparison.first
    lines = [
        ["", "chance level", *(["gender-only baseline", "oracle upper bound"] if with_references else [])]
    ]
    lines[0] += [*comparison.systems, *(f"{one} - {other}" for one, other in comparison.differences)]
    for result in comparison.systems[first].lists:
        name = result.name
        references = [
            each.by_name[name].main_metric.value if name in each.by_name else float("nan")
            for each in comparison.references.values()
        ]
        row = [result.label, *map(_format_fraction, (result.main_metric.chance, *references))]
        for each in comparison.systems.values():
            main = each.by_name[name].main_metric
            row.append(f"{main.value:.3f}  {main.low:.3f} ... {main.high:.3f}")
        lines.append(
            [*row, *(_format_difference_cell(gaps[name]) for gaps in comparison.differences.values())]
        )
    for pairs in comparison.all_pairs:
        for key in DISPLAYED_METRICS:
            if key not in pairs.systems[first]:
                continue
            row = [
                f"{describe_sampling(pairs.setting)}, {key}",
                *(_format_fraction(metrics[key]) for metrics in pairs.references.values()),
            ]
            for interval in (pairs.systems[name][key] for name in comparison.systems):
                row.append(f"{interval.value:.3f}  {interval.low:.3f} ... {interval.high:.3f}")
            lines.append([*row, *(_format_difference_cell(gaps[key]) for gaps in pairs.differences.values())])
    widths = [max(map(len, column)) for column in zip(*lines)]
    rows = [
        "   ".join(f"{cell:{'<' if i == 0 else '>'}{widths[i]}}" for i, cell in enumerate(line)).rstrip()
        for line in lines
    ]
    return "\n".join(rows + [describe_unavailable(comparison.unavailable)] * bool(comparison.unavailable))


def describe_table(comparison: Comparison) -> str:
    """Legend of `format_comparison_table`."""
    rules = comparison.protocol
    text = [
        f"{rules.confidence:.0%} intervals and two-sided p from {rules.replicates} bootstrap samples",
        f"Holm: p corrected for all {count_tests(comparison)} tests",
    ]
    if comparison.all_pairs:
        text.append(
            f"single, avg: all pairs of {comparison.all_pairs[0].num_identities} identities in both "
            "directions, g and auc_g within a gender"
        )
    averaged = [
        f"{name} is the mean of {len(runs)} runs" for name, runs in comparison.runs.items() if len(runs) > 1
    ]
    return "; ".join([*text, *averaged, *(["intervals do not cover runs"] if averaged else [])])


def build_result_rows(comparison: Comparison, system: str) -> list[ResultRow]:
    """Build the result rows of one system; within a task, metrics over all pairs precede the lists."""
    rows = [
        ResultRow(
            ALL_PAIRS_TASKS[key][0],
            span.value,
            direction="both",
            stratum=ALL_PAIRS_TASKS[key][1],
            list_name=f"all pairs, {describe_sampling(pairs.setting)}",
            low=nan_to_none(span.low),
            high=nan_to_none(span.high),
            chance=pairs.references["chance level"][key],
            baseline=pairs.references["gender-only baseline"][key],
            upper_bound=pairs.references.get("oracle upper bound", {}).get(key),
        )
        for pairs in comparison.all_pairs
        for key, span in pairs.systems[system].items()
        if key in ALL_PAIRS_TASKS
    ]
    rows.sort(key=lambda row: row.stratum != "G")
    rows += [build_result_row(result, comparison.references) for result in comparison.systems[system].lists]
    tasks = list(dict.fromkeys(get_task_title(result) for result in comparison.systems[system].lists))
    return sorted(rows, key=lambda row: (*tasks, row.task).index(row.task))


def build_differences(comparison: Comparison) -> list[PairedDifferenceRow]:
    """Build the rows of all paired differences: metrics over all pairs, then lists."""
    rows = []
    for pair in comparison.differences:
        for pairs in comparison.all_pairs:
            for key in DISPLAYED_METRICS:
                if key in pairs.differences[pair]:
                    name = _capitalise(DISPLAYED_METRICS[key])
                    sampling = f"all pairs, {describe_sampling(pairs.setting)}"
                    rows.append(_build_difference(pair, pairs.differences[pair][key], name, sampling))
        for result in comparison.systems[comparison.first].lists:
            name = f"{describe_task(result)}, {DIRECTION_PHRASES[result.trial_list.direction]}"
            difference = comparison.differences[pair][result.name]
            rows.append(_build_difference(pair, difference, _capitalise(name), result.label))
    return rows


def _build_difference(
    systems: tuple[str, str], difference: PairedDifference, description: str, list_name: str
) -> PairedDifferenceRow:
    return PairedDifferenceRow(
        *systems,
        description,
        difference.value,
        nan_to_none(difference.low),
        nan_to_none(difference.high),
        difference.p_value,
        list_name=list_name,
        adjusted_p_value=difference.adjusted_p_value,
    )


def summarise_comparison(comparison: Comparison, differences: Sequence[PairedDifferenceRow]) -> Iterator[str]:
    """Summary of a comparison in sentences."""
    metric_name = comparison.systems[comparison.first].lists[0].name
    values = {name: results.lists[0].main_metric.value for name, results in comparison.systems.items()}
    gaps = {pair: gaps[metric_name] for pair, gaps in comparison.differences.items()}
    if comparison.all_pairs and "g" in comparison.all_pairs[0].systems[comparison.first]:
        pairs = comparison.all_pairs[0]
        metric_name = f"Same-gender 1:2 matching over all pairs of {pairs.num_identities} identities"
        values = {name: metrics["g"].value for name, metrics in pairs.systems.items()}
        gaps = {pair: metrics["g"] for pair, metrics in pairs.differences.items()}
    shown = ", ".join(f"{name} {format_percent(value)}" for name, value in values.items())
    yield f"{metric_name}: {shown}."
    for (first, second), difference in gaps.items():
        rows = [d for d in differences if (d.system_a, d.system_b) == (first, second)]
        better = sum(d.is_significant and d.value > 0 for d in rows)
        worse = sum(d.is_significant and d.value < 0 for d in rows)
        yield (
            f"{first} against {second}: {format_difference(difference.value)} in this metric "
            f"({format_difference(difference.low).split()[0]} to {format_difference(difference.high)}). "
            f"Of {len(rows)} metrics, {first} is better in {better}, {second} in {worse}, "
            f"and {len(rows) - better - worse} show no clear difference."
        )
    for name, runs in comparison.runs.items():
        if len(runs) > 1:
            yield f"{name}: means over {len(runs)} runs. Its intervals cover identities, not runs."
    if comparison.num_skipped:
        yield (
            f"{comparison.num_skipped} clips and images were skipped for all systems because some system has "
            "no embedding for them."
        )


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def _build_run_tables(comparison: Comparison) -> list[Table]:
    """Results of every run of the systems with several runs."""
    tables = []
    for name, runs in comparison.runs.items():
        if len(runs) < 2:
            continue
        rows: list[list[Any]] = []
        for pairs in comparison.all_pairs:
            for key in DISPLAYED_METRICS:
                if key in pairs.runs[name]:
                    label = f"{DISPLAYED_METRICS[key]}, all pairs, {describe_sampling(pairs.setting)}"
                    rows.append([label, *_format_runs(pairs.runs[name][key])])
        for index, result in enumerate(runs[0].lists):
            rows.append([result.label, *_format_runs([run.lists[index].main_metric.value for run in runs])])
        columns = [
            "metric",
            *(f"run {number}" for number in range(1, len(runs) + 1)),
            "mean",
            "standard deviation",
        ]
        note = "The standard deviation is between the runs."
        tables.append(Table(f"Runs of {name}", columns, rows, note))
    return tables


def _format_runs(values: Sequence[float]) -> list[str]:
    return [
        *map(format_percent, values),
        format_percent(float(np.mean(values))),
        format_percent(float(np.std(values, ddof=1))),
    ]


def _format_difference_cell(difference: PairedDifference) -> str:
    adjusted = difference.adjusted_p_value
    return (
        f"{difference.value:+.3f}  {difference.low:+.3f} ... {difference.high:+.3f}  p "
        f"{difference.p_value:.3f}" + ("" if adjusted is None else f"  Holm {adjusted:.3f}")
    )


def _format_fraction(value: float) -> str:
    return f"{value:.3f}"
