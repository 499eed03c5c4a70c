"""The page and the terminal table of several systems on the same people and lists."""

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from voiceface.evaluation.all_pairs_comparison import SHOWN, PairsComparison
from voiceface.evaluation.comparison import Comparison
from voiceface.metrics.bootstrap import PairedDifference
from voiceface.report.formatting import SHARED, WAYS, signed
from voiceface.report.list_results import (
    cmc_plots,
    known,
    percent,
    protocol_of,
    result_row,
    roc_plots,
    task_of,
)
from voiceface.report.page import build_report, environment
from voiceface.report.records import Difference, ResultRow, SystemResults, Table

PAIRS_TASKS = {
    "g": ("Matching 1:2", "G"),
    "u": ("Matching 1:2", "U"),
    "auc_g": ("Verification (AUC)", "G"),
    "auc": ("Verification (AUC)", "U"),
    "map": ("Retrieval (mAP)", "U"),
}


def comparison_report(
    out_html: str | PathLike[str],
    found: Comparison,
    *,
    title: str = "",
    notice: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
    commands: Sequence[str] = (),
) -> Path:
    """Write one page: one plot and one table of all systems, paired differences in words, ROC and CMC.

    Args:
        out_html: file to write.
        found: what was found.
        title: heading; None given, the names of the systems.
        notice: warnings.
        facts: name -> short text under the title.
        commands: how to make the page again.
    """
    differences, names = differences_of(found), list(found.systems)
    return build_report(
        out_html,
        title=title or ", ".join(names[:-1]) + f" and {names[-1]}",
        subtitle=f"{len(found.systems)} systems on the same people, files and lists.",
        facts=facts,
        notice=notice,
        summary=list(sentences_of(found, differences)),
        systems=[SystemResults(name, rows_of(found, name)) for name in found.systems],
        together="All systems",
        differences=differences,
        tables=_run_tables(found),
        roc=roc_plots(found.systems, found.references),
        cmc=cmc_plots(found.systems, found.references),
        protocol=protocol_of(found.systems),
        environment=environment(),
        commands=commands,
    )


def comparison_table(found: Comparison) -> str:
    """Text table: a line per list (and per figure over all pairs), systems with intervals, differences.

    Columns: chance, sex only and oracle where they are known, then figure and interval of each system, then
    the first system minus each other one with interval and p-value.
    """
    with_references = bool(found.references)
    first, *others = found.systems
    lines = [["", "chance", *(["sex only", "oracle"] if with_references else [])]]
    lines[0] += [*found.systems, *(f"{first} - {other}" for other in others)]
    for result in found.systems[first].lists:
        name = result.name
        told = [found.references[key].by_name[name].main.value for key in found.references]
        row = [name, *map(_share, (result.main.chance, *told))]
        for each in found.systems.values():
            main = each.by_name[name].main
            row.append(f"{main.value:.3f}  {main.low:.3f} ... {main.high:.3f}")
        lines.append([*row, *(_gap(found.differences[other][name]) for other in others)])
    for pairs in found.pairs:
        for key in SHOWN:
            if key not in pairs.systems[first]:
                continue
            row = [f"{pairs.setting} {key}", *(_share(told[key]) for told in pairs.references.values())]
            for span in (pairs.systems[name][key] for name in found.systems):
                row.append(f"{span.value:.3f}  {span.low:.3f} ... {span.high:.3f}")
            lines.append([*row, *(_gap(pairs.differences[other][key]) for other in others)])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "   ".join(f"{cell:{'<' if i == 0 else '>'}{widths[i]}}" for i, cell in enumerate(line)).rstrip()
        for line in lines
    )


def legend_of(found: Comparison) -> str:
    """What the rows and columns of `comparison_table` are."""
    rules = found.protocol
    text = [f"{rules.confidence:.0%} intervals and two-sided p from {rules.replicates} draws of people"]
    if found.pairs:
        text.append(
            f"single, avg: all pairs of {found.pairs[0].people} people in both directions, "
            "g and auc_g within a sex"
        )
    averaged = [
        f"{name} is the mean of {len(runs)} runs" for name, runs in found.runs.items() if len(runs) > 1
    ]
    return "; ".join([*text, *averaged, *(["intervals do not cover runs"] if averaged else [])])


def rows_of(found: Comparison, name: str) -> list[ResultRow]:
    """Figures of one system, all pairs before lists within a task."""
    rows = [
        ResultRow(
            PAIRS_TASKS[key][0],
            span.value,
            direction="both",
            stratum=PAIRS_TASKS[key][1],
            list_name=f"all pairs, {_clips(pairs)}",
            low=known(span.low),
            high=known(span.high),
            chance=pairs.references["chance"][key],
            baseline=pairs.references["sex only"][key],
            ceiling=pairs.references.get("oracle", {}).get(key),
            count=pairs.people,
        )
        for pairs in found.pairs
        for key, span in pairs.systems[name].items()
        if key in PAIRS_TASKS
    ]
    rows.sort(key=lambda row: row.stratum != "G")
    rows += [result_row(result, found.references) for result in found.systems[name].lists]
    tasks = list(dict.fromkeys(task_of(result) for result in found.systems[name].lists))
    return sorted(rows, key=lambda row: (*tasks, row.task).index(row.task))


def differences_of(found: Comparison) -> list[Difference]:
    """First minus every other system: all pairs, then lists."""
    rows = []
    for other in found.differences:
        for pairs in found.pairs:
            for key in SHOWN:
                if key in pairs.differences[other]:
                    gap = pairs.differences[other][key]
                    asked = f"{SHOWN[key][0].upper()}{SHOWN[key][1:]}"
                    rows.append(_difference(found, other, gap, asked, f"all pairs, {_clips(pairs)}"))
        for result in found.systems[found.first].lists:
            questions = result.questions
            words = [task_of(result), WAYS[questions.direction]]
            words += (
                [] if questions.kind == "retrieval" else [SHARED.get(questions.stratum, questions.stratum)]
            )
            gap = found.differences[other][result.name]
            rows.append(_difference(found, other, gap, ", ".join(words), result.name))
    return rows


def _difference(
    found: Comparison, other: str, gap: PairedDifference, asked: str, list_name: str
) -> Difference:
    return Difference(
        found.first,
        other,
        asked,
        gap.value,
        known(gap.low),
        known(gap.high),
        gap.p_value,
        list_name=list_name,
    )


def sentences_of(found: Comparison, differences: Sequence[Difference]) -> Iterator[str]:
    """What was found, in plain words."""
    lead = f"{found.systems[found.first].lists[0].name}"
    values = {name: results.lists[0].main.value for name, results in found.systems.items()}
    gaps = {other: gaps[lead] for other, gaps in found.differences.items()}
    if found.pairs and "g" in found.pairs[0].systems[found.first]:
        pairs = found.pairs[0]
        lead = f"1:2 matching within a sex over all pairs of {pairs.people} people"
        values = {name: figures["g"].value for name, figures in pairs.systems.items()}
        gaps = {other: figures["g"] for other, figures in pairs.differences.items()}
    yield f"{lead}: " + ", ".join(f"{name} {percent(value)}" for name, value in values.items()) + "."
    for other, gap in gaps.items():
        mine = [d for d in differences if d.second == other]
        better = sum(d.low is not None and d.low > 0 for d in mine)
        worse = sum(d.high is not None and d.high < 0 for d in mine)
        yield (
            f"{found.first} against {other}: {signed(gap.value)} there "
            f"({signed(gap.low).split()[0]} to {signed(gap.high)}). "
            f"Of {len(mine)} figures, {found.first} is better in {better}, {other} in {worse}, "
            f"and {len(mine) - better - worse} show no clear difference."
        )
    for name, runs in found.runs.items():
        if len(runs) > 1:
            yield f"{name}: means over {len(runs)} runs. Its intervals cover people, not runs."
    if found.left_out:
        yield f"{found.left_out} clips and pictures that not every system has were left out of all."


def _run_tables(found: Comparison) -> list[Table]:
    """Every run of the systems that have several."""
    tables = []
    for name, runs in found.runs.items():
        if len(runs) < 2:
            continue
        rows: list[list[Any]] = []
        for pairs in found.pairs:
            for key in SHOWN:
                if key in pairs.runs[name]:
                    label = f"{SHOWN[key]}, all pairs, {_clips(pairs)}"
                    rows.append([label, *_spread(pairs.runs[name][key])])
        for place, result in enumerate(runs[0].lists):
            rows.append([result.name, *_spread([run.lists[place].main.value for run in runs])])
        columns = ["figure", *(f"run {number}" for number in range(1, len(runs) + 1)), "mean", "spread"]
        note = "The spread is the standard deviation between the runs."
        tables.append(Table(f"Runs of {name}", columns, rows, note))
    return tables


def _spread(values: Sequence[float]) -> list[str]:
    return [*map(percent, values), percent(float(np.mean(values))), percent(float(np.std(values, ddof=1)))]


def _clips(pairs: PairsComparison) -> str:
    return "one clip and picture" if pairs.setting == "single" else f"means over {pairs.setting[3:]}"


def _gap(gap: PairedDifference) -> str:
    return f"{gap.value:+.3f}  {gap.low:+.3f} ... {gap.high:+.3f}  p {gap.p_value:.3f}"


def _share(value: float) -> str:
    return f"{value:.3f}"
