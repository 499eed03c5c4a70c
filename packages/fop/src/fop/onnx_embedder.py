"""Embedder whose encoders and branches are ONNX files: speech and aligned faces go in."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from voiceface.association.onnx_embedder import OnnxEncoders
from voiceface.embeddings.encoder_info import EncoderInfo, Modality
from voiceface.encoders import Encoder
from voiceface.encoders.alignment import AlignedFaceEncoder
from voiceface.faces.crops import ENCODER_CHIP
from voiceface.real.voice_encoder import prepare_voice

from fop.embedder import FopEmbedder

__all__ = ["OnnxEmbedder"]


class OnnxEmbedder(FopEmbedder):
    """Voices and faces to embeddings, computed by `voiceface.association.onnx_embedder.OnnxEncoders`.

    The networks of `voiceface models get real` that encode are in the files; those that find faces are not.
    """

    model: OnnxEncoders  # type: ignore[assignment]

    @cached_property
    def voice_encoder(self) -> Encoder:
        """What prepares recordings."""
        encoder = _SpeechReader(self._info("voice"), batch_size=1)
        encoder.resample = self.config.data.resample
        encoder.on_corrupt = self.config.data.corrupt_audio
        return encoder

    @cached_property
    def face_encoder(self) -> Encoder:
        """What finds and aligns faces."""
        encoder = AlignedFaceEncoder(self._info("face"), ENCODER_CHIP, by_mesh=True)
        if self._reader is not None:
            encoder.use_pictures(self._reader)
        return encoder

    def _info(self, modality: Modality) -> EncoderInfo:
        return next(info for info in self.encoder_infos if info.modality == modality)

    def require(self) -> None:
        """Raise nothing: all encoders are there."""

    @torch.inference_mode()
    def encode_voices(self, voices: Tensor) -> Tensor:
        """Encode speech (B, T), 16 kHz, -1...1, as embeddings (B, D)."""
        return self.model.encode_voices(voices)

    @torch.inference_mode()
    def encode_faces(self, faces: Tensor) -> Tensor:
        """Encode aligned faces (B, 3, 150, 150), 0...255, as embeddings (B, D)."""
        return self.model.encode_faces(faces)


class _SpeechReader(Encoder):
    """Reads recordings as the voice encoder of fop hears them, but computes nothing of them."""

    def prepare(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Convert a waveform (T,), 16 kHz, -1...1, to speech alone."""
        return prepare_voice(np.asarray(array, np.float32))
