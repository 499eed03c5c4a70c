"""Frozen encoders and branches as ONNX graphs: waveforms and aligned faces to embeddings (docs/export.md)."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from voiceface.association.onnx_export import embedder_facts, embedding_port, voice_ports
from voiceface.association.system import SystemSpec
from voiceface.audio.mel import slaney_mel_filterbank
from voiceface.audio.mel_power import MelPower, at_least
from voiceface.checkpoints.native import load_into, load_model
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
from voiceface.real.installation import require_installed
from voiceface.real.networks import CHIP_SIDE, NUM_MELS, PARTIAL_FRAMES, build_network
from voiceface.real.voice_encoder import compute_partial_bands, partial_starts, silence_facts

from fop.euclidean import lift_faces, lift_voices

if TYPE_CHECKING:
    from fop.embedder import FopEmbedder
    from fop.model import FopModel

__all__ = ["PartialUtterances", "build_graphs"]

Array = NDArray[np.float32]
FRAME, HOP = 400, 160
VOICES = (
    "Speech of any length. Not in the graph: decoding, resampling to 16 kHz, mixing of channels, raising "
    "quiet recordings to -30 dB, and the removal of silences of more than 0.2 s."
)
PICTURES = (
    "Faces of {side} pixels, cut out and aligned by the eyes and the nose as `embed` does. "
    "In the graph: normalisation."
)


def build_graphs(
    spec: SystemSpec,
    embedder: "FopEmbedder",
    *,
    modalities: Sequence[Modality] = get_args(Modality),
    seconds: Sequence[float] = (),
) -> dict[str, Graph]:
    """Graphs of both modalities by name; see `voiceface.association.onnx_export.build_graphs`.

    A graph holds a frozen encoder of `voiceface models get real` and the branch behind it.

    Raises:
        ValueError: the model has other encoders.
        voiceface.real.installation.MissingModelError: an encoder was not fetched; names the command.
    """
    data = embedder.config.data
    for name in {"voice": data.voice_encoder, "face": data.face_encoder}.values():
        if name != "real":
            raise ValueError(
                f"fop: a model on the encoder {name!r} cannot be exported to ONNX, only one on the encoders "
                "real"
            )
    infos = embedder.encoder_infos
    found, facts = {}, embedder_facts(spec, embedder)
    facts["metadata"] = {"encoders": [info.to_values() for info in infos]}
    encoders = "; ".join(f"{info.modality} encoder: {info.licence}" for info in infos)
    facts["licence"] = f"{encoders}; branches: {facts['licence']}"
    dimension = embedder.embedding_dim
    if "voice" in modalities:
        encoder = _load("voice_encoder")

        def embed_waveforms(samples: Array) -> list[Array]:
            rows = torch.from_numpy(np.stack([compute_partial_bands(row) for row in samples]))
            parts: Tensor = encoder(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])
            features = nn.functional.normalize(parts.mean(1))
            return [embedder.embed_voice_features(features).numpy()]

        for name, num_samples in fixed_lengths(seconds).items():
            usual = 5 * SAMPLE_RATE
            lengths = [num_samples] * 10 if num_samples else example_lengths(usual, 800)
            module = nn.Sequential(
                PartialUtterances(num_samples), _VoiceBranch(encoder, embedder.model, embedder.is_euclidean)
            )
            found[name] = Graph(
                "voice",
                module.eval(),
                *voice_ports(dimension, num_samples, "unit"),
                [[voice / np.float32(32768)] for voice in example_voices(lengths)],
                torch.inference_mode()(embed_waveforms),
                facts | {"sample_rate": str(SAMPLE_RATE), "silence": silence_facts(), "front_end": VOICES},
            )
    if "face" in modalities:
        network = _load("face_encoder")

        def embed_pictures(pictures: Array) -> list[Array]:
            return [embedder.embed_face_features(network(torch.from_numpy(pictures))).numpy()]

        found["face"] = Graph(
            "face",
            _FaceBranch(network, embedder.model, embedder.is_euclidean).eval(),
            (Port("image", ("N", 3, CHIP_SIDE, CHIP_SIDE), "aligned RGB faces, 0...255"),),
            (embedding_port(dimension),),
            [[picture] for picture in example_pictures(CHIP_SIDE)],
            torch.inference_mode()(embed_pictures),
            facts | {"front_end": PICTURES.format(side=CHIP_SIDE)},
        )
    return found


def _load(name: str) -> nn.Module:
    """Load a frozen encoder as a PyTorch module."""
    weights = require_installed(name).weights
    network = build_network(name)
    load_into(network, load_model(weights, system="real", kind=name).state, source=str(weights))
    return network.eval()


class PartialUtterances(nn.Module):
    """Waveforms (N, T), -1...1, to mel power of their partial utterances, (N, P, 160, 40), for T above 0.

    The same as `voiceface.real.voice_encoder.compute_partial_bands`.

    Args:
        num_samples: T, if it is always the same.
    """

    def __init__(self, num_samples: int | None = None) -> None:
        super().__init__()
        self.num_samples = num_samples
        self.step = int(partial_starts(1_000_000)[1])
        window = torch.hann_window(FRAME, dtype=torch.float64)
        self.power = MelPower(window, slaney_mel_filterbank(FRAME, NUM_MELS).double(), FRAME, HOP)

    def forward(self, samples: Tensor) -> Tensor:
        total: Any = self.num_samples or samples.shape[1]
        frames = (total + HOP) // HOP
        count = (at_least(frames - PARTIAL_FRAMES + self.step + 1, 1) + self.step - 1) // self.step
        # The last partial utterance is dropped if less than three quarters of it are covered; one remains.
        missing = 3 * PARTIAL_FRAMES * HOP // 4 - total + (count - 1) * self.step * HOP
        missing = at_least(missing, 0)
        dropped = missing - at_least(missing - 1, 0)
        count = at_least(count - dropped, 1)
        padded = nn.functional.pad(samples, (FRAME // 2, PARTIAL_FRAMES * HOP))
        bands = self.power(padded, (count - 1) * self.step + PARTIAL_FRAMES).transpose(1, 2)
        starts = torch.arange(count)[:, None] * self.step
        return bands[:, starts + torch.arange(PARTIAL_FRAMES)]


class _VoiceBranch(nn.Module):
    """Partial utterances (N, P, 160, 40) to embeddings (N, D)."""

    def __init__(self, encoder: nn.Module, model: "FopModel", euclidean: bool) -> None:
        super().__init__()
        self.encoder, self.model, self.euclidean = encoder, copy.deepcopy(model), euclidean

    def forward(self, partials: Tensor) -> Tensor:
        count = partials.shape[1]
        parts = self.encoder(partials.reshape(-1, PARTIAL_FRAMES, NUM_MELS))
        features = nn.functional.normalize(parts.reshape(-1, count, parts.shape[1]).mean(1))
        embeddings = self.model.encode_voices(features)
        return lift_voices(embeddings) if self.euclidean else embeddings


class _FaceBranch(nn.Module):
    """Aligned faces (N, 3, 150, 150), 0...255, to embeddings (N, D)."""

    def __init__(self, encoder: nn.Module, model: "FopModel", euclidean: bool) -> None:
        super().__init__()
        self.encoder, self.model, self.euclidean = encoder, copy.deepcopy(model), euclidean

    def forward(self, image: Tensor) -> Tensor:
        embeddings = self.model.encode_faces(self.encoder(image))
        return lift_faces(embeddings) if self.euclidean else embeddings
