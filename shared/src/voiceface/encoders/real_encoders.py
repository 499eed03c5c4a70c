"""The encoders of `voiceface models get real`: voices to 256 numbers, faces to 128."""

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.vad import SpeechError
from voiceface.encoders.alignment import AlignedFaceEncoder
from voiceface.encoders.interface import Encoder, EncoderInfo, Modality
from voiceface.encoders.names import REAL_DIMENSIONS, REAL_NETWORKS
from voiceface.faces.crops import ENCODER_CHIP
from voiceface.real.backends import Backend
from voiceface.real.catalogue import MODELS
from voiceface.real.installation import require_installed
from voiceface.real.networks import NUM_MELS, PARTIAL_FRAMES

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RealFaceEncoder", "RealVoiceEncoder", "load_real"]

Array = NDArray[np.float32]


def load_real(modality: Modality, device: str = "cpu") -> Encoder:
    """Load one of the two encoders.

    Args:
        modality: "voice" or "face".
        device: "cpu" (by onnxruntime where it is installed, which is faster), "cuda" or "auto".

    Raises:
        voiceface.real.installation.MissingModelError: it was not fetched, or for faces the networks that find
            them were not; the message names the command.
    """
    for name in REAL_NETWORKS[modality]:
        require_installed(name)
    fast = all(importlib.util.find_spec(package) is not None for package in ("onnx", "onnxruntime"))
    backend: Backend = "onnxruntime" if device == "cpu" and fast else "torch"
    return RealVoiceEncoder(backend, device) if modality == "voice" else RealFaceEncoder(backend, device)


class RealVoiceEncoder(Encoder):
    """Voice encoder GE2E: the normalised mean of partial utterances of 1.6 s (Wan et al., 2018, section 3.2).

    Long silences are removed first; in files of data folders without any speech found they stay. Network
    input: (P, 160, 40), mel power of P partial utterances.

    Args:
        backend: "torch" or "onnxruntime".
        device: for PyTorch.
    """

    def __init__(self, backend: Backend = "torch", device: str = "cpu") -> None:
        from voiceface.real.voice_encoder import load_voice_encoder

        self.encoder = load_voice_encoder(backend, device)
        super().__init__(_describe("voice", self.encoder.network.fingerprint), batch_size=16)

    def prepare(self, array: NDArray[Any]) -> Array:
        """Convert a waveform (T,), 16 kHz, -1...1, to (P, 160, 40).

        Raises:
            SpeechError: digital silence.
            ValueError: another shape, or values that are not finite.
        """
        from voiceface.real.voice_encoder import compute_partial_bands, normalise_volume

        wave = np.asarray(array, np.float32)
        try:
            return self.prepare_own(wave)
        except SpeechError:
            if not wave.any():
                raise
            return compute_partial_bands(normalise_volume(wave))

    def prepare_own(self, waveform: Array) -> Array:
        """Convert the waveform (T,) of a person's own recording.

        Raises:
            SpeechError: no voice is found.
        """
        from voiceface.real.voice_encoder import compute_partial_bands, prepare_voice

        return compute_partial_bands(prepare_voice(waveform))

    def encode_batch(self, inputs: "Tensor") -> "Tensor":
        """Encode (B, P, 160, 40) as features (B, 256) of unit length."""
        import torch

        parts = inputs.reshape(-1, PARTIAL_FRAMES, NUM_MELS).cpu().numpy()
        means = self.encoder.network(parts)[0].reshape(len(inputs), -1, self.dimension).mean(1)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        return torch.from_numpy(means / np.maximum(lengths, np.finfo(np.float32).tiny))


class RealFaceEncoder(AlignedFaceEncoder):
    """Face encoder of dlib: chips of 150 pixels, aligned by corners of the eyes and bottom of the nose.

    Network input: (3, 150, 150), 0...255.

    Args:
        backend: "torch" or "onnxruntime".
        device: for PyTorch.
    """

    def __init__(self, backend: Backend = "torch", device: str = "cpu") -> None:
        from voiceface.real.face_encoder import load_face_encoder

        self.encoder = load_face_encoder(backend, device)
        super().__init__(_describe("face", self.encoder.network.fingerprint), ENCODER_CHIP, by_mesh=True)

    def encode_batch(self, inputs: "Tensor") -> "Tensor":
        """Encode (B, 3, 150, 150), 0...255, as features (B, 128), to be compared by Euclidean distance."""
        import torch

        return torch.from_numpy(self.encoder.network(inputs.cpu().numpy())[0])


def _describe(modality: Modality, fingerprint: str) -> EncoderInfo:
    wants = {"voice": "recordings of any length, 1.6 s at least", "face": "pictures in which a face is found"}
    model = MODELS[REAL_NETWORKS[modality][0]]
    return EncoderInfo(
        "real",
        modality,
        REAL_DIMENSIONS[modality],
        licence=model.licence,
        wants=wants[modality],
        trained_on=model.trained_on,
        fingerprint=fingerprint,
    )
