"""One training step of a system: full networks, 3.75 s clips, one thread.

    python benchmarks/training_step.py --system seeking_shape        8 identities, one image and one clip each
    python benchmarks/training_step.py --system archetype_agnostic   4 identities, two images and two clips
    each

Ours is timed alternately with a reference implementation of the same networks: stock layers, stock memory
format, pooled shortcuts. Both must have the same loss. Processor time is reported; measure on an idle
machine. The goal is the largest ratio: target divided by the time of the published implementation on a CPU.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from timing import add_report_arguments, compare_builds, report_ratios, serve_steps

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from torch import Tensor, nn

    Objective = Callable[[Any, Tensor], Tensor]
    """Loss of what the model gave for a batch with these labels."""


class Task(NamedTuple):
    """A step for which the time of the published implementation is known.

    Attributes:
        num_identities: identities per batch.
        views: images of each, and clips.
        published_seconds: time of the published step.
        goal_seconds: target on the same machine.
    """

    num_identities: int
    views: int
    published_seconds: float
    goal_seconds: float

    @property
    def goal_ratio(self) -> float:
        """Largest ratio of our time to that of the same networks with stock layers."""
        return self.goal_seconds / self.published_seconds


TASKS = {"seeking_shape": Task(8, 1, 4.0, 3.1), "archetype_agnostic": Task(4, 2, 7.35, 5.6)}


def build_seeking_shape() -> tuple["nn.Module", "Objective"]:
    """Build the full networks and the complete objective."""
    import torch
    from seeking_shape.losses import apply_identity_weights, compute_sample_losses
    from seeking_shape.model import ModelOutput, Voice2Face

    model = Voice2Face(num_classes=924)

    def objective(out: ModelOutput, labels: "Tensor") -> "Tensor":
        found = compute_sample_losses(out.face, out.voice, out.face_logits, out.voice_logits, labels)
        model.center.update_hardness(labels, found.hardness)
        terms = apply_identity_weights(found, model.center.batch_weights(labels))
        return torch.stack(list(terms.values())).sum()

    return model, objective


def build_archetype_agnostic() -> tuple["nn.Module", "Objective"]:
    """Build the full networks and the complete objective, loose pairs re-gauged."""
    import torch
    from archetype_agnostic.config import ArchetypeAgnosticConfig
    from archetype_agnostic.model import Aasm, ModelOutput
    from archetype_agnostic.train import compute_losses as terms_of
    from voiceface.runtime.config import load_config

    config = load_config("main", ArchetypeAgnosticConfig, "archetype_agnostic")
    model = Aasm(config.model, 924)

    def objective(out: ModelOutput, labels: "Tensor") -> "Tensor":
        terms, _ = terms_of(config, model, out, labels, config.regauging.start_step)
        return torch.stack(list(terms.values())).sum()

    return model, objective


BUILDERS = {"seeking_shape": build_seeking_shape, "archetype_agnostic": build_archetype_agnostic}


def use_stock_layers(model: "nn.Module") -> None:
    """Use stock layers in the face network: contiguous memory, stock PReLU, max-pool shortcuts."""
    from torch import nn
    from voiceface.models import iresnet

    class PoolUnit(nn.Module):
        """Residual unit as published."""

        def __init__(self, unit: iresnet.ResidualUnit) -> None:
            super().__init__()
            self.shortcut_layer = unit.shortcut_layer or nn.MaxPool2d(1, unit.stride)
            self.res_layer = nn.Sequential(*(stock(layer) for layer in unit.res_layer))

        def forward(self, x: "Tensor") -> "Tensor":
            return self.res_layer(x) + self.shortcut_layer(x)

    def stock(layer: nn.Module) -> nn.Module:
        if isinstance(layer, nn.PReLU):
            other = nn.PReLU(layer.num_parameters)
            other.load_state_dict(layer.state_dict())
            return other
        if isinstance(layer, nn.Conv2d):
            size, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
            other_conv = nn.Conv2d(layer.in_channels, layer.out_channels, size, stride, padding, bias=False)
            other_conv.load_state_dict(layer.state_dict())
            return other_conv
        return layer

    face = next(module for module in model.modules() if isinstance(module, iresnet.IR))
    face.input_layer = nn.Sequential(*(stock(layer) for layer in face.input_layer))
    face.body = nn.Sequential(
        *(PoolUnit(unit) for unit in face.body if isinstance(unit, iresnet.ResidualUnit))
    )
    for parameter in face.parameters():
        parameter.data = parameter.data.contiguous()

    def forward(pictures: "Tensor") -> "Tensor":
        maps = face.body(face.input_layer(pictures))
        return maps if face.output_layer is None else face.output_layer(maps)

    face.forward = forward  # type: ignore[method-assign]


def build_step(system: str, plain: bool, seconds: float) -> Callable[[], float]:
    """Return a function that performs one step and returns its loss.

    Args:
        system: key of `TASKS`.
        plain: use stock layers.
        seconds: length of the clips.
    """
    import torch

    task = TASKS[system]
    torch.manual_seed(0)
    model, objective = BUILDERS[system]()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # both implementations must agree
    if plain:
        use_stock_layers(model)
    model.train()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(learning, lr=1e-3, momentum=0.9, weight_decay=1e-4)
    torch.manual_seed(1)
    batch: list[Tensor] = []
    for _ in range(task.views):
        batch.append(torch.randint(0, 256, (task.num_identities, 3, 112, 112)).float())
        batch.append(3000 * torch.randn(task.num_identities, int(16000 * seconds)))
    labels = torch.arange(task.num_identities)

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = objective(model(*batch), labels)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step


def run_worker(
    build: str, connection: "Connection", system: str, seconds: float, threads: int, keep_memory: bool
) -> None:
    """Worker process: build the networks, then run a step on every request."""
    import torch
    from voiceface.runtime.process import keep_freed_memory

    torch.set_num_threads(threads)
    if build == "ours" and keep_memory:
        keep_freed_memory()
    serve_steps(build_step(system, build == "plain", seconds), connection)


def measure(
    system: str, seconds: float, rounds: int, threads: int, keep_memory: bool = True
) -> dict[str, object]:
    """Time a step of a key of `TASKS`; see `timing.compare_builds`.

    Args:
        system: key of `TASKS`.
        seconds: length of the clips.
        rounds: timed steps of each, after one warm-up step.
        threads: of PyTorch in each process.
        keep_memory: ours calls `voiceface.runtime.process.keep_freed_memory` first, as `train` does.
    """
    return {
        "system": system,
        **compare_builds(run_worker, (system, seconds, threads, keep_memory), rounds),
        "goal_ratio": round(TASKS[system].goal_ratio, 3),
        "threads": threads,
        "keep_memory": keep_memory,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the results; the exit status is 1 if a goal is missed and --strict is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--system", nargs="+", choices=TASKS, default=list(TASKS), help="default: all")
    parser.add_argument("--seconds", type=float, default=3.75, help="length of the clips")
    parser.add_argument("--rounds", type=int, default=5, help="measured steps of each build")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--keep-memory",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="ours keeps freed memory, as in training",
    )
    add_report_arguments(parser)
    args = parser.parse_args(argv)
    how = args.seconds, args.rounds, args.threads, args.keep_memory
    return report_ratios([measure(system, *how) for system in args.system], args)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
