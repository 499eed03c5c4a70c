"""User recordings and images: check files, find faces, derive identity labels from folder names."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.io.file_facts import FileFacts
from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS, LongRecordings
from voiceface.io.own_files import LeftOut, find_own_files
from voiceface.runtime.progress import progress_bar
from voiceface.suite.inference import GalleryEntry, Utterance

if TYPE_CHECKING:
    from voiceface.faces.own_face import OwnFace
    from voiceface.faces.own_pictures import PictureReader

__all__ = ["MediaSet", "check_image", "check_recording", "collect_media", "select_spread"]


@dataclass
class MediaSet:
    """Usable recordings and images.

    Attributes:
        utterances: every readable recording.
        gallery: every candidate, an identity's folder or a single image.
        failures: file -> reason why no system can use it.
        relative_paths: file -> path relative to the given folder.
        faces: item of a gallery entry -> the face, as far as faces were looked for.
        left_out: files of the folders that are of another kind.
        recordings: readable recording -> what is known about it: notes and measures.
    """

    utterances: list[Utterance]
    gallery: list[GalleryEntry]
    failures: dict[str, str] = field(default_factory=dict)
    relative_paths: dict[str, str] = field(default_factory=dict)
    faces: "dict[str, OwnFace]" = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    recordings: dict[str, FileFacts] = field(default_factory=dict)

    @property
    def paired_identities(self) -> set[str]:
        """Identities with both recordings and images."""
        return {voice.identity for voice in self.utterances if voice.identity} & {
            face.identity for face in self.gallery
        }

    @property
    def has_labels(self) -> bool:
        """Whether the folder names pair recordings with images."""
        return bool(self.paired_identities)


def collect_media(
    voices: Path,
    faces: Path | None = None,
    *,
    per_image: bool = False,
    pictures: "PictureReader | None" = None,
    long: LongRecordings = DEFAULT_LONG_RECORDINGS,
) -> MediaSet:
    """Collect recordings and images from two folders, recursively; hidden and other files are ignored.

    The top-level subfolder of a file is its identity. The images of one subfolder are one candidate, unless
    there is only one subfolder or `per_image` is set. With `every_face` of `pictures` each face is one.

    Args:
        voices: folder of recordings.
        faces: folder of images; None disables ranking.
        per_image: every image is a separate candidate.
        pictures: finds the faces of the images; None: with the networks that are installed.
        long: what is used of long recordings.

    Raises:
        FileNotFoundError: a folder does not exist or has no file of its kind.
        ValueError: no file of a folder can be used; the message gives the reasons for the first ones.
    """
    media = MediaSet([], [])
    recordings = _list_files(media, voices, "recordings", "--voices")
    stems = Counter(Path(label).with_suffix("") for _, label, _ in recordings)
    for file, label, identity in progress_bar(recordings, "recordings"):
        if _check_file(media, file, label, partial(check_recording, long=long)):
            stem = Path(label).with_suffix("")
            media.utterances.append(Utterance(label if stems[stem] > 1 else stem.as_posix(), file, identity))
    _require_usable(media.utterances, media, voices, "recordings")
    if faces is None:
        return media
    images = _find_faces(media, _list_files(media, faces, "images", "--faces"), pictures)
    _require_usable(images, media, faces, "images")
    per_image = per_image or (pictures is not None and pictures.every_face)
    grouped = not per_image and len({identity for _, _, identity in images if identity}) > 1
    groups: dict[str, list[OwnFace]] = defaultdict(list)
    owners: dict[str, str] = {}
    for face, label, identity in images:
        name = identity if grouped and identity else label
        groups[name].append(face)
        owners[name] = identity
    media.gallery = [
        GalleryEntry(
            name, tuple(face.path for face in found), owners[name], tuple(face.item for face in found)
        )
        for name, found in groups.items()
    ]
    return media


def _find_faces(
    media: MediaSet, files: Sequence[tuple[Path, str, str]], pictures: "PictureReader | None"
) -> "list[tuple[OwnFace, str, str]]":
    """Faces of images with label and identity; failures are recorded."""
    from voiceface.faces.own_pictures import PictureReader

    reader = PictureReader() if pictures is None else pictures
    labels = {file: (label, identity) for file, label, identity in files}
    media.relative_paths |= {str(file): label for file, label, _ in files}
    images = []
    for file, found in progress_bar(reader.find(list(labels)), "pictures", total=len(labels)):
        label, identity = labels[file]
        if not isinstance(found, str) and found[0].facts.face is None:  # not looked at yet
            found = found if _check_file(media, file, label, check_image) else media.failures[str(file)]
        if isinstance(found, str):
            media.failures[str(file)] = found
            continue
        for face in found:
            images.append((face, face.item.replace(file.as_posix(), label, 1), identity))
            media.faces |= {face.item: face} if face.facts.face is not None else {}
    return images


def check_recording(file: Path, long: LongRecordings = DEFAULT_LONG_RECORDINGS) -> FileFacts:
    """Check that a recording can be used, and measure it; errors as of `read_own_recording`."""
    from voiceface.real.recordings import read_own_recording

    return read_own_recording(file, scale="unit", on_corrupt="salvage", long=long).describe(file)


def check_image(file: Path) -> None:
    """Check that an image can be used; errors as of `voiceface.images.photographs.load_photograph`."""
    from voiceface.images.photographs import load_photograph

    load_photograph(file)


def select_spread(utterances: Sequence[Utterance], max_count: int) -> list[int]:
    """Select rows of at most `max_count` utterances: the first of each identity, evenly spaced identities."""
    firsts: dict[str, int] = {}
    for row, utterance in enumerate(utterances):
        firsts.setdefault(utterance.identity or utterance.name, row)
    rows = list(firsts.values())
    if len(rows) < min(max_count, len(utterances)):  # further utterances of the same identities
        rows += [row for row in range(len(utterances)) if row not in set(rows)][: max_count - len(rows)]
    return sorted(
        rows[len(rows) * index // min(max_count, len(rows))] for index in range(min(max_count, len(rows)))
    )


def _list_files(media: MediaSet, root: Path, description: str, flag: str) -> list[tuple[Path, str, str]]:
    """(file, path relative to the folder, identity) of every recording or image of a folder, sorted."""
    if not root.is_dir():
        raise FileNotFoundError(f"{flag}: no folder at {root}")
    found = find_own_files([root])
    media.left_out += found.left_out
    media.relative_paths |= {
        str(item.path): item.path.relative_to(root).as_posix() for item in found.left_out
    }
    files = []
    for file in found.sounds if description == "recordings" else found.pictures:
        relative = file.relative_to(root)
        files.append((file, relative.as_posix(), relative.parts[0] if len(relative.parts) > 1 else ""))
    if not files:
        raise FileNotFoundError(f"{flag}: no {description} in {root}")
    return files


def _check_file(
    media: MediaSet, file: Path, relative_path: str, check: Callable[[Path], FileFacts | None]
) -> bool:
    """Whether a file passes the check; failures and what is known about recordings are recorded."""
    media.relative_paths[str(file)] = relative_path
    try:
        if (known := check(file)) is not None:
            media.recordings[file.as_posix()] = known
    except (ValueError, OSError) as error:
        media.failures[str(file)] = str(error)
    return str(file) not in media.failures


def _require_usable(usable: Sequence[object], media: MediaSet, root: Path, description: str) -> None:
    if not usable:
        first = "; ".join(
            f"{media.relative_paths[file]}: {reason}" for file, reason in list(media.failures.items())[:3]
        )
        raise ValueError(f"none of the {description} in {root} can be used: {first}")
