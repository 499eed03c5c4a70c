"""`clusters.csv`: which person every track belongs to, to be corrected by the user.

The program writes one row for every speaking track. The user changes the column `person`: one name in the
rows of two clusters merges them, two names in the rows of one cluster split it, an empty cell leaves the
track out, any other name renames the person. As soon as one `person` differs from its `cluster`, the table
decides for all of its tracks; new tracks then take the person of the nearest track of the table.
"""

import csv
import io
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from voiceface.datasets.corpus import abbreviate
from voiceface.datasets.identities import (
    IdentityError,
    check_spelling,
    find_second_spelling,
    parse_folder_name,
    read_table_rows,
)
from voiceface.io.atomic import write_text
from voiceface.io.file_kinds import printable
from voiceface.io.wording import counted
from voiceface.preparation.clustering import NamedTrack
from voiceface.preparation.tracks import SpeakingTrack

__all__ = [
    "COLUMNS",
    "ClusterRow",
    "apply_table",
    "check_people",
    "keep_cluster_names",
    "read_cluster_table",
    "tracks_of_people",
    "write_cluster_table",
]

COLUMNS = ("track", "cluster", "person", "video", "start", "end", "speech_seconds")


@dataclass(frozen=True)
class ClusterRow:
    """One row of the table.

    Attributes:
        track: key of the track.
        cluster: what the program found; "" where it used the track for nobody.
        person: what counts; "" leaves the track out.
        about: video, start, end and seconds of speech, for the reader.
    """

    track: str
    cluster: str
    person: str
    about: tuple[str, str, str, str] = ("", "", "", "")

    @property
    def is_edited(self) -> bool:
        """Whether the user changed the person."""
        return self.person != self.cluster


def read_cluster_table(path: str | Path) -> list[ClusterRow]:
    """Read the table; an absent one is empty.

    Args:
        path: comma-separated UTF-8 text with the columns `COLUMNS`, of which the last four may be missing.

    Raises:
        IdentityError: names file, line and column: another header or number of cells, a track in two lines,
            a person that cannot be the name of a folder or is spelled in two ways.
    """
    table = Path(path)
    if not table.is_file():
        return []
    rows: list[ClusterRow] = []
    lines: dict[str, int] = {}
    spelled: dict[str, str] = {}
    for line, (track, cluster, person, *about) in read_table_rows(table, COLUMNS, ",", num_optional=4):
        where = f"{printable(table)}, line {line}, column "
        key, _, number = track.partition("#")
        if not key or not number.isdigit():
            raise IdentityError(f"{where}1 (track): {track!r}, expected a track such as 0123456789#0")
        if lines.setdefault(track, line) != line:
            raise IdentityError(f"{where}1 (track): {track} is already on line {lines[track]}")
        if person:
            parse_folder_name(person, f"{where}3 (person)")
            check_spelling(spelled, person, f"{where}3 (person)")
        rows.append(ClusterRow(track, cluster, person, (about[0], about[1], about[2], about[3])))
    return rows


def keep_cluster_names(found: Sequence[NamedTrack], rows: Sequence[ClusterRow]) -> list[NamedTrack]:
    """Give clusters the names that most of their tracks have in the table; others get free numbers.

    A person thus keeps name and split when videos are added.

    Args:
        found: tracks with names of clusters; those of named videos stay as they are.
        rows: of the table.
    """
    clusters: dict[str, list[str]] = {}
    for named in found:
        if named.person and not named.track.video.name:
            clusters.setdefault(named.person, []).append(named.track.key)
    present = {key for keys in clusters.values() for key in keys}
    edited = any(row.is_edited for row in rows)
    before = {row.track: row.cluster for row in rows if row.cluster}
    taken = {name for row in rows if edited or row.track in present for name in (row.cluster, row.person)}
    claims: Counter[tuple[str, str]] = Counter()
    for cluster, keys in clusters.items():
        claims.update((cluster, before[key]) for key in keys if key in before)
    names: dict[str, str] = {}
    for (cluster, old), _ in sorted(claims.items(), key=lambda item: (-item[1], item[0])):
        if cluster not in names and old not in names.values():
            names[cluster] = old
    numbers, width = itertools.count(1), max(3, len(str(len(clusters))))
    for cluster in clusters:
        if cluster not in names:
            free = (f"person_{number:0{width}d}" for number in numbers)
            names[cluster] = next(name for name in free if name not in taken)
    return [
        replace(named, person=names[named.person])
        if named.person in names and not named.track.video.name
        else named
        for named in found
    ]


def apply_table(
    found: Sequence[NamedTrack], rows: Sequence[ClusterRow], max_distance: float
) -> tuple[list[NamedTrack], list[str]]:
    """Let the table decide, if the user changed it.

    Args:
        found: tracks with the people that the program found.
        rows: of the table.
        max_distance: a new track takes the person of the nearest track of the table below this distance of
            the faces; others keep what the program found.

    Returns:
        (tracks with people, notes on rows that name no track).
    """
    known = {row.track: row for row in rows}
    present = {named.track.key for named in found}
    if not any(row.is_edited for row in rows):
        return list(found), []
    absent = [row.track for row in rows if row.track not in present]
    notes = []
    if absent:
        notes.append(
            f"no track of these videos belongs to {counted(len(absent), 'row')} of clusters.csv, kept for a "
            f"run with other videos: {abbreviate(absent)}"
        )
    decided = [named for named in found if named.track.key in known]
    centres = np.stack([named.track.embedding for named in decided]) if decided else None
    result: list[NamedTrack] = []
    for named in found:
        row = known.get(named.track.key)
        if row is not None:
            reason = "" if row.person else (named.reason or "left out in clusters.csv")
            result.append(NamedTrack(named.track, row.person, reason, "" if row.person else named.detail))
            continue
        if centres is not None:
            distances = np.linalg.norm(centres - named.track.embedding, axis=1)
            nearest = int(distances.argmin())
            person = known[decided[nearest].track.key].person
            if distances[nearest] < max_distance and person:
                result.append(NamedTrack(named.track, person))
                continue
        result.append(named)
    return result, notes


def write_cluster_table(
    path: str | Path, found: Sequence[NamedTrack], decided: Sequence[NamedTrack], rows: Sequence[ClusterRow]
) -> None:
    """Write the table: tracks by person, then, if it was changed, rows of tracks of other videos.

    Args:
        path: file.
        found: tracks with the people that the program found.
        decided: the same tracks with the people that count.
        rows: of the table so far.
    """
    automatic = {named.track.key: named.person for named in found}
    before: Mapping[str, ClusterRow] = {row.track: row for row in rows if row.is_edited}
    lines: list[tuple[str, ...]] = []
    for named in decided:
        track = named.track
        cluster = automatic[track.key]
        if cluster == named.person and track.key in before:
            cluster = before[track.key].cluster  # a change that agrees with the program now stays a change
        about = (track.video.label, f"{track.start:.2f}", f"{track.end:.2f}", f"{track.seconds:.2f}")
        lines.append((track.key, cluster, named.person, *about))
    present = set(automatic)
    lines.sort(key=lambda cells: (cells[2] == "", cells[2], cells[1], cells[3], float(cells[4]), cells[0]))
    if before:
        lines += [
            (row.track, row.cluster, row.person, *row.about) for row in rows if row.track not in present
        ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(lines)
    write_text(path, text.getvalue())


def check_people(names: Sequence[str]) -> None:
    """Check that no two people differ only in the Unicode spelling of their names.

    Raises:
        IdentityError: two do.
    """
    if pair := find_second_spelling(names):
        raise IdentityError(f"{pair[0]!a} and {pair[1]!a} are two spellings of one name; write both alike")


def tracks_of_people(named: Sequence[NamedTrack]) -> dict[str, list[SpeakingTrack]]:
    """Tracks by person, people by name."""
    people: dict[str, list[SpeakingTrack]] = {}
    for each in named:
        if each.person:
            people.setdefault(each.person, []).append(each.track)
    return dict(sorted(people.items()))
