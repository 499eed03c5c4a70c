"""Retrieval galleries and rows of people: hear a voice, see the faces a system finds most alike."""

from collections.abc import Callable, Sequence

import numpy as np

from voiceface.report.formatting import (
    DIRECTION_TITLES,
    display_name,
    escape_html,
    format_interval,
    format_metric,
    format_number,
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
    """Queries with their best answers, from a table of scores.

    Ranks count the answers with a strictly higher score plus those of equal score that stand earlier. When no
    right answer is among the best, the first right one is added with its own rank.

    Args:
        scores: similarity, shape (Q, N); higher is more alike.
        probe_identities: person of each query, length Q.
        gallery_identities: person of each answer, length N.
        probe_media: voice ("v2f") or face ("f2v") of each query, length Q.
        gallery_media: face ("v2f") or voice ("f2v") of each answer, length N.
        direction: which side asks.
        title: heading; empty takes the direction's name.
        num_shown: answers shown.
        note: text under the heading.

    Raises:
        ValueError: lengths that do not fit the table.
    """
    lengths = (len(probe_identities), len(probe_media), len(gallery_identities), len(gallery_media))
    if scores.ndim != 2 or lengths != (scores.shape[0],) * 2 + (scores.shape[1],) * 2:
        raise ValueError(f"scores (Q, N) with Q queries and N answers; found {scores.shape} with {lengths}")
    queries = []
    for row, person, medium in zip(scores, probe_identities, probe_media):
        order = np.argsort(-row, kind="stable")
        right = [i for i, place in enumerate(order) if gallery_identities[place] == person]
        shown = list(range(min(num_shown, len(order))))
        if right and right[0] >= num_shown:
            shown.append(right[0])
        candidates = [
            _build_candidate(
                gallery_identities[order[i]], i + 1, i in right, float(row[order[i]]), gallery_media[order[i]]
            )
            for i in shown
        ]
        picture, sound = _split_media(medium)
        queries.append(ProbeRanking(person, candidates, picture, sound, gallery_size=len(row)))
    return RetrievalExamples(title or DIRECTION_TITLES.get(direction, "Retrieval"), direction, queries, note)


def select_hardest_and_easiest(
    names: Sequence[str],
    accuracies: Sequence[float],
    media: Callable[[str], tuple[ImageSource | None, AudioSource | None]],
    num_trials: Sequence[int] | None = None,
    group_size: int = 6,
) -> list[IdentityGroup]:
    """The people with the lowest and with the highest accuracy, ties in order of their names.

    Args:
        names: people.
        accuracies: share of right answers of each, in [0, 1]; not-a-number leaves a person out.
        media: name -> picture and voice of a person.
        num_trials: questions behind each accuracy.
        group_size: people in each group (fewer when the groups would meet).
    """
    known = [i for i, value in enumerate(accuracies) if is_finite_number(value)]
    order = sorted(known, key=lambda i: (accuracies[i], names[i]))
    group_size = min(group_size, len(order) // 2)
    groups = []
    for title, chosen in (
        ("Hardest people", order[:group_size]),
        ("Easiest people", order[::-1][:group_size]),
    ):
        people = []
        for i in chosen:
            picture, sound = media(names[i])
            count = int(num_trials[i]) if num_trials is not None else None
            people.append(
                IdentityCard(names[i], float(accuracies[i]), num_trials=count, image=picture, audio=sound)
            )
        groups.append(IdentityGroup(title, people))
    return groups


def retrieval_examples_html(examples: RetrievalExamples, media: MediaEncoder) -> str:
    """A gallery as HTML; empty text without queries."""
    if not examples.probes:
        return ""
    rows = [_probe_html(query, examples.direction, media) for query in examples.probes]
    first = [c.rank for q in examples.probes for c in q.candidates if c.correct][:1]
    hits = sum(any(c.correct and c.rank == 1 for c in q.candidates) for q in examples.probes)
    summary = (
        f"{hits} of {len(examples.probes)} queries shown have the right answer in first place."
        if first
        else ""
    )
    note = " ".join(text for text in (examples.note, summary) if text)
    return (
        f"<h3>{escape_html(examples.title)}</h3>{f'<p>{escape_html(note)}</p>' if note else ''}"
        f'<div class="queries {escape_html(examples.direction)}">{"".join(rows)}</div>'
    )


def identity_group_html(group: IdentityGroup, media: MediaEncoder) -> str:
    """A row of people as HTML; empty text without people."""
    if not group.identities:
        return ""
    cards = "".join(_identity_card_html(person, media) for person in group.identities)
    note = f"<p>{escape_html(group.note)}</p>" if group.note else ""
    return f'<h3>{escape_html(group.title)}</h3>{note}<ul class="people">{cards}</ul>'


def player_html(audio: AudioSource | None, label: str, media: MediaEncoder) -> str:
    """A voice with a play button and its waveform; without JavaScript the browser's own controls show."""
    clip = media.encoded_clip(audio)
    if clip is None:
        return '<p class="missing">voice not included</p>' if audio is not None else ""
    bars = "".join(f"M{3 * i + 1.5} {12 - 11 * v:.1f}V{12 + 11 * v:.1f}" for i, v in enumerate(clip.waveform))
    width = 3 * len(clip.waveform)
    box = f'viewBox="0 0 {width} 24" preserveAspectRatio="none"'
    wave = f'<svg {box} aria-hidden="true"><path d="{bars}"/></svg>'
    return (
        f'<div class="player"><button type="button" aria-label="Play {escape_html(label)}"></button>'
        f'<span class="wave">{wave}<span class="done">{wave}</span></span>'
        f'<span class="time">{clip.seconds:.1f}{"&#8239;"}s</span>'
        f'<audio controls preload="none" src="{clip.data_url}" aria-label="{escape_html(label)}"></audio></div>'
    )


def image_html(source: ImageSource | None, label: str, media: MediaEncoder) -> str:
    """A picture, or a quiet empty frame where there is none."""
    address = media.image_url(source)
    if address is None:
        return f'<span class="picture empty" role="img" aria-label="{escape_html(label)}: no picture"></span>'
    return f'<img class="picture" src="{address}" alt="{escape_html(label)}" loading="lazy" decoding="async">'


def describe_verdict(probe: ProbeRanking, item_type: str) -> tuple[str, str]:
    """Where the right answer of a query stands, in words, and the style class of that."""
    first = min((c.rank for c in probe.candidates if c.correct), default=None)
    if not probe.labels_known:
        return f"best of {probe.gallery_size or len(probe.candidates)}", "open"
    if first is None:
        return f"right {item_type} not shown", "far"
    out_of = f" of {probe.gallery_size}" if probe.gallery_size else ""
    style = "hit" if first == 1 else "near" if first <= 5 else "far"
    return f"right {item_type} {ordinal(first)}{out_of}", style


def candidate_html(candidate: RankedCandidate, position: int, media: MediaEncoder) -> str:
    """One answer with rank, score and a mark when it is right; `position` counts from 0."""
    label = (
        f"{ordinal(candidate.rank)}: {display_name(candidate.name)}{', right' if candidate.correct else ''}"
    )
    shown = ""
    if candidate.image is not None:
        shown += image_html(candidate.image, label, media)
    if candidate.audio is not None:
        shown += player_html(candidate.audio, label, media)
    style = ("right" if candidate.correct else "wrong") + (" apart" if candidate.rank > position + 1 else "")
    mark = '<span class="mark">✓ right</span>' if candidate.correct else ""
    score = (
        f'<span class="score">{format_number(candidate.score, 2)}</span>'
        if candidate.score is not None
        else ""
    )
    who = escape_html(display_name(candidate.name))
    return (
        f'<li class="{style}" value="{candidate.rank}"><span class="rank">{candidate.rank}</span>{shown}'
        f'<span class="who" title="{who}">{who}</span><span class="under">{mark}{score}</span></li>'
    )


def _probe_html(probe: ProbeRanking, direction: Direction, media: MediaEncoder) -> str:
    """One question and its answers."""
    verdict, style = describe_verdict(probe, "face" if direction == "v2f" else "voice")
    asked = (
        image_html(probe.image, f"Face of {display_name(probe.name)}, the query", media)
        if probe.image is not None
        else ""
    )
    asked += player_html(probe.audio, f"voice of {display_name(probe.name)}", media)
    note = f'<p class="note">{escape_html(probe.note)}</p>' if probe.note else ""
    answers = "".join(candidate_html(c, i, media) for i, c in enumerate(probe.candidates))
    return (
        f'<article class="card query"><div class="asked"><h4>{escape_html(display_name(probe.name))}</h4>'
        f'<p class="verdict {style}">{escape_html(verdict)}</p>{asked}{note}</div>'
        f'<ol class="answers">{answers}</ol></article>'
    )


def _identity_card_html(person: IdentityCard, media: MediaEncoder) -> str:
    """A card with picture, name, accuracy and voice."""
    name = display_name(person.name)
    parts = [image_html(person.image, f"Face of {name}", media), f'<p class="who">{escape_html(name)}</p>']
    if is_finite_number(person.accuracy):
        share = min(1.0, max(0.0, float(person.accuracy or 0)))
        parts.append(f'<p class="share"><b>{format_metric(person.accuracy)}</b></p>')
        parts.append(
            f'<span class="meter" aria-hidden="true"><span style="width:{100 * share:.1f}%"></span></span>'
        )
    facts = [
        format_interval(person.low, person.high),
        f"{person.num_trials} questions" if person.num_trials else "",
        person.note,
    ]
    if any(facts):
        parts.append(f'<p class="note">{escape_html(" · ".join(fact for fact in facts if fact))}</p>')
    parts.append(player_html(person.audio, f"voice of {name}", media))
    return f'<li class="card person">{"".join(parts)}</li>'


def _split_media(medium: ImageSource | AudioSource) -> tuple[ImageSource | None, AudioSource | None]:
    return (None, medium) if isinstance(medium, AudioSource) else (medium, None)


def _build_candidate(
    name: str, rank: int, correct: bool, score: float, medium: ImageSource | AudioSource
) -> RankedCandidate:
    picture, sound = _split_media(medium)
    return RankedCandidate(name, rank, correct, score, picture, sound)
