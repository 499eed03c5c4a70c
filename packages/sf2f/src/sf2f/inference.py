"""From recordings or stored features to faces: what programs share.

Letters: M mel bands, T frames, W frames of a window, S windows, R recordings of one person, D embedding
length, H x W picture (specification, section 9.6).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sf2f.models import Sf2fModel
    from sf2f.voice2face_inference import Voice2FaceModel

    Model = Sf2fModel | Voice2FaceModel

ImageArray = NDArray[np.uint8]
BUNDLED_CHECKPOINT = "weights/population.safetensors"
TRAINING_COMMAND = "sf2f train --cfg sf2f_1st_stage --data DATA --out RUN"
FRAMES_PER_SECOND = 100
BATCH_SIZE = 64
"""Windows that are embedded, or pictures that are made, at a time."""


@dataclass(frozen=True)
class VoiceFeatures:
    """One recording as a model hears it.

    Attributes:
        source: file it came from.
        mel: (M, T) float32, normalised.
        speech_seconds: of speech, silence removed.
    """

    source: str
    mel: NDArray[np.float32]
    speech_seconds: float


@dataclass(frozen=True)
class GeneratedFace:
    """What is made of the recordings of one person.

    Attributes:
        image: (H, W, 3) uint8 RGB, of all windows together.
        embedding: (D,) float32, what that picture was made of: joined by the fuser, or the mean.
        sources: files of the recordings.
        speech_seconds: of speech in them, silence removed.
        window_counts: windows of each recording.
        window_embeddings: (S, D) float32, of all windows in order.
        window_images: (S, H, W, 3), a picture of each window alone, where they were asked for.
        recording_images: (R, H, W, 3), a picture of each recording as one long window, where they were asked for.
    """

    image: ImageArray
    embedding: NDArray[np.float32]
    sources: tuple[str, ...]
    speech_seconds: float
    window_counts: tuple[int, ...]
    window_embeddings: NDArray[np.float32]
    window_images: ImageArray | None = None
    recording_images: ImageArray | None = None


def load(weights: str | os.PathLike[str] | None = None, *, device: str = "cpu") -> "Sf2fModel":
    """A trained generator for `face`.

    A model that was trained to add noise to its embeddings is loaded without: `face` adds it where it is told
    to. (The published program always does, so that no two of its pictures are alike.)

    Args:
        weights: run folder, weights file of ours, or checkpoint of the published trainer (.pt); None: the
            bundled ones, which know invented people only.
        device: "cpu", "cuda" or "auto".

    Raises:
        FileNotFoundError: no such weights; the message says how to make them.
        CheckpointError, ValueError: they cannot be used.
    """
    from voiceface.runtime.devices import choose_device

    from sf2f.models import load_sf2f_model

    source = find_bundled_checkpoint() if weights is None else Path(weights)
    if not source.exists():
        raise FileNotFoundError(f"weights {source} do not exist; train some: {TRAINING_COMMAND}")
    model = load_sf2f_model(source, device=choose_device(device))
    encoder = model.generator.encoder
    encoder.config = encoder.config.model_copy(update={"noise_in_evaluation": False})
    return model


def find_bundled_checkpoint() -> Path:
    """The weights that are installed with this package.

    Raises:
        FileNotFoundError: this copy has none.
    """
    path = Path(str(files("sf2f").joinpath(BUNDLED_CHECKPOINT)))
    if not path.is_file():
        raise FileNotFoundError(
            f"this copy of sf2f holds no {BUNDLED_CHECKPOINT}; train a model ({TRAINING_COMMAND}) and give it: --weights RUN, "
            "or load(RUN)"
        )
    return path


def generate(
    model: "Model",
    voices: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    stride: int | None = None,
    window_images: bool = False,
    recording_images: bool = False,
    noise: "torch.Generator | None" = None,
) -> GeneratedFace:
    """A face from a recording, or from several recordings of one person.

    Args:
        model: from `load`.
        voices: a sound file (wav, flac, mp3, ogg, m4a and others) or stored features (.npz, .npy, .pickle),
            or a list of such files of one person.
        stride: see `split_into_windows`.
        window_images: also make a picture of each window alone.
        recording_images: also make a picture of each recording as one long window.
        noise: see `generate_from_features`.

    Raises:
        ValueError: no files, or as `load_voice_features` and `generate_from_features`.
        FileNotFoundError: no such file.
    """
    paths = [voices] if isinstance(voices, str | os.PathLike) else list(voices)
    heard = [load_voice_features(model, path) for path in paths]
    return generate_from_features(
        model,
        heard,
        stride=stride,
        window_images=window_images,
        recording_images=recording_images,
        noise=noise,
    )


def load_voice_features(model: "Model", path: str | os.PathLike[str]) -> VoiceFeatures:
    """Read a recording or stored features as a model hears them.

    Raises:
        SpeechError: no voice in it, or features of another shape or not finite.
        FileNotFoundError, voiceface.audio.loading.AudioError: absent, or no sound file.
    """
    from sf2f import speech
    from sf2f.voice2face_inference import Voice2FaceModel, load_voice2face_features

    if isinstance(model, Voice2FaceModel):
        return VoiceFeatures(str(path), *load_voice2face_features(path, model.n_mels))
    config = model.data.speech
    if Path(path).suffix.lower() in speech.FEATURE_SUFFIXES:
        mel = speech.read_mel(path, config.n_mels)
    else:
        mel = speech.compute_log_mel_from_file(path, config)
    return VoiceFeatures(
        str(path), speech.normalise_mel(mel, model.data.mel), mel.shape[1] / FRAMES_PER_SECOND
    )


def split_into_windows(
    model: "Model", mel: NDArray[np.float32], stride: int | None = None
) -> NDArray[np.float32]:
    """What a model hears of a recording: overlapping windows; Wen's hears it as a whole.

    Args:
        model: whose configuration says how long a window is; a shorter recording is filled up to one.
        mel: (M, T), normalised.
        stride: frames from one window to the next; None: half a window, 63 of 125 frames as published.

    Returns:
        (S, M, W), S at least 1.
    """
    from sf2f.voice2face_inference import Voice2FaceModel
    from sf2f.windows import extract_recording_windows

    if isinstance(model, Voice2FaceModel):
        return mel[None]
    width = model.data.windows.width
    return extract_recording_windows(mel, model.data.mel.fill_value, width, stride or default_stride(width))


def default_stride(width: int) -> int:
    """Half a window, rounded up: 63 of 125 frames."""
    return -(-width // 2)


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
    """Everything that a model makes of recordings of one person.

    Args:
        model: from `load`, or Wen's.
        voices: from `load_voice_features`.
        stride: see `split_into_windows`.
        window_images: also make a picture of each window alone.
        recording_images: also make a picture of each recording as one long window.
        noise: draw the noise here that the model's embeddings got in training, as the published program
            does; models without noise ignore it.
        published: what lies behind the point of a byte is cut off and not rounded.

    Raises:
        ValueError: no recordings, or pictures that are not finite.
    """
    import torch

    if not voices:
        raise ValueError("no recordings given, expected at least one")
    cut = [split_into_windows(model, voice.mel, stride) for voice in voices]
    with torch.inference_mode():
        if len({each.shape[2] for each in cut}) == 1:
            embedded = embed_windows(model, np.concatenate(cut), noise)
        else:
            embedded = torch.cat([embed_windows(model, each, noise) for each in cut])
        joined = model.pool_embeddings(embedded)
        rows = [joined]
        if window_images:
            rows.append(embedded)
        if recording_images:
            rows += [embed_windows(model, voice.mel[None], noise) for voice in voices]
        made = decode_images(model, torch.cat(rows), voices[0].source, published)
    split = 1 + (len(embedded) if window_images else 0)
    return GeneratedFace(
        made[0],
        joined[0].float().cpu().numpy(),
        tuple(voice.source for voice in voices),
        float(sum(voice.speech_seconds for voice in voices)),
        tuple(map(len, cut)),
        embedded.float().cpu().numpy(),
        made[1:split] if window_images else None,
        made[split:] if recording_images else None,
    )


def embed_windows(
    model: "Model", windows: NDArray[np.float32], noise: "torch.Generator | None" = None
) -> "Tensor":
    """Windows (S, M, W) to embeddings (S, D) on the model's device; `noise` as of `generate_from_features`."""
    import torch

    from sf2f.models import Sf2fModel

    generator = model.generator if isinstance(model, Sf2fModel) else None
    device = torch.device("cpu") if generator is None else next(generator.parameters()).device
    parts = torch.from_numpy(np.require(windows, np.float32, ["C", "W"])).split(BATCH_SIZE)
    if generator is None or noise is None or not generator.config.encoder.noise_std:
        return torch.cat([model.embed(part.to(device)) for part in parts])
    size = generator.config.encoder.embedding_dim
    drawn = [torch.randn(len(part), size, generator=noise, device=noise.device) for part in parts]
    return torch.cat([generator.encode(part.to(device), each) for part, each in zip(parts, drawn)])


def decode_images(
    model: "Model", embeddings: "Tensor", source: str = "the recording", published: bool = False
) -> ImageArray:
    """Embeddings (N, D) to pictures (N, H, W, 3) uint8; `published` as of `generate_from_features`.

    Raises:
        ValueError: they are not finite.
    """
    import torch

    made = (
        torch.cat([model.decode_images(part).cpu() for part in embeddings.split(BATCH_SIZE)]).clamp(0, 1)
        * 255
    )
    if not torch.isfinite(made).all():
        raise ValueError(f"{source}: the weights give a picture that is not finite")
    values = made if published else made.round()
    return values.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
