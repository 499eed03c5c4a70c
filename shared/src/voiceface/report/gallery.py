"""Retrieval examples (probes with their best candidates) and rows of identities."""

from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup

from voiceface.metrics.impostor_scores import format_percentile
from voiceface.report.formatting import (
    DIRECTION_TITLES,
    format_interval,
    is_finite_number,
    ordinal,
)
from voiceface.report.media import MediaEncoder
from voiceface.report.records import (
    AudioSource,
    Direction,
    IdentityCard,
    IdentityGroup,
    ImageSource,
    ProbeRanking,
    RankedCandidate,
    RetrievalExamples,
)
from voiceface.report.templating import render_macro

__all__ = [
    "build_retrieval_examples",
    "candidate_html",
    "describe_verdict",
    "identity_group_html",
    "image_html",
    "player_html",
    "retrieval_examples_html",
    "select_hardest_and_easiest",
]

TEMPLATE = "gallery.html"
EXCERPT_SECONDS = 4.0
"""Duration of the utterances among the candidates; all other players hold the whole utterance."""


def build_retrieval_examples(
    scores: np.ndarray,
    probe_identities: Sequence[str],
    gallery_identities: Sequence[str],
    probe_media: Sequence[ImageSource | AudioSource],
    gallery_media: Sequence[ImageSource | AudioSource],
    *,
    direction: Direction,
    title: str = "",
    num_shown: int = 8,
    note: str = "",
) -> RetrievalExamples:
    """Build probes with their best candidates from a matrix of scores.

    The rank counts the candidates with a strictly higher score and those of equal score that come earlier.
    When no correct candidate is among the best, the first correct one is added with its own rank.

    Args:
        scores: similarity, shape (Q, N); higher is more similar.
        probe_identities: identity of each probe, length Q.
        gallery_identities: identity of each candidate, length N.
        probe_media: voice ("v2f") or face ("f2v") of each probe, length Q.
        gallery_media: face ("v2f") or voice ("f2v") of each candidate, length N.
        direction: "v2f" for voice probes, "f2v" for face probes.
        title: heading (default: the direction).
        num_shown: candidates shown per probe.
        note: text under the heading.

    Raises:
        ValueError: lengths do not match the shape of the scores.
    """
    lengths = (len(probe_identities), len(probe_media), len(gallery_identities), len(gallery_media))
    if scores.ndim != 2 or lengths != (scores.shape[0],) * 2 + (scores.shape[1],) * 2:
        raise ValueError(
            f"expected scores (Q, N) for Q probes and N candidates; found {scores.shape} with {lengths}"
        )
    probes = []
    for row, identity, medium in zip(scores, probe_identities, probe_media):
        order = np.argsort(-row, kind="stable")
        correct = [i for i, candidate in enumerate(order) if gallery_identities[candidate] == identity]
        shown = list(range(min(num_shown, len(order))))
        if correct and correct[0] >= num_shown:
            shown.append(correct[0])
        candidates = [
            _build_candidate(
                gallery_identities[order[i]],
                i + 1,
                i in correct,
                float(row[order[i]]),
                gallery_media[order[i]],
            )
            for i in shown
        ]
        image, audio = _split_media(medium)
        probes.append(ProbeRanking(identity, candidates, image, audio, gallery_size=len(row)))
    return RetrievalExamples(title or DIRECTION_TITLES.get(direction, "Retrieval"), direction, probes, note)


def select_hardest_and_easiest(
    names: Sequence[str],
    accuracies: Sequence[float],
    media: Callable[[str], tuple[ImageSource | None, AudioSource | None]],
    num_trials: Sequence[int] | None = None,
    group_size: int = 6,
) -> list[IdentityGroup]:
    """Select the identities with the lowest and the highest accuracy; ties are ordered by name.

    Args:
        names: identities.
        accuracies: accuracy of each in [0, 1]; identities with NaN are skipped.
        media: name -> image and utterance of the identity.
        num_trials: trials behind each accuracy.
        group_size: identities in each group (fewer when the groups would overlap).
    """
    known = [i for i, value in enumerate(accuracies) if is_finite_number(value)]
    order = sorted(known, key=lambda i: (accuracies[i], names[i]))
    group_size = min(group_size, len(order) // 2)
    groups = []
    for title, rows in (
        ("Hardest identities", order[:group_size]),
        ("Easiest identities", order[::-1][:group_size]),
    ):
        cards = []
        for i in rows:
            image, audio = media(names[i])
            count = int(num_trials[i]) if num_trials is not None else None
            cards.append(
                IdentityCard(names[i], float(accuracies[i]), num_trials=count, image=image, audio=audio)
            )
        groups.append(IdentityGroup(title, cards))
    return groups


def retrieval_examples_html(examples: RetrievalExamples, media: MediaEncoder) -> Markup:
    """Probes and their best candidates; empty without probes."""
    if not examples.probes:
        return Markup("")
    probes = Markup("").join(_probe_html(probe, examples.direction, media) for probe in examples.probes)
    candidates = [candidate for probe in examples.probes for candidate in probe.candidates]
    notes = [examples.note]
    if any(candidate.correct for candidate in candidates):
        hits = sum(any(c.correct and c.rank == 1 for c in probe.candidates) for probe in examples.probes)
        notes.append(f"The correct match is at rank 1 for {hits} of the {len(examples.probes)} probes shown.")
    if any(candidate.score is not None for candidate in candidates):
        notes.append("The number of each candidate is its similarity score.")
    if not examples.note and any(candidate.percentile is not None for candidate in candidates):
        notes.append("The percentage is the share of impostor pairs that score lower.")
    note = " ".join(text for text in notes if text)
    return render_macro(TEMPLATE, "retrieval_examples", examples.title, note, examples.direction, probes)


def identity_group_html(group: IdentityGroup, media: MediaEncoder) -> Markup:
    """A row of identities; empty without identities."""
    if not group.identities:
        return Markup("")
    cards = Markup("").join(_identity_card_html(identity, media) for identity in group.identities)
    return render_macro(TEMPLATE, "identity_group", group.title, group.note, cards)


def player_html(
    audio: AudioSource | None, label: str, media: MediaEncoder, max_seconds: float | None = None
) -> Markup:
    """Player with the waveform; without JavaScript, the controls of the browser.

    Args:
        audio: the utterance; None gives no player.
        label: name of the utterance for screen readers.
        media: encoder of the page.
        max_seconds: duration of the excerpt; None keeps the whole utterance.
    """
    clip = media.encoded_clip(audio, max_seconds)
    if clip is None:
        return render_macro(TEMPLATE, "missing", "voice not included") if audio is not None else Markup("")
    bars = "".join(f"M{3 * i + 1.5} {12 - 11 * v:.1f}V{12 + 11 * v:.1f}" for i, v in enumerate(clip.waveform))
    return render_macro(TEMPLATE, "player", clip, bars, 3 * len(clip.waveform), label)


def image_html(source: ImageSource | None, label: str, media: MediaEncoder) -> Markup:
    """An image, or an empty frame if it is missing."""
    return render_macro(TEMPLATE, "image", media.image_url(source), label)


def describe_verdict(probe: ProbeRanking, item_type: str) -> tuple[str, str]:
    """Rank of the correct match of a probe in words, and its style class.

    The colour follows the rank's share of the gallery: rank 1, the best quarter, or below.
    """
    size = probe.gallery_size or 0
    if not probe.labels_known:
        return f"best of {size or len(probe.candidates)}", "open"
    rank = min((c.rank for c in probe.candidates if c.correct), default=None)
    if rank is None:
        return f"correct {item_type} not shown", "far"
    css_class = "hit" if rank == 1 else "near" if rank <= max(size / 4, 0 if size else 5) else "far"
    return f"correct {item_type} {ordinal(rank)}{f' of {size}' if size else ''}", css_class


def candidate_html(candidate: RankedCandidate, position: int, media: MediaEncoder) -> Markup:
    """One candidate with rank, score and a mark when it is correct; `position` counts from 0."""
    label = f"{ordinal(candidate.rank)}: {candidate.name}"
    label += ", correct" if candidate.correct else ""
    shown = Markup("")
    if candidate.image is not None or candidate.audio is None:
        shown += image_html(candidate.image, label, media)
    if candidate.audio is not None:
        shown += player_html(candidate.audio, label, media, EXCERPT_SECONDS)
    css_class = "right" if candidate.correct else "wrong"
    css_class += " apart" if candidate.rank > position + 1 else ""
    share = "" if candidate.percentile is None else format_percentile(candidate.percentile)
    return render_macro(TEMPLATE, "candidate", candidate, css_class, shown, share)


def _probe_html(probe: ProbeRanking, direction: Direction, media: MediaEncoder) -> Markup:
    """One probe and its candidates."""
    verdict, css_class = describe_verdict(probe, "face" if direction == "v2f" else "voice")
    shown = (
        image_html(probe.image, f"Face of {probe.name}, the probe", media)
        if probe.image is not None
        else Markup("")
    )
    shown += player_html(probe.audio, f"voice of {probe.name}", media)
    candidates = Markup("").join(candidate_html(c, i, media) for i, c in enumerate(probe.candidates))
    return render_macro(TEMPLATE, "probe", probe, verdict, css_class, shown, candidates)


def _identity_card_html(identity: IdentityCard, media: MediaEncoder) -> Markup:
    """A card with image, name, accuracy and voice."""
    share = None
    if is_finite_number(identity.accuracy):
        share = min(1.0, max(0.0, float(identity.accuracy or 0)))
    trials = f"{identity.num_trials} trials" if identity.num_trials else ""
    notes = [text for text in (format_interval(identity.low, identity.high), trials, identity.note) if text]
    image = Markup("")
    if identity.image is not None:
        image = image_html(identity.image, f"Face of {identity.name}", media)
    player = player_html(identity.audio, f"voice of {identity.name}", media)
    return render_macro(TEMPLATE, "identity_card", identity, image, share, notes, player)


def _split_media(medium: ImageSource | AudioSource) -> tuple[ImageSource | None, AudioSource | None]:
    return (None, medium) if isinstance(medium, AudioSource) else (medium, None)


def _build_candidate(
    name: str, rank: int, correct: bool, score: float, medium: ImageSource | AudioSource
) -> RankedCandidate:
    image, audio = _split_media(medium)
    return RankedCandidate(name, rank, correct, score, image, audio)
