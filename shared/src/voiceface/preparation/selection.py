"""Which clips and images of a person are used: voices checked, near duplicates and surplus left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from voiceface.datasets.near_duplicates import find_near_duplicate_pictures, find_repeated_clips
from voiceface.io.wording import counted
from voiceface.preparation.settings import GatherSettings
from voiceface.preparation.tracks import Dropped, SpeakingTrack, TrackClip, TrackImage, image_name

__all__ = ["Person", "VoiceCheck", "clip_name", "select_people"]

VoiceCheck = Callable[[NDArray[np.float32], Sequence[str]], Sequence[str]]
"""Embeddings (N, 256) and the person of each to a reason for each; "" keeps the clip."""
Item = TypeVar("Item", TrackClip, TrackImage)


@dataclass(frozen=True)
class Person:
    """A person of the data set.

    Attributes:
        name: of the person.
        tracks: all tracks of the person.
        clips: (track, clip) that are used, by video and time.
        images: (track, image) that are used, by video and time.
    """

    name: str
    tracks: list[SpeakingTrack]
    clips: list[tuple[SpeakingTrack, TrackClip]] = field(default_factory=list)
    images: list[tuple[SpeakingTrack, TrackImage]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Seconds of speech that are used."""
        return sum(clip.seconds for _, clip in self.clips)


def select_people(
    people: Mapping[str, Sequence[SpeakingTrack]], settings: GatherSettings, check_voices: VoiceCheck | None
) -> tuple[list[Person], list[Dropped]]:
    """Choose clips and images of all people.

    Args:
        people: tracks by person.
        settings: limits.
        check_voices: None: no check.

    Returns:
        (people with enough clips and images, what was left out).
    """
    clips = [
        (name, track, clip) for name, tracks in people.items() for track in tracks for clip in track.clips
    ]
    images = [
        (name, track, image) for name, tracks in people.items() for track in tracks for image in track.images
    ]
    dropped: list[Dropped] = []
    if check_voices is not None and clips:
        reasons = check_voices(np.stack([clip.embedding for *_, clip in clips]), [name for name, *_ in clips])
        for (name, track, clip), reason in zip(clips, reasons, strict=True):
            if reason:
                short, _, detail = reason.partition(": ")
                dropped.append(Dropped("clip", clip_name(track, clip), short, detail, name, clip.file))
        clips = [item for item, reason in zip(clips, reasons) if not reason]
    clips, repeated = _drop_repeated_clips(clips)
    images, alike = _drop_similar_images(images)
    dropped += [*repeated, *alike]
    result: list[Person] = []
    for name, tracks in people.items():
        own_clips = [(track, clip) for owner, track, clip in clips if owner == name]
        own_images = [(track, image) for owner, track, image in images if owner == name]
        own_clips, more_clips = _limit(own_clips, settings.max_clips, lambda clip: -clip.seconds)
        own_images, more_images = _limit(own_images, settings.max_images, lambda image: 0.0)
        for track, clip in more_clips:
            reason = f"more than {counted(settings.max_clips, 'clip')} of the person"
            dropped.append(Dropped("clip", clip_name(track, clip), reason, "", name, clip.file))
        for track, image in more_images:
            reason = f"more than {counted(settings.max_images, 'image')} of the person"
            dropped.append(Dropped("image", image_name(track.key, image), reason, "", name, image.file))
        lacking = [
            f"{counted(found, what)}, {least} or more are needed"
            for found, least, what in (
                (len(own_clips), settings.min_clips, "clip"),
                (len(own_images), settings.min_images, "image"),
            )
            if found < least
        ]
        if lacking:
            file = tracks[0].images[0].file
            dropped.append(Dropped("person", name, "too few clips or images", "; ".join(lacking), name, file))
            continue
        result.append(Person(name, list(tracks), own_clips, own_images))
    return result, dropped


def clip_name(track: SpeakingTrack, clip: TrackClip) -> str:
    """Name of a clip in lists and messages."""
    return f"{track.key} {clip.record.start:.2f}-{clip.record.end:.2f} s"


Clips = list[tuple[str, SpeakingTrack, TrackClip]]
Images = list[tuple[str, SpeakingTrack, TrackImage]]


def _drop_repeated_clips(clips: Clips) -> tuple[Clips, list[Dropped]]:
    """Keep one of several clips with the same sound, whosever they are: the longest."""
    if not clips:
        return clips, []
    order = sorted(range(len(clips)), key=lambda k: (-round(clips[k][2].seconds, 1), k))
    ranked = [clips[k] for k in order]
    repeats = find_repeated_clips(
        [clip.fingerprint for *_, clip in ranked], np.stack([clip.embedding for *_, clip in ranked])
    )
    dropped = []
    for (name, track, clip), earlier in zip(ranked, repeats):
        if earlier is not None:
            owner, first, same = ranked[earlier]
            detail = f"as {clip_name(first, same)}" + (f" of {owner}" if owner != name else "")
            dropped.append(Dropped("clip", clip_name(track, clip), "the same sound", detail, name, clip.file))
    gone = {order[k] for k, earlier in enumerate(repeats) if earlier is not None}
    return [item for k, item in enumerate(clips) if k not in gone], dropped


def _drop_similar_images(images: Images) -> tuple[Images, list[Dropped]]:
    """Keep one of several near-duplicate pictures, whosever they are: the best of its track.

    Of a track whose pictures look like each other alone, the best `KEPT_ALIKE` are kept.
    """
    if not images:
        return images, []
    rank: list[int] = []
    for _, track, image in images:
        rank.append(track.images.index(image))
    order = sorted(range(len(images)), key=lambda k: (rank[k], k))
    ranked = [images[k] for k in order]
    repeats = find_near_duplicate_pictures(
        [int(image.record.hash, 16) for *_, image in ranked],
        np.stack([image.embedding for *_, image in ranked]),
        [track.key for _, track, _ in ranked],
    )
    dropped = []
    for (name, track, image), earlier in zip(ranked, repeats):
        if earlier is not None:
            owner, first, same = ranked[earlier]
            detail = f"as {image_name(first.key, same)}" + (f" of {owner}" if owner != name else "")
            item = image_name(track.key, image)
            dropped.append(Dropped("image", item, "near duplicate", detail, name, image.file))
    gone = {order[k] for k, earlier in enumerate(repeats) if earlier is not None}
    return [item for k, item in enumerate(images) if k not in gone], dropped


def _limit(
    items: list[tuple[SpeakingTrack, Item]], most: int, cost: Callable[[Item], float]
) -> tuple[list[tuple[SpeakingTrack, Item]], list[tuple[SpeakingTrack, Item]]]:
    """Keep `most` items, spread over the videos: the cheapest of every video, then the next ones."""
    if len(items) <= most:
        return items, []
    videos: dict[str, list[int]] = {}
    for k, (track, _) in enumerate(items):
        videos.setdefault(track.video.digest, []).append(k)
    order: list[tuple[int, str, int]] = []
    for digest, members in videos.items():
        members.sort(key=lambda k: (cost(items[k][1]), k))
        order += [(rank, digest, k) for rank, k in enumerate(members)]
    kept = {k for _, _, k in sorted(order)[:most]}
    return (
        [item for k, item in enumerate(items) if k in kept],
        [item for k, item in enumerate(items) if k not in kept],
    )
