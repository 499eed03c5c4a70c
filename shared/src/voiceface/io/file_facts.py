"""What is known about a person's own file beside its embedding: measures, notes, and the face that was used.

The record travels with embeddings into tables, JSON files and pages (docs/own_files.md).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

__all__ = ["FaceFacts", "FileFacts", "FileKind", "facts_from_json", "facts_to_json"]

FileKind = Literal["recording", "picture"]
Box = tuple[float, float, float, float]
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class FaceFacts:
    """One face that was found in a picture or in an image of a video.

    Attributes:
        number: within the picture, from 1, largest first.
        faces_in_picture: how many faces were found.
        box: left, top, right, bottom in pixels of the upright picture.
        points: five points in pixels: left eye, right eye (of the picture), nose, corners of the mouth.
        score: of the detector, 0...1.
        presence: probability that it is a face, 0...1.
        crop: convention by which it was cut out; "": the picture was used as it is.
        time: of a video, seconds from its beginning; None: a picture.
    """

    number: int
    faces_in_picture: int
    box: Box
    points: Points
    score: float
    presence: float
    crop: str = ""
    time: float | None = None


@dataclass(frozen=True)
class FileFacts:
    """What is known about one own file, or about one face of it.

    Attributes:
        file: the file as it was given.
        kind: "recording" (the sound of a video too) or "picture" (a face of a video too).
        notes: what makes its embedding doubtful, such as "small: 12 pixels between the eyes, below 20".
        measures: quality in numbers, by name.
        face: the face that was used; None where none was looked for.
    """

    file: str
    kind: FileKind
    notes: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    face: FaceFacts | None = None

    @property
    def short_notes(self) -> tuple[str, ...]:
        """The notes up to their first colon: "small"."""
        return tuple(note.partition(":")[0] for note in self.notes)

    def to_values(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = asdict(self)
        values["measures"] = dict(self.measures)
        return values

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "FileFacts":
        """Build the record from the values of `to_values`, read from a file.

        Raises:
            ValueError: values of another form.
        """
        try:
            face = values.get("face")
            kind = values["kind"]
            if kind not in get_args(FileKind):
                raise ValueError(f"kind {kind!r}")
            return cls(
                file=str(values["file"]),
                kind=kind,
                notes=tuple(map(str, values.get("notes", ()))),
                measures={str(name): float(value) for name, value in values.get("measures", {}).items()},
                face=None if face is None else _face_from_values(face),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"no record of an own file: {error}") from None


def facts_to_json(facts: Mapping[str, FileFacts], items: Sequence[str]) -> list[str]:
    """JSON text of the record of each item; "" where there is none."""
    return [json.dumps(facts[item].to_values(), sort_keys=True) if item in facts else "" for item in items]


def facts_from_json(items: Sequence[str], texts: Sequence[str]) -> dict[str, FileFacts]:
    """Records by item, from the texts of `facts_to_json`.

    Raises:
        ValueError: a text is no such record.
    """
    return {item: FileFacts.from_values(json.loads(text)) for item, text in zip(items, texts) if text}


def _face_from_values(values: Mapping[str, Any]) -> FaceFacts:
    box = tuple(map(float, values["box"]))
    points = tuple((float(x), float(y)) for x, y in values["points"])
    if len(box) != 4 or len(points) != 5:
        raise ValueError(f"a box of {len(box)} numbers and {len(points)} points, expected 4 and 5")
    time = values.get("time")
    return FaceFacts(
        number=int(values["number"]),
        faces_in_picture=int(values["faces_in_picture"]),
        box=(box[0], box[1], box[2], box[3]),
        points=points,
        score=float(values["score"]),
        presence=float(values["presence"]),
        crop=str(values.get("crop", "")),
        time=None if time is None else float(time),
    )
