"""The voice2face baseline of Wen, Singh and Raj (NeurIPS 2019) as published separately: voice to image.

It differs from the `v2f` option set: 64 mel bands, an embedding of 64 numbers, one backbone for both heads of
the discriminator, images in -1...1. Letters: N items, M mel bands, T frames, D embedding size, K identities.
Parameter names are the published ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import CheckpointError, extract_state_dict, read_published

from sf2f.decoders import PointDeconvolution
from sf2f.encoders import VoiceEncoder
from sf2f.network_config import EncoderConfig

__all__ = [
    "NETWORK_KINDS",
    "Rescale",
    "State",
    "Voice2FaceFaceEncoder",
    "Voice2FaceGenerator",
    "Voice2FaceHead",
    "Voice2FaceNetworks",
    "build_network",
    "compute_discriminator_losses",
    "compute_generator_losses",
    "detect_network_kind",
    "load_voice2face",
]

Rescale = Literal["fixed", "per_image"]
State = Mapping[str, Tensor]
NETWORK_KINDS = {
    "e": "voice embedding",
    "g": "generator",
    "f": "face embedding",
    "d": "discriminator",
    "c": "classifier",
}


class Voice2FaceGenerator(nn.Module):
    """Network `g`: transposed convolutions with ReLU, and a 1 x 1 output layer.

    Args:
        embedding_dim: D.
        channels: at 4 x 4 pixels and after each upsampling layer.
        image_channels: channels of the image.
    """

    def __init__(
        self,
        embedding_dim: int = 64,
        channels: tuple[int, ...] = (1024, 512, 256, 128, 64),
        image_channels: int = 3,
    ) -> None:
        super().__init__()
        first, *rest = channels
        layers: list[nn.Module] = [PointDeconvolution(embedding_dim, first, 4), nn.ReLU(inplace=True)]
        in_channels = first
        for out_channels in rest:
            layers += [nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1), nn.ReLU(inplace=True)]
            in_channels = out_channels
        self.model = nn.Sequential(*layers, nn.ConvTranspose2d(in_channels, image_channels, 1))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings (N, D) to images (N, 3, S, S), nominally in -1...1, not bounded."""
        return self.model(embeddings[:, :, None, None])


class Voice2FaceFaceEncoder(nn.Module):
    """Network `f`: convolutions with leaky ReLU (0.2), down to one number per channel.

    Args:
        image_channels: channels of the image.
        channels: after the first layer and after each downsampling layer, down to 4 x 4 pixels.
        embedding_dim: D.
    """

    def __init__(
        self,
        image_channels: int = 3,
        channels: tuple[int, ...] = (32, 64, 128, 256, 512),
        embedding_dim: int = 64,
    ) -> None:
        super().__init__()
        first, *rest = channels
        layers: list[nn.Module] = [nn.Conv2d(image_channels, first, 1), nn.LeakyReLU(0.2, inplace=True)]
        in_channels = first
        for out_channels in rest:
            layers += [nn.Conv2d(in_channels, out_channels, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
            in_channels = out_channels
        self.model = nn.Sequential(*layers, nn.Conv2d(in_channels, embedding_dim, 4))

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S), -1...1, to embeddings (N, D)."""
        return self.model(images).flatten(1)


class Voice2FaceHead(nn.Module):
    """Networks `d` (one output: real or generated) and `c` (K outputs: identity): linear, no bias."""

    def __init__(self, embedding_dim: int, num_outputs: int) -> None:
        super().__init__()
        self.model = nn.Linear(embedding_dim, num_outputs, bias=False)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Face embeddings (N, D) to logits (N, num_outputs)."""
        return self.model(embeddings)


@dataclass(frozen=True)
class Voice2FaceNetworks:
    """The networks of a folder or file, in evaluation mode.

    Attributes:
        e: voice features to embeddings, not normalised.
        g: unit embeddings to images.
        f, d, c: parts of the discriminator; None if their file is missing.
    """

    e: VoiceEncoder
    g: Voice2FaceGenerator
    f: Voice2FaceFaceEncoder | None = None
    d: Voice2FaceHead | None = None
    c: Voice2FaceHead | None = None

    def embed(self, mel: Tensor, noise: Tensor | None = None) -> Tensor:
        """Encode features (N, M, T), each band normalised over time, to unit embeddings (N, D).

        Args:
            mel: the features.
            noise: (N, D), Gaussian with standard deviation 0.05 in training; added before normalising again.
        """
        embedding = F.normalize(self.e(mel))
        return embedding if noise is None else F.normalize(embedding + noise)

    @torch.no_grad()
    def generate_images(self, mel: Tensor, rescale: Rescale = "fixed") -> Tensor:
        """Generate images (N, 3, S, S) in 0...1 from features (N, M, T).

        Args:
            mel: the features.
            rescale: "fixed": -1...1 to 0...1; "per_image": minimum and maximum of each image become 0 and 1,
                as published.

        Raises:
            ValueError: an unknown option.
        """
        return self.decode_images(self.embed(mel), rescale)

    @torch.no_grad()
    def decode_images(self, embeddings: Tensor, rescale: Rescale = "fixed") -> Tensor:
        """Decode unit embeddings (N, D) to images; see `generate_images`."""
        if rescale not in get_args(Rescale):
            raise ValueError(f"rescale must be one of {get_args(Rescale)}, found {rescale!r}")
        images = self.g(embeddings).clamp(-1, 1)
        if rescale == "fixed":
            return (images + 1) / 2
        flat = images.flatten(1)
        minimum, maximum = (values[:, None, None, None] for values in (flat.amin(1), flat.amax(1)))
        return (images - minimum) / (maximum - minimum).clamp_min(torch.finfo(images.dtype).tiny)


def compute_discriminator_losses(
    networks: Voice2FaceNetworks, faces: Tensor, generated: Tensor, face_labels: Tensor
) -> dict[str, Tensor]:
    """Terms of `f`, `d` and `c` for real faces (N, 3, S, S), generated faces and labels (N,)."""
    f, d, c = _require_training_networks(networks)
    real, fake = f(faces), f(generated.detach())
    return {
        "D_real": F.softplus(-d(real)).mean(),
        "D_fake": F.softplus(d(fake)).mean(),
        "C_real": F.cross_entropy(c(real), face_labels),
    }


def compute_generator_losses(
    networks: Voice2FaceNetworks, generated: Tensor, voice_labels: Tensor
) -> dict[str, Tensor]:
    """Terms of `g` for generated faces (N, 3, S, S) and the identities of their voices (N,)."""
    f, d, c = _require_training_networks(networks)
    embedding = f(generated)
    return {
        "G_D_fake": F.softplus(-d(embedding)).mean(),
        "G_C_fake": F.cross_entropy(c(embedding), voice_labels),
    }


def load_voice2face(path: str | Path) -> Voice2FaceNetworks:
    """Load the published files; each network is detected by its shapes, whatever its file is called.

    Args:
        path: a folder with one file per network (.pth, .pt or .pkl), or one file with several state dicts by
            name.

    Raises:
        CheckpointError: corrupt, unsafe, an unknown network, two files of one kind, or no voice embedding or
            no generator.
        FileNotFoundError: no such path.
    """
    path = Path(path)
    states: dict[str, tuple[State, str]] = {}
    for state, source in _read_states(path):
        kind = detect_network_kind(state, source)
        if kind in states:
            raise CheckpointError(
                f"{source} and {states[kind][1]} both contain a {NETWORK_KINDS[kind]}; keep one of them in "
                f"{path}"
            )
        states[kind] = state, source
    missing = [NETWORK_KINDS[kind] for kind in "eg" if kind not in states]
    if missing:
        raise CheckpointError(f"{path} contains no {' and no '.join(missing)} of voice2face; add its file")
    networks = {kind: build_network(*arguments) for kind, arguments in states.items()}
    return Voice2FaceNetworks(**networks)  # type: ignore[arg-type]


def detect_network_kind(state: State, source: str = "the state dict") -> str:
    """Detect which network a state dict belongs to: `e`, `g`, `f`, `d` or `c`.

    Raises:
        CheckpointError: none of them.
    """
    if set(state) == {"model.weight"} and state["model.weight"].ndim == 2:
        return "d" if len(state["model.weight"]) == 1 else "c"
    first = state.get("model.0.weight")
    if first is not None and first.ndim == 3:
        return "e"
    if first is not None and first.ndim == 4:
        return "f" if first.shape[2:] == (1, 1) else "g"
    keys = ", ".join(f"{key} {tuple(value.shape)}" for key, value in list(state.items())[:2])
    raise CheckpointError(
        f"{source} is not a network of voice2face: expected model.0.weight..., found {keys}"
    )


def build_network(state: State, source: str = "the state dict") -> nn.Module:
    """Build the network of a state dict, sizes inferred from shapes, in evaluation mode.

    Raises:
        CheckpointError: none of the five, or a key is missing, unknown or of another shape.
    """
    kind = detect_network_kind(state, source)
    network: nn.Module
    if kind in "dc":
        network = Voice2FaceHead(*reversed(state["model.weight"].shape))
    else:
        weights = {int(k.split(".")[1]): v for k, v in state.items() if k.endswith(".weight") and v.ndim > 2}
        *inner, last = (weights[number] for number in sorted(weights))
        if not inner:
            raise CheckpointError(f"{source}: a {NETWORK_KINDS[kind]} must have more than one layer")
        if kind == "e":
            network = VoiceEncoder(
                EncoderConfig(
                    n_mels=inner[0].shape[1],
                    channels=tuple(len(weight) for weight in inner),
                    embedding_dim=len(last),
                    inception=False,
                    normalise=False,
                )
            )
        elif kind == "g":
            network = Voice2FaceGenerator(
                len(inner[0]), tuple(weight.shape[1] for weight in inner), last.shape[1]
            )
        else:
            network = Voice2FaceFaceEncoder(
                inner[0].shape[1], tuple(len(weight) for weight in inner), len(last)
            )
    load_into(network, state, source=source)
    return network.eval()


def _require_training_networks(
    networks: Voice2FaceNetworks,
) -> tuple[Voice2FaceFaceEncoder, Voice2FaceHead, Voice2FaceHead]:
    if networks.f is None or networks.d is None or networks.c is None:
        raise ValueError("training needs face embedding, discriminator and classifier (f, d, c)")
    return networks.f, networks.d, networks.c


def _read_states(path: Path) -> Sequence[tuple[State, str]]:
    """State dicts with their sources."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".pth", ".pt", ".pkl"))
        if not files:
            raise FileNotFoundError(f"no file .pth, .pt or .pkl in {path}")
        return [state for file in files for state in _read_states(file)]
    content = read_published(path)
    inner = {name: value for name, value in content.items() if isinstance(value, Mapping)}
    tensors = {
        name: {k: v for k, v in value.items() if isinstance(v, Tensor)} for name, value in inner.items()
    }
    states = [(state, f"{path}: {name}") for name, state in tensors.items() if state]
    return states or [(extract_state_dict(content, source=str(path)), str(path))]
