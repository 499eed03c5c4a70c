"""Parts of the page: figures in words, on cards and in tables, who took part, what to mind."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from voiceface.report import Headline, Table
from voiceface.report.formatting import figure, interval
from voiceface.report.list_results import known
from voiceface.suite.inference import Answers
from voiceface.suite.plugins import System, Systems
from voiceface.suite.scoring import MEAN, OWN_SEX, Matched

if TYPE_CHECKING:
    from voiceface.evaluation.comparison import Comparison
    from voiceface.metrics.bootstrap import PairedDifference
    from voiceface.metrics.geometry import ErrorComparison
    from voiceface.report import Difference
    from voiceface.synthetic.agreement.result import Agreement

CARE = (
    "Nobody may be identified by this: a face that is ranked first, or made from a voice, is a typical face "
    "for such a voice and no likeness of the speaker. It is no evidence of anything.",
    "Voices and faces are personal data, and so is what is computed from them. Use recordings and pictures "
    "of real people only with their consent, for a purpose they know, and delete what you no longer need.",
    "Nothing may be concluded from a voice about the sex, age, origin or health of a person in order to "
    "treat them differently.",
    "A page with real people may be passed on only with the consent of everybody in it.",
    "The whole text: docs/responsible_use.md of this repository.",
)
AGREEMENT = {
    "sex": "the picture shows the person's sex",
    "matching same sex": "nearer to the person's picture than to another's of the same sex",
    "found 10": "the person is among the 10 nearest of all",
    "tied matching same sex": "right one of two of the same sex, by what follows the voice",
    "tied found 10": "among the 10 nearest of all, by what follows the voice",
    "factors": "correlation with the eight true factors, within a sex",
    "skin": "correlation with the true colour of the skin",
}
"""Figures of made pictures that the page shows (`voiceface.synthetic.agreement.agreement`), in words."""
TIES = {"tied": "yes", "in part": "in part", "free": "no"}
UNKNOWN = (
    "Who belongs to whom is not known here, so no right answer is marked and no accuracy is claimed. Where "
    "the first folder below --voices and --faces has the same name, the page counts."
)


def headlines_of(
    comparison: "Comparison | None",
    agreements: "Mapping[str, Agreement]",
    errors: "Mapping[str, ErrorComparison]",
) -> list[Headline]:
    """One card a system, all on the same people."""
    cards = []
    if comparison is not None and comparison.pairs:
        pairs = comparison.pairs[0]
        for name, found in pairs.systems.items():
            if (span := found.get("g")) is None:
                continue
            chance, baseline, ceiling = (
                pairs.references.get(key, {}).get("g") for key in ("chance", "sex only", "oracle")
            )
            note = "right one of two of the same sex, both directions; one clip, one picture"
            low, high = known(span.low), known(span.high)
            cards.append(Headline(name, span.value, low, high, chance, baseline, ceiling, note))
    for name, agreement in agreements.items():
        made = agreement.figures.get("matching same sex")
        if made is not None:
            note = "the made picture is nearer to the person's than to another's of the same sex"
            cards.append(
                Headline(name, made.value, made.low, made.high, made.chance, None, made.ceiling, note)
            )
    for name, error in errors.items():
        cards.append(
            Headline(
                name,
                error.ours.value,
                error.ours.low,
                error.ours.high,
                chance=error.baselines[MEAN].value,
                baseline=error.baselines[OWN_SEX].value,
                note="mean error of four proportions of the head, less is better; chance: the mean face for "
                "everybody, sex only: that of the own sex",
                unit="",
                higher_is_better=False,
            )
        )
    return cards


def tables_of(agreements: "Mapping[str, Agreement]", errors: "Mapping[str, ErrorComparison]") -> list[Table]:
    """Figures of made pictures and of made meshes."""
    tables = []
    if agreements:
        rows = []
        first = next(iter(agreements.values()))
        for key, words in AGREEMENT.items():
            if key not in first.figures:
                continue
            figures = [agreement.figures[key] for agreement in agreements.values()]
            row = [
                words,
                *(f"{_decimal(f.value)} ({_decimal(f.low)} to {_decimal(f.high)})" for f in figures),
            ]
            rows.append(
                [*row, _decimal(figures[0].chance), _decimal(figures[0].ceiling), TIES[figures[0].tie]]
            )
        columns = ["what a judge reads from the picture", *agreements, "chance", "ceiling", "in the voice?"]
        note = (
            f"{first.people} people, one picture each from one clip. Chance: the pictures made for the "
            "others of the same sex. Ceiling: another true picture in place of the made one."
        )
        tables.append(Table("Pictures made from voices", columns, rows, note))
    if errors:
        rows = []
        for name, error in errors.items():
            rows.append([name, _span(error.ours), "–", "–"])
            for word, span in error.baselines.items():
                gap = error.differences[word]
                less = f"{gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})".replace("-", "−")
                rows.append([word, _span(span), less, f"{gap.p_value:.3f}"])
        columns = ["prediction", "error (95 % interval)", "system minus it", "p"]
        note = (
            "Mean absolute error of the widths of forehead, cheeks, ears and midline over that of the eyes."
        )
        tables.append(Table("Heads made from voices", columns, rows, note))
    return tables


def cast_of(systems: Systems, answers: Answers, unseen: Sequence[str], trained: Mapping[str, str]) -> Table:
    """Who takes part, by which weights, and whether anybody on the page is known to them.

    Args:
        systems: found and absent ones.
        answers: what they made.
        unseen: people of whom the page speaks; empty where they have no names.
        trained: system -> words for where its weights come from, in place of the answers' own.
    """
    rows: list[list[Any]] = []
    for system in systems.found:
        people = answers.trained_on.get(system.name, ())
        met = len(set(people) & set(unseen))
        words = f"{len(people)} people" if people else "not stated"
        if unseen and people:
            words += f", {met or 'none'} of those judged here"
        source = answers.sources.get(system.name, "–")
        if not source.startswith("bundled"):  # some name their file, whose name says little
            source = trained.get(system.name, source)
        rows.append([system.name, system.about, source, words])
    rows += [[name, why, "–", "–"] for name, why in systems.absent.items()]
    return Table("Who takes part", ["system", "what it does", "weights", "trained on"], rows)


def sentences_of_matched(
    found: Mapping[str, Matched], gaps: "Mapping[str, PairedDifference]"
) -> Iterator[str]:
    """Figures of one's own files in words."""
    for name, each in found.items():
        yield (
            f"{name}: the right face beats a wrong one in {figure(each.two.value)} "
            f"(95 % interval {interval(each.two.low, each.two.high)}, chance 50.0), comes first for "
            f"{figure(each.first.value)} of {each.voices} voices (chance {figure(each.chance_first)}) "
            f"and stands in place {each.place:.0f} in the middle; {each.people} people."
        )
    first = next(iter(found), "")
    for name, gap in gaps.items():
        verdict = "no clear difference"
        if gap.low > 0 or gap.high < 0:
            verdict = f"{first if gap.value > 0 else name} is better"
        yield (
            f"{first} against {name}: {100 * gap.value:+.1f} points "
            f"({100 * gap.low:+.1f} to {100 * gap.high:+.1f}), {verdict}.".replace("-", "−")
        )


def matched_headlines(found: Mapping[str, Matched]) -> list[Headline]:
    """A card a system for one's own files."""
    return [
        Headline(
            name,
            each.two.value,
            known(each.two.low),
            known(each.two.high),
            chance=0.5,
            note=f"right face of two, anyone; {each.voices} voices of {each.people} people",
        )
        for name, each in found.items()
    ]


def matched_differences(
    found: Mapping[str, Matched], gaps: "Mapping[str, PairedDifference]"
) -> "list[Difference]":
    """Paired differences of one's own files."""
    from voiceface.report import Difference

    first = next(iter(found), "")
    return [
        Difference(first, name, "right face of two", gap.value, known(gap.low), known(gap.high), gap.p_value)
        for name, gap in gaps.items()
    ]


def left_out(failed: Mapping[str, Mapping[str, str]], base: Mapping[str, str]) -> Table | None:
    """Files that could not be used, by which system, and why.

    Args:
        failed: file -> system -> why.
        base: file -> what to call it.
    """
    rows = []
    for file, each in failed.items():
        rows.append([base.get(file, file), ", ".join(each), reasons_of(file, each.values())])
    return Table("Left out", ["file", "by", "why"], rows) if rows else None


def reasons_of(file: str, reasons: Iterable[str]) -> str:
    """Why a file could not be used, each reason once, without the file's own name in it."""
    return "; ".join(dict.fromkeys(why.replace(file, "").strip(" :") for why in reasons))


def absent_line(system: System | str, why: str) -> str:
    """One line for the terminal."""
    return f"    without {system if isinstance(system, str) else system.name}: {why}"


def _span(span: Any) -> str:
    return f"{span.value:.4f} ({span.low:.4f} to {span.high:.4f})"


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-", "−")
