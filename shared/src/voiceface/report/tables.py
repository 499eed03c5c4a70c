"""Headline cards and tables: value, interval, and position between chance level and upper bound."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from voiceface.metrics.unavailable import UnavailableResult
from voiceface.report.formatting import (
    DIRECTION_TITLES,
    STRATUM_DESCRIPTIONS,
    format_difference,
    format_interval,
    format_metric,
    format_number,
    is_finite_number,
)
from voiceface.report.records import (
    Headline,
    PairedDifferenceRow,
    ProtocolSummary,
    ResultRow,
    SystemResults,
    Table,
)
from voiceface.report.templating import render_macro

__all__ = [
    "REFERENCE_FIELDS",
    "compute_axis_range",
    "describe_normalized_gain",
    "differences_html",
    "facts_html",
    "group_by_task",
    "headline_html",
    "interval_track_html",
    "protocol_html",
    "results_html",
    "row_label_html",
    "table_html",
    "unavailable_html",
]

REFERENCE_FIELDS = (
    ("chance", "chance level"),
    ("baseline", "gender-only baseline"),
    ("upper_bound", "oracle upper bound"),
)
TEMPLATE = "tables.html"


class _ResultCell(NamedTuple):
    """Result of one system in one row of a results table."""

    value: float
    best: bool
    interval: str


def headline_html(headline: Headline) -> Markup:
    """Card with a metric, its interval, its position between the references, and the normalized gain."""
    names = dict(REFERENCE_FIELDS) | dict(headline.reference_names)
    references = [(field, names[field], getattr(headline, field)) for field, _ in REFERENCE_FIELDS]
    references = [(field, name, value) for field, name, value in references if is_finite_number(value)]
    axis = compute_axis_range(
        [headline.value, headline.low, headline.high, *(value for _, _, value in references)], headline.unit
    )
    track = interval_track_html(
        [("c0", headline.value, headline.low, headline.high)], {f: v for f, _, v in references}, axis
    )
    gain = ""
    if not headline.reference_names:
        gain = describe_normalized_gain(
            headline.value, headline.baseline, headline.chance, headline.upper_bound
        )
    notes = [text for text in (gain, headline.note) if text]
    return render_macro(TEMPLATE, "headline", headline, references, track, notes)


def describe_normalized_gain(
    value: float, baseline: float | None, chance: float | None, upper_bound: float | None
) -> str:
    """Describe the normalized gain: (value - baseline) / (upper bound - baseline).

    The chance level replaces a missing baseline. The text is empty if the gain is not defined.
    """
    name, start = (
        ("gender-only baseline", baseline) if is_finite_number(baseline) else ("chance level", chance)
    )
    if start is None or upper_bound is None:
        return ""
    if not all(map(is_finite_number, (value, start, upper_bound))) or abs(upper_bound - start) < 1e-6:
        return ""
    share = 100 * (value - start) / (upper_bound - start)
    return f"normalized gain over {name}: {share:.0f}\u202f%".replace("-", "−").replace(
        "gender−only", "gender-only"
    )


def results_html(
    systems: Sequence[SystemResults], css_classes: Mapping[str, str], *, title: str = ""
) -> Markup:
    """One sortable table per task, systems side by side.

    Args:
        systems: rows of each system; systems without a list have an empty cell.
        css_classes: system -> style class of its colour.
        title: heading of a single table for all tasks, which must share a unit.
    """
    tasks = group_by_task(systems)
    if title:
        lines = [line for lines in tasks.values() for line in lines]
        return _results_table(title, systems, css_classes, lines, True)
    tables = [_results_table(task, systems, css_classes, lines, False) for task, lines in tasks.items()]
    return Markup("").join(tables)


def group_by_task(
    systems: Sequence[SystemResults],
) -> dict[str, list[tuple[ResultRow, list[ResultRow | None]]]]:
    """Task -> for each of its lists, a row that names the list, and the row of every system or None."""
    rows = {row.comparison_key: row for system in reversed(systems) for row in reversed(system.rows)}
    keys = dict.fromkeys(row.comparison_key for system in systems for row in system.rows)
    by_system = [{row.comparison_key: row for row in system.rows} for system in systems]
    tasks: dict[str, list[tuple[ResultRow, list[ResultRow | None]]]] = {key[0]: [] for key in keys}
    for key in keys:
        tasks[key[0]].append((rows[key], [system_rows.get(key) for system_rows in by_system]))
    return tasks


def _results_table(
    title: str,
    systems: Sequence[SystemResults],
    css_classes: Mapping[str, str],
    lines: Sequence[tuple[ResultRow, Sequence[ResultRow | None]]],
    with_task: bool,
) -> Markup:
    """Table of the columns that have a value; `with_task` names the task in each row."""
    unit, many = lines[0][0].unit, len(systems) > 1
    present = [row for _, rows in lines for row in rows if row is not None]
    extras = [
        (field, name)
        for field, name in (*REFERENCE_FIELDS, ("published", "published"))
        if any(is_finite_number(getattr(row, field)) for row in present)
    ]
    values = [v for r in present for v in (r.value, r.low, r.high, r.chance, r.baseline, r.upper_bound)]
    axis = compute_axis_range(values, unit)
    counted = any(row.num_trials is not None for row in present)
    columns = [("List", "text", "")]
    columns += [
        (system.name if many else "Result", "number", css_classes.get(system.name, "") if many else "")
        for system in systems
    ]
    further_columns = [(name[0].upper() + name[1:], "number", "") for _, name in extras]
    further_columns += [("Trials", "number", "")] * counted
    rows = []
    for line, results in lines:
        best = _best_row(results) if many and not with_task else None  # else the differences name the best
        cells: list[_ResultCell | None] = []
        marks: list[tuple[str, float, float | None, float | None]] = []
        for system, result in zip(systems, results):
            if result is None:
                cells.append(None)
                continue
            interval = format_interval(result.low, result.high, unit)
            cells.append(_ResultCell(result.value, result is best, interval))
            marks.append((css_classes.get(system.name, "c0"), result.value, result.low, result.high))
        references = {field: _first_value(results, field) for field, _ in REFERENCE_FIELDS}
        further: list[tuple[Any, str]] = [
            (value, format_metric(value, unit))
            for value in (_first_value(results, field) for field, _ in extras)
        ]
        if counted:
            count = next((r.num_trials for r in results if r and r.num_trials is not None), None)
            further.append((count, format_number(count)))
        track = interval_track_html(marks, references, axis)
        label = row_label_html(line, with_task=with_task)
        rows.append((label, _row_sort_text(line), cells, track, further))
    return render_macro(TEMPLATE, "results_table", title, columns, axis, further_columns, rows, many, unit)


def _first_value(rows: Sequence[ResultRow | None], field: str) -> float | None:
    """The first finite value of a field among the rows of several systems."""
    values = (getattr(row, field) for row in rows if row is not None)
    return next((value for value in values if is_finite_number(value)), None)


def _format_p_value(value: float | None) -> str:
    return "–" if value is None else ("< 0.001" if value < 0.001 else f"{value:.3f}")


def differences_html(differences: Sequence[PairedDifferenceRow]) -> Markup:
    """Paired differences between systems with their verdicts."""
    if not differences:
        return Markup("")
    rows = []
    for row in differences:
        interval, verdict = "", "–"
        if row.low is not None and row.high is not None and is_finite_number(row.low + row.high):
            low, high = format_difference(row.low, row.unit), format_difference(row.high, row.unit)
            interval = f"{low.split()[0]} to {high}"
            better = row.system_a if (row.value > 0) == row.higher_is_better else row.system_b
            verdict = f"{better} is better" if row.is_significant else "no clear difference"
        p_values = [(value, _format_p_value(value)) for value in (row.p_value, row.adjusted_p_value)]
        rows.append((row, interval, p_values, verdict))
    note = (
        "Paired bootstrap over identities: both systems are evaluated on the same resampled identities. A "
        "system is called better if the p-value, corrected by Holm's method for all rows, is below 0.05. "
        "Without a corrected p-value, the interval must exclude zero."
    )
    return render_macro(TEMPLATE, "differences", rows, note)


def protocol_html(protocol: ProtocolSummary) -> Markup:
    """Rules, counts and trial lists of a protocol."""
    facts = facts_html({"protocol": protocol.name, **protocol.facts})
    if not protocol.lists:
        return facts
    rows = []
    for row in protocol.lists:
        task = " · ".join(text for text in (row.task, DIRECTION_TITLES.get(row.direction, "")) if text)
        rows.append((row, task, STRATUM_DESCRIPTIONS.get(row.stratum, row.stratum)))
    return facts + render_macro(TEMPLATE, "trial_lists", rows)


def table_html(table: Table) -> Markup:
    """A further table; numeric columns are aligned to the right."""
    numeric = [
        bool(table.rows)
        and all(is_finite_number(row[i]) or row[i] is None for row in table.rows if i < len(row))
        for i in range(len(table.columns))
    ]
    kinds = ["number" if right else "text" for right in numeric]
    columns = [(name, kind, "") for name, kind in zip(table.columns, kinds)]
    rows = [
        [
            (
                format_number(value),
                kinds[i] if i < len(kinds) else "text",
                value if is_finite_number(value) else "",
            )
            for i, value in enumerate(row)
        ]
        for row in table.rows
    ]
    return render_macro(TEMPLATE, "plain_table", table.title, columns, rows, table.note)


def unavailable_html(unavailable: Sequence[UnavailableResult]) -> Markup:
    """Table of the results that could not be computed, each with its reason; empty without any."""
    if not unavailable:
        return Markup("")
    rows = [[each.name, each.reason] for each in unavailable]
    return table_html(Table("Results that could not be computed", ["result", "reason"], rows))


def facts_html(facts: Mapping[str, object]) -> Markup:
    """Names and texts in two columns."""
    return render_macro(TEMPLATE, "facts", dict(facts)) if facts else Markup("")


def compute_axis_range(values: Sequence[float | None], unit: str) -> tuple[float, float]:
    """Round axis limits that contain all values; limits of fractions stay within 0 and 1."""
    finite = [float(v) for v in values if v is not None and is_finite_number(v)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    reach = high - low or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(reach))
    step = next(step * m for m in (0.1, 0.2, 0.25, 0.5, 1) if reach / (step * m) <= 12)
    first, last = (
        math.floor((low - 0.04 * reach) / step) * step,
        math.ceil((high + 0.04 * reach) / step) * step,
    )
    if low >= 0:
        first = max(0.0, first)
    if unit == "%":
        last = min(1.0, last) if high <= 1 else last
    return first, last


def interval_track_html(
    marks: Sequence[tuple[str, float, float | None, float | None]],
    references: Mapping[str, float | None],
    axis: tuple[float, float],
) -> Markup:
    """Bar with ticks for the references, and a dot with its interval for each system.

    Args:
        marks: (style class, value, low, high) of each system.
        references: chance, baseline, upper_bound -> value; missing ones are not drawn.
        axis: values at the two ends.
    """
    low, high = axis

    def to_percent(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low or 1))), 2)

    present = {
        name: value for name, value in references.items() if value is not None and is_finite_number(value)
    }
    fill = None
    if len(marks) == 1 and is_finite_number(marks[0][1]) and ("baseline" in present or "chance" in present):
        start = present.get("baseline", present.get("chance", low))
        ends = sorted((to_percent(start), to_percent(marks[0][1])))
        fill = ends[0], round(ends[1] - ends[0], 2)
    ticks = [(name, to_percent(value)) for name, value in present.items()]
    spots = []
    for i, (css_class, value, left, right) in enumerate(marks):
        if not is_finite_number(value):
            continue
        whisker = None
        if left is not None and right is not None and is_finite_number(left + right):
            whisker = to_percent(left), round(to_percent(right) - to_percent(left), 2)
        top = round(100 * (i + 1) / (len(marks) + 1), 1)
        spots.append((css_class, whisker, to_percent(value), top))
    return render_macro(TEMPLATE, "interval_track", spots, ticks, fill)


def _best_row(rows: Sequence[ResultRow | None]) -> ResultRow | None:
    """The best row, if at least two systems have one and it is unique."""
    present = [row for row in rows if row is not None and is_finite_number(row.value)]
    if len(present) < 2:
        return None
    best = max(present, key=lambda r: r.value if r.higher_is_better else -r.value)
    return best if sum(row.value == best.value for row in present) == 1 else None


def row_label_html(row: ResultRow, *, with_task: bool = False) -> Markup:
    """Direction, stratum and list of a row; `with_task` adds the task if no heading names it."""
    direction = DIRECTION_TITLES.get(row.direction, "")
    name = " · ".join(text for text in (row.task, direction) if text) if with_task else direction or row.task
    description = STRATUM_DESCRIPTIONS.get(row.stratum, row.stratum)
    return render_macro(TEMPLATE, "row_label", name, row.stratum, description, row.list_name)


def _row_sort_text(row: ResultRow) -> str:
    return f"{row.task} {DIRECTION_TITLES.get(row.direction, '')} {row.stratum} {row.list_name}"
