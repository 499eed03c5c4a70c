"""Seeded drawing of evaluation lists by the rule of the published ones.

For every file of the anchor modality, some consecutive lines, all draws independent and with replacement. A
candidate is a drawn clip (`f2v`), or the picture that a fixed pairing gives to a drawn clip (`v2f`); hence
wrong identities come in proportion to their clips. Right: any clip of the anchor's identity. Wrong: any clip
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
from voiceface.datasets.trials.reading import published_bytes
from voiceface.datasets.trials.trial_list import EvaluationList, ListError, indexed

log = logging.getLogger(__name__)

RULE_VERSION = "1"
LINES_PER_ANCHOR = 3
ATTRIBUTES = {"G": "gender", "N": "nationality", "A": "age group"}

Indices = npt.NDArray[np.int64]


def list_title(kind: str, direction: str, stratum: str, candidates: int, split: str) -> str:
    """Give a list its published name, such as `match_g_v2f_2_test` or `reterival_f2v_test`.

    The published lists are called `match` and `verify` for the stratum U, `match_g` and `verify_g` for G; the
    other strata follow suit.
    """
    words = [{"retrieval": "reterival"}.get(kind, kind)]
    words += [stratum.lower()] if stratum != "U" else []
    words += [direction] + ([str(candidates)] if kind == "match" else [])
    return "_".join(words + ([split] if split else []))


def draw_list(
    corpus: Corpus,
    kind: str,
    direction: str,
    *,
    candidates: int = 2,
    stratum: str = "U",
    lines_per_anchor: int = LINES_PER_ANCHOR,
    seed: int,
    split: str = "test",
    name: str | None = None,
) -> EvaluationList:
    """Draw one evaluation list over everybody in a corpus.

    Args:
        corpus: people of one split. Files of people who lack the other modality are no anchors; anchors with
            fewer than `candidates - 1` eligible other identities are left out. Both are counted.
        kind: "match", "verify" or "retrieval".
        direction: "v2f" (every clip is an anchor) or "f2v" (every picture is).
        candidates: N of a match list, at least 2.
        stratum: what wrong candidates share with the anchor: "U" nothing, or letters of "GNA".
        lines_per_anchor: consecutive lines for each anchor.
        seed: not negative; with the name it decides every draw.
        split: last word of the name.
        name: instead of the published name.

    Returns:
        The list with `labels` (verify) and `provenance`: seed, rule version, counts of what was left out.

    Raises:
        ListError: an unknown kind, direction or stratum, metadata that the stratum needs are not known, or no
            anchor has an eligible partner.
    """
    if (
        kind not in ("match", "verify", "retrieval")
        or direction not in ("v2f", "f2v")
        or stratum not in STRATA
    ):
        raise ListError(
            f"kind {kind!r}, direction {direction!r}, stratum {stratum!r}; expected match, verify or "
            f"retrieval; v2f or f2v; one of {', '.join(STRATA)}"
        )
    if seed < 0 or lines_per_anchor < 1 or candidates < 2:
        raise ListError("a list needs a seed >= 0, at least one line per anchor and at least two candidates")
    name = name or list_title(kind, direction, stratum, candidates, split)
    pool = _Pool.of(corpus, "U" if kind == "retrieval" else stratum)
    if kind == "retrieval":
        drawn, left_out = _retrieval(corpus, pool, name, direction), pool.lonely_files(direction)
        left_out["anchors without an eligible partner"] = 0
    else:
        wrong = candidates - 1 if kind == "match" else 1
        able = pool.partners >= wrong
        rng = np.random.Generator(np.random.PCG64(_stream(seed, name)))
        drawn = _questions(pool, able, name, kind, direction, stratum, wrong, lines_per_anchor, rng)
        left_out = pool.lonely_files(direction)
        mine = pool.clip_counts if direction == "v2f" else pool.face_counts
        left_out["anchors without an eligible partner"] = int(mine[~able].sum())
    data = published_bytes(drawn)
    digest = hashlib.sha256(data).hexdigest()
    return replace(drawn, sha256=digest, provenance=_record(drawn, digest, seed, lines_per_anchor, left_out))


def draw_all(corpus: Corpus, seed: int, split: str = "test", *, candidates: int = 2) -> list[EvaluationList]:
    """Draw the published set of lists for a split.

    For "test" ten: match and verify, U and G, both directions, and retrieval in both directions. For other
    splits the two validation lists, match and match_g from voice to face. A list for which nobody has an
    eligible partner (a handful of people, all of one gender but one) is left out with a warning.

    Args:
        corpus: people of that split.
        seed: see `draw_list`.
        split: last word of the names.
        candidates: N of the match lists.

    Returns:
        The lists, matching first.
    """
    wanted: list[tuple[str, str, str]] = [("match", "v2f", "U"), ("match", "v2f", "G")]
    if split == "test":
        wanted = [
            (kind, way, stratum) for kind in ("match", "verify") for way in WAYS for stratum in ("U", "G")
        ]
        wanted += [("retrieval", way, "U") for way in WAYS]
    lists = []
    for kind, way, stratum in wanted:
        try:
            lists.append(
                draw_list(corpus, kind, way, candidates=candidates, stratum=stratum, seed=seed, split=split)
            )
        except ListError as error:
            log.warning("left out: %s", error)
    if not lists:
        raise ListError(f"no list could be drawn from the {len(corpus)} people of the split {split!r}")
    return lists


WAYS = ("v2f", "f2v")


@dataclass(frozen=True)
class _Pool:
    """Clips and pictures of the people who have both, grouped by what the stratum asks for.

    P people, C clips, F pictures. People are renumbered 0..P-1 so that groups are contiguous; clips and
    pictures are sorted by person.
    """

    clips: list[str]
    faces: list[str]
    order: Indices  # (P,) the people's places in the table
    clip_counts: Indices  # (P,)
    face_counts: Indices  # (P,)
    clip_start: Indices  # (P,)
    face_start: Indices  # (P,)
    group_start: Indices  # (P,) first clip of the person's group
    group_size: Indices  # (P,) clips in the group
    first_of_group: Indices  # (P,) first person of the group
    people_in_group: Indices  # (P,)
    lonely: dict[str, int]

    @property
    def partners(self) -> Indices:
        """Eligible other identities of every person, shape (P,)."""
        return self.people_in_group - 1

    def lonely_files(self, direction: str) -> dict[str, int]:
        """Count the anchors whose person lacks the other modality or an attribute."""
        return {key[2:]: count for key, count in self.lonely.items() if key[0] == direction[0]}

    @staticmethod
    def of(corpus: Corpus, stratum: str) -> "_Pool":
        """Sort a corpus into the groups of a stratum."""
        clips: list[list[str]] = [[] for _ in corpus.people]
        faces: list[list[str]] = [[] for _ in corpus.people]
        owners = corpus.owners
        for index, person in enumerate(
            corpus.people
        ):  # a shared folder counts for the last row that names it
            clips[index] = [item for item in person.voices if owners[item] == index]
            faces[index] = [item for item in person.faces if owners[item] == index]
        both = np.array([bool(mine and theirs) for mine, theirs in zip(clips, faces)], bool)
        if not both.any():
            raise ListError("nobody in this corpus has both clips and pictures")
        group = np.zeros(len(clips), np.int64)
        known = np.ones(len(clips), bool)
        for letter in stratum if stratum != "U" else "":
            values = attribute_groups(corpus.identities, ATTRIBUTES[letter])
            if not (values[both] >= 0).any():
                raise ListError(
                    f"the stratum {stratum} needs everybody's {ATTRIBUTES[letter]}, and the identity table "
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
            "v anchors without the other modality": sum(len(clips[i]) for i in np.flatnonzero(~both)),
            "f anchors without the other modality": sum(len(faces[i]) for i in np.flatnonzero(~both)),
            "v anchors without metadata": sum(len(clips[i]) for i in np.flatnonzero(both & ~known)),
            "f anchors without metadata": sum(len(faces[i]) for i in np.flatnonzero(both & ~known)),
        }
        return _Pool(
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


def _stream(seed: int, name: str) -> np.random.SeedSequence:
    """The stream of one list: any other name, and any other seed, gives independent numbers."""
    words = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype="<u4")
    return np.random.SeedSequence([seed, *words.tolist()])


def _questions(
    pool: _Pool,
    able: npt.NDArray[np.bool_],
    name: str,
    kind: str,
    direction: str,
    stratum: str,
    wrong: int,
    lines: int,
    rng: np.random.Generator,
) -> EvaluationList:
    """Draw a match or verify list; `able` (P,) says whose files are anchors."""
    if not able.any():
        raise ListError(
            f"{name}: nobody has {wrong} other {'identity' if wrong == 1 else 'identities'} to draw"
        )
    owner_of_clip = np.repeat(np.arange(len(pool.order)), pool.clip_counts)
    counts, start = (
        (pool.clip_counts, pool.clip_start) if direction == "v2f" else (pool.face_counts, pool.face_start)
    )
    table_order = np.argsort(pool.order)
    people = table_order[able[table_order]]  # anchors in the order of the identity table
    anchor_owner = np.repeat(people, counts[people])
    offset = np.arange(len(anchor_owner)) - np.repeat(
        np.cumsum(counts[people]) - counts[people], counts[people]
    )
    anchor = np.repeat(start[anchor_owner] + offset, lines)
    owner = np.repeat(anchor_owner, lines)
    pairing = None
    if direction == "v2f":
        pairing = pool.face_start[owner_of_clip] + rng.integers(pool.face_counts[owner_of_clip])
    positive = rng.random(len(owner)) < 0.5 if kind == "verify" else None
    right = pool.clip_start[owner] + rng.integers(pool.clip_counts[owner])
    others = _wrong_clips(pool, owner, wrong, rng)
    if positive is None:
        drawn = np.concatenate([right[:, None], others], axis=1)
    else:
        drawn = np.where(positive, right, others[:, 0])[:, None]
    if pairing is not None:
        drawn = pairing[drawn]
    questions, options = (pool.clips, pool.faces) if direction == "v2f" else (pool.faces, pool.clips)
    used_anchors, anchor_index = indexed(anchor.tolist())
    used, candidate_index = indexed(drawn.T.ravel().tolist())
    return EvaluationList(
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


def _wrong_clips(pool: _Pool, owner: Indices, count: int, rng: np.random.Generator) -> Indices:
    """Draw `count` clips of different other identities of the owner's group, shape (len(owner), count).

    One: a uniform clip among all eligible ones. More: identities one after the other without replacement,
    each time in proportion to their clips (the smallest of exponential waiting times), then a uniform clip
    of each.
    """
    if count == 1:
        free = pool.group_size[owner] - pool.clip_counts[owner]
        place = pool.group_start[owner] + rng.integers(free)
        place += np.where(place >= pool.clip_start[owner], pool.clip_counts[owner], 0)
        return place[:, None]
    chosen = np.empty((len(owner), count), np.int64)
    step = max(1, 4_000_000 // len(pool.order))
    for begin in range(0, len(owner), step):
        mine = owner[begin : begin + step]
        waiting = rng.standard_exponential((len(mine), len(pool.order))) / pool.clip_counts
        person = np.arange(len(pool.order))
        outside = pool.first_of_group[mine][:, None] != pool.first_of_group[person]
        waiting[outside | (person == mine[:, None])] = np.inf
        nearest = np.argpartition(waiting, count - 1, axis=1)[:, :count]
        by_time = np.argsort(np.take_along_axis(waiting, nearest, axis=1), axis=1)
        chosen[begin : begin + step] = np.take_along_axis(nearest, by_time, axis=1)
    return pool.clip_start[chosen] + rng.integers(pool.clip_counts[chosen])


def _retrieval(corpus: Corpus, pool: _Pool, name: str, direction: str) -> EvaluationList:
    """Files of people who have both modalities are the queries, all files of the other one the gallery."""
    has_both = set(pool.order.tolist())
    owners = corpus.owners
    voices, faces = corpus.voices, corpus.faces
    queries, gallery = (voices, faces) if direction == "v2f" else (faces, voices)
    return EvaluationList(
        name, "retrieval", direction, "U", [item for item in queries if owners[item] in has_both], gallery
    )


def _record(
    drawn: EvaluationList, digest: str, seed: int, lines_per_anchor: int, left_out: dict[str, int]
) -> dict[str, Any]:
    """What the sidecar keeps of a drawn list."""
    record: dict[str, Any] = {
        "own_list": True,
        "seed": seed,
        "rule_version": RULE_VERSION,
        "sha256": digest,
        "kind": drawn.kind,
        "direction": drawn.direction,
        "stratum": drawn.stratum,
        "lines": len(drawn) if drawn.anchor_index is not None else 2,
        "anchors": len(drawn.anchors),
        "left_out": {what: count for what, count in left_out.items() if count},
    }
    if drawn.anchor_index is not None:
        record |= {"candidates": drawn.choices, "lines_per_anchor": lines_per_anchor}
    return record
