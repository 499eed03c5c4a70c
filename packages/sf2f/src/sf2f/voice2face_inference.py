"""The baseline of Wen, Singh and Raj as a program: recordings to its features, its networks to pictures.

Letters: M mel bands, T frames, N voices, D embedding length (specification, section 12).
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from voiceface.audio.vad import Detector, SpeechError, collect_reasked, frames_of, nothing_heard, read_samples

from sf2f.encoders import unit
from sf2f.speech import DAMAGED, Mel, checked_mel
from sf2f.voice2face_baseline import Rescale, Wen, load_wen

if TYPE_CHECKING:
    from voiceface.audio.frontends import PerceptionistLogMel
    from voiceface.audio.vad import Samples

RATE, BANDS, FRAMES_A_SECOND = 16000, 64, 100
AGGRESSIVENESS, FRAME, RING = 2, 320, 2  # of the detector; 20 ms frames in a ring of 50 ms
FEATURE_SUFFIXES = (".npy",)


@dataclass(frozen=True)
class WenToFace:
    """The published networks, with what `sf2f.inference` asks of a model.

    A recording is heard as a whole, not in windows. Of several recordings the embeddings are averaged and
    brought to unit length again.

    Attributes:
        networks: voice embedding and generator at least.
        rescale: of the pictures, see `Wen.pictures`.
        name, notice: as of `VoiceToFace`.
    """

    networks: Wen
    rescale: Rescale = "fixed"
    name: str = "voice2face (Wen et al.)"
    notice: str = ""
    fuses: bool = False

    @property
    def bands(self) -> int:
        """M."""
        return self.networks.e.config.bands

    @torch.no_grad()
    def embed(self, windows: Tensor) -> Tensor:
        """Features (N, M, T) to unit embeddings (N, D)."""
        return self.networks.embed(windows)

    def join(self, embeddings: Tensor) -> Tensor:
        """Embeddings (N, D) of one person to a unit vector (1, D)."""
        return unit(embeddings.mean(0, keepdim=True))

    def pictures(self, embeddings: Tensor) -> Tensor:
        """Embeddings (N, D) to pictures (N, 3, side, side), 0...1."""
        return self.networks.decode(embeddings, self.rescale)


def load_wen_to_face(path: str | Path, rescale: Rescale = "fixed") -> WenToFace:
    """Read the published files; errors as `load_wen`."""
    networks = load_wen(path)
    for network in (networks.e, networks.g):
        network.requires_grad_(False)
    return WenToFace(networks, rescale)


def read_wen_voice(path: str | os.PathLike[str], bands: int = BANDS) -> tuple[Mel, float]:
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
        except DAMAGED as error:
            raise SpeechError(f"{path} is damaged or no feature file ({error}); make it again") from None
        mel = checked_mel(found.T if found.ndim == 2 else found, bands, source)
        return mel, mel.shape[1] / FRAMES_A_SECOND
    voiced = without_silence(read_samples(path, RATE)[0], source)
    return wen_features(voiced, bands), len(voiced) / RATE


def without_silence(samples: "Samples", source: str = "the recording") -> "Samples":
    """The voiced frames of a recording at 16 kHz, every frame of the ring asked about at each step.

    Raises:
        SpeechError: none.
    """
    frames = frames_of(samples, FRAME)
    raw = [frame.tobytes() for frame in frames]
    detector = Detector(AGGRESSIVENESS, RATE, source)
    segment = collect_reasked(len(raw), lambda number: detector(raw[number]), RING)
    if segment.max(initial=-1) < 0:
        raise nothing_heard(samples, RATE, source)
    return np.concatenate([frame for frame, number in zip(frames, segment) if number >= 0])


def wen_features(samples: "Samples", bands: int = BANDS) -> Mel:
    """Speech (S,), int16 at 16 kHz, to log-mel bands (M, T) of mean 0 and deviation 1, T at least 1000."""
    found = _front_end(bands)(torch.from_numpy(samples.astype(np.float64))[None])[0]
    return np.ascontiguousarray(found.numpy())


@lru_cache(maxsize=2)
def _front_end(bands: int) -> "PerceptionistLogMel":
    """The extractor that both published programs share, at a number of bands."""
    from voiceface.audio.frontends import PerceptionistLogMel

    return PerceptionistLogMel(bands)
