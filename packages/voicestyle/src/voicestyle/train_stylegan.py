"""Training of a StyleGAN2: `voicestyle train-stylegan --cfg NAME --data FOLDER --out RUN`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from voiceface.training.run import Run

    from voicestyle.stylegan2.collection import PictureSet
    from voicestyle.stylegan2.config import StyleGan2Config
    from voicestyle.stylegan2.generator import Generator

WEIGHTS = "model.safetensors"


def train(
    config: "StyleGan2Config",
    pictures: "PictureSet",
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
        pictures: what to learn from.
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

    from voicestyle.stylegan2.readers import SYSTEM
    from voicestyle.stylegan2.training import Players, iterate

    plan = config.training
    if pictures.size != config.generator.size:
        raise ValueError(f"pictures of {pictures.size} pixels for a generator of {config.generator.size}")
    with Run(
        out,
        seed=plan.seed,
        config=to_dict(config),
        system=SYSTEM,
        device=device,
        precision=plan.precision,
        threads=threads,
        resume=resume,
        log_every=plan.log_every,
    ) as run:
        if run.world_size > 1:
            raise ValueError(
                f"this system trains in one process, found {run.world_size}: start it without torchrun"
            )
        run.extra = {"notice": pictures.notice, "pictures": len(pictures)}
        players = Players.of(config, run.device)
        players.restore(run.values)
        run.track(
            generator=players.generator,
            discriminator=players.discriminator,
            average=players.average,
            g_optim=players.g_optim,
            d_optim=players.d_optim,
        )
        shown = torch.randn(
            plan.samples, config.generator.style_dim, generator=torch.Generator().manual_seed(plan.seed)
        )
        data = run.batches(pictures, plan.batch_size, steps=plan.max_iter, workers=plan.workers)
        for step in run.steps(plan.max_iter, save_every=plan.save_every):
            if step % plan.sample_every == 0:
                show(run, step, players.average, shown)
            run.log(step, iterate(step, next(data)["picture"], players, config, run))
        show(run, plan.max_iter, players.average, shown)
        weights = Path(out) / WEIGHTS
        if run.is_main:
            save_generator(weights, players.average, config, extra={**run.extra, "step": run.step})
    return weights


def show(run: "Run", step: int, generator: "Generator", z: "Tensor") -> None:
    """Write a preview as a picture file and to tensorboard."""
    import numpy as np

    from voicestyle.stylegan2.pictures import grid, to_bytes, write_png
    from voicestyle.stylegan2.training import preview

    sheet = grid(np.concatenate([to_bytes(pictures) for pictures in preview(generator, z)]))
    if run.is_main:
        write_png(run.out / "samples" / f"{step:06d}.png", sheet)
        run.show("samples", sheet, step)


def save_generator(
    path: str | Path,
    generator: "Generator",
    config: "StyleGan2Config",
    *,
    extra: dict[str, object] | None = None,
    half: bool = False,
) -> None:
    """Write a generator as our model file: weights, stored noise, `latent_avg`.

    Args:
        path: a name that ends in .safetensors.
        generator: its centre is computed, from a fixed seed, where it is not known.
        config: of its training.
        extra: further JSON values.
        half: store half precision.
    """
    import torch
    from voiceface.checkpoints.native import save_model
    from voiceface.runtime.config import to_dict

    from voicestyle.stylegan2.readers import SYSTEM

    centre = generator.latent_avg
    if centre is None:
        seeded = torch.Generator().manual_seed(config.training.seed)
        centre = generator.mean_latent(config.training.centre_samples, seeded)
    save_model(
        path,
        {**generator.state_dict(), "latent_avg": centre},
        system=SYSTEM,
        kind="generator",
        config=to_dict(config),
        extra=dict(extra or {}),
        dtype=torch.float16 if half else None,
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
    add("override", nargs="*", help="section.key=value")
    args = parser.parse_args(argv)

    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from voicestyle.stylegan2.collection import invented_pictures, open_pictures
    from voicestyle.stylegan2.config import StyleGan2Config

    keep_freed_memory()
    config = load_config(args.cfg, StyleGan2Config, "voicestyle", args.override)
    size = config.generator.size
    pictures = (
        invented_pictures(config.data, size)
        if args.population
        else open_pictures(args.data, size, flip=config.data.flip)
    )
    weights = train(config, pictures, args.out, device=args.device, threads=args.threads, resume=args.resume)
    print(f"weights: {weights}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.train_stylegan", None))
