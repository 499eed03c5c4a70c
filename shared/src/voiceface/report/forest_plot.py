"""One plot of many figures: a dot with its interval for each system, beside chance level, gender-only baseline and upper bound.

Drawn in strips whose positions are per cent of their width, so that text keeps its size on any screen.
"""

from collections.abc import Mapping, Sequence

from voiceface.report.formatting import escape_html, format_interval, format_metric, is_finite_number
from voiceface.report.plots import linear_ticks, tick_labels
from voiceface.report.records import ResultRow, SystemResults
from voiceface.report.tables import REFERENCE_FIELDS, compute_axis_range, group_by_task, row_label_html

LANE_HEIGHT, STRIP_MARGIN = 15, 7
"""Height of one system's part of a strip, and what is left above and below, in pixels."""
MARKER_PATHS = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0Z",
    "M-4.5 -4.5H4.5V4.5H-4.5Z",
    "M0 -6L6 0L0 6L-6 0Z",
    "M0 -5.5L5.5 4.5H-5.5Z",
    "M0 5.5L5.5 -4.5H-5.5Z",
    "M-5 -2H-2V-5H2V-2H5V2H2V5H-2V2H-5Z",
)
"""Outline of each system's dot round the origin: colour is not all that tells them apart."""


def forest_plot_html(systems: Sequence[SystemResults], css_classes: Mapping[str, str], *, title: str) -> str:
    """A strip for every list, a dot and a whisker in it for every system; each task has an axis of its own.

    Args:
        systems: rows of each system; all are fractions.
        css_classes: system -> style class of its colour.
        title: heading of the plot.

    Returns:
        A `<figure>`; empty text when there is no figure.
    """
    tasks = group_by_task(systems)
    shown = [row for lines in tasks.values() for _, rows in lines for row in rows if row is not None]
    if not shown:
        return ""
    fields = ("value", "low", "high", *(field for field, _ in REFERENCE_FIELDS))
    body = []
    for task, lines in tasks.items():
        inside = [row for _, rows in lines for row in rows if row is not None]
        axis = compute_axis_range([getattr(row, field) for row in inside for field in fields], "%")
        marks = linear_ticks(*axis, 7)
        body.append(f"<h4>{escape_html(task)}</h4>")
        for row, rows in lines:
            strip = _strip_html(systems, rows, css_classes, axis, marks)
            body.append(
                f'<div class="dots-row"><div class="dots-name">{row_label_html(row)}</div>{strip}</div>'
            )
        body.append(_axis_html(marks, axis))
    return (
        f'<figure class="card dots"><figcaption>{escape_html(title)}</figcaption>'
        f"{_legend_html(systems, shown, css_classes)}{''.join(body)}"
        '<p class="note">Whiskers are 95 % intervals over people, of each system alone: two may overlap and '
        "the systems still differ, as the paired differences below tell.</p></figure>"
    )


def _strip_html(
    systems: Sequence[SystemResults],
    rows: Sequence[ResultRow | None],
    css_classes: Mapping[str, str],
    axis: tuple[float, float],
    tick_values: Sequence[float],
) -> str:
    """The part of the plot that belongs to one list."""
    height = LANE_HEIGHT * len(systems) + 2 * STRIP_MARGIN
    parts = [_vertical_line(value, axis, height, "grid") for value in tick_values]
    present = [row for row in rows if row is not None]
    for field, name in REFERENCE_FIELDS:
        value = next((getattr(row, field) for row in present if is_finite_number(getattr(row, field))), None)
        if value is not None:
            parts.append(
                _vertical_line(value, axis, height, f"mark {field}", f"{name} {format_metric(value)}")
            )
    spoken = []
    for lane, (system, row) in enumerate(zip(systems, rows)):
        if row is None or not is_finite_number(row.value):
            continue
        y = STRIP_MARGIN + LANE_HEIGHT * (lane + 0.5)
        between = format_interval(row.low, row.high)
        text = f"{system.name} {format_metric(row.value)}" + (f" ({between})" if between else "")
        spoken.append(text)
        whisker = ""
        if row.low is not None and row.high is not None and between:
            ends = f'x1="{_to_percent(row.low, axis)}%" x2="{_to_percent(row.high, axis)}%"'
            whisker = f'<line class="reach" {ends} y1="{y}" y2="{y}"/>'
            for end in (row.low, row.high):
                x = _to_percent(end, axis)
                whisker += f'<line class="reach" x1="{x}%" x2="{x}%" y1="{y - 3.5}" y2="{y + 3.5}"/>'
        at = f'x="{_to_percent(row.value, axis)}%" y="{y}"'
        dot = f'<svg {at} overflow="visible"><path class="dot" d="{_marker_path(lane)}"/></svg>'
        style = css_classes.get(system.name, "c0")
        parts.append(f'<g class="{style}">{whisker}{dot}<title>{escape_html(text)}</title></g>')
    head = f'width="100%" height="{height}" role="img" aria-label="{escape_html("; ".join(spoken))}"'
    return f'<svg class="strip" {head}>{"".join(parts)}</svg>'


def _axis_html(tick_values: Sequence[float], axis: tuple[float, float]) -> str:
    """Tick texts under the strips of a task."""
    texts = "".join(
        f'<text class="tick" x="{_to_percent(value, axis)}%" y="13" text-anchor="middle">{escape_html(text)}</text>'
        for value, text in zip(tick_values, tick_labels(tick_values, True))
    )
    strip = f'<svg class="strip" width="100%" height="20" aria-hidden="true">{texts}</svg>'
    return f'<div class="dots-row axis-row"><div class="dots-name"></div>{strip}</div>'


def _legend_html(
    systems: Sequence[SystemResults], rows: Sequence[ResultRow], css_classes: Mapping[str, str]
) -> str:
    """Dots of the systems and lines of the references that occur."""
    items = [
        f'<li class="{css_classes.get(system.name, "c0")}">'
        '<svg class="key" viewBox="-13 -7 26 14" aria-hidden="true">'
        f'<path class="reach" d="M-12 0H12"/><path class="dot" d="{_marker_path(lane)}"/></svg>'
        f"<span>{escape_html(system.name)}</span></li>"
        for lane, system in enumerate(systems)
    ]
    items += [
        f'<li><span class="swatch {field}" aria-hidden="true"></span><span>{escape_html(name)}</span></li>'
        for field, name in REFERENCE_FIELDS
        if any(is_finite_number(getattr(row, field)) for row in rows)
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _vertical_line(
    value: float, axis: tuple[float, float], height: float, css_class: str, tooltip: str = ""
) -> str:
    """A line from the top to the bottom of a strip."""
    x = _to_percent(value, axis)
    title = f"<title>{escape_html(tooltip)}</title>" if tooltip else ""
    return f'<line class="{css_class}" x1="{x}%" x2="{x}%" y1="0" y2="{height}">{title}</line>'


def _to_percent(value: float, axis: tuple[float, float]) -> float:
    """Place of a value, per cent of a strip's width."""
    low, high = axis
    return round(100 * min(1.0, max(0.0, (value - low) / (high - low or 1))), 2)


def _marker_path(lane: int) -> str:
    return MARKER_PATHS[lane % len(MARKER_PATHS)]
