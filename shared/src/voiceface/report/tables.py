"""Headline cards and tables of figures: value, interval, and where it lies between chance level and upper bound."""

import math
from collections.abc import Mapping, Sequence

from voiceface.report.formatting import (
    DIRECTION_TITLES,
    STRATUM_DESCRIPTIONS,
    escape_html,
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

REFERENCE_FIELDS = (
    ("chance", "chance level"),
    ("baseline", "gender-only baseline"),
    ("upper_bound", "oracle upper bound"),
)


def headline_html(headline: Headline) -> str:
    """A card: the figure, its interval, a bar between the references, and the share of the possible gain."""
    unit = headline.unit
    known = [(field, name, getattr(headline, field)) for field, name in REFERENCE_FIELDS]
    known = [(field, name, value) for field, name, value in known if is_finite_number(value)]
    axis = compute_axis_range(
        [headline.value, headline.low, headline.high, *(value for _, _, value in known)], unit
    )
    bar = interval_track_html(
        [("c0", headline.value, headline.low, headline.high)], {f: v for f, _, v in known}, axis
    )
    legend = "".join(
        f'<li><span class="swatch {field}" aria-hidden="true"></span>{name} <b>{format_metric(value, unit)}</b></li>'
        for field, name, value in known
    )
    between = format_interval(headline.low, headline.high, unit)
    between = f"95\u202f% interval {between}" if between else ""
    gain = describe_normalized_gain(headline.value, headline.baseline, headline.chance, headline.upper_bound)
    lines = [f'<p class="note">{escape_html(text)}</p>' for text in (gain, headline.note) if text]
    number_text, tail = (
        format_metric(headline.value, unit, with_unit=False),
        f'<span class="unit">{escape_html(unit)}</span>',
    )
    return (
        f'<li class="card headline"><h3>{escape_html(headline.name)}</h3>'
        f'<p class="value">{number_text}{tail if unit else ""}</p>'
        f'<p class="interval">{between or "&nbsp;"}</p>{bar}'
        f'<ul class="references">{legend}</ul>{"".join(lines)}</li>'
    )


def describe_normalized_gain(
    value: float, baseline: float | None, chance: float | None, upper_bound: float | None
) -> str:
    """(model - gender-only baseline) / (upper bound - gender-only baseline) in words; chance level stands in for a missing sex-only figure."""
    name, start = ("gender-only baseline", baseline) if is_finite_number(baseline) else ("chance", chance)
    if (
        not (is_finite_number(value) and is_finite_number(start) and is_finite_number(upper_bound))
        or start is None
        or upper_bound is None
    ):
        return ""
    if abs(upper_bound - start) < 1e-6:
        return ""
    share = 100 * (value - start) / (upper_bound - start)
    return f"{share:.0f}\u202f% of the way from {name} to the oracle upper bound".replace("-", "−")


def results_html(systems: Sequence[SystemResults], css_classes: Mapping[str, str], *, title: str = "") -> str:
    """One sortable table for each task, systems side by side.

    Args:
        systems: rows of each system; a list that only some have is shown with gaps.
        css_classes: system -> style class of its colour.
        title: one table for all tasks, under this heading; they must share a unit.
    """
    tasks = group_by_task(systems)
    if title:
        return _results_table(
            title, systems, css_classes, [line for lines in tasks.values() for line in lines], True
        )
    return "".join(_results_table(task, systems, css_classes, lines, False) for task, lines in tasks.items())


def group_by_task(
    systems: Sequence[SystemResults],
) -> dict[str, list[tuple[ResultRow, list[ResultRow | None]]]]:
    """Task -> for each of its lists a row that says what was asked, and every system's row or None."""
    rows = {row.comparison_key: row for system in reversed(systems) for row in reversed(system.rows)}
    keys = dict.fromkeys(row.comparison_key for system in systems for row in system.rows)
    by_system = [{row.comparison_key: row for row in system.rows} for system in systems]
    tasks: dict[str, list[tuple[ResultRow, list[ResultRow | None]]]] = {key[0]: [] for key in keys}
    for key in keys:
        tasks[key[0]].append((rows[key], [found.get(key) for found in by_system]))
    return tasks


def _results_table(
    title: str,
    systems: Sequence[SystemResults],
    css_classes: Mapping[str, str],
    lines: Sequence[tuple[ResultRow, Sequence[ResultRow | None]]],
    with_task: bool,
) -> str:
    """A table with only the columns that hold something; `with_task`: its rows are of several tasks."""
    unit, many = lines[0][0].unit, len(systems) > 1
    shown = [row for _, rows in lines for row in rows if row is not None]
    extras = [
        (f, n)
        for f, n in (*REFERENCE_FIELDS, ("published", "published"))
        if any(is_finite_number(getattr(r, f)) for r in shown)
    ]
    values = [v for r in shown for v in (r.value, r.low, r.high, r.chance, r.baseline, r.upper_bound)]
    axis = compute_axis_range(values, unit)
    columns = [("List", "text")]
    columns += [(system.name if many else "Result", "number") for system in systems]
    counted = any(row.num_trials is not None for row in shown)
    after = [(name.capitalize(), "number") for _, name in extras] + [("Questions", "number")] * counted
    head = "".join(
        f'<th scope="col" class="{kind}"><button type="button" class="sort">'
        f"{_colour_swatch(css_classes.get(name)) if many else ''}{escape_html(name)}</button></th>"
        for name, kind in columns
    )
    ends = f"<span>{format_metric(axis[0], unit)}</span><span>{format_metric(axis[1], unit)}</span>"
    head += f'<th scope="col" class="track-head"><span class="ends">{ends}</span></th>'
    head += _column_headers([(name, "n") for name, _ in after])
    body = []
    for row, rows in lines:
        label = row_label_html(row, with_task=with_task)
        cells = [f'<th scope="row" data-value="{escape_html(_row_sort_text(row))}">{label}</th>']
        best = _best_row(rows) if many and not with_task else None  # else the differences say who is better
        marks = []
        for system, found in zip(systems, rows):
            if found is None:
                cells.append('<td class="number" data-value="">–</td>')
                continue
            between = format_interval(found.low, found.high, unit)
            text = (
                f"<b>{format_metric(found.value, unit)}</b>"
                if found is best or not many
                else format_metric(found.value, unit)
            )
            star = ' <span class="best" title="best of this row">best</span>' if found is best else ""
            cells.append(
                f'<td class="number" data-value="{found.value}">{text}{star}'
                f"{f'<span class=between>{between}</span>' if between else ''}</td>"
            )
            marks.append((css_classes.get(system.name, "c0"), found.value, found.low, found.high))
        present = [r for r in rows if r is not None]
        references = {
            f: next((getattr(r, f) for r in present if is_finite_number(getattr(r, f))), None)
            for f, _ in REFERENCE_FIELDS
        }
        cells.append(f'<td class="track-cell">{interval_track_html(marks, references, axis)}</td>')
        for field, _ in extras:
            value = next((getattr(r, field) for r in present if is_finite_number(getattr(r, field))), None)
            cells.append(
                f'<td class="number" data-value="{"" if value is None else value}">{format_metric(value, unit)}</td>'
            )
        if counted:
            count = next((r.num_trials for r in present if r.num_trials is not None), None)
            cells.append(
                f'<td class="number" data-value="{count if count is not None else ""}">{format_number(count)}</td>'
            )
        body.append(f"<tr>{''.join(cells)}</tr>")
    return _table_card(title, head, body, "", "many" if many else "")


def differences_html(differences: Sequence[PairedDifferenceRow]) -> str:
    """Paired differences between systems, with a verdict that the interval supports."""
    if not differences:
        return ""
    body = []
    for d in differences:
        between = ""
        verdict = "–"
        if is_finite_number(d.low) and is_finite_number(d.high) and d.low is not None and d.high is not None:
            between = f"{format_difference(d.low, d.unit).split()[0]} to {format_difference(d.high, d.unit)}"
            clear = d.low > 0 or d.high < 0
            better = d.system_a if (d.value > 0) == d.higher_is_better else d.system_b
            verdict = f"{better} is better" if clear else "no clear difference"
        name = f'<code class="list">{escape_html(d.list_name)}</code>' if d.list_name else ""
        p = "–" if d.p_value is None else ("< 0.001" if d.p_value < 0.001 else f"{d.p_value:.3f}")
        cells = [
            f'<th scope="row">{escape_html(d.name)}{name}</th><td>{escape_html(d.system_a)} − {escape_html(d.system_b)}</td>',
            f'<td class="number" data-value="{d.value}"><b>{escape_html(format_difference(d.value, d.unit))}</b></td>',
            f'<td class="number">{escape_html(between) or "–"}</td>',
            f'<td class="number" data-value="{"" if d.p_value is None else d.p_value}">{escape_html(p)}</td>',
            f"<td>{escape_html(verdict)}</td>",
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
    head = _column_headers(
        [
            ("List", ""),
            ("Systems", ""),
            ("Difference", "n"),
            ("95 % interval", "n"),
            ("p", "n"),
            ("Verdict", ""),
        ]
    )
    caption = (
        "Paired bootstrap over people: both systems are judged on the same resampled people. A system is "
        "called better where the interval leaves zero out. Each row is a test of its own: between equal "
        "systems about one row in twenty would say so by chance."
    )
    return _table_card("Differences between systems", head, body, caption)


def protocol_html(protocol: ProtocolSummary) -> str:
    """Rules, counts and lists of a protocol."""
    facts = facts_html({"Protocol": protocol.name, **protocol.facts})
    if not protocol.lists:
        return facts
    body = []
    for item in protocol.lists:
        what = " · ".join(text for text in (item.task, DIRECTION_TITLES.get(item.direction, "")) if text)
        stratum = _stratum_badge(item.stratum)
        count = "" if item.num_trials is None else item.num_trials
        body.append(
            f'<tr><th scope="row"><code>{escape_html(item.name)}</code></th><td>{escape_html(what)} {stratum}</td>'
            f'<td class="number" data-value="{count}">{format_number(item.num_trials)}</td>'
            f'<td><code class="hash" title="{escape_html(item.sha256)}">{escape_html(item.sha256 or "–")}</code></td></tr>'
        )
    head = _column_headers([("List", ""), ("What it asks", ""), ("Lines", "n"), ("SHA-256 of the file", "")])
    return facts + _table_card("Lists", head, body, "")


def table_html(table: Table) -> str:
    """Any further table."""
    numeric = [
        bool(table.rows)
        and all(is_finite_number(row[i]) or row[i] is None for row in table.rows if i < len(row))
        for i in range(len(table.columns))
    ]
    body = []
    for row in table.rows:
        cells = []
        for i, value in enumerate(row):
            kind = "number" if i < len(numeric) and numeric[i] else "text"
            name = 'th scope="row"' if i == 0 else "td"
            raw = f' data-value="{value}"' if is_finite_number(value) else ""
            cells.append(f'<{name} class="{kind}"{raw}>{escape_html(format_number(value))}</{name[:2]}>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    head = _column_headers([(name, "n" if right else "") for name, right in zip(table.columns, numeric)])
    return _table_card(table.title, head, body, table.note)


def facts_html(facts: Mapping[str, object]) -> str:
    """Names and texts in two columns."""
    rows = "".join(
        f"<div><dt>{escape_html(name)}</dt><dd>{escape_html(value)}</dd></div>"
        for name, value in facts.items()
    )
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def compute_axis_range(values: Sequence[float | None], unit: str) -> tuple[float, float]:
    """Round ends that hold all values; fractions never pass 0 and 1."""
    known = [float(v) for v in values if v is not None and is_finite_number(v)]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
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
) -> str:
    """A bar with ticks for the references and a dot with its interval for each system.

    Args:
        marks: (style class, value, low, high) of each system.
        references: chance, baseline, upper_bound -> value; those that are missing are not drawn.
        axis: values at the two ends.
    """
    low, high = axis

    def at(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low or 1))), 2)

    parts = []
    known = {
        name: value for name, value in references.items() if value is not None and is_finite_number(value)
    }
    if len(marks) == 1 and is_finite_number(marks[0][1]) and ("baseline" in known or "chance" in known):
        ends = sorted((at(known.get("baseline", known.get("chance", low))), at(marks[0][1])))
        parts.append(
            f'<span class="fill" style="left:{ends[0]}%;width:{round(ends[1] - ends[0], 2)}%"></span>'
        )
    parts += [f'<span class="tick {name}" style="left:{at(value)}%"></span>' for name, value in known.items()]
    for i, (style, value, left, right) in enumerate(marks):
        if not is_finite_number(value):
            continue
        top = f"top:{round(100 * (i + 1) / (len(marks) + 1), 1)}%"
        if left is not None and right is not None and is_finite_number(left) and is_finite_number(right):
            width = round(at(right) - at(left), 2)
            parts.append(
                f'<span class="whisker {style}" style="left:{at(left)}%;width:{width}%;{top}"></span>'
            )
        parts.append(f'<span class="spot {style}" style="left:{at(value)}%;{top}"></span>')
    return f'<div class="track n{len(marks)}" aria-hidden="true">{"".join(parts)}</div>'


def _best_row(rows: Sequence[ResultRow | None]) -> ResultRow | None:
    """The best row, when at least two systems have one and no other equals it."""
    present = [row for row in rows if row is not None and is_finite_number(row.value)]
    if len(present) < 2:
        return None
    best = max(present, key=lambda r: r.value if r.higher_is_better else -r.value)
    return best if sum(row.value == best.value for row in present) == 1 else None


def row_label_html(row: ResultRow, *, with_task: bool = False) -> str:
    """What was asked and by which list; direction and stratum alone where the task stands above."""
    name = f'<code class="list">{escape_html(row.list_name)}</code>' if row.list_name else ""
    way = DIRECTION_TITLES.get(row.direction, "")
    what = " · ".join(text for text in (row.task, way) if text) if with_task else way or row.task
    return f'<span class="row-name">{escape_html(what)} {_stratum_badge(row.stratum)}</span>{name}'


def _row_sort_text(row: ResultRow) -> str:
    return f"{row.task} {DIRECTION_TITLES.get(row.direction, '')} {row.stratum} {row.list_name}"


def _stratum_badge(stratum: str) -> str:
    if not stratum:
        return ""
    return f'<abbr class="badge" title="{escape_html(STRATUM_DESCRIPTIONS.get(stratum, stratum))}">{escape_html(stratum)}</abbr>'


def _colour_swatch(css_class: str | None) -> str:
    return f'<span class="swatch dot {css_class}" aria-hidden="true"></span>' if css_class else ""


def _column_headers(columns: Sequence[tuple[str, str]]) -> str:
    """Sortable column heads."""
    return "".join(
        f'<th scope="col" class="{"number" if kind else "text"}">'
        f'<button type="button" class="sort">{escape_html(name)}</button></th>'
        for name, kind in columns
    )


def _table_card(title: str, header: str, body: Sequence[str], note: str, css_class: str = "") -> str:
    """A table in a region that scrolls sideways by itself on a narrow screen."""
    under = f'<p class="note">{escape_html(note)}</p>' if note else ""
    return (
        f'<div class="card table"><div class="scroll" role="region" tabindex="0" aria-label="{escape_html(title)}">'
        f'<table class="{css_class}">'
        f"<caption>{escape_html(title)}</caption><thead><tr>{header}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        f"</div>{under}</div>"
    )
