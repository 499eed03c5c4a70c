"""Training pairs: a random clip and a random picture of one video, drawn anew every time.

What is drawn follows from the video and a generator alone. Letters: T frames, S picture side in pixels.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from voiceface.audio.vad import Int16Samples, SpeechError
from voiceface.datasets.augmentation import build_augmentation
from voiceface.images import transforms
from voiceface.images.loading import load_image
from voiceface.runtime.process_pool import available_cpu_count

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

log = logging.getLogger(__name__)
FILES_PER_BLOCK = 64  # files decoded at a time while the memory is filled


class PairDataset:
    """One entry a video; `draw` gives a random clip and a random picture of it.

    Args:
        videos: who is trained on.
        data: how files reach the networks.
        image_size: side S of the images.
        load_log_mel: voice key -> bands (64, T); default: files below the voice root.
        load_samples: voice key -> samples (T,) at 16 kHz, where waveforms are augmented; default as above.
        load_image: face key -> RGB bytes of size S; default: files below the face root.
        workers: threads that fill the memory; None takes every core.
        progress: show a bar meanwhile.

    Raises:
        ValueError: no videos, or no roots and no loaders.
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
            raise ValueError("no training videos: look at --data, or at the table")
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
        """One clip and one picture of a video, each uniform among its own.

        Args:
            index: of the video.
            rng: source of every draw: clip, its start, picture, then its steps.

        Returns:
            "voice": (1, 64, T) float32. "face": (3, S, S) float32 in -1...1. "index": the video, int.

        Raises:
            AudioError, SpeechError, ImageError, FileNotFoundError: a drawn file cannot be used.
        """
        video = self.videos.videos[index]
        clip = video.voices[int(rng.integers(len(video.voices)))]
        voice_rng, face_rng = rng.spawn(2) if self.augmentation else (rng, rng)
        bands = self._read_log_mel(clip, voice_rng)
        voice = prepare_voice(bands, self.data.voice, lambda places: int(rng.integers(places)), crop=True)
        if self.data.gain_jitter:
            voice = self._apply_gain(voice, float(rng.normal(0, self.data.gain_jitter)))
        if self.augmentation and self.augmentation.voice:
            voice = self.augmentation.voice.mask_bands(voice, voice_rng)
        picture = video.faces[int(rng.integers(len(video.faces)))]
        kept = self._cached_images.get(picture)
        face = self._augment_face(self._load_image(picture) if kept is None else kept, rng, face_rng)
        return {"voice": voice, "face": face, "index": index}

    def _read_log_mel(self, clip: str, rng: np.random.Generator) -> LogMelArray:
        """Bands (64, T) of a clip, kept or computed; of a changed waveform where that is configured."""
        kept: Any = self._cached_voices.get(clip)
        if self._waveform_augmentation is None:
            return self._load_log_mel(clip) if kept is None else kept
        samples = self._load_samples(clip) if kept is None else kept
        waveform = self._waveform_augmentation.apply(samples.astype(np.float32), rng)
        changed = np.clip(np.rint(waveform), -32768, 32767).astype(np.int16)
        config = self.data.voice.model_copy(update={"on_no_speech": "keep"})  # noise may hide the speech
        return compute_log_mel(changed, 16000, config, clip)

    def _apply_gain(self, voice: LogMelArray, decibels: float) -> LogMelArray:
        """The same clip at another level; frames that only pad it stay zero."""
        if self.data.voice.frontend == "sphinx":  # standardised bands have no level
            return voice
        return np.where(voice.any(axis=1, keepdims=True), voice + np.float32(decibels), voice)

    def _augment_face(
        self, image: ImageArray, rng: np.random.Generator, face_rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """A picture as the network takes it, with the random steps of training."""
        changes = self.augmentation.face if self.augmentation else None
        if self.data.face_transform == "none" and changes is None:
            return to_planes(image)
        if self.data.face_transform == "none":
            face = image.transpose(2, 0, 1).astype(np.float32)
        else:
            face = transforms.training_transform(image, self.image_size, rng, resize_mode="stretch")
        if changes:
            face = changes.apply(face, changes.sample(face_rng), channels="rgb")
        if self.data.colour_jitter and self.data.face_transform == "views":
            face = transforms.jitter_colour(face, self.data.colour_jitter, rng)
        return (face - np.float32(127.5)) / np.float32(127.5)

    def __getstate__(self) -> dict[str, Any]:
        """Leave decoded files behind: a process started by spawn would get its own copy of them all."""
        if isinstance(self._load_log_mel, _MelLoader):
            return {**self.__dict__, "_cached_voices": {}, "_cached_images": {}}
        return self.__dict__

    def _load_into_memory(self, workers: int, progress: bool) -> None:
        """Decode every file once."""
        clips = list(dict.fromkeys(key for video in self.videos.videos for key in video.voices))
        pictures = list(dict.fromkeys(key for video in self.videos.videos for key in video.faces))
        load_voice = self._load_samples if self._waveform_augmentation else self._load_log_mel
        jobs: list[tuple[str, Callable[[str], Any], dict[str, Any]]] = [
            *((key, load_voice, self._cached_voices) for key in clips),
            *((key, self._load_image, self._cached_images) for key in pictures),
        ]
        with (
            ThreadPoolExecutor(workers) as pool,
            tqdm(total=len(jobs), desc="decode", unit="file", disable=not progress) as bar,
        ):
            for start in range(0, len(jobs), FILES_PER_BLOCK):
                some = jobs[start : start + FILES_PER_BLOCK]
                for (key, _, kept), found in zip(some, pool.map(lambda job: job[1](job[0]), some)):
                    kept[key] = found
                    bar.update()


class SamplingWithReplacement:
    """A data set whose entries are drawn at random each time, as published: one may occur twice in a batch.

    Args:
        dataset: the videos.
    """

    def __init__(self, dataset: PairDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """As many draws an epoch as there are videos."""
        return len(self.dataset)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """A random video's pair; `index` says nothing but which draw of the epoch this is."""
        return self.dataset.sample(int(rng.integers(len(self.dataset))), rng)


def synthetic_training_set(
    preset: str, config: Cmpc2Config, *, progress: bool = True, workers: int | None = None, **settings: Any
) -> PairDataset:
    """Training videos of a population preset, made in memory: nothing is written to the disk.

    Args:
        preset: name of the preset.
        config: the experiment.
        progress: show a bar.
        workers: processes that generate videos; None uses every core.
        changes: of the population's settings, such as rho, seed or people.
    """
    from voiceface.synthetic.dataset import PopulationDataset
    from voiceface.synthetic.identities import get_clip_video, get_image_video, video_id

    people = PopulationDataset(preset, "train", progress=progress, workers=workers, **settings)
    seed = people.settings.seed
    videos = []
    for row, (k, name, voice_id, gender, nation) in enumerate(
        zip(
            people.identities.ids.tolist(),
            people.identities.face_names,
            people.identities.voice_ids,
            people.identities.genders,
            people.identities.nationalities,
        )
    ):
        clips: dict[int, list[str]] = {}
        pictures: dict[int, list[str]] = {}
        for count, of, groups in (
            (people.settings.clips, get_clip_video, clips),
            (people.settings.images, get_image_video, pictures),
        ):
            for number in range(count):
                groups.setdefault(of(k, number, seed=seed), []).append(f"{row}/{number}")
        ids = {number: video_id(k, number, seed=seed) for number in clips.keys() & pictures.keys()}
        videos += [
            Video(name, voice_id, video, tuple(clips[n]), tuple(pictures[n]), gender, nation)
            for n, video in sorted(ids.items(), key=lambda item: item[1])
        ]
    side = config.model.face.image_size

    def load_bands(key: str) -> LogMelArray:
        row, number = map(int, key.split("/"))
        return compute_log_mel(people.clips[row, number], 16000, config.data.voice, f"clip {key}")

    def load_samples(key: str) -> Int16Samples:
        row, number = map(int, key.split("/"))
        return people.clips[row, number]

    def load_picture(key: str) -> ImageArray:
        row, number = map(int, key.split("/"))
        return resize_image(people.images[row, number], side)

    return PairDataset(
        VideoSet(tuple(videos)),
        config.data.model_copy(update={"in_memory": True}),
        side,
        load_log_mel=load_bands,
        load_samples=load_samples,
        load_image=load_picture,
        workers=workers,
        progress=progress,
    )


class _MelLoader:
    """Bands of a file below a root; importable, so that it can travel to workers."""

    def __init__(self, root: Path, config: VoiceFrontendConfig) -> None:
        self.root, self.config = root, config

    def __call__(self, key: str) -> LogMelArray:
        return load_log_mel(self.root / key, self.config)


class _SampleLoader:
    """Samples of a recording below a root at 16 kHz."""

    def __init__(self, root: Path, config: DataConfig) -> None:
        self.root, self.config = root, config

    def __call__(self, key: str) -> Int16Samples:
        items = self.config.augmentation.voice.waveform_items  # type: ignore[union-attr]
        name = f"data.augmentation.voice.{items[0]}"
        if (self.root / key).suffix in (".pkl", ".npy"):
            raise SpeechError(
                f"{self.root / key}: {name} changes waveforms, found stored features; use recordings, or set "
                f"{name}=null"
            )
        samples, rate = read_utterance(self.root / key, self.config.voice)
        if rate != SAMPLE_RATE:
            raise SpeechError(
                f"{self.root / key}: {name} needs {SAMPLE_RATE} Hz, found {rate}; use "
                "data.voice.sample_rates=resample"
            )
        return samples


class _ImageLoader:
    """Picture of a file below a root at its final size."""

    def __init__(self, root: Path, image_size: int) -> None:
        self.root, self.image_size = root, image_size

    def __call__(self, key: str) -> ImageArray:
        return resize_image(load_image(self.root / key), self.image_size)


def _require_root(folder: Path | None) -> Path:
    if folder is None:
        raise ValueError("videos without folders need loaders of their own")
    return folder
