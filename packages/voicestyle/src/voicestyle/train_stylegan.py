"""`voicestyle train-stylegan`: train StyleGAN2 on images or on synthetic faces."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments

if TYPE_CHECKING:
    from torch import Tensor
    from voiceface.training.run import Run

    from voicestyle.stylegan2.config import StyleGAN2Config
    from voicestyle.stylegan2.dataset import ImageDataset
    from voicestyle.stylegan2.generator import Generator

__all__ = ["log_preview", "main", "save_generator", "train"]

MODEL_FILE = "model.safetensors"


def train(
    config: "StyleGAN2Config",
    dataset: "ImageDataset",
    out: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    resume: bool = False,
) -> Path:
    """Train a generator and a discriminator adversarially.

    Previews of the generator's moving average are written to `samples/NNNNNN.png` in the run directory.

    Args:
        config: settings.
        dataset: training images.
        out: run directory; new or empty unless `resume`.
        device: "cpu", "cuda", or "auto".
        threads: CPU threads of PyTorch; None leaves them unchanged.
        resume: resume from the last checkpoint in `out`.

    Returns:
        The checkpoint `out/model.safetensors`: the generator's moving average and the mean of w.

    Raises:
        ValueError, OSError: the data or the run directory is invalid; see the message.
    """
    import torch
    from voiceface.runtime.config import to_dict
    from voiceface.training.run import Run

    from voicestyle.stylegan2.checkpoints import SYSTEM
    from voicestyle.stylegan2.training import TrainingState, train_step

    settings = config.training
    if dataset.size != config.generator.size:
        raise ValueError(f"images of {dataset.size} pixels for a generator of {config.generator.size}")
    with Run(
        out,
        seed=settings.seed,
        config=to_dict(config),
        schema=config,
        system=SYSTEM,
        device=device,
        precision=settings.precision,
        threads=threads,
        resume=resume,
        log_interval=settings.log_interval,
    ) as run:
        run.extra = {"disclaimer": dataset.disclaimer, "images": len(dataset)}
        state = TrainingState.from_config(config, run.device)
        state.load_values(run.values)
        for network in (state.generator, state.discriminator):
            run.prepare(network, wrap=False)
        run.track(
            generator=state.generator,
            discriminator=state.discriminator,
            generator_ema=state.generator_ema,
            g_optim=state.g_optim,
            d_optim=state.d_optim,
        )
        preview_z = torch.randn(
            settings.preview_images,
            config.generator.style_dim,
            generator=torch.Generator().manual_seed(settings.seed),
        )
        data = run.batches(
            dataset, settings.batch_size, max_steps=settings.max_steps, num_workers=settings.num_workers
        )
        for step in run.steps(settings.max_steps, checkpoint_interval=settings.checkpoint_interval):
            if step % settings.preview_interval == 0:
                log_preview(run, step, state.generator_ema, preview_z)
            run.log(step, train_step(step, next(data)["image"], state, config, run))
        log_preview(run, settings.max_steps, state.generator_ema, preview_z)
        weights = Path(out) / MODEL_FILE
        if run.is_main:
            save_generator(weights, state.generator_ema, config, extra={**run.extra, "step": run.step})
    return weights


def log_preview(run: "Run", step: int, generator: "Generator", z: "Tensor") -> None:
    """Write a preview to an image file and to TensorBoard."""
    import numpy as np

    from voicestyle.stylegan2.images import image_grid, to_uint8, write_png
    from voicestyle.stylegan2.training import generate_previews

    if run.is_main:
        sheet = image_grid(np.concatenate([to_uint8(images) for images in generate_previews(generator, z)]))
        write_png(run.out / "samples" / f"{step:06d}.png", sheet)
        run.log_image("samples", sheet, step)


def save_generator(
    path: str | Path,
    generator: "Generator",
    config: "StyleGAN2Config",
    *,
    extra: dict[str, object] | None = None,
    half_precision: bool = False,
) -> None:
    """Write a generator to a native checkpoint: weights, stored noise, `latent_avg`.

    Args:
        path: name ending in .safetensors.
        generator: an unknown `latent_avg` is estimated with a fixed seed.
        config: of its training.
        extra: further JSON values.
        half_precision: store half precision.
    """
    import torch
    from voiceface.checkpoints.native import save_model
    from voiceface.runtime.config import to_dict

    from voicestyle.stylegan2.checkpoints import SYSTEM

    latent_avg = generator.latent_avg
    if latent_avg is None:
        rng = torch.Generator().manual_seed(config.training.seed)
        latent_avg = generator.mean_latent(config.training.latent_avg_samples, rng)
    save_model(
        path,
        {**generator.state_dict(), "latent_avg": latent_avg},
        system=SYSTEM,
        kind="generator",
        config=to_dict(config),
        extra=dict(extra or {}),
        dtype=torch.float16 if half_precision else None,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Train a generator."""
    parser = argparse.ArgumentParser(
        prog="voicestyle train-stylegan",
        description="Train StyleGAN2 on the images of a directory or a population, or on synthetic faces. "
        "--resume continues a stopped run.",
    )
    add = parser.add_argument
    add(
        "--cfg",
        required=True,
        help="bundled name (stylegan2_256, population, quick_stylegan) or a file",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data", type=arguments.data_folder, help="directory of images, or a written population"
    )
    source.add_argument(
        "--population",
        action="store_true",
        help="render the configuration's synthetic identities in memory instead",
    )
    add("--out", type=Path, required=True, help="run directory, new or empty")
    add("--resume", action="store_true", help="continue the run in --out")
    add("--device", default="auto", help="cpu, cuda or auto")
    add("--threads", type=int, help="CPU threads (a resumed run needs the same number)")
    arguments.add_override_argument(parser)
    args = parser.parse_args(argv)

    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from voicestyle.stylegan2.config import StyleGAN2Config
    from voicestyle.stylegan2.dataset import build_synthetic_images, open_images

    config = load_config(args.cfg, StyleGAN2Config, "voicestyle", args.override)
    size = config.generator.size
    dataset = (
        build_synthetic_images(config.data, size)
        if args.population
        else open_images(args.data, size, flip=config.data.flip)
    )
    keep_freed_memory()
    weights = train(config, dataset, args.out, device=args.device, threads=args.threads, resume=args.resume)
    print(f"weights: {weights}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.train_stylegan", None))
