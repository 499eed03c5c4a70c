"""Parity of the networks of archetype_agnostic: front end, voice embedder, face embedder."""

import re

import torch
from archetype_agnostic.model import FaceBranch, VoiceBranch
from archetype_agnostic.model_config import FaceConfig, VoiceConfig
from archetype_agnostic.published import FRONTEND_KEYS, UNUSED_KEYS
from parity.activations import record_inputs, record_outputs, strip_prefix
from parity.case import Case, ComparisonLog
from parity.tolerance_rules import ToleranceRule
from torch import Tensor
from voiceface.association.embedder import Embedder
from voiceface.association.encoders import InputNormalization
from voiceface.association.pretrained_backbones import infer_face_config, infer_voice_config
from voiceface.audio.frontends import SeekingShapeLogMel
from voiceface.audio.mel import power_spectrogram
from voiceface.checkpoints.native import load_into
from voiceface.metrics.matching import l2_normalize

FACE_PREFIX, VOICE_PREFIX = "vNet.", "aNet."
IGNORED_KEYS = [
    key.removeprefix(part) for part in (FACE_PREFIX, VOICE_PREFIX) for key in (*UNUSED_KEYS, *FRONTEND_KEYS)
]
LOOSE = ToleranceRule(atol=2e-4, rtol=1e-3)


def audio_frontend(case: Case, log: ComparisonLog) -> None:
    """Power, log-mel bands, standardising, filter bank, silence."""
    config = case.config
    n_fft, hop = int(config.get("n_fft", 512)), int(config.get("hop_length", 160))
    front = SeekingShapeLogMel(
        int(config.get("n_mels", 40)),
        sample_rate=int(config.get("sample_rate", 16000)),
        n_fft=n_fft,
        win_length=int(config.get("win_length", 400)),
        hop_length=hop,
        f_min=float(config.get("f_min", 0)),
        f_max=config.get("f_max"),
        offset=float(config.get("log_offset", 1e-6)),
        epsilon=float(config.get("instance_norm_eps", 1e-5)),
    )
    wave = load_waves(case, "wave")
    silent = torch.zeros(1, case.stated_number(r"(\d+) zero samples", 4000))
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
                part = (
                    value if value.shape == case.arrays[stored].shape else value[case.stored_slices(stored)]
                )
                case.compare(log, stored, part, default=ToleranceRule(atol=2e-3, rtol=1e-3))


@torch.no_grad()
def voice_embedder(case: Case, log: ComparisonLog) -> None:
    """Thin ResNet and head, and what is inside them; every stored wave."""
    embedder = build_voice_network(case.filled_weights())
    net, stages = embedder.model, ["layer1", "layer2", "layer3", "layer4"]
    places = ["model.torchfb", "model.bn1", *(f"model.{stage}" for stage in stages)]
    with record_outputs(embedder, *places) as seen, record_inputs(embedder.fc) as pooled:
        embedding = embedder(load_waves(case, "wave"))
    frames = seen["model.layer4"].mean(2).transpose(1, 2)
    inside = {"frontend": seen["model.torchfb"], "conv1": seen["model.bn1"].relu()}
    inside |= {stage: seen[f"model.{stage}"] for stage in stages}
    _compare_activations(case, log, inside, {stage: "layerL" for stage in stages})
    ours = {"sap_weights": net.attention_weights(frames), "backbone": pooled[0], "embedding": embedding}
    for name in sorted(case.arrays):
        if name.startswith("wave_"):
            ours[f"embedding{name.removeprefix('wave')}"] = embedder(load_waves(case, name))
    _compare_embeddings(case, log, ours)


@torch.no_grad()
def face_embedder(case: Case, log: ComparisonLog) -> None:
    """IR network and head, and what is inside them."""
    pictures = load_images(case, "image_bgr")
    embedder = build_face_network(case.filled_weights(), pictures.shape[-1])
    units = {f"body{m[1]}": m[1] for m in (re.match(r"body(\d+)_", key) for key in case.arrays) if m}
    places = {"input_layer": "model.input_layer"} | {name: f"model.body.{i}" for name, i in units.items()}
    with record_outputs(embedder, *places.values()) as seen, record_inputs(embedder.fc) as pooled:
        embedding = embedder(InputNormalization()(pictures))
    inside = {name: seen[place] for name, place in places.items()}
    _compare_activations(case, log, inside, {name: "bodyI" for name in units})
    ours = {"pooled": pooled[0], "embedding": embedding, "cosine": Embedder.score(embedding, embedding)}
    _compare_embeddings(case, log, ours)


def build_face_network(state: dict[str, Tensor], side: int) -> FaceBranch:
    """The face embedder that a layout describes, with its weights, in evaluation mode."""
    trunk, heads = infer_face_config(state, f"{FACE_PREFIX}model.", side), _head_sizes(state, FACE_PREFIX)
    embedder = FaceBranch(FaceConfig(**trunk.model_dump(), hidden_dim=heads[0]), heads[1]).eval()
    load_into(embedder, strip_prefix(FACE_PREFIX, state), ignore=IGNORED_KEYS)
    return embedder


def build_voice_network(state: dict[str, Tensor]) -> VoiceBranch:
    """The voice embedder that a layout describes, with its weights, in evaluation mode."""
    trunk, heads = (
        infer_voice_config(state, f"{VOICE_PREFIX}model.", f"{VOICE_PREFIX}fc.0.weight"),
        _head_sizes(state, VOICE_PREFIX),
    )
    embedder = VoiceBranch(VoiceConfig(**trunk.model_dump(), hidden_dim=heads[0]), heads[1]).eval()
    load_into(embedder, strip_prefix(VOICE_PREFIX, state), ignore=IGNORED_KEYS)
    return embedder


def _head_sizes(state: dict[str, Tensor], prefix: str) -> tuple[int, int]:
    """Widths of the two layers of a head."""
    return len(state[f"{prefix}fc.0.weight"]), len(state[f"{prefix}fc.2.weight"])


def load_waves(case: Case, name: str) -> Tensor:
    """Stored samples as the network takes them, (B, T)."""
    return torch.atleast_2d(case.tensor(name)).float()


def load_images(case: Case, name: str) -> Tensor:
    """Stored pictures (B, S, S, 3) as the network takes them, (B, 3, S, S)."""
    return case.tensor(name).permute(0, 3, 1, 2).float()


def _compare_activations(
    case: Case, log: ComparisonLog, activations: dict[str, Tensor], spellings: dict[str, str]
) -> None:
    """Stored parts and statistics of activations; `spellings`: how the description names a kind of them."""
    share = case.stated_number(r"s = width\s*//\s*(\d+)", 7)
    unbiased = int("unbiased" in str(case.meta.get("outputs")))
    for name, activation in activations.items():
        if f"{name}_sub" in case.arrays:
            width = max(1, activation.shape[-1] // share)
            steps = case.stored_slices(f"{name}_sub", f"{spellings.get(name, name)}_sub", s=width)
            case.compare(log, f"{name}_sub", activation[steps], default=LOOSE)
        if f"{name}_stats" in case.arrays:
            x = activation.double()
            stats = torch.stack([x.mean(), x.std(correction=unbiased), x.min(), x.max()])
            case.compare(log, f"{name}_stats", stats, default=LOOSE)


def _compare_embeddings(case: Case, log: ComparisonLog, ours: dict[str, Tensor]) -> None:
    """Embeddings as they are and of unit length."""
    ours |= {
        f"{name}_l2": l2_normalize(value) for name, value in ours.items() if name.startswith("embedding")
    }
    for name, value in ours.items():
        if name in case.arrays:
            case.compare(log, name, value, default=LOOSE)
