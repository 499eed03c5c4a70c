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

    from sf2f.models import VoiceToFace
    from sf2f.voice2face_inference import WenToFace

    Model = VoiceToFace | WenToFace

Picture = NDArray[np.uint8]
BUNDLED = "weights/population.safetensors"
TRAINING = "sf2f train --cfg sf2f_1st_stage --data DATA --out RUN"
FRAMES_A_SECOND = 100
BATCH = 64
"""Windows that are embedded, or pictures that are made, at a time."""


@dataclass(frozen=True)
class Voice:
    """One recording as a model hears it.

    Attributes:
        source: file it came from.
        mel: (M, T) float32, normalised.
        seconds: of speech, silence removed.
    """

    source: str
    mel: NDArray[np.float32]
    seconds: float


@dataclass(frozen=True)
class Face:
    """What is made of the recordings of one person.

    Attributes:
        picture: (H, W, 3) uint8 RGB, of all windows together.
        embedding: (D,) float32, what that picture was made of: joined by the fuser, or the mean.
        sources: files of the recordings.
        seconds: of speech in them, silence removed.
        counts: windows of each recording.
        window_embeddings: (S, D) float32, of all windows in order.
        windows: (S, H, W, 3), a picture of each window alone, where they were asked for.
        whole: (R, H, W, 3), a picture of each recording as one long window, where they were asked for.
    """

    picture: Picture
    embedding: NDArray[np.float32]
    sources: tuple[str, ...]
    seconds: float
    counts: tuple[int, ...]
    window_embeddings: NDArray[np.float32]
    windows: Picture | None = None
    whole: Picture | None = None


def load(weights: str | os.PathLike[str] | None = None, *, device: str = "cpu") -> "VoiceToFace":
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

    from sf2f.models import load_voice_to_face

    source = bundled() if weights is None else Path(weights)
    if not source.exists():
        raise FileNotFoundError(f"weights {source} do not exist; train some: {TRAINING}")
    model = load_voice_to_face(source, device=choose_device(device))
    encoder = model.generator.encoder
    encoder.config = encoder.config.model_copy(update={"noise_in_evaluation": False})
    return model


def bundled() -> Path:
    """The weights that are installed with this package.

    Raises:
        FileNotFoundError: this copy has none.
    """
    path = Path(str(files("sf2f").joinpath(BUNDLED)))
    if not path.is_file():
        raise FileNotFoundError(
            f"this copy of sf2f holds no {BUNDLED}; train a model ({TRAINING}) and give it: --weights RUN, "
            "or load(RUN)"
        )
    return path


def face(
    model: "Model",
    voices: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    stride: int | None = None,
    windows: bool = False,
    whole: bool = False,
    noise: "torch.Generator | None" = None,
) -> Face:
    """A face from a recording, or from several recordings of one person.

    Args:
        model: from `load`.
        voices: a sound file (wav, flac, mp3, ogg, m4a and others) or stored features (.npz, .npy, .pickle),
            or a list of such files of one person.
        stride: see `windows_in`.
        windows: also make a picture of each window alone.
        whole: also make a picture of each recording as one long window.
        noise: see `face_of`.

    Raises:
        ValueError: no files, or as `read_voice` and `face_of`.
        FileNotFoundError: no such file.
    """
    paths = [voices] if isinstance(voices, str | os.PathLike) else list(voices)
    heard = [read_voice(model, path) for path in paths]
    return face_of(model, heard, stride=stride, windows=windows, whole=whole, noise=noise)


def read_voice(model: "Model", path: str | os.PathLike[str]) -> Voice:
    """Read a recording or stored features as a model hears them.

    Raises:
        SpeechError: no voice in it, or features of another shape or not finite.
        FileNotFoundError, voiceface.audio.loading.AudioError: absent, or no sound file.
    """
    from sf2f import speech
    from sf2f.voice2face_inference import WenToFace, read_wen_voice

    if isinstance(model, WenToFace):
        return Voice(str(path), *read_wen_voice(path, model.bands))
    config = model.data.speech
    if Path(path).suffix.lower() in speech.FEATURE_SUFFIXES:
        mel = speech.read_mel(path, config.bands)
    else:
        mel = speech.log_mel_of_file(path, config)
    return Voice(str(path), speech.normalised(mel, model.data.mel), mel.shape[1] / FRAMES_A_SECOND)


def windows_in(model: "Model", mel: NDArray[np.float32], stride: int | None = None) -> NDArray[np.float32]:
    """What a model hears of a recording: overlapping windows; Wen's hears it as a whole.

    Args:
        model: whose configuration says how long a window is; a shorter recording is filled up to one.
        mel: (M, T), normalised.
        stride: frames from one window to the next; None: half a window, 63 of 125 frames as published.

    Returns:
        (S, M, W), S at least 1.
    """
    from sf2f.voice2face_inference import WenToFace
    from sf2f.windows import windows_of_recording

    if isinstance(model, WenToFace):
        return mel[None]
    width = model.data.windows.width
    return windows_of_recording(mel, model.data.mel.filling, width, stride or stride_of(width))


def stride_of(width: int) -> int:
    """Half a window, rounded up: 63 of 125 frames."""
    return -(-width // 2)


def face_of(
    model: "Model",
    voices: Sequence[Voice],
    *,
    stride: int | None = None,
    windows: bool = False,
    whole: bool = False,
    noise: "torch.Generator | None" = None,
    published: bool = False,
) -> Face:
    """Everything that a model makes of recordings of one person.

    Args:
        model: from `load`, or Wen's.
        voices: from `read_voice`.
        stride: see `windows_in`.
        windows: also make a picture of each window alone.
        whole: also make a picture of each recording as one long window.
        noise: draw the noise here that the model's embeddings got in training, as the published program
            does; models without noise ignore it.
        published: what lies behind the point of a byte is cut off and not rounded.

    Raises:
        ValueError: no recordings, or pictures that are not finite.
    """
    import torch

    if not voices:
        raise ValueError("no recordings given, expected at least one")
    cut = [windows_in(model, voice.mel, stride) for voice in voices]
    with torch.inference_mode():
        if len({each.shape[2] for each in cut}) == 1:
            embedded = embed(model, np.concatenate(cut), noise)
        else:
            embedded = torch.cat([embed(model, each, noise) for each in cut])
        joined = model.join(embedded)
        rows = [joined]
        if windows:
            rows.append(embedded)
        if whole:
            rows += [embed(model, voice.mel[None], noise) for voice in voices]
        made = pictures_of_embeddings(model, torch.cat(rows), voices[0].source, published)
    split = 1 + (len(embedded) if windows else 0)
    return Face(
        made[0],
        joined[0].float().cpu().numpy(),
        tuple(voice.source for voice in voices),
        float(sum(voice.seconds for voice in voices)),
        tuple(map(len, cut)),
        embedded.float().cpu().numpy(),
        made[1:split] if windows else None,
        made[split:] if whole else None,
    )


def embed(model: "Model", windows: NDArray[np.float32], noise: "torch.Generator | None" = None) -> "Tensor":
    """Windows (S, M, W) to embeddings (S, D) on the model's device; `noise` as of `face_of`."""
    import torch

    from sf2f.models import VoiceToFace

    generator = model.generator if isinstance(model, VoiceToFace) else None
    device = torch.device("cpu") if generator is None else next(generator.parameters()).device
    parts = torch.from_numpy(np.require(windows, np.float32, ["C", "W"])).split(BATCH)
    if generator is None or noise is None or not generator.config.encoder.noise:
        return torch.cat([model.embed(part.to(device)) for part in parts])
    size = generator.config.encoder.embedding
    drawn = [torch.randn(len(part), size, generator=noise, device=noise.device) for part in parts]
    return torch.cat([generator.encode(part.to(device), each) for part, each in zip(parts, drawn)])


def pictures_of_embeddings(
    model: "Model", embeddings: "Tensor", source: str = "the recording", published: bool = False
) -> Picture:
    """Embeddings (N, D) to pictures (N, H, W, 3) uint8; `published` as of `face_of`.

    Raises:
        ValueError: they are not finite.
    """
    import torch

    made = torch.cat([model.pictures(part).cpu() for part in embeddings.split(BATCH)]).clamp(0, 1) * 255
    if not torch.isfinite(made).all():
        raise ValueError(f"{source}: the weights give a picture that is not finite")
    values = made if published else made.round()
    return values.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
