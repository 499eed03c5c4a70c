"""Training of a StyleGAN2: `voicestyle train-stylegan --cfg NAME --data PUBLISHED_FOLDER --out RUN`."""

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
    """Train a generator and a discriminator against each other.

    The run folder gets previews, `samples/NNNNNN.png`, of the running mean of the generator.

    Args:
        config: what to train.
        dataset: what to learn from.
        out: run folder; new or empty unless `resume`.
        device: "cpu", "cuda", or "auto".
        threads: of PyTorch on the CPU; None leaves them as they are.
        resume: go on from the run folder's last saved state.

    Returns:
        The weights file, `out/model.safetensors`: the running mean and its centre of w.

    Raises:
        ValueError, OSError: the data or the run folder do not fit; see the message.
    """
    import torch
    from voiceface.runtime.config import to_dict
    from voiceface.training.run import Run

    from voicestyle.stylegan2.checkpoints import SYSTEM
    from voicestyle.stylegan2.training import TrainingState, train_step

    plan = config.training
    if dataset.size != config.generator.size:
        raise ValueError(f"pictures of {dataset.size} pixels for a generator of {config.generator.size}")
    with Run(
        out,
        seed=plan.seed,
        config=to_dict(config),
        system=SYSTEM,
        device=device,
        precision=plan.precision,
        threads=threads,
        resume=resume,
        log_interval=plan.log_interval,
    ) as run:
        if run.world_size > 1:
            raise ValueError(
                f"this system trains in one process, found {run.world_size}: start it without torchrun"
            )
        run.extra = {"disclaimer": dataset.disclaimer, "images": len(dataset)}
        state = TrainingState.from_config(config, run.device)
        state.load_values(run.values)
        run.track(
            generator=state.generator,
            discriminator=state.discriminator,
            generator_ema=state.generator_ema,
            g_optim=state.g_optim,
            d_optim=state.d_optim,
        )
        shown = torch.randn(
            plan.preview_images,
            config.generator.style_dim,
            generator=torch.Generator().manual_seed(plan.seed),
        )
        data = run.batches(dataset, plan.batch_size, max_steps=plan.max_steps, num_workers=plan.num_workers)
        for step in run.steps(plan.max_steps, checkpoint_interval=plan.checkpoint_interval):
            if step % plan.preview_interval == 0:
                log_preview(run, step, state.generator_ema, shown)
            run.log(step, train_step(step, next(data)["image"], state, config, run))
        log_preview(run, plan.max_steps, state.generator_ema, shown)
        weights = Path(out) / MODEL_FILE
        if run.is_main:
            save_generator(weights, state.generator_ema, config, extra={**run.extra, "step": run.step})
    return weights


def log_preview(run: "Run", step: int, generator: "Generator", z: "Tensor") -> None:
    """Write a preview as a picture file and to tensorboard."""
    import numpy as np

    from voicestyle.stylegan2.images import image_grid, to_uint8, write_png
    from voicestyle.stylegan2.training import generate_previews

    sheet = image_grid(np.concatenate([to_uint8(pictures) for pictures in generate_previews(generator, z)]))
    if run.is_main:
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
    """Write a generator as our model file: weights, stored noise, `latent_avg`.

    Args:
        path: a name that ends in .safetensors.
        generator: its centre is computed, from a fixed seed, where it is not known.
        config: of its training.
        extra: further JSON values.
        half_precision: store half precision.
    """
    import torch
    from voiceface.checkpoints.native import save_model
    from voiceface.runtime.config import to_dict

    from voicestyle.stylegan2.checkpoints import SYSTEM

    centre = generator.latent_avg
    if centre is None:
        seeded = torch.Generator().manual_seed(config.training.seed)
        centre = generator.mean_latent(config.training.latent_avg_samples, seeded)
    save_model(
        path,
        {**generator.state_dict(), "latent_avg": centre},
        system=SYSTEM,
        kind="generator",
        config=to_dict(config),
        extra=dict(extra or {}),
        dtype=torch.float16 if half_precision else None,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """`voicestyle train-stylegan`."""
    parser = argparse.ArgumentParser(
        prog="voicestyle train-stylegan",
        description="Train a StyleGAN2 on pictures of a folder, of a population, or on invented faces. "
        "A run goes on with --resume.",
    )
    add = parser.add_argument
    add(
        "--cfg",
        required=True,
        help="bundled name (stylegan2_256, population, quick_stylegan) or a file",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="folder of pictures, or a written population")
    source.add_argument(
        "--population", action="store_true", help="invent the configuration's people in memory instead"
    )
    add("--out", type=Path, required=True, help="run folder, new or empty")
    add("--resume", action="store_true", help="go on with the run in --out")
    add("--device", default="auto", help="cpu, cuda or auto")
    add("--threads", type=int, help="CPU threads (a resumed run needs the same number)")
    arguments.add_override_argument(parser)
    args = parser.parse_args(argv)

    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from voicestyle.stylegan2.config import StyleGAN2Config
    from voicestyle.stylegan2.dataset import build_synthetic_images, open_images

    keep_freed_memory()
    config = load_config(args.cfg, StyleGAN2Config, "voicestyle", args.override)
    size = config.generator.size
    pictures = (
        build_synthetic_images(config.data, size)
        if args.population
        else open_images(args.data, size, flip=config.data.flip)
    )
    weights = train(config, pictures, args.out, device=args.device, threads=args.threads, resume=args.resume)
    print(f"weights: {weights}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.train_stylegan", None))
