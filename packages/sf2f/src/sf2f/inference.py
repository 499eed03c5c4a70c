"""Inference: recordings or stored features to faces.

Letters: M mel bands, T frames, W frames of a window, S windows, R recordings of one identity, D embedding
size, H x W image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from voiceface.audio.channels import is_one_recording
from voiceface.io.file_facts import FileFacts
from voiceface.real.voice_samples import is_path

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "BATCH_SIZE",
    "GeneratedFace",
    "ImageArray",
    "Model",
    "VoiceFeatures",
    "decode_images",
    "embed_windows",
    "generate_from_features",
    "is_stored",
    "load_voice_features",
]

ImageArray = NDArray[np.uint8]
BATCH_SIZE = 64
"""Windows encoded, or images decoded, at a time."""


class Model(Protocol):
    """Base of `sf2f.models.Sf2fModel` and `sf2f.voice2face_inference.Voice2FaceModel`."""

    def load_features(self, source: Any, **options: Any) -> "VoiceFeatures":
        """Load normalised features of a recording, an array of samples or a feature file.

        Args:
            source: path, or samples: see `voiceface.real.voice_samples.read_voice_samples`.
            options: further arguments of that function.
        """
        ...

    def split_windows(self, mel: NDArray[np.float32], stride: int | None = None) -> NDArray[np.float32]:
        """Split features into windows; voice2face encodes a recording as a whole.

        Args:
            mel: (M, T), normalised; a recording shorter than a window is padded.
            stride: frames from one window to the next; None: half a window, 63 of 125 frames as published.

        Returns:
            (S, M, W), S at least 1.
        """
        ...

    def embed(self, windows: "Tensor") -> "Tensor":
        """Encode windows (N, M, W) to embeddings (N, D)."""
        ...

    def pool_embeddings(self, embeddings: "Tensor") -> "Tensor":
        """Pool embeddings (S, D) of one identity to one vector (1, D)."""
        ...

    def decode_images(self, embeddings: "Tensor") -> "Tensor":
        """Decode embeddings (N, D) to images (N, 3, side, side), 0...1."""
        ...

    @property
    def name(self) -> str: ...
    @property
    def disclaimer(self) -> str: ...
    @property
    def has_fuser(self) -> bool: ...

    def generate(
        self,
        voices: Any,
        *,
        stride: int | None = None,
        window_images: bool = False,
        recording_images: bool = False,
        noise: "torch.Generator | None" = None,
    ) -> "GeneratedFace":
        """Generate a face from a recording, or from several recordings of one identity.

        Args:
            voices: an audio file (wav, flac, mp3, ogg, m4a and others), stored features (.npz, .npy,
                .pickle) or an array of samples at 16 kHz in the 16-bit range, (T,) or (T, channels); or a
                list of these, of one identity.
            stride: see `split_windows`.
            window_images: also generate an image of each window.
            recording_images: also generate an image of each recording as one long window.
            noise: see `generate_from_features`.

        Raises:
            ValueError: no files, or as `load_voice_features` and `generate_from_features`.
            FileNotFoundError: no such file.
        """
        sources = [voices] if is_path(voices) or is_one_recording(voices) else list(voices)
        return generate_from_features(
            self,
            [load_voice_features(self, source) for source in sources],
            stride=stride,
            window_images=window_images,
            recording_images=recording_images,
            noise=noise,
        )


@dataclass(frozen=True)
class VoiceFeatures:
    """Features of one recording.

    Attributes:
        source: its file.
        mel: (M, T) float32, normalised.
        speech_seconds: duration of speech, silence removed.
        facts: what is known about a person's own recording: notes and measures.
    """

    source: str
    mel: NDArray[np.float32]
    speech_seconds: float
    facts: FileFacts | None = None


@dataclass(frozen=True)
class GeneratedFace:
    """Face generated from the recordings of one identity.

    Attributes:
        image: (H, W, 3) uint8 RGB, from all windows.
        embedding: (D,) float32, the pooled embedding that was decoded.
        sources: files of the recordings.
        speech_seconds: duration of speech in them, silence removed.
        window_counts: number of windows of each recording.
        window_embeddings: (S, D) float32, of all windows in order.
        window_images: (S, H, W, 3), an image of each window, if requested.
        recording_images: (R, H, W, 3), an image of each recording as one long window, if requested.
        facts: what is known about the recordings: notes and measures.
    """

    image: ImageArray
    embedding: NDArray[np.float32]
    sources: tuple[str, ...]
    speech_seconds: float
    window_counts: tuple[int, ...]
    window_embeddings: NDArray[np.float32]
    window_images: ImageArray | None = None
    recording_images: ImageArray | None = None
    facts: tuple[FileFacts, ...] = ()


def load_voice_features(model: "Model", source: Any, **options: Any) -> VoiceFeatures:
    """Load the features of a recording, or stored features, as the model expects them.

    Args:
        model: the model.
        source, options: see `Model.load_features`.

    Raises:
        SpeechError: no speech, or features of another shape or not finite.
        FileNotFoundError, voiceface.audio.loading.AudioError: missing, or not an audio file; silence,
            noise or too little speech.
    """
    return model.load_features(source, **options)


def is_stored(source: Any, suffixes: Sequence[str]) -> bool:
    """Whether a path has the suffix of stored features."""
    return Path(source).suffix.lower() in suffixes


def generate_from_features(
    model: "Model",
    voices: Sequence[VoiceFeatures],
    *,
    stride: int | None = None,
    window_images: bool = False,
    recording_images: bool = False,
    noise: "torch.Generator | None" = None,
    published: bool = False,
) -> GeneratedFace:
    """Generate a face from features of recordings of one identity.

    Args:
        model: from `load`, or voice2face.
        voices: from `load_voice_features`.
        stride: see `Model.split_windows`.
        window_images: also generate an image of each window.
        recording_images: also generate an image of each recording as one long window.
        noise: draws the noise that the model's embeddings had in training, as the published program does;
            ignored by models without noise.
        published: truncate to bytes instead of rounding.

    Raises:
        ValueError: no recordings, or images that are not finite.
    """
    import torch

    if not voices:
        raise ValueError("no recordings were passed; at least one is required")
    windows = [model.split_windows(voice.mel, stride) for voice in voices]
    with torch.inference_mode():
        if len({each.shape[2] for each in windows}) == 1:
            window_embeddings = embed_windows(model, np.concatenate(windows), noise)
        else:
            window_embeddings = torch.cat([embed_windows(model, each, noise) for each in windows])
        embedding = model.pool_embeddings(window_embeddings)
        rows = [embedding]
        if window_images:
            rows.append(window_embeddings)
        if recording_images:
            rows += [embed_windows(model, voice.mel[None], noise) for voice in voices]
        images = decode_images(model, torch.cat(rows), voices[0].source, published)
    first_recording = 1 + (len(window_embeddings) if window_images else 0)
    return GeneratedFace(
        images[0],
        embedding[0].float().cpu().numpy(),
        tuple(voice.source for voice in voices),
        float(sum(voice.speech_seconds for voice in voices)),
        tuple(map(len, windows)),
        window_embeddings.float().cpu().numpy(),
        images[1:first_recording] if window_images else None,
        images[first_recording:] if recording_images else None,
        tuple(voice.facts for voice in voices if voice.facts is not None),
    )


def embed_windows(
    model: "Model", windows: NDArray[np.float32], noise: "torch.Generator | None" = None
) -> "Tensor":
    """Encode windows (S, M, W) to embeddings (S, D); `noise` as in `generate_from_features`."""
    import torch

    generator: Any = getattr(model, "generator", None)
    device = torch.device("cpu") if generator is None else next(generator.parameters()).device
    batches = torch.from_numpy(np.require(windows, np.float32, ["C", "W"])).split(BATCH_SIZE)
    if generator is None or noise is None or not generator.config.encoder.noise_std:
        return torch.cat([model.embed(batch.to(device)) for batch in batches])
    size = generator.config.encoder.embedding_dim
    noise_batches = [torch.randn(len(batch), size, generator=noise, device=noise.device) for batch in batches]
    return torch.cat(
        [generator.encode(batch.to(device), each) for batch, each in zip(batches, noise_batches)]
    )


def decode_images(
    model: "Model", embeddings: "Tensor", source: str = "the recording", published: bool = False
) -> ImageArray:
    """Decode embeddings (N, D) to images (N, H, W, 3) uint8; `published` as in `generate_from_features`.

    Raises:
        ValueError: the images are not finite.
    """
    import torch

    images = (
        torch.cat([model.decode_images(batch).cpu() for batch in embeddings.split(BATCH_SIZE)]).clamp(0, 1)
        * 255
    )
    if not torch.isfinite(images).all():
        raise ValueError(f"{source}: the model generated an image that is not finite")
    values = images if published else images.round()
    return values.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
