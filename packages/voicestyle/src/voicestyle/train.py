"""`voicestyle train`: everything a way from a voice to a face needs, in one run folder.

OUT/cmpc2 (networks, prototypes, their videos) and OUT/stylegan2 (the generator); `voicestyle generate
--weights OUT` takes both. Inversion and guidance train nothing.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments

if TYPE_CHECKING:
    from voicestyle.config import VoiceStyleConfig


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
    """Train CMPC, then StyleGAN2; a part that is done is left as it is, a stopped one goes on.

    Args:
        config: its section `training` names the configurations of both.
        out: run folder.
        data: corpus, for both.
        population: preset of invented people instead.
        images: other pictures for StyleGAN2, such as FFHQ.
        device: "cpu", "cuda" or "auto".
        threads: of PyTorch on the CPU.
        resume: go on with the run in `out`.

    Returns:
        `out`.

    Raises:
        ValueError, OSError: data, configurations or folder do not fit; see the message.
    """
    from cmpc2 import train as cmpc2_train
    from cmpc2.config import Cmpc2Config
    from cmpc2.sources import load_training_data
    from voiceface.io.atomic import write_text
    from voiceface.runtime.config import load_config, to_dict, to_yaml
    from voiceface.training.run_directory import RunError, config_differences, to_json_values

    from voicestyle import train_stylegan
    from voicestyle.config import VoiceStyleConfig
    from voicestyle.stylegan2.config import StyleGAN2Config
    from voicestyle.stylegan2.dataset import build_synthetic_images, open_images

    plan = config.training
    networks = load_config(plan.cmpc2, Cmpc2Config, "cmpc2", plan.cmpc2_overrides)
    generator = load_config(plan.stylegan2, StyleGAN2Config, "voicestyle", plan.stylegan2_overrides)
    if not resume and out.is_dir() and any(out.iterdir()):
        raise RunError(
            f"{out} is not empty: give --resume to go on with the run in it, or another --out folder"
        )
    if resume and not out.is_dir():
        raise RunError(f"nothing to resume: {out} does not exist; check the path or leave out --resume")
    written = out / "config.yaml"
    if resume and written.is_file():
        before = to_dict(load_config(written, VoiceStyleConfig, "voicestyle"))
        if differing := config_differences(to_json_values(before), to_json_values(to_dict(config))):
            raise RunError(
                f"{out} was made with other settings and cannot be resumed with these:\n  "
                + "\n  ".join(differing[:12])
                + "\nGive the same, or another --out folder"
            )
    write_text(written, to_yaml(config))
    first, second = out / "cmpc2", out / "stylegan2"
    if not (first / "model.safetensors").is_file() or not (first / "memory.safetensors").is_file():
        found = load_training_data(networks, data=data, population=population)
        cmpc2_train.train(
            networks,
            found.pairs,
            first,
            validation=found.validation,
            device=device,
            threads=threads,
            resume=first.is_dir(),
            disclaimer=found.disclaimer,
        )
    if not (second / "model.safetensors").is_file():
        size, source = generator.generator.size, images or data
        seen = (
            build_synthetic_images(generator.data, size)
            if source is None
            else open_images(source, size, flip=generator.data.flip)
        )
        train_stylegan.train(generator, seen, second, device=device, threads=threads, resume=second.is_dir())
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Train both networks."""
    parser = argparse.ArgumentParser(
        prog="voicestyle train",
        description="Train what generation needs: CMPC (OUT/cmpc2: networks, prototypes) and StyleGAN2 "
        "(OUT/stylegan2), by the configurations that the section `training` names. A run goes on with "
        "--resume.",
    )
    arguments.add_training_arguments(parser, configurations="default, quick, published")
    parser.add_argument("--pictures", type=Path, help="other pictures for StyleGAN2, such as those of FFHQ")
    args = parser.parse_args(argv)

    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from voicestyle.config import VoiceStyleConfig

    keep_freed_memory()
    config = load_config(args.cfg, VoiceStyleConfig, "voicestyle", args.override)
    arguments.require_existing_paths({"data": args.data, "pictures": args.pictures})
    out = train(
        config,
        args.out,
        data=args.data,
        population=args.population,
        images=args.pictures,
        device=args.device,
        threads=args.threads,
        resume=args.resume,
    )
    print(f"run: {out}; use it with voicestyle generate --weights {out}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.train", None))
