"""People's own videos as a player shows them: upright images in order, with their times.

Turned and mirrored as the file says, with square pixels, at the times that it states. Whatever FFmpeg knows
is read, by content. One image at a time is held.
"""

import math
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Self

import av
import numpy as np
from numpy.typing import NDArray

from voiceface.io.file_kinds import printable
from voiceface.videos.containers import (
    MAX_GAP,
    REMEDY,
    Timeline,
    VideoError,
    check_pixels,
    decode_frames,
    find_audio_track,
    find_video_track,
    iterate_frames,
    open_container,
    usual_step,
)
from voiceface.videos.orientation import FrameConverter

__all__ = ["VideoError", "VideoImages", "VideoInfo", "iterate_images", "pixel_aspect", "probe_video"]

Image = NDArray[np.uint8]
MAX_FRAME_RATE = 1000.0
MAX_SECONDS = 1e6
_EARLY = 1e-6  # seconds by which a rounded time stamp may be early


@dataclass(frozen=True)
class VideoInfo:
    """What a video is.

    Attributes:
        seconds: length of its longest track: as stated, or else counted.
        frame_rate: images a second, the mean; 0 if nothing states it.
        width: of the images as they are shown, upright, pixels.
        height: the same.
        has_sound: whether there is an audio track that can be decoded.
        sound_start: seconds at which the sound begins; usually 0 or a few hundredths.
    """

    seconds: float
    frame_rate: float
    width: int
    height: int
    has_sound: bool
    sound_start: float = 0.0


def probe_video(path: str | os.PathLike[str]) -> VideoInfo:
    """Examine a video; its first image is decoded.

    Args:
        path: a regular file.

    Raises:
        FileNotFoundError: no such file, or a folder.
        VideoError: no video: no pictures that move (sound, cover art, a photograph), not a regular file,
            damaged, or images of more than `voiceface.images.loading.MAX_PIXELS`.
    """
    with open_container(path) as container:
        stream = find_video_track(path, container)
        stream.codec_context.thread_count = 1
        converter = FrameConverter(pixel_aspect(stream))
        origin = (container.start_time or 0) / 1e6
        damaged = [0]
        frames = decode_frames(container, stream, Timeline(origin, 0), lambda: _count(damaged))
        first = next(frames, None)
        frames.close()
        if first is None:
            raise _no_images_error(path, damaged[0])
        width, height = converter.size_of(first[1])
        check_pixels(path, width, height)
        has_sound, sound_start = _examine_sound(path, container, origin)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        seconds = _stated_seconds(container, stream)
    if seconds is None:
        seconds = _count_seconds(path)
    return VideoInfo(seconds, rate if rate <= MAX_FRAME_RATE else 0.0, width, height, has_sound, sound_start)


class VideoImages(Iterator[tuple[float, Image]]):
    """Images of a video in order, from `iterate_images`; closes the file at the end, or by `close`.

    Yields (seconds from the beginning of the file, image (H, W, 3) uint8 RGB, upright).
    """

    def __init__(
        self, path: str | os.PathLike[str], rate: float | None, start: float, end: float | None
    ) -> None:
        self._damaged = [0]
        self._images = self._generate(path, rate, start, end)

    @property
    def damaged_frames(self) -> int:
        """Packets and images so far that could not be decoded; they are skipped."""
        return self._damaged[0]

    def __next__(self) -> tuple[float, Image]:
        return next(self._images)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._images.close()

    def _generate(
        self, path: str | os.PathLike[str], rate: float | None, start: float, end: float | None
    ) -> Generator[tuple[float, Image], None, None]:
        converters: list[FrameConverter] = []
        slot, decoded = -1, False
        frames = iterate_frames(
            path,
            "video",
            start,
            on_track=lambda stream: converters.append(FrameConverter(pixel_aspect(stream))),
            on_damage=lambda: _count(self._damaged),
        )
        try:
            for time, frame in frames:
                decoded = True
                if time < start - _EARLY:
                    continue
                if end is not None and time >= end - _EARLY:
                    return
                if rate is not None:
                    place = math.floor((time + _EARLY) * rate)
                    if place <= slot:
                        continue
                    slot = place
                check_pixels(path, *converters[-1].size_of(frame))
                yield time, converters[-1].convert(frame)
        finally:
            frames.close()
        if not decoded and start <= 0:
            raise _no_images_error(path, self.damaged_frames)


def iterate_images(
    path: str | os.PathLike[str], *, rate: float | None = None, start: float = 0.0, end: float | None = None
) -> VideoImages:
    """Decode the images of a video one after another, on one thread.

    Args:
        path: a regular file.
        rate: most images a second; of the images of a video with more, the first in every 1 / rate seconds
            is taken. None: all.
        start: seconds from the beginning of the file.
        end: the same; None: to the end.

    Returns:
        Iterator over (seconds from the beginning of the file, RGB image (H, W, 3) uint8). Seconds increase
        strictly. All images have the size of the first, unless the video changes its proportions. What
        cannot be decoded is left out and counted in `damaged_frames`. A file that ends early gives what is
        there.

    Raises:
        ValueError: a rate that is not positive.
        FileNotFoundError: no such file, or a folder; raised at the first image, as are the following.
        VideoError: as `probe_video`; no image can be decoded.
    """
    if rate is not None and not rate > 0:
        raise ValueError(f"the rate must be positive, found {rate:g} images a second")
    return VideoImages(path, rate, start, end)


def pixel_aspect(stream: Any) -> float:
    """Width by height of the pixels of a track; 0 if nothing states it."""
    ratio = stream.sample_aspect_ratio
    return float(ratio) if ratio else 0.0


def _count(counter: list[int]) -> None:
    counter[0] += 1


def _examine_sound(path: str | os.PathLike[str], container: Any, origin: float) -> tuple[bool, float]:
    """Whether there is sound, and the second at which it begins."""
    try:
        stream = find_audio_track(path, container)
    except VideoError:
        return False, 0.0
    begin = float(stream.start_time * stream.time_base) - origin if stream.start_time is not None else 0.0
    return True, begin if 0 <= begin <= MAX_GAP else 0.0


def _stated_seconds(container: Any, stream: Any) -> float | None:
    """Length that the header states, if it can be."""
    stated = [container.duration / 1e6] if container.duration else []
    if stream.duration:
        stated.append(float(stream.duration * stream.time_base))
    return next((each for each in stated if 0 < each <= MAX_SECONDS), None)


def _count_seconds(path: str | os.PathLike[str]) -> float:
    """Length by the time stamps of all packets, or by their number; nothing is decoded."""
    reach, count = 0.0, 0
    with open_container(path) as container:
        origin = (container.start_time or 0) / 1e6
        stream = find_video_track(path, container)
        step, packets = usual_step(stream), container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                break
            if packet is None:
                break
            count += packet.size > 0
            if packet.pts is not None:
                behind = (packet.pts + (packet.duration or 0)) * packet.time_base
                reach = max(reach, float(behind) - origin)
    reach = reach or count * step
    return reach if reach <= MAX_SECONDS else 0.0


def _no_images_error(path: str | os.PathLike[str], damaged: int) -> VideoError:
    found = f"{damaged} damaged packets and no image that" if damaged else "no image that"
    return VideoError(f"{printable(path)}: its video track holds {found} can be decoded; {REMEDY}")
