"""Voices to embeddings of CMPC: a person's own recordings, arrays of samples, utterances of data folders.

Letters: V voices, E length of an embedding.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from voiceface.io.file_facts import FileFacts

from voicestyle.models import PipelineModels

__all__ = ["embed_data_voice", "embed_voice", "embed_voices"]


def embed_voices(voices: Sequence[Path | str | NDArray[Any]], models: PipelineModels) -> Tensor:
    """Embed recordings (or int16 samples at 16 kHz), (V, E).

    Raises:
        AudioError, SpeechError, FileNotFoundError: a recording cannot be used, or contains no speech.
    """
    for voice in voices:
        _require_not_silent(voice, models)
    return models.embedder.embed_voices(list(voices)).float()


def embed_voice(voice: Path | str, models: PipelineModels) -> tuple[Tensor, FileFacts | None]:
    """Embed a person's own recording, (1, E), and say what is known about it: notes and measures.

    Raises:
        AudioError, SpeechError, FileNotFoundError: it cannot be used, or holds no speech.
    """
    embedder = models.embedder
    if embedder.long_recordings.policy == "all":
        vector, facts = embedder.embed_recording(voice)
        return torch.from_numpy(vector)[None].float(), facts
    _require_not_silent(voice, models)
    samples, facts = embedder.read_recording(voice)
    embedding = embedder.encode_voices(torch.from_numpy(samples[None])).cpu().numpy()
    return torch.from_numpy(embedding).float(), facts


def embed_data_voice(voice: Path, models: PipelineModels) -> tuple[Tensor, None]:
    """Embed an utterance of a data folder, (1, E), which is read as published.

    Raises:
        AudioError, SpeechError, FileNotFoundError: it cannot be used, or is silent.
    """
    _require_not_silent(voice)
    samples = models.embedder.load_voice(voice)
    embedding = models.embedder.encode_voices(torch.from_numpy(samples[None])).cpu().numpy()
    return torch.from_numpy(embedding).float(), None


def _require_not_silent(voice: Path | str | NDArray[Any], models: PipelineModels | None = None) -> None:
    """Refuse a constant signal, such as digital silence: not every front end detects voice activity.

    Own recordings are measured by `models` where they are read, unless these read them as published.

    Raises:
        AudioError, SpeechError, FileNotFoundError: the recording cannot be read, or is silent.
    """
    from voiceface.audio.loading import load_audio
    from voiceface.audio.vad import SpeechError
    from voiceface.io.input_files import AUDIO_FILE_SUFFIXES

    source: Path | str = "the recording"
    if isinstance(voice, str | Path):
        source = voice
        if Path(voice).suffix.lower() not in AUDIO_FILE_SUFFIXES:
            return  # stored features
        if models is not None and not models.embedder.model.is_read_as_published(voice):
            return
        voice = load_audio(voice, scale="unit", resample=True, on_corrupt="salvage")
    if np.size(voice) and np.ptp(voice) == 0:
        raise SpeechError(f"{source}: the recording is silent from beginning to end; expected speech")
