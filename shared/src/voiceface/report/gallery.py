"""Retrieval galleries and rows of people: hear a voice, see the faces a system finds most alike."""

from collections.abc import Callable, Sequence

import numpy as np

from voiceface.report.formatting import DIRECTIONS, figure, interval, is_number, number, ordinal, safe, spoken
from voiceface.report.media import Media
from voiceface.report.records import (
    Candidate,
    Direction,
    Gallery,
    PeopleGroup,
    Person,
    PictureSource,
    Query,
    Sound,
)


def gallery_from_scores(
    scores: np.ndarray,
    query_people: Sequence[str],
    gallery_people: Sequence[str],
    query_media: Sequence[PictureSource | Sound],
    gallery_media: Sequence[PictureSource | Sound],
    *,
    direction: Direction,
    title: str = "",
    top: int = 8,
    note: str = "",
) -> Gallery:
    """Queries with their best answers, from a table of scores.

    Ranks count the answers with a strictly higher score plus those of equal score that stand earlier. When no
    right answer is among the best, the first right one is added with its own rank.

    Args:
        scores: similarity, shape (Q, N); higher is more alike.
        query_people: person of each query, length Q.
        gallery_people: person of each answer, length N.
        query_media: voice ("v2f") or face ("f2v") of each query, length Q.
        gallery_media: face ("v2f") or voice ("f2v") of each answer, length N.
        direction: which side asks.
        title: heading; empty takes the direction's name.
        top: answers shown.
        note: text under the heading.

    Raises:
        ValueError: lengths that do not fit the table.
    """
    lengths = (len(query_people), len(query_media), len(gallery_people), len(gallery_media))
    if scores.ndim != 2 or lengths != (scores.shape[0],) * 2 + (scores.shape[1],) * 2:
        raise ValueError(f"scores (Q, N) with Q queries and N answers; found {scores.shape} with {lengths}")
    queries = []
    for row, person, medium in zip(scores, query_people, query_media):
        order = np.argsort(-row, kind="stable")
        right = [i for i, place in enumerate(order) if gallery_people[place] == person]
        shown = list(range(min(top, len(order))))
        if right and right[0] >= top:
            shown.append(right[0])
        candidates = [
            _candidate(
                gallery_people[order[i]], i + 1, i in right, float(row[order[i]]), gallery_media[order[i]]
            )
            for i in shown
        ]
        picture, sound = _split(medium)
        queries.append(Query(person, candidates, picture, sound, gallery_size=len(row)))
    return Gallery(title or DIRECTIONS.get(direction, "Retrieval"), direction, queries, note)


def hardest_and_easiest(
    names: Sequence[str],
    accuracies: Sequence[float],
    media: Callable[[str], tuple[PictureSource | None, Sound | None]],
    counts: Sequence[int] | None = None,
    top: int = 6,
) -> list[PeopleGroup]:
    """The people with the lowest and with the highest accuracy, ties in order of their names.

    Args:
        names: people.
        accuracies: share of right answers of each, in [0, 1]; not-a-number leaves a person out.
        media: name -> picture and voice of a person.
        counts: questions behind each accuracy.
        top: people in each group (fewer when the groups would meet).
    """
    known = [i for i, value in enumerate(accuracies) if is_number(value)]
    order = sorted(known, key=lambda i: (accuracies[i], names[i]))
    top = min(top, len(order) // 2)
    groups = []
    for title, chosen in (("Hardest people", order[:top]), ("Easiest people", order[::-1][:top])):
        people = []
        for i in chosen:
            picture, sound = media(names[i])
            count = int(counts[i]) if counts is not None else None
            people.append(Person(names[i], float(accuracies[i]), count=count, picture=picture, sound=sound))
        groups.append(PeopleGroup(title, people))
    return groups


def gallery_html(gallery: Gallery, media: Media) -> str:
    """A gallery as HTML; empty text without queries."""
    if not gallery.queries:
        return ""
    rows = [_query(query, gallery.direction, media) for query in gallery.queries]
    first = [c.rank for q in gallery.queries for c in q.candidates if c.right][:1]
    hits = sum(any(c.right and c.rank == 1 for c in q.candidates) for q in gallery.queries)
    summary = (
        f"{hits} of {len(gallery.queries)} queries shown have the right answer in first place."
        if first
        else ""
    )
    note = " ".join(text for text in (gallery.note, summary) if text)
    return (
        f"<h3>{safe(gallery.title)}</h3>{f'<p>{safe(note)}</p>' if note else ''}"
        f'<div class="queries {safe(gallery.direction)}">{"".join(rows)}</div>'
    )


def people_html(group: PeopleGroup, media: Media) -> str:
    """A row of people as HTML; empty text without people."""
    if not group.people:
        return ""
    cards = "".join(_person(person, media) for person in group.people)
    note = f"<p>{safe(group.note)}</p>" if group.note else ""
    return f'<h3>{safe(group.title)}</h3>{note}<ul class="people">{cards}</ul>'


def player_html(sound: Sound | None, label: str, media: Media) -> str:
    """A voice with a play button and its waveform; without JavaScript the browser's own controls show."""
    clip = media.clip(sound)
    if clip is None:
        return '<p class="missing">voice not included</p>' if sound is not None else ""
    bars = "".join(f"M{3 * i + 1.5} {12 - 11 * v:.1f}V{12 + 11 * v:.1f}" for i, v in enumerate(clip.outline))
    width = 3 * len(clip.outline)
    box = f'viewBox="0 0 {width} 24" preserveAspectRatio="none"'
    wave = f'<svg {box} aria-hidden="true"><path d="{bars}"/></svg>'
    return (
        f'<div class="player"><button type="button" aria-label="Play {safe(label)}"></button>'
        f'<span class="wave">{wave}<span class="done">{wave}</span></span>'
        f'<span class="time">{clip.seconds:.1f}{"&#8239;"}s</span>'
        f'<audio controls preload="none" src="{clip.address}" aria-label="{safe(label)}"></audio></div>'
    )


def picture_html(source: PictureSource | None, label: str, media: Media) -> str:
    """A picture, or a quiet empty frame where there is none."""
    address = media.picture(source)
    if address is None:
        return f'<span class="picture empty" role="img" aria-label="{safe(label)}: no picture"></span>'
    return f'<img class="picture" src="{address}" alt="{safe(label)}" loading="lazy" decoding="async">'


def verdict_of(query: Query, thing: str) -> tuple[str, str]:
    """Where the right answer of a query stands, in words, and the style class of that."""
    first = min((c.rank for c in query.candidates if c.right), default=None)
    if not query.truth_known:
        return f"best of {query.gallery_size or len(query.candidates)}", "open"
    if first is None:
        return f"right {thing} not shown", "far"
    out_of = f" of {query.gallery_size}" if query.gallery_size else ""
    style = "hit" if first == 1 else "near" if first <= 5 else "far"
    return f"right {thing} {ordinal(first)}{out_of}", style


def answer_html(candidate: Candidate, place: int, media: Media) -> str:
    """One answer with rank, score and a mark when it is right; `place` counts from 0."""
    label = f"{ordinal(candidate.rank)}: {spoken(candidate.name)}{', right' if candidate.right else ''}"
    shown = ""
    if candidate.picture is not None:
        shown += picture_html(candidate.picture, label, media)
    if candidate.sound is not None:
        shown += player_html(candidate.sound, label, media)
    style = ("right" if candidate.right else "wrong") + (" apart" if candidate.rank > place + 1 else "")
    mark = '<span class="mark">✓ right</span>' if candidate.right else ""
    score = f'<span class="score">{number(candidate.score, 2)}</span>' if candidate.score is not None else ""
    who = safe(spoken(candidate.name))
    return (
        f'<li class="{style}" value="{candidate.rank}"><span class="rank">{candidate.rank}</span>{shown}'
        f'<span class="who" title="{who}">{who}</span><span class="under">{mark}{score}</span></li>'
    )


def _query(query: Query, direction: Direction, media: Media) -> str:
    """One question and its answers."""
    verdict, style = verdict_of(query, "face" if direction == "v2f" else "voice")
    asked = (
        picture_html(query.picture, f"Face of {spoken(query.name)}, the query", media)
        if query.picture is not None
        else ""
    )
    asked += player_html(query.sound, f"voice of {spoken(query.name)}", media)
    note = f'<p class="note">{safe(query.note)}</p>' if query.note else ""
    answers = "".join(answer_html(c, i, media) for i, c in enumerate(query.candidates))
    return (
        f'<article class="card query"><div class="asked"><h4>{safe(spoken(query.name))}</h4>'
        f'<p class="verdict {style}">{safe(verdict)}</p>{asked}{note}</div>'
        f'<ol class="answers">{answers}</ol></article>'
    )


def _person(person: Person, media: Media) -> str:
    """A card with picture, name, accuracy and voice."""
    name = spoken(person.name)
    parts = [picture_html(person.picture, f"Face of {name}", media), f'<p class="who">{safe(name)}</p>']
    if is_number(person.value):
        share = min(1.0, max(0.0, float(person.value or 0)))
        parts.append(f'<p class="share"><b>{figure(person.value)}</b></p>')
        parts.append(
            f'<span class="meter" aria-hidden="true"><span style="width:{100 * share:.1f}%"></span></span>'
        )
    facts = [
        interval(person.low, person.high),
        f"{person.count} questions" if person.count else "",
        person.note,
    ]
    if any(facts):
        parts.append(f'<p class="note">{safe(" · ".join(fact for fact in facts if fact))}</p>')
    parts.append(player_html(person.sound, f"voice of {name}", media))
    return f'<li class="card person">{"".join(parts)}</li>'


def _split(medium: PictureSource | Sound) -> tuple[PictureSource | None, Sound | None]:
    return (None, medium) if isinstance(medium, Sound) else (medium, None)


def _candidate(name: str, rank: int, right: bool, score: float, medium: PictureSource | Sound) -> Candidate:
    picture, sound = _split(medium)
    return Candidate(name, rank, right, score, picture, sound)
