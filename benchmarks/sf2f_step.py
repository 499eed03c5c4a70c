"""Speed of one training step of sf2f: full networks, one thread.

    python benchmarks/sf2f_step.py --model v2f sf2f_1st_stage      16 windows of 125 frames, 64 pixels
    python benchmarks/sf2f_step.py --model sf2f_mid_1st_stage      8 windows, 64 and 128 pixels
    python benchmarks/sf2f_step.py --model sf2f_fuser              4 x 20 windows, only the fuser learns

The package and a plain build of the same networks alternate, each in a process of its own. The plain build
has upsampling and convolution one after the other, stock transposed convolutions, contiguous memory format,
separate batch norms in FaceNet, gradients of its weights and of all discriminators in the generator's update,
stock Adam, and returns freed memory. Both must give the same losses. Processor time counts. The goal is a
ratio: the target time to that of the published implementation on the same kind of processor.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from timing import add_report_arguments, compare_builds, report_ratios, serve_steps

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from torch import nn

IDENTITIES = 2890
BANDS, FRAMES = 40, 125


class Task(NamedTuple):
    """An iteration that the published implementation was measured on.

    Attributes:
        batch: items.
        windows: of each; 0: single windows, without a fuser.
        side: of the largest images, pixels.
        published_seconds: what its iteration took.
        goal_seconds: what ours shall take on the same machine.
    """

    batch: int
    windows: int
    side: int
    published_seconds: float
    goal_seconds: float

    @property
    def goal_ratio(self) -> float:
        """Maximum ratio of the package to the plain build."""
        return self.goal_seconds / self.published_seconds


TASKS = {
    "v2f": Task(16, 0, 64, 1.48, 1.2),
    "sf2f_1st_stage": Task(16, 0, 64, 3.33, 2.0),
    "sf2f_mid_1st_stage": Task(8, 0, 128, 4.93, 3.0),
    "sf2f_fuser": Task(4, 20, 64, 1.20, 0.8),
}


def build_configs(model: str) -> tuple[Any, Any, Any]:
    """Configurations of generator, discriminators and losses."""
    from sf2f.discriminator_config import LARGE_ARCH, SMALL_ARCH, BackboneConfig, DiscriminatorsConfig
    from sf2f.network_config import (
        EncoderConfig,
        FaceGanV2DecoderConfig,
        FuserConfig,
        GeneratorConfig,
        LossConfig,
        V2FDecoderConfig,
    )
    from sf2f.published import V2F_BACKBONE

    if model == "v2f":
        encoder = EncoderConfig(inception=False, noise_std=0.05)
        return (
            GeneratorConfig(encoder=encoder, decoder=V2FDecoderConfig()),
            DiscriminatorsConfig(image=(), identity=(V2F_BACKBONE,)),
            LossConfig(pixel=100, identity=1, perceptual=0),
        )
    if model == "sf2f_mid_1st_stage":
        both = BackboneConfig(arch=SMALL_ARCH), BackboneConfig(arch=LARGE_ARCH)
        return (
            GeneratorConfig(decoder=FaceGanV2DecoderConfig()),
            DiscriminatorsConfig(image=both, identity=both),
            LossConfig(pixel=100),
        )
    fuser = FuserConfig() if TASKS[model].windows else None
    return GeneratorConfig(fuser=fuser), DiscriminatorsConfig(), LossConfig()


def use_stock_layers(*networks: "nn.Module") -> None:
    """Replace fused layers by stock layers with the same weights."""
    import torch
    from sf2f.decoders import PointDeconvolution, UpBlock
    from torch import nn

    for network in networks:
        for module in network.modules():
            if isinstance(module, UpBlock):
                module.__class__ = nn.Sequential  # type: ignore[assignment]
            elif isinstance(module, PointDeconvolution):
                module.__class__ = nn.ConvTranspose2d  # type: ignore[assignment]
        network.to(memory_format=torch.contiguous_format)


def build_step(model: str, plain: bool) -> Callable[[], tuple[float, float]]:
    """Build networks, data and optimisers; the returned function runs one step and returns the losses."""
    import contextlib

    import torch
    from sf2f import training_step
    from sf2f.discriminators import Discriminators
    from sf2f.facenet_loss import FaceNetLoss
    from sf2f.generator import EncoderDecoder, freeze_except_fuser
    from voiceface.models.facenet import InceptionResNet
    from voiceface.models.fuse_batchnorm import fuse_batchnorm

    task = TASKS[model]
    torch.manual_seed(0)
    generator_config, discriminators_config, losses = build_configs(model)
    generator = EncoderDecoder(generator_config)
    discriminators = Discriminators(discriminators_config, IDENTITIES)
    facenet = InceptionResNet(num_classes=None)
    perceptual = FaceNetLoss(fuse_batchnorm(facenet)) if losses.perceptual else None
    if task.windows:
        freeze_except_fuser(generator)
    generator.train()
    optimisers = training_step.build_optimisers(generator, discriminators)
    if plain:
        use_stock_layers(generator, discriminators)
        if perceptual is not None:
            use_stock_layers(facenet)
            perceptual = FaceNetLoss(facenet)
            facenet.requires_grad_(True)
            facenet.forward_features = _with_contiguous_format(facenet)  # type: ignore[method-assign]
        training_step.parameters_frozen = contextlib.nullcontext  # type: ignore[assignment, attr-defined]
        for optimiser in optimisers.all:
            optimiser.param_groups[0]["fused"] = False
    shape = (task.batch, task.windows) if task.windows else (task.batch,)
    draw = torch.Generator().manual_seed(1)
    mel = torch.randn(*shape, BANDS, FRAMES, generator=draw)
    real = torch.randn(task.batch, 3, task.side, task.side, generator=draw)
    labels = torch.randint(IDENTITIES, (task.batch,), generator=draw)
    batch, objective = training_step.Batch(mel, real, labels), training_step.Objective(losses, perceptual)

    def step() -> tuple[float, float]:
        outcome = training_step.train_step(generator, discriminators, optimisers, batch, objective, draw)
        return float(outcome.loss), float(sum(outcome.discriminator_losses.values()))

    return step


def _with_contiguous_format(network: Any) -> Callable[[Any], Any]:
    """The network's forward pass with contiguous memory format."""
    import torch

    found, channels_last = network.forward_features, torch.channels_last

    def stock(images: Any) -> Any:
        torch.channels_last = torch.contiguous_format
        try:
            return found(images)
        finally:
            torch.channels_last = channels_last

    return stock


def run_worker(build: str, connection: "Connection", model: str, threads: int) -> None:
    """Worker process: build the networks, then run a step on every request."""
    import torch
    from voiceface.runtime.process import keep_freed_memory

    torch.set_num_threads(threads)
    if build == "ours":
        keep_freed_memory()
    serve_steps(build_step(model, build == "plain"), connection)


def measure(model: str, rounds: int, threads: int) -> dict[str, object]:
    """Time an iteration of a key of `TASKS`; see `timing.compare_builds`."""
    task = TASKS[model]
    return {
        "model": model,
        **compare_builds(run_worker, (model, threads), rounds),
        "goal_ratio": round(task.goal_ratio, 3),
        "goal_seconds": task.goal_seconds,
        "published_seconds": task.published_seconds,
        "threads": threads,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the results; exit code 1 if a goal is missed and --strict is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", nargs="+", choices=TASKS, default=list(TASKS), help="default: all")
    parser.add_argument("--rounds", type=int, default=5, help="measured iterations of each build")
    parser.add_argument("--threads", type=int, default=1)
    add_report_arguments(parser)
    args = parser.parse_args(argv)
    return report_ratios([measure(model, args.rounds, args.threads) for model in args.model], args)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
