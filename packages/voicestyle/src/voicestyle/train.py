"""`voicestyle train`: train the networks that generation needs, in one run directory.

OUT/cmpc2 holds CMPC with its prototypes, OUT/stylegan2 the generator; `voicestyle generate --weights OUT`
uses both. Inversion and guidance need no training.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments

if TYPE_CHECKING:
    from voicestyle.config import VoiceStyleConfig

__all__ = ["main", "train"]


def train(
    config: "VoiceStyleConfig",
    out: Path,
    *,
    data: Path | None = None,
    population: str | None = None,
    images: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    resume: bool = False,
) -> Path:
    """Train CMPC, then StyleGAN2; skip a finished part and resume a stopped one.

    Args:
        config: its section `training` names the configurations of both.
        out: run directory.
        data: corpus, for both.
        population: preset of synthetic identities instead.
        images: other images for StyleGAN2, such as FFHQ.
        device: "cpu", "cuda" or "auto".
        threads: CPU threads of PyTorch.
        resume: continue the run in `out`.

    Returns:
        `out`.

    Raises:
        ValueError, OSError: the data, a configuration or the directory is invalid; see the message.
    """
    from cmpc2 import train as cmpc2_train
    from cmpc2.config import Cmpc2Config
    from cmpc2.training_data import load_training_data
    from voiceface.io.atomic import write_text
    from voiceface.runtime import distributed
    from voiceface.runtime.config import load_config, to_dict, to_yaml
    from voiceface.training.run_directory import RunError, config_differences, to_json_values

    from voicestyle import train_stylegan
    from voicestyle.config import VoiceStyleConfig
    from voicestyle.stylegan2.config import StyleGAN2Config
    from voicestyle.stylegan2.dataset import build_synthetic_images, open_images

    parts = config.training
    cmpc2_config = load_config(parts.cmpc2, Cmpc2Config, "cmpc2", parts.cmpc2_overrides)
    stylegan2_config = load_config(parts.stylegan2, StyleGAN2Config, "voicestyle", parts.stylegan2_overrides)
    is_main = distributed.rank_in_environment() == 0  # the others may see what it has written already
    if is_main and not resume and out.is_dir() and any(out.iterdir()):
        raise RunError(
            f"{out} is not empty: give --resume to resume the run in it, or choose another --out directory."
        )
    if is_main and resume and not out.is_dir():
        raise RunError(f"nothing to resume: {out} does not exist. Check the path, or omit --resume.")
    config_file = out / "config.yaml"
    if is_main and resume and config_file.is_file():
        stored = to_dict(load_config(config_file, VoiceStyleConfig, "voicestyle"))
        if differences := config_differences(to_json_values(stored), to_json_values(to_dict(config))):
            raise RunError(
                f"Cannot resume {out}: it was made with other settings:\n  "
                + "\n  ".join(differences[:12])
                + "\nUse the same settings, or choose a new --out directory."
            )
    if is_main:
        write_text(config_file, to_yaml(config))
    cmpc2_out, stylegan2_out = out / "cmpc2", out / "stylegan2"
    if not all((cmpc2_out / name).is_file() for name in ("model.safetensors", "memory.safetensors")):
        training = load_training_data(cmpc2_config, data=data, population=population)
        cmpc2_train.train(
            cmpc2_config,
            training.dataset,
            cmpc2_out,
            validation=training.validation,
            device=device,
            threads=threads,
            resume=cmpc2_out.is_dir(),
            disclaimer=training.disclaimer,
        )
    if not (stylegan2_out / "model.safetensors").is_file():
        size, source = stylegan2_config.generator.size, images or data
        dataset = (
            build_synthetic_images(stylegan2_config.data, size)
            if source is None
            else open_images(source, size, flip=stylegan2_config.data.flip)
        )
        train_stylegan.train(
            stylegan2_config,
            dataset,
            stylegan2_out,
            device=device,
            threads=threads,
            resume=stylegan2_out.is_dir(),
        )
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Train both networks."""
    parser = argparse.ArgumentParser(
        prog="voicestyle train",
        description="Train the networks that generation needs: CMPC (OUT/cmpc2: networks, prototypes) and "
        "StyleGAN2 (OUT/stylegan2), by the configurations that the section `training` names. --resume "
        "continues a stopped run.",
    )
    arguments.add_training_arguments(parser, configurations="default, quick, published")
    parser.add_argument("--images", type=Path, help="other images for StyleGAN2, such as those of FFHQ")
    args = parser.parse_args(argv)

    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from voicestyle.config import VoiceStyleConfig

    keep_freed_memory()
    config = load_config(args.cfg, VoiceStyleConfig, "voicestyle", args.override)
    arguments.require_existing_paths({"data": args.data, "images": args.images})
    out = train(
        config,
        args.out,
        data=args.data,
        population=args.population,
        images=args.images,
        device=args.device,
        threads=args.threads,
        resume=args.resume,
    )
    print(f"run: {out}; use it with voicestyle generate --weights {out}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.train", None))
