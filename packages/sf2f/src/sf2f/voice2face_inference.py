"""The baseline of Wen, Singh and Raj as a program: recordings to its features, its networks to pictures.

Letters: M mel bands, T frames, N voices, D embedding length (specification, section 12).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from voiceface.audio.vad import (
    SpeechError,
    VoiceActivityDetector,
    collect_segments_requerying,
    no_speech_error,
    read_samples,
    split_frames,
)

from sf2f.encoders import l2_normalize
from sf2f.speech import CORRUPT_FILE_ERRORS, Mel, validate_mel
from sf2f.voice2face_baseline import Rescale, Voice2FaceNetworks, load_voice2face

if TYPE_CHECKING:
    from voiceface.audio.frontends import PerceptionistLogMel
    from voiceface.audio.vad import Int16Samples

    from sf2f.inference import GeneratedFace

SAMPLE_RATE, N_MELS, FRAMES_PER_SECOND = 16000, 64, 100
VAD_AGGRESSIVENESS = 2
VAD_FRAME_SAMPLES = 320
"""20 ms."""
VAD_RING_FRAMES = 2
"""A ring of 50 ms holds two whole frames."""
FEATURE_SUFFIXES = (".npy",)


@dataclass(frozen=True)
class Voice2FaceModel:
    """The published networks, with what `sf2f.inference` asks of a model.

    A recording is heard as a whole, not in windows. Of several recordings the embeddings are averaged and
    brought to unit length again.

    Attributes:
        networks: voice embedding and generator at least.
        rescale: of the pictures, see `Wen.decode_images`.
        name, disclaimer: as of `Sf2fModel`.
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

    @torch.no_grad()
    def embed(self, windows: Tensor) -> Tensor:
        """Features (N, M, T) to unit embeddings (N, D)."""
        return self.networks.embed(windows)

    def pool_embeddings(self, embeddings: Tensor) -> Tensor:
        """Embeddings (N, D) of one person to a unit vector (1, D)."""
        return l2_normalize(embeddings.mean(0, keepdim=True))

    def decode_images(self, embeddings: Tensor) -> Tensor:
        """Embeddings (N, D) to pictures (N, 3, side, side), 0...1."""
        return self.networks.decode_images(embeddings, self.rescale)

    def generate(
        self,
        voices: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        stride: int | None = None,
        window_images: bool = False,
        recording_images: bool = False,
        noise: torch.Generator | None = None,
    ) -> "GeneratedFace":
        """Generate a face from recordings of one identity; see `sf2f.inference.generate`."""
        from sf2f.inference import generate

        return generate(
            self,
            voices,
            stride=stride,
            window_images=window_images,
            recording_images=recording_images,
            noise=noise,
        )


def load_voice2face_model(path: str | Path, rescale: Rescale = "fixed") -> Voice2FaceModel:
    """Read the published files; errors as `load_voice2face`."""
    networks = load_voice2face(path)
    for network in (networks.e, networks.g):
        network.requires_grad_(False)
    return Voice2FaceModel(networks, rescale)


def load_voice2face_features(path: str | os.PathLike[str], n_mels: int = N_MELS) -> tuple[Mel, float]:
    """Features of a recording or of a stored feature file (.npy, (T, M)).

    Returns:
        Features (M, T), float32, and seconds of speech in them (of stored features, their length).

    Raises:
        SpeechError: no voice in it, or features of another shape or not finite.
        FileNotFoundError, voiceface.audio.loading.AudioError: absent, or no sound file.
    """
    source = str(path)
    if Path(path).suffix.lower() in FEATURE_SUFFIXES:
        try:
            with Path(path).open("rb") as file:
                found = np.lib.format.read_array(file, allow_pickle=False)
        except FileNotFoundError:
            raise FileNotFoundError(f"feature file {path} does not exist; check the path") from None
        except CORRUPT_FILE_ERRORS as error:
            raise SpeechError(f"{path} is damaged or no feature file ({error}); make it again") from None
        mel = validate_mel(found.T if found.ndim == 2 else found, n_mels, source)
        return mel, mel.shape[1] / FRAMES_PER_SECOND
    voiced = remove_silence(read_samples(path, SAMPLE_RATE)[0], source)
    return compute_voice2face_features(voiced, n_mels), len(voiced) / SAMPLE_RATE


def remove_silence(samples: "Int16Samples", source: str = "the recording") -> "Int16Samples":
    """The voiced frames of a recording at 16 kHz, every frame of the ring asked about at each step.

    Raises:
        SpeechError: none.
    """
    frames = split_frames(samples, VAD_FRAME_SAMPLES)
    raw = [frame.tobytes() for frame in frames]
    detector = VoiceActivityDetector(VAD_AGGRESSIVENESS, SAMPLE_RATE, source)
    segment = collect_segments_requerying(len(raw), lambda number: detector(raw[number]), VAD_RING_FRAMES)
    if segment.max(initial=-1) < 0:
        raise no_speech_error(samples, SAMPLE_RATE, source)
    return np.concatenate([frame for frame, number in zip(frames, segment) if number >= 0])


def compute_voice2face_features(samples: "Int16Samples", n_mels: int = N_MELS) -> Mel:
    """Speech (S,), int16 at 16 kHz, to log-mel bands (M, T) of mean 0 and deviation 1, T at least 1000."""
    found = _get_frontend(n_mels)(torch.from_numpy(samples.astype(np.float64))[None])[0]
    return np.ascontiguousarray(found.numpy())


@lru_cache(maxsize=2)
def _get_frontend(n_mels: int) -> "PerceptionistLogMel":
    """The extractor that both published programs share, at a number of bands."""
    from voiceface.audio.frontends import PerceptionistLogMel

    return PerceptionistLogMel(n_mels)
