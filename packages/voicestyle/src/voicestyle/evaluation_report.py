"""HTML report of `voicestyle test`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voicestyle.evaluation import COLUMNS, EvaluationResult

__all__ = [
    "write_evaluation_report",
]


def write_evaluation_report(
    path: Path,
    result: EvaluationResult,
    final: NDArray[np.uint8],
    initial: NDArray[np.uint8],
    real: Sequence[NDArray[np.uint8]],
    *,
    voices: Sequence[Path] = (),
    disclaimers: Sequence[str] = (),
    subtitle: str = "",
    max_identities: int = 24,
) -> Path:
    """Write one page: metrics; voice, real face, initial and final image of the first identities."""
    from voiceface.report import AudioSource, ImageTile, SystemCard, Table, build_report
    from voiceface.report.media import upscale_image

    tables = [
        Table(
            "Final images, initial images, and final images of others",
            COLUMNS,
            result.table_rows(),
            "Means over identities; paired differences with 95 % intervals over identities and p value. "
            "Lower errors are better. Others are of the same gender if it is known.",
        )
    ]
    if result.agreement is not None and result.initial_agreement is not None:
        initial_metrics = result.initial_agreement.metrics
        rows = [
            [
                name,
                f"{metric.value:.3f}",
                f"{initial_metrics[name].value:.3f}",
                f"{metric.chance:.3f}",
                "-" if metric.real_image_value is None else f"{metric.real_image_value:.3f}",
            ]
            for name, metric in result.agreement.metrics.items()
        ]
        columns = ("metric", "final", "initial", "chance", "another real image")
        tables.append(
            Table("Agreement with the ground truth, measured by the attribute reader", columns, rows)
        )
    cards = [
        SystemCard(
            result.identity_names[n],
            AudioSource(str(voices[n])) if voices else None,
            [
                ImageTile("Real face", upscale_image(real[n][0]), is_ground_truth=True),
                ImageTile("Initial: aggregated latents", upscale_image(initial[n])),
                ImageTile("Guided by the voice", upscale_image(final[n])),
            ],
        )
        for n in range(min(max_identities, len(final)))
    ]
    return build_report(
        path,
        title="Faces of test identities from their voices",
        kicker="voicestyle test",
        subtitle=subtitle,
        disclaimers=list(disclaimers),
        summary=list(result.notes),
        tables=tables,
        unavailable=result.unavailable,
        system_cards=cards,
        cards_title="Test identities",
        max_bytes=20_000_000,
    )
