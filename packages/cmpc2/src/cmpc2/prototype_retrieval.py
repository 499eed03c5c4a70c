"""Retrieve the training videos of the face prototypes nearest to a voice (docs/cmpc2.md).

Notation: K prototypes, N training videos, D embedding length.
"""

import csv
import io
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize
from voiceface.datasets.identities import IdentityError, parse_folder_name
from voiceface.datasets.trials.trial_list import TrialListError, read_list_text
from voiceface.io.file_kinds import printable

from cmpc2.published import PrototypeMemory, read_prototype_memory

__all__ = [
    "TABLE_HEADER",
    "Prototype",
    "PrototypeRetrievalError",
    "RetrievedVideo",
    "TrainingVideo",
    "VideoOrder",
    "cluster_members",
    "find_clustering",
    "getKNearestSamples",
    "nearest_prototypes",
    "nearest_videos",
    "order_members",
    "prototype_distances",
    "read_training_table",
    "write_training_table",
]

TABLE_HEADER = ("VGGFace1 ID", "split", "VoxCeleb1 ID", "Gender", "Nationality", "Set", "video_id")
PATH_COLUMNS = ("identity", "voice_id", "video_id")  # parts of paths below the data folder
# Published memories hold 500, 1000 and 1500 clusters; the clustering has the index number // 500 - 1.
PUBLISHED_CLUSTER_STEP = 500
VideoOrder = Literal["nearest", "round_robin", "table"]


class PrototypeRetrievalError(ValueError):
    """Memory, training table and query do not match; the message states the values."""


class TrainingVideo(NamedTuple):
    """Row of `training.csv`: a video of the bank, in the order of the bank."""

    identity: str
    split: str
    voice_id: str
    gender: str
    nationality: str
    subset: str
    video_id: str

    @property
    def image_folder(self) -> str:
        """Folder of its images, `<VGGFace1 name>/1.6/<video>`."""
        return f"{self.identity}/1.6/{self.video_id}"


class Prototype(NamedTuple):
    """Prototype near a query: its cluster, and the squared distance of the unit vectors, 0...4."""

    cluster: int
    distance: float


@dataclass(frozen=True)
class RetrievedVideo:
    """Training video of one of the nearest prototypes.

    Attributes:
        row: row in the table and the bank.
        video: the video.
        cluster: its prototype.
        prototype_rank: rank of the prototype, 0 for the nearest.
        distance: squared distance of the unit vectors of query and prototype, 0...4.
    """

    row: int
    video: TrainingVideo
    cluster: int
    prototype_rank: int
    distance: float


def read_training_table(path: str | os.PathLike[str]) -> list[TrainingVideo]:
    """Read a `training.csv` (or `.csv.gz`) of cmpc2 and VoiceStyle: one row per video of the bank.

    Raises:
        FileNotFoundError: no such file.
        PrototypeRetrievalError: no text, another header, a line of another format, or a name or video that is
            no part of a path below the data folder (empty, `..`, absolute).
    """
    try:
        text, _ = read_list_text(Path(path))
    except TrialListError as error:
        raise PrototypeRetrievalError(str(error)) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    name, rows = printable(path), []
    try:
        header = next(reader, [])
        if tuple(header) != TABLE_HEADER:
            raise PrototypeRetrievalError(
                f"{name}, line 1: header {','.join(header)[:120]!r}, expected {','.join(TABLE_HEADER)}"
            )
        for row in reader:
            if not any(row):
                continue
            where = f"{name}, line {reader.line_num}"
            if len(row) != len(TABLE_HEADER):
                raise PrototypeRetrievalError(f"{where}: {len(row)} cells, expected {len(TABLE_HEADER)}")
            video = TrainingVideo(*row)
            for column in PATH_COLUMNS:
                parse_folder_name(getattr(video, column), f"{where}, {column}")
            rows.append(video)
    except IdentityError as error:
        raise PrototypeRetrievalError(str(error)) from None
    except csv.Error as error:
        raise PrototypeRetrievalError(f"{name}, line {reader.line_num}: not a table ({error})") from None
    if not rows:
        raise PrototypeRetrievalError(f"{name}: no rows, expected one per training video")
    return rows


def write_training_table(path: str | os.PathLike[str], rows: Sequence[TrainingVideo]) -> None:
    """Write a table that `read_training_table` reads, atomically."""
    from voiceface.io.atomic import write_text

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([TABLE_HEADER, *rows])
    write_text(path, text.getvalue())


def find_clustering(memory: PrototypeMemory, num_clusters: int) -> int:
    """Find the index of the clustering with `num_clusters` clusters.

    500, 1000 and 1500 also denote the first, second and third, as published.

    Raises:
        PrototypeRetrievalError: there is none.
    """
    sizes = [len(centroids) for centroids in memory.centroids]
    if num_clusters in sizes:
        return sizes.index(num_clusters)
    index, rest = divmod(num_clusters, PUBLISHED_CLUSTER_STEP)
    if rest == 0 and 1 <= index <= len(sizes):
        return index - 1
    raise PrototypeRetrievalError(
        f"no clustering of {num_clusters} clusters in this memory; available: {', '.join(map(str, sizes))}"
    )


def prototype_distances(query: Tensor, centroids: Tensor) -> Tensor:
    """Compute squared distances of a query (D,) or (1, D) to centroids (K, D), both normalised, shape (K,).

    Raises:
        PrototypeRetrievalError: another embedding length, or not one query.
    """
    row = query.reshape(-1, query.shape[-1]) if query.ndim else query
    if query.ndim not in (1, 2) or len(row) != 1 or row.shape[1] != centroids.shape[1]:
        raise PrototypeRetrievalError(
            f"expected one query of length {centroids.shape[1]}, found shape {tuple(query.shape)}; give "
            "memory and model of the same run"
        )
    unit = normalize(row.to(centroids), dim=1)[0]
    return 2 - 2 * (normalize(centroids, dim=1) @ unit)


def nearest_prototypes(query: Tensor, centroids: Tensor, k: int) -> list[Prototype]:
    """Find the K nearest prototypes of a query (D,) or (1, D), nearest first; empty ones (NaN) come last.

    Raises:
        PrototypeRetrievalError: another embedding length, not one query, or K is out of range.
    """
    if not 1 <= k <= len(centroids):
        raise PrototypeRetrievalError(f"expected 1 to {len(centroids)} prototypes, found k = {k}")
    distance = prototype_distances(query, centroids.to(query.device)).cpu()
    nearest = distance.nan_to_num(nan=torch.inf).argsort(stable=True)[:k]  # NaN: an empty published cluster
    return [Prototype(int(each), float(distance[each])) for each in nearest]


def cluster_members(
    nearest: Sequence[Prototype], assignment: Tensor, table: Sequence[TrainingVideo], exclude: Collection[str]
) -> list[list[int]]:
    """List the rows of each prototype's videos, in table order, without excluded names or voice ids."""
    excluded = set(exclude)
    used = torch.tensor([not excluded & {video.identity, video.voice_id} for video in table])
    return [((assignment.cpu() == each.cluster) & used).nonzero()[:, 0].tolist() for each in nearest]


def order_members(members: Sequence[Sequence[int]], order: VideoOrder) -> list[int]:
    """Merge the rows of several prototypes, nearest first; see `nearest_videos`."""
    if order == "table":
        return sorted(row for rows in members for row in rows)
    if order == "nearest":
        return [row for rows in members for row in rows]
    turns = range(max(map(len, members), default=0))
    return [rows[turn] for turn in turns for rows in members if turn < len(rows)]


def nearest_videos(
    query: Tensor,
    memory: PrototypeMemory,
    table: Sequence[TrainingVideo],
    *,
    num_clusters: int = 1000,
    k: int = 3,
    order: VideoOrder = "nearest",
    exclude: Collection[str] = (),
) -> list[RetrievedVideo]:
    """Retrieve all training videos of the K nearest prototypes.

    Args:
        query: voice (or face) embedding, (D,) or (1, D), of any norm.
        memory: prototypes of the other modality.
        table: rows of the bank.
        num_clusters: number of clusters of the clustering to use; see `find_clustering`.
        k: number of prototypes K.
        order: "nearest": nearest prototype first, videos of one prototype in table order; "round_robin": one
            video of each prototype in turn, nearest first; "table": table order, as published.
        exclude: identities (or voice ids) whose videos are skipped, such as the speaker of the query.

    Raises:
        PrototypeRetrievalError: sizes do not match, or K is out of range.
        ValueError: unknown order.
    """
    index = find_clustering(memory, num_clusters)
    centroids, assignment = memory.centroids[index], memory.assignment[index]
    if len(assignment) != len(table):
        raise PrototypeRetrievalError(
            f"the memory has {len(assignment)} training videos, the table {len(table)}: give memory and "
            "table of the same run"
        )
    if order not in ("nearest", "round_robin", "table"):
        raise ValueError(f"order must be nearest, round_robin or table, found {order!r}")
    near = nearest_prototypes(query, centroids, k)
    members = cluster_members(near, assignment, table, exclude)
    rank = {row: i for i, rows in enumerate(members) for row in rows}
    return [
        RetrievedVideo(row, table[row], near[rank[row]].cluster, rank[row], near[rank[row]].distance)
        for row in order_members(members, order)
    ]


def getKNearestSamples(
    audio_feature: Any,
    memory_path: str | os.PathLike[str],
    df_path: str | os.PathLike[str],
    cluster: int = 1000,
    K: int = 3,
) -> list[str]:
    """Retrieve image folders `<name>/1.6/<video>` of the K nearest prototypes, in table order, as published.

    Args:
        audio_feature: voice embedding, (1, D).
        memory_path: prototype memory.
        df_path: `training.csv`.
        cluster: number of clusters of the clustering to use.
        K: number of prototypes.

    Raises:
        PrototypeRetrievalError, CheckpointError, FileNotFoundError: the files cannot be used.
    """
    query = torch.as_tensor(audio_feature).detach().float()
    videos = nearest_videos(
        query,
        read_prototype_memory(Path(memory_path)),
        read_training_table(df_path),
        num_clusters=cluster,
        k=K,
        order="table",
    )
    return [hit.video.image_folder for hit in videos]
