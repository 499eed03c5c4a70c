"""The two-branch network, with the names of the published package, and its settings.

Letters: B batch, T frames, S picture side in pixels, D embedding length.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from voiceface.association.encoders import Encoders

from cmpc2.audio_frontend import load_log_mel, prepare_voice
from cmpc2.image_frontend import prepare_face
from cmpc2.model_config import ModelConfig, VoiceFrontendConfig
from cmpc2.resnet import ResNet


class FV_Wrapper(Encoders):
    """Voice and face network; `model(audio, frame)` gives both embeddings.

    Args:
        pretrain: path of torchvision's ResNet-34 ImageNet weights to start from. (The published code has one
            fixed file for True.)
        last_dim: length D of an embedding.
        proj_dim: of the published projection head, which is never evaluated.
        proj: the same; without effect, as published.
        test_only: without effect; the mode is set by `train` and `eval`.
        config: architecture, instead of `last_dim`.
        voice_front_end: what `encode_voice` does with recordings; as in the cmpc2 package by default.

    Raises:
        ValueError: `pretrain` is True, without a file.
    """

    def __init__(
        self,
        pretrain: bool | str | Path = False,
        last_dim: int = 512,
        proj_dim: int = 512,
        proj: bool = False,
        test_only: bool = False,
        *,
        config: ModelConfig | None = None,
        voice_frontend: VoiceFrontendConfig | None = None,
    ) -> None:
        super().__init__()
        self.config = config or ModelConfig(embedding_dim=last_dim)
        self.voice_frontend = voice_frontend or VoiceFrontendConfig(frontend="sphinx")
        voice, face, length = self.config.voice, self.config.face, self.config.embedding_dim
        self.voice_subnet = ResNet(voice.arch, 1, length, voice.widths, voice.blocks)
        self.face_subnet = ResNet(face.arch, 3, length, face.widths, face.blocks)
        if pretrain is True:
            raise ValueError("pretrain: give the path of torchvision's ResNet-34 weights instead of True")
        if pretrain:
            from cmpc2.architecture import load_imagenet_weights

            load_imagenet_weights(self, pretrain)

    def forward(self, audio: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Both embeddings, (B, D) each, at least 0 and not of unit length.

        Args:
            audio: voice features, (B, 1, 64, T).
            frame: pictures in -1...1, (B, 3, S, S).
        """
        return self.voice_subnet(audio), self.face_subnet(frame)

    def encode_voices(self, voices: Tensor) -> Tensor:
        """Voice features (B, 1, 64, T) to embeddings (B, D), not of unit length."""
        return self.voice_subnet(voices)

    def encode_faces(self, faces: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in -1...1 to embeddings (B, D), not of unit length."""
        return self.face_subnet(faces)

    def encode_voice(self, voice: Any, batch_size: int = 32) -> Tensor:
        """Embeddings of voices: features, recordings, or files of either.

        Args:
            voice: features (B, 1, 64, T) or (1, 64, T); or a path or several of recordings or stored
                features, which pass the model's front end.
            batch_size: files that pass the network together, where they are of one length.

        Returns:
            Shape (B, D), where the network is. Gradients flow for features only.

        Raises:
            AudioError, SpeechError, FileNotFoundError: a file cannot be used.
            ValueError: features of another shape.
        """
        if isinstance(voice, Tensor):
            return self.encode_voices(_to_batch(voice, (1, 64, None), "voice features"))
        return self._encode_files(voice, self.load_voice, self.encode_voices, batch_size)

    def encode_face(self, face: Any, batch_size: int = 64) -> Tensor:
        """Embeddings of faces: tensors, pictures, or files.

        Args:
            face: pictures (B, 3, S, S) or (3, S, S) in -1...1 as a tensor; or a path, Pillow image or RGB
                bytes (H, W, 3), or several of these.
            batch_size: files that pass the network together.

        Returns:
            Shape (B, D), where the network is. Gradients flow for tensors only.

        Raises:
            ImageError, FileNotFoundError: a picture cannot be used.
            ValueError: a tensor of another shape.
        """
        if isinstance(face, Tensor):
            return self.encode_faces(_to_batch(face, (3, None, None), "pictures"))
        return self._encode_files(face, self.load_face, self.encode_faces, batch_size)

    def load_voice(self, path: str | os.PathLike[str]) -> np.ndarray:
        """One recording or feature file as the voice network takes it, (1, 64, T)."""
        return prepare_voice(load_log_mel(path, self.voice_frontend), self.voice_frontend)

    def load_face(self, source: Any) -> np.ndarray:
        """One picture as the face network takes it, (3, S, S) in -1...1."""
        return prepare_face(source, self.config.face.image_size)

    @staticmethod
    def score(voices: Tensor, faces: Tensor) -> Tensor:
        """Cosine of every voice with every face embedding, (voices, faces), 0...1."""
        normalize = nn.functional.normalize
        return normalize(voices, dim=1) @ normalize(faces, dim=1).T

    @torch.no_grad()
    def _encode_files(
        self,
        items: Any,
        load: Callable[[Any], np.ndarray],
        encode: Callable[[Tensor], Tensor],
        batch_size: int,
    ) -> Tensor:
        """Embeddings of files, batches of equal shape together, in the order given."""
        several = isinstance(items, Sequence) and not isinstance(items, str)
        given = list(items) if several else [items]
        first = next(self.parameters())
        found = first.new_empty(len(given), self.config.embedding_dim)
        for start in range(0, len(given), batch_size):
            arrays = [load(item) for item in given[start : start + batch_size]]
            groups: dict[tuple[int, ...], list[int]] = {}
            for place, array in enumerate(arrays):
                groups.setdefault(array.shape, []).append(place)
            for places in groups.values():
                batch = torch.from_numpy(np.stack([arrays[place] for place in places])).to(first)
                found[[start + place for place in places]] = encode(batch)
        return found


def _to_batch(tensor: Tensor, shape: tuple[int | None, ...], name: str) -> Tensor:
    """A batch (B, *shape); a single item becomes a batch of one."""
    batch = tensor[None] if tensor.ndim == 3 else tensor
    fits = batch.ndim == 4 and all(want in (None, size) for want, size in zip(shape, batch.shape[1:]))
    if not fits:
        wanted = ", ".join("*" if size is None else str(size) for size in shape)
        raise ValueError(f"{name}: expected shape (B, {wanted}), found {tuple(tensor.shape)}")
    return batch
