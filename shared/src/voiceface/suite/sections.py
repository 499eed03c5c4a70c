"""Parts of the page: figures in words, on cards and in tables, who took part, what to mind."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from voiceface.report import Headline, Table
from voiceface.report.formatting import format_interval, format_metric
from voiceface.report.list_results import nan_to_none
from voiceface.suite.inference import SystemOutputs
from voiceface.suite.plugins import System, SystemSet
from voiceface.suite.scoring import GENDER_MEAN_FACE, MEAN_FACE, MatchingMetrics

if TYPE_CHECKING:
    from voiceface.evaluation.comparison import Comparison
    from voiceface.metrics.bootstrap import PairedDifference
    from voiceface.metrics.geometry import ErrorComparison
    from voiceface.report import PairedDifferenceRow
    from voiceface.synthetic.agreement.result import Agreement

RESPONSIBLE_USE = (
    "Nobody may be identified by this: a face that is ranked first, or made from a voice, is a typical face "
    "for such a voice and no likeness of the speaker. It is no evidence of anything.",
    "Voices and faces are personal data, and so is what is computed from them. Use recordings and pictures "
    "of real people only with their consent, for a purpose they know, and delete what you no longer need.",
    "Nothing may be concluded from a voice about the sex, age, origin or health of a person in order to "
    "treat them differently.",
    "A page with real people may be passed on only with the consent of everybody in it.",
    "The whole text: docs/responsible_use.md of this repository.",
)
AGREEMENT_LABELS = {
    "gender accuracy": "the picture shows the person's sex",
    "same-gender 1:2 matching": "nearer to the person's picture than to another's of the same sex",
    "rank-10 identification": "the person is among the 10 nearest of all",
    "voice-determined same-gender 1:2 matching": "right one of two of the same sex, by what follows the voice",
    "voice-determined rank-10 identification": "among the 10 nearest of all, by what follows the voice",
    "factors": "correlation with the eight true factors, within a sex",
    "skin": "correlation with the true colour of the skin",
}
"""Figures of made pictures that the page shows (`voiceface.synthetic.agreement.agreement`), in words."""
VOICE_DEPENDENCE_LABELS = {
    "voice-determined": "yes",
    "partly voice-determined": "in part",
    "voice-independent": "no",
}
NO_LABELS_NOTE = (
    "Who belongs to whom is not known here, so no right answer is marked and no accuracy is claimed. Where "
    "the first folder below --voices and --faces has the same name, the page counts."
)


def build_headlines(
    comparison: "Comparison | None",
    agreements: "Mapping[str, Agreement]",
    errors: "Mapping[str, ErrorComparison]",
) -> list[Headline]:
    """One card a system, all on the same people."""
    cards = []
    if comparison is not None and comparison.all_pairs:
        pairs = comparison.all_pairs[0]
        for name, found in pairs.systems.items():
            if (span := found.get("g")) is None:
                continue
            chance, baseline, ceiling = (
                pairs.references.get(key, {}).get("g")
                for key in ("chance level", "gender-only baseline", "oracle upper bound")
            )
            note = "right one of two of the same sex, both directions; one clip, one picture"
            low, high = nan_to_none(span.low), nan_to_none(span.high)
            cards.append(Headline(name, span.value, low, high, chance, baseline, ceiling, note))
    for name, agreement in agreements.items():
        made = agreement.metrics.get("same-gender 1:2 matching")
        if made is not None:
            note = "the made picture is nearer to the person's than to another's of the same sex"
            cards.append(
                Headline(
                    name, made.value, made.low, made.high, made.chance, None, made.real_image_value, note
                )
            )
    for name, error in errors.items():
        cards.append(
            Headline(
                name,
                error.ours.value,
                error.ours.low,
                error.ours.high,
                chance=error.baselines[MEAN_FACE].value,
                baseline=error.baselines[GENDER_MEAN_FACE].value,
                note="mean error of four proportions of the head, less is better; chance: the mean face for "
                "everybody, sex only: that of the own sex",
                unit="",
                higher_is_better=False,
            )
        )
    return cards


def build_tables(
    agreements: "Mapping[str, Agreement]", errors: "Mapping[str, ErrorComparison]"
) -> list[Table]:
    """Figures of made pictures and of made meshes."""
    tables = []
    if agreements:
        rows = []
        first = next(iter(agreements.values()))
        for key, words in AGREEMENT_LABELS.items():
            if key not in first.metrics:
                continue
            figures = [agreement.metrics[key] for agreement in agreements.values()]
            row = [
                words,
                *(
                    f"{_format_decimal(f.value)} ({_format_decimal(f.low)} to {_format_decimal(f.high)})"
                    for f in figures
                ),
            ]
            rows.append(
                [
                    *row,
                    _format_decimal(figures[0].chance),
                    _format_decimal(figures[0].real_image_value),
                    VOICE_DEPENDENCE_LABELS[figures[0].voice_dependence],
                ]
            )
        columns = ["what a judge reads from the picture", *agreements, "chance", "ceiling", "in the voice?"]
        note = (
            f"{first.num_identities} people, one picture each from one clip. Chance: the pictures made for the "
            "others of the same sex. Ceiling: another true picture in place of the made one."
        )
        tables.append(Table("Pictures made from voices", columns, rows, note))
    if errors:
        rows = []
        for name, error in errors.items():
            rows.append([name, _format_interval(error.ours), "–", "–"])
            for word, span in error.baselines.items():
                gap = error.differences[word]
                less = f"{gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})".replace("-", "−")
                rows.append([word, _format_interval(span), less, f"{gap.p_value:.3f}"])
        columns = ["prediction", "error (95 % interval)", "system minus it", "p"]
        note = (
            "Mean absolute error of the widths of forehead, cheeks, ears and midline over that of the eyes."
        )
        tables.append(Table("Heads made from voices", columns, rows, note))
    return tables


def build_systems_table(
    systems: SystemSet,
    outputs: SystemOutputs,
    test_identities: Sequence[str],
    source_labels: Mapping[str, str],
) -> Table:
    """Who takes part, by which weights, and whether anybody on the page is known to them.

    Args:
        systems: found and absent ones.
        outputs: what they made.
        test_identities: people of whom the page speaks; empty where they have no names.
        source_labels: system -> words for where its weights come from, in place of the answers' own.
    """
    rows: list[list[Any]] = []
    for system in systems.found:
        people = outputs.training_identities.get(system.name, ())
        met = len(set(people) & set(test_identities))
        words = f"{len(people)} people" if people else "not stated"
        if test_identities and people:
            words += f", {met or 'none'} of those judged here"
        source = outputs.checkpoint_sources.get(system.name, "–")
        if not source.startswith("bundled"):  # some name their file, whose name says little
            source = source_labels.get(system.name, source)
        rows.append([system.name, system.description, source, words])
    rows += [[name, why, "–", "–"] for name, why in systems.unavailable.items()]
    return Table("Who takes part", ["system", "what it does", "weights", "trained on"], rows)


def summarise_matching(
    metrics: Mapping[str, MatchingMetrics], differences: "Mapping[str, PairedDifference]"
) -> Iterator[str]:
    """Figures of one's own files in words."""
    for name, each in metrics.items():
        yield (
            f"{name}: the right face beats a wrong one in {format_metric(each.matching_accuracy.value)} "
            f"(95 % interval {format_interval(each.matching_accuracy.low, each.matching_accuracy.high)}, chance 50.0), comes first for "
            f"{format_metric(each.rank1_rate.value)} of {each.num_utterances} voices (chance {format_metric(each.rank1_chance)}) "
            f"and stands in place {each.median_rank:.0f} in the middle; {each.num_identities} people."
        )
    first = next(iter(metrics), "")
    for name, gap in differences.items():
        verdict = "no clear difference"
        if gap.low > 0 or gap.high < 0:
            verdict = f"{first if gap.value > 0 else name} is better"
        yield (
            f"{first} against {name}: {100 * gap.value:+.1f} points "
            f"({100 * gap.low:+.1f} to {100 * gap.high:+.1f}), {verdict}.".replace("-", "−")
        )


def matching_headlines(metrics: Mapping[str, MatchingMetrics]) -> list[Headline]:
    """A card a system for one's own files."""
    return [
        Headline(
            name,
            each.matching_accuracy.value,
            nan_to_none(each.matching_accuracy.low),
            nan_to_none(each.matching_accuracy.high),
            chance=0.5,
            note=f"right face of two, anyone; {each.num_utterances} voices of {each.num_identities} people",
        )
        for name, each in metrics.items()
    ]


def matching_differences(
    metrics: Mapping[str, MatchingMetrics], differences: "Mapping[str, PairedDifference]"
) -> "list[PairedDifferenceRow]":
    """Paired differences of one's own files."""
    from voiceface.report import PairedDifferenceRow

    first = next(iter(metrics), "")
    return [
        PairedDifferenceRow(
            first,
            name,
            "right face of two",
            gap.value,
            nan_to_none(gap.low),
            nan_to_none(gap.high),
            gap.p_value,
        )
        for name, gap in differences.items()
    ]


def build_skipped_table(
    failures: Mapping[str, Mapping[str, str]], relative_paths: Mapping[str, str]
) -> Table | None:
    """Files that could not be used, by which system, and why.

    Args:
        failures: file -> system -> why.
        relative_paths: file -> what to call it.
    """
    rows = []
    for file, each in failures.items():
        rows.append([relative_paths.get(file, file), ", ".join(each), format_reasons(file, each.values())])
    return Table("Left out", ["file", "by", "why"], rows) if rows else None


def format_reasons(file: str, reasons: Iterable[str]) -> str:
    """Why a file could not be used, each reason once, without the file's own name in it."""
    return "; ".join(dict.fromkeys(why.replace(file, "").strip(" :") for why in reasons))


def format_unavailable(system: System | str, reason: str) -> str:
    """One line for the terminal."""
    return f"    without {system if isinstance(system, str) else system.name}: {reason}"


def _format_interval(span: Any) -> str:
    return f"{span.value:.4f} ({span.low:.4f} to {span.high:.4f})"


def _format_decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-", "−")
