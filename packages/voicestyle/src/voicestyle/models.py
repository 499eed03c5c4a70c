"""Networks of the pipeline: CMPC, StyleGAN2 and the networks that compare images, and how to load them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from voicestyle.config import VoiceStyleConfig
from voicestyle.image_losses import (
    BundledIdentityEncoder,
    BundledPerceptualDistance,
    IdentityEncoder,
    PerceptualDistance,
    load_identity_encoder,
    load_perceptual_distance,
)
from voicestyle.latent_optimisation import LatentStatistics, compute_latent_statistics, sample_z
from voicestyle.selection import FeatureExtractor, load_clip_features
from voicestyle.stylegan2.generator import Generator

if TYPE_CHECKING:
    from cmpc2.embedder import Embedder
    from voiceface.audio.loading import OnCorrupt
    from voiceface.models.lpips import NetName

__all__ = ["PipelineModels", "build_models", "load_models", "resolve_cmpc_path"]

BUNDLED_MODEL_DISCLAIMER = (
    "Generated with weights trained on synthetic identities (the synthetic population). The result shows "
    "that the software works and says nothing about a real person."
)
INVERSION_DISCLAIMER = (
    "Inversion compares images with a network trained on synthetic faces only: give --lpips and --identity "
    "for images of real people."
)


@dataclass(frozen=True)
class PipelineModels:
    """Networks of the pipeline, all frozen.

    Attributes:
        embedder: CMPC; embeds voices and faces in one space.
        generator: StyleGAN2.
        latent_statistics: mean and standard deviation of the generator's w.
        perceptual_distance: perceptual term of the inversion loss.
        identity_encoder: identity term of the inversion loss; None if its weight is 0.
        feature_extractor: image features that select bank images; None for the embedder's.
        disclaimer: text to show with every result, or empty.
        fingerprint: hash of all weights.
        face_crop: convention of the faces that the generator was trained on, a key of
            `voiceface.faces.crops.CROP_CONVENTIONS`.
    """

    embedder: "Embedder"
    generator: Generator
    latent_statistics: LatentStatistics
    perceptual_distance: PerceptualDistance
    identity_encoder: IdentityEncoder | None = None
    feature_extractor: FeatureExtractor | None = None
    disclaimer: str = ""
    fingerprint: str = ""
    face_crop: str = "population"

    @property
    def device(self) -> torch.device:
        """Device of the generator."""
        return self.generator.input.input.device


def build_models(
    embedder: "Embedder",
    generator: Generator,
    config: VoiceStyleConfig,
    *,
    perceptual_distance: PerceptualDistance | None = None,
    identity_encoder: IdentityEncoder | None = None,
    feature_extractor: FeatureExtractor | None = None,
    disclaimer: str = "",
    face_crop: str = "population",
) -> PipelineModels:
    """Freeze the networks and compute the statistics of w.

    All networks must be on one device. A missing perceptual distance or identity encoder is replaced by the
    bundled one, which was trained on synthetic faces.
    """
    from voiceface.checkpoints.native import fingerprint

    z = sample_z(generator, config.inversion.latent_mean_samples, config.seed)
    digest = hashlib.sha256(fingerprint(generator.state_dict()).encode())
    for part in (embedder.fingerprint, perceptual_distance, identity_encoder, feature_extractor):
        digest.update(_fingerprint_of(part).encode())
    embedder.model.requires_grad_(False)
    return PipelineModels(
        embedder,
        generator.eval().requires_grad_(False),
        compute_latent_statistics(generator, z),
        perceptual_distance or BundledPerceptualDistance(),
        identity_encoder or (BundledIdentityEncoder() if config.inversion.identity_weight else None),
        feature_extractor,
        disclaimer,
        digest.hexdigest(),
        face_crop,
    )


def resolve_cmpc_path(weights: str | Path | None, cmpc: str | Path | None) -> Path | None:
    """Return the path of CMPC's weights: `cmpc`, else the run in `weights`, else None (bundled)."""
    if cmpc is not None:
        return Path(cmpc)
    return Path(weights) / "cmpc2" if weights is not None else None


def load_models(
    config: VoiceStyleConfig,
    *,
    weights: str | Path | None = None,
    cmpc: str | Path | None = None,
    stylegan: str | Path | None = None,
    lpips: tuple[str | Path, str | Path] | None = None,
    lpips_net: "NetName" = "vgg",
    identity: str | Path | None = None,
    clip: str | Path | None = None,
    on_corrupt: "OnCorrupt | None" = None,
    device: str = "cpu",
) -> PipelineModels:
    """Load the networks of the pipeline. Each one that is not given is the bundled one.

    Args:
        config: settings of the pipeline.
        weights: run directory of `voicestyle train`, which holds CMPC and StyleGAN2.
        cmpc: CMPC: run directory, weights file or `model_best_256.pth.tar`.
        stylegan: StyleGAN2: run directory, weights file or `550000.pt`.
        lpips: files of the LPIPS backbone and of its heads.
        lpips_net: backbone of LPIPS.
        identity: IR-SE50, `model_ir_se50.pth`.
        clip: CLIP ViT-B/32, needed by `selection.method: clip`.
        on_corrupt: "error" refuses corrupt recordings, "salvage" uses what can be decoded; None: as in
            training.
        device: "cpu", "cuda" or "auto".

    Raises:
        CheckpointError, FileNotFoundError: a file is missing, corrupt or belongs to another network.
        ValueError: the device does not exist.
    """
    import cmpc2
    from voiceface.runtime.devices import choose_device

    from voicestyle.stylegan2.bundled import load_bundled_generator
    from voicestyle.stylegan2.checkpoints import load_generator

    device = str(choose_device(device))
    if weights is not None and not Path(weights).is_dir():
        raise FileNotFoundError(
            f"no run directory at {weights}: expected one that `voicestyle train` has written"
        )
    cmpc_path = resolve_cmpc_path(weights, cmpc)
    stylegan_path = Path(stylegan) if stylegan is not None else None
    if stylegan_path is None and weights is not None:
        stylegan_path = Path(weights) / "stylegan2"
    if stylegan_path is not None and stylegan_path.is_dir():
        stylegan_path = stylegan_path / "model.safetensors"
    embedder = cmpc2.load_embedder(cmpc_path, device=device, on_corrupt=on_corrupt)
    generator = load_bundled_generator() if stylegan_path is None else load_generator(stylegan_path)
    use_identity = config.inversion.identity_weight > 0
    is_bundled = stylegan_path is None or cmpc_path is None
    disclaimer = BUNDLED_MODEL_DISCLAIMER if is_bundled else embedder.disclaimer
    if not disclaimer and (lpips is None or (use_identity and identity is None)):
        disclaimer = INVERSION_DISCLAIMER
    backbone, heads = map(Path, lpips) if lpips is not None else (None, None)
    return build_models(
        embedder,
        generator.to(device),
        config,
        perceptual_distance=load_perceptual_distance(backbone, heads, lpips_net, device),
        identity_encoder=load_identity_encoder(Path(identity) if identity is not None else None, device)
        if use_identity
        else None,
        feature_extractor=load_clip_features(Path(clip), device) if clip is not None else None,
        disclaimer=disclaimer,
        face_crop=_find_face_crop(stylegan_path, embedder),
    )


def _find_face_crop(stylegan: Path | None, embedder: "Embedder") -> str:
    """Crop convention of a generator: published weights are FFHQ's; others saw the same data as CMPC."""
    if stylegan is None:
        return "population"
    if stylegan.suffix != ".safetensors":
        return "ffhq"
    from voiceface.checkpoints.native import load_model

    from voicestyle.stylegan2.checkpoints import SYSTEM

    extra = load_model(stylegan, system=SYSTEM, kind="generator").extra
    return "population" if extra.get("disclaimer") else embedder.face_crop


def _fingerprint_of(part: object) -> str:
    """Fingerprint of a network's weights, or the type's name if the object has no network."""
    from voiceface.checkpoints.native import fingerprint

    if isinstance(part, str) or part is None:
        return str(part)
    network = part if isinstance(part, torch.nn.Module) else getattr(part, "network", None)
    return fingerprint(network.state_dict()) if isinstance(network, torch.nn.Module) else type(part).__name__
