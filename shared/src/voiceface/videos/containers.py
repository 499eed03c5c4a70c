"""Containers of people's own videos, opened with PyAV behind a guard: the tracks in them and their frames.

FFmpeg is given the open file, never its name, and no protocol, so that a play list cannot make it open other
files or addresses. Times are seconds from the beginning of the file: the earliest time stamp of any track.
"""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import av
from av.stream import Disposition

from voiceface.audio.byte_ranges import FileView, raw_file
from voiceface.images.loading import MAX_PIXELS
from voiceface.io.file_kinds import HEAD_SIZE, printable, recognise
from voiceface.io.foreign_files import first_line, reading

__all__ = [
    "MAX_GAP",
    "REMEDY",
    "SEEK_LEAD",
    "SEEK_TOLERANCE",
    "Kind",
    "Timeline",
    "VideoError",
    "check_pixels",
    "decode_frames",
    "find_audio_track",
    "find_video_track",
    "has_pictures",
    "iterate_frames",
    "open_container",
    "usual_step",
]

SEEK_LEAD = 1.0  # seconds decoded before a place, since decoders need some packets to settle
SEEK_TOLERANCE = 0.1  # seconds by which the first frame after seeking may be late
MAX_GAP = 3600.0
"""Seconds between two frames beyond which a time stamp is not believed."""
USUAL_STEP = 0.04  # seconds between frames where nothing states it
JUMP = 1.0  # seconds backwards from which the clock has started anew
BUFFER_BYTES = 1 << 17
NO_VIDEO_FORMATS = ("tty", "gif", "webp_anim")
NO_VIDEO_CODECS = ("ansi", "bintext", "xbin", "idf")
PICTURE_KINDS = ("image", "pdf", "html", "json", "xml", "utf-16", "empty", "zeros", "lfs", "zip")
REMEDY = "export or copy the video again"
Kind = Literal["audio", "video"]


class VideoError(ValueError):
    """A video that cannot be used; the message names file, finding and remedy."""


@contextmanager
def open_container(path: str | os.PathLike[str], what: str = "a video") -> Iterator[Any]:
    """Open a video or sound file for PyAV.

    Args:
        path: a regular file.
        what: what is expected, with an article, for messages.

    Yields:
        An `av.container.InputContainer`.

    Raises:
        FileNotFoundError: no such file, or a folder.
        VideoError: anything else: no regular file, no format that FFmpeg knows, or damaged.
    """
    with reading(path, VideoError, what, own_kinds=("audio", "video"), remedy=REMEDY) as file:
        head = file.read(HEAD_SIZE)
        kind = recognise(head)
        if kind is not None and kind.key in PICTURE_KINDS:
            remedy = kind.remedy or ("load it as a picture" if kind.key == "image" else "remove it")
            raise VideoError(f"{printable(path)} is {kind.title}, expected {what}; {remedy}")
        raw = raw_file(file)
        view: Any = FileView(raw, 0, os.fstat(file.fileno()).st_size)
        try:
            with av.open(
                view,
                "r",
                metadata_errors="replace",
                buffer_size=BUFFER_BYTES,
                options={"protocol_whitelist": "none"},
            ) as container:
                name = container.format.name
                if name.endswith("_pipe") or name in NO_VIDEO_FORMATS:
                    raise VideoError(f"{printable(path)} is a picture or text ({name}), expected {what}")
                yield container
        except av.FFmpegError as error:
            reason = first_line(error).rstrip(".")
            raise VideoError(
                f"{printable(path)}: cannot be decoded ({reason}), expected {what}; {REMEDY}"
            ) from error


def has_pictures(container: Any) -> bool:
    """Whether an open container has a video track; cover art is none."""
    return bool(_picture_streams(container))


def _picture_streams(container: Any) -> list[Any]:
    return [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]


def find_video_track(path: str | os.PathLike[str], container: Any) -> Any:
    """Return the video track: the default one, else that with most pixels; cover art is none.

    Raises:
        VideoError: no such track, one of an unknown format, or too many pixels.
    """
    name = printable(path)
    streams = _picture_streams(container)
    if not streams:
        found = "only a cover picture" if container.streams.video else "no pictures"
        raise VideoError(
            f"{name}: contains no video track but {found}, expected a video; use it as a recording"
        )
    known = [each for each in streams if each.codec_context is not None and each.codec_context.name]
    known = [each for each in known if each.codec_context.name not in NO_VIDEO_CODECS]
    if not known:
        raise VideoError(f"{name}: its video track has a format that is not known here; convert the file")

    def rank(stream: Any) -> tuple[bool, int, int]:
        context = stream.codec_context
        default = bool(stream.disposition & Disposition.default)
        return default, (context.width or 0) * (context.height or 0), -stream.index

    stream = max(known, key=rank)
    check_pixels(path, stream.codec_context.width or 0, stream.codec_context.height or 0)
    # a track may state another size than its frames have; those in memory are padded
    stream.codec_context.options = {"max_pixels": str(2 * MAX_PIXELS)}
    return stream


def find_audio_track(path: str | os.PathLike[str], container: Any) -> Any:
    """Return the first audio track that can be decoded.

    Raises:
        VideoError: no such track.
    """
    for stream in container.streams.audio:
        if stream.codec_context is not None and stream.codec_context.name:
            return stream
    found = "one of an unknown format" if container.streams.audio else "none"
    raise VideoError(f"{printable(path)}: contains no audio track that can be decoded ({found}); {REMEDY}")


def check_pixels(path: str | os.PathLike[str], width: int, height: int) -> None:
    """Refuse frames of more pixels than a picture may have.

    Raises:
        VideoError: more than `voiceface.images.loading.MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise VideoError(
            f"{printable(path)}: frames of {width} x {height} pixels, expected at most {MAX_PIXELS:,} "
            "pixels; scale the video down"
        )


class Timeline:
    """Times of the frames of one track, in order, from time stamps that may be missing or start anew.

    Args:
        origin: seconds, time stamp of the beginning of the file.
        step: seconds between frames.
    """

    def __init__(self, origin: float, step: float) -> None:
        self._shift, self._step = -origin, step if 0 < step <= MAX_GAP else USUAL_STEP
        self._last: float | None = None

    def place(self, frame: Any) -> float:
        """Time of the next frame: later than that of the frame before, whatever is stored."""
        stamp = frame.pts if frame.pts is not None else frame.dts
        base = float(frame.time_base or 0)
        last = self._last
        if stamp is None or not base:
            time = 0.0 if last is None else last + self._step
        else:
            time = float(stamp * frame.time_base) + self._shift
            if last is not None and not last < time <= last + MAX_GAP:
                expected = last + self._step
                if not last - JUMP < time < last + JUMP:  # recordings joined, or a clock that ran over
                    self._shift += expected - time
                time = expected
        self._last = time
        return time


def decode_frames(
    container: Any, stream: Any, timeline: Timeline, on_damage: Callable[[], None] | None
) -> Generator[tuple[float, Any], None, None]:
    """Decode one track from the present position to its end.

    Args:
        container: from `open_container`.
        stream: the track.
        timeline: gives the times.
        on_damage: called for every packet or frame that cannot be decoded; None: it is an error.

    Yields:
        (seconds, frame).

    Raises:
        av.FFmpegError: damaged, if `on_damage` is None.
    """
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except EOFError:
            return
        except av.FFmpegError:
            if on_damage is None:
                raise
            on_damage()
            return  # what lies behind cannot be found
        if packet is None:
            return
        try:
            frames = packet.decode()
        except EOFError:
            return
        except av.FFmpegError:
            if on_damage is None:
                raise
            on_damage()
            continue
        for frame in frames:
            time = timeline.place(frame)
            if on_damage is not None and frame.is_corrupt:
                on_damage()
                continue
            yield time, frame


def iterate_frames(
    path: str | os.PathLike[str],
    kind: Kind,
    start: float = 0.0,
    *,
    on_track: Callable[[Any], None] | None = None,
    on_damage: Callable[[], None] | None = None,
) -> Generator[tuple[float, Any], None, None]:
    """Decode a track from shortly before a time to its end, on one thread.

    Args:
        path: the file.
        kind: of track.
        start: seconds; the first frames may be earlier.
        on_track: called with the track before its first frame.
        on_damage: called for every packet or frame that cannot be decoded; None: it is an error.

    Yields:
        (seconds, frame); seconds increase strictly.

    Raises:
        FileNotFoundError: no such file.
        VideoError: no such track, or it cannot be decoded.
    """
    for seek in (True, False) if start > SEEK_LEAD else (False,):
        with open_container(path) as container:
            find = find_audio_track if kind == "audio" else find_video_track
            stream = find(path, container)
            stream.codec_context.thread_count = 1  # videos are spread over processes
            if on_track is not None:
                on_track(stream)
            origin = (container.start_time or 0) / 1e6
            if seek and not _seek(container, start - SEEK_LEAD + origin):
                continue
            frames = decode_frames(container, stream, Timeline(origin, usual_step(stream)), on_damage)
            first = next(frames, None)
            if seek and (first is None or first[0] > start + SEEK_TOLERANCE):
                continue  # wrong index: read from the beginning
            if first is not None:
                yield first
            yield from frames
            return


def usual_step(stream: Any) -> float:
    """Seconds between two frames of a track, as stated; 0 if nothing is stated."""
    if stream.type == "audio":
        context = stream.codec_context
        return (context.frame_size or 0) / context.sample_rate if context.sample_rate else 0.0
    rate = stream.average_rate or stream.guessed_rate
    return float(1 / rate) if rate else 0.0


def _seek(container: Any, seconds: float) -> bool:
    """Seek to a time stamp; whether that was possible."""
    try:
        container.seek(round(seconds * 1e6))
    except av.FFmpegError:
        return False
    return True
