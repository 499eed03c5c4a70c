"""Random changes of training voices and faces, from the generator of a sample (docs/augmentation.md).

A sample is a function of seed, epoch and index (`voiceface.training.sampling`), and so are its changes: batch
t does not depend on the number of loader processes or on interruptions.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from voiceface.audio import augmentation as waveforms
from voiceface.datasets.layouts import AUDIO_SUFFIXES, find_files

if TYPE_CHECKING:
    from voiceface.audio.loading import Waveform
    from voiceface.datasets.augmentation_config import (
        AugmentationConfig,
        CodecConfig,
        FaceAugmentationConfig,
        NoiseConfig,
        ReverberationConfig,
        VoiceAugmentationConfig,
    )

__all__ = [
    "Augmentation",
    "FaceAugmentation",
    "FaceParams",
    "VoiceAugmentation",
    "build_augmentation",
    "build_voice_augmentation",
]

FaceParams = dict[str, tuple[Any, ...]]
"""Sampled changes of a face: arguments of the function of each item that applies."""

MAX_CACHED_FILES = 64  # noise recordings and impulse responses that a process keeps decoded
SOUND_SUFFIXES = tuple(suffix for suffix in AUDIO_SUFFIXES if suffix != ".npy")


@dataclass(frozen=True)
class VoiceAugmentation:
    """Random changes of waveforms and masks of spectrograms.

    Attributes:
        config: the items.
        noise_files: recordings of noise; empty: it is generated.
        impulse_response_files: recorded impulse responses; empty: they are synthetic.
    """

    config: "VoiceAugmentationConfig"
    noise_files: tuple[str, ...] = ()
    impulse_response_files: tuple[str, ...] = ()

    def apply(self, waveform: "Waveform", rng: np.random.Generator) -> "Waveform":
        """Change a waveform (T,), 16 kHz, 16-bit range; the result has T samples.

        A waveform that a higher speed has shortened is repeated from its start.
        """
        from voiceface.audio.loading import repeat_to_length

        config, length = self.config, len(waveform)
        if config.speed and rng.random() < config.speed.probability:
            low, high = (round(100 * factor) for factor in config.speed.factor)
            faster = waveforms.change_speed(waveform, int(rng.integers(low, high + 1)))
            waveform = repeat_to_length(faster, length)
        if config.reverberation and rng.random() < config.reverberation.probability:
            waveform = waveforms.reverberate(waveform, self._sample_response(config.reverberation, rng))
        if config.noise and rng.random() < config.noise.probability:
            noise = self._sample_noise(config.noise, length, rng)
            waveform = waveforms.add_noise(waveform, noise, rng.uniform(*config.noise.snr_db))
        if config.codec and rng.random() < config.codec.probability:
            waveform = _apply_codec(waveform, config.codec, rng)
        return waveform

    def sample_masks(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Sample rectangles for `voiceface.audio.augmentation.mask_spectrogram`, shape (K, 4).

        All are empty where the item does not apply; K is that of the configuration.

        Raises:
            ValueError: `spec_augment` is not configured.
        """
        config = self.config.spec_augment
        if config is None:
            raise ValueError("data.augmentation.voice.spec_augment is null: there are no masks to sample")
        rectangles = np.zeros((config.frequency_masks + config.time_masks, 4), np.float32)
        if rng.random() < config.probability:
            for row in range(len(rectangles)):
                is_frequency = row < config.frequency_masks
                width = rng.uniform(*(config.frequency_width if is_frequency else config.time_width))
                start = rng.uniform(0, 1 - width)
                end = start + width
                rectangles[row] = (start, end, 0, 1) if is_frequency else (0, 1, start, end)
        return rectangles

    def mask_bands(self, bands: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Mask bands (..., M, T) of clips, all with the same rectangles; unchanged without `spec_augment`."""
        if self.config.spec_augment is None:
            return bands
        import torch

        rows = torch.from_numpy(bands).reshape(-1, *bands.shape[-2:])
        masks = torch.from_numpy(self.sample_masks(rng)).expand(len(rows), -1, -1)
        return waveforms.mask_spectrogram(rows, masks).reshape(bands.shape).numpy()

    def _sample_noise(self, config: "NoiseConfig", length: int, rng: np.random.Generator) -> "Waveform":
        """Noise of `length` samples: a random part of a random file, or generated."""
        if not self.noise_files:
            return waveforms.coloured_noise(length, rng.uniform(*config.exponent), rng)
        noise = _load_sound(self.noise_files[int(rng.integers(len(self.noise_files)))])
        first = int(rng.integers(max(1, len(noise) - length + 1)))
        return np.resize(noise[first : first + length], length)

    def _sample_response(self, config: "ReverberationConfig", rng: np.random.Generator) -> "Waveform":
        """An impulse response: a random file, or a synthetic one."""
        files = self.impulse_response_files
        if files:
            return _load_sound(files[int(rng.integers(len(files)))])
        decay, ratio = rng.uniform(*config.decay_seconds), rng.uniform(*config.direct_to_reverberant_db)
        return waveforms.synthetic_impulse_response(decay, ratio, rng)


@dataclass(frozen=True)
class FaceAugmentation:
    """Random changes of face images; sampled apart from being applied, so that two images can share them."""

    config: "FaceAugmentationConfig"

    def sample(self, rng: np.random.Generator) -> FaceParams:
        """Sample the changes of one image, in the order in which they are applied."""
        config, params = self.config, FaceParams()
        if (colour := config.colour) and rng.random() < colour.probability:
            ranges = (colour.brightness, colour.contrast, colour.saturation, colour.hue)
            params["adjust_colours"] = tuple(rng.uniform(*each) for each in ranges)
        if config.blur and rng.random() < config.blur.probability:
            params["blur"] = (rng.uniform(*config.blur.sigma),)
        if config.jpeg and rng.random() < config.jpeg.probability:
            low, high = config.jpeg.quality
            params["compress_jpeg"] = (int(rng.integers(low, high + 1)),)
        if (erasing := config.erasing) and rng.random() < erasing.probability:
            ratio = float(np.exp(rng.uniform(*np.log(erasing.aspect_ratio))))
            params["erase_rectangle"] = (rng.uniform(*erasing.area), ratio, tuple(rng.random(2)))
        return params

    def apply(
        self, face: NDArray[np.float32], params: FaceParams, channels: Literal["bgr", "rgb"] = "bgr"
    ) -> NDArray[np.float32]:
        """Change a face (3, S, S), planes in the order `channels`, whole numbers 0...255, as sampled."""
        if not params:
            return face
        from voiceface.images import augmentation as images

        step = -1 if channels == "bgr" else 1
        image = np.ascontiguousarray(face[::step], np.uint8)
        for name, values in params.items():
            image = getattr(images, name)(image, *values)
        return np.ascontiguousarray(image[::step], np.float32)


@dataclass(frozen=True)
class Augmentation:
    """Changes of both modalities; None leaves one as it is."""

    voice: VoiceAugmentation | None = None
    face: FaceAugmentation | None = None


def build_augmentation(
    config: "AugmentationConfig | None", key: str = "data.augmentation"
) -> Augmentation | None:
    """Build what a configuration describes, and check what it needs.

    Args:
        config: the section; None or a section without items gives None.
        key: dotted name of the section, for messages.

    Raises:
        FileNotFoundError: a folder of noise or impulse responses is missing or holds no sound files.
        ModuleNotFoundError: an item needs torchaudio, which is not installed.
    """
    if config is None:
        return None
    voice = _build_voice(config.voice, f"{key}.voice") if config.voice else None
    has_face = config.face is not None and any(item is not None for _, item in config.face)
    face = FaceAugmentation(config.face) if config.face and has_face else None
    return Augmentation(voice, face) if voice or face else None


def build_voice_augmentation(config: "AugmentationConfig | None") -> VoiceAugmentation | None:
    """Build the changes of voices alone; see `build_augmentation`."""
    augmentation = build_augmentation(config)
    return augmentation.voice if augmentation else None


def _build_voice(config: "VoiceAugmentationConfig", key: str) -> VoiceAugmentation | None:
    """The items of a section, or None if there are none."""
    if not config.waveform_items and config.spec_augment is None:
        return None
    codec, noise, reverberation = config.codec, config.noise, config.reverberation
    needs_torchaudio = {
        "speed": config.speed is not None,
        "reverberation": reverberation is not None,
        "codec": codec is not None and "telephone" in codec.kinds,
    }
    for name, is_needed in needs_torchaudio.items():
        if is_needed:
            waveforms.require_torchaudio(f"{key}.{name}")
    return VoiceAugmentation(
        config,
        _list_sounds(noise.folder if noise else None, f"{key}.noise.folder"),
        _list_sounds(reverberation.folder if reverberation else None, f"{key}.reverberation.folder"),
    )


def _apply_codec(waveform: "Waveform", config: "CodecConfig", rng: np.random.Generator) -> "Waveform":
    """One of the codecs."""
    if config.kinds[int(rng.integers(len(config.kinds)))] == "telephone":
        return waveforms.telephone_codec(waveform)
    return waveforms.mp3_codec(waveform, config.mp3_kbps[int(rng.integers(len(config.mp3_kbps)))])


def _list_sounds(folder: str | None, key: str) -> tuple[str, ...]:
    """Sound files of a folder, sorted; none for None."""
    if folder is None:
        return ()
    files = find_files(folder, "", SOUND_SUFFIXES)
    if not files:
        found = "no such folder" if files is None else "no sound files in it"
        raise FileNotFoundError(f"{key} {folder}: {found}, expected recordings; correct the path")
    return tuple(str(Path(folder) / file) for file in files)


@lru_cache(MAX_CACHED_FILES)
def _load_sound(path: str) -> "Waveform":
    """A recording at 16 kHz."""
    from voiceface.audio.loading import load_audio

    waveform = load_audio(path, scale="int16", resample=True)
    waveform.setflags(write=False)
    return waveform
