"""Sounds, pictures and videos that the fuzz session mutates; equal bytes at every start."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["PICTURES", "SOUNDS", "VIDEOS", "write_film"]

RATE = 16000
Write = Callable[[Path], Any]


def _voice(seconds: float = 0.6, rate: int = RATE) -> np.ndarray:
    """A vowel: harmonics of 120 Hz, (T,) int16."""
    time = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * 120 * n * time) / n for n in range(1, 20))
    return np.round(6000 * np.asarray(wave) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))).astype("<i2")


def _portrait(width: int = 56, height: int = 64) -> np.ndarray:
    """A picture with edges and gradients, (H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    face = ((x - width / 2) / 18) ** 2 + ((y - height / 2) / 26) ** 2 < 1
    picture = np.stack([3 * x, 255 - 2 * y, x + y], axis=2)
    picture[face] = (200, 160, 130)
    return picture.astype(np.uint8)


def _sndfile(kind: str, subtype: str, **options: Any) -> Write:
    """A recording by libsndfile."""

    def write(path: Path) -> None:
        import soundfile

        with path.open("wb") as file:
            soundfile.write(file, _voice(), RATE, subtype, format=kind, **options)

    return write


def _avfile(kind: str, codec: str, rate: int = RATE, **options: str) -> Write:
    """A recording by FFmpeg; "bitexact" leaves out random numbers and dates."""

    def write(path: Path) -> None:
        import av

        with av.open(str(path), "w", format=kind, options={"fflags": "+bitexact", **options}) as container:
            stream = container.add_stream(codec, rate=rate)
            if codec.startswith("wma"):
                stream.bit_rate = 64000
            stream.codec_context.flags |= av.codec.context.Flags.bitexact
            stream.layout = "mono"
            _write_sound(container, stream, rate)

    return write


def _write_sound(container: Any, stream: Any, rate: int) -> None:
    """Encode `_voice` into a stream."""
    import av

    resampler = av.AudioResampler(stream.format, stream.layout, rate, frame_size=stream.frame_size or 1024)
    frame = av.AudioFrame.from_ndarray(_voice(rate=rate)[None], "s16", "mono")
    frame.sample_rate, frame.pts = rate, 0
    for piece in (frame, None):
        for part in resampler.resample(piece):
            container.mux(stream.encode(part))
    container.mux(stream.encode(None))


def write_film(
    path: Path, kind: str, video: str, sound: str, rate: int = RATE, size: tuple[int, int] = (64, 48)
) -> None:
    """A video of 8 frames with sound.

    Args:
        path: to write.
        kind: container, as FFmpeg calls it.
        video: encoder of the pictures.
        sound: encoder of the sound.
        rate: of the sound.
        size: width and height.
    """
    import av

    with av.open(str(path), "w", format=kind, options={"fflags": "+bitexact"}) as container:
        options = {"x264-params": "threads=1"} if video == "libx264" else {}
        pictures = container.add_stream(video, rate=10, options=options)
        pictures.width, pictures.height = size
        pictures.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
        pictures.time_base = Fraction(1, 10)
        track = container.add_stream(sound, rate=rate)
        track.layout = "mono"
        if sound.startswith("wma"):
            track.bit_rate = 64000
        for stream in (pictures, track):
            stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for number in range(8):
            frame = av.VideoFrame.from_ndarray(np.roll(_portrait(*size), 2 * number, axis=1), "rgb24")
            frame.pts = number
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        _write_sound(container, track, rate)


def _film(*arguments: Any) -> Write:
    return lambda path: write_film(path, *arguments)


def _remux(write: Write, kind: str) -> Write:
    """Packets of another file in a container without random numbers."""

    def rewrite(path: Path) -> None:
        import av

        source = path.with_name("source" + path.suffix)
        write(source)
        with (
            av.open(str(source)) as before,
            av.open(str(path), "w", format=kind, options={"fflags": "+bitexact"}) as after,
        ):
            stream = after.add_stream_from_template(before.streams.audio[0])
            for packet in before.demux(before.streams.audio[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    after.mux(packet)
        source.unlink()

    return rewrite


def _picture(kind: str, mode: str = "RGB", **options: Any) -> Write:
    """A picture by Pillow."""

    def write(path: Path) -> None:
        from PIL import Image, ImageCms

        image = Image.fromarray(_portrait())
        if kind == "HEIF":
            from pillow_heif import from_pillow

            from_pillow(image).save(path, quality=60)
            return
        if mode == "RGBA":
            image.putalpha(Image.fromarray(_portrait()[:, :, 0]))
        elif mode == "I;16":
            image = Image.fromarray(_portrait()[:, :, 0].astype(np.uint16) * 257)
        else:
            image = image.convert(mode)
        if options.pop("camera", False):
            exif = Image.Exif()
            exif[274], exif[271] = 6, "maker"
            profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
            profile[24:36] = bytes(12)  # its date
            options.update(exif=exif, icc_profile=bytes(profile))
        if options.pop("pages", False):
            options.update(save_all=True, append_images=[image.rotate(90)])
        image.save(path, kind, **options)

    return write


SOUNDS: dict[str, tuple[str, Write]] = {
    "wav": ("a.wav", _sndfile("WAV", "PCM_16")),
    "wav, float": ("a.wav", _avfile("wav", "pcm_f32le")),
    "wav, 24 bit": ("a.wav", _sndfile("WAV", "PCM_24")),
    "wav, adpcm": ("a.wav", _sndfile("WAV", "IMA_ADPCM")),
    "wav, g.722": ("a.wav", _avfile("wav", "g722")),
    "rf64": ("a.wav", _sndfile("RF64", "PCM_16")),
    "w64": ("a.w64", _sndfile("W64", "PCM_16")),
    "aiff": ("a.aiff", _sndfile("AIFF", "PCM_16")),
    "au": ("a.au", _sndfile("AU", "ULAW")),
    "caf": ("a.caf", _sndfile("CAF", "PCM_16")),
    "caf, alac": ("a.caf", _sndfile("CAF", "ALAC_16")),
    "flac": ("a.flac", _sndfile("FLAC", "PCM_16")),
    "flac in ogg": ("a.ogg", _avfile("ogg", "flac")),
    "vorbis": ("a.ogg", _remux(_sndfile("OGG", "VORBIS"), "ogg")),
    "opus": ("a.opus", _avfile("ogg", "libopus", 48000)),
    "mp3": ("a.mp3", _avfile("mp3", "libmp3lame")),
    "mp3 without count": ("a.mp3", _avfile("mp3", "libmp3lame", write_xing="0")),
    "mp2": ("a.mp2", _avfile("mp2", "mp2", 32000)),
    "aac": ("a.aac", _avfile("adts", "aac")),
    "m4a": ("a.m4a", _avfile("ipod", "aac")),
    "m4a, alac": ("a.m4a", _avfile("ipod", "alac")),
    "amr": ("a.amr", _avfile("amr", "libopencore_amrnb", 8000)),
    "wma": ("a.wma", _avfile("asf", "wmav2")),
    "ac3": ("a.ac3", _avfile("ac3", "ac3", 32000)),
    "wavpack": ("a.wv", _avfile("wv", "wavpack")),
    "tta": ("a.tta", _avfile("tta", "tta")),
    "voc": ("a.voc", _sndfile("VOC", "PCM_16")),
    "sphere": ("a.wav", _sndfile("NIST", "PCM_16")),
    "mka": ("a.mka", _avfile("matroska", "flac")),
}
"""File name and writer of every recording."""

VIDEOS: dict[str, tuple[str, Write]] = {
    "mp4": ("a.mp4", _film("mp4", "libx264", "aac")),
    "mov": ("a.mov", _film("mov", "mjpeg", "pcm_s16le")),
    "3gp": ("a.3gp", _film("3gp", "h263", "libopencore_amrnb", 8000, (128, 96))),
    "webm": ("a.webm", _film("webm", "libvpx", "libopus", 48000)),
    "mkv": ("a.mkv", _film("matroska", "mpeg4", "libmp3lame")),
    "avi": ("a.avi", _film("avi", "mpeg4", "pcm_s16le")),
    "ts": ("a.ts", _film("mpegts", "mpeg2video", "mp2", 32000)),
    "wmv": ("a.wmv", _film("asf", "wmv2", "wmav2")),
    "flv": ("a.flv", _film("flv", "flv", "libmp3lame", 44100)),
}
"""File name and writer of every video."""

PICTURES: dict[str, tuple[str, Write]] = {
    "jpeg": ("a.jpg", _picture("JPEG", camera=True)),
    "jpeg, progressive": ("a.jpg", _picture("JPEG", "CMYK", progressive=True)),
    "png": ("a.png", _picture("PNG", "RGBA", camera=True)),
    "png, palette": ("a.png", _picture("PNG", "P", transparency=3)),
    "png, 16 bit": ("a.png", _picture("PNG", "I;16")),
    "gif": ("a.gif", _picture("GIF", pages=True)),
    "webp": ("a.webp", _picture("WEBP", "RGBA", camera=True)),
    "webp, animated": ("a.webp", _picture("WEBP", pages=True, lossless=True)),
    "tiff": ("a.tif", _picture("TIFF", pages=True, compression="tiff_lzw")),
    "tiff, jpeg": ("a.tif", _picture("TIFF", compression="jpeg")),
    "bmp": ("a.bmp", _picture("BMP")),
    "avif": ("a.avif", _picture("AVIF")),
    "heic": ("a.heic", _picture("HEIF")),
    "jpeg 2000": ("a.jp2", _picture("JPEG2000")),
}
"""File name and writer of every picture."""
