"""The page and the terminal table of several systems on the same people and lists."""

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from voiceface.evaluation.all_pairs_comparison import DISPLAYED_METRICS, AllPairsComparison
from voiceface.evaluation.comparison import Comparison
from voiceface.metrics.bootstrap import PairedDifference
from voiceface.report.formatting import DIRECTION_PHRASES, STRATUM_NAMES, format_difference
from voiceface.report.list_results import (
    build_cmc_plots,
    build_result_row,
    build_roc_plots,
    format_percent,
    get_task_title,
    nan_to_none,
    summarise_protocol,
)
from voiceface.report.page import build_report, collect_environment
from voiceface.report.records import PairedDifferenceRow, ResultRow, SystemResults, Table

ALL_PAIRS_TASKS = {
    "g": ("Matching 1:2", "G"),
    "u": ("Matching 1:2", "U"),
    "auc_g": ("Verification (AUC)", "G"),
    "auc": ("Verification (AUC)", "U"),
    "map": ("Retrieval (mAP)", "U"),
}


def write_comparison_report(
    out_html: str | PathLike[str],
    found: Comparison,
    *,
    title: str = "",
    disclaimers: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
    commands: Sequence[str] = (),
) -> Path:
    """Write one page: one plot and one table of all systems, paired differences in words, ROC and CMC.

    Args:
        out_html: file to write.
        found: what was found.
        title: heading; None given, the names of the systems.
        disclaimers: warnings.
        facts: name -> short text under the title.
        commands: how to make the page again.
    """
    differences, names = build_differences(found), list(found.systems)
    return build_report(
        out_html,
        title=title or ", ".join(names[:-1]) + f" and {names[-1]}",
        subtitle=f"{len(found.systems)} systems on the same people, files and lists.",
        facts=facts,
        disclaimers=disclaimers,
        summary=list(summarise_comparison(found, differences)),
        systems=[SystemResults(name, build_result_rows(found, name)) for name in found.systems],
        combined_title="All systems",
        differences=differences,
        tables=_build_run_tables(found),
        roc=build_roc_plots(found.systems, found.references),
        cmc=build_cmc_plots(found.systems, found.references),
        protocol=summarise_protocol(found.systems),
        environment=collect_environment(),
        commands=commands,
    )


def format_comparison_table(found: Comparison) -> str:
    """Text table: a line per list (and per figure over all pairs), systems with intervals, differences.

    Columns: chance, sex only and oracle where they are known, then figure and interval of each system, then
    the first system minus each other one with interval and p-value.
    """
    with_references = bool(found.references)
    first, *others = found.systems
    lines = [
        ["", "chance level", *(["gender-only baseline", "oracle upper bound"] if with_references else [])]
    ]
    lines[0] += [*found.systems, *(f"{first} - {other}" for other in others)]
    for result in found.systems[first].lists:
        name = result.name
        told = [found.references[key].by_name[name].main_metric.value for key in found.references]
        row = [name, *map(_format_fraction, (result.main_metric.chance, *told))]
        for each in found.systems.values():
            main = each.by_name[name].main_metric
            row.append(f"{main.value:.3f}  {main.low:.3f} ... {main.high:.3f}")
        lines.append([*row, *(_format_difference_cell(found.differences[other][name]) for other in others)])
    for pairs in found.all_pairs:
        for key in DISPLAYED_METRICS:
            if key not in pairs.systems[first]:
                continue
            row = [
                f"{pairs.setting} {key}",
                *(_format_fraction(told[key]) for told in pairs.references.values()),
            ]
            for span in (pairs.systems[name][key] for name in found.systems):
                row.append(f"{span.value:.3f}  {span.low:.3f} ... {span.high:.3f}")
            lines.append(
                [*row, *(_format_difference_cell(pairs.differences[other][key]) for other in others)]
            )
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "   ".join(f"{cell:{'<' if i == 0 else '>'}{widths[i]}}" for i, cell in enumerate(line)).rstrip()
        for line in lines
    )


def describe_table(found: Comparison) -> str:
    """What the rows and columns of `format_comparison_table` are."""
    rules = found.protocol
    text = [f"{rules.confidence:.0%} intervals and two-sided p from {rules.replicates} draws of people"]
    if found.all_pairs:
        text.append(
            f"single, avg: all pairs of {found.all_pairs[0].num_identities} people in both directions, "
            "g and auc_g within a sex"
        )
    averaged = [
        f"{name} is the mean of {len(runs)} runs" for name, runs in found.runs.items() if len(runs) > 1
    ]
    return "; ".join([*text, *averaged, *(["intervals do not cover runs"] if averaged else [])])


def build_result_rows(found: Comparison, system: str) -> list[ResultRow]:
    """Figures of one system, all pairs before lists within a task."""
    rows = [
        ResultRow(
            ALL_PAIRS_TASKS[key][0],
            span.value,
            direction="both",
            stratum=ALL_PAIRS_TASKS[key][1],
            list_name=f"all pairs, {_describe_sampling(pairs)}",
            low=nan_to_none(span.low),
            high=nan_to_none(span.high),
            chance=pairs.references["chance level"][key],
            baseline=pairs.references["gender-only baseline"][key],
            upper_bound=pairs.references.get("oracle upper bound", {}).get(key),
            num_trials=pairs.num_identities,
        )
        for pairs in found.all_pairs
        for key, span in pairs.systems[system].items()
        if key in ALL_PAIRS_TASKS
    ]
    rows.sort(key=lambda row: row.stratum != "G")
    rows += [build_result_row(result, found.references) for result in found.systems[system].lists]
    tasks = list(dict.fromkeys(get_task_title(result) for result in found.systems[system].lists))
    return sorted(rows, key=lambda row: (*tasks, row.task).index(row.task))


def build_differences(found: Comparison) -> list[PairedDifferenceRow]:
    """First minus every other system: all pairs, then lists."""
    rows = []
    for other in found.differences:
        for pairs in found.all_pairs:
            for key in DISPLAYED_METRICS:
                if key in pairs.differences[other]:
                    gap = pairs.differences[other][key]
                    asked = f"{DISPLAYED_METRICS[key][0].upper()}{DISPLAYED_METRICS[key][1:]}"
                    rows.append(
                        _build_difference(found, other, gap, asked, f"all pairs, {_describe_sampling(pairs)}")
                    )
        for result in found.systems[found.first].lists:
            questions = result.trial_list
            words = [get_task_title(result), DIRECTION_PHRASES[questions.direction]]
            words += (
                []
                if questions.kind == "retrieval"
                else [STRATUM_NAMES.get(questions.stratum, questions.stratum)]
            )
            gap = found.differences[other][result.name]
            rows.append(_build_difference(found, other, gap, ", ".join(words), result.name))
    return rows


def _build_difference(
    found: Comparison, other: str, difference: PairedDifference, description: str, list_name: str
) -> PairedDifferenceRow:
    return PairedDifferenceRow(
        found.first,
        other,
        description,
        difference.value,
        nan_to_none(difference.low),
        nan_to_none(difference.high),
        difference.p_value,
        list_name=list_name,
    )


def summarise_comparison(found: Comparison, differences: Sequence[PairedDifferenceRow]) -> Iterator[str]:
    """What was found, in plain words."""
    lead = f"{found.systems[found.first].lists[0].name}"
    values = {name: results.lists[0].main_metric.value for name, results in found.systems.items()}
    gaps = {other: gaps[lead] for other, gaps in found.differences.items()}
    if found.all_pairs and "g" in found.all_pairs[0].systems[found.first]:
        pairs = found.all_pairs[0]
        lead = f"1:2 matching within a sex over all pairs of {pairs.num_identities} people"
        values = {name: figures["g"].value for name, figures in pairs.systems.items()}
        gaps = {other: figures["g"] for other, figures in pairs.differences.items()}
    yield f"{lead}: " + ", ".join(f"{name} {format_percent(value)}" for name, value in values.items()) + "."
    for other, gap in gaps.items():
        mine = [d for d in differences if d.system_b == other]
        better = sum(d.low is not None and d.low > 0 for d in mine)
        worse = sum(d.high is not None and d.high < 0 for d in mine)
        yield (
            f"{found.first} against {other}: {format_difference(gap.value)} there "
            f"({format_difference(gap.low).split()[0]} to {format_difference(gap.high)}). "
            f"Of {len(mine)} figures, {found.first} is better in {better}, {other} in {worse}, "
            f"and {len(mine) - better - worse} show no clear difference."
        )
    for name, runs in found.runs.items():
        if len(runs) > 1:
            yield f"{name}: means over {len(runs)} runs. Its intervals cover people, not runs."
    if found.num_skipped:
        yield f"{found.num_skipped} clips and pictures that not every system has were left out of all."


def _build_run_tables(found: Comparison) -> list[Table]:
    """Every run of the systems that have several."""
    tables = []
    for name, runs in found.runs.items():
        if len(runs) < 2:
            continue
        rows: list[list[Any]] = []
        for pairs in found.all_pairs:
            for key in DISPLAYED_METRICS:
                if key in pairs.runs[name]:
                    label = f"{DISPLAYED_METRICS[key]}, all pairs, {_describe_sampling(pairs)}"
                    rows.append([label, *_format_runs(pairs.runs[name][key])])
        for place, result in enumerate(runs[0].lists):
            rows.append([result.name, *_format_runs([run.lists[place].main_metric.value for run in runs])])
        columns = ["figure", *(f"run {number}" for number in range(1, len(runs) + 1)), "mean", "spread"]
        note = "The spread is the standard deviation between the runs."
        tables.append(Table(f"Runs of {name}", columns, rows, note))
    return tables


def _format_runs(values: Sequence[float]) -> list[str]:
    return [
        *map(format_percent, values),
        format_percent(float(np.mean(values))),
        format_percent(float(np.std(values, ddof=1))),
    ]


def _describe_sampling(comparison: AllPairsComparison) -> str:
    return (
        "one clip and picture" if comparison.setting == "single" else f"means over {comparison.setting[3:]}"
    )


def _format_difference_cell(difference: PairedDifference) -> str:
    return f"{difference.value:+.3f}  {difference.low:+.3f} ... {difference.high:+.3f}  p {difference.p_value:.3f}"


def _format_fraction(value: float) -> str:
    return f"{value:.3f}"
