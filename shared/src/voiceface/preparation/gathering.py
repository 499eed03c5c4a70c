"""From prepared videos to people: every decision with its reason, from records alone, within seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from voiceface.datasets.corpus import abbreviate
from voiceface.datasets.identities import SPLITS
from voiceface.datasets.splits import assign_split
from voiceface.preparation.cluster_table import (
    ClusterRow,
    apply_table,
    check_people,
    keep_cluster_names,
    tracks_of_people,
)
from voiceface.preparation.clustering import (
    NamedTrack,
    cluster_faces,
    name_clusters,
    name_tracks_by_video,
    seen_together,
    shared_people,
)
from voiceface.preparation.selection import Person, VoiceCheck, select_people
from voiceface.preparation.settings import GatherSettings
from voiceface.preparation.sources import Video
from voiceface.preparation.tracks import Dropped, collect_tracks
from voiceface.preparation.video_record import VideoContent
from voiceface.preparation.voice_check import unchecked_people

__all__ = ["Gathering", "drop_repeated_videos", "gather"]


@dataclass(frozen=True)
class Gathering:
    """The people of a data set and everything that is not in it.

    Attributes:
        videos: that were used, with their content.
        found: tracks with the people that the program found.
        decided: the same tracks after `clusters.csv`.
        people: with clips and images, by name.
        splits: person -> "train", "val" or "test".
        dropped: what is left out, with reasons.
        notes: sentences for the user.
    """

    videos: list[tuple[Video, VideoContent]]
    found: list[NamedTrack]
    decided: list[NamedTrack]
    people: list[Person]
    splits: dict[str, str]
    dropped: list[Dropped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def counts_by_split(self) -> dict[str, dict[str, int]]:
        """People, clips and images of every split."""
        counts = {name: {"people": 0, "clips": 0, "images": 0} for name in SPLITS}
        for person in self.people:
            count = counts[self.splits[person.name]]
            count["people"] += 1
            count["clips"] += len(person.clips)
            count["images"] += len(person.images)
        return counts

    def counts_by_reason(self) -> list[tuple[str, str, int]]:
        """(kind, reason, number) of what is left out, most frequent first within a kind."""
        counts = Counter((each.kind, each.reason) for each in self.dropped)
        order = {
            kind: place for place, kind in enumerate(("video", "person", "track", "image", "clip", "speech"))
        }
        rows = [(kind, reason, number) for (kind, reason), number in counts.items()]
        return sorted(rows, key=lambda row: (order[row[0]], -row[2], row[1]))


def gather(
    videos: Sequence[tuple[Video, VideoContent]],
    settings: GatherSettings,
    *,
    named: bool,
    rows: Sequence[ClusterRow] = (),
    check_voices: VoiceCheck | None = None,
) -> Gathering:
    """Decide who is who and what is used.

    Args:
        videos: by label, with what was taken out of them.
        settings: thresholds and limits.
        named: whether videos have names of people; else faces are clustered.
        rows: of `clusters.csv`.
        check_voices: None: voices are not checked.

    Raises:
        voiceface.datasets.identities.IdentityError: two people have two spellings of one name.
        ValueError: too many tracks.
    """
    tracks, dropped = collect_tracks(videos, settings.face_distance)
    notes: list[str] = []
    embeddings = np.stack([track.embedding for track in tracks]) if tracks else np.zeros((0, 128), np.float32)
    groups = cluster_faces(embeddings, settings.face_distance, seen_together(tracks) if tracks else None)
    if named:
        found = name_tracks_by_video(tracks, groups, settings.face_distance)
    else:
        found = [NamedTrack(track, name) for track, name in zip(tracks, name_clusters(groups))]
        found = keep_cluster_names(found, rows)
    decided, table_notes = apply_table(found, rows, settings.face_distance)
    notes += table_notes
    notes += [
        f"{' and '.join(names)} have faces below {settings.face_distance:g}: are they one person?"
        for names in shared_people(decided, groups)
    ]
    for each in decided:
        if not each.person:
            where = f"{each.track.video.label} {each.track.start:.2f}-{each.track.end:.2f} s"
            detail = f"{where}; {each.detail}" if each.detail else where
            reason = each.reason or "no person"
            dropped.append(Dropped("track", each.track.key, reason, detail, file=each.track.images[0].file))
    people = tracks_of_people(decided)
    check_people(list(people))
    chosen, unused = select_people(people, settings, check_voices)
    dropped += unused
    if check_voices is not None:
        alone = unchecked_people([person.name for person in chosen for _ in person.clips])
        if alone:
            notes.append(f"one clip only, whose voice could not be checked: {abbreviate(alone)}")
    splits = {
        person.name: assign_split(person.name, settings.seed, settings.split_fractions) for person in chosen
    }
    result = Gathering(list(videos), found, decided, chosen, splits, dropped, notes)
    for split, count in result.counts_by_split().items():
        if chosen and not count["people"] and settings.split_fractions[SPLITS.index(split)] > 0:
            result.notes.append(
                f"nobody is in {split}, {len(chosen)} in all: prepare more people, or choose "
                "--split-fractions or --seed"
            )
    return result


def drop_repeated_videos(videos: Sequence[Video]) -> tuple[list[Video], list[Dropped]]:
    """Keep the first of several videos with the same bytes.

    Args:
        videos: with digests.

    Returns:
        (videos, what was left out).
    """
    first: dict[str, Video] = {}
    dropped: list[Dropped] = []
    for video in videos:
        kept = first.setdefault(video.digest, video)
        if kept is not video:
            dropped.append(Dropped("video", video.label, "the same file", f"as {kept.label}", video.name))
    return list(first.values()), dropped
