"""Inference with the voice2face baseline: recordings to its features, its networks to images.

Letters: M mel bands, T frames, N voices, D embedding size.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from voiceface.audio.feature_files import read_feature_file
from voiceface.audio.vad import (
    VoiceActivityDetector,
    collect_segments_requerying,
    no_speech_error,
    read_samples,
    split_frames,
)
from voiceface.real.voice_samples import is_path, read_voice_samples

from sf2f.inference import Model, VoiceFeatures, is_stored
from sf2f.speech import VOICE2FACE_SUFFIXES, Mel, validate_mel
from sf2f.voice2face_baseline import Rescale, Voice2FaceNetworks, load_voice2face

if TYPE_CHECKING:
    from voiceface.audio.frontends import PerceptionistLogMel
    from voiceface.audio.vad import Int16Samples


__all__ = [
    "FEATURE_SUFFIXES",
    "FRAMES_PER_SECOND",
    "N_MELS",
    "SAMPLE_RATE",
    "VAD_AGGRESSIVENESS",
    "VAD_FRAME_SAMPLES",
    "VAD_RING_FRAMES",
    "Voice2FaceModel",
    "compute_voice2face_features",
    "load_voice2face_features",
    "load_voice2face_model",
    "remove_silence",
]

SAMPLE_RATE, N_MELS, FRAMES_PER_SECOND = 16000, 64, 100
VAD_AGGRESSIVENESS = 2
VAD_FRAME_SAMPLES = 320
"""20 ms."""
VAD_RING_FRAMES = 2
"""A ring of 50 ms holds two whole frames."""
FEATURE_SUFFIXES = VOICE2FACE_SUFFIXES


@dataclass(frozen=True)
class Voice2FaceModel(Model):
    """The published networks, with the interface that `sf2f.inference` expects of a model.

    Recordings are encoded as a whole, not in windows. The embeddings of several recordings are averaged and
    normalised again.

    Attributes:
        networks: at least voice embedding and generator.
        rescale: of the images, see `Voice2FaceNetworks.generate_images`.
        name, disclaimer: as in `Sf2fModel`.
        has_fuser: always False.
    """

    networks: Voice2FaceNetworks
    rescale: Rescale = "fixed"
    name: str = "voice2face (Wen et al.)"
    disclaimer: str = ""
    has_fuser: bool = False

    @property
    def n_mels(self) -> int:
        """M."""
        return self.networks.e.config.n_mels

    def load_features(self, source: Any, **options: Any) -> VoiceFeatures:
        """Load features of a recording, an array of samples or a feature file; see `sf2f.inference.Model`."""
        if is_path(source) and is_stored(source, FEATURE_SUFFIXES):
            return VoiceFeatures(str(source), *load_voice2face_features(source, self.n_mels))
        samples, name, facts = read_voice_samples(source, **options)
        voiced = remove_silence(samples, name)
        mel = compute_voice2face_features(voiced, self.n_mels)
        return VoiceFeatures(name, mel, len(voiced) / SAMPLE_RATE, facts)

    def split_windows(self, mel: Mel, stride: int | None = None) -> Mel:
        """Return the whole recording as one window (1, M, T); `stride` is not used."""
        return mel[None]

    @torch.no_grad()
    def embed(self, windows: Tensor) -> Tensor:
        """Encode features (N, M, T) to unit embeddings (N, D)."""
        return self.networks.embed(windows)

    def pool_embeddings(self, embeddings: Tensor) -> Tensor:
        """Average embeddings (N, D) of one identity to a unit vector (1, D)."""
        return F.normalize(embeddings.mean(0, keepdim=True))

    def decode_images(self, embeddings: Tensor) -> Tensor:
        """Decode embeddings (N, D) to images (N, 3, side, side), 0...1."""
        return self.networks.decode_images(embeddings, self.rescale)


def load_voice2face_model(path: str | Path, rescale: Rescale = "fixed") -> Voice2FaceModel:
    """Load the published files; errors as `load_voice2face`."""
    networks = load_voice2face(path)
    for network in (networks.e, networks.g):
        network.requires_grad_(False)
    return Voice2FaceModel(networks, rescale)


def load_voice2face_features(path: str | os.PathLike[str], n_mels: int = N_MELS) -> tuple[Mel, float]:
    """Load the features of a recording, or a stored feature file (.npy, (T, M)).

    Returns:
        Features (M, T), float32, and seconds of speech (for stored features, their duration).

    Raises:
        SpeechError: no speech, or features of another shape or not finite.
        FileNotFoundError, voiceface.audio.loading.AudioError: missing, or not an audio file.
    """
    source = str(path)
    if Path(path).suffix.lower() in FEATURE_SUFFIXES:
        stored = read_feature_file(path)
        mel = validate_mel(stored.T if stored.ndim == 2 else stored, n_mels, source)
        return mel, mel.shape[1] / FRAMES_PER_SECOND
    voiced = remove_silence(read_samples(path, SAMPLE_RATE)[0], source)
    return compute_voice2face_features(voiced, n_mels), len(voiced) / SAMPLE_RATE


def remove_silence(samples: "Int16Samples", source: str = "the recording") -> "Int16Samples":
    """Voiced frames of a recording at 16 kHz; every frame in the ring buffer is tested again at each step.

    Raises:
        SpeechError: nothing is voiced.
    """
    frames = split_frames(samples, VAD_FRAME_SAMPLES)
    raw = [frame.tobytes() for frame in frames]
    detector = VoiceActivityDetector(VAD_AGGRESSIVENESS, SAMPLE_RATE, source)
    segment = collect_segments_requerying(len(raw), lambda number: detector(raw[number]), VAD_RING_FRAMES)
    if segment.max(initial=-1) < 0:
        raise no_speech_error(samples, SAMPLE_RATE, source)
    return np.concatenate([frame for frame, number in zip(frames, segment) if number >= 0])


def compute_voice2face_features(samples: "Int16Samples", n_mels: int = N_MELS) -> Mel:
    """Log-mel bands (M, T) of speech (S,) int16 at 16 kHz, zero mean and unit variance, T >= 1000."""
    mel = _get_frontend(n_mels)(torch.from_numpy(samples.astype(np.float64))[None])[0]
    return np.ascontiguousarray(mel.numpy())


@lru_cache(maxsize=2)
def _get_frontend(n_mels: int) -> "PerceptionistLogMel":
    """Front end shared by both published programs, for a number of mel bands."""
    from voiceface.audio.frontends import PerceptionistLogMel

    return PerceptionistLogMel(n_mels)
