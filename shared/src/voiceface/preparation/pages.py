"""Pages of a preparation: what was kept and dropped and why, and the clusters of faces to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from voiceface.io.wording import counted
from voiceface.preparation.clustering import NamedTrack
from voiceface.preparation.gathering import Gathering
from voiceface.preparation.settings import GatherSettings
from voiceface.preparation.tracks import Dropped, SpeakingTrack
from voiceface.report.page import build_report
from voiceface.report.records import AudioSource, IdentityCard, IdentityGroup, Table

__all__ = ["write_clusters_page", "write_prepare_page"]

KICKER = "Own videos"
_TITLES = {"Headlines": "Overview", "Further metrics": "Counts", "Reproduce": "Next steps"}
MAX_PEOPLE, MAX_EXAMPLES, MAX_TRACKS, MAX_ROWS = 60, 12, 24, 200
PAGE_BYTES = 24_000_000
RESPONSIBLE_USE = (
    "Faces and voices are personal data, and comparing them is biometric processing: prepare videos of "
    "people who agreed, and keep this page and the data folder like the videos themselves.",
    "Who is who was decided by networks that make mistakes, and not equally often for all groups of people. "
    "Look at the clusters before the data is used.",
    "Full text: docs/responsible_use.md of this repository.",
)


def write_prepare_page(
    path: Path,
    work: Path,
    gathering: Gathering,
    settings: GatherSettings,
    *,
    names: str,
    commands: Sequence[str] = (),
) -> None:
    """Write `prepare.html`: counts, people, what was left out with pictures, videos.

    Args:
        path: file.
        work: folder with the files of all videos.
        gathering: all decisions.
        settings: thresholds and limits.
        names: where the names of people come from.
        commands: what can be done next.
    """
    counts = gathering.counts_by_split()
    clips = sum(count["clips"] for count in counts.values())
    images = sum(count["images"] for count in counts.values())
    seconds = sum(person.seconds for person in gathering.people)
    total = sum(content.record.seconds for _, content in gathering.videos)
    people_rows = [
        [
            person.name,
            gathering.splits[person.name],
            len({track.video.digest for track in person.tracks}),
            len(person.tracks),
            len(person.clips),
            round(person.seconds, 1),
            len(person.images),
        ]
        for person in gathering.people
    ]
    tables = [
        Table(
            "Splits",
            ["split", "people", "clips", "images"],
            [[name, *count.values()] for name, count in counts.items()],
            "By a hash of the seed and the name: a person stays in a split when others are added.",
        ),
        _short_table(
            "People", ["person", "split", "videos", "tracks", "clips", "seconds", "images"], people_rows
        ),
        _short_table(
            "Left out, by reason",
            ["what", "reason", "number"],
            [[kind, reason, number] for kind, reason, number in gathering.counts_by_reason()],
            "All of them with names and figures: left_out in prepare.json.",
        ),
        _short_table("Videos", *_video_rows(gathering)),
    ]
    whole = _whole_dropped(gathering.dropped)
    if whole:
        rows = [[each.kind, each.item, each.reason, each.detail] for each in whole]
        tables.insert(3, _short_table("Videos and people left out", ["what", "name", "reason", ""], rows))
    build_report(
        path,
        title="A data set from your videos",
        kicker=KICKER,
        subtitle="What was taken out of them, whose it is, and what was left out for which reason.",
        facts={
            "Videos": len(gathering.videos),
            "Minutes": f"{total / 60:.1f}",
            "Names": names,
            "Face distance": f"{settings.face_distance:g}",
            "Seed": settings.seed,
        },
        summary=[
            f"Kept: {counted(len(gathering.people), 'person', 'people')} with {counted(clips, 'clip')} "
            f"({seconds / 60:.1f} minutes of speech) and {counted(images, 'image')}.",
            "Who is who: clusters.html shows the faces and plays the voices of every person; clusters.csv "
            "corrects them.",
            *(f"{note[:1].upper()}{note[1:]}" for note in gathering.notes),
        ],
        tables=tables,
        identity_groups=[*_people_groups(gathering, work), *_dropped_groups(gathering.dropped, work)],
        responsible_use=RESPONSIBLE_USE,
        section_titles={**_TITLES, "Identities": "Kept and left out"},
        commands=commands,
        max_bytes=PAGE_BYTES,
    )


def write_clusters_page(path: Path, work: Path, gathering: Gathering, settings: GatherSettings) -> None:
    """Write `clusters.html`: the tracks of every person, with a face and a voice each.

    Args:
        path: file.
        work: folder with the files of all videos.
        gathering: all decisions.
        settings: threshold, for the text.
    """
    clusters: dict[str, list[NamedTrack]] = {}
    for named in gathering.decided:
        clusters.setdefault(named.person, []).append(named)
    nobody = clusters.pop("", [])
    groups = [_cluster_group(name, members, work) for name, members in sorted(clusters.items())]
    if nobody:
        groups.append(_cluster_group("", nobody, work))
    rows = [
        [name, len(members), len({each.track.video.digest for each in members}), _seconds(members), nearest]
        for (name, members), nearest in zip(sorted(clusters.items()), _nearest_people(clusters))
    ]
    build_report(
        path,
        title="Faces and voices by person",
        kicker=KICKER,
        subtitle="Every card is one face track: its best picture, longest clip, name in clusters.csv.",
        facts={
            "People": len(clusters),
            "Tracks": len(gathering.decided),
            "Threshold": settings.face_distance,
        },
        summary=[
            "To correct this page, change the column person of clusters.csv and run the command again; "
            "the videos are not processed anew.",
            "Merge two people: give their rows one name. Split a person: give some rows another name. "
            "Rename: write the name into all rows. Leave a track out: empty the cell.",
            f"Tracks are joined while the mean distance of their faces is below {settings.face_distance:g}; "
            "a nearest person just above it may be the same one.",
        ],
        tables=[_short_table("People", ["person", "tracks", "videos", "seconds", "nearest person"], rows)],
        identity_groups=groups,
        section_titles={**_TITLES, "Identities": "Tracks by person"},
        responsible_use=RESPONSIBLE_USE,
        max_bytes=PAGE_BYTES,
    )


def _cluster_group(name: str, members: Sequence[NamedTrack], work: Path) -> IdentityGroup:
    tracks = [named.track for named in members]
    shown = sorted(tracks, key=lambda track: (-track.seconds, track.key))[:MAX_TRACKS]
    note = f"{counted(len(tracks), 'track')}, {_seconds(members)} s of speech"
    if len(tracks) > len(shown):
        note += f"; the {len(shown)} longest are shown, clusters.csv has all"
    cards = [
        IdentityCard(
            track.key,
            image=work / track.images[0].file,
            audio=AudioSource(work / _longest_clip(track)),
            note=f"{track.video.label}, {track.start:.1f}-{track.end:.1f} s",
        )
        for track in shown
    ]
    return IdentityGroup(name or "Nobody", cards, note)


def _people_groups(gathering: Gathering, work: Path) -> list[IdentityGroup]:
    shown = gathering.people[:MAX_PEOPLE]
    if not shown:
        return []
    cards = [
        IdentityCard(
            person.name,
            image=work / person.images[0][1].file,
            audio=AudioSource(work / max(person.clips, key=lambda pair: pair[1].seconds)[1].file),
            note=f"{gathering.splits[person.name]}, {counted(len(person.clips), 'clip')}, "
            f"{counted(len(person.images), 'image')}",
        )
        for person in shown
    ]
    more = len(gathering.people) - len(shown)
    note = f"The first {len(cards)}; the table of people has {more} more." if more else ""
    return [IdentityGroup("Kept", cards, note)]


def _dropped_groups(dropped: Sequence[Dropped], work: Path) -> list[IdentityGroup]:
    """A row of examples for every reason that has pictures or sound."""
    groups: dict[tuple[str, str], list[Dropped]] = {}
    for each in dropped:
        if each.file:
            groups.setdefault((each.kind, each.reason), []).append(each)
    result = []
    for (kind, reason), items in groups.items():
        cards = [
            IdentityCard(
                each.item,
                image=work / each.file if each.file.endswith(".png") else None,
                audio=AudioSource(work / each.file) if each.file.endswith(".wav") else None,
                note=", ".join(filter(None, [each.person, each.detail])),
            )
            for each in items[:MAX_EXAMPLES]
        ]
        more = f"; the first {len(cards)} are shown" if len(items) > len(cards) else ""
        result.append(IdentityGroup(f"Left out: {kind}, {reason}", cards, f"{len(items)} in all{more}."))
    return result


def _whole_dropped(dropped: Sequence[Dropped]) -> list[Dropped]:
    return [each for each in dropped if each.kind in ("video", "person")]


def _video_rows(gathering: Gathering) -> tuple[list[str], list[list[object]]]:
    columns = ["video", "name", "seconds", "size", "cuts", "tracks", "clips", "damaged frames"]
    rows: list[list[object]] = [
        [
            video.label,
            video.name,
            round(content.record.seconds, 1),
            f"{content.record.width} x {content.record.height}",
            len(content.record.cuts),
            len(content.record.tracks),
            len(content.record.clips),
            content.record.damaged_frames,
        ]
        for video, content in gathering.videos
    ]
    return columns, rows


def _short_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], note: str = ""
) -> Table:
    if len(rows) > MAX_ROWS:
        note = f"{note} The first {MAX_ROWS} of {len(rows)} rows.".strip()
    return Table(title, columns, rows[:MAX_ROWS], note)


def _nearest_people(clusters: Mapping[str, Sequence[NamedTrack]]) -> list[str]:
    """For every person by name the nearest other one, with the mean distance of their tracks' mean faces."""
    names = sorted(clusters)
    if len(names) < 2:
        return [""] * len(names)
    centres = np.stack([np.mean([each.track.embedding for each in clusters[name]], axis=0) for name in names])
    distances = np.linalg.norm(centres[:, None] - centres, axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(1)
    return [f"{names[k]} ({distances[row, k]:.2f})" for row, k in enumerate(nearest)]


def _longest_clip(track: SpeakingTrack) -> str:
    return max(track.clips, key=lambda clip: clip.seconds).file


def _seconds(members: Sequence[NamedTrack]) -> float:
    return round(sum(named.track.seconds for named in members), 1)
