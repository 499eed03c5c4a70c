"""What `sf2f infer` says of its faces, in words and on a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.report.media import enlarged

if TYPE_CHECKING:
    import numpy as np
    from voiceface.report import Sound

    from sf2f.inference import Face, Model
    from sf2f.split_half_consistency import Distances

MOST_SHOWN = 24
"""Windows of a voice on the page."""
COLUMNS = ("mean distance", "same voice's halves", "different voices", "ratio")
COMPARED = (
    "Every voice is cut in the middle and each half heard by itself: what a model makes of one voice should "
    "lie closer than what it makes of different ones."
)
MEASURES = {"embeddings, L2": "l2", "embeddings, 1 - cosine": "cosine", "pictures, mean of 255": "pixel"}


@dataclass(frozen=True)
class Named:
    """The recordings that one face is made of.

    Attributes:
        place: where results go, below the folder for results.
        speaker: whose they are, as far as the folders tell.
        paths: the files.
    """

    place: Path
    speaker: str
    paths: tuple[Path, ...]


def described(face: "Face") -> str:
    """Seconds, recordings and windows of a face in words."""
    several = f" in {len(face.sources)} recordings" if len(face.sources) > 1 else ""
    count = sum(face.counts)
    return f"{face.seconds:.1f} s of speech{several}, {count} window{'s' if count != 1 else ''}"


def comparison(same: "Distances | None", other: "Distances | None") -> list[tuple[str, str, str, str]]:
    """Distances of halves: (measure, of the same voice's, of different speakers', their ratio), as text.

    Empty where there is neither; "-" where there is no such pair.
    """
    rows = []
    for word, name in MEASURES.items():
        a, b = (None if each is None else float(getattr(each, name)) for each in (same, other))
        near, far = ("-" if value is None else f"{value:.3g}" for value in (a, b))
        rows.append((word, near, far, f"{b / a:.2f}" if a and b is not None else "-"))
    return rows if same or other else []


def joined_by(model: "Model") -> str:
    """How a model makes one vector of several windows, in words."""
    from sf2f.voice2face_inference import WenToFace

    if isinstance(model, WenToFace):
        return "each recording is heard as a whole; several are averaged"
    if model.fuses:
        return "windows are joined by the fuser (attention)"
    return "stage-1 model without a fuser: embeddings of windows are averaged"


def write_page(
    path: Path,
    model: "Model",
    faces: Sequence[tuple[Named, "Face"]],
    said: Sequence[tuple[str, str, str, str]],
    stride: int | None = None,
) -> Path:
    """One page: every face beside its voice, and what each recording and window gives by itself."""
    from voiceface.report import PeopleGroup, Person, Table, build_report

    from sf2f.inference import stride_of
    from sf2f.models import VoiceToFace

    one = [
        Person(g.place.as_posix(), picture=enlarged(f.picture), sound=_sound(f.sources[0]), note=described(f))
        for g, f in faces
    ]
    groups = [PeopleGroup("Faces", one, "Each from everything that was heard of the voice.")]
    for group, face in faces:
        alone = list(recordings_alone(model, face)) if len(face.sources) > 1 else []
        people = [
            Person(Path(source).name, picture=enlarged(picture), sound=_sound(source))
            for source, picture in zip(face.sources, alone)
        ]
        if people:
            groups.append(PeopleGroup(f"{group.place.as_posix()}: each recording by itself", people))
        for words, pictures in (("each window by itself", face.windows), ("as one long window", face.whole)):
            if pictures is not None:
                shown = [Person(str(k), picture=enlarged(p)) for k, p in enumerate(pictures[:MOST_SHOWN])]
                note = f"The first {MOST_SHOWN} of {len(pictures)}." if len(pictures) > MOST_SHOWN else ""
                groups.append(PeopleGroup(f"{group.place.as_posix()}: {words}", shown, note))
    facts = {"model": model.name or "unnamed", "faces": len(faces)}
    if isinstance(model, VoiceToFace):
        width = model.data.windows.width
        facts["windows"] = f"{width} frames of 10 ms, every {stride or stride_of(width)}"
    return build_report(
        path,
        title="Faces from voices",
        kicker="sf2f infer",
        subtitle=f"Made by {model.name or 'a model'}; {joined_by(model)}.",
        facts=facts,
        notice=model.notice,
        tables=[Table("Halves of speech", COLUMNS, said, COMPARED)] if said else [],
        people=groups,
        max_bytes=20_000_000,
    )


def recordings_alone(model: "Model", face: "Face") -> "np.ndarray":
    """Pictures (R, H, W, 3) of each recording of a face by itself."""
    import torch

    from sf2f.inference import pictures_of_embeddings

    with torch.inference_mode():
        own = torch.from_numpy(face.window_embeddings).split(list(face.counts))
        device = "cpu" if not hasattr(model, "generator") else next(model.generator.parameters()).device
        return pictures_of_embeddings(model, torch.cat([model.join(each.to(device)) for each in own]))


def _sound(source: str) -> "Sound | None":
    """A recording for the page; None for stored features."""
    from voiceface.io.input_files import SOUNDS
    from voiceface.report import Sound

    return Sound(source) if Path(source).suffix.lower() in SOUNDS else None
