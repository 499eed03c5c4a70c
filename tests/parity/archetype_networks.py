"""Parity of the networks of archetype_agnostic: front end, voice embedder, face embedder."""

import re

import torch
from archetype_agnostic.model import FaceConfig, FaceEmbedder, VoiceConfig, VoiceEmbedder
from archetype_agnostic.published import FRONT_END, UNUSED
from parity.activations import below, recorded, taken
from parity.case import Book, Case
from parity.rules import Rule
from torch import Tensor
from voiceface.association.embedder import Embedder
from voiceface.association.encoders import Normalise
from voiceface.association.pretrained_backbones import face_architecture, voice_architecture
from voiceface.audio.frontends import SeekingShapeLogMel
from voiceface.audio.mel import power_spectrogram
from voiceface.checkpoints.native import load_into
from voiceface.metrics.matching import unit_rows

FACE, VOICE = "vNet.", "aNet."
LEFT_OUT = [key.removeprefix(part) for part in (FACE, VOICE) for key in (*UNUSED, *FRONT_END)]
LOOSE = Rule(atol=2e-4, rtol=1e-3)


def audio_frontend(case: Case, book: Book) -> None:
    """Power, log-mel bands, standardising, filter bank, silence."""
    config = case.config
    n_fft, hop = int(config.get("n_fft", 512)), int(config.get("hop_length", 160))
    front = SeekingShapeLogMel(
        int(config.get("n_mels", 40)),
        rate=int(config.get("sample_rate", 16000)),
        n_fft=n_fft,
        window=int(config.get("win_length", 400)),
        hop=hop,
        low=float(config.get("f_min", 0)),
        high=config.get("f_max"),
        offset=float(config.get("log_offset", 1e-6)),
        epsilon=float(config.get("instance_norm_eps", 1e-5)),
    )
    wave = waves_of(case, "wave")
    silent = torch.zeros(1, case.stride(r"(\d+) zero samples", 4000))
    power = power_spectrogram(wave, front.spectrogram.window, n_fft, hop)
    ours = {
        "power": power.transpose(1, 2),
        "logmel": front.log_mel(wave),
        "normalised": front(wave),
        "silence_normalised": front(silent),
        "mel_filterbank": front.mel_scale.fb,
    }
    for name, value in ours.items():
        for stored in (name, f"{name}_sub"):
            if stored in case.arrays:
                part = value if value.shape == case.arrays[stored].shape else value[case.steps(stored)]
                case.judge(book, stored, part, otherwise=Rule(atol=2e-3, rtol=1e-3))


@torch.no_grad()
def voice_embedder(case: Case, book: Book) -> None:
    """Thin ResNet and head, and what is inside them; every stored wave."""
    embedder = voice_network(case.filled())
    net, stages = embedder.model, ["layer1", "layer2", "layer3", "layer4"]
    places = ["model.torchfb", "model.bn1", *(f"model.{stage}" for stage in stages)]
    with recorded(embedder, *places) as seen, taken(embedder.fc) as pooled:
        embedding = embedder(waves_of(case, "wave"))
    frames = seen["model.layer4"].mean(2).transpose(1, 2)
    inside = {"frontend": seen["model.torchfb"], "conv1": seen["model.bn1"].relu()}
    inside |= {stage: seen[f"model.{stage}"] for stage in stages}
    _judge_inside(case, book, inside, {stage: "layerL" for stage in stages})
    ours = {"sap_weights": net.attend(frames), "backbone": pooled[0], "embedding": embedding}
    for name in sorted(case.arrays):
        if name.startswith("wave_"):
            ours[f"embedding{name.removeprefix('wave')}"] = embedder(waves_of(case, name))
    _judge_embeddings(case, book, ours)


@torch.no_grad()
def face_embedder(case: Case, book: Book) -> None:
    """IR network and head, and what is inside them."""
    pictures = pictures_of(case, "image_bgr")
    embedder = face_network(case.filled(), pictures.shape[-1])
    units = {f"body{m[1]}": m[1] for m in (re.match(r"body(\d+)_", key) for key in case.arrays) if m}
    places = {"input_layer": "model.input_layer"} | {name: f"model.body.{i}" for name, i in units.items()}
    with recorded(embedder, *places.values()) as seen, taken(embedder.fc) as pooled:
        embedding = embedder(Normalise()(pictures))
    inside = {name: seen[place] for name, place in places.items()}
    _judge_inside(case, book, inside, {name: "bodyI" for name in units})
    ours = {"pooled": pooled[0], "embedding": embedding, "cosine": Embedder.score(embedding, embedding)}
    _judge_embeddings(case, book, ours)


def face_network(state: dict[str, Tensor], side: int) -> FaceEmbedder:
    """The face embedder that a layout describes, with its weights, in evaluation mode."""
    trunk, heads = face_architecture(state, f"{FACE}model.", side), _head(state, FACE)
    embedder = FaceEmbedder(FaceConfig(**trunk.model_dump(), hidden=heads[0]), heads[1]).eval()
    load_into(embedder, below(FACE, state), ignore=LEFT_OUT)
    return embedder


def voice_network(state: dict[str, Tensor]) -> VoiceEmbedder:
    """The voice embedder that a layout describes, with its weights, in evaluation mode."""
    trunk, heads = voice_architecture(state, f"{VOICE}model.", f"{VOICE}fc.0.weight"), _head(state, VOICE)
    embedder = VoiceEmbedder(VoiceConfig(**trunk.model_dump(), hidden=heads[0]), heads[1]).eval()
    load_into(embedder, below(VOICE, state), ignore=LEFT_OUT)
    return embedder


def _head(state: dict[str, Tensor], prefix: str) -> tuple[int, int]:
    """Widths of the two layers of a head."""
    return len(state[f"{prefix}fc.0.weight"]), len(state[f"{prefix}fc.2.weight"])


def waves_of(case: Case, name: str) -> Tensor:
    """Stored samples as the network takes them, (B, T)."""
    return torch.atleast_2d(case.tensor(name)).float()


def pictures_of(case: Case, name: str) -> Tensor:
    """Stored pictures (B, S, S, 3) as the network takes them, (B, 3, S, S)."""
    return case.tensor(name).permute(0, 3, 1, 2).float()


def _judge_inside(case: Case, book: Book, inside: dict[str, Tensor], spelt: dict[str, str]) -> None:
    """Stored parts and statistics of activations; `spelt`: how the description names a kind of them."""
    share = case.stride(r"s = width\s*//\s*(\d+)", 7)
    unbiased = int("unbiased" in str(case.meta.get("outputs")))
    for name, activation in inside.items():
        if f"{name}_sub" in case.arrays:
            width = max(1, activation.shape[-1] // share)
            steps = case.steps(f"{name}_sub", f"{spelt.get(name, name)}_sub", s=width)
            case.judge(book, f"{name}_sub", activation[steps], otherwise=LOOSE)
        if f"{name}_stats" in case.arrays:
            x = activation.double()
            stats = torch.stack([x.mean(), x.std(correction=unbiased), x.min(), x.max()])
            case.judge(book, f"{name}_stats", stats, otherwise=LOOSE)


def _judge_embeddings(case: Case, book: Book, ours: dict[str, Tensor]) -> None:
    """Embeddings as they are and of unit length."""
    ours |= {f"{name}_l2": unit_rows(value) for name, value in ours.items() if name.startswith("embedding")}
    for name, value in ours.items():
        if name in case.arrays:
            case.judge(book, name, value, otherwise=LOOSE)
