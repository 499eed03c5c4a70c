"""What `sf2f infer` says of its faces, in words and on a page."""

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

MAX_WINDOWS_SHOWN = 24
"""Windows of a voice on the page."""
COLUMNS = ("mean distance", "same voice's halves", "different voices", "ratio")
COMPARISON_NOTE = (
    "Every voice is cut in the middle and each half heard by itself: what a model makes of one voice should "
    "lie closer than what it makes of different ones."
)
DISTANCE_FIELDS = {
    "embeddings, L2": "l2",
    "embeddings, 1 - cosine": "cosine",
    "pictures, mean of 255": "pixel",
}


@dataclass(frozen=True)
class RecordingGroup:
    """The recordings that one face is made of.

    Attributes:
        relative_path: where results go, below the folder for results.
        identity: whose they are, as far as the folders tell.
        paths: the files.
    """

    relative_path: Path
    identity: str
    paths: tuple[Path, ...]


def describe_face(face: "GeneratedFace") -> str:
    """Seconds, recordings and windows of a face in words."""
    several = f" in {len(face.sources)} recordings" if len(face.sources) > 1 else ""
    count = sum(face.window_counts)
    return f"{face.speech_seconds:.1f} s of speech{several}, {count} window{'s' if count != 1 else ''}"


def format_comparison(
    same: "SplitHalfDistances | None", other: "SplitHalfDistances | None"
) -> list[tuple[str, str, str, str]]:
    """Distances of halves: (measure, of the same voice's, of different speakers', their ratio), as text.

    Empty where there is neither; "-" where there is no such pair.
    """
    rows = []
    for word, name in DISTANCE_FIELDS.items():
        a, b = (None if each is None else float(getattr(each, name)) for each in (same, other))
        near, far = ("-" if value is None else f"{value:.3g}" for value in (a, b))
        rows.append((word, near, far, f"{b / a:.2f}" if a and b is not None else "-"))
    return rows if same or other else []


def describe_pooling(model: "Model") -> str:
    """How a model makes one vector of several windows, in words."""
    from sf2f.voice2face_inference import Voice2FaceModel

    if isinstance(model, Voice2FaceModel):
        return "each recording is heard as a whole; several are averaged"
    if model.has_fuser:
        return "windows are joined by the fuser (attention)"
    return "stage-1 model without a fuser: embeddings of windows are averaged"


def write_report(
    path: Path,
    model: "Model",
    faces: Sequence[tuple[RecordingGroup, "GeneratedFace"]],
    comparison_rows: Sequence[tuple[str, str, str, str]],
    stride: int | None = None,
) -> Path:
    """One page: every face beside its voice, and what each recording and window gives by itself."""
    from voiceface.report import IdentityCard, IdentityGroup, Table, build_report

    from sf2f.inference import default_stride
    from sf2f.models import Sf2fModel

    one = [
        IdentityCard(
            g.relative_path.as_posix(),
            image=upscale_image(f.image),
            audio=_audio_sample(f.sources[0]),
            note=describe_face(f),
        )
        for g, f in faces
    ]
    groups = [IdentityGroup("Faces", one, "Each from everything that was heard of the voice.")]
    for group, face in faces:
        alone = list(generate_per_recording(model, face)) if len(face.sources) > 1 else []
        people = [
            IdentityCard(Path(source).name, image=upscale_image(picture), audio=_audio_sample(source))
            for source, picture in zip(face.sources, alone)
        ]
        if people:
            groups.append(
                IdentityGroup(f"{group.relative_path.as_posix()}: each recording by itself", people)
            )
        for words, pictures in (
            ("each window by itself", face.window_images),
            ("as one long window", face.recording_images),
        ):
            if pictures is not None:
                shown = [
                    IdentityCard(str(k), image=upscale_image(p))
                    for k, p in enumerate(pictures[:MAX_WINDOWS_SHOWN])
                ]
                note = (
                    f"The first {MAX_WINDOWS_SHOWN} of {len(pictures)}."
                    if len(pictures) > MAX_WINDOWS_SHOWN
                    else ""
                )
                groups.append(IdentityGroup(f"{group.relative_path.as_posix()}: {words}", shown, note))
    facts = {"model": model.name or "unnamed", "faces": len(faces)}
    if isinstance(model, Sf2fModel):
        width = model.data.windows.width
        facts["windows"] = f"{width} frames of 10 ms, every {stride or default_stride(width)}"
    return build_report(
        path,
        title="Faces from voices",
        kicker="sf2f infer",
        subtitle=f"Made by {model.name or 'a model'}; {describe_pooling(model)}.",
        facts=facts,
        disclaimers=model.disclaimer,
        tables=[Table("Halves of speech", COLUMNS, comparison_rows, COMPARISON_NOTE)]
        if comparison_rows
        else [],
        identity_groups=groups,
        max_bytes=20_000_000,
    )


def generate_per_recording(model: "Model", face: "GeneratedFace") -> "np.ndarray":
    """Pictures (R, H, W, 3) of each recording of a face by itself."""
    import torch

    from sf2f.inference import decode_images

    with torch.inference_mode():
        own = torch.from_numpy(face.window_embeddings).split(list(face.window_counts))
        device = "cpu" if not hasattr(model, "generator") else next(model.generator.parameters()).device
        return decode_images(model, torch.cat([model.pool_embeddings(each.to(device)) for each in own]))


def _audio_sample(source: str) -> "AudioSource | None":
    """A recording for the page; None for stored features."""
    from voiceface.io.input_files import AUDIO_FILE_SUFFIXES
    from voiceface.report import AudioSource

    return AudioSource(source) if Path(source).suffix.lower() in AUDIO_FILE_SUFFIXES else None
