"""Pages: one that shows the way of each voice, one that shows inversions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from voicestyle.config import VoiceStyleConfig
    from voicestyle.face_bank import FaceBank
    from voicestyle.pipeline_runner import InvertedImage, PipelineResult

MAX_DETAILED_VOICES = 12
"""Voices whose whole way is shown; of more, the faces alone."""
FACE_DISCLAIMER = (
    "A face that a network connects with the voice. It is not the speaker, and says nothing about who the "
    "speaker is."
)


def write_generation_report(
    path: Path,
    results: Sequence["PipelineResult"],
    bank: "FaceBank",
    config: "VoiceStyleConfig",
    *,
    disclaimers: Sequence[str] = (),
    skipped: Sequence[str] = (),
) -> Path:
    """One page: every voice with its face, the pictures it came from, its start and the way to its end."""
    from voiceface.report import AudioSource, IdentityCard, IdentityGroup, Table, build_report
    from voiceface.report.media import upscale_image

    faces = [
        IdentityCard(
            j.relative_path.as_posix(),
            image=upscale_image(j.image),
            audio=AudioSource(str(j.voice_path)),
            note=f"fit to the voice {j.initial_similarity:.3f} at the start, {j.similarity:.3f} at the end",
        )
        for j in results
    ]
    groups = [IdentityGroup("Faces", faces, FACE_DISCLAIMER)]
    for j in results[:MAX_DETAILED_VOICES]:
        clusters = {each.cluster: number for number, each in enumerate(j.prototypes, 1)}
        chosen = [
            IdentityCard(each.label, image=upscale_image(each.target), note=f"{number}. picture of the bank")
            for number, each in enumerate(j.inverted, 1)
        ]
        made = [
            IdentityCard(each.label, image=upscale_image(each.image), note=_format_losses(each))
            for each in j.inverted
        ]
        at = [0, *j.trajectory.snapshot_steps]
        way = [
            IdentityCard(
                "start: " + config.aggregation if not step else f"step {step}", image=upscale_image(picture)
            )
            for step, picture in zip(at, j.frames, strict=True)
        ]
        name = j.relative_path.as_posix()
        groups += [
            IdentityGroup(
                f"{name}: pictures that the voice leads to",
                chosen,
                f"{len(j.video_rows)} videos of the {len(clusters)} nearest prototypes of {bank.name}.",
            ),
            IdentityGroup(f"{name}: their inversions", made, "What the generator makes of their codes."),
            IdentityGroup(f"{name}: the way to the face", way, "Start, and codes kept on the way."),
        ]
    rows = [
        [
            j.relative_path.as_posix(),
            ", ".join(f"{each.cluster} ({each.distance:.3f})" for each in j.prototypes),
            len(j.video_rows),
            len(j.selected),
            f"{j.initial_similarity:.3f}",
            f"{j.similarity:.3f}",
            int(j.trajectory.num_steps[0]),
        ]
        for j in results
    ]
    columns = ("voice", "prototypes (distance)", "videos", "pictures", "fit, start", "fit, end", "steps")
    tables = [Table("Ways", columns, rows, "Fit: cosine of voice and picture in CMPC's space, 0 to 1.")]
    if skipped:
        tables.append(Table("Left out", ("what",), [[line] for line in skipped]))
    return build_report(
        path,
        title="Faces that voices lead to",
        kicker="voicestyle generate",
        subtitle=f"Bank: {bank.name}, {len(bank)} videos.",
        disclaimers=list(disclaimers),
        tables=tables,
        plots=[build_similarity_plot(results)],
        identity_groups=groups,
        config=_config_as_yaml(config),
        max_bytes=20_000_000,
    )


def build_similarity_plot(results: Sequence["PipelineResult"]) -> Any:
    """Fit of every voice, step by step, with the noise on codes."""
    from voiceface.report import Curve, Plot

    curves = []
    for j in results[:MAX_DETAILED_VOICES]:
        values = 1 - j.trajectory.history["similarity"][:, 0].numpy()
        curves.append(Curve(j.relative_path.as_posix(), np.arange(len(values)), values))
    return Plot(
        "Fit of picture and voice",
        curves,
        x_label="step of the guidance",
        y_label="cosine, with noise on codes",
    )


def write_inversion_report(
    path: Path, inverted: Sequence["InvertedImage"], config: "VoiceStyleConfig", disclaimer: str
) -> Path:
    """One page: pictures beside what the generator makes of their codes."""
    from voiceface.report import IdentityCard, IdentityGroup, Table, build_report
    from voiceface.report.media import upscale_image

    groups = [
        IdentityGroup(
            "Pictures", [IdentityCard(each.label, image=upscale_image(each.target)) for each in inverted]
        ),
        IdentityGroup(
            "Inversions",
            [
                IdentityCard(each.label, image=upscale_image(each.image), note=_format_losses(each))
                for each in inverted
            ],
        ),
    ]
    names = list(inverted[0].losses)
    rows = [[each.label, *(f"{each.losses[name]:.4f}" for name in names)] for each in inverted]
    return build_report(
        path,
        title="Pictures and their codes",
        kicker="voicestyle invert",
        disclaimers=disclaimer,
        tables=[Table("Losses of the last step", ("picture", *names), rows)],
        identity_groups=groups,
        config=_config_as_yaml(config),
        max_bytes=20_000_000,
    )


def _format_losses(inverted: "InvertedImage") -> str:
    """Losses in words."""
    shown = {k: v for k, v in inverted.losses.items() if k != "noise"}
    return ", ".join(f"{name} {value:.3f}" for name, value in shown.items())


def _config_as_yaml(config: "VoiceStyleConfig") -> str:
    from voiceface.runtime.config import to_yaml

    return to_yaml(config)
