"""Seeded sampling of trial lists by the rule of the published ones.

For every file of the probe modality, some consecutive lines, all draws independent and with replacement. A
candidate is a drawn clip (`f2v`), or the image that a fixed pairing gives to a drawn clip (`v2f`); hence
wrong identities come in proportion to their clips. Right: any clip of the probe's identity. Wrong: any clip
of an eligible other identity; with more than two candidates, the wrong identities of a line differ.

Numbers come from numpy's PCG64, seeded with SeedSequence([seed, w0, w1, w2, w3]), where w0..w3 are the first
16 bytes of the SHA-256 of the list's name as little-endian 32-bit words. Order of the draws: pairing (`v2f`),
which lines are positive (`verify`), right clips, wrong identities (more than two candidates), wrong clips.
"""

import hashlib
import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceface.datasets.corpus import Corpus
from voiceface.datasets.identities import STRATA
from voiceface.datasets.trials.coverage import attribute_groups
from voiceface.datasets.trials.reading import to_published_bytes
from voiceface.datasets.trials.trial_list import TrialList, TrialListError, factorize

__all__ = [
    "DIRECTIONS",
    "RULE_VERSION",
    "STRATUM_ATTRIBUTES",
    "TRIALS_PER_PROBE",
    "IndexArray",
    "generate_trial_list",
    "generate_trial_lists",
    "published_list_name",
]

log = logging.getLogger(__name__)

RULE_VERSION = "1"
TRIALS_PER_PROBE = 3
STRATUM_ATTRIBUTES = {"G": "gender", "N": "nationality", "A": "age group"}

IndexArray = npt.NDArray[np.int64]


def published_list_name(kind: str, direction: str, stratum: str, num_candidates: int, split: str) -> str:
    """Return the published name of a list, such as `match_g_v2f_2_test` or `reterival_f2v_test`.

    The published lists are called `match` and `verify` for the stratum U, `match_g` and `verify_g` for G; the
    other strata follow suit.
    """
    words = [{"retrieval": "reterival"}.get(kind, kind)]
    words += [stratum.lower()] if stratum != "U" else []
    words += [direction] + ([str(num_candidates)] if kind == "match" else [])
    return "_".join(words + ([split] if split else []))


def generate_trial_list(
    corpus: Corpus,
    kind: str,
    direction: str,
    *,
    num_candidates: int = 2,
    stratum: str = "U",
    trials_per_probe: int = TRIALS_PER_PROBE,
    seed: int,
    split: str = "test",
    name: str | None = None,
) -> TrialList:
    """Draw one trial list over everybody in a corpus.

    Args:
        corpus: identities of one split. Files of identities that lack the other modality are no probes;
            probes with fewer than `num_candidates - 1` eligible other identities are skipped. Both are
            counted.
        kind: "match", "verify" or "retrieval".
        direction: "v2f" (every clip is a probe) or "f2v" (every image is).
        num_candidates: N of a match list, at least 2.
        stratum: what impostors share with the probe: "U" nothing, or letters of "GNA".
        trials_per_probe: consecutive lines for each probe.
        seed: not negative; with the name it decides every draw.
        split: last word of the name.
        name: instead of the published name.

    Returns:
        The list with `labels` (verify) and `provenance`: seed, rule version, counts of what was skipped.

    Raises:
        TrialListError: an unknown kind, direction or stratum, metadata that the stratum needs are not known,
            or no probe has an eligible partner.
    """
    if (
        kind not in ("match", "verify", "retrieval")
        or direction not in ("v2f", "f2v")
        or stratum not in STRATA
    ):
        raise TrialListError(
            f"kind {kind!r}, direction {direction!r}, stratum {stratum!r}; expected match, verify or "
            f"retrieval; v2f or f2v; one of {', '.join(STRATA)}"
        )
    if seed < 0 or trials_per_probe < 1 or num_candidates < 2:
        raise TrialListError(
            "a list needs a seed >= 0, at least one line per probe and at least two candidates"
        )
    name = name or published_list_name(kind, direction, stratum, num_candidates, split)
    pool = _CandidatePool.from_corpus(corpus, "U" if kind == "retrieval" else stratum)
    if kind == "retrieval":
        drawn, left_out = _build_retrieval(corpus, pool, name, direction), pool.count_unpaired(direction)
        left_out["probes without an eligible impostor"] = 0
    else:
        wrong = num_candidates - 1 if kind == "match" else 1
        able = pool.num_impostors >= wrong
        rng = np.random.Generator(np.random.PCG64(_seed_sequence(seed, name)))
        drawn = _sample_trials(pool, able, name, kind, direction, stratum, wrong, trials_per_probe, rng)
        left_out = pool.count_unpaired(direction)
        mine = pool.clip_counts if direction == "v2f" else pool.face_counts
        left_out["probes without an eligible impostor"] = int(mine[~able].sum())
    data = to_published_bytes(drawn)
    digest = hashlib.sha256(data).hexdigest()
    return replace(
        drawn, sha256=digest, provenance=_build_provenance(drawn, digest, seed, trials_per_probe, left_out)
    )


def generate_trial_lists(
    corpus: Corpus, seed: int, split: str = "test", *, num_candidates: int = 2
) -> list[TrialList]:
    """Draw the published set of lists for a split.

    For "test" ten: match and verify, U and G, both directions, and retrieval in both directions. For other
    splits the two validation lists, match and match_g from voice to face. A list for which nobody has an
    eligible partner (a handful of identities, all of one gender but one) is skipped with a warning.

    Args:
        corpus: identities of that split.
        seed: see `generate_trial_list`.
        split: last word of the names.
        num_candidates: N of the match lists.

    Returns:
        The lists, matching first.
    """
    wanted: list[tuple[str, str, str]] = [("match", "v2f", "U"), ("match", "v2f", "G")]
    if split == "test":
        wanted = [
            (kind, way, stratum)
            for kind in ("match", "verify")
            for way in DIRECTIONS
            for stratum in ("U", "G")
        ]
        wanted += [("retrieval", way, "U") for way in DIRECTIONS]
    lists = []
    for kind, way, stratum in wanted:
        try:
            lists.append(
                generate_trial_list(
                    corpus, kind, way, num_candidates=num_candidates, stratum=stratum, seed=seed, split=split
                )
            )
        except TrialListError as error:
            log.warning("skipped: %s", error)
    if not lists:
        raise TrialListError(
            f"no list could be drawn from the {len(corpus)} identities of the split {split!r}"
        )
    return lists


DIRECTIONS = ("v2f", "f2v")


@dataclass(frozen=True)
class _CandidatePool:
    """Clips and images of the identities that have both, grouped by what the stratum asks for.

    P identities, C clips, F images. Identities are renumbered 0..P-1 so that groups are contiguous; clips and
    images are sorted by identity.
    """

    clips: list[str]
    faces: list[str]
    identity_order: IndexArray  # (P,) the identities' places in the table
    clip_counts: IndexArray  # (P,)
    face_counts: IndexArray  # (P,)
    clip_start: IndexArray  # (P,)
    face_start: IndexArray  # (P,)
    group_start: IndexArray  # (P,) first clip of the identity's group
    group_size: IndexArray  # (P,) clips in the group
    group_first_identity: IndexArray  # (P,) first identity of the group
    group_num_identities: IndexArray  # (P,)
    unpaired_counts: dict[str, int]

    @property
    def num_impostors(self) -> IndexArray:
        """Eligible other identities of every identity, shape (P,)."""
        return self.group_num_identities - 1

    def count_unpaired(self, direction: str) -> dict[str, int]:
        """Count the probes whose identity lacks the other modality or an attribute."""
        return {key[2:]: count for key, count in self.unpaired_counts.items() if key[0] == direction[0]}

    @staticmethod
    def from_corpus(corpus: Corpus, stratum: str) -> "_CandidatePool":
        """Sort a corpus into the groups of a stratum."""
        clips: list[list[str]] = [[] for _ in corpus.records]
        faces: list[list[str]] = [[] for _ in corpus.records]
        owners = corpus.item_to_identity
        for index, person in enumerate(
            corpus.records
        ):  # a shared folder counts for the last row that names it
            clips[index] = [item for item in person.voices if owners[item] == index]
            faces[index] = [item for item in person.faces if owners[item] == index]
        both = np.array([bool(mine and theirs) for mine, theirs in zip(clips, faces)], bool)
        if not both.any():
            raise TrialListError("nobody in this corpus has both clips and images")
        group = np.zeros(len(clips), np.int64)
        known = np.ones(len(clips), bool)
        for letter in stratum if stratum != "U" else "":
            values = attribute_groups(corpus.identities, STRATUM_ATTRIBUTES[letter])
            if not (values[both] >= 0).any():
                raise TrialListError(
                    f"the stratum {stratum} needs everybody's {STRATUM_ATTRIBUTES[letter]}, and the "
                    "identity table "
                    "tells nobody's"
                )
            known &= values >= 0
            group = group * (values.max() + 2) + values
        kept = np.flatnonzero(both & known)
        kept = kept[np.argsort(group[kept], kind="stable")]
        clip_counts = np.array([len(clips[i]) for i in kept], np.int64)
        face_counts = np.array([len(faces[i]) for i in kept], np.int64)
        clip_start = np.cumsum(clip_counts) - clip_counts
        _, first, which, size = np.unique(
            group[kept], return_index=True, return_inverse=True, return_counts=True
        )
        in_group = np.bincount(which, weights=clip_counts).astype(np.int64)
        lonely = {
            "v probes without the other modality": sum(len(clips[i]) for i in np.flatnonzero(~both)),
            "f probes without the other modality": sum(len(faces[i]) for i in np.flatnonzero(~both)),
            "v probes without metadata": sum(len(clips[i]) for i in np.flatnonzero(both & ~known)),
            "f probes without metadata": sum(len(faces[i]) for i in np.flatnonzero(both & ~known)),
        }
        return _CandidatePool(
            [item for i in kept for item in clips[i]],
            [item for i in kept for item in faces[i]],
            kept,
            clip_counts,
            face_counts,
            clip_start,
            np.cumsum(face_counts) - face_counts,
            clip_start[first][which],
            in_group[which],
            first[which],
            size[which],
            lonely,
        )


def _seed_sequence(seed: int, name: str) -> np.random.SeedSequence:
    """The stream of one list: any other name, and any other seed, gives independent numbers."""
    words = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype="<u4")
    return np.random.SeedSequence([seed, *words.tolist()])


def _sample_trials(
    pool: _CandidatePool,
    is_eligible: npt.NDArray[np.bool_],
    name: str,
    kind: str,
    direction: str,
    stratum: str,
    num_impostors: int,
    trials_per_probe: int,
    rng: np.random.Generator,
) -> TrialList:
    """Draw a match or verify list; `is_eligible` (P,) says whose files are probes."""
    if not is_eligible.any():
        raise TrialListError(
            f"{name}: nobody has {num_impostors} other "
            f"{'identity' if num_impostors == 1 else 'identities'} to draw"
        )
    owner_of_clip = np.repeat(np.arange(len(pool.identity_order)), pool.clip_counts)
    counts, start = (
        (pool.clip_counts, pool.clip_start) if direction == "v2f" else (pool.face_counts, pool.face_start)
    )
    table_order = np.argsort(pool.identity_order)
    people = table_order[is_eligible[table_order]]  # probes in the order of the identity table
    anchor_owner = np.repeat(people, counts[people])
    offset = np.arange(len(anchor_owner)) - np.repeat(
        np.cumsum(counts[people]) - counts[people], counts[people]
    )
    anchor = np.repeat(start[anchor_owner] + offset, trials_per_probe)
    owner = np.repeat(anchor_owner, trials_per_probe)
    pairing = None
    if direction == "v2f":
        pairing = pool.face_start[owner_of_clip] + rng.integers(pool.face_counts[owner_of_clip])
    positive = rng.random(len(owner)) < 0.5 if kind == "verify" else None
    right = pool.clip_start[owner] + rng.integers(pool.clip_counts[owner])
    others = _sample_impostor_clips(pool, owner, num_impostors, rng)
    if positive is None:
        drawn = np.concatenate([right[:, None], others], axis=1)
    else:
        drawn = np.where(positive, right, others[:, 0])[:, None]
    if pairing is not None:
        drawn = pairing[drawn]
    questions, options = (pool.clips, pool.faces) if direction == "v2f" else (pool.faces, pool.clips)
    used_anchors, anchor_index = factorize(anchor.tolist())
    used, candidate_index = factorize(drawn.T.ravel().tolist())
    return TrialList(
        name,
        kind,
        direction,
        stratum,
        [questions[int(i)] for i in used_anchors],
        [options[int(i)] for i in used],
        anchor_index,
        np.ascontiguousarray(candidate_index.reshape(drawn.T.shape).T),
        None if positive is None else positive.astype(np.int8),
    )


def _sample_impostor_clips(
    pool: _CandidatePool, probe_identity: IndexArray, count: int, rng: np.random.Generator
) -> IndexArray:
    """Draw `count` clips of different other identities of the owner's group, shape (len(owner), count).

    One: a uniform clip among all eligible ones. More: identities one after the other without replacement,
    each time in proportion to their clips (the smallest of exponential waiting times), then a uniform clip
    of each.
    """
    if count == 1:
        free = pool.group_size[probe_identity] - pool.clip_counts[probe_identity]
        place = pool.group_start[probe_identity] + rng.integers(free)
        place += np.where(place >= pool.clip_start[probe_identity], pool.clip_counts[probe_identity], 0)
        return place[:, None]
    chosen = np.empty((len(probe_identity), count), np.int64)
    step = max(1, 4_000_000 // len(pool.identity_order))
    for begin in range(0, len(probe_identity), step):
        mine = probe_identity[begin : begin + step]
        waiting = rng.standard_exponential((len(mine), len(pool.identity_order))) / pool.clip_counts
        person = np.arange(len(pool.identity_order))
        outside = pool.group_first_identity[mine][:, None] != pool.group_first_identity[person]
        waiting[outside | (person == mine[:, None])] = np.inf
        nearest = np.argpartition(waiting, count - 1, axis=1)[:, :count]
        by_time = np.argsort(np.take_along_axis(waiting, nearest, axis=1), axis=1)
        chosen[begin : begin + step] = np.take_along_axis(nearest, by_time, axis=1)
    return pool.clip_start[chosen] + rng.integers(pool.clip_counts[chosen])


def _build_retrieval(corpus: Corpus, pool: _CandidatePool, name: str, direction: str) -> TrialList:
    """Queries are the files of identities with both modalities, the gallery all files of the other one."""
    has_both = set(pool.identity_order.tolist())
    owners = corpus.item_to_identity
    voices, faces = corpus.voices, corpus.faces
    queries, gallery = (voices, faces) if direction == "v2f" else (faces, voices)
    return TrialList(
        name, "retrieval", direction, "U", [item for item in queries if owners[item] in has_both], gallery
    )


def _build_provenance(
    trial_list: TrialList, digest: str, seed: int, trials_per_probe: int, skipped: dict[str, int]
) -> dict[str, Any]:
    """Sidecar record of a generated list."""
    record: dict[str, Any] = {
        "generated_list": True,
        "seed": seed,
        "rule_version": RULE_VERSION,
        "sha256": digest,
        "kind": trial_list.kind,
        "direction": trial_list.direction,
        "stratum": trial_list.stratum,
        "trials": len(trial_list) if trial_list.probe_index is not None else 2,
        "probes": len(trial_list.probes),
        "skipped": {what: count for what, count in skipped.items() if count},
    }
    if trial_list.probe_index is not None:
        record |= {"num_candidates": trial_list.num_candidates, "trials_per_probe": trials_per_probe}
    return record
