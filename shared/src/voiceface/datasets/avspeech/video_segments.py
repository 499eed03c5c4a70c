"""Segments of video files: audio, images at given times, crops around a face (PyAV).

Images are upright and have square pixels, as a player shows them (`voiceface.videos`). Times are seconds from
the beginning of the file. Missing or undecodable data in a segment are errors; corrupt
data elsewhere in the file do not matter, since only the segment is decoded.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from voiceface.audio.packets import frame_samples
from voiceface.audio.samples import AudioError
from voiceface.videos.containers import Kind, VideoError, iterate_frames
from voiceface.videos.decoding import pixel_aspect
from voiceface.videos.orientation import FrameConverter
from voiceface.videos.sound import TIMESTAMP_TOLERANCE

__all__ = [
    "MISSING_TOLERANCE",
    "MediaError",
    "crop_square",
    "read_audio_segment",
    "read_images_at",
]

MISSING_TOLERANCE = 0.5  # seconds that may be missing at the end of a segment, and age of its last image


class MediaError(ValueError):
    """A segment that is missing or cannot be decoded; the message names file, finding and remedy."""


def read_audio_segment(
    path: str | Path, start: float, end: float, sample_rate: int = 16000
) -> NDArray[np.int16]:
    """Decode the audio of a segment: mean of the channels, resampled (soxr, high quality).

    Args:
        path: file with an audio track.
        start: of the segment, seconds.
        end: of the segment, seconds.
        sample_rate: of the result, Hz.

    Returns:
        Shape (T,), int16, T = (end - start) * rate, or up to MISSING_TOLERANCE seconds less at the end of a
        file.

    Raises:
        MediaError: no audio track, corrupt, or more than MISSING_TOLERANCE seconds of the segment are
            missing.
    """
    wave: NDArray[np.float32] | None = None
    native, filled, reach, follows = 0, 0, 0, None
    with closing(_iterate_frames(path, "audio", start)) as frames:
        for time, frame in frames:
            if wave is None:
                native = frame.sample_rate
                wave = np.zeros(max(1, round((end - start) * native)), np.float32)
            elif frame.sample_rate != native:
                raise MediaError(f"{path}: the sample rate changes from {native} to {frame.sample_rate} Hz")
            samples = _mix(path, frame)
            place = round((time - start) * native)
            if follows is not None and abs(place - follows) <= TIMESTAMP_TOLERANCE * native:
                place = follows
            follows = place + len(samples)
            if place >= len(wave):
                break
            low, high = max(place, 0), min(follows, len(wave))
            if low < high:
                wave[low:high] = samples[low - place : high - place]
                filled, reach = filled + high - low, max(reach, high)
    if wave is None or not reach or (len(wave) - filled) / native > MISSING_TOLERANCE:
        found = filled / native if native else 0.0
        raise MediaError(
            f"{path}: contains {found:.2f} s of audio between {start:g} s and {end:g} s, expected "
            f"{end - start:.2f} s; the file is cut short or corrupt: obtain it again"
        )
    wave = wave[:reach]
    if not np.isfinite(wave).all():
        raise MediaError(f"{path}: the audio contains non-finite values; obtain the file again")
    if native != sample_rate:
        import soxr

        wave = soxr.resample(wave, native, sample_rate, quality="HQ")
    return np.clip(np.rint(wave * np.float32(32768)), -32768, 32767).astype(np.int16)


def read_images_at(path: str | Path, times: Sequence[float]) -> list[NDArray[np.uint8]]:
    """Decode the images at given times.

    Args:
        path: file with a video track.
        times: seconds, ascending.

    Returns:
        One image per time, shape (H, W, 3), uint8, B G R.

    Raises:
        MediaError: no video track, corrupt, the file ends earlier, or two times have the same image.
    """
    shown: list[tuple[float, Any]] = []
    left = list(times)
    before: tuple[float, Any] | None = None
    converters: list[FrameConverter] = []

    def prepare(track: Any) -> None:
        converters.append(FrameConverter(pixel_aspect(track), "bgr24", guess_colours=False))

    with closing(_iterate_frames(path, "video", left[0], prepare)) as frames:
        for time, frame in frames:
            while left and time > left[0] + 1e-6:
                shown.append(before or (time, frame))
                left.pop(0)
            before = (time, frame)
            if not left:
                break
    if left and (before is None or left[-1] - before[0] > MISSING_TOLERANCE):
        ends = "no images" if before is None else f"its last image at {before[0]:.2f} s"
        raise MediaError(
            f"{path}: contains {ends}, expected one at {left[-1]:.2f} s; "
            "the file is cut short or corrupt: obtain it again"
        )
    shown += [before] * len(left) if before else []
    if len({time for time, _ in shown}) < len(times):
        raise MediaError(
            f"{path}: shows {len({time for time, _ in shown})} different images at {len(times)} times from "
            f"{times[0]:.2f} s to {times[-1]:.2f} s; ask for fewer images"
        )
    if any(frame.is_corrupt for _, frame in shown):
        raise MediaError(
            f"{path}: corrupt images between {times[0]:.2f} s and {times[-1]:.2f} s; obtain the file again"
        )
    return [converters[-1].convert(frame) for _, frame in shown]


def crop_square(
    image: NDArray[np.uint8], x: float, y: float, side_fraction: float, side: int
) -> NDArray[np.uint8]:
    """Crop the square around a point and resize it.

    Args:
        image: shape (H, W, 3), uint8.
        x: of the point, as a fraction of W, in [0, 1].
        y: of the point, as a fraction of H, in [0, 1].
        side_fraction: side of the square as a fraction of H, limited to the image.
        side: of the result, pixels.

    Returns:
        Shape (side, side, 3), uint8. A square beyond the border is moved inside, not padded.
    """
    height, width = image.shape[:2]
    length = min(max(1, round(side_fraction * height)), height, width)
    left = min(max(0, round(x * width - length / 2)), width - length)
    top = min(max(0, round(y * height - length / 2)), height - length)
    square = image[top : top + length, left : left + length]
    if length == side:
        return square
    how = cv2.INTER_AREA if side < length else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (side, side), interpolation=how), np.uint8)


def _iterate_frames(
    path: str | Path, kind: Kind, start: float, on_track: Callable[[Any], None] | None = None
) -> Generator[tuple[float, Any], None, None]:
    """Yield (seconds from the beginning of the file, frame), from shortly before `start` to the end.

    Raises:
        MediaError: no such track, or corrupt.
    """
    try:
        yield from iterate_frames(path, kind, start, on_track=on_track)
    except (VideoError, FileNotFoundError) as error:
        raise MediaError(str(error)) from error


def _mix(path: str | Path, frame: Any) -> NDArray[np.float32]:
    """Mean of the channels of a frame, (T,)."""
    try:
        samples = np.ascontiguousarray(frame_samples(path, frame), np.float32)
    except AudioError as error:
        raise MediaError(str(error)) from error
    return np.asarray(samples.mean(axis=0))
