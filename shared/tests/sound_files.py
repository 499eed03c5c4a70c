"""Sound files for tests: a tone, and encoding through PyAV."""

import numpy as np

RATE = 16000


def tone(samples=RATE, rate=RATE, hertz=220.0, amplitude=8000.0):
    """A swelling tone, int16."""
    t = np.arange(samples) / rate
    return np.round(amplitude * np.sin(2 * np.pi * hertz * t) * (0.6 + 0.4 * np.sin(7 * t))).astype(np.int16)


def write_packets(path, wave, *, rate=RATE, codec="aac", layout="mono", kind=None, options=None):
    """Encode a wave in -1...1, shape (channels, T), through PyAV."""
    import av

    with av.open(str(path), "w", format=kind, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        for start in range(0, wave.shape[1], 1024):
            part = np.ascontiguousarray(wave[:, start : start + 1024], dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def speech_like(seconds=2.0, rate=RATE):
    """A swelling tone with noise, int16: it does not compress to almost nothing."""
    samples = round(seconds * rate)
    noise = np.random.default_rng(0).integers(-400, 400, samples)
    return (tone(samples, rate) + noise).astype(np.int16)


def encode(path, codec, kind=None, *, rate=RATE, wave=None, layout="mono", bit_rate=None, with_video=None):
    """Encode a wave (channels, T) of int16 by any codec of FFmpeg, beside a video if its codec is named."""
    import av

    wave = speech_like(2.0, rate)[None] if wave is None else wave
    with av.open(str(path), "w", format=kind) as container:
        video = None
        if with_video:
            video = container.add_stream(with_video, rate=10)
            video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if bit_rate:
            stream.bit_rate = bit_rate
        if video:
            for index in range(20):
                picture = np.full((64, 64, 3), 10 * index, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = index
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        form = stream.codec_context.format.name
        convert = av.AudioResampler(format=form, layout=layout, rate=rate)
        for start in range(0, wave.shape[1], 1024):
            part = np.ascontiguousarray(wave[:, start : start + 1024].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            for converted in convert.resample(frame):
                container.mux(stream.encode(converted))
        container.mux(stream.encode(None))


def strip_xing(data):
    """An mp3 file without its first frame, which states the number of frames."""
    place = max(data.find(b"Xing"), data.find(b"Info"))
    assert place > 0
    first = data.rfind(b"\xff", 0, place - 8)
    second = data.find(data[first : first + 2], place + 100)
    return data[second:]


def changing_noise(seed, seconds=4.0):
    """Noise whose spectrum and level change ten times a second."""
    rng = np.random.default_rng(seed)
    count = round(seconds * 10)
    parts = []
    for _ in range(count):
        taps = rng.normal(size=32) * rng.uniform(0.05, 1)
        parts.append(np.convolve(rng.normal(size=1600), taps, "same"))
    wave = np.concatenate(parts)
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)
