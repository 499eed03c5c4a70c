"""Small videos that tests make: any container and codec of FFmpeg, with or without sound."""

from fractions import Fraction

import av
import numpy as np

SOUND_RATE = 16000


def write_video(
    path,
    images,
    *,
    codec="libx264",
    rate=25,
    times=None,
    options=None,
    matrix=None,
    pixel_aspect=None,
    sound=None,
    sound_start=0.0,
    sound_codec="aac",
    container_format=None,
    clock=None,
):
    """Write images (H, W, 3), RGB, and sound (T,) or (channels, T) of 16 kHz; `times` in ticks of `clock`."""
    images = iter(images)
    first = next(images, None)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container_format) as container:
        video = audio = None
        if first is not None:
            video = container.add_stream(codec, rate=rate, options=options or {})
            video.height, video.width = first.shape[:2]
            video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            video.thread_count = 1
            if clock is not None:
                video.time_base = video.codec_context.time_base = Fraction(1, clock)
            if pixel_aspect is not None:
                video.codec_context.sample_aspect_ratio = Fraction(pixel_aspect)
            if matrix is not None:
                video.set_display_matrix(matrix)
        if sound is not None:
            sound = np.atleast_2d(np.asarray(sound, np.float32))
            layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[len(sound)]
            audio = container.add_stream(sound_codec, rate=SOUND_RATE, layout=layout)
        number = 0
        while first is not None:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(first), format="rgb24")
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, clock or rate)
            container.mux(video.encode(frame))
            first, number = next(images, None), number + 1
        if video is not None:
            container.mux(video.encode())
        if audio is not None:
            _write_sound(container, audio, sound, sound_start)
    return path


def _write_sound(container, stream, sound, start):
    """Encode sound in frames as the codec takes them."""
    packed = stream.codec_context.format.is_packed
    size = stream.codec_context.frame_size or 1024
    name = "flt" if packed else "fltp"
    resampler = av.AudioResampler(format=stream.codec_context.format.name, layout=stream.layout.name)
    for begin in range(0, sound.shape[1], size):
        part = sound[:, begin : begin + size]
        part = part.T.reshape(1, -1) if packed else part
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format=name, layout=stream.layout.name)
        frame.sample_rate, frame.pts = SOUND_RATE, begin + round(start * SOUND_RATE)
        frame.time_base = Fraction(1, SOUND_RATE)
        for ready in resampler.resample(frame):
            container.mux(stream.encode(ready))
    container.mux(stream.encode())


def moving_square(count, size=(96, 160), side=24, colour=(220, 20, 20)):
    """Images on which a square goes from left to right, one pixel each."""
    for number in range(count):
        image = np.full((*size, 3), 40, np.uint8)
        left = 8 + number % (size[1] - side - 16)
        image[36 : 36 + side, left : left + side] = colour
        yield image


def square_place(image, colour=(220, 20, 20)):
    """Middle of the square (x, y), and its size (width, height)."""
    near = np.abs(image.astype(int) - colour).max(axis=2) < 70
    ys, xs = np.nonzero(near)
    return (xs.mean() + 0.5, ys.mean() + 0.5), (np.ptp(xs) + 1, np.ptp(ys) + 1)
