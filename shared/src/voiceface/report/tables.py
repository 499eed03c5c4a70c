"""Headline cards and tables of figures: value, interval, and where it lies between chance and ceiling."""

import math
from collections.abc import Mapping, Sequence

from voiceface.report.formatting import DIRECTIONS, STRATA, figure, interval, is_number, number, safe, signed
from voiceface.report.records import Difference, Headline, Protocol, ResultRow, SystemResults, Table

REFERENCES = (("chance", "chance"), ("baseline", "sex only"), ("ceiling", "ceiling"))


def headline_html(headline: Headline) -> str:
    """A card: the figure, its interval, a bar between the references, and the share of the possible gain."""
    unit = headline.unit
    known = [(field, name, getattr(headline, field)) for field, name in REFERENCES]
    known = [(field, name, value) for field, name, value in known if is_number(value)]
    axis = axis_of([headline.value, headline.low, headline.high, *(value for _, _, value in known)], unit)
    bar = track_html([("c0", headline.value, headline.low, headline.high)], {f: v for f, _, v in known}, axis)
    legend = "".join(
        f'<li><span class="swatch {field}" aria-hidden="true"></span>{name} <b>{figure(value, unit)}</b></li>'
        for field, name, value in known
    )
    between = interval(headline.low, headline.high, unit)
    between = f"95\u202f% interval {between}" if between else ""
    gain = share_of_gain(headline.value, headline.baseline, headline.chance, headline.ceiling)
    lines = [f'<p class="note">{safe(text)}</p>' for text in (gain, headline.note) if text]
    number_text, tail = (
        figure(headline.value, unit, with_unit=False),
        f'<span class="unit">{safe(unit)}</span>',
    )
    return (
        f'<li class="card headline"><h3>{safe(headline.name)}</h3>'
        f'<p class="value">{number_text}{tail if unit else ""}</p>'
        f'<p class="interval">{between or "&nbsp;"}</p>{bar}'
        f'<ul class="references">{legend}</ul>{"".join(lines)}</li>'
    )


def share_of_gain(value: float, baseline: float | None, chance: float | None, ceiling: float | None) -> str:
    """(model - sex only) / (ceiling - sex only) in words; chance stands in for a missing sex-only figure."""
    name, start = ("sex only", baseline) if is_number(baseline) else ("chance", chance)
    if not (is_number(value) and is_number(start) and is_number(ceiling)) or start is None or ceiling is None:
        return ""
    if abs(ceiling - start) < 1e-6:
        return ""
    share = 100 * (value - start) / (ceiling - start)
    return f"{share:.0f}\u202f% of the way from {name} to the ceiling".replace("-", "−")


def results_html(systems: Sequence[SystemResults], classes: Mapping[str, str], *, title: str = "") -> str:
    """One sortable table for each task, systems side by side.

    Args:
        systems: rows of each system; a list that only some have is shown with gaps.
        classes: system -> style class of its colour.
        title: one table for all tasks, under this heading; they must share a unit.
    """
    tasks = by_task(systems)
    if title:
        return _results_table(
            title, systems, classes, [line for lines in tasks.values() for line in lines], True
        )
    return "".join(_results_table(task, systems, classes, lines, False) for task, lines in tasks.items())


def by_task(
    systems: Sequence[SystemResults],
) -> dict[str, list[tuple[ResultRow, list[ResultRow | None]]]]:
    """Task -> for each of its lists a row that says what was asked, and every system's row or None."""
    rows = {row.key: row for system in reversed(systems) for row in reversed(system.rows)}
    keys = dict.fromkeys(row.key for system in systems for row in system.rows)
    by_system = [{row.key: row for row in system.rows} for system in systems]
    tasks: dict[str, list[tuple[ResultRow, list[ResultRow | None]]]] = {key[0]: [] for key in keys}
    for key in keys:
        tasks[key[0]].append((rows[key], [found.get(key) for found in by_system]))
    return tasks


def _results_table(
    title: str,
    systems: Sequence[SystemResults],
    classes: Mapping[str, str],
    lines: Sequence[tuple[ResultRow, Sequence[ResultRow | None]]],
    with_task: bool,
) -> str:
    """A table with only the columns that hold something; `with_task`: its rows are of several tasks."""
    unit, many = lines[0][0].unit, len(systems) > 1
    shown = [row for _, rows in lines for row in rows if row is not None]
    extras = [
        (f, n)
        for f, n in (*REFERENCES, ("published", "published"))
        if any(is_number(getattr(r, f)) for r in shown)
    ]
    values = [v for r in shown for v in (r.value, r.low, r.high, r.chance, r.baseline, r.ceiling)]
    axis = axis_of(values, unit)
    columns = [("List", "text")]
    columns += [(system.name if many else "Result", "number") for system in systems]
    counted = any(row.count is not None for row in shown)
    after = [(name.capitalize(), "number") for _, name in extras] + [("Questions", "number")] * counted
    head = "".join(
        f'<th scope="col" class="{kind}"><button type="button" class="sort">'
        f"{_dot(classes.get(name)) if many else ''}{safe(name)}</button></th>"
        for name, kind in columns
    )
    ends = f"<span>{figure(axis[0], unit)}</span><span>{figure(axis[1], unit)}</span>"
    head += f'<th scope="col" class="track-head"><span class="ends">{ends}</span></th>'
    head += _heads([(name, "n") for name, _ in after])
    body = []
    for row, rows in lines:
        label = row_label(row, with_task=with_task)
        cells = [f'<th scope="row" data-value="{safe(_row_text(row))}">{label}</th>']
        best = _best(rows) if many and not with_task else None  # else the differences say who is better
        marks = []
        for system, found in zip(systems, rows):
            if found is None:
                cells.append('<td class="number" data-value="">–</td>')
                continue
            between = interval(found.low, found.high, unit)
            text = (
                f"<b>{figure(found.value, unit)}</b>"
                if found is best or not many
                else figure(found.value, unit)
            )
            star = ' <span class="best" title="best of this row">best</span>' if found is best else ""
            cells.append(
                f'<td class="number" data-value="{found.value}">{text}{star}'
                f"{f'<span class=between>{between}</span>' if between else ''}</td>"
            )
            marks.append((classes.get(system.name, "c0"), found.value, found.low, found.high))
        present = [r for r in rows if r is not None]
        references = {
            f: next((getattr(r, f) for r in present if is_number(getattr(r, f))), None) for f, _ in REFERENCES
        }
        cells.append(f'<td class="track-cell">{track_html(marks, references, axis)}</td>')
        for field, _ in extras:
            value = next((getattr(r, field) for r in present if is_number(getattr(r, field))), None)
            cells.append(
                f'<td class="number" data-value="{"" if value is None else value}">{figure(value, unit)}</td>'
            )
        if counted:
            count = next((r.count for r in present if r.count is not None), None)
            cells.append(
                f'<td class="number" data-value="{count if count is not None else ""}">{number(count)}</td>'
            )
        body.append(f"<tr>{''.join(cells)}</tr>")
    return _table(title, head, body, "", "many" if many else "")


def differences_html(differences: Sequence[Difference]) -> str:
    """Paired differences between systems, with a verdict that the interval supports."""
    if not differences:
        return ""
    body = []
    for d in differences:
        between = ""
        verdict = "–"
        if is_number(d.low) and is_number(d.high) and d.low is not None and d.high is not None:
            between = f"{signed(d.low, d.unit).split()[0]} to {signed(d.high, d.unit)}"
            clear = d.low > 0 or d.high < 0
            better = d.first if (d.value > 0) == d.higher_is_better else d.second
            verdict = f"{better} is better" if clear else "no clear difference"
        name = f'<code class="list">{safe(d.list_name)}</code>' if d.list_name else ""
        p = "–" if d.p is None else ("< 0.001" if d.p < 0.001 else f"{d.p:.3f}")
        cells = [
            f'<th scope="row">{safe(d.name)}{name}</th><td>{safe(d.first)} − {safe(d.second)}</td>',
            f'<td class="number" data-value="{d.value}"><b>{safe(signed(d.value, d.unit))}</b></td>',
            f'<td class="number">{safe(between) or "–"}</td>',
            f'<td class="number" data-value="{"" if d.p is None else d.p}">{safe(p)}</td>',
            f"<td>{safe(verdict)}</td>",
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
    head = _heads(
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
    return _table("Differences between systems", head, body, caption)


def protocol_html(protocol: Protocol) -> str:
    """Rules, counts and lists of a protocol."""
    facts = facts_html({"Protocol": protocol.name, **protocol.facts})
    if not protocol.lists:
        return facts
    body = []
    for item in protocol.lists:
        what = " · ".join(text for text in (item.task, DIRECTIONS.get(item.direction, "")) if text)
        stratum = _badge(item.stratum)
        count = "" if item.count is None else item.count
        body.append(
            f'<tr><th scope="row"><code>{safe(item.name)}</code></th><td>{safe(what)} {stratum}</td>'
            f'<td class="number" data-value="{count}">{number(item.count)}</td>'
            f'<td><code class="hash" title="{safe(item.sha256)}">{safe(item.sha256 or "–")}</code></td></tr>'
        )
    head = _heads([("List", ""), ("What it asks", ""), ("Lines", "n"), ("SHA-256 of the file", "")])
    return facts + _table("Lists", head, body, "")


def table_html(table: Table) -> str:
    """Any further table."""
    numeric = [
        bool(table.rows) and all(is_number(row[i]) or row[i] is None for row in table.rows if i < len(row))
        for i in range(len(table.columns))
    ]
    body = []
    for row in table.rows:
        cells = []
        for i, value in enumerate(row):
            kind = "number" if i < len(numeric) and numeric[i] else "text"
            name = 'th scope="row"' if i == 0 else "td"
            raw = f' data-value="{value}"' if is_number(value) else ""
            cells.append(f'<{name} class="{kind}"{raw}>{safe(number(value))}</{name[:2]}>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    head = _heads([(name, "n" if right else "") for name, right in zip(table.columns, numeric)])
    return _table(table.title, head, body, table.note)


def facts_html(facts: Mapping[str, object]) -> str:
    """Names and texts in two columns."""
    rows = "".join(f"<div><dt>{safe(name)}</dt><dd>{safe(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def axis_of(values: Sequence[float | None], unit: str) -> tuple[float, float]:
    """Round ends that hold all values; fractions never pass 0 and 1."""
    known = [float(v) for v in values if v is not None and is_number(v)]
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


def track_html(
    marks: Sequence[tuple[str, float, float | None, float | None]],
    references: Mapping[str, float | None],
    axis: tuple[float, float],
) -> str:
    """A bar with ticks for the references and a dot with its interval for each system.

    Args:
        marks: (style class, value, low, high) of each system.
        references: chance, baseline, ceiling -> value; those that are missing are not drawn.
        axis: values at the two ends.
    """
    low, high = axis

    def at(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low or 1))), 2)

    parts = []
    known = {name: value for name, value in references.items() if value is not None and is_number(value)}
    if len(marks) == 1 and is_number(marks[0][1]) and ("baseline" in known or "chance" in known):
        ends = sorted((at(known.get("baseline", known.get("chance", low))), at(marks[0][1])))
        parts.append(
            f'<span class="fill" style="left:{ends[0]}%;width:{round(ends[1] - ends[0], 2)}%"></span>'
        )
    parts += [f'<span class="tick {name}" style="left:{at(value)}%"></span>' for name, value in known.items()]
    for i, (style, value, left, right) in enumerate(marks):
        if not is_number(value):
            continue
        top = f"top:{round(100 * (i + 1) / (len(marks) + 1), 1)}%"
        if left is not None and right is not None and is_number(left) and is_number(right):
            width = round(at(right) - at(left), 2)
            parts.append(
                f'<span class="whisker {style}" style="left:{at(left)}%;width:{width}%;{top}"></span>'
            )
        parts.append(f'<span class="spot {style}" style="left:{at(value)}%;{top}"></span>')
    return f'<div class="track n{len(marks)}" aria-hidden="true">{"".join(parts)}</div>'


def _best(rows: Sequence[ResultRow | None]) -> ResultRow | None:
    """The best row, when at least two systems have one and no other equals it."""
    present = [row for row in rows if row is not None and is_number(row.value)]
    if len(present) < 2:
        return None
    best = max(present, key=lambda r: r.value if r.higher_is_better else -r.value)
    return best if sum(row.value == best.value for row in present) == 1 else None


def row_label(row: ResultRow, *, with_task: bool = False) -> str:
    """What was asked and by which list; direction and stratum alone where the task stands above."""
    name = f'<code class="list">{safe(row.list_name)}</code>' if row.list_name else ""
    way = DIRECTIONS.get(row.direction, "")
    what = " · ".join(text for text in (row.task, way) if text) if with_task else way or row.task
    return f'<span class="row-name">{safe(what)} {_badge(row.stratum)}</span>{name}'


def _row_text(row: ResultRow) -> str:
    return f"{row.task} {DIRECTIONS.get(row.direction, '')} {row.stratum} {row.list_name}"


def _badge(stratum: str) -> str:
    if not stratum:
        return ""
    return f'<abbr class="badge" title="{safe(STRATA.get(stratum, stratum))}">{safe(stratum)}</abbr>'


def _dot(style: str | None) -> str:
    return f'<span class="swatch dot {style}" aria-hidden="true"></span>' if style else ""


def _heads(columns: Sequence[tuple[str, str]]) -> str:
    """Sortable column heads."""
    return "".join(
        f'<th scope="col" class="{"number" if kind else "text"}">'
        f'<button type="button" class="sort">{safe(name)}</button></th>'
        for name, kind in columns
    )


def _table(title: str, head: str, body: Sequence[str], note: str, style: str = "") -> str:
    """A table in a region that scrolls sideways by itself on a narrow screen."""
    under = f'<p class="note">{safe(note)}</p>' if note else ""
    return (
        f'<div class="card table"><div class="scroll" role="region" tabindex="0" aria-label="{safe(title)}">'
        f'<table class="{style}">'
        f"<caption>{safe(title)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        f"</div>{under}</div>"
    )
