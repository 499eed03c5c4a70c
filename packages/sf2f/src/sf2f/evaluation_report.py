"""The page of an evaluation: generated faces beside true ones, metrics by number of windows, best and worst."""

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

MAX_IDENTITIES_SHOWN = 12
HEADLINE_METRICS = {
    "rank-10 identification": "identity among the first 10, by embedding",
    "voice-determined rank-10 identification": "the same, by what follows the voice",
    "same-gender 1:2 matching": "right one of two of the same sex",
    "factors": "correlation with the true factors, within sex",
    "gender accuracy": "sex of the image",
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
    """Write the page.

    Args:
        path: the file.
        result: metrics and images.
        model: what made them.
        speakers: the identities, in the same order.
        title, subtitle: of the page.
        run: run folder whose curves are shown.
        commands: how to make the metrics again.
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
            "windows": f"{min(result.window_counts)} to {max(result.window_counts)} of {model.data.windows.width} frames",
            "joined by": "fuser" if result.has_fuser else "mean of the embeddings",
        },
        headlines=_headlines(result),
        tables=_tables(result),
        plots=_plots(result),
        identity_groups=_identity_groups(result, speakers),
        logs=logs,
        kicker="Faces from voices",
        environment=collect_environment(),
        commands=commands,
    )


def tile_two_by_two(above: Sequence[Tensor], below: Sequence[Tensor]) -> np.ndarray:
    """Two images (3, S, S), 0...1, above two others, white lines between, uint8: pages show squares."""
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
            note="ceiling: another true image of the identity, through the same reader",
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
                "Agreement with the truth, by number of windows",
                ["metric", *columns, "95 % of the last", "chance", "ceiling", "follows the voice"],
                rows,
                "Chance: images made for others of the same sex. Ceiling: another true image of the "
                "identity. "
                "Skin, hair and part of the shape do not follow the voice: no identity can hear them.",
            )
        )
    if result.facenet_metrics:
        keys = list(next(iter(result.facenet_metrics.values())))
        tables.append(
            Table(
                "FaceNet's features",
                ["mode", *keys],
                [
                    [mode, *(f"{row[key]:.3f}" for key in keys)]
                    for mode, row in result.facenet_metrics.items()
                ],
                "Chance: " + ", ".join(f"R@{k} {value:.3f}" for k, value in result.chance_recall.items()),
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
    return [Plot("More to hear", curves, "windows joined", "metric", x_log=True)]


def _identity_groups(result: EvaluationResult, speakers: Speakers) -> "list[IdentityGroup]":
    from voiceface.report import IdentityCard, IdentityGroup

    def card(index: int) -> IdentityCard:
        note = f"place {result.ranks[index]} of {len(result.names)}" if result.ranks else ""
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

    note = "Above: made from one window of the voice, and from all. Below: true images of the identity."
    count = min(MAX_IDENTITIES_SHOWN, len(result.names))
    groups = [IdentityGroup("Made and true faces", [card(index) for index in range(count)], note)]
    if result.ranks:
        order = np.argsort(np.asarray(result.ranks), kind="stable")
        groups += [
            IdentityGroup("Nearest to the truth", [card(int(index)) for index in order[: count // 2]], note),
            IdentityGroup(
                "Farthest from it", [card(int(index)) for index in order[::-1][: count // 2]], note
            ),
        ]
    return groups


def _audio_sample(speakers: Speakers, index: int) -> "AudioSource | None":
    from voiceface.report import AudioSource

    if not speakers.preview_audio:
        return None
    item = speakers.preview_audio[index]
    return AudioSource(item if isinstance(item, str) else np.asarray(item))
