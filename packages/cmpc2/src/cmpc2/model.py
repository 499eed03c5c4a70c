"""Two-branch network with the interface of the published package.

Notation: B batch, T frames, S image side in pixels, D embedding length.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from voiceface.association.embedder import Embedder, encode_grouped
from voiceface.association.encoders import Encoders
from voiceface.audio.channels import to_waveform
from voiceface.audio.recordings import require_sound
from voiceface.faces.own_pictures import PictureReader
from voiceface.io.file_facts import FileFacts
from voiceface.io.file_kinds import printable
from voiceface.real.recordings import read_own_recording

from cmpc2.audio_frontend import compute_log_mel, load_log_mel, prepare_voice
from cmpc2.config import Cmpc2Config
from cmpc2.image_frontend import prepare_face
from cmpc2.model_config import ModelConfig, VoiceFrontendConfig
from cmpc2.resnet import ResNet

__all__ = ["FV_Wrapper", "build_model_for_checkpoint"]

log = logging.getLogger(__name__)


class FV_Wrapper(Encoders):
    """Voice and face network; `model(audio, frame)` returns both embeddings.

    Args:
        pretrain: path of torchvision's ResNet-34 ImageNet weights to start from. (True, as in the published
            code, which has a fixed file, is an error.)
        last_dim: embedding length D.
        proj_dim: of the published projection head, which is never evaluated.
        proj: of the same head; without effect, as published.
        test_only: without effect; the mode is set by `train` and `eval`.
        config: architecture, in place of `last_dim`.
        voice_frontend: front end of `encode_voice` for utterances; default: that of the published package.

    Attributes:
        pictures: reads files of people's own pictures (`voiceface.faces.PictureReader`).

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
        self.pictures = PictureReader(convention="vggface_frontal")
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
        """Compute both embeddings, (B, D) each, at least 0 and not of unit length.

        Args:
            audio: voice features, (B, 1, 64, T).
            frame: images in -1...1, (B, 3, S, S).
        """
        return self.voice_subnet(audio), self.face_subnet(frame)

    def encode_voices(self, voices: Tensor) -> Tensor:
        """Encode voice features (B, 1, 64, T) as embeddings (B, D), not of unit length."""
        return self.voice_subnet(voices)

    def encode_faces(self, faces: Tensor) -> Tensor:
        """Encode images (B, 3, S, S) in -1...1 as embeddings (B, D), not of unit length."""
        return self.face_subnet(faces)

    def encode_voice(self, voice: Any, batch_size: int = 32) -> Tensor:
        """Encode voices: features, waveforms, or files of either.

        Args:
            voice: features (B, 1, 64, T) or (1, 64, T) as a tensor; or a path of an utterance or of stored
                features, samples (T,) int16 at 16 kHz, or several of these.
            batch_size: most files per batch; files of one length pass the network together.

        Returns:
            Embeddings (B, D) on the device of the network. Gradients flow for tensors only.

        Raises:
            AudioError, SpeechError, FileNotFoundError: a file cannot be used.
            ValueError: features of another shape.
        """
        if isinstance(voice, Tensor):
            return self.encode_voices(_to_batch(voice, (1, 64, None), "voice features"))
        return self._encode_items(voice, self.load_voice, self.encode_voices, batch_size)

    def encode_face(self, face: Any, batch_size: int = 64) -> Tensor:
        """Encode faces: tensors, images, or files.

        Args:
            face: images (B, 3, H, W) or (3, H, W) in -1...1 as a tensor; or a path, Pillow image or RGB bytes
                (H, W, 3), or several of these. Files are read by `load_photograph`.
            batch_size: most files per batch.

        Returns:
            Embeddings (B, D) on the device of the network. Gradients flow for tensors only.

        Raises:
            ImageError, FileNotFoundError: an image cannot be used.
            ValueError: a tensor of another shape.
        """
        if isinstance(face, Tensor):
            return self.encode_faces(_to_batch(face, (3, None, None), "images"))
        return self._encode_items(face, self.load_photograph, self.encode_faces, batch_size)

    def embed_voices(self, voices: Any) -> Tensor:
        """Embed utterances as the other systems do; (N, D) on the CPU, no gradients.

        Tensors are features, as in `encode_voice`; all others are read by `load_recording`.
        """
        with torch.no_grad():
            if isinstance(voices, Tensor):
                return self.encode_voice(voices).cpu()
            return self._encode_items(voices, self.load_recording, self.encode_voices, 64).cpu()

    def embed_faces(self, faces: Any) -> Tensor:
        """Embed images as the other systems do: see `encode_face`; (N, D) on the CPU, no gradients."""
        with torch.no_grad():
            return self.encode_face(faces).cpu()

    def load_voice(self, source: Any) -> np.ndarray:
        """Load network input (1, 64, T) of an utterance, a feature file, or int16 samples (T,) at 16 kHz."""
        if isinstance(source, str | os.PathLike):
            features = load_log_mel(source, self.voice_frontend)
        else:
            features = compute_log_mel(np.asarray(source), 16000, self.voice_frontend)
        return prepare_voice(features, self.voice_frontend)

    def read_recording(self, source: Any, **options: Any) -> tuple[np.ndarray, FileFacts | None]:
        """Do the same for a person's own recording, or for an array of any layout and type of samples.

        Several channels are mixed; silence and noise are refused: see
        `voiceface.real.recordings.read_own_recording`. Feature files, and recordings under
        `sample_rates=published`, are read as by `load_voice`.

        Args:
            source: the file or the array.
            options: further arguments of `read_own_recording`.

        Returns:
            Network input (1, 64, T), and what is known about the file: notes and measures; None where it was
            not measured.

        Raises:
            AudioError, SpeechError, FileNotFoundError: it cannot be used.
        """
        config = self.voice_frontend
        facts = None
        if isinstance(source, str | os.PathLike):
            if self.is_read_as_published(source):
                return self.load_voice(source), None
            recording = read_own_recording(
                source,
                scale="int16",
                resample=config.sample_rates == "resample",
                on_corrupt=config.corrupt_audio,
                **options,
            )
            wave, name, facts = recording.waveform, str(source), recording.describe(source)
        else:
            wave, name = to_waveform(source), "the recording"
        return self.prepare_recording(wave, name), facts

    def prepare_recording(self, waveform: np.ndarray, name: str = "the recording") -> np.ndarray:
        """Convert a waveform (T,) at 16 kHz, 16-bit range, to network input (1, 64, T').

        Raises:
            AudioError, SpeechError: it is constant, or no voice is found in it.
        """
        samples = np.clip(np.rint(waveform), -32768, 32767).astype(np.int16)
        require_sound(samples, name)
        return prepare_voice(compute_log_mel(samples, 16000, self.voice_frontend, name), self.voice_frontend)

    def is_read_as_published(self, path: str | os.PathLike[str]) -> bool:
        """Whether a file is read as those of data folders: stored features, and `sample_rates=published`."""
        return Path(path).suffix in (".pkl", ".npy") or self.voice_frontend.sample_rates == "published"

    def load_recording(self, source: Any) -> np.ndarray:
        """Do the same, log the notes, and return the input alone; errors as of `read_recording`."""
        features, facts = self.read_recording(source)
        for note in facts.notes if facts else ():
            log.warning("%s: %s", printable(source), note)
        return features

    def load_face(self, source: Any) -> np.ndarray:
        """Load network input (3, S, S), -1...1, from a path, a Pillow image or RGB bytes (H, W, 3)."""
        return prepare_face(source, self.config.face.image_size)

    def load_photograph(self, source: Any) -> np.ndarray:
        """Do the same for a picture of a person's own; a file is read as `pictures` says.

        Raises:
            ImageError: no readable image, or one without a face.
        """
        is_file = isinstance(source, str | os.PathLike)
        return self.load_face(self.pictures.read(source) if is_file else source)

    @staticmethod
    def score(voices: Tensor, faces: Tensor) -> Tensor:
        """Compute the cosine of every voice with every face embedding, (voices, faces), 0...1."""
        return Embedder.score(voices, faces)

    @torch.no_grad()
    def _encode_items(
        self,
        items: Any,
        load: Callable[[Any], np.ndarray],
        encode: Callable[[Tensor], Tensor],
        batch_size: int,
    ) -> Tensor:
        """Encode one item or several, in the order given."""
        items = list(items) if isinstance(items, Sequence) and not isinstance(items, str) else [items]
        parameter = next(self.parameters())
        out = parameter.new_empty(len(items), self.config.embedding_dim)
        return encode_grouped(items, load, lambda batch: encode(batch.to(parameter)), batch_size, out)


def build_model_for_checkpoint(
    config: Cmpc2Config, state: Mapping[str, Tensor], identity_names: tuple[str, ...] | None = None
) -> FV_Wrapper:
    """Build a model of the configured shapes, without weights; see `SystemSpec.build_model`."""
    return FV_Wrapper(config=config.model, voice_frontend=config.data.voice)


def _to_batch(tensor: Tensor, shape: tuple[int | None, ...], name: str) -> Tensor:
    """Check the shape (B, *shape) of a batch; a single item becomes a batch of one."""
    batch = tensor[None] if tensor.ndim == 3 else tensor
    valid = batch.ndim == 4 and all(size in (None, found) for size, found in zip(shape, batch.shape[1:]))
    if not valid:
        expected = ", ".join("*" if size is None else str(size) for size in shape)
        raise ValueError(f"{name}: expected shape (B, {expected}), found {tuple(tensor.shape)}")
    return batch
