"""Flags that several programs share, and the networks that they name."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments

if TYPE_CHECKING:
    from voicestyle.config import VoiceStyleConfig
    from voicestyle.steps import Tools

BUNDLED_NOTICE = (
    "Made with weights that were trained on invented people (the synthetic population). It shows that the "
    "software works and says nothing about a real person."
)
COMPARED_NOTICE = (
    "Inversion compares pictures by a network that knows invented faces only: give --lpips and --identity "
    "for pictures of real people."
)


def add_networks(parser: argparse.ArgumentParser) -> None:
    """Flags that name networks; without them the bundled ones are used."""
    group = parser.add_argument_group("networks (default: the bundled ones, which know invented people only)")
    add = group.add_argument
    add("--weights", type=Path, metavar="RUN", help="run folder of `voicestyle train`: all networks of a run")
    add("--cmpc", type=Path, metavar="FILE", help="CMPC: run folder, weights file or model_best_256.pth.tar")
    add("--stylegan", type=Path, metavar="FILE", help="StyleGAN2: weights file, run folder or 550000.pt")
    add("--lpips", type=Path, nargs=2, metavar=("TRUNK", "HEADS"), help="LPIPS: vgg16-*.pth and v0.1/vgg.pth")
    add("--lpips-net", default="vgg", choices=("vgg", "alex", "squeeze"), help="its trunk (default vgg)")
    add("--identity", type=Path, metavar="FILE", help="IR-SE50: model_ir_se50.pth")
    add("--clip", type=Path, metavar="FILE", help="CLIP ViT-B/32, for selection.by=clip (needs open_clip)")
    add("--tolerant", action="store_true", help="use what is left of damaged recordings")
    arguments.add_device_flag(parser)


def tools_of_flags(args: argparse.Namespace, config: "VoiceStyleConfig") -> "Tools":
    """The networks that the flags name.

    Raises:
        CheckpointError, FileNotFoundError: a file is absent, damaged or another network's.
        ValueError: no such device.
    """
    import cmpc2
    from voiceface.runtime.devices import choose_device

    from voicestyle.perception import open_identity, open_perceptual
    from voicestyle.selection import clip_features
    from voicestyle.steps import tools_of
    from voicestyle.stylegan2.bundle import bundled_generator
    from voicestyle.stylegan2.readers import load_generator

    device = str(choose_device(args.device))
    run = args.weights
    if run is not None and not run.is_dir():
        raise FileNotFoundError(f"no run folder at {run}: --weights names one that `voicestyle train` made")
    cmpc = args.cmpc or (run / "cmpc2" if run else None)
    stylegan = args.stylegan or (run / "stylegan2" if run else None)
    if stylegan is not None and stylegan.is_dir():
        stylegan = stylegan / "model.safetensors"
    embedder = cmpc2.load_embedder(cmpc, device=device, tolerant=args.tolerant or None)
    generator = (bundled_generator() if stylegan is None else load_generator(stylegan)).to(device)
    trunk, heads = args.lpips or (None, None)
    notice = BUNDLED_NOTICE if stylegan is None or cmpc is None else embedder.notice
    if not notice and (trunk is None or (config.inversion.identity and args.identity is None)):
        notice = COMPARED_NOTICE
    return tools_of(
        embedder,
        generator,
        config,
        perceptual=open_perceptual(trunk, heads, args.lpips_net, device),
        identity=open_identity(args.identity, device) if config.inversion.identity else None,
        features=clip_features(args.clip, device) if args.clip else None,
        notice=notice,
    )
