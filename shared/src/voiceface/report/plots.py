"""Line plots and histograms as SVG; colours come from the style sheet of the page.

`Markup.format` escapes every text inside the SVG; the template `plots.html` adds title and legend.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from voiceface.report.formatting import format_number, is_finite_number
from voiceface.report.records import Curve, Histogram, Plot
from voiceface.report.templating import render_macro

__all__ = [
    "assign_colour_classes",
    "histogram_html",
    "line_plot_html",
    "linear_ticks",
    "log_ticks",
    "tick_labels",
]

WIDTH, HEIGHT = 440, 290
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 54, 12, 12, 44
INNER_WIDTH, INNER_HEIGHT = WIDTH - MARGIN_LEFT - MARGIN_RIGHT, HEIGHT - MARGIN_TOP - MARGIN_BOTTOM
INNER_BOX = Markup('x="{}" y="{}" width="{}" height="{}"').format(
    MARGIN_LEFT, MARGIN_TOP, INNER_WIDTH, INNER_HEIGHT
)
MAX_POINTS = 400
NUM_COLOURS = 6


def assign_colour_classes(names: Sequence[str]) -> dict[str, str]:
    """Style class of each system, in the order of the report."""
    return {name: f"c{i % NUM_COLOURS}" for i, name in enumerate(names)}


def line_plot_html(plot: Plot, css_classes: Mapping[str, str] | None = None) -> Markup:
    """Draw a plot with axes, lines, bands and a legend.

    Args:
        plot: the plot.
        css_classes: label -> style class of labels with a fixed colour; the others get the remaining ones.

    Returns:
        A `<figure>`; empty if no curve has a point.
    """
    curves = [curve for curve in map(_downsample, plot.curves) if len(curve.x)]
    if not curves:
        return Markup("")
    classes = _curve_classes(curves, css_classes or {})
    x_range = plot.x_range or _data_range([np.asarray(c.x, float) for c in curves], margin=0, log=plot.x_log)
    y_values = [np.asarray(v, float) for c in curves for v in (c.y, c.low, c.high) if v is not None]
    y_range = plot.y_range or _data_range(y_values, margin=0.06)
    axes = _Axes(x_range, y_range, plot.x_log)
    lines = [_curve_html(axes, curve, classes[curve.label]) for curve in curves]
    ordered = [
        line for kind in ("reference", "system") for c, line in zip(curves, lines) if _layer(c) == kind
    ]
    body = axes.axes_html(plot.x_label, plot.y_label, plot.x_percent, plot.y_percent)
    body += Markup("<svg {}>{}</svg>").format(INNER_BOX, Markup("").join(ordered))
    description = f"{plot.title}. {plot.y_label or 'value'} over {plot.x_label or 'position'}. " + "; ".join(
        f"{c.label}{' ' + c.note if c.note else ''}, {_describe_ends(c)}" for c in curves
    )
    legend = [(classes[curve.label], curve.label, curve.note) for curve in curves]
    only_title = len(curves) == 1 and curves[0].label == plot.title
    return _figure_html(plot.title, description, body, [] if only_title else legend, plot.note)


def histogram_html(plot: Histogram) -> Markup:
    """Draw a histogram with bars of equal width; empty without a finite value."""
    values = np.asarray(plot.values, float)
    values = values[np.isfinite(values)]
    if not len(values):
        return Markup("")
    counts, edges = np.histogram(values, bins=plot.bins)
    axes = _Axes((float(edges[0]), float(edges[-1])), (0.0, float(counts.max()) * 1.06), False)
    bars: list[Markup] = []
    for count, left, right in zip(counts, edges[:-1], edges[1:]):
        if count:
            x, width = axes.x(left) + 0.6, max(0.8, axes.x(right) - axes.x(left) - 1.2)
            tip = f"{format_number(float(left))} to {format_number(float(right))}: {count} {plot.y_label}"
            bar = Markup('<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="1.5">')
            bars.append(bar.format(x, axes.y(count), width, INNER_HEIGHT - axes.y(count)))
            bars.append(Markup("<title>{}</title></rect>").format(tip))
    middle = float(np.median(values))
    bars.append(
        Markup('<path class="line reference" d="M{:.1f} 0V{}"><title>median</title></path>').format(
            axes.x(middle), INNER_HEIGHT
        )
    )
    body = axes.axes_html(plot.x_label, plot.y_label, False, False)
    body += Markup('<svg {} class="c0">{}</svg>').format(INNER_BOX, Markup("").join(bars))
    low, high = format_number(float(values.min())), format_number(float(values.max()))
    facts = f"{len(values)} values from {low} to {high}"
    facts += f", median {format_number(middle)}"
    note = f"{facts}. {plot.note}" if plot.note else f"{facts}."
    return _figure_html(plot.title, f"{plot.title}: {facts}", body, [], note)


class _Axes:
    """Map from values to pixels, relative to the upper left of the inner box."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float], x_log: bool) -> None:
        self.x_log = x_log and x_range[0] > 0
        self.x_range, self.y_range = _nonempty_range(x_range), _nonempty_range(y_range)

    def x(self, value: float) -> float:
        low, high = self.x_range
        if self.x_log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, 1e-300))
        return (value - low) / (high - low) * INNER_WIDTH

    def y(self, value: float) -> float:
        low, high = self.y_range
        return (1 - (value - low) / (high - low)) * INNER_HEIGHT

    def axes_html(self, x_label: str, y_label: str, x_percent: bool, y_percent: bool) -> Markup:
        line = Markup('<path class="{}" d="{}"/>')
        text = Markup('<text class="{}" {} text-anchor="{}">{}</text>')
        place = Markup('x="{:.1f}" y="{:.1f}"')
        parts = []
        y_ticks = linear_ticks(*self.y_range, 5)
        for value, label in zip(y_ticks, tick_labels(y_ticks, y_percent)):
            y = MARGIN_TOP + self.y(value)
            parts.append(line.format("grid", f"M{MARGIN_LEFT} {y:.1f}H{WIDTH - MARGIN_RIGHT}"))
            parts.append(text.format("tick", place.format(MARGIN_LEFT - 7, y + 3.7), "end", label))
        bottom = MARGIN_TOP + INNER_HEIGHT
        x_ticks = log_ticks(*self.x_range) if self.x_log else linear_ticks(*self.x_range, 6)
        for value, label in zip(x_ticks, tick_labels(x_ticks, x_percent)):
            x = MARGIN_LEFT + self.x(value)
            parts.append(line.format("grid faint", f"M{x:.1f} {MARGIN_TOP}V{bottom}"))
            anchor = "end" if x > WIDTH - MARGIN_RIGHT - 8 else "middle"
            x = min(x, WIDTH - MARGIN_RIGHT + 8) if anchor == "end" else x
            parts.append(text.format("tick", place.format(x, bottom + 16), anchor, label))
        parts.append(line.format("axis", f"M{MARGIN_LEFT} {bottom}H{WIDTH - MARGIN_RIGHT}"))
        if x_label:
            middle = place.format(MARGIN_LEFT + INNER_WIDTH / 2, HEIGHT - 8)
            parts.append(text.format("label", middle, "middle", x_label))
        if y_label:
            turned = Markup('transform="translate(12 {}) rotate(-90)"').format(MARGIN_TOP + INNER_HEIGHT / 2)
            parts.append(text.format("label", turned, "middle", y_label))
        return Markup("").join(parts)


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers from `low` to `high`, in steps of 1, 2, 2.5 or 5 times a power of ten."""
    step = (high - low) / max(1, count)
    power = 10 ** math.floor(math.log10(step))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= step * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten from `low` to `high`; only powers of ten over more than four decades."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= 5 else (1,)
    return [m * 10.0**p for p in powers for m in steps if low * 0.999 <= m * 10.0**p <= high * 1.001]


def tick_labels(values: Sequence[float], percent: bool) -> list[str]:
    """Labels of ticks with as many decimals as the step needs."""
    if percent:
        return [f"{text}%" for text in tick_labels([100 * v for v in values], False)]
    steps = [b - a for a, b in pairwise(values)]
    step = min(steps) if steps else abs(values[0]) if values else 1
    top = max((abs(v) for v in values), default=1)
    if top and (top >= 1e5 or step < 1e-4):
        return [
            "0" if v == 0 else f"{v:.1e}".replace("-", "−").replace("e+0", "e").replace("e−0", "e−")
            for v in values
        ]
    digits = next((d for d in range(5) if abs(step * 10**d - round(step * 10**d)) < 1e-6), 4) if step else 0
    return [f"{v:.{digits}f}".replace("-", "−") for v in values]


def _downsample(curve: Curve) -> Curve:
    """Reduce a curve to at most MAX_POINTS points with finite x; its ends stay."""
    x, y = np.asarray(curve.x, float), np.asarray(curve.y, float)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(
            f"curve {curve.label!r}: x and y have the same shape (N,); found {x.shape} and {y.shape}"
        )
    keep = np.flatnonzero(np.isfinite(x))
    if len(keep) > MAX_POINTS:
        # Steps of a ROC lie close together at its ends: keep points evenly along the line, not by index.
        spread = [np.ptp(v[keep][np.isfinite(v[keep])]) or 1.0 for v in (x, np.nan_to_num(y))]
        moved = np.hypot(np.diff(x[keep]) / spread[0], np.diff(np.nan_to_num(y[keep])) / spread[1])
        along = np.concatenate([[0.0], np.cumsum(moved)])
        places = np.searchsorted(along, np.linspace(0, along[-1], MAX_POINTS))
        keep = keep[np.unique(np.clip(places, 0, len(keep) - 1))]
    low, high = (None if v is None else np.asarray(v, float)[keep] for v in (curve.low, curve.high))
    return replace(curve, x=x[keep], y=y[keep], low=low, high=high)


def _curve_html(axes: _Axes, curve: Curve, css_class: str) -> Markup:
    """Band, faint raw line, line and markers of one curve, with its name as a tooltip."""
    path = Markup('<path class="{}" d="{}"/>')
    parts = []
    if curve.low is not None and curve.high is not None:
        up = list(zip(curve.x, curve.high))
        down = list(zip(curve.x, curve.low))[::-1]
        points = [(a, b) for a, b in up + down if np.isfinite(b)]
        if points:
            parts.append(path.format("band", f"{_path_data(axes, points)}Z"))
    if curve.raw is not None:
        parts.append(path.format("raw", _path_data(axes, list(zip(*curve.raw)))))
    parts.append(path.format("line", _path_data(axes, list(zip(curve.x, curve.y)))))
    if curve.markers or len(curve.x) == 1:
        circle = Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3.4"><title>{}</title></circle>')
        for a, b in zip(curve.x, curve.y):
            if np.isfinite(b):
                tooltip = f"{curve.label}: {format_number(float(a))}, {format_number(float(b))}"
                parts.append(circle.format(axes.x(a), axes.y(b), tooltip))
    group = Markup('<g class="{}">{}<title>{}</title></g>')
    return group.format(css_class, Markup("").join(parts), curve.label)


def _path_data(axes: _Axes, points: Sequence[tuple[float, float]]) -> str:
    """Path through the points; one that is not finite breaks the line."""
    steps, pen_down = [], False
    for x, y in points:
        if not (np.isfinite(x) and np.isfinite(y)):
            pen_down = False
            continue
        steps.append(f"{'L' if pen_down else 'M'}{axes.x(x):.1f} {axes.y(y):.1f}")
        pen_down = True
    return "".join(steps)


def _curve_classes(curves: Sequence[Curve], fixed_classes: Mapping[str, str]) -> dict[str, str]:
    """Style class of every curve: references by kind, systems by fixed colour, others by free colours."""
    taken = {fixed_classes[c.label] for c in curves if c.label in fixed_classes}
    free = [f"c{i}" for i in range(NUM_COLOURS) if f"c{i}" not in taken] or ["c0"]
    classes: dict[str, str] = {}
    for curve in curves:
        if curve.kind != "system":
            classes[curve.label] = f"ref {curve.kind}"
        elif curve.label in fixed_classes:
            classes[curve.label] = fixed_classes[curve.label]
        elif curve.label not in classes:
            classes[curve.label] = free[0]
            free = free[1:] + free[:1]
    return classes


def _layer(curve: Curve) -> str:
    return "system" if curve.kind == "system" else "reference"


def _data_range(values: Sequence[np.ndarray], margin: float, log: bool = False) -> tuple[float, float]:
    """Smallest and largest finite value (above zero for a log axis), widened by a fraction of the range."""
    finite = np.concatenate(values)
    finite = finite[np.isfinite(finite) & ((finite > 0) if log else True)]
    if not len(finite):
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = float(finite.min()), float(finite.max())
    return low - margin * (high - low), high + margin * (high - low)


def _nonempty_range(limits: tuple[float, float]) -> tuple[float, float]:
    """Limits that differ, so that a constant can be drawn."""
    low, high = limits
    if high - low > 1e-12 * max(1.0, abs(high)):
        return low, high
    reach = abs(high) * 0.1 or 1.0
    return (low / 1.1, high * 1.1) if low > 0 else (low - reach, high + reach)


def _describe_ends(curve: Curve) -> str:
    """Describe the first and last value of a curve."""
    finite = [float(v) for v in curve.y if is_finite_number(float(v))]
    return f"from {format_number(finite[0])} to {format_number(finite[-1])}" if finite else "no values"


def _figure_html(
    title: str, description: str, body: Markup, legend: Sequence[tuple[str, str, str]], note: str
) -> Markup:
    return render_macro("plots.html", "figure", title, description, WIDTH, HEIGHT, body, legend, note)
