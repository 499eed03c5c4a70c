"""Both branches as ONNX graphs, with their front ends (docs/export.md)."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from voiceface.association.onnx_export import embedder_facts, embedding_port, voice_ports
from voiceface.association.system import SystemSpec
from voiceface.audio.exportable_frontends import CentredMelPower, PerceptionistGraph
from voiceface.audio.frontends import PerceptionistLogMel
from voiceface.audio.mel import slaney_mel_filterbank
from voiceface.audio.mel_power import at_least
from voiceface.embeddings.encoder_info import Modality
from voiceface.export.graph import (
    SAMPLE_RATE,
    Graph,
    Port,
    example_lengths,
    example_pictures,
    example_voices,
    fixed_lengths,
)

from cmpc2.audio_frontend import compute_log_mel, prepare_voice
from cmpc2.image_frontend import to_planes
from cmpc2.model_config import VoiceFrontendConfig
from cmpc2.sphinx import get_published_frontend, standardise_bands

if TYPE_CHECKING:
    from cmpc2.embedder import Embedder

__all__ = ["DecibelGraph", "build_graphs", "build_voice_front_end"]

Array = NDArray[np.float32]
N_FFT, HOP = 1600, 160
OUTSIDE = "Not in the graph: decoding, resampling to 16 kHz, mixing of channels{silence}."
VOICES = {
    "sphinx": "Speech of any length, repeated to {frames} frames if it is shorter. "
    + OUTSIDE.format(silence=", and the removal of silence: give speech alone"),
    "decibels": "Recordings of more than 50 ms, cut or padded to {frames} frames. "
    + OUTSIDE.format(silence=""),
}
PICTURES = (
    "Not in the graph: decoding, cutting out the face ({crop}), and resizing to {side} pixels, bicubic with "
    "antialiasing, without keeping proportions. In the graph: normalisation."
)


def build_graphs(
    spec: SystemSpec,
    embedder: "Embedder",
    *,
    modalities: Sequence[Modality] = get_args(Modality),
    seconds: Sequence[float] = (),
) -> dict[str, Graph]:
    """Graphs of both branches by name; see `voiceface.association.onnx_export.build_graphs`.

    With the front end "sphinx" the length of an utterance stays free inside of the graph, and the graphs of
    fixed lengths are quicker.
    """
    found, facts = {}, embedder_facts(spec, embedder)
    dimension, model, config = embedder.embedding_dim, embedder.model, embedder.voice_config
    if "voice" in modalities:
        is_sphinx = config.frontend == "sphinx"
        frames = config.min_frames if is_sphinx else config.num_frames
        text = VOICES[config.frontend].format(frames=frames)
        silence = _silence(config) if is_sphinx else {}

        def embed_waveforms(samples: Array) -> list[Array]:
            rows = [_network_input(row, config) for row in samples]
            return [embedder.encode_voices(torch.from_numpy(np.stack(rows))).numpy()]

        for name, num_samples in fixed_lengths(seconds).items():
            lengths = [num_samples] * 10 if num_samples else example_lengths(frames * HOP, 801)
            module = nn.Sequential(
                build_voice_front_end(config, num_samples), copy.deepcopy(model.voice_subnet).eval()
            )
            found[name] = Graph(
                "voice",
                module,
                *voice_ports(dimension, num_samples, "int16"),
                [[voice] for voice in example_voices(lengths)],
                embed_waveforms,
                facts | {"sample_rate": str(SAMPLE_RATE), "silence": silence, "front_end": text},
            )
    if "face" in modalities:
        side = model.config.face.image_size

        def embed_pictures(pictures: Array) -> list[Array]:
            planes = [to_planes(each.transpose(1, 2, 0).astype(np.uint8)) for each in pictures]
            return [embedder.encode_faces(torch.from_numpy(np.stack(planes))).numpy()]

        found["face"] = Graph(
            "face",
            nn.Sequential(_Normalise(), copy.deepcopy(model.face_subnet).eval()),
            (Port("image", ("N", 3, side, side), "RGB pictures of faces, 0...255"),),
            (embedding_port(dimension),),
            [[picture] for picture in example_pictures(side)],
            embed_pictures,
            facts | {"resize": "bicubic", "front_end": PICTURES.format(crop=embedder.face_crop, side=side)},
        )
    return found


def _network_input(samples: Array, config: VoiceFrontendConfig) -> Array:
    """Input (1, 64, frames) of the voice branch, as the program computes it behind the removal of silence."""
    if config.frontend == "decibels":
        return prepare_voice(compute_log_mel(samples.astype(np.int16), SAMPLE_RATE, config), config)
    log_mel = get_published_frontend().log_mel(torch.from_numpy(samples.astype(np.float64))[None]).float()
    return prepare_voice(standardise_bands(log_mel, config.min_frames)[0].numpy(), config)


def _silence(config: VoiceFrontendConfig) -> dict[str, object]:
    """How `remove_silence` drops pauses, in the terms of `voiceface.export.graph.silence_facts`."""
    return {
        "detector": "webrtc",
        "aggressiveness": config.vad_aggressiveness,
        "frame_ms": 20,
        "ring_size": 2,
        "voiced_fraction": 0.9,
        "every_frame_once": False,
    }


def build_voice_front_end(config: VoiceFrontendConfig, num_samples: int | None = None) -> nn.Module:
    """Build a front end from waveforms (N, T) in the 16-bit range to network input (N, 1, 64, frames).

    Args:
        config: the front end.
        num_samples: T, if it is fixed.
    """
    front: nn.Module
    if config.frontend == "sphinx":
        front = PerceptionistGraph(PerceptionistLogMel(min_frames=config.min_frames), num_samples)
    else:
        front = DecibelGraph(
            config.num_frames, crop=config.clip_position == "centre", num_samples=num_samples
        )
    return nn.Sequential(_Round(), front, _AddChannel())


class _Round(nn.Module):
    """Whole numbers, as those of 16-bit files."""

    def forward(self, samples: Tensor) -> Tensor:
        return samples.round().clamp(-32768, 32767)


class _AddChannel(nn.Module):
    """Bands as maps of one channel."""

    def forward(self, bands: Tensor) -> Tensor:
        return bands[:, None]


class _Normalise(nn.Module):
    """Bytes to -1...1."""

    def forward(self, image: Tensor) -> Tensor:
        return (image - 127.5) / 127.5


class DecibelGraph(nn.Module):
    """The front end `cmpc2.log_mel` as a graph: (B, T) in the 16-bit range to (B, 64, frames), T above 800.

    Args:
        num_frames: shorter utterances are padded to this number.
        crop: cut longer ones to it, in their middle.
        num_samples: T, if it is fixed.
    """

    def __init__(self, num_frames: int, *, crop: bool = True, num_samples: int | None = None) -> None:
        super().__init__()
        self.num_frames, self.crop, self.num_samples = num_frames, crop, num_samples
        window = torch.hann_window(N_FFT, periodic=True, dtype=torch.float64)
        bank = slaney_mel_filterbank(N_FFT, 64, 0.0, 8000.0, SAMPLE_RATE)
        self.power = CentredMelPower(window, bank, N_FFT, HOP, num_samples)

    def forward(self, samples: Tensor) -> Tensor:
        power = self.power(samples / 32768)
        decibels = torch.log(power.clamp_min(1e-10)) * (10 / np.log(10))
        decibels = torch.maximum(decibels, decibels.amax((1, 2), keepdim=True) - 80)
        count: Any = (self.num_samples or samples.shape[1]) // HOP + 1
        wanted, edge = self.num_frames, (self.num_frames + 1) // 2
        decibels = nn.functional.pad(decibels, (edge, edge))
        if self.crop:
            start = edge + (count + wanted) // 2 - wanted
            return decibels[..., start : start + wanted].reshape(-1, 64, wanted)
        length = at_least(count, wanted)
        start = edge - (length - count + 1) // 2
        return decibels[..., start : start + length]
