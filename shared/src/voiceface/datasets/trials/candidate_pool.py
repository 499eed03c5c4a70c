"""Identities that trials are sampled from, grouped by the attributes that impostors share with a probe."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voiceface.datasets.corpus import Corpus
from voiceface.datasets.trials.coverage import attribute_groups
from voiceface.datasets.trials.trial_list import TrialListError

__all__ = ["STRATUM_ATTRIBUTES", "CandidatePool", "IndexArray", "sample_impostor_clips"]

STRATUM_ATTRIBUTES = {"G": "gender", "N": "nationality", "A": "age group"}

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CandidatePool:
    """Clips and images of the identities that have both, grouped by the attributes of a stratum.

    The P identities are renumbered 0..P-1 so that groups are contiguous; clips and images are sorted by
    identity. Arrays are int64 of shape (P,).

    Attributes:
        clips: paths of all clips.
        faces: paths of all images.
        identity_order: index of each identity in the corpus.
        clip_counts: clips of each identity.
        face_counts: images of each identity.
        clip_start: index of the identity's first clip in `clips`.
        face_start: index of its first image in `faces`.
        group_start: index of the first clip of the identity's group.
        group_size: clips in the group.
        group_first_identity: first identity of the group.
        group_num_identities: identities in the group.
        unpaired_counts: files that are no probes, by modality and reason.
    """

    clips: list[str]
    faces: list[str]
    identity_order: IndexArray
    clip_counts: IndexArray
    face_counts: IndexArray
    clip_start: IndexArray
    face_start: IndexArray
    group_start: IndexArray
    group_size: IndexArray
    group_first_identity: IndexArray
    group_num_identities: IndexArray
    unpaired_counts: dict[str, int]

    @property
    def num_impostors(self) -> IndexArray:
        """Eligible other identities of every identity, shape (P,)."""
        return self.group_num_identities - 1

    def count_unpaired(self, direction: str) -> dict[str, int]:
        """Count the probes whose identity lacks the other modality or an attribute."""
        return {key[2:]: count for key, count in self.unpaired_counts.items() if key[0] == direction[0]}

    @staticmethod
    def from_corpus(corpus: Corpus, stratum: str) -> "CandidatePool":
        """Group the identities of a corpus.

        Raises:
            TrialListError: no identity has both modalities, or none has an attribute of the stratum.
        """
        owners = corpus.item_to_identity  # a shared folder counts for the last row that names it
        clips = [[c for c in record.voices if owners[c] == i] for i, record in enumerate(corpus.records)]
        faces = [[f for f in record.faces if owners[f] == i] for i, record in enumerate(corpus.records)]
        both = np.array([bool(c and f) for c, f in zip(clips, faces)], bool)
        if not both.any():
            raise TrialListError("no identity of this corpus has both clips and images")
        group = np.zeros(len(clips), np.int64)
        known = np.ones(len(clips), bool)
        for letter in stratum if stratum != "U" else "":
            values = attribute_groups(corpus.identities, STRATUM_ATTRIBUTES[letter])
            if not (values[both] >= 0).any():
                raise TrialListError(
                    f"the stratum {stratum} needs the {STRATUM_ATTRIBUTES[letter]} of the identities; the "
                    "identity table states none"
                )
            known &= values >= 0
            group = group * (values.max() + 2) + values
        kept = np.flatnonzero(both & known)
        kept = kept[np.argsort(group[kept], kind="stable")]
        clip_counts = np.array([len(clips[i]) for i in kept], np.int64)
        face_counts = np.array([len(faces[i]) for i in kept], np.int64)
        clip_start = np.cumsum(clip_counts) - clip_counts
        _, first, group_index, size = np.unique(
            group[kept], return_index=True, return_inverse=True, return_counts=True
        )
        in_group = np.bincount(group_index, weights=clip_counts).astype(np.int64)
        unpaired_counts = {
            "v probes without the other modality": sum(len(clips[i]) for i in np.flatnonzero(~both)),
            "f probes without the other modality": sum(len(faces[i]) for i in np.flatnonzero(~both)),
            "v probes without metadata": sum(len(clips[i]) for i in np.flatnonzero(both & ~known)),
            "f probes without metadata": sum(len(faces[i]) for i in np.flatnonzero(both & ~known)),
        }
        return CandidatePool(
            [item for i in kept for item in clips[i]],
            [item for i in kept for item in faces[i]],
            kept,
            clip_counts,
            face_counts,
            clip_start,
            np.cumsum(face_counts) - face_counts,
            clip_start[first][group_index],
            in_group[group_index],
            first[group_index],
            size[group_index],
            unpaired_counts,
        )


def sample_impostor_clips(
    pool: CandidatePool, probe_identities: IndexArray, count: int, rng: np.random.Generator
) -> IndexArray:
    """Sample clips of other identities in the groups of some probes.

    With one impostor, a uniform clip among all eligible ones. With more, identities without replacement, each
    time in proportion to their clips (smallest exponential waiting times), then a uniform clip of each.

    Args:
        pool: the identities.
        probe_identities: int64 (L,), the pool's number of each probe's identity.
        count: impostors of each probe, of different identities.
        rng: source of the draws.

    Returns:
        int64 (L, count), numbers of clips.
    """
    if count == 1:
        free = pool.group_size[probe_identities] - pool.clip_counts[probe_identities]
        place = pool.group_start[probe_identities] + rng.integers(free)
        place += np.where(place >= pool.clip_start[probe_identities], pool.clip_counts[probe_identities], 0)
        return place[:, None]
    chosen = np.empty((len(probe_identities), count), np.int64)
    step = max(1, 4_000_000 // len(pool.identity_order))
    for begin in range(0, len(probe_identities), step):
        probes = probe_identities[begin : begin + step]
        waiting = rng.standard_exponential((len(probes), len(pool.identity_order))) / pool.clip_counts
        others = np.arange(len(pool.identity_order))
        outside = pool.group_first_identity[probes][:, None] != pool.group_first_identity[others]
        waiting[outside | (others == probes[:, None])] = np.inf
        nearest = np.argpartition(waiting, count - 1, axis=1)[:, :count]
        by_time = np.argsort(np.take_along_axis(waiting, nearest, axis=1), axis=1)
        chosen[begin : begin + step] = np.take_along_axis(nearest, by_time, axis=1)
    return pool.clip_start[chosen] + rng.integers(pool.clip_counts[chosen])
