"""Training pairs: a random clip and a random image of one video.

A sample is a function of the video and the generator alone. Notation: T frames, S image side in pixels.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from voiceface.audio.vad import Int16Samples, SpeechError
from voiceface.datasets.array_blocks import ArrayBlocks
from voiceface.datasets.augmentation import build_augmentation
from voiceface.images import transforms
from voiceface.images.loading import load_image
from voiceface.io.decoding_worker import decoding_in_workers
from voiceface.runtime.process_pool import available_cpu_count
from voiceface.runtime.progress import progress_bar

from cmpc2.audio_frontend import (
    SAMPLE_RATE,
    LogMelArray,
    compute_log_mel,
    load_log_mel,
    prepare_voice,
    read_utterance,
)
from cmpc2.config import Cmpc2Config, DataConfig
from cmpc2.image_frontend import ImageArray, resize_image, to_planes
from cmpc2.model_config import VoiceFrontendConfig
from cmpc2.videos import Video, VideoSet

__all__ = ["PairDataset", "SamplingWithReplacement", "synthetic_training_set"]

log = logging.getLogger(__name__)
FILES_PER_BLOCK = 64  # files decoded at a time while data is loaded into memory


class PairDataset:
    """Data set with one entry per video; `sample` returns a random clip and a random image of it.

    Args:
        videos: training videos.
        data: preprocessing.
        image_size: side S of the images in pixels.
        load_log_mel: voice key -> log-mel bands (64, T); default: files below the voice root.
        load_samples: voice key -> samples (T,) at 16 kHz, if waveforms are augmented; default as above.
        load_image: face key -> RGB bytes of size S; default: files below the face root.
        workers: threads that load data into memory; None: one per core.
        progress: show a progress bar while loading.

    Raises:
        ValueError: no videos, or neither folders nor loaders.
    """

    def __init__(
        self,
        videos: VideoSet,
        data: DataConfig,
        image_size: int,
        *,
        load_log_mel: Callable[[str], LogMelArray] | None = None,
        load_samples: Callable[[str], Int16Samples] | None = None,
        load_image: Callable[[str], ImageArray] | None = None,
        workers: int | None = None,
        progress: bool = True,
    ) -> None:
        if not len(videos):
            raise ValueError("no training videos: check --data or --table")
        self.videos, self.data, self.image_size = videos, data, image_size
        self.augmentation = build_augmentation(data.augmentation)
        voice = self.augmentation.voice if self.augmentation else None
        self._waveform_augmentation = voice if voice and voice.config.waveform_items else None
        self._load_log_mel = load_log_mel or _MelLoader(_require_root(videos.voice_root), data.voice)
        if self._waveform_augmentation:
            self._load_samples = load_samples or _SampleLoader(_require_root(videos.voice_root), data)
        self._load_image = load_image or _ImageLoader(_require_root(videos.face_root), image_size)
        self._cached_voices: dict[str, LogMelArray | Int16Samples] = {}
        self._cached_images: dict[str, ImageArray] = {}
        if data.in_memory:
            self._load_into_memory(workers or available_cpu_count(), progress)

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.videos)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Sample one clip and one image of a video, uniformly.

        Args:
            index: of the video.
            rng: source of randomness: clip, its start, image, then its augmentation.

        Returns:
            "voice": (1, 64, T) float32. "face": (3, S, S) float32 in -1...1. "index": the video, int.

        Raises:
            AudioError, SpeechError, ImageError, FileNotFoundError: a sampled file cannot be used.
        """
        video = self.videos.videos[index]
        clip = video.voices[int(rng.integers(len(video.voices)))]
        voice_rng, face_rng = rng.spawn(2) if self.augmentation else (rng, rng)
        log_mel = self._read_log_mel(clip, voice_rng)
        voice = prepare_voice(log_mel, self.data.voice, lambda count: int(rng.integers(count)), crop=True)
        if self.data.gain_jitter:
            voice = self._apply_gain(voice, float(rng.normal(0, self.data.gain_jitter)))
        if self.augmentation and self.augmentation.voice:
            voice = self.augmentation.voice.mask_bands(voice, voice_rng)
        key = video.faces[int(rng.integers(len(video.faces)))]
        cached = self._cached_images.get(key)
        face = self._augment_face(self._load_image(key) if cached is None else cached, rng, face_rng)
        return {"voice": voice, "face": face, "index": index}

    def _read_log_mel(self, clip: str, rng: np.random.Generator) -> LogMelArray:
        """Look up or compute the log-mel bands (64, T) of a clip, of the augmented waveform if configured."""
        cached: Any = self._cached_voices.get(clip)
        if self._waveform_augmentation is None:
            return self._load_log_mel(clip) if cached is None else cached
        samples = self._load_samples(clip) if cached is None else cached
        waveform = self._waveform_augmentation.apply(samples.astype(np.float32), rng)
        augmented = np.clip(np.rint(waveform), -32768, 32767).astype(np.int16)
        config = self.data.voice.model_copy(update={"on_no_speech": "keep"})  # noise may hide the speech
        return compute_log_mel(augmented, SAMPLE_RATE, config, clip)

    def _apply_gain(self, voice: LogMelArray, decibels: float) -> LogMelArray:
        """Change the level of a clip; padding frames remain zero."""
        if self.data.voice.frontend == "sphinx":  # standardised bands have no level
            return voice
        return np.where(voice.any(axis=1, keepdims=True), voice + np.float32(decibels), voice)

    def _augment_face(
        self, image: ImageArray, rng: np.random.Generator, face_rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Convert an image to network input, with the random augmentation of training."""
        augmentation = self.augmentation.face if self.augmentation else None
        if self.data.face_transform == "none" and augmentation is None:
            return to_planes(image)
        if self.data.face_transform == "none":
            face = image.transpose(2, 0, 1).astype(np.float32)
        else:
            face = transforms.training_transform(image, self.image_size, rng, resize_mode="stretch")
        if augmentation:
            face = augmentation.apply(face, augmentation.sample(face_rng), channels="rgb")
        if self.data.colour_jitter and self.data.face_transform == "views":
            face = transforms.jitter_colour(face, self.data.colour_jitter, rng)
        return (face - np.float32(127.5)) / np.float32(127.5)

    def __getstate__(self) -> dict[str, Any]:
        """Omit decoded files: a process started by spawn would get its own copy of them."""
        if isinstance(self._load_log_mel, _MelLoader):
            return {**self.__dict__, "_cached_voices": {}, "_cached_images": {}}
        return self.__dict__

    def _load_into_memory(self, workers: int, progress: bool) -> None:
        """Decode every file once."""
        clips = list(dict.fromkeys(key for video in self.videos.videos for key in video.voices))
        images = list(dict.fromkeys(key for video in self.videos.videos for key in video.faces))
        load_voice = self._load_samples if self._waveform_augmentation else self._load_log_mel
        jobs: list[tuple[str, Callable[[str], Any], dict[str, Any]]] = [
            *((key, load_voice, self._cached_voices) for key in clips),
            *((key, self._load_image, self._cached_images) for key in images),
        ]
        blocks = ArrayBlocks()
        with (
            decoding_in_workers(workers),
            ThreadPoolExecutor(workers) as pool,
            progress_bar(total=len(jobs), description="decode", enabled=progress) as bar,
        ):
            for start in range(0, len(jobs), FILES_PER_BLOCK):
                block = jobs[start : start + FILES_PER_BLOCK]
                for (key, _, cache), data in zip(block, pool.map(lambda job: job[1](job[0]), block)):
                    cache[key] = blocks.keep(data)
                    bar.update()


class SamplingWithReplacement:
    """Data set that samples a random entry each time, as published: a video may occur twice in a batch.

    Args:
        dataset: training videos.
    """

    def __init__(self, dataset: PairDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """Samples per epoch: the number of videos."""
        return len(self.dataset)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Sample the pair of a random video; `index` is ignored."""
        return self.dataset.sample(int(rng.integers(len(self.dataset))), rng)


def synthetic_training_set(
    preset: str, config: Cmpc2Config, *, progress: bool = True, workers: int | None = None, **settings: Any
) -> PairDataset:
    """Generate the training videos of a population preset in memory.

    Args:
        preset: name of the preset.
        config: the experiment.
        progress: show a progress bar.
        workers: processes that generate videos; None: one per core.
        settings: overrides of the preset, such as its seed; see `PopulationDataset`.
    """
    from voiceface.synthetic.dataset import PopulationDataset
    from voiceface.synthetic.identities import get_clip_video, get_image_video, video_id

    population = PopulationDataset(preset, "train", progress=progress, workers=workers, **settings)
    identities, seed = population.identities, population.settings.seed
    videos = []
    for row, (k, name, voice_id, gender, nation) in enumerate(
        zip(
            identities.ids.tolist(),
            identities.face_names,
            identities.voice_ids,
            identities.genders,
            identities.nationalities,
        )
    ):
        clips: dict[int, list[str]] = {}
        images: dict[int, list[str]] = {}
        for count, get_video, groups in (
            (population.settings.clips, get_clip_video, clips),
            (population.settings.images, get_image_video, images),
        ):
            for number in range(count):
                groups.setdefault(get_video(k, number, seed=seed), []).append(f"{row}/{number}")
        ids = {number: video_id(k, number, seed=seed) for number in clips.keys() & images.keys()}
        videos += [
            Video(name, voice_id, video, tuple(clips[n]), tuple(images[n]), gender, nation)
            for n, video in sorted(ids.items(), key=lambda item: item[1])
        ]
    image_size = config.model.face.image_size

    def load_bands(key: str) -> LogMelArray:
        return compute_log_mel(load_samples(key), SAMPLE_RATE, config.data.voice, f"clip {key}")

    def load_samples(key: str) -> Int16Samples:
        row, number = map(int, key.split("/"))
        return population.clips[row, number]

    def load_rgb(key: str) -> ImageArray:
        row, number = map(int, key.split("/"))
        return resize_image(population.images[row, number], image_size)

    return PairDataset(
        VideoSet(tuple(videos)),
        config.data.model_copy(update={"in_memory": True}),
        image_size,
        load_log_mel=load_bands,
        load_samples=load_samples,
        load_image=load_rgb,
        workers=workers,
        progress=progress,
    )


class _MelLoader:
    """Load log-mel bands of files below a root; picklable, for worker processes."""

    def __init__(self, root: Path, config: VoiceFrontendConfig) -> None:
        self.root, self.config = root, config

    def __call__(self, key: str) -> LogMelArray:
        return load_log_mel(self.root / key, self.config)


class _SampleLoader:
    """Load samples of utterances below a root at 16 kHz."""

    def __init__(self, root: Path, config: DataConfig) -> None:
        self.root, self.config = root, config

    def __call__(self, key: str) -> Int16Samples:
        items = self.config.augmentation.voice.waveform_items  # type: ignore[union-attr]
        name = f"data.augmentation.voice.{items[0]}"
        if (self.root / key).suffix in (".pkl", ".npy"):
            raise SpeechError(
                f"{self.root / key}: {name} augments waveforms, found stored features; use utterances, or "
                f"set {name}=null"
            )
        samples, rate = read_utterance(self.root / key, self.config.voice)
        if rate != SAMPLE_RATE:
            raise SpeechError(
                f"{self.root / key}: {name} needs {SAMPLE_RATE} Hz, found {rate}; use "
                "data.voice.sample_rates=resample"
            )
        return samples


class _ImageLoader:
    """Load images below a root at their final size."""

    def __init__(self, root: Path, image_size: int) -> None:
        self.root, self.image_size = root, image_size

    def __call__(self, key: str) -> ImageArray:
        return resize_image(load_image(self.root / key), self.image_size)


def _require_root(folder: Path | None) -> Path:
    if folder is None:
        raise ValueError("videos without folders need load_log_mel and load_image")
    return folder
