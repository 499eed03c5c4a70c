"""User recordings and images: collect files, derive identity labels from folders, check that files are
usable.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from voiceface.association.embedding import FACE_SUFFIXES, VOICE_SUFFIXES
from voiceface.suite.inference import GalleryEntry, Utterance

SILENCE_PEAK = 1e-3
"""A recording whose loudest sample is below this share of full scale holds no speech."""
MIN_SECONDS = 0.5  # seconds of sound that are worth an answer


@dataclass
class MediaSet:
    """What can be used.

    Attributes:
        utterances: every readable recording.
        gallery: every candidate: an identity's folder, or a single image.
        failures: file -> why it cannot be used by anybody.
        relative_paths: file -> path below the folder that was given.
    """

    utterances: list[Utterance]
    gallery: list[GalleryEntry]
    failures: dict[str, str] = field(default_factory=dict)
    relative_paths: dict[str, str] = field(default_factory=dict)

    @property
    def paired_identities(self) -> set[str]:
        """Identities who are both heard and seen."""
        return {voice.identity for voice in self.utterances if voice.identity} & {
            face.identity for face in self.gallery
        }

    @property
    def has_labels(self) -> bool:
        """Whether anybody is both heard and seen, as far as the folders tell."""
        return bool(self.paired_identities)


def collect_media(voices: Path, faces: Path | None = None, *, per_image: bool = False) -> MediaSet:
    """Look through two folders to any depth; hidden files and other kinds are passed over.

    The first folder below the one that is given is taken for the identity. Images of one such folder are one
    candidate, unless there is only one folder, or they are asked for one by one.

    Args:
        voices: folder of recordings.
        faces: folder of images; None: nothing is ranked.
        per_image: every image is a candidate of its own.

    Raises:
        FileNotFoundError: a folder is not there or holds nothing of its kind.
        ValueError: nothing in a folder can be used; the message says why for the first files.
    """
    found = MediaSet([], [])
    for file, label, person in _list_files(voices, VOICE_SUFFIXES, "recordings", "--voices"):
        if _check_file(found, file, label, check_recording):
            found.utterances.append(Utterance(Path(label).with_suffix("").as_posix(), file, person))
    _require_usable(found.utterances, found, voices, "recordings")
    if faces is None:
        return found
    pictures = []
    for file, label, person in _list_files(faces, FACE_SUFFIXES, "pictures", "--faces"):
        if _check_file(found, file, label, check_image):
            pictures.append((file, label, person))
    _require_usable(pictures, found, faces, "pictures")
    grouped = not per_image and len({person for _, _, person in pictures if person}) > 1
    groups: dict[str, list[Path]] = defaultdict(list)
    owner: dict[str, str] = {}
    for file, label, person in pictures:
        name = person if grouped and person else label
        groups[name].append(file)
        owner[name] = person
    found.gallery = [GalleryEntry(name, tuple(files), owner[name]) for name, files in groups.items()]
    return found


def check_recording(file: Path) -> None:
    """Decode a recording.

    Raises:
        ValueError, OSError: it cannot be decoded, is silent or too short.
    """
    from voiceface.audio.loading import load_audio

    wave = load_audio(file, scale="unit", resample=True, on_corrupt="salvage")
    loudest = float(np.abs(wave).max()) if len(wave) else 0.0
    if len(wave) < MIN_SECONDS * 16000:
        raise ValueError(f"{len(wave) / 16000:.2f} s of sound, expected at least {MIN_SECONDS} s")
    if loudest < SILENCE_PEAK:
        raise ValueError(f"no speech: the loudest sample is {loudest:.1g} of full scale")


def check_image(file: Path) -> None:
    """Decode an image; errors as `voiceface.images.loading.load_image`."""
    from voiceface.images.loading import load_image

    load_image(file)


def select_spread(utterances: Sequence[Utterance], max_count: int) -> list[int]:
    """Rows of at most `max_count` voices: the first recording of every identity, evenly spaced of more
    identities.
    """
    firsts: dict[str, int] = {}
    for row, voice in enumerate(utterances):
        firsts.setdefault(voice.identity or voice.name, row)
    rows = list(firsts.values())
    if len(rows) < min(max_count, len(utterances)):  # further recordings of the same identities
        rows += [row for row in range(len(utterances)) if row not in set(rows)][: max_count - len(rows)]
    return sorted(
        rows[len(rows) * at // min(max_count, len(rows))] for at in range(min(max_count, len(rows)))
    )


def _list_files(
    root: Path, suffixes: frozenset[str], description: str, flag: str
) -> list[tuple[Path, str, str]]:
    """(file, path below the folder, identity) of every file of some kinds, sorted."""
    if not root.is_dir():
        raise FileNotFoundError(f"{flag}: no folder at {root}")
    found = []
    for file in sorted(root.rglob("*")):
        below = file.relative_to(root)
        hidden = any(part.startswith(".") for part in below.parts)
        if not hidden and file.suffix.lower() in suffixes and file.is_file():
            found.append((file, below.as_posix(), below.parts[0] if len(below.parts) > 1 else ""))
    if not found:
        raise FileNotFoundError(f"{flag}: no {description} in {root} ({', '.join(sorted(suffixes))})")
    return found


def _check_file(media: MediaSet, file: Path, relative_path: str, check: Callable[[Path], None]) -> bool:
    """Whether a file can be read; why not is kept."""
    media.relative_paths[str(file)] = relative_path
    try:
        check(file)
    except (ValueError, OSError) as error:
        media.failures[str(file)] = str(error)
    return str(file) not in media.failures


def _require_usable(usable: Sequence[object], media: MediaSet, root: Path, description: str) -> None:
    if not usable:
        first = "; ".join(
            f"{media.relative_paths[file]}: {why}" for file, why in list(media.failures.items())[:3]
        )
        raise ValueError(f"none of the {description} in {root} can be used: {first}")
