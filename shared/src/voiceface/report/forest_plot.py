"""One plot of many figures: a dot with its interval for each system, beside chance, sex only and ceiling.

Drawn in strips whose positions are per cent of their width, so that text keeps its size on any screen.
"""

from collections.abc import Mapping, Sequence

from voiceface.report.formatting import figure, interval, is_number, safe
from voiceface.report.plots import tick_texts, ticks
from voiceface.report.records import ResultRow, SystemResults
from voiceface.report.tables import REFERENCES, axis_of, by_task, row_label

LANE, MARGIN = 15, 7
"""Height of one system's part of a strip, and what is left above and below, in pixels."""
SHAPES = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0Z",
    "M-4.5 -4.5H4.5V4.5H-4.5Z",
    "M0 -6L6 0L0 6L-6 0Z",
    "M0 -5.5L5.5 4.5H-5.5Z",
    "M0 5.5L5.5 -4.5H-5.5Z",
    "M-5 -2H-2V-5H2V-2H5V2H2V5H-2V2H-5Z",
)
"""Outline of each system's dot round the origin: colour is not all that tells them apart."""


def dots_html(systems: Sequence[SystemResults], classes: Mapping[str, str], *, title: str) -> str:
    """A strip for every list, a dot and a whisker in it for every system; each task has an axis of its own.

    Args:
        systems: rows of each system; all are fractions.
        classes: system -> style class of its colour.
        title: heading of the plot.

    Returns:
        A `<figure>`; empty text when there is no figure.
    """
    tasks = by_task(systems)
    shown = [row for lines in tasks.values() for _, rows in lines for row in rows if row is not None]
    if not shown:
        return ""
    fields = ("value", "low", "high", *(field for field, _ in REFERENCES))
    body = []
    for task, lines in tasks.items():
        inside = [row for _, rows in lines for row in rows if row is not None]
        axis = axis_of([getattr(row, field) for row in inside for field in fields], "%")
        marks = ticks(*axis, 7)
        body.append(f"<h4>{safe(task)}</h4>")
        for row, rows in lines:
            strip = _strip(systems, rows, classes, axis, marks)
            body.append(f'<div class="dots-row"><div class="dots-name">{row_label(row)}</div>{strip}</div>')
        body.append(_axis_html(marks, axis))
    return (
        f'<figure class="card dots"><figcaption>{safe(title)}</figcaption>'
        f"{_legend(systems, shown, classes)}{''.join(body)}"
        '<p class="note">Whiskers are 95 % intervals over people, of each system alone: two may overlap and '
        "the systems still differ, as the paired differences below tell.</p></figure>"
    )


def _strip(
    systems: Sequence[SystemResults],
    rows: Sequence[ResultRow | None],
    classes: Mapping[str, str],
    axis: tuple[float, float],
    marks: Sequence[float],
) -> str:
    """The part of the plot that belongs to one list."""
    height = LANE * len(systems) + 2 * MARGIN
    parts = [_upright(value, axis, height, "grid") for value in marks]
    present = [row for row in rows if row is not None]
    for field, name in REFERENCES:
        value = next((getattr(row, field) for row in present if is_number(getattr(row, field))), None)
        if value is not None:
            parts.append(_upright(value, axis, height, f"mark {field}", f"{name} {figure(value)}"))
    spoken = []
    for lane, (system, row) in enumerate(zip(systems, rows)):
        if row is None or not is_number(row.value):
            continue
        y = MARGIN + LANE * (lane + 0.5)
        between = interval(row.low, row.high)
        text = f"{system.name} {figure(row.value)}" + (f" ({between})" if between else "")
        spoken.append(text)
        whisker = ""
        if row.low is not None and row.high is not None and between:
            ends = f'x1="{_at(row.low, axis)}%" x2="{_at(row.high, axis)}%"'
            whisker = f'<line class="reach" {ends} y1="{y}" y2="{y}"/>'
            for end in (row.low, row.high):
                x = _at(end, axis)
                whisker += f'<line class="reach" x1="{x}%" x2="{x}%" y1="{y - 3.5}" y2="{y + 3.5}"/>'
        at = f'x="{_at(row.value, axis)}%" y="{y}"'
        dot = f'<svg {at} overflow="visible"><path class="dot" d="{_shape(lane)}"/></svg>'
        style = classes.get(system.name, "c0")
        parts.append(f'<g class="{style}">{whisker}{dot}<title>{safe(text)}</title></g>')
    head = f'width="100%" height="{height}" role="img" aria-label="{safe("; ".join(spoken))}"'
    return f'<svg class="strip" {head}>{"".join(parts)}</svg>'


def _axis_html(marks: Sequence[float], axis: tuple[float, float]) -> str:
    """Tick texts under the strips of a task."""
    texts = "".join(
        f'<text class="tick" x="{_at(value, axis)}%" y="13" text-anchor="middle">{safe(text)}</text>'
        for value, text in zip(marks, tick_texts(marks, True))
    )
    strip = f'<svg class="strip" width="100%" height="20" aria-hidden="true">{texts}</svg>'
    return f'<div class="dots-row axis-row"><div class="dots-name"></div>{strip}</div>'


def _legend(systems: Sequence[SystemResults], shown: Sequence[ResultRow], classes: Mapping[str, str]) -> str:
    """Dots of the systems and lines of the references that occur."""
    items = [
        f'<li class="{classes.get(system.name, "c0")}">'
        '<svg class="key" viewBox="-13 -7 26 14" aria-hidden="true">'
        f'<path class="reach" d="M-12 0H12"/><path class="dot" d="{_shape(lane)}"/></svg>'
        f"<span>{safe(system.name)}</span></li>"
        for lane, system in enumerate(systems)
    ]
    items += [
        f'<li><span class="swatch {field}" aria-hidden="true"></span><span>{safe(name)}</span></li>'
        for field, name in REFERENCES
        if any(is_number(getattr(row, field)) for row in shown)
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _upright(value: float, axis: tuple[float, float], height: float, style: str, tip: str = "") -> str:
    """A line from the top to the bottom of a strip."""
    x = _at(value, axis)
    title = f"<title>{safe(tip)}</title>" if tip else ""
    return f'<line class="{style}" x1="{x}%" x2="{x}%" y1="0" y2="{height}">{title}</line>'


def _at(value: float, axis: tuple[float, float]) -> float:
    """Place of a value, per cent of a strip's width."""
    low, high = axis
    return round(100 * min(1.0, max(0.0, (value - low) / (high - low or 1))), 2)


def _shape(lane: int) -> str:
    return SHAPES[lane % len(SHAPES)]
