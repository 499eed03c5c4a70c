"""HTML reports of `voicestyle generate` and `voicestyle invert`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from voiceface.io.file_kinds import printable
from voiceface.io.own_files import LeftOut

if TYPE_CHECKING:
    from voiceface.report import IdentityGroup

    from voicestyle.config import VoiceStyleConfig
    from voicestyle.face_bank import FaceBank
    from voicestyle.pipeline_records import InvertedImage, PipelineResult

__all__ = ["build_similarity_plot", "write_generation_report", "write_inversion_report"]

MAX_DETAILED_VOICES = 12
"""Largest number of voices whose intermediate steps are shown; of others only the faces."""
FACE_DISCLAIMER = (
    "A face that the networks associate with the voice. It is not the speaker, and says nothing about who "
    "the speaker is."
)
MAX_REPORT_BYTES = 20_000_000


def write_generation_report(
    path: Path,
    results: Sequence["PipelineResult"],
    bank: "FaceBank",
    config: "VoiceStyleConfig",
    *,
    disclaimers: Sequence[str] = (),
    left_out: Sequence[LeftOut] = (),
) -> Path:
    """Write one page: each voice with its face, its bank images, their inversions and the optimisation.

    Args:
        path: file.
        results: one per voice.
        bank: that the images come from.
        config: settings of the run.
        disclaimers: shown at the top.
        left_out: recordings and bank images that were not used.

    Returns:
        The path.

    Raises:
        OSError: the file cannot be written.
    """
    from voiceface.report import AudioSource, IdentityCard, IdentityGroup, Table, build_report
    from voiceface.report.media import upscale_image

    faces = [
        IdentityCard(
            result.name,
            image=upscale_image(result.image),
            audio=AudioSource(str(result.voice_path), is_own=True),
            note="; ".join(
                [
                    f"voice similarity {result.initial_similarity:.3f}, finally {result.similarity:.3f}",
                    *(result.facts.notes if result.facts is not None else ()),
                ]
            ),
        )
        for result in results
    ]
    groups = [IdentityGroup("Faces", faces, FACE_DISCLAIMER)]
    for result in results[:MAX_DETAILED_VOICES]:
        groups += _step_groups(result, bank, config)
    rows = [
        [
            result.name,
            ", ".join(f"{each.cluster} ({each.distance:.3f})" for each in result.retrieval.prototypes),
            len(result.retrieval.video_rows),
            len(result.selected),
            f"{result.initial_similarity:.3f}",
            f"{result.similarity:.3f}",
            int(result.trajectory.num_steps[0]),
        ]
        for result in results
    ]
    columns = (
        *("voice", "prototypes (distance)", "videos", "images"),
        *("initial similarity", "final similarity", "steps"),
    )
    note = "Similarity: cosine of voice and image in CMPC's space."
    tables = [Table("Voices", columns, rows, note)]
    if left_out:
        rows = [[printable(item.path), item.reason, item.remedy] for item in left_out]
        tables.append(Table("Files left out", ("file", "reason", "remedy"), rows))
    return build_report(
        path,
        title="Faces generated from voices",
        kicker="voicestyle generate",
        subtitle=f"Bank: {bank.name}, {len(bank)} videos.",
        disclaimers=list(disclaimers),
        tables=tables,
        plots=[build_similarity_plot(results)],
        identity_groups=groups,
        config=_to_yaml(config),
        max_bytes=MAX_REPORT_BYTES,
    )


def _step_groups(
    result: "PipelineResult", bank: "FaceBank", config: "VoiceStyleConfig"
) -> list["IdentityGroup"]:
    """Bank images of one voice, their inversions, and the images of the optimisation."""
    from voiceface.report import IdentityCard, IdentityGroup
    from voiceface.report.media import upscale_image

    targets = [
        IdentityCard(each.label, image=upscale_image(each.target), note=f"bank image {number}")
        for number, each in enumerate(result.inverted, 1)
    ]
    inversions = [
        IdentityCard(each.label, image=upscale_image(each.image), note=_format_losses(each))
        for each in result.inverted
    ]
    frames = [
        IdentityCard(f"step {step}" if step else f"initial: {config.aggregation}", image=upscale_image(frame))
        for step, frame in zip([0, *result.trajectory.snapshot_steps], result.frames, strict=True)
    ]
    retrieval = result.retrieval
    source = f"{len(retrieval.video_rows)} videos of the {len(retrieval.prototypes)} nearest prototypes of"
    return [
        IdentityGroup(f"{result.name}: retrieved bank images", targets, f"{source} {bank.name}."),
        IdentityGroup(
            f"{result.name}: inversions",
            inversions,
            "Images generated from their latents, with the terms of the loss.",
        ),
        IdentityGroup(f"{result.name}: guidance", frames, "Images of the initial latent and of snapshots."),
    ]


def build_similarity_plot(results: Sequence["PipelineResult"]) -> Any:
    """Plot the voice similarity of every voice by optimisation step."""
    from voiceface.report import Curve, Plot

    curves = []
    for result in results[:MAX_DETAILED_VOICES]:
        similarity = 1 - result.trajectory.history["similarity"][:, 0].numpy()
        curves.append(Curve(result.name, np.arange(len(similarity)), similarity))
    return Plot(
        "Similarity of image and voice",
        curves,
        x_label="guidance step",
        y_label="cosine, with noise on the latents",
    )


def write_inversion_report(
    path: Path, inverted: Sequence["InvertedImage"], config: "VoiceStyleConfig", disclaimer: str
) -> Path:
    """Write one page: images beside the images generated from their latents."""
    from voiceface.report import IdentityCard, IdentityGroup, Table, build_report
    from voiceface.report.media import upscale_image

    targets = [IdentityCard(each.label, image=upscale_image(each.target)) for each in inverted]
    inversions = [
        IdentityCard(each.label, image=upscale_image(each.image), note=_format_losses(each))
        for each in inverted
    ]
    names = list(inverted[0].losses)
    rows = [[each.label, *(f"{each.losses[name]:.4f}" for name in names)] for each in inverted]
    return build_report(
        path,
        title="Images and their latents",
        kicker="voicestyle invert",
        disclaimers=disclaimer,
        tables=[Table("Losses of the last step", ("image", *names), rows)],
        identity_groups=[IdentityGroup("Images", targets), IdentityGroup("Inversions", inversions)],
        config=_to_yaml(config),
        max_bytes=MAX_REPORT_BYTES,
    )


def _format_losses(inverted: "InvertedImage") -> str:
    """Format the losses of an inversion, without the noise regulariser."""
    return ", ".join(f"{name} {value:.3f}" for name, value in inverted.losses.items() if name != "noise")


def _to_yaml(config: "VoiceStyleConfig") -> str:
    from voiceface.runtime.config import to_yaml

    return to_yaml(config)
