"""HTML report of an evaluation: generated and real faces, metrics by number of windows, ranks."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from sf2f.evaluation import EvaluationResult
from sf2f.generation import image_to_uint8
from sf2f.models import Sf2fModel
from sf2f.speakers import Speakers

if TYPE_CHECKING:
    from voiceface.report import AudioSource, Headline, IdentityGroup, Plot, Table

__all__ = [
    "CURVE_METRICS",
    "HEADLINE_METRICS",
    "MAX_IDENTITIES_SHOWN",
    "tile_two_by_two",
    "write_report",
]

MAX_IDENTITIES_SHOWN = 12
HEADLINE_METRICS = {
    "rank-10 identification": "rank-10 identification",
    "voice-determined rank-10 identification": "voice-determined rank-10 identification",
    "same-gender 1:2 matching": "same-gender 1:2 matching accuracy",
    "factors": "correlation with true factors (within gender)",
    "gender accuracy": "gender accuracy",
}
CURVE_METRICS = (
    "rank-10 identification",
    "voice-determined rank-10 identification",
    "same-gender 1:2 matching",
    "factors",
)


def write_report(
    path: str | Path,
    result: EvaluationResult,
    model: Sf2fModel,
    speakers: Speakers,
    *,
    title: str,
    subtitle: str = "",
    run: Path | None = None,
    commands: Sequence[str] = (),
) -> Path:
    """Write the report.

    Args:
        path: the file.
        result: metrics and images.
        model: the generator.
        speakers: the identities, in the same order.
        title, subtitle: of the report.
        run: run folder whose learning curves are shown.
        commands: to reproduce the metrics.
    """
    from voiceface.report import build_report, collect_environment

    logs = run if run is not None and (run / "log.jsonl").is_file() else None
    return build_report(
        path,
        title=title,
        subtitle=subtitle,
        disclaimers=[text for text in dict.fromkeys((model.disclaimer, speakers.disclaimer)) if text],
        facts={
            "model": model.name,
            "identities": len(result.names),
            "windows": f"{min(result.window_counts)} to {max(result.window_counts)} of "
            f"{model.data.windows.width} frames",
            "window pooling": "fuser" if result.has_fuser else "mean",
        },
        headlines=_headlines(result),
        tables=_tables(result),
        plots=_plots(result),
        unavailable=result.unavailable,
        identity_groups=_identity_groups(result, speakers),
        logs=logs,
        kicker="Faces from voices",
        environment=collect_environment(),
        commands=commands,
    )


def tile_two_by_two(above: Sequence[Tensor], below: Sequence[Tensor]) -> np.ndarray:
    """Tile four images (3, S, S), 0...1, in a square with white lines between, uint8."""
    rows = []
    for pair in (above, below):
        left, right = (image_to_uint8(each) for each in pair)
        rows.append(np.concatenate([left, np.full((len(left), 2, 3), 255, np.uint8), right], axis=1))
    return np.concatenate([rows[0], np.full((2, rows[0].shape[1], 3), 255, np.uint8), rows[1]])


def _headlines(result: EvaluationResult) -> "list[Headline]":
    from voiceface.report import Headline

    if not result.agreement:
        return []
    last = [*result.agreement.values()][-1].metrics
    return [
        Headline(
            label,
            metric.value,
            metric.low,
            metric.high,
            chance=metric.chance,
            upper_bound=metric.real_image_value,
            unit="" if key == "factors" else "%",
            note="oracle upper bound: another real image of the identity, through the same reader",
        )
        for key, label in HEADLINE_METRICS.items()
        if (metric := last.get(key)) is not None
    ]


def _tables(result: EvaluationResult) -> "list[Table]":
    from voiceface.report import Table

    tables = []
    if result.agreement:
        from voiceface.synthetic.agreement.result import METRIC_DESCRIPTIONS

        counts = list(result.agreement)
        names = result.agreement[counts[0]].metrics
        rows = [
            [
                f"{name}: {METRIC_DESCRIPTIONS[name]}",
                *(f"{result.agreement[count].metrics[name].value:.3f}" for count in counts),
                f"{last.low:.3f} to {last.high:.3f}",
                f"{last.chance:.3f}",
                "" if last.real_image_value is None else f"{last.real_image_value:.3f}",
                last.voice_dependence,
            ]
            for name in names
            if (last := result.agreement[counts[-1]].metrics[name])
        ]
        columns = ["one window" if count == 1 else f"up to {count}" for count in counts]
        tables.append(
            Table(
                "Agreement with the ground truth, by number of windows",
                [
                    "metric",
                    *columns,
                    "95 % interval of the last",
                    "chance level",
                    "oracle upper bound",
                    "follows the voice",
                ],
                rows,
                "Chance level: images generated for other identities of the same gender. Oracle upper bound: "
                "another real image of the identity. Skin, hair and part of the shape do not depend on the "
                "voice and cannot be predicted from it.",
            )
        )
    if result.facenet_metrics:
        keys = list(next(iter(result.facenet_metrics.values())))
        tables.append(
            Table(
                "FaceNet features",
                ["mode", *keys],
                [
                    [mode, *(f"{row[key]:.3f}" for key in keys)]
                    for mode, row in result.facenet_metrics.items()
                ],
                "Chance level: "
                + ", ".join(f"R@{k} {value:.3f}" for k, value in result.chance_recall.items()),
            )
        )
    if result.scores:
        tables.append(
            Table("Scores", ["score", "value"], [[k, f"{value:.3f}"] for k, value in result.scores.items()])
        )
    return tables


def _plots(result: EvaluationResult) -> "list[Plot]":
    from voiceface.report import Curve, Plot

    if len(result.agreement) < 2:
        return []
    counts = list(result.agreement)
    curves = []
    for name in CURVE_METRICS:
        values = [result.agreement[count].metrics[name] for count in counts]
        curves.append(
            Curve(
                HEADLINE_METRICS.get(name, name),
                counts,
                [value.value for value in values],
                [value.low for value in values],
                [value.high for value in values],
                markers=True,
            )
        )
    return [Plot("Effect of the number of windows", curves, "windows", "metric", x_log=True)]


def _identity_groups(result: EvaluationResult, speakers: Speakers) -> "list[IdentityGroup]":
    from voiceface.report import IdentityCard, IdentityGroup

    def card(index: int) -> IdentityCard:
        note = f"rank {result.ranks[index]} of {len(result.names)}" if result.ranks else ""
        real = result.real_images[index]
        return IdentityCard(
            result.names[index],
            image=tile_two_by_two(
                (result.single_window_images[index], result.images[index]),
                (real[0], real[min(1, len(real) - 1)]),
            ),
            audio=_audio_sample(speakers, index),
            note=note,
        )

    note = "Above: generated from one window of the voice, and from all. Below: real images of the identity."
    count = min(MAX_IDENTITIES_SHOWN, len(result.names))
    groups = [IdentityGroup("Generated and real faces", [card(index) for index in range(count)], note)]
    if result.ranks:
        order = np.argsort(np.asarray(result.ranks), kind="stable")
        groups += [
            IdentityGroup("Best ranks", [card(int(index)) for index in order[: count // 2]], note),
            IdentityGroup("Worst ranks", [card(int(index)) for index in order[::-1][: count // 2]], note),
        ]
    return groups


def _audio_sample(speakers: Speakers, index: int) -> "AudioSource | None":
    from voiceface.report import AudioSource

    if not speakers.preview_audio:
        return None
    item = speakers.preview_audio[index]
    return AudioSource(item if isinstance(item, str) else np.asarray(item))
