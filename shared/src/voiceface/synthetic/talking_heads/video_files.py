"""Write frames and sound as a video file by PyAV, with encoders under permissive licences."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.io.atomic import atomic_path

__all__ = ["VIDEO_CODECS", "check_ending", "write_video"]

# Ending -> container, video and audio encoder: FFmpeg's own (LGPL), libvpx and libopus (BSD). H.264 is not
# written: the usual encoder, x264, is under the GPL.
VIDEO_CODECS = {".mp4": ("mp4", "mpeg4", "aac"), ".webm": ("webm", "libvpx-vp9", "libopus")}
_BITS_PER_PIXEL = 0.3
_AUDIO_CHUNK = 1600


def check_ending(path: str | Path) -> None:
    """Check that a video of this name can be written.

    Raises:
        ValueError: another ending.
    """
    if Path(path).suffix not in VIDEO_CODECS:
        raise ValueError(f"{path}: expected a file name that ends in {' or '.join(VIDEO_CODECS)}")


def write_video(
    path: str | Path,
    frames: Iterable[NDArray[np.uint8]],
    sound: NDArray[np.float32],
    width: int,
    height: int,
    frame_rate: float,
    sample_rate: int,
) -> None:
    """Write a video atomically.

    Args:
        path: .mp4 or .webm.
        frames: RGB, each (H, W, 3) uint8.
        sound: (T,) in -1 ... 1, mono.
        width, height: in pixels, even.
        frame_rate: frames per second.
        sample_rate: of the sound, Hz.

    Raises:
        ValueError: another ending.
    """
    import av

    path = Path(path)
    check_ending(path)
    container_format, video_codec, audio_codec = VIDEO_CODECS[path.suffix]
    rate = Fraction(frame_rate).limit_denominator(1001)
    options = {"fflags": "+bitexact"}
    with (
        atomic_path(path) as partial,
        av.open(str(partial), "w", format=container_format, options=options) as container,
    ):
        video: Any = container.add_stream(video_codec, rate=rate)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.bit_rate = int(_BITS_PER_PIXEL * width * height * frame_rate)
        video.codec_context.thread_count = 1
        video.codec_context.time_base = 1 / rate
        video.options = {"flags": "+bitexact"}
        if video_codec == "libvpx-vp9":
            video.options = {"deadline": "good", "cpu-used": "5", "row-mt": "0"}
        audio: Any = container.add_stream(audio_codec, rate=sample_rate)
        audio.layout, audio.bit_rate = "mono", 64_000
        audio.options = {"flags": "+bitexact"}
        written = 0
        for number, image in enumerate(frames):
            frame: Any = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(video.encode(frame))
            due = min(len(sound), round((number + 1) * sample_rate / frame_rate))
            written = _write_sound(container, audio, sound, written, due, sample_rate)
        _write_sound(container, audio, sound, written, len(sound), sample_rate)
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def _write_sound(
    container: Any, stream: Any, sound: NDArray[np.float32], begin: int, end: int, sample_rate: int
) -> int:
    """Encode the samples from `begin` to `end`; returns `end`."""
    import av

    for start in range(begin, end, _AUDIO_CHUNK):
        part = np.ascontiguousarray(sound[None, start : min(start + _AUDIO_CHUNK, end)])
        frame: Any = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = sample_rate, start, Fraction(1, sample_rate)
        container.mux(stream.encode(frame))
    return end
