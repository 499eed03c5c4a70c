"""Console text and HTML report of `sf2f infer`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.report.media import upscale_image

if TYPE_CHECKING:
    import numpy as np
    from voiceface.report import AudioSource

    from sf2f.inference import GeneratedFace, Model
    from sf2f.split_half_consistency import SplitHalfDistances

__all__ = [
    "COLUMNS",
    "COMPARISON_NOTE",
    "DISTANCE_FIELDS",
    "MAX_WINDOWS_SHOWN",
    "RecordingGroup",
    "describe_face",
    "describe_pooling",
    "format_comparison",
    "generate_per_recording",
    "write_report",
]

MAX_WINDOWS_SHOWN = 24
"""Windows shown per face."""
COLUMNS = ("mean distance", "same voice's halves", "different voices", "ratio")
COMPARISON_NOTE = (
    "Every voice is split in half and each half is encoded separately: the two halves of one voice should be "
    "closer than halves of different voices."
)
DISTANCE_FIELDS = {
    "embeddings, L2": "l2",
    "embeddings, 1 - cosine": "cosine",
    "images, mean difference of 0...255": "pixel",
}


@dataclass(frozen=True)
class RecordingGroup:
    """Recordings that make one face.

    Attributes:
        relative_path: of the results, below the output folder.
        identity: identity as far as the folders tell.
        paths: the files.
    """

    relative_path: Path
    identity: str
    paths: tuple[Path, ...]


def describe_face(face: "GeneratedFace") -> str:
    """Text with duration, recordings and windows of a face."""
    several = f" in {len(face.sources)} recordings" if len(face.sources) > 1 else ""
    count = sum(face.window_counts)
    return f"{face.speech_seconds:.1f} s of speech{several}, {count} window{'s' if count != 1 else ''}"


def format_comparison(
    same: "SplitHalfDistances | None", other: "SplitHalfDistances | None"
) -> list[tuple[str, str, str, str]]:
    """Format split-half distances: (measure, same voice, different speakers, ratio), as text.

    Empty if both are None; "-" where there is no such pair.
    """
    rows = []
    for label, name in DISTANCE_FIELDS.items():
        same_value, other_value = (
            None if each is None else float(getattr(each, name)) for each in (same, other)
        )
        same_text, other_text = (
            "-" if value is None else f"{value:.3g}" for value in (same_value, other_value)
        )
        rows.append(
            (
                label,
                same_text,
                other_text,
                f"{other_value / same_value:.2f}" if same_value and other_value is not None else "-",
            )
        )
    return rows if same or other else []


def describe_pooling(model: "Model") -> str:
    """Text that says how a model pools several windows."""
    from sf2f.voice2face_inference import Voice2FaceModel

    if isinstance(model, Voice2FaceModel):
        return "each recording is encoded as a whole; several are averaged"
    if model.has_fuser:
        return "windows are fused by attention"
    return "stage-1 model without a fuser: embeddings of windows are averaged"


def write_report(
    path: Path,
    model: "Model",
    faces: Sequence[tuple[RecordingGroup, "GeneratedFace"]],
    comparison_rows: Sequence[tuple[str, str, str, str]],
    stride: int | None = None,
) -> Path:
    """Write the HTML report: every face with its audio, and images of single recordings and windows."""
    from voiceface.report import IdentityCard, IdentityGroup, Table, build_report

    from sf2f.models import RecordingReader
    from sf2f.windows import default_stride

    cards = [
        IdentityCard(
            group.relative_path.as_posix(),
            image=upscale_image(face.image),
            audio=_audio_sample(face.sources[0]),
            note="; ".join([describe_face(face), *(note for each in face.facts for note in each.notes)]),
        )
        for group, face in faces
    ]
    groups = [IdentityGroup("Faces", cards, "Each face is generated from all recordings of the voice.")]
    for group, face in faces:
        recording_images = list(generate_per_recording(model, face)) if len(face.sources) > 1 else []
        recording_cards = []
        for source, image in zip(face.sources, recording_images):
            name = "/".join(Path(source).parts[-2:])
            audio = _audio_sample(source)
            recording_cards.append(IdentityCard(name, image=upscale_image(image), audio=audio))
        if recording_cards:
            groups.append(
                IdentityGroup(f"{group.relative_path.as_posix()}: each recording separately", recording_cards)
            )
        for title_suffix, images in (
            ("each window separately", face.window_images),
            ("as one long window", face.recording_images),
        ):
            if images is not None:
                window_cards = [
                    IdentityCard(str(index), image=upscale_image(image))
                    for index, image in enumerate(images[:MAX_WINDOWS_SHOWN])
                ]
                note = (
                    f"The first {MAX_WINDOWS_SHOWN} of {len(images)}."
                    if len(images) > MAX_WINDOWS_SHOWN
                    else ""
                )
                groups.append(
                    IdentityGroup(f"{group.relative_path.as_posix()}: {title_suffix}", window_cards, note)
                )
    facts = {"model": model.name or "unnamed", "faces": len(faces)}
    if isinstance(model, RecordingReader):
        width = model.data.windows.width
        facts["windows"] = f"{width} frames of 10 ms, every {stride or default_stride(width)}"
    return build_report(
        path,
        title="Faces from voices",
        kicker="sf2f infer",
        subtitle=f"Generated by {model.name or 'a model'}; {describe_pooling(model)}.",
        facts=facts,
        disclaimers=model.disclaimer,
        tables=[Table("Split-half consistency", COLUMNS, comparison_rows, COMPARISON_NOTE)]
        if comparison_rows
        else [],
        identity_groups=groups,
        max_bytes=20_000_000,
    )


def generate_per_recording(model: "Model", face: "GeneratedFace") -> "np.ndarray":
    """Images (R, H, W, 3) of each recording of a face separately."""
    import torch

    from sf2f.inference import decode_images

    with torch.inference_mode():
        per_recording = torch.from_numpy(face.window_embeddings).split(list(face.window_counts))
        device = "cpu" if not hasattr(model, "generator") else next(model.generator.parameters()).device
        return decode_images(
            model, torch.cat([model.pool_embeddings(each.to(device)) for each in per_recording])
        )


def _audio_sample(source: str) -> "AudioSource | None":
    """Recording for the report; None for stored features."""
    from voiceface.report import AudioSource

    from sf2f.speech import FEATURE_SUFFIXES

    return None if Path(source).suffix.lower() in FEATURE_SUFFIXES else AudioSource(source, is_own=True)
