"""The readers of sounds, pictures and videos; every input passes all functions that read its kind."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from media_seeds import PICTURES, SOUNDS, VIDEOS
from reader import Reader

__all__ = ["build_media_readers"]

Read = Callable[[Path], Any]
MAX_IMAGES = 2000


def build_media_readers() -> dict[str, Reader]:
    """Readers by name."""
    from voiceface.audio.samples import AudioError
    from voiceface.images.loading import ImageError
    from voiceface.videos.decoding import VideoError

    logging.disable(logging.WARNING)  # notes about files
    sounds = _together((_strict, _salvage, _first_samples, _one_channel, _header, _own_recording), AudioError)
    pictures = _together((_published, _whole, _photograph), ImageError)
    films = _together((_video_header, _images, _some_images, _sound_of_video), VideoError)
    found = {}
    for name, (file, write) in VIDEOS.items():
        found[f"video ({name})"] = Reader(file, write, films, (VideoError,))
    for name, (file, write) in (SOUNDS | VIDEOS).items():
        found[f"sound ({name})"] = Reader(file, write, sounds, (AudioError,))
    for name, (file, write) in PICTURES.items():
        found[f"picture ({name})"] = Reader(file, write, pictures, (ImageError,))
    return found


def _together(functions: Sequence[Read], error_type: type[Exception]) -> Read:
    """All results, a documented error instead of each that there is none of; the error if there is none."""

    def read(path: Path) -> list[Any]:
        results: list[Any] = []
        errors: list[Exception] = []
        for function in functions:
            try:
                results.append(function(path))
            except error_type as error:
                if path.name not in str(error):
                    raise AssertionError(f"{function.__name__}: no name in {error}") from error
                errors.append(error)
                results.append(None)
            except Exception as error:
                raise AssertionError(f"{function.__name__}: {type(error).__name__}: {error}") from error
        results.append(_kind(path))
        if len(errors) == len(functions):
            raise errors[0]
        return results

    return read


def _kind(path: Path) -> Any:
    from voiceface.io.foreign_files import find_file_kind
    from voiceface.io.own_files import classify

    return find_file_kind(path), classify(path)


def _strict(path: Path) -> Any:
    from voiceface.audio.loading import decode_audio

    found = decode_audio(path, scale="int16")
    assert not found.lost_packets and not found.lost_seconds, "losses in strict"
    return _checked(found)


def _salvage(path: Path) -> Any:
    from voiceface.audio.loading import decode_audio

    return _checked(decode_audio(path, scale="native", on_corrupt="salvage"))


def _first_samples(path: Path) -> Any:
    from voiceface.audio.loading import decode_audio

    found = _checked(decode_audio(path, scale="unit", on_corrupt="salvage", max_samples=500))
    assert found.samples.shape[1] <= 500
    return found


def _checked(found: Any) -> Any:
    """What every accepted recording must have."""
    samples = found.samples
    assert samples.ndim == 2 and samples.size and samples.dtype == np.float32, samples.shape
    assert np.isfinite(samples).all(), "samples that are not finite"
    assert 2000 <= found.sample_rate <= 1_536_000, found.sample_rate
    assert 0 <= found.lost_seconds < np.inf and found.lost_packets >= 0, found.lost_seconds
    return found


def _one_channel(path: Path) -> Any:
    from voiceface.audio.loading import load_audio

    wave = load_audio(path, scale="unit", resample=True, channel="auto", on_corrupt="salvage")
    assert wave.ndim == 1 and wave.size and np.isfinite(wave).all()
    return wave


def _own_recording(path: Path) -> Any:
    from voiceface.audio.recordings import load_recording

    return load_recording(path, scale="int16")


def _header(path: Path) -> Any:
    from voiceface.audio.loading import read_audio_info

    found = read_audio_info(path)
    assert np.isfinite(found.duration) and found.duration >= 0 and found.num_channels > 0, found
    return found


def _published(path: Path) -> Any:
    from voiceface.images.loading import load_image

    return _checked_picture(load_image(path, exif_orientation=True))


def _whole(path: Path) -> Any:
    from voiceface.images.loading import load_image

    return _checked_picture(load_image(path, strict=True))


def _photograph(path: Path) -> Any:
    from voiceface.images.photographs import load_photograph

    return _checked_picture(load_photograph(path))


def _checked_picture(pixels: Any) -> Any:
    """What every accepted picture must have."""
    assert pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size and pixels.dtype == np.uint8
    return pixels


def _video_header(path: Path) -> Any:
    from voiceface.videos.decoding import probe_video

    found = probe_video(path)
    assert np.isfinite([found.seconds, found.frame_rate, found.sound_start]).all(), found
    assert found.seconds >= 0 and found.width > 0 and found.height > 0, found
    return found


def _images(path: Path) -> Any:
    return _all_images(path, None)


def _some_images(path: Path) -> Any:
    return _all_images(path, 4.0)


def _all_images(path: Path, rate: float | None) -> list[Any]:
    """All images with their times, which increase."""
    from voiceface.videos.decoding import iterate_images

    times, images = [], []
    with iterate_images(path, rate=rate) as found:
        for time, image in found:
            assert len(images) < MAX_IMAGES, "more images than the file can hold"
            times.append(float(time))
            images.append(_checked_picture(image))
    assert images and np.isfinite(times).all() and (np.diff(times) > 0).all(), times
    return [times, images]


def _sound_of_video(path: Path) -> Any:
    from voiceface.videos.sound import read_sound

    wave = read_sound(path)
    assert wave.ndim == 1 and np.isfinite(wave).all()
    return wave
