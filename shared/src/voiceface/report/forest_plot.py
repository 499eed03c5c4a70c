"""Forest plot: a dot with its interval for each system and list, beside the reference values.

Positions inside a strip are per cent of its width, so that text keeps its size on any screen.
"""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from voiceface.report.formatting import format_interval, format_metric, is_finite_number
from voiceface.report.plots import linear_ticks, tick_labels
from voiceface.report.records import ResultRow, SystemResults
from voiceface.report.tables import REFERENCE_FIELDS, compute_axis_range, group_by_task, row_label_html
from voiceface.report.templating import render_macro

__all__ = ["forest_plot_html"]

TEMPLATE = "plots.html"
LANE_HEIGHT, STRIP_MARGIN = 15, 7
"""Height of one system's lane of a strip, and the margin above and below, in pixels."""
MARKER_PATHS = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0Z",
    "M-4.5 -4.5H4.5V4.5H-4.5Z",
    "M0 -6L6 0L0 6L-6 0Z",
    "M0 -5.5L5.5 4.5H-5.5Z",
    "M0 5.5L5.5 -4.5H-5.5Z",
    "M-5 -2H-2V-5H2V-2H5V2H2V5H-2V2H-5Z",
)
"""Outline of each system's marker around the origin: shapes differ as well as colours."""


def forest_plot_html(
    systems: Sequence[SystemResults], css_classes: Mapping[str, str], *, title: str
) -> Markup:
    """A strip for every list with a dot and a whisker for every system; each task has its own axis.

    Args:
        systems: rows of each system; all are fractions.
        css_classes: system -> style class of its colour.
        title: heading of the plot.

    Returns:
        A `<figure>`; empty without results.
    """
    tasks = group_by_task(systems)
    present = [row for lines in tasks.values() for _, rows in lines for row in rows if row is not None]
    if not present:
        return Markup("")
    fields = ("value", "low", "high", *(field for field, _ in REFERENCE_FIELDS))
    body = Markup("")
    for task, lines in tasks.items():
        inside = [row for _, rows in lines for row in rows if row is not None]
        axis = compute_axis_range([getattr(row, field) for row in inside for field in fields], "%")
        ticks = linear_ticks(*axis, 7)
        body += render_macro(TEMPLATE, "forest_task", task)
        for row, rows in lines:
            strip = _strip_html(systems, rows, css_classes, axis, ticks)
            body += render_macro(TEMPLATE, "forest_row", row_label_html(row), strip)
        labels = zip((_to_percent(value, axis) for value in ticks), tick_labels(ticks, True))
        body += render_macro(TEMPLATE, "forest_axis", list(labels))
    legend = [
        (css_classes.get(system.name, "c0"), _marker_path(lane), system.name)
        for lane, system in enumerate(systems)
    ]
    references = [
        (field, name)
        for field, name in REFERENCE_FIELDS
        if any(is_finite_number(getattr(row, field)) for row in present)
    ]
    return render_macro(TEMPLATE, "forest_plot", title, legend, references, body)


def _strip_html(
    systems: Sequence[SystemResults],
    rows: Sequence[ResultRow | None],
    css_classes: Mapping[str, str],
    axis: tuple[float, float],
    tick_values: Sequence[float],
) -> Markup:
    """The part of the plot that belongs to one list."""
    lines = [("grid", _to_percent(value, axis), "") for value in tick_values]
    present = [row for row in rows if row is not None]
    for field, name in REFERENCE_FIELDS:
        value = next((getattr(row, field) for row in present if is_finite_number(getattr(row, field))), None)
        if value is not None:
            lines.append((f"mark {field}", _to_percent(value, axis), f"{name} {format_metric(value)}"))
    marks = []
    for lane, (system, row) in enumerate(zip(systems, rows)):
        if row is None or not is_finite_number(row.value):
            continue
        interval = format_interval(row.low, row.high)
        ends = None
        if row.low is not None and row.high is not None and interval:
            ends = _to_percent(row.low, axis), _to_percent(row.high, axis)
        text = f"{system.name} {format_metric(row.value)}" + (f" ({interval})" if interval else "")
        y = STRIP_MARGIN + LANE_HEIGHT * (lane + 0.5)
        css_class = css_classes.get(system.name, "c0")
        marks.append((css_class, ends, _to_percent(row.value, axis), y, _marker_path(lane), text))
    height = LANE_HEIGHT * len(systems) + 2 * STRIP_MARGIN
    description = "; ".join(mark[-1] for mark in marks)
    return render_macro(TEMPLATE, "forest_strip", height, description, lines, marks)


def _to_percent(value: float, axis: tuple[float, float]) -> float:
    """Position of a value in per cent of a strip's width."""
    low, high = axis
    return round(100 * min(1.0, max(0.0, (value - low) / (high - low or 1))), 2)


def _marker_path(lane: int) -> str:
    return MARKER_PATHS[lane % len(MARKER_PATHS)]
