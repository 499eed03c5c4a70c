"""From a voice to training videos: the nearest face prototypes and who belongs to them (docs/cmpc2.md).

Letters: K prototypes asked for, N training videos, D length of an embedding.
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
from voiceface.datasets.trials.trial_list import read_list_bytes

from cmpc2.published import PrototypeMemory, read_prototype_memory

TABLE_HEADER = ("VGGFace1 ID", "split", "VoxCeleb1 ID", "Gender", "Nationality", "Set", "video_id")
PUBLISHED_CLUSTER_STEP = (
    500  # published memories hold 500, 1000 and 1500 clusters, found by number // 500 - 1
)
VideoOrder = Literal["nearest", "round_robin", "table"]


class PrototypeRetrievalError(ValueError):
    """Memory, table and question do not fit together; the message says how."""


class TrainingVideo(NamedTuple):
    """One row of `training.csv`: a video of the bank, in the bank's order."""

    identity: str
    split: str
    voice_id: str
    gender: str
    nationality: str
    subset: str
    video_id: str

    @property
    def image_folder(self) -> str:
        """Folder of its pictures, `<VGGFace1 name>/1.6/<video>`."""
        return f"{self.identity}/1.6/{self.video_id}"


class Prototype(NamedTuple):
    """A prototype near a query: its number, and its squared distance as unit vectors, 0...4."""

    cluster: int
    distance: float


@dataclass(frozen=True)
class RetrievedVideo:
    """A training video that belongs to one of the nearest prototypes.

    Attributes:
        row: in the table and the bank.
        video: whose.
        cluster: its prototype.
        rank: of the prototype, 0 for the nearest.
        distance: squared distance of unit vectors, query to prototype, 0...4.
    """

    row: int
    video: TrainingVideo
    cluster: int
    prototype_rank: int
    distance: float


def read_training_table(path: str | os.PathLike[str]) -> list[TrainingVideo]:
    """Read a `training.csv` (or `.csv.gz`) of cmpc2 and VoiceStyle: one row a video of the bank.

    Raises:
        FileNotFoundError: no such file.
        PrototypeError: another header, or a line of another form.
    """
    lines = io.StringIO(read_list_bytes(Path(path)).decode("utf-8-sig"), newline="")
    reader = csv.reader(lines)
    header = next(reader, [])
    if tuple(header) != TABLE_HEADER:
        raise PrototypeRetrievalError(
            f"{path}, line 1: header {','.join(header)[:120]!r}, expected {','.join(TABLE_HEADER)}"
        )
    rows = []
    for row in reader:
        if len(row) != len(TABLE_HEADER):
            raise PrototypeRetrievalError(
                f"{path}, line {reader.line_num}: {len(row)} cells, expected {len(TABLE_HEADER)}"
            )
        rows.append(TrainingVideo(*row))
    if not rows:
        raise PrototypeRetrievalError(f"{path}: no row below the header")
    return rows


def write_training_table(path: str | os.PathLike[str], rows: Sequence[TrainingVideo]) -> None:
    """Write a table that `read_training_table` reads, atomically."""
    from voiceface.io.atomic import write_text

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([TABLE_HEADER, *rows])
    write_text(path, text.getvalue())


def find_clustering(memory: PrototypeMemory, num_clusters: int) -> int:
    """Which clustering of a memory has so many clusters; 500, 1000, 1500 also mean the first, second, third.

    Raises:
        PrototypeError: none has.
    """
    sizes = [len(centres) for centres in memory.centroids]
    if num_clusters in sizes:
        return sizes.index(num_clusters)
    index, rest = divmod(num_clusters, PUBLISHED_CLUSTER_STEP)
    if rest == 0 and 1 <= index <= len(sizes):
        return index - 1
    raise PrototypeRetrievalError(
        f"this memory has clusterings of {', '.join(map(str, sizes))} clusters, not of {num_clusters}"
    )


def prototype_distances(query: Tensor, centroids: Tensor) -> Tensor:
    """Squared distances of a unit-length query (D,) or (1, D) to unit-length centroids (K, D), shape (K,).

    Raises:
        PrototypeError: another length, or not one query.
    """
    row = query.reshape(-1, query.shape[-1]) if query.ndim else query
    if query.ndim not in (1, 2) or len(row) != 1 or row.shape[1] != centroids.shape[1]:
        raise PrototypeRetrievalError(
            f"expected one query of length {centroids.shape[1]}, found shape {tuple(query.shape)}: "
            "do memory and model belong together?"
        )
    unit = normalize(row.to(centroids), dim=1)[0]
    return 2 - 2 * (normalize(centroids, dim=1) @ unit)


def nearest_prototypes(query: Tensor, centroids: Tensor, k: int) -> list[Prototype]:
    """The K prototypes nearest to a query (D,) or (1, D), nearest first; empty ones (NaN) come last.

    Raises:
        PrototypeError: another length, not one query, or K is out of range.
    """
    if not 1 <= k <= len(centroids):
        raise PrototypeRetrievalError(
            f"K = {k} prototypes of {len(centroids)}: expected 1 to {len(centroids)}"
        )
    distance = prototype_distances(query, centroids.to(query.device)).cpu()
    nearest = distance.nan_to_num(nan=torch.inf).argsort(stable=True)[:k]  # NaN: an empty published cluster
    return [Prototype(int(each), float(distance[each])) for each in nearest]


def cluster_members(
    nearest: Sequence[Prototype], assignment: Tensor, table: Sequence[TrainingVideo], exclude: Collection[str]
) -> list[list[int]]:
    """Rows of the videos of each prototype, in table order, without those of excluded names or voice ids."""
    out = set(exclude)
    kept = torch.tensor([video.identity not in out and video.voice_id not in out for video in table])
    return [((assignment.cpu() == each.cluster) & kept).nonzero()[:, 0].tolist() for each in nearest]


def order_members(members: Sequence[Sequence[int]], order: VideoOrder) -> list[int]:
    """One list of the rows of several prototypes, nearest first; see `nearest_videos`."""
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
    """All training videos of the K nearest prototypes.

    Args:
        query: voice (or face) embedding of one recording, (D,) or (1, D), of any length.
        memory: prototypes of the other modality.
        table: rows of the bank.
        clusters: which clustering, by its number of clusters; see `clustering_index`.
        k: prototypes K.
        order: "nearest" prototype first, rows of one prototype in table order; "round_robin" takes one video
            of each prototype in turn, nearest first; "table" is the published order, alphabetical.
        exclude: identities (or voice ids) whose videos are left out, such as the query's own.

    Raises:
        PrototypeError: sizes do not fit, or K is out of range.
    """
    index = find_clustering(memory, num_clusters)
    centroids, assignment = memory.centroids[index], memory.assignment[index]
    if len(assignment) != len(table):
        raise PrototypeRetrievalError(
            f"the memory has {len(assignment)} training videos, the table {len(table)}: give those that "
            "belong together"
        )
    if order not in ("nearest", "round_robin", "table"):
        raise ValueError(f"order must be nearest, round_robin or table, found {order!r}")
    near = nearest_prototypes(query, centroids, k)
    members = cluster_members(near, assignment, table, exclude)
    rank = {row: place for place, rows in enumerate(members) for row in rows}
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
    """Picture folders `<name>/1.6/<video>` of the K nearest face prototypes, in table order, as published.

    Args:
        audio_feature: voice embedding, (1, D).
        memory_path: prototype memory.
        df_path: `training.csv`.
        cluster: which clustering, by its number of clusters.
        K: prototypes.

    Raises:
        PrototypeError, CheckpointError, FileNotFoundError: the files cannot be used.
    """
    query = torch.as_tensor(audio_feature).detach().float()
    found = nearest_videos(
        query,
        read_prototype_memory(Path(memory_path)),
        read_training_table(df_path),
        num_clusters=cluster,
        k=K,
        order="table",
    )
    return [hit.video.image_folder for hit in found]
