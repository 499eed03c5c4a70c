"""Build face banks: from a directory of images, from published prototypes, or of synthetic identities."""

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from cmpc2.prototype_retrieval import TrainingVideo
from cmpc2.prototypes import cluster
from cmpc2.published import PrototypeMemory
from voiceface.faces.own_pictures import PictureReader

from voicestyle.bank_layout import (
    find_frontal_images,
    find_videos,
    list_images,
    locate_bank_folders,
    videos_from_images,
)
from voicestyle.face_bank import (
    BankImage,
    FaceBank,
    FaceBankError,
    ImageFile,
    SyntheticImage,
    describe_unreadable,
)

if TYPE_CHECKING:
    from cmpc2.embedder import Embedder

    from voicestyle.config import VoiceStyleConfig
    from voicestyle.models import PipelineModels

__all__ = [
    "build_bank",
    "build_bank_from_prototypes",
    "build_synthetic_bank",
    "load_bank",
]

log = logging.getLogger(__name__)

VIDEOS_PER_PROTOTYPE = 17  # as in the published bank: 17,023 videos, 1,000 clusters

BUNDLED_PRESET = "quick"  # population preset that the bundled networks were trained on

MAX_FRAMES = 8  # frames per video whose mean is the embedding of the video


def load_bank(
    models: "PipelineModels",
    config: "VoiceStyleConfig",
    bank: str | Path | Sequence[Path] | None = None,
    *,
    weights: str | Path | None = None,
    cmpc: str | Path | None = None,
    memory: str | Path | None = None,
    table: str | Path | None = None,
    frontal: str | Path | None = None,
    population: str = BUNDLED_PRESET,
    cache_file: Path | None = None,
    pictures: PictureReader | None = None,
) -> FaceBank:
    """Load the face bank that the arguments name.

    Args:
        models: networks; the embedder embeds the images of a directory.
        config: settings, such as `retrieval.num_clusters`.
        bank: directory of face images, or image files; None for synthetic identities.
        weights, cmpc: weights that the networks were loaded from; prototypes of synthetic identities lie
            beside them.
        memory, table: prototypes and `training.csv` that belong to the bank, in place of k-means.
        frontal: directory of frontal images, <name>/<image>.
        population: preset of the synthetic identities that CMPC was trained on.
        cache_file: file that keeps the embeddings of a directory's images.
        pictures: finds the faces of images outside of the published layout, cut out by the crop convention of
            CMPC; None: with the networks that are installed.

    Raises:
        FileNotFoundError, CheckpointError: a file or directory is missing or corrupt.
        FaceBankError: the bank does not fit the configuration or the networks.
    """
    from cmpc2.nearest import load_prototype_memory
    from voiceface.checkpoints.resume_state import load_state, save_state

    from voicestyle.models import resolve_cmpc_path

    root = Path(bank) if isinstance(bank, str) else bank
    memory, table, frontal = (Path(path) if path is not None else None for path in (memory, table, frontal))
    if root is None or memory is not None or table is not None:
        run = resolve_cmpc_path(weights, cmpc)
        prototypes, videos = load_prototype_memory(run, memory, table)
        if root is None:
            if run is None and memory is None and population != BUNDLED_PRESET:
                raise FaceBankError(
                    f"--population {population}: the bundled CMPC was trained on the preset "
                    f"{BUNDLED_PRESET}; omit the preset, or give --weights or --cmpc of a run trained on it"
                )
            return build_synthetic_bank(prototypes, videos, preset=population)
        if not isinstance(root, Path):
            raise FaceBankError("prototypes (memory, table) need a directory as the bank, found single files")
        return build_bank_from_prototypes(root, prototypes, videos, frontal=frontal)
    cached = load_state(cache_file) if cache_file is not None and cache_file.is_file() else None
    face_bank, embeddings = build_bank(
        root,
        models.embedder,
        frontal=frontal,
        num_clusters=config.retrieval.num_clusters,
        min_clusters=config.retrieval.num_prototypes,
        seed=config.seed,
        cached=cached,
        pictures=(pictures or PictureReader()).with_convention(models.embedder.face_crop),
    )
    if cache_file is not None and (cached is None or cached.get("key") != embeddings["key"]):
        save_state(cache_file, embeddings)
    return face_bank


def build_bank(
    root: Path | Sequence[Path],
    embedder: "Embedder",
    *,
    frontal: Path | None = None,
    num_clusters: int | None = None,
    min_clusters: int = 3,
    seed: int = 0,
    cached: dict[str, Any] | None = None,
    pictures: PictureReader | None = None,
) -> tuple[FaceBank, dict[str, Any]]:
    """Build a bank from a directory: embed its images and find prototypes by k-means.

    Args:
        root: directory, see `find_videos`; if it contains unzippedFaces, the videos come from there, and
            frontal images from VGG_ALL_FRONTAL. Or image files.
        embedder: embeds the faces.
        frontal: directory of frontal images, <name>/<image>.
        num_clusters: number of prototypes; None: one per 17 videos, at least twice `min_clusters`, at most
            one per video.
        min_clusters: K, the number of prototypes that will be retrieved.
        seed: of k-means.
        cached: embeddings that an earlier call returned for the same directory and embedder.
        pictures: reads images outside of the published layout as people's own pictures; None: as data folders
            are read.

    Returns:
        The bank, and its embeddings for `cached` of a later call.

    Raises:
        FileNotFoundError: the directory is missing or empty.
        FaceBankError: no image can be read, or there are fewer videos than prototypes.
    """
    tracks: Path | str
    if isinstance(root, Path):
        tracks, frontal = locate_bank_folders(root, frontal)
        if tracks == root and frontal is not None and frontal.is_relative_to(root):
            tracks, frontal = frontal, None  # the bank contains frontal images only
        (table, frames), name = find_videos(Path(tracks), pictures), root.name or str(root)
    else:
        tracks, name = "the bank", f"{len(root)} images"
        table, frames = videos_from_images(root, pictures)
    key = [
        embedder.fingerprint,
        *(f"{p.label} {_file_stamp(p)}" for each in frames for p in each[:MAX_FRAMES]),
    ]
    unreadable: dict[str, str] = {}
    if cached is not None and cached.get("key") == key:
        embeddings, unreadable = cached["embeddings"], dict(cached["unreadable"])
    else:
        embeddings = torch.full((len(table), embedder.embedding_dim), torch.nan)
        for row, images in enumerate(frames):
            faces = []
            for image in images[:MAX_FRAMES]:
                try:
                    faces.append(image.read())
                except (ValueError, OSError) as error:
                    unreadable[image.label] = str(error)
            if faces:
                embeddings[row] = F.normalize(embedder.embed_faces(faces).float(), dim=1).mean(0)
    valid = [row for row in range(len(table)) if not bool(embeddings[row].isnan().any())]
    if not valid:
        first = next(iter(unreadable.values()))
        raise FaceBankError(
            f"none of the {len(unreadable)} images in {tracks} can be read; the first: {first}"
        )
    if num_clusters is None:
        num_clusters = min(len(valid), max(2 * min_clusters, round(len(valid) / VIDEOS_PER_PROTOTYPE)))
    if not min_clusters <= num_clusters <= len(valid):
        raise FaceBankError(
            f"{min_clusters} nearest of {num_clusters} prototypes of {len(valid)} videos in {tracks}: "
            "expected K <= prototypes <= videos; choose fewer (retrieval.num_prototypes, "
            "retrieval.num_clusters) or give more images"
        )
    points = F.normalize(embeddings[valid], dim=1)
    clusters = cluster(points, num_clusters, init="k-means++", generator=torch.Generator().manual_seed(seed))
    videos = [table[row] for row in valid]
    bank = FaceBank(
        PrototypeMemory([clusters.centroids], [clusters.assignment], [clusters.density]),
        videos,
        [[image for image in frames[row] if image.label not in unreadable] for row in valid],
        find_frontal_images(frontal, [video.identity for video in videos]),
        name=name,
        left_out=[
            describe_unreadable(image, unreadable[image.label])
            for each in frames
            for image in each
            if image.label in unreadable
        ],
    )
    return bank, {"key": key, "embeddings": embeddings, "unreadable": unreadable}


def build_bank_from_prototypes(
    root: Path, memory: PrototypeMemory, videos: Sequence[TrainingVideo], *, frontal: Path | None = None
) -> FaceBank:
    """Build a bank as published: prototypes from a file, images of their videos from a directory.

    Args:
        root: directory of <name>/1.6/<video>/<frame>, or one that contains unzippedFaces and VGG_ALL_FRONTAL.
        memory: from `cmpc2.published.read_memory`.
        videos: from `cmpc2.prototype_retrieval.read_training_table`; some of them may have no images.
        frontal: directory of <name>/<image>.

    Raises:
        FileNotFoundError: the directory is missing.
        FaceBankError: none of the videos has an image.
    """
    from voiceface.datasets.corpus import abbreviate

    if not root.is_dir():
        raise FileNotFoundError(f"no directory at {root}: --bank names a directory of face images")
    tracks, frontal = locate_bank_folders(root, frontal)
    frontal_images = find_frontal_images(frontal, [video.identity for video in videos])
    frames: list[list[BankImage]] = []
    for video in videos:
        files = list_images(tracks / video.image_folder)
        frames.append([ImageFile(path, f"{video.image_folder}/{path.name}") for path in files])
    absent = [
        video.image_folder
        for each, video in zip(frames, videos)
        if not each and video.identity not in frontal_images
    ]
    if len(absent) == len(videos):
        raise FaceBankError(
            f"none of the {len(videos)} videos of the table has images in {tracks} or {frontal}: expected "
            f"directories such as {videos[0].image_folder}"
        )
    if absent:
        log.warning(
            *("%d of %d videos of the table have no image in %s: %s", len(absent), len(videos), root),
            abbreviate(absent),
        )
    return FaceBank(memory, videos, frames, frontal_images, name=root.name)


def build_synthetic_bank(
    memory: PrototypeMemory, videos: Sequence[TrainingVideo], *, preset: str = "quick", seed: int = 0
) -> FaceBank:
    """Build a bank of synthetic identities: prototypes of a model trained on them, images rendered on demand.

    Args:
        memory: prototypes of the model.
        videos: videos of the model; names end in the index of the identity.
        preset: population that the model was trained on; determines the correlation of voice and face.
        seed: of the population.

    Raises:
        FaceBankError: a name is not that of a synthetic identity.
    """
    from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER
    from voiceface.synthetic.presets import get_preset

    rho = get_preset(preset).rho
    indices = [_identity_index(video.identity, video.voice_id) for video in videos]
    frames = [
        [
            SyntheticImage(k, n, f"{video.image_folder}/{n}", seed, rho)
            for n in _image_indices(k, video.video_id, seed)
        ]
        for k, video in zip(indices, videos)
    ]
    return FaceBank(memory, videos, frames, name="synthetic identities", disclaimer=SYNTHETIC_DATA_DISCLAIMER)


@cache
def _image_indices(
    identity_index: int, video: str, seed: int, max_images: int = MAX_FRAMES
) -> tuple[int, ...]:
    """Indices of an identity's images that belong to a video."""
    from voiceface.synthetic.identities import get_image_video, video_id

    return tuple(
        n
        for n in range(max_images)
        if video_id(identity_index, get_image_video(identity_index, n, seed=seed), seed=seed) == video
    )


def _identity_index(name: str, voice_id: str) -> int:
    """Index of a synthetic identity, from its name `Given_Family.00309`."""
    from voiceface.synthetic.identities import voice_id as id_of

    tail = name.rpartition(".")[2]
    if not tail.isdigit() or (voice_id and id_of(int(tail)) != voice_id):
        raise FaceBankError(
            f"{name!r} ({voice_id}) is not a synthetic identity: give --bank with images of the identities"
        )
    return int(tail)


def _file_stamp(image: BankImage) -> str:
    """Stamp and modification time of an image's file."""
    return f"{image.stamp} {image.path.stat().st_mtime_ns}" if isinstance(image, ImageFile) else ""
