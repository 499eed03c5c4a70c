"""Training pairs: a random image and a random clip of an identity, or two of each."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.loading import AudioError, OnCorrupt, SampleScale, Waveform, load_audio, repeat_to_length
from voiceface.datasets.array_blocks import ArrayBlocks
from voiceface.datasets.augmentation import Augmentation
from voiceface.datasets.corpus import Corpus, CorpusError
from voiceface.datasets.view_sampling import ChannelOrder, PairAugmentation, SecondSample, ViewSampler
from voiceface.images import transforms
from voiceface.images.loading import load_image
from voiceface.io.decoding_worker import decoding_in_workers
from voiceface.runtime.process_pool import available_cpu_count
from voiceface.runtime.progress import progress_bar

__all__ = [
    "FILES_PER_BLOCK",
    "MAX_IDENTITIES_LISTED",
    "FaceLoader",
    "PairDataset",
    "VoiceLoader",
    "load_training_face",
    "load_training_voice",
]

log = logging.getLogger(__name__)

VoiceLoader = Callable[[Path], NDArray[Any]]
FaceLoader = Callable[[Path], NDArray[np.uint8]]

MAX_IDENTITIES_LISTED = 20  # identities that one error message lists
FILES_PER_BLOCK = 64  # files decoded at a time while the cache is filled


class PairDataset:
    """One entry per identity of a corpus; `sample` gives a random image and a random clip of that identity.

    A sample depends on the index and the generator only, not on earlier samples or the cache.

    Attributes:
        corpus: the identities.
        view_sampler: sampler of images and clips.
        image_size: of the square faces, in pixels.
        length: samples of every voice.
        cached_bytes: memory of decoded files, at most `memory_budget`.
    """

    def __init__(
        self,
        corpus: Corpus,
        load_voice: VoiceLoader | None = None,
        load_face: FaceLoader | None = None,
        *,
        image_size: int = 112,
        length: int = 160_000,
        augment: bool = True,
        rotation: transforms.Rotation = "expand_centred",
        resize_mode: transforms.ResizeMode = "letterbox",
        colour_jitter: float = 0.0,
        channels: ChannelOrder = "bgr",
        num_views: Literal[1, 2] = 1,
        second_sample: SecondSample = "distinct",
        pair_augmentation: PairAugmentation = "shared",
        augmentation: Augmentation | None = None,
        sample_scale: Literal["int16", "native"] = "int16",
        resample: bool = False,
        on_corrupt: OnCorrupt = "error",
        in_memory: bool = False,
        memory_budget: int = 4 << 30,
        workers: int | None = None,
        progress: bool = True,
    ) -> None:
        """Check the corpus and, on request, decode it.

        Args:
            corpus: identities with at least one clip and one image each.
            load_voice: returns the wave of a file, shape (T,); default 16 kHz, first channel.
            load_face: returns the image of a file, (H, W, 3) uint8, B G R for every value of `channels`;
                default `load_image` with tolerance for truncated files.
            image_size: of the square faces.
            length: samples of every voice: shorter clips are repeated, longer ones cut (160 000 = 10 s).
            augment, rotation, resize_mode, colour_jitter, channels, num_views, second_sample,
                pair_augmentation, augmentation: see `ViewSampler`.
            sample_scale: of the voices, see `voiceface.audio.loading` (default loader).
            resample: convert clips of other rates instead of refusing them (default loader).
            on_corrupt: "error" refuses corrupt clips, "salvage" uses what is left (default loader).
            in_memory: decode every file once and cache it: clips as int16 (float32 if they are not integers),
                images as uint8 at their final size. Worker processes started by fork share the cache; pickled
                copies have none.
            memory_budget: largest cache, bytes; further files are read from disk for every sample.
            workers: threads that fill the cache; None for all cores.
            progress: show a progress bar on standard error.

        Raises:
            CorpusError: an empty corpus, or identities without clips or images (all in one message).
            ValueError: an invalid option.
        """
        if image_size < 1 or length < 1:
            raise ValueError(f"image_size and length must be at least 1, found {image_size} and {length}")
        if sample_scale not in ("int16", "native"):
            raise ValueError(f'sample_scale must be "int16" or "native", found {sample_scale!r}')
        self.view_sampler = ViewSampler(
            image_size,
            augment,
            rotation,
            resize_mode,
            colour_jitter,
            channels,
            num_views,
            second_sample,
            pair_augmentation,
            augmentation,
        )
        _check_complete(corpus)
        self.corpus = corpus
        self.image_size = image_size
        self.length = length
        self._load_voice = load_voice or partial(
            load_training_voice, length=length, scale=sample_scale, resample=resample, on_corrupt=on_corrupt
        )
        self._load_face = load_face or load_training_face
        self._cached_voices: dict[str, NDArray[Any]] = {}
        self._cached_faces: dict[str, NDArray[np.uint8]] = {}
        self.cached_bytes = 0
        if in_memory:
            self._fill_cache(memory_budget, workers or available_cpu_count(), progress)

    def __len__(self) -> int:
        """Number of identities."""
        return len(self.corpus.records)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """One image and one clip of an identity, each uniform among that identity's files; or two of each.

        Args:
            index: of the identity in the corpus.
            rng: source of every draw: image, clip, then the transform; then the same of the second view.

        Returns:
            "face": (3, side, side), float32, 0...255, B G R or as `channels` says. "voice": (length,),
            float32, 16-bit scale or as `sample_scale` says. "label": class index of the identity, int. With
            two views also "face_second" and "voice_second".

        Raises:
            AudioError, ImageError, FileNotFoundError: a drawn file cannot be used.
        """
        record = self.corpus.records[index]
        drawn = self.view_sampler.sample(
            len(record.faces),
            len(record.voices),
            lambda image: self._get_face(record.faces[image]),
            lambda clip: self._get_voice(record.voices[clip]),
            rng,
        )
        return {**drawn, "label": record.label}

    def _get_face(self, image: str) -> NDArray[np.uint8]:
        """Get an image from the cache or from disk."""
        kept = self._cached_faces.get(image)
        return self._load_face(self.corpus.face_path(image)) if kept is None else kept

    def _get_voice(self, clip: str) -> NDArray[np.float32]:
        """Get a copy of a clip at full length, from the cache or from disk."""
        kept = self._cached_voices.get(clip)
        wave = repeat_to_length(self._read_voice(clip) if kept is None else kept, self.length)
        return wave.astype(np.float32, copy=kept is not None)  # never return the cached array

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the decoded files: a process started by spawn would get its own copy of them all."""
        return {**self.__dict__, "_cached_voices": {}, "_cached_faces": {}, "cached_bytes": 0}

    def _read_voice(self, clip: str) -> NDArray[Any]:
        """Decode a clip and check its shape."""
        path = self.corpus.voice_path(clip)
        wave = self._load_voice(path)
        if wave.ndim != 1 or not len(wave):
            raise AudioError(f"{path}: loaded as shape {wave.shape}, expected (T,) with T at least 1")
        return wave

    def _cacheable_voice(self, clip: str) -> NDArray[Any]:
        """Decode the used part of a clip: int16 if lossless, else as loaded."""
        wave = self._read_voice(clip)[: self.length]
        with np.errstate(invalid="ignore"):
            integers = wave.astype(np.int16)
        return integers if np.array_equal(integers, wave) else wave.copy()

    def _cacheable_face(self, image: str) -> NDArray[np.uint8]:
        """Decode an image at its final size, before augmentation."""
        return transforms.resize(
            self._load_face(self.corpus.face_path(image)), self.image_size, self.view_sampler.resize_mode
        )

    def _fill_cache(self, budget: int, workers: int, progress: bool) -> None:
        """Decode files, identity by identity, until all are cached or the budget is used up."""
        jobs: dict[tuple[str, str], tuple[dict[str, Any], Callable[[str], NDArray[Any]]]] = {}
        for record in self.corpus.records:  # identities may share files
            jobs |= {("face", item): (self._cached_faces, self._cacheable_face) for item in record.faces}
            jobs |= {("voice", item): (self._cached_voices, self._cacheable_voice) for item in record.voices}
        todo = [(item, *how) for (_, item), how in jobs.items()]
        blocks = ArrayBlocks()
        with (
            decoding_in_workers(workers),
            ThreadPoolExecutor(workers) as pool,
            progress_bar(total=len(todo), description="decode", enabled=progress) as bar,
        ):
            for start in range(0, len(todo), FILES_PER_BLOCK):
                some = todo[start : start + FILES_PER_BLOCK]
                for (item, kept, _), array in zip(some, pool.map(lambda job: job[2](job[0]), some)):
                    bar.update()
                    if self.cached_bytes + array.nbytes > budget:
                        log.warning(
                            "memory budget of %.0f MB used up by %d of %d files; the others are on disk",
                            budget / 1e6,
                            len(self._cached_faces) + len(self._cached_voices),
                            len(todo),
                        )
                        return
                    kept[item] = blocks.keep(array)
                    self.cached_bytes += array.nbytes


def load_training_voice(
    path: Path,
    *,
    length: int | None = None,
    scale: SampleScale = "int16",
    resample: bool = False,
    on_corrupt: OnCorrupt = "error",
) -> Waveform:
    """Load a clip for training: 16 kHz, first channel, `length` samples at most."""
    return load_audio(path, scale=scale, resample=resample, on_corrupt=on_corrupt, max_samples=length)


def load_training_face(path: Path) -> NDArray[np.uint8]:
    """Load an image as uint8 (H, W, 3), B G R; truncated images are used as far as possible."""
    return transforms.to_bgr(load_image(path))


def _check_complete(corpus: Corpus) -> None:
    """Refuse an empty corpus and identities that lack clips or images, naming them in one message."""
    if not len(corpus.records):
        raise CorpusError("the corpus is empty, expected at least one identity; check split and folders")
    problems = []
    for record in corpus.records:
        lacks = [what for what, files in (("clips", record.voices), ("images", record.faces)) if not files]
        if lacks:
            identity = record.identity
            problems.append(
                f"{identity.name} ({identity.voice_id}, {identity.face_id}): no {' and no '.join(lacks)}"
            )
    if problems:
        more = (
            f"; and {len(problems) - MAX_IDENTITIES_LISTED} more"
            if len(problems) > MAX_IDENTITIES_LISTED
            else ""
        )
        raise CorpusError(
            f"{len(problems)} of {len(corpus.records)} identities cannot be paired, expected at least "
            "one clip in "
            f"{corpus.voice_root} and one image in {corpus.face_root} each: "
            f"{'; '.join(problems[:MAX_IDENTITIES_LISTED])}{more}. Add the files or skip these "
            "identities."
        )
