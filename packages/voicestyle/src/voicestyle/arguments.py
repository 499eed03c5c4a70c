"""Flags that several programs share, and the networks that they name."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments

if TYPE_CHECKING:
    from voicestyle.config import VoiceStyleConfig
    from voicestyle.pipeline import PipelineModels

BUNDLED_MODEL_DISCLAIMER = (
    "Made with weights that were trained on invented people (the synthetic population). It shows that the "
    "software works and says nothing about a real person."
)
INVERSION_DISCLAIMER = (
    "Inversion compares pictures by a network that knows invented faces only: give --lpips and --identity "
    "for pictures of real people."
)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags that name networks; without them the bundled ones are used."""
    group = parser.add_argument_group("networks (default: the bundled ones, which know invented people only)")
    add = group.add_argument
    add("--weights", type=Path, metavar="RUN", help="run folder of `voicestyle train`: all networks of a run")
    add("--cmpc", type=Path, metavar="FILE", help="CMPC: run folder, weights file or model_best_256.pth.tar")
    add("--stylegan", type=Path, metavar="FILE", help="StyleGAN2: weights file, run folder or 550000.pt")
    add("--lpips", type=Path, nargs=2, metavar=("TRUNK", "HEADS"), help="LPIPS: vgg16-*.pth and v0.1/vgg.pth")
    add("--lpips-net", default="vgg", choices=("vgg", "alex", "squeeze"), help="its trunk (default vgg)")
    add("--identity", type=Path, metavar="FILE", help="IR-SE50: model_ir_se50.pth")
    add(
        "--clip", type=Path, metavar="FILE", help="CLIP ViT-B/32, for selection.method=clip (needs open_clip)"
    )
    arguments.add_on_corrupt_argument(group)
    arguments.add_device_argument(parser)


def models_from_args(args: argparse.Namespace, config: "VoiceStyleConfig") -> "PipelineModels":
    """The networks that the flags name.

    Raises:
        CheckpointError, FileNotFoundError: a file is absent, damaged or another network's.
        ValueError: no such device.
    """
    import cmpc2
    from voiceface.runtime.devices import choose_device

    from voicestyle.image_losses import load_identity_encoder, load_perceptual_distance
    from voicestyle.pipeline import build_models
    from voicestyle.selection import load_clip_features
    from voicestyle.stylegan2.bundled import load_bundled_generator
    from voicestyle.stylegan2.checkpoints import load_generator

    device = str(choose_device(args.device))
    run = args.weights
    if run is not None and not run.is_dir():
        raise FileNotFoundError(f"no run folder at {run}: --weights names one that `voicestyle train` made")
    cmpc = args.cmpc or (run / "cmpc2" if run else None)
    stylegan = args.stylegan or (run / "stylegan2" if run else None)
    if stylegan is not None and stylegan.is_dir():
        stylegan = stylegan / "model.safetensors"
    embedder = cmpc2.load_embedder(cmpc, device=device, on_corrupt=args.on_corrupt)
    generator = (load_bundled_generator() if stylegan is None else load_generator(stylegan)).to(device)
    trunk, heads = args.lpips or (None, None)
    notice = BUNDLED_MODEL_DISCLAIMER if stylegan is None or cmpc is None else embedder.disclaimer
    if not notice and (trunk is None or (config.inversion.identity_weight and args.identity is None)):
        notice = INVERSION_DISCLAIMER
    return build_models(
        embedder,
        generator,
        config,
        perceptual_distance=load_perceptual_distance(trunk, heads, args.lpips_net, device),
        identity_encoder=load_identity_encoder(args.identity, device)
        if config.inversion.identity_weight
        else None,
        feature_extractor=load_clip_features(args.clip, device) if args.clip else None,
        disclaimer=notice,
    )
