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
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceface.datasets.corpus import Corpus
from voiceface.datasets.identities import STRATA
from voiceface.datasets.trials.candidate_pool import CandidatePool, sample_impostor_clips
from voiceface.datasets.trials.reading import to_published_bytes
from voiceface.datasets.trials.trial_list import TrialList, TrialListError, factorize

__all__ = [
    "DIRECTIONS",
    "RULE_VERSION",
    "TRIALS_PER_PROBE",
    "generate_trial_list",
    "generate_trial_lists",
    "published_list_name",
]

log = logging.getLogger(__name__)

RULE_VERSION = "1"
TRIALS_PER_PROBE = 3
DIRECTIONS = ("v2f", "f2v")


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
    """Sample one trial list over all identities of a corpus.

    Args:
        corpus: identities of one split. Files of identities that lack the other modality are no probes;
            probes with fewer than `num_candidates - 1` eligible other identities are skipped. Both are
            counted.
        kind: "match", "verify" or "retrieval".
        direction: "v2f" (every clip is a probe) or "f2v" (every image is).
        num_candidates: N of a match list, at least 2.
        stratum: what impostors share with the probe: "U" nothing, or letters of "GNA".
        trials_per_probe: consecutive lines for each probe.
        seed: not negative; every draw depends on seed and name alone.
        split: last word of the name.
        name: instead of the published name.

    Returns:
        The list with `labels` (verify) and `provenance`: seed, rule version, counts of what was skipped.

    Raises:
        TrialListError: an unknown kind, direction or stratum, missing metadata that the stratum needs, or no
            probe with an eligible impostor.
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
    pool = CandidatePool.from_corpus(corpus, "U" if kind == "retrieval" else stratum)
    if kind == "retrieval":
        sampled = _build_retrieval(corpus, pool, name, direction)
        num_without_impostor = 0
    else:
        num_impostors = num_candidates - 1 if kind == "match" else 1
        eligible = pool.num_impostors >= num_impostors
        rng = np.random.Generator(np.random.PCG64(_seed_sequence(seed, name)))
        sampled = _sample_trials(
            pool, eligible, name, kind, direction, stratum, num_impostors, trials_per_probe, rng
        )
        probe_counts = pool.clip_counts if direction == "v2f" else pool.face_counts
        num_without_impostor = int(probe_counts[~eligible].sum())
    skipped = pool.count_unpaired(direction) | {"probes without an eligible impostor": num_without_impostor}
    digest = hashlib.sha256(to_published_bytes(sampled)).hexdigest()
    provenance = _build_provenance(sampled, digest, seed, trials_per_probe, skipped)
    return replace(sampled, sha256=digest, provenance=provenance)


def generate_trial_lists(
    corpus: Corpus, seed: int, split: str = "test", *, num_candidates: int = 2
) -> list[TrialList]:
    """Sample the published set of lists for a split.

    For "test" ten: match and verify, U and G, both directions, and retrieval in both directions. For other
    splits the two validation lists, match and match_g from voice to face. A list without any eligible
    impostor (few identities, all of one gender but one) is skipped with a warning.

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
            f"no list can be sampled from the {len(corpus)} identities of the split {split!r}"
        )
    return lists


def _seed_sequence(seed: int, name: str) -> np.random.SeedSequence:
    """Seed of one list; another name or seed gives independent numbers."""
    words = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype="<u4")
    return np.random.SeedSequence([seed, *words.tolist()])


def _sample_trials(
    pool: CandidatePool,
    is_eligible: npt.NDArray[np.bool_],
    name: str,
    kind: str,
    direction: str,
    stratum: str,
    num_impostors: int,
    trials_per_probe: int,
    rng: np.random.Generator,
) -> TrialList:
    """Sample a match or verify list; `is_eligible` (P,) marks identities whose files are probes."""
    if not is_eligible.any():
        others = "another identity" if num_impostors == 1 else f"{num_impostors} other identities"
        raise TrialListError(f"{name}: no identity has {others} to sample impostors from")
    identity_of_clip = np.repeat(np.arange(len(pool.identity_order)), pool.clip_counts)
    counts = pool.clip_counts if direction == "v2f" else pool.face_counts
    start = pool.clip_start if direction == "v2f" else pool.face_start
    table_order = np.argsort(pool.identity_order)
    identities = table_order[is_eligible[table_order]]  # probes in the order of the identity table
    counts = counts[identities]
    offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    probe = np.repeat(np.repeat(start[identities], counts) + offset, trials_per_probe)
    probe_identities = np.repeat(identities, counts * trials_per_probe)
    pairing = None
    if direction == "v2f":
        pairing = pool.face_start[identity_of_clip] + rng.integers(pool.face_counts[identity_of_clip])
    positive = rng.random(len(probe_identities)) < 0.5 if kind == "verify" else None
    target = pool.clip_start[probe_identities] + rng.integers(pool.clip_counts[probe_identities])
    impostors = sample_impostor_clips(pool, probe_identities, num_impostors, rng)
    if positive is None:
        candidates = np.concatenate([target[:, None], impostors], axis=1)
    else:
        candidates = np.where(positive, target, impostors[:, 0])[:, None]
    if pairing is not None:
        candidates = pairing[candidates]
    probe_items, candidate_items = (
        (pool.clips, pool.faces) if direction == "v2f" else (pool.faces, pool.clips)
    )
    used_probes, probe_index = factorize(probe.tolist())
    used_candidates, candidate_index = factorize(candidates.T.ravel().tolist())
    return TrialList(
        name,
        kind,
        direction,
        stratum,
        [probe_items[int(i)] for i in used_probes],
        [candidate_items[int(i)] for i in used_candidates],
        probe_index,
        np.ascontiguousarray(candidate_index.reshape(candidates.T.shape).T),
        None if positive is None else positive.astype(np.int8),
    )


def _build_retrieval(corpus: Corpus, pool: CandidatePool, name: str, direction: str) -> TrialList:
    """Build a retrieval list: queries of identities with both modalities, the gallery of all other files."""
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
        "skipped": {reason: count for reason, count in skipped.items() if count},
    }
    if trial_list.probe_index is not None:
        record |= {"num_candidates": trial_list.num_candidates, "trials_per_probe": trials_per_probe}
    return record
