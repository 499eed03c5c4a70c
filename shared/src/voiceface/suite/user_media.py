"""Recordings and pictures of one's own: what lies in folders, who belongs to whom, what can be used."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from voiceface.association.embedding import FACE_SUFFIXES, VOICE_SUFFIXES
from voiceface.suite.inference import Face, Voice

SILENT = 1e-3
"""A recording whose loudest sample is below this share of full scale holds no speech."""
SHORTEST = 0.5  # seconds of sound that are worth an answer


@dataclass
class Material:
    """What can be used.

    Attributes:
        voices: every readable recording.
        faces: every candidate: a person's folder, or a single picture.
        failed: file -> why it cannot be used by anybody.
        labels: file -> path below the folder that was given.
    """

    voices: list[Voice]
    faces: list[Face]
    failed: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def people(self) -> set[str]:
        """People who are both heard and seen."""
        return {voice.person for voice in self.voices if voice.person} & {face.person for face in self.faces}

    @property
    def known(self) -> bool:
        """Whether anybody is both heard and seen, as far as the folders tell."""
        return bool(self.people)


def collect(voices: Path, faces: Path | None = None, *, each_picture: bool = False) -> Material:
    """Look through two folders to any depth; hidden files and other kinds are passed over.

    The first folder below the one that is given is taken for the person. Pictures of one such folder are one
    candidate, unless there is only one folder, or they are asked for one by one.

    Args:
        voices: folder of recordings.
        faces: folder of pictures; None: nothing is ranked.
        each_picture: every picture is a candidate of its own.

    Raises:
        FileNotFoundError: a folder is not there or holds nothing of its kind.
        ValueError: nothing in a folder can be used; the message says why for the first files.
    """
    found = Material([], [])
    for file, label, person in _listed(voices, VOICE_SUFFIXES, "recordings", "--voices"):
        if _usable(found, file, label, check_recording):
            found.voices.append(Voice(Path(label).with_suffix("").as_posix(), file, person))
    _require(found.voices, found, voices, "recordings")
    if faces is None:
        return found
    pictures = []
    for file, label, person in _listed(faces, FACE_SUFFIXES, "pictures", "--faces"):
        if _usable(found, file, label, check_picture):
            pictures.append((file, label, person))
    _require(pictures, found, faces, "pictures")
    grouped = not each_picture and len({person for _, _, person in pictures if person}) > 1
    groups: dict[str, list[Path]] = defaultdict(list)
    owner: dict[str, str] = {}
    for file, label, person in pictures:
        name = person if grouped and person else label
        groups[name].append(file)
        owner[name] = person
    found.faces = [Face(name, tuple(files), owner[name]) for name, files in groups.items()]
    return found


def check_recording(file: Path) -> None:
    """Decode a recording.

    Raises:
        ValueError, OSError: it cannot be decoded, is silent or too short.
    """
    from voiceface.audio import loading as audio

    wave = audio.load(file, scale="unit", resample=True, policy="tolerant")
    loudest = float(np.abs(wave).max()) if len(wave) else 0.0
    if len(wave) < SHORTEST * 16000:
        raise ValueError(f"{len(wave) / 16000:.2f} s of sound, expected at least {SHORTEST} s")
    if loudest < SILENT:
        raise ValueError(f"no speech: the loudest sample is {loudest:.1g} of full scale")


def check_picture(file: Path) -> None:
    """Decode a picture; errors as `voiceface.images.loading.decode`."""
    from voiceface.images import loading as images

    images.decode(file)


def spread(voices: Sequence[Voice], most: int) -> list[int]:
    """Rows of at most `most` voices: the first recording of every person, evenly spaced of more people."""
    firsts: dict[str, int] = {}
    for row, voice in enumerate(voices):
        firsts.setdefault(voice.person or voice.name, row)
    rows = list(firsts.values())
    if len(rows) < min(most, len(voices)):  # further recordings of the same people
        rows += [row for row in range(len(voices)) if row not in set(rows)][: most - len(rows)]
    return sorted(rows[len(rows) * at // min(most, len(rows))] for at in range(min(most, len(rows))))


def _listed(root: Path, kinds: frozenset[str], what: str, flag: str) -> list[tuple[Path, str, str]]:
    """(file, path below the folder, person) of every file of some kinds, sorted."""
    if not root.is_dir():
        raise FileNotFoundError(f"{flag}: no folder at {root}")
    found = []
    for file in sorted(root.rglob("*")):
        below = file.relative_to(root)
        hidden = any(part.startswith(".") for part in below.parts)
        if not hidden and file.suffix.lower() in kinds and file.is_file():
            found.append((file, below.as_posix(), below.parts[0] if len(below.parts) > 1 else ""))
    if not found:
        raise FileNotFoundError(f"{flag}: no {what} in {root} ({', '.join(sorted(kinds))})")
    return found


def _usable(found: Material, file: Path, label: str, check: Callable[[Path], None]) -> bool:
    """Whether a file can be read; why not is kept."""
    found.labels[str(file)] = label
    try:
        check(file)
    except (ValueError, OSError) as error:
        found.failed[str(file)] = str(error)
    return str(file) not in found.failed


def _require(usable: Sequence[object], found: Material, root: Path, what: str) -> None:
    if not usable:
        first = "; ".join(f"{found.labels[file]}: {why}" for file, why in list(found.failed.items())[:3])
        raise ValueError(f"none of the {what} in {root} can be used: {first}")
