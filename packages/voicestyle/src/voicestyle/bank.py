"""Face banks: videos or pictures of people, the prototypes they form, and where a voice leads among them.

A bank is a folder of one's own, a folder that belongs to a given prototype memory (the published way), or
invented people, whose pictures are drawn when they are needed.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from cmpc2.lookup import TrainingVideo
from cmpc2.prototypes import cluster
from cmpc2.published import PrototypeMemory
from numpy.typing import NDArray

from voicestyle.stylegan2.collection import SUFFIXES

if TYPE_CHECKING:
    from cmpc2.embedder import Embedder

log = logging.getLogger(__name__)
SCALE = "1.6"  # folder between name and video in VoxCeleb's face archive
TRACKS, FRONTAL = ("unzippedFaces", "voxceleb/unzippedFaces"), ("VGG_ALL_FRONTAL", "voxceleb/VGG_ALL_FRONTAL")
PER_PROTOTYPE = 17  # videos, as in the published bank: 17,023 in 1,000 clusters
BUNDLED_PRESET = "quick"  # population that the bundled networks were trained on
MOST_FRAMES = 8  # of a video that its embedding is the mean of
NUISANCE = 0.3  # of invented pictures, as the bundled generator has learnt them


class BankError(ValueError):
    """A bank that cannot be used; the message says why and what helps."""


class PictureOf(Protocol):
    """A picture that can be read when it is needed."""

    @property
    def label(self) -> str:
        """Its name, for people and for files."""
        ...

    def read(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, R G B; grey pictures have three equal channels."""
        ...


@dataclass(frozen=True)
class FilePicture:
    """A file of a bank; `label` is its path below the bank."""

    path: Path
    label: str

    def read(self) -> NDArray[np.uint8]:
        """Decode it.

        Raises:
            ImageError: it cannot be read.
        """
        from voiceface.images.loading import decode

        return decode(self.path)


@dataclass(frozen=True)
class InventedPicture:
    """Picture number `number` of invented person `k`, drawn on demand."""

    k: int
    number: int
    label: str
    seed: int = 0
    rho: float = 1.0
    side: int = 128
    nuisance: float = NUISANCE

    def read(self) -> NDArray[np.uint8]:
        """Draw it, or take it from those drawn lately."""
        return _drawn(self.k, self.number, self.seed, self.rho, self.side, self.nuisance)


@dataclass(frozen=True)
class Bank:
    """Videos (or single pictures), their prototypes and their pictures; row by row.

    Attributes:
        memory: prototypes and who belongs to them.
        table: the videos.
        frames: pictures of each video.
        frontal: other, frontal pictures of the same people, by name; empty where there are none.
        name: what it is, for people.
        notice: what must be said beside everything made of it, or empty.
        left_out: pictures that could not be used, with the reason.
    """

    memory: PrototypeMemory
    table: Sequence[TrainingVideo]
    frames: Sequence[Sequence[PictureOf]]
    frontal: dict[str, list[PictureOf]] = field(default_factory=dict)
    name: str = "bank"
    notice: str = ""
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the parts belong together."""
        sizes = {len(self.table), len(self.frames), *(len(each) for each in self.memory.assignment)}
        if len(sizes) != 1:
            raise BankError(
                f"table, pictures and memory have {len(self.table)}, {len(self.frames)} and "
                f"{len(self.memory.assignment[0])} videos: give those that belong together"
            )

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.table)

    @property
    def digest(self) -> str:
        """Hash of videos, prototypes, and names and sizes of all pictures."""
        digest = hashlib.sha256("\n".join(video.path for video in self.table).encode())
        for pictures in (*self.frames, *self.frontal.values()):
            digest.update("\n".join(f"{each.label} {_size(each)}" for each in pictures).encode())
        for centres, places in zip(self.memory.centroids, self.memory.assignment):
            digest.update(np.ascontiguousarray(centres.numpy()).tobytes())
            digest.update(np.ascontiguousarray(places.numpy()).tobytes())
        return digest.hexdigest()

    def label(self, row: int) -> str:
        """A video's name for people."""
        video = self.table[row]
        return video.path if len(self.frames[row]) != 1 else self.frames[row][0].label


def find_pictures(root: Path) -> tuple[list[TrainingVideo], list[list[PictureOf]]]:
    """Videos of a folder `<name>/1.6/<video>/<frame>`; every other picture below it stands for itself.

    Raises:
        FileNotFoundError: no such folder, or no picture in it.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}: --bank names a folder of face pictures")
    videos: dict[tuple[str, str], list[PictureOf]] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        parts = path.relative_to(root).parts
        label = "/".join(parts)
        if len(parts) == 4 and parts[1] == SCALE:
            key = parts[0], parts[2]
        else:
            key = parts[0] if len(parts) > 1 else path.stem, "/".join(parts[1:]) or path.name
        videos.setdefault(key, []).append(FilePicture(path, label))
    if not videos:
        raise FileNotFoundError(
            f"no face pictures ({', '.join(sorted(SUFFIXES))}) in {root}: the bank is empty"
        )
    rows = [TrainingVideo(name, "1", "", "", "", "", video) for name, video in videos]
    return rows, list(videos.values())


def single_pictures(files: Sequence[Path]) -> tuple[list[TrainingVideo], list[list[PictureOf]]]:
    """Each of some files for itself; a person is named after the folder of their pictures.

    Raises:
        FileNotFoundError: there is none.
    """
    if not files:
        raise FileNotFoundError("the bank is empty: expected one picture at least")
    rows = [TrainingVideo(path.parent.name, "1", "", "", "", "", path.name) for path in files]
    labels = [f"{path.parent.name}/{path.name}" for path in files]
    if len(set(labels)) < len(labels):  # such as a/x/1.jpg and b/x/1.jpg
        labels = [path.as_posix() for path in files]
    return rows, [[FilePicture(path, label)] for path, label in zip(files, labels)]


def pictures_in(folder: Path) -> list[Path]:
    """Pictures of a folder by name, hidden files left out; none where there is no such folder."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in files if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]


def folders_of(root: Path, frontal: Path | None = None) -> tuple[Path, Path | None]:
    """Folder of the videos and of the frontal pictures, where a bank has them as the published one has."""
    tracks = next((root / name for name in TRACKS if (root / name).is_dir()), root)
    if frontal is None:
        frontal = next((root / name for name in FRONTAL if (root / name).is_dir()), None)
    elif not frontal.is_dir():
        raise FileNotFoundError(f"no folder at {frontal}: --frontal names a folder of <name>/<picture>")
    return tracks, None if frontal == tracks else frontal


def frontal_pictures(root: Path | None, names: Sequence[str]) -> dict[str, list[PictureOf]]:
    """Pictures `<name>/<picture>` of these people."""
    found: dict[str, list[PictureOf]] = {}
    for name in dict.fromkeys(names) if root else ():
        folder = root / name  # type: ignore[operator]
        pictures = [FilePicture(path, f"{name}/{path.name}") for path in pictures_in(folder)]
        if pictures:
            found[name] = [*pictures]
    return found


def own_bank(
    root: Path | Sequence[Path],
    embedder: "Embedder",
    *,
    frontal: Path | None = None,
    clusters: int | None = None,
    least: int = 3,
    seed: int = 0,
    known: dict[str, Any] | None = None,
) -> tuple[Bank, dict[str, Any]]:
    """A bank of a folder: its pictures embedded, its prototypes found by k-means.

    Args:
        root: see `find_pictures`; where there is a folder unzippedFaces in it the videos come from there, and
            from VGG_ALL_FRONTAL the frontal pictures. Or some files.
        embedder: gives the face embeddings.
        frontal: folder of frontal pictures, <name>/<picture>.
        clusters: prototypes; None: one for each 17 videos, at least twice `least`, at most all videos.
        least: K, prototypes that will be asked for.
        seed: of k-means.
        known: what an earlier call with the same folder and embedder gave beside the bank.

    Returns:
        The bank, and its embeddings for `known` next time.

    Raises:
        FileNotFoundError: no such folder, or an empty one.
        BankError: no picture can be read, or fewer videos than prototypes.
    """
    tracks: Path | str
    if isinstance(root, Path):
        tracks, frontal = folders_of(root, frontal)
        if tracks == root and frontal is not None and frontal.is_relative_to(root):
            tracks, frontal = frontal, None  # a bank of frontal pictures alone
        (table, frames), name = find_pictures(Path(tracks)), root.name or str(root)
    else:
        tracks, name = "the bank", f"{len(root)} pictures"
        table, frames = single_pictures(root)
    key = [embedder.fingerprint, *(f"{p.label} {_state(p)}" for each in frames for p in each[:MOST_FRAMES])]
    unread: dict[str, str] = {}
    if known is not None and known.get("key") == key:
        vectors, unread = known["vectors"], dict(known["unread"])
    else:
        vectors = torch.full((len(table), embedder.dimension), torch.nan)
        for row, pictures in enumerate(frames):
            faces = []
            for picture in pictures[:MOST_FRAMES]:
                try:
                    faces.append(picture.read())
                except (ValueError, OSError) as error:
                    unread[picture.label] = str(error)
            if faces:
                vectors[row] = F.normalize(embedder.embed_faces(faces).float(), dim=1).mean(0)
    good = [row for row in range(len(table)) if not bool(vectors[row].isnan().any())]
    for line in unread.values():
        log.warning("left out: %s", line)
    if not good:
        first = next(iter(unread.values()))
        raise BankError(f"none of the pictures in {tracks} can be read ({len(unread)}), the first: {first}")
    if clusters is None:
        clusters = min(len(good), max(2 * least, round(len(good) / PER_PROTOTYPE)))
    if not least <= clusters <= len(good):
        raise BankError(
            f"{least} nearest of {clusters} prototypes of {len(good)} videos in {tracks}: expected K <= "
            "prototypes <= videos; ask for fewer (lookup.prototypes, lookup.clusters) or give more pictures"
        )
    points = F.normalize(vectors[good], dim=1)
    found = cluster(points, clusters, start="plusplus", generator=torch.Generator().manual_seed(seed))
    usable = [[picture for picture in frames[row] if picture.label not in unread] for row in good]
    rows = [table[row] for row in good]
    bank = Bank(
        PrototypeMemory([found.centroids], [found.assignment], [found.density]),
        rows,
        usable,
        frontal_pictures(frontal, [row.identity for row in rows]),
        name=name,
        left_out=tuple(unread.values()),
    )
    return bank, {"key": key, "vectors": vectors, "unread": unread}


def given_bank(
    root: Path, memory: PrototypeMemory, table: Sequence[TrainingVideo], *, frontal: Path | None = None
) -> Bank:
    """The published way: prototypes from files, pictures of their videos below a folder where they exist.

    Args:
        root: folder of <name>/1.6/<video>/<frame>, or one with unzippedFaces and VGG_ALL_FRONTAL in it.
        memory: from `cmpc2.published.read_memory`.
        table: from `cmpc2.lookup.read_training_table`.
        frontal: folder of <name>/<picture>.

    Raises:
        FileNotFoundError: no such folder.
        BankError: none of the videos has a picture there.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}: --bank names a folder of face pictures")
    tracks, frontal = folders_of(root, frontal)
    fronts = frontal_pictures(frontal, [video.identity for video in table])
    frames: list[list[PictureOf]] = []
    for video in table:
        files = pictures_in(tracks / video.path)
        frames.append([FilePicture(path, f"{video.path}/{path.name}") for path in files])
    present = sum(bool(each) or video.identity in fronts for each, video in zip(frames, table))
    if not present:
        raise BankError(
            f"none of the {len(table)} videos of the table has pictures in {tracks} or {frontal}: expected "
            f"folders such as {table[0].path}"
        )
    if present < len(table):
        log.info("%d of %d videos of the table have pictures in %s", present, len(table), root)
    return Bank(memory, table, frames, fronts, name=root.name)


def invented_bank(
    memory: PrototypeMemory, table: Sequence[TrainingVideo], *, preset: str = "quick", seed: int = 0
) -> Bank:
    """Invented people: prototypes of a model trained on a population, pictures drawn when they are needed.

    Args:
        memory: of the model.
        table: its videos; names end in the person's number.
        preset: of the population that the model was trained on; says how closely voice and face are tied.
        seed: of the population.

    Raises:
        BankError: a name is of no invented person.
    """
    from voiceface.datasets.disclaimers import SYNTHETIC_NOTICE
    from voiceface.synthetic.presets import preset_of

    rho = preset_of(preset).rho
    numbers = [_number_of(video.identity, video.voice_id) for video in table]
    frames = [
        [InventedPicture(k, n, f"{video.path}/{n}", seed, rho) for n in _pictures_of(k, video.video, seed)]
        for k, video in zip(numbers, table)
    ]
    return Bank(memory, table, frames, name="invented people", notice=SYNTHETIC_NOTICE)


@lru_cache(1024)
def _drawn(k: int, number: int, seed: int, rho: float, side: int, nuisance: float) -> NDArray[np.uint8]:
    """A picture of an invented person."""
    from voiceface.synthetic.face.render import render_picture
    from voiceface.synthetic.identities import draw_people

    return render_picture(draw_people([k], rho=rho, seed=seed), 0, number, side=side, nuisance=nuisance).image


@cache
def _pictures_of(k: int, video: str, seed: int, most: int = MOST_FRAMES) -> tuple[int, ...]:
    """Numbers of a person's pictures that come from a video."""
    from voiceface.synthetic.identities import video_id, video_of_picture

    return tuple(n for n in range(most) if video_id(k, video_of_picture(k, n, seed=seed), seed=seed) == video)


def _number_of(name: str, voice_id: str) -> int:
    """Number of an invented person, from its name `Given_Family.00309`."""
    from voiceface.synthetic.identities import voice_id as id_of

    tail = name.rpartition(".")[2]
    if not tail.isdigit() or (voice_id and id_of(int(tail)) != voice_id):
        raise BankError(f"{name!r} ({voice_id}) is no invented person: give --bank with pictures of it")
    return int(tail)


def _size(picture: PictureOf) -> int:
    """Size of a picture's file; 0 where it is none."""
    return picture.path.stat().st_size if isinstance(picture, FilePicture) else 0


def _state(picture: PictureOf) -> str:
    """Size of a picture's file and when it was changed."""
    if not isinstance(picture, FilePicture):
        return ""
    known = picture.path.stat()
    return f"{known.st_size} {known.st_mtime_ns}"
