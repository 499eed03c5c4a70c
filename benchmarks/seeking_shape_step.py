"""One training step of seeking_shape: full networks, 8 pairs, 3.75 s clips, one thread.

    python benchmarks/seeking_shape_step.py

Ours is measured against a plain build of the same networks, turn by turn: stock layers, stock memory format,
pooled shortcuts. Both must give the same loss. Processor time counts: the time on an idle machine.
The published implementation took 4.0 s for such a step on a processor; the goal is 3.1 s, a ratio of 0.775.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from seeking_shape.model import Voice2Face
    from torch import Tensor

PUBLISHED_SECONDS, GOAL_SECONDS = 4.0, 3.1


def plain_copy(model: "Voice2Face") -> "Voice2Face":
    """The same weights in stock layers: contiguous memory, stock PReLU, max-pool shortcuts."""
    import copy

    from torch import nn
    from voiceface.backbones import ir

    class PoolUnit(nn.Module):
        """Residual unit as published."""

        def __init__(self, unit: ir.Unit) -> None:
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

    plain = copy.deepcopy(model)
    face = plain.F.model
    face.input_layer = nn.Sequential(*(stock(layer) for layer in face.input_layer))
    face.body = nn.Sequential(*(PoolUnit(unit) for unit in face.body))
    for parameter in face.parameters():
        parameter.data = parameter.data.contiguous()

    def forward(pictures: "Tensor") -> "Tensor":
        return face.output_layer(face.body(face.input_layer(pictures)))

    face.forward = forward
    return plain


def stepper(
    model: "Voice2Face", pictures: "Tensor", waves: "Tensor", labels: "Tensor"
) -> Callable[[], float]:
    """A function that makes one step and gives its loss."""
    import torch
    from seeking_shape.losses import sample_losses, weighted_losses
    from seeking_shape.model import parameter_groups

    optimiser = torch.optim.SGD(parameter_groups(model), lr=1e-3, momentum=0.9, weight_decay=1e-4)

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        out = model(pictures, waves)
        found = sample_losses(out.face, out.voice, out.face_logits, out.voice_logits, labels)
        model.center.observe(labels, found.hardness)
        terms = weighted_losses(found, model.center.batch_weights(labels))
        loss = torch.stack(list(terms.values())).sum()
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step


def work(
    build: str, batch: int, seconds: float, threads: int, keep_memory: bool, orders: "Connection"
) -> None:
    """Body of one process: build the networks, then make a step whenever asked.

    Answers each order with (loss, processor seconds, wall seconds); an order of False ends it.
    """
    import torch
    from seeking_shape.model import Voice2Face
    from voiceface.memory import keep_freed_memory

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = Voice2Face(num_classes=924).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # both builds must agree
    if build == "plain":
        model = plain_copy(model)
    elif keep_memory:
        keep_freed_memory()
    torch.manual_seed(1)
    pictures = torch.randint(0, 256, (batch, 3, 112, 112)).float()
    step = stepper(model, pictures, 3000 * torch.randn(batch, int(16000 * seconds)), torch.arange(batch))
    while orders.recv():
        busy, clock = time.process_time(), time.perf_counter()
        loss = step()
        orders.send((loss, time.process_time() - busy, time.perf_counter() - clock))


def measure(
    batch: int, seconds: float, rounds: int, threads: int, keep_memory: bool = False
) -> dict[str, object]:
    """Time both builds turn by turn, each in a process of its own (they manage memory differently).

    Args:
        batch: pairs.
        seconds: length of the clips.
        rounds: measured steps of each build, after one that warms up.
        threads: of PyTorch in each process.
        keep_memory: ours calls `voiceface.memory.keep_freed_memory` first, which `train` does not do.

    Returns:
        Least processor and wall time of a step in seconds, their ratios, and the first losses.
    """
    context = multiprocessing.get_context("spawn")
    ends, processes = {}, []
    for build in ("plain", "ours"):
        ends[build], theirs = context.Pipe()
        processes.append(
            context.Process(target=work, args=(build, batch, seconds, threads, keep_memory, theirs))
        )
        processes[-1].start()
    found: dict[str, list[tuple[float, float, float]]] = {build: [] for build in ends}
    for _ in range(rounds + 1):
        for build, end in ends.items():
            end.send(True)
            found[build].append(end.recv())
    for end, process in zip(ends.values(), processes):
        end.send(False)
        process.join()
    first = {build: times[0][0] for build, times in found.items()}
    if abs(first["ours"] - first["plain"]) > 1e-4 * abs(first["plain"]):
        raise RuntimeError(f"the two builds disagree: {first}")
    least = {
        f"{build}_{kind}": min(times[place] for times in found[build][1:])
        for build in found
        for place, kind in ((1, "cpu"), (2, "wall"))
    }
    return {
        **{key: round(value, 3) for key, value in least.items()},
        "ratio_cpu": round(least["ours_cpu"] / least["plain_cpu"], 3),
        "ratio_wall": round(least["ours_wall"] / least["plain_wall"], 3),
        "goal_ratio": GOAL_SECONDS / PUBLISHED_SECONDS,
        "first_losses": first,
        "threads": threads,
        "keep_memory": keep_memory,
        "load": round(os.getloadavg()[0], 1),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; 1 when the goal is missed and --strict is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.75)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep-memory", action="store_true", help="ours keeps freed memory")
    parser.add_argument("--strict", action="store_true", help="fail when the goal is missed")
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    args = parser.parse_args(argv)
    figures = measure(args.batch, args.seconds, args.rounds, args.threads, args.keep_memory)
    text = json.dumps(figures, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    return int(args.strict and float(str(figures["ratio_cpu"])) > GOAL_SECONDS / PUBLISHED_SECONDS)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
