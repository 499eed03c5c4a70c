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

from voicestyle.stylegan2.dataset import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from cmpc2.embedder import Embedder

log = logging.getLogger(__name__)
SCALE_FOLDER = "1.6"  # folder between name and video in VoxCeleb's face archive
TRACK_FOLDERS, FRONTAL_FOLDERS = (
    ("unzippedFaces", "voxceleb/unzippedFaces"),
    ("VGG_ALL_FRONTAL", "voxceleb/VGG_ALL_FRONTAL"),
)
VIDEOS_PER_PROTOTYPE = 17  # videos, as in the published bank: 17,023 in 1,000 clusters
BUNDLED_PRESET = "quick"  # population that the bundled networks were trained on
MAX_FRAMES = 8  # of a video that its embedding is the mean of
NUISANCE = 0.3  # of invented pictures, as the bundled generator has learnt them


class FaceBankError(ValueError):
    """A bank that cannot be used; the message says why and what helps."""


class BankImage(Protocol):
    """A picture that can be read when it is needed."""

    @property
    def label(self) -> str:
        """Its name, for people and for files."""
        ...

    def read(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, R G B; grey pictures have three equal channels."""
        ...


@dataclass(frozen=True)
class ImageFile:
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
class SyntheticImage:
    """Picture number `image_index` of invented person `identity_index`, drawn on demand."""

    identity_index: int
    image_index: int
    label: str
    seed: int = 0
    rho: float = 1.0
    side: int = 128
    nuisance: float = NUISANCE

    def read(self) -> NDArray[np.uint8]:
        """Draw it, or take it from those drawn lately."""
        return _render_image(
            self.identity_index, self.image_index, self.seed, self.rho, self.side, self.nuisance
        )


@dataclass(frozen=True)
class FaceBank:
    """Videos (or single pictures), their prototypes and their pictures; row by row.

    Attributes:
        memory: prototypes and who belongs to them.
        videos: the videos.
        frames: pictures of each video.
        frontal_images: other, frontal pictures of the same people, by name; empty where there are none.
        name: what it is, for people.
        disclaimer: what must be said beside everything made of it, or empty.
        skipped: pictures that could not be used, with the reason.
    """

    memory: PrototypeMemory
    videos: Sequence[TrainingVideo]
    frames: Sequence[Sequence[BankImage]]
    frontal_images: dict[str, list[BankImage]] = field(default_factory=dict)
    name: str = "bank"
    disclaimer: str = ""
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the parts belong together."""
        sizes = {len(self.videos), len(self.frames), *(len(each) for each in self.memory.assignment)}
        if len(sizes) != 1:
            raise FaceBankError(
                f"table, pictures and memory have {len(self.videos)}, {len(self.frames)} and "
                f"{len(self.memory.assignment[0])} videos: give those that belong together"
            )

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.videos)

    @property
    def digest(self) -> str:
        """Hash of videos, prototypes, and names and sizes of all pictures."""
        digest = hashlib.sha256("\n".join(video.path for video in self.videos).encode())
        for pictures in (*self.frames, *self.frontal_images.values()):
            digest.update("\n".join(f"{each.label} {_file_size(each)}" for each in pictures).encode())
        for centres, places in zip(self.memory.centroids, self.memory.assignment):
            digest.update(np.ascontiguousarray(centres.numpy()).tobytes())
            digest.update(np.ascontiguousarray(places.numpy()).tobytes())
        return digest.hexdigest()

    def label(self, row: int) -> str:
        """A video's name for people."""
        video = self.videos[row]
        return video.path if len(self.frames[row]) != 1 else self.frames[row][0].label


def find_videos(root: Path) -> tuple[list[TrainingVideo], list[list[BankImage]]]:
    """Videos of a folder `<name>/1.6/<video>/<frame>`; every other picture below it stands for itself.

    Raises:
        FileNotFoundError: no such folder, or no picture in it.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}: --bank names a folder of face pictures")
    videos: dict[tuple[str, str], list[BankImage]] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        parts = path.relative_to(root).parts
        label = "/".join(parts)
        if len(parts) == 4 and parts[1] == SCALE_FOLDER:
            key = parts[0], parts[2]
        else:
            key = parts[0] if len(parts) > 1 else path.stem, "/".join(parts[1:]) or path.name
        videos.setdefault(key, []).append(ImageFile(path, label))
    if not videos:
        raise FileNotFoundError(
            f"no face pictures ({', '.join(sorted(IMAGE_SUFFIXES))}) in {root}: the bank is empty"
        )
    rows = [TrainingVideo(name, "1", "", "", "", "", video) for name, video in videos]
    return rows, list(videos.values())


def videos_from_images(files: Sequence[Path]) -> tuple[list[TrainingVideo], list[list[BankImage]]]:
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
    return rows, [[ImageFile(path, label)] for path, label in zip(files, labels)]


def list_images(folder: Path) -> list[Path]:
    """Pictures of a folder by name, hidden files left out; none where there is no such folder."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")]


def locate_bank_folders(root: Path, frontal: Path | None = None) -> tuple[Path, Path | None]:
    """Folder of the videos and of the frontal pictures, where a bank has them as the published one has."""
    tracks = next((root / name for name in TRACK_FOLDERS if (root / name).is_dir()), root)
    if frontal is None:
        frontal = next((root / name for name in FRONTAL_FOLDERS if (root / name).is_dir()), None)
    elif not frontal.is_dir():
        raise FileNotFoundError(f"no folder at {frontal}: --frontal names a folder of <name>/<picture>")
    return tracks, None if frontal == tracks else frontal


def find_frontal_images(root: Path | None, names: Sequence[str]) -> dict[str, list[BankImage]]:
    """Pictures `<name>/<picture>` of these people."""
    found: dict[str, list[BankImage]] = {}
    for name in dict.fromkeys(names) if root else ():
        folder = root / name  # type: ignore[operator]
        pictures = [ImageFile(path, f"{name}/{path.name}") for path in list_images(folder)]
        if pictures:
            found[name] = [*pictures]
    return found


def build_bank(
    root: Path | Sequence[Path],
    embedder: "Embedder",
    *,
    frontal: Path | None = None,
    num_clusters: int | None = None,
    min_clusters: int = 3,
    seed: int = 0,
    cached: dict[str, Any] | None = None,
) -> tuple[FaceBank, dict[str, Any]]:
    """A bank of a folder: its pictures embedded, its prototypes found by k-means.

    Args:
        root: see `find_pictures`; where there is a folder unzippedFaces in it the videos come from there, and
            from VGG_ALL_FRONTAL the frontal pictures. Or some files.
        embedder: gives the face embeddings.
        frontal: folder of frontal pictures, <name>/<picture>.
        num_clusters: prototypes; None: one for each 17 videos, at least twice `min_clusters`, at most all videos.
        min_clusters: K, prototypes that will be asked for.
        seed: of k-means.
        cached: what an earlier call with the same folder and embedder gave beside the bank.

    Returns:
        The bank, and its embeddings for `cached` next time.

    Raises:
        FileNotFoundError: no such folder, or an empty one.
        BankError: no picture can be read, or fewer videos than prototypes.
    """
    tracks: Path | str
    if isinstance(root, Path):
        tracks, frontal = locate_bank_folders(root, frontal)
        if tracks == root and frontal is not None and frontal.is_relative_to(root):
            tracks, frontal = frontal, None  # a bank of frontal pictures alone
        (table, frames), name = find_videos(Path(tracks)), root.name or str(root)
    else:
        tracks, name = "the bank", f"{len(root)} pictures"
        table, frames = videos_from_images(root)
    key = [
        embedder.fingerprint,
        *(f"{p.label} {_file_stamp(p)}" for each in frames for p in each[:MAX_FRAMES]),
    ]
    unread: dict[str, str] = {}
    if cached is not None and cached.get("key") == key:
        vectors, unread = cached["vectors"], dict(cached["unread"])
    else:
        vectors = torch.full((len(table), embedder.embedding_dim), torch.nan)
        for row, pictures in enumerate(frames):
            faces = []
            for picture in pictures[:MAX_FRAMES]:
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
        raise FaceBankError(
            f"none of the pictures in {tracks} can be read ({len(unread)}), the first: {first}"
        )
    if num_clusters is None:
        num_clusters = min(len(good), max(2 * min_clusters, round(len(good) / VIDEOS_PER_PROTOTYPE)))
    if not min_clusters <= num_clusters <= len(good):
        raise FaceBankError(
            f"{min_clusters} nearest of {num_clusters} prototypes of {len(good)} videos in {tracks}: expected K <= "
            "prototypes <= videos; ask for fewer (retrieval.num_prototypes, retrieval.num_clusters) or give more pictures"
        )
    points = F.normalize(vectors[good], dim=1)
    found = cluster(points, num_clusters, start="plusplus", generator=torch.Generator().manual_seed(seed))
    usable = [[picture for picture in frames[row] if picture.label not in unread] for row in good]
    rows = [table[row] for row in good]
    bank = FaceBank(
        PrototypeMemory([found.centroids], [found.assignment], [found.density]),
        rows,
        usable,
        find_frontal_images(frontal, [row.identity for row in rows]),
        name=name,
        skipped=tuple(unread.values()),
    )
    return bank, {"key": key, "vectors": vectors, "unread": unread}


def build_bank_from_prototypes(
    root: Path, memory: PrototypeMemory, videos: Sequence[TrainingVideo], *, frontal: Path | None = None
) -> FaceBank:
    """The published way: prototypes from files, pictures of their videos below a folder where they exist.

    Args:
        root: folder of <name>/1.6/<video>/<frame>, or one with unzippedFaces and VGG_ALL_FRONTAL in it.
        memory: from `cmpc2.published.read_memory`.
        videos: from `cmpc2.lookup.read_training_table`.
        frontal: folder of <name>/<picture>.

    Raises:
        FileNotFoundError: no such folder.
        BankError: none of the videos has a picture there.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}: --bank names a folder of face pictures")
    tracks, frontal = locate_bank_folders(root, frontal)
    fronts = find_frontal_images(frontal, [video.identity for video in videos])
    frames: list[list[BankImage]] = []
    for video in videos:
        files = list_images(tracks / video.path)
        frames.append([ImageFile(path, f"{video.path}/{path.name}") for path in files])
    present = sum(bool(each) or video.identity in fronts for each, video in zip(frames, videos))
    if not present:
        raise FaceBankError(
            f"none of the {len(videos)} videos of the table has pictures in {tracks} or {frontal}: expected "
            f"folders such as {videos[0].path}"
        )
    if present < len(videos):
        log.info("%d of %d videos of the table have pictures in %s", present, len(videos), root)
    return FaceBank(memory, videos, frames, fronts, name=root.name)


def build_synthetic_bank(
    memory: PrototypeMemory, videos: Sequence[TrainingVideo], *, preset: str = "quick", seed: int = 0
) -> FaceBank:
    """Invented people: prototypes of a model trained on a population, pictures drawn when they are needed.

    Args:
        memory: of the model.
        videos: its videos; names end in the person's number.
        preset: of the population that the model was trained on; says how closely voice and face are tied.
        seed: of the population.

    Raises:
        BankError: a name is of no invented person.
    """
    from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER
    from voiceface.synthetic.presets import get_preset

    rho = get_preset(preset).rho
    numbers = [_identity_index(video.identity, video.voice_id) for video in videos]
    frames = [
        [SyntheticImage(k, n, f"{video.path}/{n}", seed, rho) for n in _image_indices(k, video.video, seed)]
        for k, video in zip(numbers, videos)
    ]
    return FaceBank(memory, videos, frames, name="invented people", disclaimer=SYNTHETIC_DATA_DISCLAIMER)


@lru_cache(1024)
def _render_image(
    identity_index: int, image_index: int, seed: int, rho: float, side: int, nuisance: float
) -> NDArray[np.uint8]:
    """A picture of an invented person."""
    from voiceface.synthetic.face.render import render_image
    from voiceface.synthetic.identities import sample_identities

    return render_image(
        sample_identities([identity_index], rho=rho, seed=seed),
        0,
        image_index,
        image_size=side,
        nuisance=nuisance,
    ).image


@cache
def _image_indices(
    identity_index: int, video: str, seed: int, max_images: int = MAX_FRAMES
) -> tuple[int, ...]:
    """Numbers of a person's pictures that come from a video."""
    from voiceface.synthetic.identities import get_image_video, video_id

    return tuple(
        n
        for n in range(max_images)
        if video_id(identity_index, get_image_video(identity_index, n, seed=seed), seed=seed) == video
    )


def _identity_index(name: str, voice_id: str) -> int:
    """Number of an invented person, from its name `Given_Family.00309`."""
    from voiceface.synthetic.identities import voice_id as id_of

    tail = name.rpartition(".")[2]
    if not tail.isdigit() or (voice_id and id_of(int(tail)) != voice_id):
        raise FaceBankError(f"{name!r} ({voice_id}) is no invented person: give --bank with pictures of it")
    return int(tail)


def _file_size(image: BankImage) -> int:
    """Size of a picture's file; 0 where it is none."""
    return image.path.stat().st_size if isinstance(image, ImageFile) else 0


def _file_stamp(image: BankImage) -> str:
    """Size of a picture's file and when it was changed."""
    if not isinstance(image, ImageFile):
        return ""
    known = image.path.stat()
    return f"{known.st_size} {known.st_mtime_ns}"
