"""Sections of the pages: headline cards, tables, sentences, and the rules of responsible use."""

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

__all__ = [
    "NO_LABELS_NOTE",
    "RESPONSIBLE_USE",
    "STORED_GALLERY_NOTE",
    "build_headlines",
    "build_skipped_table",
    "build_systems_table",
    "build_tables",
    "format_reasons",
    "format_unavailable",
    "matching_differences",
    "matching_headlines",
    "summarise_matching",
]

RESPONSIBLE_USE = (
    "Do not identify anyone with this report: a face that is ranked first, or generated from a voice, is a "
    "typical face for such a voice and no likeness of the speaker. It is no evidence.",
    "Voices, faces and everything computed from them are personal data. Use recordings and images of real "
    "identities only with their consent and for a purpose they know, and delete them when no longer needed.",
    "Do not infer sex, age, origin or health from a voice in order to treat a person differently.",
    "Share a page with real people only with the consent of all identities in it.",
    "Full text: docs/responsible_use.md of this repository.",
)
AGREEMENT_LABELS = {
    "gender accuracy": "gender accuracy",
    "same-gender 1:2 matching": "same-gender 1:2 matching",
    "rank-10 identification": "rank-10 identification",
    "voice-determined same-gender 1:2 matching": "voice-determined same-gender 1:2 matching",
    "voice-determined rank-10 identification": "voice-determined rank-10 identification",
    "factors": "correlation with the eight true face factors, within a gender",
    "skin": "correlation with the true skin colour",
}
"""Metrics of generated images on the page, with their labels."""
VOICE_DEPENDENCE_LABELS = {
    "voice-determined": "yes",
    "partly voice-determined": "in part",
    "voice-independent": "no",
}
STORED_GALLERY_NOTE = (
    "Candidates of stored galleries have no identity labels: no matches are marked and no accuracy is "
    "reported."
)
NO_LABELS_NOTE = (
    "No identity labels are available, so no matches are marked and no accuracy is reported. To enable "
    "evaluation, use the same top-level folder name per identity under --voices and --faces."
)


def build_headlines(
    comparison: "Comparison | None",
    agreements: "Mapping[str, Agreement]",
    errors: "Mapping[str, ErrorComparison]",
    num_heads: Mapping[str, int],
) -> list[Headline]:
    """One card per system; `num_heads` are the identities behind the errors."""
    cards = []
    if comparison is not None and comparison.all_pairs:
        pairs = comparison.all_pairs[0]
        for name, metrics in pairs.systems.items():
            if (metric := metrics.get("g")) is None:
                continue
            chance, baseline, upper_bound = (
                pairs.references.get(key, {}).get("g")
                for key in ("chance level", "gender-only baseline", "oracle upper bound")
            )
            note = f"same-gender 1:2 matching, both directions, {pairs.num_identities} identities"
            note += "; 1 sample per modality"
            low, high = nan_to_none(metric.low), nan_to_none(metric.high)
            cards.append(Headline(name, metric.value, low, high, chance, baseline, upper_bound, note))
    for name, agreement in agreements.items():
        matching = agreement.metrics.get("same-gender 1:2 matching")
        if matching is not None:
            note = f"same-gender 1:2 matching of generated images, {agreement.num_identities} identities"
            cards.append(
                Headline(
                    name,
                    matching.value,
                    matching.low,
                    matching.high,
                    matching.chance,
                    upper_bound=matching.real_image_value,
                    note=note,
                    reference_names={"chance": "images of other voices", "upper_bound": "other real image"},
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
                note=f"mean error of four head proportions, {num_heads[name]} identities; lower is better",
                reference_names={"chance": MEAN_FACE, "baseline": GENDER_MEAN_FACE},
                unit="",
                higher_is_better=False,
            )
        )
    return cards


def build_tables(
    agreements: "Mapping[str, Agreement]",
    errors: "Mapping[str, ErrorComparison]",
    num_heads: Mapping[str, int],
) -> list[Table]:
    """Tables of generated images and meshes; `num_heads` are the identities behind the errors."""
    tables = []
    if agreements:
        rows = []
        first = next(iter(agreements.values()))
        for key, label in AGREEMENT_LABELS.items():
            if key not in first.metrics:
                continue
            metrics = [agreement.metrics[key] for agreement in agreements.values()]
            row = [label]
            for metric in metrics:
                low, high = _format_decimal(metric.low), _format_decimal(metric.high)
                row.append(f"{_format_decimal(metric.value)} ({low} to {high})")
            row += [_format_decimal(metrics[0].chance), _format_decimal(metrics[0].real_image_value)]
            rows.append([*row, VOICE_DEPENDENCE_LABELS[metrics[0].voice_dependence]])
        names = [f"{name} ({each.num_identities} identities)" for name, each in agreements.items()]
        columns = ["metric", *names, "images of other voices", "other real image", "voice-determined?"]
        note = (
            "One image from one utterance per identity, read by the bundled attribute reader. Images of "
            "other voices (chance level): generated for other identities of the same gender. Other real "
            "image: a second real image in place of the generated one. Voice-determined: whether the metric "
            "depends only on face factors that the synthetic voices carry."
        )
        tables.append(Table("Images generated from voices", columns, rows, note))
    if errors:
        rows = []
        for name, error in errors.items():
            system = f"{name} ({num_heads[name]} identities)"
            rows.append([system, _format_interval(error.ours), "–", "–"])
            for baseline, interval in error.baselines.items():
                gain = error.differences[baseline]
                shown = f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})".replace("-", "−")
                rows.append([baseline, _format_interval(interval), shown, f"{gain.p_value:.3f}"])
        columns = ["prediction", "error (95 % interval)", "system - baseline", "p"]
        note = (
            "Mean absolute error of the widths of forehead, cheeks, ears and midline, each divided by "
            "the distance of the outer eye corners."
        )
        tables.append(Table("Heads generated from voices", columns, rows, note))
    return tables


def build_systems_table(
    systems: SystemSet,
    outputs: SystemOutputs,
    test_identities: Sequence[str],
    source_labels: Mapping[str, str],
) -> Table:
    """Table of the systems with their checkpoints and the overlap of training and test identities.

    Args:
        systems: available and unavailable ones.
        outputs: their outputs.
        test_identities: test identities of the page; empty where they have no names.
        source_labels: system -> description of its checkpoint, in place of the one in `outputs`.
    """
    rows: list[list[Any]] = []
    for system in systems.found:
        identities = outputs.training_identities.get(system.name, ())
        overlap = len(set(identities) & set(test_identities))
        description = f"{len(identities)} identities" if identities else "not stated"
        if test_identities and identities:
            description += f", {overlap or 'none'} of the test identities"
        source = outputs.checkpoint_sources.get(system.name, "–")
        if not source.startswith("bundled"):  # some give a file name, which says little
            source = source_labels.get(system.name, source)
        rows.append([system.name, system.description, source, description])
    rows += [[name, reason, "–", "–"] for name, reason in systems.unavailable.items()]
    return Table("Systems", ["system", "description", "checkpoint", "training identities"], rows)


def summarise_matching(
    metrics: Mapping[str, MatchingMetrics], differences: "Mapping[str, PairedDifference]"
) -> Iterator[str]:
    """Summarise the metrics of user files in sentences."""
    for name, each in metrics.items():
        yield (
            f"{name}: 1:2 matching {format_metric(each.matching_accuracy.value)} "
            f"(95 % interval {format_interval(each.matching_accuracy.low, each.matching_accuracy.high)}, "
            "chance 50.0), rank-1 identification "
            f"{format_metric(each.rank1_rate.value)} for {each.num_utterances} voices (chance "
            f"{format_metric(each.rank1_chance)}), "
            f"median rank {each.median_rank:.0f}; {each.num_identities} identities."
        )
    first = next(iter(metrics), "")
    for name, difference in differences.items():
        verdict = "no clear difference"
        if difference.low > 0 or difference.high < 0:
            verdict = f"{first if difference.value > 0 else name} is better"
        yield (
            f"{first} against {name}: {100 * difference.value:+.1f} points "
            f"({100 * difference.low:+.1f} to {100 * difference.high:+.1f}), {verdict}.".replace("-", "−")
        )


def matching_headlines(metrics: Mapping[str, MatchingMetrics]) -> list[Headline]:
    """A card per system for user files."""
    return [
        Headline(
            name,
            each.matching_accuracy.value,
            nan_to_none(each.matching_accuracy.low),
            nan_to_none(each.matching_accuracy.high),
            chance=0.5,
            note=f"unrestricted 1:2 matching; {each.num_utterances} voices of {each.num_identities} "
            "identities",
        )
        for name, each in metrics.items()
    ]


def matching_differences(
    metrics: Mapping[str, MatchingMetrics], differences: "Mapping[str, PairedDifference]"
) -> "list[PairedDifferenceRow]":
    """Paired differences for user files."""
    from voiceface.report import PairedDifferenceRow

    first = next(iter(metrics), "")
    return [
        PairedDifferenceRow(
            first,
            name,
            "Unrestricted 1:2 matching",
            difference.value,
            nan_to_none(difference.low),
            nan_to_none(difference.high),
            difference.p_value,
        )
        for name, difference in differences.items()
    ]


def build_skipped_table(
    failures: Mapping[str, Mapping[str, str]], relative_paths: Mapping[str, str]
) -> Table | None:
    """Table of the files that some system could not use, with the reasons.

    Args:
        failures: file -> system -> reason.
        relative_paths: file -> displayed path.
    """
    rows = []
    for file, each in failures.items():
        rows.append([relative_paths.get(file, file), ", ".join(each), format_reasons(file, each.values())])
    return Table("Skipped files", ["file", "systems", "reason"], rows) if rows else None


def format_reasons(file: str, reasons: Iterable[str]) -> str:
    """Reasons for skipping a file, each once, without the file name."""
    return "; ".join(dict.fromkeys(reason.replace(file, "").strip(" :") for reason in reasons))


def format_unavailable(system: System | str, reason: str) -> str:
    """One line for the terminal."""
    return f"    unavailable: {system if isinstance(system, str) else system.name} ({reason})"


def _format_interval(interval: Any) -> str:
    return f"{interval.value:.4f} ({interval.low:.4f} to {interval.high:.4f})"


def _format_decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-", "−")
